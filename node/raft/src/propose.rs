//! Proposals: ordered, pipelined, never waiting for the disk in the caller.

use crate::encoding;
use crate::peer::NodeId;
use crate::types::{OneAnswer, Raft, Types};
use futures::FutureExt;
use openraft::async_runtime::WatchReceiver;
use openraft::errors::ClientWriteError;
use openraft::raft::ClientWriteResult;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::sync::oneshot;

/// The largest proposal: a frame must hold it, and a request of 4 MiB must fit into it.
pub const MAX_PROPOSAL_BYTES: usize = 12 << 20;

/// Why a proposal got no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProposeError {
    /// Definitely not proposed: this node does not lead, or its lease ran out, or it is handing
    /// over.
    #[error("not the leader")]
    NotLeader {
        /// Who does, if known.
        leader: Option<NodeId>,
    },
    /// Definitely not proposed: too many wait already.
    #[error("too many proposals wait")]
    Full,
    /// Definitely not proposed.
    #[error("a proposal of {0} bytes, at most {MAX_PROPOSAL_BYTES} are allowed")]
    TooLarge(usize),
    /// It may be committed, now or later, or never. Not to be proposed again by the node.
    #[error("the outcome is unknown")]
    Unknown,
    /// Definitely not proposed: this node stops.
    #[error("raft has stopped")]
    Stopped,
}

/// The outcome to come: the index of the entry, once it is applied here.
#[derive(Debug)]
pub struct Proposed(State);

#[derive(Debug)]
enum State {
    Waiting(oneshot::Receiver<ClientWriteResult<Types>>),
    Refused(ProposeError),
}

/// Enqueues a proposal. The order of calls is the order in the log.
pub(crate) fn propose(raft: &Raft, content: &[u8]) -> Proposed {
    if content.len() > MAX_PROPOSAL_BYTES {
        return Proposed(State::Refused(ProposeError::TooLarge(content.len())));
    }
    let (answer, answered) = oneshot::channel();
    let write = raft.client_write_ff(encoding::proposal(content), Some(OneAnswer(answer)));
    // One poll either puts the message into openraft's queue or has no effect: a full queue is
    // told at once instead of being waited for. Unconstrained, since tokio's budget of the
    // calling task would make a free queue look full.
    match tokio::task::unconstrained(write).now_or_never() {
        Some(Ok(())) => Proposed(State::Waiting(answered)),
        Some(Err(_)) => Proposed(State::Refused(ProposeError::Stopped)),
        None if raft.metrics().borrow_watched().running_state.is_err() => {
            Proposed(State::Refused(ProposeError::Stopped))
        }
        None => Proposed(State::Refused(ProposeError::Full)),
    }
}

impl Future for Proposed {
    type Output = Result<u64, ProposeError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.0 {
            State::Waiting(answered) => answered.poll_unpin(context).map(|answer| match answer {
                Ok(result) => outcome(result),
                // Dropped with openraft's core: nobody knows.
                Err(_) => Err(ProposeError::Unknown),
            }),
            State::Refused(error) => Poll::Ready(Err(error.clone())),
        }
    }
}

fn outcome(result: ClientWriteResult<Types>) -> Result<u64, ProposeError> {
    match result {
        Ok(response) => Ok(response.log_id.index()),
        // openraft says this only before it has appended the entry.
        Err(ClientWriteError::ForwardToLeader(forward)) => Err(ProposeError::NotLeader {
            leader: forward.leader_id,
        }),
        Err(
            ClientWriteError::LogEntryDiscarded(_)
            | ClientWriteError::ChangeMembershipError(_)
            | ClientWriteError::PreconditionFailed(_),
        ) => Err(ProposeError::Unknown),
    }
}
