//! Reset: a run forked off another's history (the base) at the end of one of its transactions.
//!
//! The new run shares the base's events up to the point as parts of its branches; its state is
//! built again from them. What was pending at the point starts anew: activities at attempt 1 with
//! their time-outs counted from now, timers with the time they had, the workflow task as failed.

mod others;
mod reapply;
mod replay;

pub(crate) use reapply::Reapply;

use super::open::{new_run, new_run_id};
use super::{Execution, HISTORY_SERVICE, Opening, activity, workflow_task};
use crate::command::timer;
use crate::event::Attributes;
use crate::id::{RunRef, uuid_text};
use crate::read::history;
use crate::reply::{Fault, Refusal, Stop};
use crate::tables::{BranchPart, BranchUse, DueKind, Record, Run, UserTimer, WriteSet, keys};
use crate::time::Timestamp;
use prost::Message;
use replay::Pending;
use steadfast_proto::temporal::enums::v1::{EventType, RetryState, WorkflowTaskFailedCause};
use steadfast_proto::temporal::failure::v1::failure::FailureInfo;
use steadfast_proto::temporal::failure::v1::{Failure, ResetWorkflowFailureInfo};
use steadfast_proto::temporal::history::v1::{
    ActivityTaskFailedEventAttributes, History, HistoryEvent, WorkflowTaskFailedEventAttributes,
    WorkflowTaskStartedEventAttributes,
};

/// A fork of a run's history.
#[derive(Debug)]
pub(crate) struct Fork<'a> {
    /// The run whose history is shared.
    pub(crate) base: &'a Run,
    /// The last event that is shared.
    pub(crate) last_event_id: i64,
    /// The caller's reason, in the failures that the reset writes.
    pub(crate) reason: &'a str,
    /// The caller's request id, for the dedup of repeated resets.
    pub(crate) request_id: &'a str,
    /// What of the base's later events is applied again.
    pub(crate) reapply: Reapply,
}

impl<'set, 'tables> Execution<'set, 'tables> {
    /// Opens the new run with the base's events up to the point, fails the workflow task that was
    /// pending there, and applies again what came later. The next workflow task is the caller's.
    ///
    /// # Errors
    /// Refused when the point is no end of a transaction or no workflow task is pending there.
    pub(crate) fn fork(set: &'set mut WriteSet<'tables>, fork: &Fork<'_>) -> Result<Self, Stop> {
        let last = fork.last_event_id;
        if !history::begins_transaction(set, fork.base, last + 1)? {
            let text = format!(
                "StateRebuilder unable to Rebuild mutable state to event ID: {last}, version: 0, this event must be at the boundary"
            );
            return Err(Refusal::InvalidArgument(text).into());
        }
        let mut execution = Self::open_fork(set, fork)?;
        let mut pending = Pending::default();
        let mut bytes = 0_usize;
        let base = fork.base;
        let mut next = Some(1);
        while let Some(from) = next {
            let page =
                history::forward(execution.set, base, from, last, history::PAGE_BATCHES_MAX)?;
            bytes += page.events.len();
            next = page.next;
            for event in decoded(page.events)? {
                execution.replay(event, &mut pending)?;
                if execution.set.is_full() {
                    return Err(too_much());
                }
            }
        }
        execution.run.history_bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        execution.run.next_event_id = last + 1;
        execution.restore_requests(&mut pending);
        execution.fail_pending_task(fork, &pending)?;
        execution.restore_activities(fork, pending.activities)?;
        execution.restore_timers(pending.timers)?;
        execution.restore_children(&pending.others)?;
        execution.reapply(base, last, &fork.reapply)?;
        execution.send_again(pending.others)?;
        Ok(execution)
    }

    fn open_fork(set: &'set mut WriteSet<'tables>, fork: &Fork<'_>) -> Result<Self, Fault> {
        let base = fork.base;
        let first = decoded(history::event(set, base, 1)?)?.into_iter().next();
        let started_event = first.unwrap_or_default();
        let Some(Attributes::WorkflowExecutionStartedEventAttributes(started)) =
            started_event.attributes
        else {
            return Err(Fault::Decode(
                "a history begins with a started event".to_owned(),
            ));
        };
        let (number, run_id) = new_run_id(set);
        let opening = Opening {
            run: RunRef {
                number,
                ..base.run.clone()
            },
            run_id,
            request_id: base.start_request_id.clone(),
            started,
            user_metadata: started_event.user_metadata,
            links: Vec::new(),
            parent: base.parent.clone(),
        };
        let mut run = Box::new(new_run(&opening, set.now));
        run.branches = forked_branches(base, fork.last_event_id, number);
        run.first_task_pending = false;
        run.original_started_at = base.original_started_at;
        fork.request_id.clone_into(&mut run.reset_request_id);
        let times = &mut run.times;
        times.execution_at = set.now;
        let expires = |span: crate::time::Span| {
            if span.is_zero() {
                Timestamp(0)
            } else {
                set.now.after(span)
            }
        };
        times.execution_expires_at = expires(times.execution_timeout);
        times.run_expires_at = expires(times.run_timeout);
        if times.run_expires_at != Timestamp(0) && times.execution_expires_at != Timestamp(0) {
            times.run_expires_at = times.run_expires_at.min(times.execution_expires_at);
        }
        let times = run.times;
        let mut execution = Self::with(set, run);
        execution.is_new = true;
        execution.use_branches();
        execution.remember_request(&opening.request_id, EventType::WorkflowExecutionStarted, 1);
        if times.run_expires_at != Timestamp(0) {
            execution.add_due(times.run_expires_at, DueKind::RunTimeout);
        }
        if times.execution_expires_at != Timestamp(0) {
            execution.add_due(times.execution_expires_at, DueKind::ExecutionTimeout);
        }
        Ok(execution)
    }

    /// A shared part must outlive the run that wrote it.
    fn use_branches(&mut self) {
        let run = self.run.run.clone();
        for part in &self.run.branches {
            if part.branch != run.number {
                let branch = RunRef {
                    number: part.branch,
                    ..run.clone()
                };
                let key = keys::branch_use_key(&branch, run.number);
                let until = part.until;
                self.set.put(key, Record::BranchUse(BranchUse { until }));
            }
        }
    }

    fn fail_pending_task(&mut self, fork: &Fork<'_>, pending: &Pending) -> Result<(), Refusal> {
        let Some(task) = pending.task else {
            let text = format!(
                "Can only reset workflow to event ID in range [WorkflowTaskScheduled +1, WorkflowTaskStarted + 1]: {}",
                fork.last_event_id + 1
            );
            return Err(Refusal::InvalidArgument(text));
        };
        let mut started_event_id = task.started_event_id;
        if started_event_id == 0 {
            let request_id = uuid_text(&self.set.draw());
            let attributes = WorkflowTaskStartedEventAttributes {
                scheduled_event_id: task.scheduled_event_id,
                identity: HISTORY_SERVICE.to_owned(),
                request_id,
                history_size_bytes: self.history_bytes(),
                ..WorkflowTaskStartedEventAttributes::default()
            };
            started_event_id =
                self.add_event(Attributes::WorkflowTaskStartedEventAttributes(attributes));
        }
        self.set.took(&workflow_task::table::FAILED_BY_RESET);
        self.add_event(Attributes::WorkflowTaskFailedEventAttributes(
            WorkflowTaskFailedEventAttributes {
                scheduled_event_id: task.scheduled_event_id,
                started_event_id,
                cause: WorkflowTaskFailedCause::ResetWorkflow.into(),
                failure: Some(reset_failure(fork.reason)),
                identity: HISTORY_SERVICE.to_owned(),
                base_run_id: fork.base.run_id.clone(),
                new_run_id: self.run.run_id.clone(),
                ..WorkflowTaskFailedEventAttributes::default()
            },
        ));
        Ok(())
    }

    /// Activities that wait begin anew; one whose start is in the shared history has failed.
    fn restore_activities(
        &mut self,
        fork: &Fork<'_>,
        activities: replay::Activities,
    ) -> Result<(), Stop> {
        for (scheduled_event_id, waiting) in activities {
            if self.set.is_full() {
                return Err(too_much());
            }
            if waiting.started_event_id != 0 {
                let attributes = ActivityTaskFailedEventAttributes {
                    failure: Some(reset_failure(fork.reason)),
                    scheduled_event_id,
                    started_event_id: waiting.started_event_id,
                    identity: waiting.started_identity,
                    retry_state: RetryState::NonRetryableFailure.into(),
                    ..ActivityTaskFailedEventAttributes::default()
                };
                self.add_event(Attributes::ActivityTaskFailedEventAttributes(attributes));
                continue;
            }
            let mut pending = activity::schedule(self, scheduled_event_id, waiting.scheduled);
            pending.cancel_requested_event_id = waiting.cancel_requested_event_id;
            self.set.took(&activity::table::RESTORED);
            activity::dispatch(self, pending)?;
        }
        Ok(())
    }

    fn restore_timers(&mut self, timers: replay::Timers) -> Result<(), Stop> {
        for (started_event_id, (timer_id, fire_at)) in timers {
            if self.set.is_full() {
                return Err(too_much());
            }
            let key = keys::timer_key(&self.run.run, &timer_id);
            let timer = UserTimer {
                started_event_id,
                fire_at,
            };
            self.set.put(key, Record::UserTimer(timer));
            self.set.took(&timer::table::RESTORED);
            self.run.pending_timers += 1;
            let kind = DueKind::UserTimer {
                started_event_id,
                timer_id,
            };
            self.add_due(fire_at, kind);
        }
        Ok(())
    }
}

/// The base's parts up to the point, and the new run's own.
fn forked_branches(base: &Run, last_event_id: i64, number: u64) -> Vec<BranchPart> {
    let mut parts = Vec::with_capacity(base.branches.len() + 1);
    for part in &base.branches {
        let until = part.until.min(last_event_id);
        let branch = part.branch;
        parts.push(BranchPart { branch, until });
        if until == last_event_id {
            break;
        }
    }
    let (branch, until) = (number, i64::MAX);
    parts.push(BranchPart { branch, until });
    parts
}

fn reset_failure(reason: &str) -> Failure {
    Failure {
        message: reason.to_owned(),
        failure_info: Some(FailureInfo::ResetWorkflowFailureInfo(
            ResetWorkflowFailureInfo::default(),
        )),
        ..Failure::default()
    }
}

/// What one mutation may write is bounded, and a reset is one mutation.
fn too_much() -> Stop {
    let text =
        "workflow has more pending operations or events to apply again than a reset can take";
    Refusal::FailedPrecondition(text.to_owned()).into()
}

fn decoded(events: bytes::Bytes) -> Result<Vec<HistoryEvent>, Fault> {
    History::decode(events)
        .map(|history| history.events)
        .map_err(|error| Fault::Decode(error.to_string()))
}
