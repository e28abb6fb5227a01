//! Duties that follow from applied mutations. Each can be derived again from the state; the leader
//! does them, except that every node delivers to its own polls.

use super::Core;
use super::item::LogItem;
use steadfast_engine::effect::AssignedTask;
use steadfast_engine::id::PollId;
use steadfast_engine::mutation::TaskToken;
use steadfast_engine::{Effect, Mutation};
use steadfast_planted::{Bug, planted};

impl Core {
    /// Does the duties of one applied mutation. Quick: it runs on the apply thread.
    pub(super) fn release(&self, effects: Vec<Effect>) {
        let leads = self.in_office();
        for effect in effects {
            match effect {
                Effect::TaskAssigned { reservation, task } => self.deliver(reservation.poll, &task),
                Effect::RunChanged { run, closed: _ } => self.watchers.changed(&run),
                Effect::UpdateChanged {
                    run,
                    update_id,
                    sequence,
                    end,
                } => self.updates.changed(&run, &update_id, sequence, end),
                Effect::TaskQueued { queue } if leads => {
                    self.matching.task_queued(&queue);
                    self.look(&queue);
                }
                Effect::WorkflowTaskEnded { run } if leads => {
                    self.queries.workflow_task_ended(&run)
                }
                Effect::DueAt(at) if leads => self.alarm.due_at(at),
                Effect::OutboxReady(_) if leads => self.outbox.ready(),
                Effect::DeleteRun(run) if leads => self.alarm.delete(run),
                Effect::TaskQueued { .. }
                | Effect::WorkflowTaskEnded { .. }
                | Effect::DueAt(_)
                | Effect::OutboxReady(_)
                | Effect::DeleteRun(_) => {}
            }
        }
    }

    /// The mistake of [`Bug::EffectsBeforeCommit`]: what an entry would hand out, were it applied to
    /// this state, is handed out before it is committed.
    pub(super) fn release_before_commit(&self, content: &[u8]) {
        let Ok(LogItem::Batch(batch)) = super::item::decode(content) else {
            return;
        };
        for proposed in &batch {
            let applied = steadfast_engine::apply(&self.view(), proposed);
            for effect in applied.map(|applied| applied.effects).unwrap_or_default() {
                if let Effect::TaskAssigned { reservation, task } = effect {
                    self.matching.assign(reservation.poll, &task);
                }
            }
        }
    }

    /// Hands a claimed task to the poll that waits for it here. A poll of this process that has
    /// left gives it back; what happens at another node is that node's business.
    fn deliver(&self, poll: PollId, task: &AssignedTask) {
        let mine = poll.boot == self.boot;
        match self.matching.assign(poll, task) {
            Some(Ok(())) => {}
            Some(Err(())) if mine => {
                self.return_task(token(task).clone(), "its poll had left the line");
            }
            None if mine && planted(Bug::EffectsBeforeCommit) => {}
            None if mine && !self.deliveries.deliver(poll, task) => {
                self.return_task(token(task).clone(), "its forwarded poll had left");
            }
            Some(Err(())) | None => {}
        }
    }

    /// A claimed task whose worker is gone goes back, by this node or through the leader.
    pub(super) fn return_task(&self, token: TaskToken, why: &'static str) {
        tracing::debug!(
            run = token.run_id,
            scheduled_event_id = token.scheduled_event_id,
            claim = token.claim,
            why,
            "a task goes back to its queue"
        );
        self.telemetry.returned.add(1);
        if self.in_office() {
            self.propose_detached(Mutation::ReturnTask(token));
        } else {
            self.deliveries.tell_leader(token);
        }
    }
}

pub(super) fn token(task: &AssignedTask) -> &TaskToken {
    match task {
        AssignedTask::Workflow(task) => &task.token,
        AssignedTask::Activity(task) => &task.token,
    }
}
