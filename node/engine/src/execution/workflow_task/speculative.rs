//! Speculative workflow tasks: they carry updates to an idle workflow, and nothing of them is in
//! the history until the worker accepts one or something else happens to the run.
//!
//! | event | scheduled | started |
//! |---|---|---|
//! | any other change of the run | Scheduled is written, it goes on as an ordinary task | Scheduled and Started are written, it goes on as an ordinary task |
//! | taken by a worker | started, still unwritten | |
//! | not taken for 5 s | Scheduled and TimedOut are written, an ordinary task follows | |
//! | completed, only rejections | | nothing is written (see `discards_speculative_task`) |
//! | completed otherwise | | Scheduled, Started and Completed are written |
//! | failed or timed out | | Scheduled, Started and Failed or TimedOut are written |
//! | the run is closed | it vanishes | Scheduled, Started and Failed are written |

use super::super::Execution;
use super::table;
use crate::reply::Fault;
use crate::tables::{DueKind, WorkflowTask, WorkflowTaskKind, WorkflowTaskPhase};
use crate::time::Span;
use prost::Name;
use steadfast_proto::temporal::update::v1::Rejection;
use steadfast_proto::temporal::workflowservice::v1::RespondWorkflowTaskCompletedRequest;

/// A speculative task that nobody took is given up after this long (Temporal server 1.32,
/// `tasks.SpeculativeWorkflowTaskScheduleToStartTimeout`).
const SCHEDULE_TO_START: Span = Span::seconds(5);

impl Execution<'_, '_> {
    /// Schedules a speculative task, unless a task is pending already or the first one waits.
    ///
    /// # Errors
    /// [`Fault`] when storage is broken.
    pub(crate) fn schedule_speculative_task(&mut self) -> Result<(), Fault> {
        let now = self.set.now;
        self.schedule_task(now, WorkflowTaskKind::Speculative)
    }

    /// Schedule-to-start time-out of a task that goes to the run's queue now.
    pub(super) fn schedule_to_start(&self, kind: WorkflowTaskKind) -> Span {
        match kind {
            WorkflowTaskKind::Speculative => SCHEDULE_TO_START,
            WorkflowTaskKind::Normal | WorkflowTaskKind::Transient => self
                .run
                .sticky
                .as_ref()
                .map_or(Span::ZERO, |sticky| sticky.schedule_to_start),
        }
    }

    /// Something else happens to the run: a speculative task becomes an ordinary one, its events
    /// come before what happens.
    pub(in crate::execution) fn make_speculative_ordinary(&mut self) {
        let is_speculative = |task: &mut WorkflowTask| task.kind == WorkflowTaskKind::Speculative;
        let Some(mut task) = self.run.workflow_task.take_if(is_speculative) else {
            return;
        };
        self.write_speculative_events(&mut task, "");
        let waits = matches!(task.phase, WorkflowTaskPhase::Scheduled { .. });
        self.set.took(if waits {
            &table::WRITTEN
        } else {
            &table::WRITTEN_STARTED
        });
        if waits {
            let due = DueKind::WorkflowTaskScheduleToStart { task: task.number };
            self.remove_due(task.scheduled_at.after(task.schedule_to_start), &due);
            task.schedule_to_start = if task.sticky {
                self.schedule_to_start(task.kind)
            } else {
                Span::ZERO
            };
            if !task.schedule_to_start.is_zero() {
                self.add_due(task.scheduled_at.after(task.schedule_to_start), due);
            }
        }
        self.run.workflow_task = Some(task);
    }

    /// Writes the events of a speculative task that has left the run, or is about to come back as
    /// an ordinary one; `identity` is the started event's. Other kinds are left as they are.
    pub(super) fn write_speculative_events(&mut self, task: &mut WorkflowTask, identity: &str) {
        if task.kind == WorkflowTaskKind::Speculative {
            identity.clone_into(&mut task.identity);
            self.write_virtual_events(task);
        }
    }

    /// Writes the scheduled event, and the started one if it has started.
    pub(super) fn write_virtual_events(&mut self, task: &mut WorkflowTask) {
        assert!(
            task.scheduled_event_id == self.run.next_event_id,
            "no event gets an id while a task's own events are not written"
        );
        let events = self.virtual_events(task);
        self.run.next_event_id += i64::try_from(events.len()).unwrap_or(0);
        self.batch.extend(events);
        task.kind = WorkflowTaskKind::Normal;
    }

    /// Whether a completion leaves nothing of the started task: it is speculative, the worker did
    /// nothing but reject updates, and it can do without the events that the task told of.
    pub(crate) fn discards_speculative_task(
        &self,
        request: &RespondWorkflowTaskCompletedRequest,
    ) -> bool {
        let is_speculative = self
            .run
            .workflow_task
            .as_ref()
            .is_some_and(|task| task.kind == WorkflowTaskKind::Speculative);
        if !is_speculative
            || !request.commands.is_empty()
            || request.force_create_new_workflow_task
            || !request.messages.iter().all(is_rejection)
        {
            return false;
        }
        let forgets = request
            .capabilities
            .as_ref()
            .is_some_and(|capabilities| capabilities.discard_speculative_workflow_task_with_events);
        // The last completed task's events are the last two that the worker is sure to have.
        let told = self.run.next_event_id - (self.run.last_completed_started_event_id + 2);
        let allowed = if forgets {
            self.set.limits().discarded_events_max
        } else {
            0
        };
        told <= allowed
    }

    /// Ends a started speculative task of which nothing is left.
    pub(crate) fn discard_speculative_task(&mut self) {
        self.end_task();
        self.set.took(&table::DISCARDED);
        self.run.workflow_task_attempt = 1;
        self.run.close_attempted = false;
        self.leaves_no_trace = true;
    }
}

fn is_rejection(message: &steadfast_proto::temporal::protocol::v1::Message) -> bool {
    message.body.as_ref().is_some_and(|body| {
        body.type_url.rsplit('/').next() == Some(Rejection::full_name().as_str())
    })
}
