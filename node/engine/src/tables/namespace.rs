//! Namespaces.

use super::key::{Key, KeyWriter, SYSTEM};
use crate::id::NamespaceNumber;
use crate::time::{Span, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A namespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Namespace {
    /// Dense number.
    pub number: NamespaceNumber,
    /// UUID, as clients see it.
    pub id: String,
    /// Unique name.
    pub name: String,
    /// `NamespaceState`.
    pub state: i32,
    /// Free text.
    pub description: String,
    /// Free text.
    pub owner_email: String,
    /// Key and value of the owner's.
    pub data: BTreeMap<String, String>,
    /// How long closed runs are kept.
    pub retention: Span,
    /// Custom search attributes: name and `IndexedValueType`.
    pub search_attributes: BTreeMap<String, i32>,
    /// When it was registered.
    pub created_at: Timestamp,
    /// Encoded `BadBinaries`, `Replication` and archival fields that are stored and echoed.
    pub config: Vec<u8>,
}

/// Key of a namespace.
#[must_use]
pub fn namespace_key(number: NamespaceNumber) -> Key {
    KeyWriter::new(SYSTEM, 6).byte(2).u32(number.0).done()
}

/// All namespaces, by number.
#[must_use]
pub fn namespace_prefix() -> Key {
    KeyWriter::new(SYSTEM, 2).byte(2).done()
}

/// Key of a namespace's number by name.
#[must_use]
pub fn namespace_name_key(name: &str) -> Key {
    KeyWriter::new(SYSTEM, 4 + name.len())
        .byte(3)
        .text(name)
        .done()
}
