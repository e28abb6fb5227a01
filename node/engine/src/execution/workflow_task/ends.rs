//! How a workflow task ends: completed, failed, timed out, or put back.

use super::super::Execution;
use super::table;
use crate::event::Attributes;
use crate::id::WorkerVersion;
use crate::reply::Fault;
use crate::tables::{DueKind, StickyQueue, WorkflowTask, WorkflowTaskKind, WorkflowTaskPhase};
use crate::task_queue;
use crate::time::Span;
use steadfast_proto::temporal::enums::v1::{TimeoutType, WorkflowTaskFailedCause};
use steadfast_proto::temporal::failure::v1::Failure;
use steadfast_proto::temporal::history::v1::{
    WorkflowTaskFailedEventAttributes, WorkflowTaskTimedOutEventAttributes,
};

/// Identity of events that the server makes of itself.
pub(crate) const HISTORY_SERVICE: &str = "history-service";

/// Why a workflow task failed.
#[derive(Debug, Clone, Default)]
pub struct TaskFailure {
    /// `WorkflowTaskFailedCause`; unknown numbers pass through.
    pub cause: i32,
    /// The failure.
    pub failure: Option<Failure>,
    /// Who says so.
    pub identity: String,
    /// As the worker sent it.
    pub binary_checksum: String,
}

impl Execution<'_, '_> {
    /// Takes the started task as completed: a transient one's events are written now. The
    /// completed event is added by the caller, with what the worker sent.
    pub(crate) fn end_completed_task(&mut self) -> Option<WorkflowTask> {
        let mut task = self.end_task()?;
        self.set.took(match task.kind {
            WorkflowTaskKind::Normal => &table::COMPLETED,
            WorkflowTaskKind::Transient => &table::COMPLETED_TRANSIENT,
            WorkflowTaskKind::Speculative => &table::COMPLETED_SPECULATIVE,
        });
        if task.kind != WorkflowTaskKind::Normal {
            self.write_virtual_events(&mut task);
        }
        self.run.last_completed_started_event_id = task.started_event_id;
        self.run.workflow_task_attempt = 1;
        self.run.close_attempted = false;
        self.clear_problems();
        Some(task)
    }

    /// Fails the started task. Only the first failure of a series is written. Stickiness ends; a
    /// task that was sticky is tried again as a first attempt, any other is transient next.
    pub(crate) fn fail_workflow_task(&mut self, failure: TaskFailure) {
        let Some(mut task) = self.end_task() else {
            return;
        };
        self.set.took(match task.kind {
            WorkflowTaskKind::Normal => &table::FAILED,
            WorkflowTaskKind::Transient => &table::FAILED_TRANSIENT,
            WorkflowTaskKind::Speculative => &table::FAILED_SPECULATIVE,
        });
        self.write_speculative_events(&mut task, &failure.identity);
        let cause = WorkflowTaskFailedCause::try_from(failure.cause).unwrap_or_default();
        self.note_problem(task.attempt, "WorkflowTaskFailed", &format!("{cause:?}"));
        if task.kind == WorkflowTaskKind::Normal {
            #[expect(deprecated, reason = "Temporal still writes the checksum")]
            self.add_event(Attributes::WorkflowTaskFailedEventAttributes(
                WorkflowTaskFailedEventAttributes {
                    scheduled_event_id: task.scheduled_event_id,
                    started_event_id: task.started_event_id,
                    cause: failure.cause,
                    failure: failure.failure,
                    identity: failure.identity,
                    binary_checksum: failure.binary_checksum,
                    ..WorkflowTaskFailedEventAttributes::default()
                },
            ));
        }
        self.count_attempt(&task);
    }

    /// Times a task out: started, or waiting on a sticky queue.
    pub(crate) fn time_out_workflow_task(&mut self, timeout: TimeoutType) {
        let Some(mut task) = self.end_task() else {
            return;
        };
        let untaken = timeout == TimeoutType::ScheduleToStart;
        self.set.took(match task.kind {
            WorkflowTaskKind::Speculative if untaken => &table::UNTAKEN_SPECULATIVE,
            WorkflowTaskKind::Speculative => &table::TIMED_OUT_SPECULATIVE,
            WorkflowTaskKind::Normal | WorkflowTaskKind::Transient if untaken => {
                &table::TIMED_OUT_STICKY
            }
            WorkflowTaskKind::Normal => &table::TIMED_OUT,
            WorkflowTaskKind::Transient => &table::TIMED_OUT_TRANSIENT,
        });
        self.write_speculative_events(&mut task, "");
        self.note_problem(
            task.attempt,
            "WorkflowTaskTimedOut",
            &format!("{timeout:?}"),
        );
        if task.kind == WorkflowTaskKind::Normal {
            self.add_event(Attributes::WorkflowTaskTimedOutEventAttributes(
                WorkflowTaskTimedOutEventAttributes {
                    scheduled_event_id: task.scheduled_event_id,
                    started_event_id: task.started_event_id,
                    timeout_type: timeout.into(),
                },
            ));
        }
        if untaken {
            self.run.sticky = None;
        } else {
            self.count_attempt(&task);
        }
    }

    fn count_attempt(&mut self, task: &WorkflowTask) {
        let was_sticky = self.run.sticky.take().is_some();
        self.run.workflow_task_attempt = if was_sticky {
            1
        } else {
            task.attempt.saturating_add(1)
        };
    }

    /// Removes the task with its due times and its queue entry.
    pub(crate) fn end_task(&mut self) -> Option<WorkflowTask> {
        let task = self.run.workflow_task.take()?;
        self.dispatch = false;
        self.task_ended = true;
        match task.phase {
            WorkflowTaskPhase::Scheduled { task: sequence } => {
                if sequence != 0 {
                    let queue = self.workflow_queue(&task.queue);
                    task_queue::remove(self.set, &queue, sequence);
                }
                if !task.schedule_to_start.is_zero() {
                    let at = task.scheduled_at.after(task.schedule_to_start);
                    let kind = DueKind::WorkflowTaskScheduleToStart { task: task.number };
                    self.remove_due(at, &kind);
                }
            }
            WorkflowTaskPhase::Started { at, .. } => {
                if task.returned != 0 {
                    let queue = self.workflow_queue(&task.queue);
                    task_queue::remove(self.set, &queue, task.returned);
                }
                let kind = DueKind::WorkflowTaskStartToClose { task: task.number };
                self.remove_due(at.after(task.timeout), &kind);
            }
        }
        Some(task)
    }

    /// Moves a sticky task that waits in its queue to the normal queue as it is, without an event.
    /// False when there is none.
    ///
    /// # Errors
    /// [`Fault`] when storage is broken.
    pub(crate) fn move_to_normal_queue(&mut self) -> Result<bool, Fault> {
        let Some(mut task) = self.run.workflow_task.take() else {
            return Ok(false);
        };
        let waits = match &mut task.phase {
            WorkflowTaskPhase::Scheduled { task } => task,
            WorkflowTaskPhase::Started { .. } => &mut task.returned,
        };
        let moves = task.sticky && *waits != 0;
        if moves {
            let sequence = std::mem::take(waits);
            self.set.took(&table::MOVED);
            let queue = self.workflow_queue(&task.queue);
            task_queue::remove(self.set, &queue, sequence);
            // A speculative task's time-out is not the sticky queue's: it stays.
            let is_speculative = task.kind == WorkflowTaskKind::Speculative;
            if !task.schedule_to_start.is_zero() && !is_speculative {
                let at = task.scheduled_at.after(task.schedule_to_start);
                self.remove_due(
                    at,
                    &DueKind::WorkflowTaskScheduleToStart { task: task.number },
                );
                task.schedule_to_start = Span::ZERO;
            }
            task.queue.clone_from(&self.run.task_queue);
            task.sticky = false;
            self.dispatch = true;
            self.leaves_no_trace |= is_speculative;
        }
        self.run.workflow_task = Some(task);
        Ok(moves)
    }

    /// Gives a started task, as it is, to the next poller of its queue: its own poller left before
    /// the answer was written. Late answers of the old claim are fenced off. False when the claim
    /// is not the current one.
    pub(crate) fn return_workflow_task(&mut self, of_claim: u64) -> bool {
        let next_claim = self.run.next_claim;
        let Some(task) = self.run.workflow_task.as_mut() else {
            return false;
        };
        let WorkflowTaskPhase::Started { claim, .. } = &mut task.phase else {
            return false;
        };
        if *claim != of_claim || task.returned != 0 {
            return false;
        }
        *claim = next_claim;
        self.leaves_no_trace |= task.kind == WorkflowTaskKind::Speculative;
        self.run.next_claim += 1;
        self.dispatch = true;
        self.set.took(&table::PUT_BACK);
        true
    }

    /// Whether the task is started under this claim.
    pub(crate) fn is_started_by(&self, claim: u64) -> bool {
        self.run.workflow_task.as_ref().is_some_and(|task| {
            matches!(task.phase, WorkflowTaskPhase::Started { claim: own, .. } if own == claim)
        })
    }

    /// Remembers the worker's own queue, or forgets it.
    pub(crate) fn set_sticky(&mut self, sticky: Option<StickyQueue>) {
        self.run.sticky = sticky;
    }

    /// Remembers the version of the worker that completed a task.
    pub(crate) fn set_worker_version(&mut self, version: WorkerVersion) {
        self.run.worker_version = Some(version);
    }

    /// Ends whatever workflow task there is because the run is closed from outside: a started one
    /// fails with FORCE_CLOSE_COMMAND; then what was buffered is written.
    ///
    /// # Errors
    /// [`Fault`] when storage is broken.
    pub(crate) fn end_task_for_close(&mut self) -> Result<(), Fault> {
        if self.has_started_workflow_task() {
            self.fail_workflow_task(TaskFailure {
                cause: WorkflowTaskFailedCause::ForceCloseCommand.into(),
                identity: HISTORY_SERVICE.to_owned(),
                ..TaskFailure::default()
            });
        }
        self.run.dropped_task = self.end_task();
        if self.run.dropped_task.is_some() {
            self.set.took(&table::DROPPED);
        }
        self.flush_buffered()
    }
}
