//! Waiting polls meet tasks (design D5). In memory, on the leader; nothing here is truth.
//!
//! A poll waits in the line of its queue. A *reservation* takes it out of the line and *holds* it
//! while a proposal is on its way that may give it a task: as a hint of another mutation, or as a
//! claim of its own. Then it is answered, or goes back to the head of the line. A held poll is in
//! no line, so it is never given to two proposals.

mod line;

use crate::queries::QueryTask;
use crate::shard::{Poll, Polled};
use line::{Line, SEEN_FOR, Waiter};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use steadfast_engine::Timestamp;
use steadfast_engine::effect::AssignedTask;
use steadfast_engine::id::{PollId, QueueKey, Reservation, TaskKind, WorkerVersion};
use tokio::sync::oneshot;
use tokio::time::Instant;

/// Waiting polls of all queues; each is a call of a worker with a task and two buffers.
const POLLS_MAX: usize = 20_000;
/// Waiting polls of one queue.
const POLLS_OF_QUEUE_MAX: usize = 5_000;
/// Queries that wait in one line for a poller.
const QUERIES_OF_QUEUE_MAX: usize = 1_000;
/// A poll with less time left is not reserved: the hint might not be used, and hold it too long.
const RESERVED_LEFT: Duration = Duration::from_secs(2);
/// A sticky queue without a poll for this long is abandoned; also the time in which the absence of
/// polls proves nothing after a change of leader.
pub(crate) const STICKY_GRACE: Duration = Duration::from_secs(10);

/// A poller as DescribeTaskQueue shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenPoller {
    /// The worker's identity.
    pub identity: String,
    /// When it last polled.
    pub last_access: Timestamp,
    /// Its version.
    pub worker: WorkerVersion,
}

/// Why a poll may not wait here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NotRegistered {
    /// This node does not lead.
    Closed,
    /// Too many polls wait.
    Full,
}

/// What is known of a line when a look at its backlog begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BeforeLook {
    /// Tasks queued so far.
    queued: u64,
    /// Claims on their way.
    pub(crate) claims: usize,
    /// Polls that wait.
    pub(crate) waiting: usize,
}

/// All waiting polls.
#[derive(Debug, Default)]
pub struct Matching(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// Since when this node leads; not while it does not.
    open_since: Option<Instant>,
    lines: BTreeMap<QueueKey, Line>,
    held: BTreeMap<PollId, (QueueKey, Waiter)>,
    waiting: usize,
    /// Queues of workflow tasks that got a task while nobody waited.
    unattended: BTreeSet<QueueKey>,
}

impl Matching {
    /// Leadership begins.
    pub(crate) fn open(&self) {
        let mut state = self.lock();
        *state = State {
            open_since: Some(Instant::now()),
            ..State::default()
        };
    }

    /// Leadership ends: waiting polls end at once, held ones when their proposal's fate is known.
    pub(crate) fn close(&self) {
        let mut state = self.lock();
        let held = std::mem::take(&mut state.held);
        *state = State {
            held,
            ..State::default()
        };
    }

    /// Puts a poll into its line; the receiver gets what it is given, or fails when leadership ends.
    pub(crate) fn register(
        &self,
        poll: &Poll,
        deadline: Instant,
        seen: Timestamp,
    ) -> Result<oneshot::Receiver<Polled>, NotRegistered> {
        let mut state = self.lock();
        if state.open_since.is_none() {
            return Err(NotRegistered::Closed);
        }
        if state.waiting + state.held.len() >= POLLS_MAX {
            return Err(NotRegistered::Full);
        }
        let line = state.lines.entry(poll.queue.clone()).or_default();
        if line.waiting.len() >= POLLS_OF_QUEUE_MAX {
            return Err(NotRegistered::Full);
        }
        line.see(&poll.identity, &poll.worker, seen);
        let (answer, answered) = oneshot::channel();
        let waiter = Waiter {
            poll: poll.id,
            identity: poll.identity.clone(),
            worker: poll.worker.clone(),
            deadline,
            answer,
        };
        let Some(mut waiter) = line.give_query(waiter) else {
            return Ok(answered);
        };
        // The same poll again (its first connection broke): the newer one counts.
        if let Some(at) = line.waiting.iter().position(|other| other.poll == poll.id) {
            std::mem::swap(&mut line.waiting[at], &mut waiter);
        } else {
            line.waiting.push_back(waiter);
            state.waiting += 1;
        }
        Ok(answered)
    }

    /// A poll leaves its line; false when it is not there (held, or already answered).
    pub(crate) fn leave(&self, queue: &QueueKey, poll: PollId) -> bool {
        let mut state = self.lock();
        let Some(line) = state.lines.get_mut(queue) else {
            return false;
        };
        let Some(at) = line.waiting.iter().position(|waiter| waiter.poll == poll) else {
            return false;
        };
        line.waiting.remove(at);
        state.waiting -= 1;
        true
    }

    /// Holds the next poll of a queue for a task that a mutation may make.
    pub(crate) fn reserve(&self, queue: &QueueKey) -> Option<Reservation> {
        self.lock().hold(queue, RESERVED_LEFT)
    }

    /// A task was queued. A queue where nobody waits is remembered until somebody polls it.
    pub(crate) fn task_queued(&self, queue: &QueueKey) {
        let mut state = self.lock();
        if state.open_since.is_none() {
            return;
        }
        let line = state.lines.entry(queue.clone()).or_default();
        line.queued += 1;
        line.known_empty = false;
        if line.waiting.is_empty() && queue.kind == TaskKind::Workflow {
            state.unattended.insert(queue.clone());
        }
    }

    /// Whether a look at a queue's backlog is to be asked for: somebody waits, it is not known to
    /// be empty, and no look is asked for already.
    pub(crate) fn asks_look(&self, queue: &QueueKey) -> bool {
        let mut state = self.lock();
        let Some(line) = state.lines.get_mut(queue) else {
            return false;
        };
        let asks = line.may_claim() && !line.look_asked;
        line.look_asked |= asks;
        asks
    }

    /// Before a look at a queue's backlog; `None` when it is in vain.
    pub(crate) fn before_look(&self, queue: &QueueKey) -> Option<BeforeLook> {
        let mut state = self.lock();
        let line = state.lines.get_mut(queue)?;
        line.look_asked = false;
        line.may_claim().then_some(BeforeLook {
            queued: line.queued,
            claims: line.claims,
            waiting: line.waiting.len(),
        })
    }

    /// After a look that found so many tasks: holds polls for claims of those that no claim on its
    /// way will take. Each claim ends with [`Matching::claim_ends`].
    pub(crate) fn looked(
        &self,
        queue: &QueueKey,
        before: BeforeLook,
        found: usize,
    ) -> Vec<Reservation> {
        let mut state = self.lock();
        let mut claims = Vec::new();
        let free = found.saturating_sub(before.claims);
        while claims.len() < free
            && let Some(reservation) = state.hold(queue, Duration::ZERO)
        {
            claims.push(reservation);
        }
        let Some(line) = state.lines.get_mut(queue) else {
            return claims;
        };
        if found == 0 {
            line.known_empty = line.queued == before.queued && line.claims == 0;
        }
        line.claims += claims.len();
        // The polls have gone since the task was queued.
        if free > 0 && claims.is_empty() && queue.kind == TaskKind::Workflow {
            state.unattended.insert(queue.clone());
        }
        claims
    }

    /// Claims of a queue on their way; `None` where this node does not lead.
    pub(crate) fn claims(&self, queue: &QueueKey) -> Option<usize> {
        let state = self.lock();
        state.open_since?;
        Some(state.lines.get(queue).map_or(0, |line| line.claims))
    }

    /// A claim has come to its end. True when the queue should be looked at again: a look while
    /// the claim was applied and not yet at its end left a task to it that it did not take.
    pub(crate) fn claim_ends(&self, queue: &QueueKey) -> bool {
        let mut state = self.lock();
        let Some(line) = state.lines.get_mut(queue) else {
            return false;
        };
        line.claims = line.claims.saturating_sub(1);
        line.may_claim()
    }

    /// A held poll got nothing: it goes back to the head of its line. The queue, when it should be
    /// looked at again: tasks may have come while the poll was held.
    pub(crate) fn give_back(&self, poll: PollId) -> Option<QueueKey> {
        let mut state = self.lock();
        let (queue, waiter) = state.held.remove(&poll)?;
        if state.open_since.is_none() || waiter.answer.is_closed() {
            return None;
        }
        let line = state.lines.entry(queue.clone()).or_default();
        let waiter = line.give_query(waiter)?;
        let look = !line.known_empty;
        line.waiting.push_front(waiter);
        state.waiting += 1;
        look.then_some(queue)
    }

    /// Gives a held poll its task. `None`: this poll is not held here. `Some(Err)`: it was, but it
    /// has left; the task is for nobody.
    pub(crate) fn assign(&self, poll: PollId, task: &AssignedTask) -> Option<Result<(), ()>> {
        let (_, waiter) = self.lock().held.remove(&poll)?;
        Some(waiter.answer.send(Polled::Task(task.clone())).map_err(drop))
    }

    /// Gives a query to the next poll of a queue, or keeps it for one; false when too many wait.
    pub(crate) fn offer_query(&self, queue: &QueueKey, mut query: QueryTask) -> bool {
        let mut state = self.lock();
        if state.open_since.is_none() {
            return false;
        }
        loop {
            let line = state.lines.entry(queue.clone()).or_default();
            let Some(waiter) = line.waiting.pop_front() else {
                if line.queries.len() >= QUERIES_OF_QUEUE_MAX {
                    return false;
                }
                line.queries.push_back(query);
                return true;
            };
            state.waiting -= 1;
            match waiter.answer.send(Polled::Query(query)) {
                Ok(()) => return true,
                Err(Polled::Query(back)) => query = back,
                Err(Polled::Task(_)) => return true,
            }
        }
    }

    /// Takes a query back that no poll has taken; false when one has.
    pub(crate) fn withdraw_query(&self, queue: &QueueKey, id: &str) -> bool {
        let mut state = self.lock();
        let Some(line) = state.lines.get_mut(queue) else {
            return false;
        };
        let before = line.queries.len();
        line.queries.retain(|query| query.id != id);
        line.queries.len() < before
    }

    /// Whether a queue was polled within a time, or somebody waits there now.
    pub(crate) fn polled_within(&self, queue: &QueueKey, within: Duration) -> bool {
        let state = self.lock();
        state.held.values().any(|(held, _)| held == queue)
            || state
                .lines
                .get(queue)
                .is_some_and(|line| line.polled_within(within))
    }

    /// Queues of workflow tasks that have had tasks but no poll for [`STICKY_GRACE`]; those that
    /// are sticky are to be abandoned. Each is named once per queued task.
    pub(crate) fn unattended(&self) -> Vec<QueueKey> {
        let mut state = self.lock();
        if state
            .open_since
            .is_none_or(|since| since.elapsed() < STICKY_GRACE)
        {
            return Vec::new();
        }
        let queues = std::mem::take(&mut state.unattended);
        let (fresh, lonely): (BTreeSet<_>, BTreeSet<_>) = queues.into_iter().partition(|queue| {
            state
                .lines
                .get(queue)
                .is_some_and(|line| line.polled_within(STICKY_GRACE))
        });
        // A line that is polled claims for itself; it is only watched while it may stop.
        let watched = fresh.into_iter().filter(|queue| {
            state
                .lines
                .get(queue)
                .is_some_and(|line| line.waiting.is_empty() && !line.known_empty)
        });
        state.unattended = watched.collect();
        lonely.into_iter().collect()
    }

    /// Forgets lines that nobody uses.
    pub(crate) fn sweep(&self) {
        let mut state = self.lock();
        state.lines.retain(|_, line| {
            !line.waiting.is_empty()
                || !line.queries.is_empty()
                || line.claims > 0
                || line.polled_within(SEEN_FOR)
        });
    }

    /// Who polled a queue in the last five minutes.
    pub fn pollers(&self, queue: &QueueKey) -> Vec<SeenPoller> {
        self.lock()
            .lines
            .get(queue)
            .map(Line::pollers)
            .unwrap_or_default()
    }

    /// Polls that wait and polls that are held.
    pub(crate) fn counts(&self) -> (usize, usize) {
        let state = self.lock();
        (state.waiting, state.held.len())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn hold(&mut self, queue: &QueueKey, least_left: Duration) -> Option<Reservation> {
        let line = self.lines.get_mut(queue)?;
        let before = line.waiting.len();
        let next = line.next(least_left);
        self.waiting -= before - line.waiting.len();
        let waiter = next?;
        let reservation = Reservation {
            queue: queue.clone(),
            poll: waiter.poll,
            identity: waiter.identity.clone(),
            worker: waiter.worker.clone(),
        };
        let twice = self.held.insert(waiter.poll, (queue.clone(), waiter));
        drop(twice);
        Some(reservation)
    }
}

#[cfg(test)]
mod tests;
