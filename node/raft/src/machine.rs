//! The replicated state machine as Raft sees it; node implements it.

use bytes::Bytes;
use std::fmt::Debug;
use std::sync::Arc;
use steadfast_storage::log::Position;

/// One committed entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Committed {
    /// Where it lies in the log.
    pub position: Position,
    /// What it says.
    pub content: Content,
}

/// What a committed entry says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// Nothing: a leader's first entry.
    Blank,
    /// Bytes that were given to `propose`.
    Normal(Bytes),
    /// The membership meta to keep (and to return from [`StateMachine::applied`]); opaque.
    Membership(Bytes),
}

/// The state machine can go no further: storage broken, an entry that cannot be decoded. Raft
/// stops on it; the process should end.
#[derive(Debug, thiserror::Error)]
#[error("state machine: {0}")]
pub struct Fault(#[source] Box<dyn std::error::Error + Send + Sync>);

impl Fault {
    /// Wraps a cause.
    pub fn new(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Fault(cause.into())
    }
}

/// A replicated state machine. All calls come from one thread, one at a time.
pub trait StateMachine: Send + 'static {
    /// The last applied entry and the membership meta as of then (empty when none was applied).
    /// When called before the first `apply`, it must tell only what is durable.
    fn applied(&self) -> (Option<Position>, Bytes);

    /// Applies entries in order. A batch holds at most 512 entries and about 1 MiB.
    fn apply(&mut self, batch: Vec<Committed>) -> Result<(), Fault>;

    /// The newest durable snapshot, if there is one. Cheap: a manifest, no copying.
    fn snapshot(&mut self) -> Result<Option<SnapshotFiles>, Fault>;

    /// Begins to receive a snapshot, reusing what is here already.
    fn stage(&mut self, manifest: Bytes) -> Result<Box<dyn SnapshotStage>, Fault>;

    /// Checks a complete stage and makes it the whole state, atomically and durably. After this
    /// [`StateMachine::applied`] tells the snapshot's position and [`StateMachine::snapshot`]
    /// returns it.
    fn install(&mut self, stage: Box<dyn SnapshotStage>) -> Result<(), Fault>;

    /// Whether the state here is wrong and wants to be replaced by a peer's of `position`, which
    /// is applied here. It must be false while a snapshot above `position` is known to Raft: the
    /// log below that may be purged.
    fn is_to_rebuild(&self, position: Position) -> bool;

    /// Replaces a wrong state by a complete stage, as [`StateMachine::install`] does, and applies
    /// the entries after it again, to where it was. `read` gives entries from the first index on,
    /// at least one, below the second. After an error the process must end.
    fn rebuild(
        &mut self,
        stage: Box<dyn SnapshotStage>,
        read: &mut dyn FnMut(u64, u64) -> Result<Vec<Committed>, Fault>,
    ) -> Result<(), Fault>;
}

/// A durable snapshot: immutable files named by a manifest. They stay readable while this value
/// lives.
#[derive(Debug, Clone)]
pub struct SnapshotFiles {
    /// The last entry the snapshot contains.
    pub position: Position,
    /// The membership meta as of `position`.
    pub membership: Bytes,
    /// What [`StateMachine::stage`] of a peer needs; opaque, at most 8 MiB.
    pub manifest: Bytes,
    /// Reads the files' bytes.
    pub source: Arc<dyn SnapshotSource>,
}

/// Reads the files of a snapshot, from any thread that may block.
pub trait SnapshotSource: Send + Sync + Debug {
    /// Up to `max` bytes of the file at `offset`; empty only at its end.
    fn read(&self, name: &str, offset: u64, max: usize) -> Result<Bytes, Fault>;
}

/// A snapshot on its way in. Dropping it keeps whole files for the next try.
pub trait SnapshotStage: Send + Sync + Debug {
    /// The files (or rests of files) that are not here yet.
    fn missing(&self) -> Vec<MissingFile>;

    /// Takes the next bytes of a missing file; they come in order of offset.
    fn write(&mut self, name: &str, offset: u64, bytes: &[u8]) -> Result<(), Fault>;

    /// For [`StateMachine::install`] to find its own type again.
    fn into_any(self: Box<Self>) -> Box<dyn std::any::Any + Send>;
}

/// A file that a peer has to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MissingFile {
    /// Its name in the manifest.
    pub name: String,
    /// Bytes already here from an earlier try.
    pub offset: u64,
    /// Its whole length in bytes.
    pub length: u64,
}
