//! The line of polls that wait on one queue.

use super::SeenPoller;
use crate::queries::QueryTask;
use crate::shard::Polled;
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;
use steadfast_engine::Timestamp;
use steadfast_engine::id::{PollId, WorkerVersion};
use tokio::sync::oneshot;
use tokio::time::Instant;

/// Pollers are shown for this long after their last poll.
pub(super) const SEEN_FOR: Duration = Duration::from_secs(300);
/// Identities remembered per queue.
const POLLERS_MAX: usize = 1_000;

/// A poll that waits.
#[derive(Debug)]
pub(super) struct Waiter {
    pub(super) poll: PollId,
    pub(super) identity: String,
    pub(super) worker: WorkerVersion,
    pub(super) deadline: Instant,
    pub(super) answer: oneshot::Sender<Polled>,
}

/// One queue's polls, oldest first, and what is known of its pollers.
#[derive(Debug, Default)]
pub(super) struct Line {
    pub(super) waiting: VecDeque<Waiter>,
    /// Queries that wait for a poll.
    pub(super) queries: VecDeque<QueryTask>,
    /// Claims on their way.
    pub(super) claims: usize,
    /// Tasks queued so far: tells whether a look at the backlog is still true.
    pub(super) queued: u64,
    /// The backlog was seen empty, and nothing was queued since.
    pub(super) known_empty: bool,
    /// A look at the backlog is asked for and has not begun.
    pub(super) look_asked: bool,
    last_poll: Option<Instant>,
    pollers: BTreeMap<String, (Instant, Timestamp, WorkerVersion)>,
}

impl Line {
    /// Notes a poll.
    pub(super) fn see(&mut self, identity: &str, worker: &WorkerVersion, seen: Timestamp) {
        let now = Instant::now();
        self.last_poll = Some(now);
        if self.pollers.len() >= POLLERS_MAX {
            self.pollers.retain(|_, (at, ..)| at.elapsed() < SEEN_FOR);
        }
        if self.pollers.len() < POLLERS_MAX || self.pollers.contains_key(identity) {
            self.pollers
                .insert(identity.to_owned(), (now, seen, worker.clone()));
        }
    }

    /// Gives a poll a query that waits; the poll comes back when there is none.
    pub(super) fn give_query(&mut self, waiter: Waiter) -> Option<Waiter> {
        let Some(query) = self.queries.pop_front() else {
            return Some(waiter);
        };
        if let Err(Polled::Query(query)) = waiter.answer.send(Polled::Query(query)) {
            self.queries.push_front(query);
        }
        None
    }

    /// The oldest poll with enough time left. Polls that have gone are dropped on the way; polls
    /// with too little time stay.
    pub(super) fn next(&mut self, least_left: Duration) -> Option<Waiter> {
        let soon = Instant::now() + least_left;
        self.waiting.retain(|waiter| !waiter.answer.is_closed());
        let at = self
            .waiting
            .iter()
            .position(|waiter| waiter.deadline > soon)?;
        self.waiting.remove(at)
    }

    /// Whether polls wait that may find something in the backlog.
    pub(super) fn may_claim(&self) -> bool {
        !self.known_empty && !self.waiting.is_empty()
    }

    pub(super) fn polled_within(&self, within: Duration) -> bool {
        !self.waiting.is_empty() || self.last_poll.is_some_and(|at| at.elapsed() < within)
    }

    pub(super) fn pollers(&self) -> Vec<SeenPoller> {
        let seen = self
            .pollers
            .iter()
            .filter(|(_, (at, ..))| at.elapsed() < SEEN_FOR);
        seen.map(|(identity, (_, last_access, worker))| SeenPoller {
            identity: identity.clone(),
            last_access: *last_access,
            worker: worker.clone(),
        })
        .collect()
    }
}
