//! Proposals that wait for their outcome.

use super::Unavailable;
use super::admission::Admitted;
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use steadfast_engine::id::{PollId, QueueKey};
use steadfast_engine::{Refusal, Reply};
use tokio::sync::oneshot;

/// What a proposal comes to.
pub(crate) type Outcome = Result<Result<Reply, Refusal>, Unavailable>;

/// A proposal's waiting side.
#[derive(Debug)]
pub(super) struct Waiting {
    /// Who waits; nobody for what the shell proposes on its own.
    pub(super) answer: Option<oneshot::Sender<Outcome>>,
    /// Its place in the admission; leaves with this.
    pub(super) _admitted: Option<Admitted>,
    /// Polls whose reservations went with it.
    pub(super) polls: Vec<PollId>,
    /// The queue whose head it claims.
    pub(super) claim: Option<QueueKey>,
}

/// All proposals of this process without an outcome yet. Bounded by admission and by the polls.
#[derive(Debug, Default)]
pub(super) struct Pending(Mutex<BTreeMap<u64, Waiting>>);

impl Pending {
    pub(super) fn insert(&self, sequence: u64, waiting: Waiting) {
        self.lock().insert(sequence, waiting);
    }

    /// Notes the polls that go with a proposal.
    pub(super) fn reserve(&self, sequence: u64, polls: Vec<PollId>) {
        if let Some(waiting) = self.lock().get_mut(&sequence) {
            waiting.polls.extend(polls);
        }
    }

    /// The outcome is known.
    pub(super) fn take(&self, sequence: u64) -> Option<Waiting> {
        self.lock().remove(&sequence)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    /// Leadership is lost: nobody learns an outcome here any more.
    pub(super) fn take_all(&self) -> Vec<Waiting> {
        std::mem::take(&mut *self.lock()).into_values().collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, Waiting>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    /// Tells whoever waits; the polls that went with it.
    pub(super) fn finish(self, outcome: Outcome) -> Vec<PollId> {
        if let Some(answer) = self.answer {
            // The caller may have left.
            drop(answer.send(outcome));
        }
        self.polls
    }
}
