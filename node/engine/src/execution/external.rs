//! Signals and requests to cancel that a run sends to others.

pub(crate) mod table {
    crate::transition::transitions! { "external":
        SENT: "-" => "sent", "SIGNAL_ or REQUEST_CANCEL_EXTERNAL_WORKFLOW_EXECUTION", "Initiated";
        SENT_AGAIN: "-" => "sent", "a reset to a point where it had no answer", "";
        DELIVERED: "sent" => "-", "its target has it", "ExternalSignaled or ExternalCancelRequested";
        FAILED: "sent" => "-", "its target can't have it", "Failed";
    }
}

use super::Execution;
use crate::event::Attributes;
use crate::reply::Fault;
use crate::tables::{External, ExternalKind, MessageBody, Record, keys};
use steadfast_proto::temporal::common::v1::WorkflowExecution;
use steadfast_proto::temporal::history::v1::{
    ExternalWorkflowExecutionCancelRequestedEventAttributes,
    ExternalWorkflowExecutionSignaledEventAttributes,
    RequestCancelExternalWorkflowExecutionFailedEventAttributes,
    SignalExternalWorkflowExecutionFailedEventAttributes,
};

impl Execution<'_, '_> {
    /// Remembers a signal or a request to cancel, and sends it.
    pub(crate) fn initiate_external(&mut self, external: External, body: MessageBody) {
        let initiated_event_id = external.initiated_event_id;
        *self.pending_externals(external.kind) += 1;
        let key = keys::external_key(&self.run.run, initiated_event_id);
        self.set.put(key, Record::External(Box::new(external)));
        self.send(initiated_event_id, body);
    }

    fn pending_externals(&mut self, kind: ExternalKind) -> &mut u64 {
        match kind {
            ExternalKind::Signal => &mut self.run.pending_signals,
            ExternalKind::RequestCancel => &mut self.run.pending_cancel_requests,
        }
    }

    /// Writes what became of a signal or a request to cancel; cause 0 when it worked. False when
    /// nothing waits for it.
    ///
    /// # Errors
    /// [`Fault`] when storage is broken.
    pub(crate) fn external_result(
        &mut self,
        initiated_event_id: i64,
        cause: i32,
    ) -> Result<bool, Fault> {
        let key = keys::external_key(&self.run.run, initiated_event_id);
        let external = match self.set.get(&key)?.as_deref() {
            Some(Record::External(external)) => external.clone(),
            Some(other) => return Err(crate::tables::wrong_record(other)),
            None => return Ok(false),
        };
        self.set.delete(key);
        let pending = self.pending_externals(external.kind);
        *pending = pending.saturating_sub(1);
        self.set.took(if cause == 0 {
            &table::DELIVERED
        } else {
            &table::FAILED
        });
        self.add_or_buffer(event(*external, cause))?;
        Ok(true)
    }
}

#[expect(deprecated, reason = "Temporal still echoes `control`")]
fn event(external: External, cause: i32) -> Attributes {
    let workflow_execution = Some(WorkflowExecution {
        workflow_id: external.workflow_id,
        run_id: external.run_id,
    });
    let initiated_event_id = external.initiated_event_id;
    let (namespace, namespace_id) = (external.namespace_name, external.namespace_id);
    let (control, workflow_task_completed_event_id) = (external.control, 0);
    match (external.kind, cause) {
        (ExternalKind::Signal, 0) => Attributes::ExternalWorkflowExecutionSignaledEventAttributes(
            ExternalWorkflowExecutionSignaledEventAttributes {
                initiated_event_id,
                namespace,
                namespace_id,
                workflow_execution,
                control,
            },
        ),
        (ExternalKind::Signal, cause) => {
            Attributes::SignalExternalWorkflowExecutionFailedEventAttributes(
                SignalExternalWorkflowExecutionFailedEventAttributes {
                    cause,
                    workflow_task_completed_event_id,
                    namespace,
                    namespace_id,
                    workflow_execution,
                    initiated_event_id,
                    control,
                },
            )
        }
        (ExternalKind::RequestCancel, 0) => {
            Attributes::ExternalWorkflowExecutionCancelRequestedEventAttributes(
                ExternalWorkflowExecutionCancelRequestedEventAttributes {
                    initiated_event_id,
                    namespace,
                    namespace_id,
                    workflow_execution,
                },
            )
        }
        (ExternalKind::RequestCancel, cause) => {
            Attributes::RequestCancelExternalWorkflowExecutionFailedEventAttributes(
                RequestCancelExternalWorkflowExecutionFailedEventAttributes {
                    cause,
                    workflow_task_completed_event_id,
                    namespace,
                    namespace_id,
                    workflow_execution,
                    initiated_event_id,
                    control,
                },
            )
        }
    }
}
