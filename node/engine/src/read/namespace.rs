//! Namespaces, by name, by id and in pages.

use crate::id::NamespaceNumber;
use crate::reply::Fault;
use crate::tables::keys::{
    config_key, meta_key, namespace_key, namespace_name_key, namespace_prefix, prefix_end,
};
use crate::tables::{Config, Key, Limits, Meta, Namespace, Record, Tables};
use std::ops::Deref;
use std::sync::Arc;

/// Namespaces per scan while one is searched by its id, which has no index: such calls are rare.
const SEARCH_SLICE: usize = 256;

/// A namespace's record, shared with the state.
#[derive(Debug, Clone)]
pub struct StoredNamespace(Arc<Record>);

impl StoredNamespace {
    fn new(record: Arc<Record>) -> Result<Self, Fault> {
        match &*record {
            Record::Namespace(_) => Ok(Self(record)),
            other => Err(Fault::Decode(format!("a namespace's key holds {other:?}"))),
        }
    }
}

impl Deref for StoredNamespace {
    type Target = Namespace;
    fn deref(&self) -> &Namespace {
        let Record::Namespace(namespace) = &*self.0 else {
            unreachable!("checked when it was made")
        };
        namespace
    }
}

/// The namespace with this number.
///
/// # Errors
/// [`Fault`] when storage is broken.
pub fn by_number(
    tables: &dyn Tables,
    number: NamespaceNumber,
) -> Result<Option<StoredNamespace>, Fault> {
    tables
        .get(&namespace_key(number))?
        .map(StoredNamespace::new)
        .transpose()
}

/// The namespace with this name.
///
/// # Errors
/// [`Fault`] when storage is broken.
pub fn by_name(tables: &dyn Tables, name: &str) -> Result<Option<StoredNamespace>, Fault> {
    if name.len() > usize::from(u16::MAX) {
        return Ok(None);
    }
    match tables.get(&namespace_name_key(name))?.as_deref() {
        Some(Record::NamespaceName(number)) => by_number(tables, NamespaceNumber(*number)),
        Some(other) => Err(Fault::Decode(format!(
            "a namespace name's key holds {other:?}"
        ))),
        None => Ok(None),
    }
}

/// The namespace with this id (a UUID).
///
/// # Errors
/// [`Fault`] when storage is broken.
pub fn by_id(tables: &dyn Tables, id: &str) -> Result<Option<StoredNamespace>, Fault> {
    let mut after = NamespaceNumber(0);
    loop {
        let slice = page(tables, after, SEARCH_SLICE)?;
        let Some(last) = slice.last() else {
            return Ok(None);
        };
        after = last.number;
        if let Some(found) = slice.into_iter().find(|namespace| namespace.id == id) {
            return Ok(Some(found));
        }
    }
}

/// Up to `limit` namespaces with numbers above `after`, by number.
///
/// # Errors
/// [`Fault`] when storage is broken.
pub fn page(
    tables: &dyn Tables,
    after: NamespaceNumber,
    limit: usize,
) -> Result<Vec<StoredNamespace>, Fault> {
    let prefix = namespace_prefix();
    let from: Key = after.0.checked_add(1).map_or_else(
        || prefix_end(&prefix),
        |next| namespace_key(NamespaceNumber(next)),
    );
    let found = tables.scan(&from, &prefix_end(&prefix), limit, false)?;
    found
        .into_iter()
        .map(|(_, record)| StoredNamespace::new(record))
        .collect()
}

/// Counters and versions of the state; the default before the bootstrap.
///
/// # Errors
/// [`Fault`] when storage is broken.
pub fn meta(tables: &dyn Tables) -> Result<Meta, Fault> {
    match tables.get(&meta_key())?.as_deref() {
        Some(Record::Meta(meta)) => Ok(meta.clone()),
        Some(other) => Err(Fault::Decode(format!("the counters' key holds {other:?}"))),
        None => Ok(Meta::default()),
    }
}

/// The limits in force.
///
/// # Errors
/// [`Fault`] when storage is broken.
pub fn limits(tables: &dyn Tables) -> Result<Limits, Fault> {
    match tables.get(&config_key())?.as_deref() {
        Some(Record::Config(Config { limits, .. })) => Ok(limits.clone()),
        Some(other) => Err(Fault::Decode(format!(
            "the configuration's key holds {other:?}"
        ))),
        None => Ok(Limits::default()),
    }
}
