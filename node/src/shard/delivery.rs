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
    /// Delivers to a forwarded poll; false when it has left without an answer.
    pub(super) fn deliver(&self, poll: PollId, task: &AssignedTask) -> bool {
        let mut state = self.lock();
        if let Some(waiting) = state.waiting.remove(&poll) {
            drop(state);
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

    pub(super) fn leave(&self, poll: PollId) {
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
        let (waiting, task) = oneshot::channel();
        core.deliveries.lock().waiting.insert(poll, waiting);
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
            self.core.deliveries.lock().waiting.remove(&self.poll);
            return;
        }
        self.core.deliveries.leave(self.poll);
        self.task.close();
        let here = self.task.try_recv().ok().map(|task| token(&task).clone());
        if let Some(token) = here.or(self.given.take()) {
            self.core.return_task(token);
        }
    }
}
