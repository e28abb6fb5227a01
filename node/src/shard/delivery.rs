//! The sure path of a task to a poll that was forwarded: this node's own apply (design D5).

use super::Core;
use super::effect::token;
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use steadfast_engine::effect::AssignedTask;
use steadfast_engine::id::PollId;
use steadfast_engine::mutation::TaskToken;
use tokio::sync::oneshot;
use tokio::time::Instant;

/// A poll that left is remembered this long: its claim may still be on its way.
const LEFT_FOR: Duration = Duration::from_secs(30);
const LEFT_MAX: usize = 20_000;
/// The leader is told of a returned task for so long, once a second: one telling may be lost, and
/// a second one is refused without harm.
const TOLD_FOR: Duration = Duration::from_millis(2_500);
/// Returned tasks told at once; an exchange is small. The rest runs into its time-out.
const TOLD_MAX: usize = 64;

#[derive(Debug, Default)]
struct State {
    waiting: BTreeMap<PollId, oneshot::Sender<AssignedTask>>,
    left: BTreeMap<PollId, Instant>,
    returned: VecDeque<(Instant, TaskToken)>,
}

/// Forwarded polls of this node.
#[derive(Debug, Default)]
pub(super) struct Deliveries(Mutex<State>);

impl Deliveries {
    /// Delivers to a forwarded poll; false when it has left without an answer. The lock is held while
    /// the task is sent: a poll drops its receiver after it has said here why, so this one finds
    /// either the receiver or the reason.
    pub(super) fn deliver(&self, poll: PollId, task: &AssignedTask) -> bool {
        let mut state = self.lock();
        if let Some(waiting) = state.waiting.remove(&poll) {
            return waiting.send(task.clone()).is_ok();
        }
        // One that is not known was answered by the leader already.
        state.left.remove(&poll).is_none()
    }

    pub(super) fn tell_leader(&self, token: TaskToken) {
        let mut state = self.lock();
        state.returned.push_back((Instant::now(), token));
        while state.returned.len() > TOLD_MAX {
            state.returned.pop_front();
        }
    }

    /// Tasks that the leader shall take back.
    pub(super) fn returned(&self) -> Vec<TaskToken> {
        let mut state = self.lock();
        state
            .returned
            .retain(|(since, _)| since.elapsed() < TOLD_FOR);
        state
            .returned
            .iter()
            .map(|(_, token)| token.clone())
            .collect()
    }

    fn register(&self, poll: PollId) -> oneshot::Receiver<AssignedTask> {
        let (waiting, task) = oneshot::channel();
        self.lock().waiting.insert(poll, waiting);
        task
    }

    /// The poll has its answer: its receiver may go.
    fn answered(&self, poll: PollId) {
        self.lock().waiting.remove(&poll);
    }

    /// The poll has gone without an answer: its receiver may go.
    fn leave(&self, poll: PollId) {
        let mut state = self.lock();
        state.waiting.remove(&poll);
        if state.left.len() >= LEFT_MAX {
            state.left.retain(|_, since| since.elapsed() < LEFT_FOR);
        }
        if state.left.len() < LEFT_MAX {
            state.left.insert(poll, Instant::now());
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A registered poll. Dropped without [`Delivery::answered`], its worker is gone: the task goes
/// back, whether it is here already or comes later.
#[derive(Debug)]
pub struct Delivery {
    core: Arc<Core>,
    poll: PollId,
    task: oneshot::Receiver<AssignedTask>,
    given: Option<TaskToken>,
    answered: bool,
}

impl Delivery {
    pub(super) fn register(core: Arc<Core>, poll: PollId) -> Self {
        let task = core.deliveries.register(poll);
        Self {
            core,
            poll,
            task,
            given: None,
            answered: false,
        }
    }

    /// Waits for the task, for ever when there is none.
    pub async fn task(&mut self) -> AssignedTask {
        if self.given.is_none()
            && let Ok(task) = (&mut self.task).await
        {
            self.given = Some(token(&task).clone());
            return task;
        }
        std::future::pending().await
    }

    /// The poll has its answer, or needs none any more.
    pub fn answered(mut self) {
        self.answered = true;
    }
}

impl Drop for Delivery {
    fn drop(&mut self) {
        if self.answered {
            self.core.deliveries.answered(self.poll);
            return;
        }
        self.core.deliveries.leave(self.poll);
        self.task.close();
        let here = self.task.try_recv().ok().map(|task| token(&task).clone());
        if let Some(token) = here.or(self.given.take()) {
            self.core
                .return_task(token, "its forwarded call was dropped");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU64, Ordering};
    use steadfast_engine::effect::AssignedActivityTask;
    use steadfast_engine::id::{NamespaceNumber, RunRef, TaskKind};
    use steadfast_engine::time::{Span, Timestamp};

    /// Fewer than what may be remembered of polls that left. A wrong order is seen in three of a
    /// thousand.
    const ROUNDS: u64 = 15_000;

    fn task() -> AssignedTask {
        AssignedTask::Activity(AssignedActivityTask {
            token: TaskToken {
                kind: TaskKind::Activity,
                run: RunRef {
                    namespace: NamespaceNumber(1),
                    workflow_id: "order".to_owned(),
                    number: 1,
                },
                run_id: "run".to_owned(),
                scheduled_event_id: 5,
                started_event_id: 0,
                attempt: 1,
                claim: 1,
            },
            scheduled_at: Timestamp(0),
            attempt_scheduled_at: Timestamp(0),
            started_at: Timestamp(0),
            heartbeat_timeout: Span::ZERO,
        })
    }

    /// Lets apply and the end of a poll meet, each round a little earlier or later; whether the task
    /// has found its poll, and whether it was in the receiver in the end.
    fn race(end: impl Fn(&Deliveries, PollId) + Sync) -> Vec<(bool, bool)> {
        let (deliveries, task) = (Deliveries::default(), task());
        let polls: Vec<PollId> = (0..ROUNDS)
            .map(|sequence| PollId { boot: 1, sequence })
            .collect();
        let receivers: Vec<_> = polls
            .iter()
            .map(|poll| deliveries.register(*poll))
            .collect();
        let (begun, done) = (AtomicU64::new(0), AtomicU64::new(0));
        std::thread::scope(|scope| {
            let apply = scope.spawn(|| {
                let deliver = |poll: &PollId| {
                    until(&begun, poll.sequence + 1);
                    let delivered = deliveries.deliver(*poll, &task);
                    done.store(poll.sequence + 1, Ordering::Release);
                    delivered
                };
                polls.iter().map(deliver).collect::<Vec<bool>>()
            });
            let mut received = Vec::new();
            for (poll, mut receiver) in polls.iter().zip(receivers) {
                begun.store(poll.sequence + 1, Ordering::Release);
                for _ in 0..poll.sequence % 256 {
                    std::hint::spin_loop();
                }
                end(&deliveries, *poll);
                receiver.close();
                received.push(receiver.try_recv().is_ok());
                until(&done, poll.sequence + 1);
            }
            let delivered = apply.join().expect("no panic");
            delivered.into_iter().zip(received).collect()
        })
    }

    fn until(number: &AtomicU64, reached: u64) {
        let mut looks = 0_u32;
        while number.load(Ordering::Acquire) < reached {
            looks += 1;
            if looks.is_multiple_of(1_000) {
                std::thread::yield_now();
            }
            std::hint::spin_loop();
        }
    }

    #[test]
    fn a_task_whose_poll_is_answered_in_this_moment_does_not_go_back() {
        let seen = race(Deliveries::answered);
        let gone = seen.iter().filter(|(delivered, _)| !delivered).count();
        assert_eq!(gone, 0, "of {ROUNDS} tasks that a worker has");
    }

    #[test]
    fn a_task_whose_poll_leaves_in_this_moment_goes_back_once() {
        for (delivered, received) in race(Deliveries::leave) {
            // By apply, or by the poll that finds it in its hands.
            assert_eq!(delivered, received);
        }
    }
}
