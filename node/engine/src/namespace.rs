//! Rules of namespaces: registration, updates, search attributes.

use crate::id::NamespaceNumber;
use crate::read::visibility::is_reserved;
use crate::reply::{Fault, Refusal, Stop};
use crate::tables::{Namespace, Record, WriteSet, keys};
use crate::time::Span;
use prost::Message;
use std::collections::BTreeMap;
use steadfast_proto::temporal::enums::v1::{ArchivalState, IndexedValueType, NamespaceState};
use steadfast_proto::temporal::namespace::v1::NamespaceConfig;
use steadfast_proto::temporal::replication::v1::ClusterReplicationConfig;

/// Retention of the namespaces that a bootstrap makes.
pub const RETENTION_DEFAULT: Span = Span::seconds(24 * 3600);
/// The shortest retention.
pub const RETENTION_MIN: Span = Span::seconds(3600);
/// The one cluster's name in replication configurations.
pub const CLUSTER_NAME: &str = "active";
/// The namespace of the server's own; it is there after the bootstrap and takes no workflows of
/// users by name.
pub const SYSTEM_NAMESPACE: &str = "temporal-system";

/// Writes a new namespace under the next number.
///
/// # Errors
/// ALREADY_EXISTS when the name is taken.
pub(crate) fn insert(set: &mut WriteSet<'_>, mut namespace: Namespace) -> Result<(), Stop> {
    let name_key = keys::namespace_name_key(&namespace.name);
    if set.get(&name_key)?.is_some() {
        return Err(Refusal::NamespaceAlreadyExists.into());
    }
    namespace.number = NamespaceNumber(set.meta.next_namespace);
    set.meta.next_namespace += 1;
    namespace.created_at = set.now;
    set.put(name_key, Record::NamespaceName(namespace.number.0));
    write(set, namespace);
    Ok(())
}

/// Writes a namespace back.
pub(crate) fn write(set: &mut WriteSet<'_>, namespace: Namespace) {
    set.put(
        keys::namespace_key(namespace.number),
        Record::Namespace(namespace),
    );
}

/// A namespace without any settings of its own. Number and creation time are given by [`insert`].
pub(crate) fn plain(name: &str, id: String) -> Namespace {
    Namespace {
        number: NamespaceNumber(0),
        id,
        name: name.to_owned(),
        state: NamespaceState::Registered as i32,
        description: String::new(),
        owner_email: String::new(),
        data: BTreeMap::new(),
        retention: RETENTION_DEFAULT,
        search_attributes: BTreeMap::new(),
        created_at: crate::time::Timestamp(0),
        config: config_bytes(&NamespaceConfig::default()),
    }
}

/// A retention that is long enough.
///
/// # Errors
/// Temporal's text.
pub(crate) fn retention(duration: Option<&prost_types::Duration>) -> Result<Span, Refusal> {
    let span = Span::from_proto(duration);
    if span < RETENTION_MIN {
        let text = "A valid retention period is not set on request.";
        return Err(Refusal::InvalidArgument(text.to_owned()));
    }
    Ok(span)
}

/// Refuses clusters other than this one.
///
/// # Errors
/// Temporal's text.
pub(crate) fn check_clusters(
    active: &str,
    clusters: &[ClusterReplicationConfig],
) -> Result<(), Refusal> {
    let names = clusters.iter().map(|cluster| cluster.cluster_name.as_str());
    let mut named = std::iter::once(active)
        .filter(|name| !name.is_empty())
        .chain(names);
    match named.find(|name| *name != CLUSTER_NAME) {
        Some(other) => Err(Refusal::InvalidArgument(format!(
            "Invalid cluster name: {other}"
        ))),
        None => Ok(()),
    }
}

/// What of a configuration is stored: there is no archive here, so archival stays disabled.
pub(crate) fn config_bytes(config: &NamespaceConfig) -> Vec<u8> {
    let mut stored = NamespaceConfig {
        workflow_execution_retention_ttl: None,
        history_archival_uri: String::new(),
        visibility_archival_uri: String::new(),
        ..config.clone()
    };
    stored.set_history_archival_state(ArchivalState::Disabled);
    stored.set_visibility_archival_state(ArchivalState::Disabled);
    stored.encode_to_vec()
}

/// The stored configuration.
///
/// # Errors
/// [`Fault`] when the bytes have no meaning.
pub(crate) fn stored_config(namespace: &Namespace) -> Result<NamespaceConfig, Fault> {
    NamespaceConfig::decode(namespace.config.as_slice())
        .map_err(|error| Fault::Decode(format!("a namespace's configuration: {error}")))
}

/// Whether a namespace may go from one state to another.
///
/// # Errors
/// Temporal's text.
pub(crate) fn check_state_change(from: i32, to: i32) -> Result<(), Refusal> {
    use NamespaceState::{Deleted, Deprecated, Registered};
    if from == to {
        return Ok(());
    }
    match (NamespaceState::try_from(from), NamespaceState::try_from(to)) {
        (Ok(Registered), Ok(Deprecated | Deleted)) | (Ok(Deprecated), Ok(Deleted)) => Ok(()),
        _ => Err(Refusal::InvalidArgument(
            "Invalid namespace state update.".to_owned(),
        )),
    }
}

/// Adds search attributes. A name that exists already is left alone, whatever its type.
///
/// # Errors
/// Temporal's texts for reserved names and for too many of one type.
pub(crate) fn add_search_attributes(
    namespace: &mut Namespace,
    attributes: &[(String, i32)],
) -> Result<(), Refusal> {
    for (name, _) in attributes {
        if is_reserved(name) {
            let text = format!("Search attribute {name} is reserved by system.");
            return Err(Refusal::InvalidArgument(text));
        }
    }
    for (name, value_type) in attributes {
        if name.is_empty() || namespace.search_attributes.contains_key(name) {
            continue;
        }
        let same = namespace
            .search_attributes
            .values()
            .filter(|known| *known == value_type)
            .count();
        let (type_name, limit) = type_and_limit(*value_type);
        if same >= limit {
            return Err(Refusal::InvalidArgument(format!(
                "Unable to create search attributes: cannot have more than {limit} search \
                 attribute of type {type_name}."
            )));
        }
        namespace
            .search_attributes
            .insert(name.clone(), *value_type);
    }
    Ok(())
}

/// A type's name, and how many attributes of it a namespace may have (as on Temporal's SQL stores).
fn type_and_limit(value_type: i32) -> (&'static str, usize) {
    match IndexedValueType::try_from(value_type) {
        Ok(IndexedValueType::Text) => ("Text", 3),
        Ok(IndexedValueType::Keyword) => ("Keyword", 10),
        Ok(IndexedValueType::Int) => ("Int", 3),
        Ok(IndexedValueType::Double) => ("Double", 3),
        Ok(IndexedValueType::Bool) => ("Bool", 3),
        Ok(IndexedValueType::Datetime) => ("Datetime", 3),
        Ok(IndexedValueType::KeywordList) => ("KeywordList", 3),
        Ok(IndexedValueType::Unspecified) | Err(_) => ("Unspecified", 0),
    }
}
