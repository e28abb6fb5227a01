//! What can go wrong with the log.

use std::io;
use std::path::{Path, PathBuf};

/// The log cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
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
    /// Bytes that were once durable are not those that were written.
    #[error(
        "log file {} is damaged at byte {offset}: {what}; do not repair it: remove this node from \
         the cluster (`steadfast cluster remove`) and start one with a new --node-id, an empty \
         --data-dir and --join", file.display()
    )]
    Damaged {
        /// The file.
        file: PathBuf,
        /// Where the first bad record starts.
        offset: u64,
        /// What is wrong with it.
        what: String,
    },
    /// A file of the log is not there.
    #[error(
        "log file {} is missing; remove this node from the cluster (`steadfast cluster remove`) \
         and start one with a new --node-id, an empty --data-dir and --join", file.display()
    )]
    Missing {
        /// The file that should be there.
        file: PathBuf,
    },
    /// The first file cannot be made.
    #[error(transparent)]
    Create(#[from] LogFault),
}

/// The log broke while it was in use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LogFault {
    /// The disk failed. After a failed write or sync nobody knows what is on it.
    #[error("cannot {what} log file {}: {message}", path.display())]
    Io {
        /// What was tried.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// Whether the disk is full.
        full: bool,
        /// The system's error.
        message: String,
    },
    /// An entry's bytes on disk are not those that were written.
    #[error("log file {} is damaged at byte {offset}: {what}", file.display())]
    Damaged {
        /// The file.
        file: PathBuf,
        /// Where the record starts.
        offset: u64,
        /// What is wrong with it.
        what: String,
    },
    /// One append was larger than any may be. The log is as it was.
    #[error("an append of {bytes} bytes is larger than {limit} bytes")]
    TooLarge {
        /// Bytes of its payloads.
        bytes: u64,
        /// Bytes allowed.
        limit: u64,
    },
    /// The writer was dropped: the process is ending.
    #[error("the log's writer has ended")]
    WriterEnded,
}

impl LogError {
    pub(super) fn io(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> LogError {
        move |source| LogError::Io {
            what,
            path: path.to_path_buf(),
            source,
        }
    }

    pub(super) fn damaged(file: &Path, offset: u64, what: impl Into<String>) -> LogError {
        LogError::Damaged {
            file: file.to_path_buf(),
            offset,
            what: what.into(),
        }
    }
}

impl LogFault {
    pub(super) fn io(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> LogFault {
        move |error| LogFault::Io {
            what,
            path: path.to_path_buf(),
            full: error.kind() == io::ErrorKind::StorageFull,
            message: error.to_string(),
        }
    }
}
