//! What the state is made of: records under ordered keys.

use bytes::Bytes;
use std::fmt::Debug;

/// An encoded key; sorts as its bytes. At most [`MAX_KEY_BYTES`].
pub type Key = Bytes;

/// One put (`Some`) or delete (`None`) of a key.
pub(crate) type RawChange = (Key, Option<Bytes>);

/// Longest key in bytes: a key and its value must fit in one record of the index.
pub const MAX_KEY_BYTES: usize = 8 * 1024;

/// Longest encoded value in bytes: a mutation writes at most 8 MiB in all.
pub const MAX_VALUE_BYTES: usize = 16 * 1024 * 1024;

/// A record of the state. The same record must always encode to the same bytes: the digest of the
/// state is made of them.
pub trait Record: Send + Sync + Debug + Sized + 'static {
    /// The bytes at rest.
    fn encode(&self) -> Vec<u8>;

    /// The record of such bytes.
    ///
    /// # Errors
    /// [`DecodeError`] when the bytes are not an encoded record.
    fn decode(bytes: &[u8]) -> Result<Self, DecodeError>;

    /// About how many bytes the record takes in memory; decides only when an overlay is "full".
    fn weight(&self) -> usize {
        256
    }
}

/// Bytes that are not a record.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct DecodeError(pub String);
