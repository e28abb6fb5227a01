//! Workers' polls, on the leader.

use super::effect::token;
use super::{Core, Unavailable};
use crate::matching::NotRegistered;
use crate::queries::QueryTask;
use std::time::Duration;
use steadfast_engine::effect::AssignedTask;
use steadfast_engine::id::{PollId, QueueKey, WorkerVersion};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until, timeout};

/// A poll whose time is over while a proposal holds it waits this long for what comes of it.
const HELD_GRACE: Duration = Duration::from_millis(500);
/// And this long when leadership was lost meanwhile.
const LOST_GRACE: Duration = Duration::from_secs(2);

/// A worker's poll.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Poll {
    /// Its name.
    pub id: PollId,
    /// What it polls.
    pub queue: QueueKey,
    /// Whether that is a worker's own queue.
    pub sticky: bool,
    /// The worker's identity.
    pub identity: String,
    /// The worker's version.
    pub worker: WorkerVersion,
}

/// What a poll gets.
#[derive(Debug)]
pub enum Polled {
    /// A claimed task.
    Task(AssignedTask),
    /// A query on its own.
    Query(QueryTask),
}

/// A registered poll. When its call is dropped, what it was given goes back.
struct Registered<'a> {
    core: &'a Core,
    queue: QueueKey,
    poll: PollId,
    answer: oneshot::Receiver<Polled>,
}

impl Core {
    pub(super) async fn poll(
        &self,
        poll: Poll,
        deadline: Instant,
    ) -> Result<Option<Polled>, Unavailable> {
        self.wait_for_office().await?;
        if self.ending.is_cancelled() {
            return Ok(None);
        }
        let answer = self
            .matching
            .register(&poll, deadline, self.time.clock().wall());
        let answer = answer.map_err(|refused| match refused {
            NotRegistered::Closed => Unavailable::NotLeader,
            NotRegistered::Full => Unavailable::Overloaded,
        })?;
        let mut registered = Registered {
            core: self,
            queue: poll.queue,
            poll: poll.id,
            answer,
        };
        self.look(&registered.queue);
        let polled = registered.wait(deadline).await?;
        let counter = if polled.is_some() {
            &self.telemetry.polls_answered
        } else {
            &self.telemetry.polls_empty
        };
        counter.add(1);
        Ok(polled)
    }
}

impl Registered<'_> {
    async fn wait(&mut self, deadline: Instant) -> Result<Option<Polled>, Unavailable> {
        let mut office = self.core.office.subscribe();
        tokio::select! {
            biased;
            polled = &mut self.answer => return polled.map(Some).map_err(|_| Unavailable::NotLeader),
            () = sleep_until(deadline) => {}
            () = self.core.ending.cancelled() => {}
            () = async { drop(office.wait_for(|office| !*office).await) } => {
                return match timeout(LOST_GRACE, &mut self.answer).await {
                    Ok(Ok(polled)) => Ok(Some(polled)),
                    Ok(Err(_)) | Err(_) => Err(Unavailable::NotLeader),
                };
            }
        }
        if self.core.matching.leave(&self.queue, self.poll) {
            return Ok(None);
        }
        // A proposal holds it: what comes of that is known soon.
        match timeout(HELD_GRACE, &mut self.answer).await {
            Ok(Ok(polled)) => Ok(Some(polled)),
            Ok(Err(_)) | Err(_) => Ok(None),
        }
    }
}

impl Drop for Registered<'_> {
    fn drop(&mut self) {
        // Closed first: what is sent after this comes back to the sender.
        self.answer.close();
        self.core.matching.leave(&self.queue, self.poll);
        match self.answer.try_recv() {
            // Another node's poll is that node's business.
            Ok(Polled::Task(task)) if self.poll.boot == self.core.boot => {
                self.core
                    .return_task(token(&task).clone(), "its call was dropped");
            }
            Ok(Polled::Query(query)) => {
                // Refused only when leadership is lost: then the query ends, too.
                self.core.matching.offer_query(&self.queue, query);
            }
            Ok(Polled::Task(_)) | Err(_) => {}
        }
    }
}
