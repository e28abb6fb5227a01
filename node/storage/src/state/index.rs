//! The seam to the random-access index of the state at rest.
//!
//! The contract is "disposable": an index may lose everything at any time it is not open (then it
//! is fed again from the files), but what it shows must be a prefix of the batches it was given.

use super::fault::IndexError;
use bytes::Bytes;
use std::fmt::Debug;
use std::ops::Bound;
use std::path::Path;
use std::sync::Arc;

/// One put (`Some`) or delete (`None`) of an index record; at most 64 KiB.
pub type IndexChange = (Vec<u8>, Option<Vec<u8>>);

/// An ordered map at rest. One writer, many readers.
pub trait Index: Send + Sync + Debug {
    /// The value under a key.
    ///
    /// # Errors
    /// [`IndexError`] when it is broken.
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, IndexError>;

    /// Up to `limit` records of a range that is not inverted, ascending, or descending when
    /// `reverse`.
    ///
    /// # Errors
    /// [`IndexError`] when it is broken.
    fn range(
        &self,
        from: Bound<&[u8]>,
        to: Bound<&[u8]>,
        limit: usize,
        reverse: bool,
    ) -> Result<Vec<(Bytes, Bytes)>, IndexError>;

    /// Makes all changes visible at once. Lasts through a kill of the process in order: a lost
    /// batch loses all later ones too.
    ///
    /// # Errors
    /// [`IndexError`] when it is broken.
    fn apply_batch(&self, changes: Vec<IndexChange>) -> Result<(), IndexError>;

    /// Writes out what is buffered, as far as the store can.
    ///
    /// # Errors
    /// [`IndexError`] when it is broken.
    fn flush(&self) -> Result<(), IndexError>;
}

/// Opens indexes in directories.
pub trait IndexFactory: Send + Sync + Debug {
    /// Opens what is in the directory if it can be trusted; an empty index otherwise.
    ///
    /// # Errors
    /// [`IndexError`] when not even an empty one can be made.
    fn open(&self, dir: &Path) -> Result<Arc<dyn Index>, IndexError>;

    /// Removes what is in the directory; success when nothing is. Not open any more.
    ///
    /// # Errors
    /// [`IndexError`] when it cannot be removed.
    fn discard(&self, dir: &Path) -> Result<(), IndexError>;
}
