//! Limits that are checked at the end of each change of a run.

use super::{Closing, Execution, HISTORY_SERVICE, TaskFailure};
use crate::event::{Attributes, NewEvent};
use crate::limits::BUFFERED_EVENTS_MAX;
use crate::reply::Fault;
use steadfast_proto::temporal::enums::v1::{WorkflowExecutionStatus, WorkflowTaskFailedCause};
use steadfast_proto::temporal::history::v1::WorkflowExecutionTerminatedEventAttributes;

impl Execution<'_, '_> {
    /// A full buffer fails the started workflow task, so that the events get their ids.
    pub(super) fn check_buffer_limit(&mut self) -> Result<(), Fault> {
        // An older version of the rules let the configuration ask for more.
        let most = self.set.limits().buffered_events_max;
        let full = self.run.buffered_count >= most.min(BUFFERED_EVENTS_MAX.into());
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
        let limits = self.set.limits();
        let (count_max, bytes_max) = (limits.history_count_max, limits.history_bytes_max);
        if !self.is_open() || self.batch.is_empty() {
            return Ok(());
        }
        let count = self.run.next_event_id - 1;
        let reason = if count > count_max {
            "Workflow history count exceeds limit."
        } else if self.history_bytes() > bytes_max {
            "Workflow history size exceeds limit."
        } else {
            return Ok(());
        };
        self.terminate(reason, None, HISTORY_SERVICE, Vec::new())
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
