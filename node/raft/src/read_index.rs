//! Linearizable reads: callers that come while a round is under way share the next one.

use crate::peer::NodeId;
use crate::types::Raft;
use openraft::ReadPolicy;
use openraft::errors::{LinearizableReadError, RaftError};
use tokio::sync::{mpsc, oneshot};

/// Readers waiting for the next round; each holds a call of a client.
const QUEUE: usize = 8192;

/// Why there is no read index.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// This node does not lead.
    #[error("not the leader")]
    NotLeader {
        /// Who does, if known.
        leader: Option<NodeId>,
    },
    /// A majority did not confirm the leadership in time.
    #[error("no majority answers")]
    NoQuorum,
    /// Too many readers wait.
    #[error("too many readers wait")]
    Full,
    /// This node stops.
    #[error("raft has stopped")]
    Stopped,
}

type Reader = oneshot::Sender<Result<u64, ReadError>>;

/// Hands readers to the task that asks.
#[derive(Debug, Clone)]
pub(crate) struct ReadIndex(mpsc::Sender<Reader>);

impl ReadIndex {
    /// Starts the task; it ends with the last clone.
    pub(crate) fn start(raft: Raft) -> ReadIndex {
        let (readers, queue) = mpsc::channel(QUEUE);
        tokio::spawn(run(raft, queue));
        ReadIndex(readers)
    }

    /// The index that must be applied before a read that begins now.
    pub(crate) async fn get(&self) -> Result<u64, ReadError> {
        let (reader, answered) = oneshot::channel();
        self.0.try_send(reader).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => ReadError::Full,
            mpsc::error::TrySendError::Closed(_) => ReadError::Stopped,
        })?;
        answered.await.unwrap_or(Err(ReadError::Stopped))
    }
}

async fn run(raft: Raft, mut queue: mpsc::Receiver<Reader>) {
    let mut readers = Vec::new();
    // Only those that came before a round begins may share it.
    while queue.recv_many(&mut readers, QUEUE).await > 0 {
        let index = round(&raft).await;
        for reader in readers.drain(..) {
            drop(reader.send(index.clone()));
        }
    }
}

async fn round(raft: &Raft) -> Result<u64, ReadError> {
    // Never by lease: a follower that restarts forgets the lease it granted.
    match raft.get_read_linearizer(ReadPolicy::ReadIndex).await {
        Ok(linearizer) => Ok(linearizer.read_log_id().index()),
        Err(RaftError::APIError(LinearizableReadError::ForwardToLeader(forward))) => {
            Err(ReadError::NotLeader {
                leader: forward.leader_id,
            })
        }
        Err(RaftError::APIError(LinearizableReadError::QuorumNotEnough(_))) => {
            Err(ReadError::NoQuorum)
        }
        Err(RaftError::Fatal(_)) => Err(ReadError::Stopped),
    }
}
