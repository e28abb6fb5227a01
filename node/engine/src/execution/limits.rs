//! Limits that are checked at the end of each change of a run.

use super::{Closing, Execution, HISTORY_SERVICE, TaskFailure};
use crate::event::{Attributes, NewEvent};
use crate::limits::BUFFERED_EVENTS_MAX;
use crate::reply::Fault;
use crate::tables::{OverLimit, WorkflowTaskKind};
use steadfast_proto::temporal::enums::v1::{WorkflowExecutionStatus, WorkflowTaskFailedCause};
use steadfast_proto::temporal::history::v1::WorkflowExecutionTerminatedEventAttributes;

impl Execution<'_, '_> {
    /// A full buffer fails the started workflow task, so that the events get their ids.
    pub(super) fn check_buffer_limit(&mut self) -> Result<(), Fault> {
        // An older version of the rules let the configuration ask for more.
        let most = self.set.limits().buffered_events_max;
        let full = self.run.buffered_count > most.min(BUFFERED_EVENTS_MAX.into())
            || self.run.buffered_bytes > self.set.limits().buffered_bytes_max;
        if !self.buffered_here || !full || !self.has_started_workflow_task() {
            return Ok(());
        }
        self.fail_workflow_task(TaskFailure {
            cause: WorkflowTaskFailedCause::ForceCloseCommand.into(),
            identity: HISTORY_SERVICE.to_owned(),
            ..TaskFailure::default()
        });
        self.schedule_workflow_task()
    }

    /// A history over its hard limit ends the run: it could not be replayed any more.
    pub(super) fn check_history_limits(&mut self) -> Result<(), Fault> {
        if !self.is_open() || self.is_new {
            return Ok(());
        }
        let Some(reason) = self.passes_limit(0) else {
            return Ok(());
        };
        match self.set.over_limit {
            OverLimit::EndHere => self.terminate(reason, None, HISTORY_SERVICE, Vec::new()),
            OverLimit::Note => {
                self.set.over_limit = OverLimit::Noted(self.run.run.clone(), reason);
                Ok(())
            }
            OverLimit::Noted(..) => Ok(()),
        }
    }

    /// Terminates the run when the start of its workflow task would pass a limit; true when so.
    ///
    /// # Errors
    /// [`Fault`] when storage is broken.
    pub(crate) fn ends_instead_of_start(&mut self) -> Result<bool, Fault> {
        let task = self.run.workflow_task.as_ref();
        let written = task.is_some_and(|task| task.kind == WorkflowTaskKind::Normal);
        let Some(reason) = self.passes_limit(i64::from(written)) else {
            return Ok(false);
        };
        self.terminate(reason, None, HISTORY_SERVICE, Vec::new())?;
        Ok(true)
    }

    /// Why the history is too long, with so many more events. The count is that after this change,
    /// the size that before it, as in Temporal.
    fn passes_limit(&self, more: i64) -> Option<&'static str> {
        let limits = self.set.limits();
        if self.run.history_bytes > limits.history_bytes_max {
            Some("Workflow history size exceeds limit.")
        } else if self.run.next_event_id - 1 + more > limits.history_count_max {
            Some("Workflow history count exceeds limit.")
        } else {
            None
        }
    }

    /// Ends the run from outside, whatever it is doing.
    ///
    /// # Errors
    /// [`Fault`] when storage is broken.
    pub(crate) fn terminate(
        &mut self,
        reason: &str,
        details: Option<steadfast_proto::temporal::common::v1::Payloads>,
        identity: &str,
        links: Vec<steadfast_proto::temporal::common::v1::Link>,
    ) -> Result<(), Fault> {
        self.end_task_for_close()?;
        let attributes = WorkflowExecutionTerminatedEventAttributes {
            reason: reason.to_owned(),
            details,
            identity: identity.to_owned(),
        };
        let event = NewEvent::from(Attributes::WorkflowExecutionTerminatedEventAttributes(
            attributes,
        ))
        .with_links(links);
        let status = WorkflowExecutionStatus::Terminated;
        self.close(Closing {
            status,
            event,
            new_execution_run_id: String::new(),
        })
    }
}
