//! The digest of the whole state: the wrapping sum of a 128-bit hash of each (key, value).
//!
//! A sum does not depend on order, so it is kept up by net changes and is equal on all replicas
//! whatever their files look like.

use crate::Position;
use xxhash_rust::xxh3::Xxh3;

/// Digest of the whole state at a mark.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MarkDigest {
    /// Number of the mark, from 1.
    pub mark: u64,
    /// Position of the mark.
    pub position: Position,
    /// The digest.
    pub digest: u128,
}

/// Hash of one record.
pub(crate) fn record_hash(key: &[u8], value: &[u8]) -> u128 {
    let mut hasher = Xxh3::new();
    hasher.update(&(key.len() as u64).to_le_bytes());
    hasher.update(key);
    hasher.update(value);
    hasher.digest128()
}
