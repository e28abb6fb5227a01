//! What can go wrong with the state at rest.

use super::record::DecodeError;
use std::io;
use std::path::{Path, PathBuf};

/// The index broke. It is disposable: the next start rebuilds it from the files.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IndexError {
    /// The store below failed.
    #[error("the index of the state failed: {0}")]
    Store(String),
    /// It holds something that was never written.
    #[error("the index of the state is damaged: {0}")]
    Damaged(String),
}

/// Opening, writing or installing the files of the state failed.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// A file is missing, cut or changed. The node must not start on it.
    #[error(
        "state file {} is damaged: {what}; remove this node from the cluster (`steadfast cluster remove`) and \
         start one with a new --node-id, an empty --data-dir and --join", file.display()
    )]
    Damaged {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// The disk refused.
    #[error("cannot {what} {}: {source}", path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The index broke.
    #[error(transparent)]
    Index(#[from] IndexError),
    /// Index and files disagree about the state: a bug or silent damage. The index is thrown away
    /// at the next start.
    #[error("the index at mark {mark} has digest {index:032x}, the files have {files:032x}")]
    DigestDiffers {
        /// Which mark.
        mark: u64,
        /// By the index's net changes.
        index: u128,
        /// By a full read of the files.
        files: u128,
    },
    /// A peer sent something that is not what its manifest says.
    #[error("the received state is not usable: {0}")]
    Staged(String),
    /// A backup cannot be written there, or what is there is none.
    #[error("the backup in {} cannot be used: {what}", dir.display())]
    Backup {
        /// Its directory.
        dir: PathBuf,
        /// Why not.
        what: String,
    },
}

impl StateError {
    pub(crate) fn backup(dir: &Path, what: impl Into<String>) -> Self {
        Self::Backup {
            dir: dir.to_path_buf(),
            what: what.into(),
        }
    }

    pub(crate) fn io(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io {
            what,
            path: path.to_path_buf(),
            source,
        }
    }

    pub(crate) fn damaged(file: &Path, what: impl Into<String>) -> Self {
        Self::Damaged {
            file: file.to_path_buf(),
            what: what.into(),
        }
    }
}

/// A read of the state failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StateFault {
    /// The bytes under a key are not a record.
    #[error("the record under key {key:02x?} cannot be decoded: {source}")]
    Undecodable {
        /// The key.
        key: Vec<u8>,
        /// Why.
        source: DecodeError,
    },
    /// The index broke.
    #[error(transparent)]
    Index(#[from] IndexError),
    /// The view was held so long that what it needs is no longer kept. Take a new one.
    #[error("the view of the state is too old")]
    ViewExpired,
}
