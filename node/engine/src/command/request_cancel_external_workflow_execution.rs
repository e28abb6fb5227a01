//! REQUEST_CANCEL_EXTERNAL_WORKFLOW_EXECUTION.

use super::target_namespace::target_namespace;
use super::{CommandError, CommandHead, Completion};
use crate::event::Attributes;
use crate::execution::{Execution, external};
use crate::id::{NamespaceNumber, uuid_bytes, uuid_text};
use crate::tables::{External, ExternalKind, ExternalTarget, MessageBody, RequestCancelExternal};
use steadfast_proto::temporal::command::v1::RequestCancelExternalWorkflowExecutionCommandAttributes;
use steadfast_proto::temporal::common::v1::WorkflowExecution;
use steadfast_proto::temporal::enums::v1::WorkflowTaskFailedCause as Cause;
use steadfast_proto::temporal::history::v1::RequestCancelExternalWorkflowExecutionInitiatedEventAttributes;

/// Writes the initiated event and sends the request.
#[expect(
    deprecated,
    reason = "SDKs still send `control`, and Temporal echoes it"
)]
pub(super) fn apply(
    execution: &mut Execution<'_, '_>,
    completion: &Completion<'_>,
    attributes: RequestCancelExternalWorkflowExecutionCommandAttributes,
    head: CommandHead,
) -> Result<(), CommandError> {
    let cause = Cause::BadRequestCancelExternalWorkflowExecutionAttributes;
    let namespace = target_namespace(execution, completion, &attributes.namespace, cause)?;
    let limits = execution.set.limits();
    let (limit, pending_max) = (limits.id_length_max, limits.pending_cancel_requests_max);
    check(&attributes, completion, limit).map_err(|text| CommandError::bad(cause, text))?;
    let pending = execution.run.pending_cancel_requests;
    if pending >= pending_max {
        let text = format!(
            "the number of pending requests to cancel external workflows, {pending}, has reached the per-workflow limit of {pending_max}"
        );
        let cause = Cause::PendingRequestCancelLimitExceeded;
        return Err(CommandError::bad(cause, text));
    }
    let target = WorkflowExecution {
        workflow_id: attributes.workflow_id,
        run_id: attributes.run_id,
    };
    let initiated = RequestCancelExternalWorkflowExecutionInitiatedEventAttributes {
        workflow_task_completed_event_id: completion.completed_event_id,
        namespace: attributes.namespace,
        namespace_id: namespace.id.clone(),
        workflow_execution: Some(target.clone()),
        control: attributes.control.clone(),
        child_workflow_only: attributes.child_workflow_only,
        reason: attributes.reason,
    };
    let message = message(execution, namespace.number, &initiated);
    let event =
        Attributes::RequestCancelExternalWorkflowExecutionInitiatedEventAttributes(initiated);
    let initiated_event_id = execution.add_event(head.event(event));
    let (kind, control) = (ExternalKind::RequestCancel, attributes.control);
    let pending = External::of(kind, initiated_event_id, namespace, target, control);
    let body = MessageBody::RequestCancelExternal(Box::new(message));
    execution.set.took(&external::table::SENT);
    execution.initiate_external(pending, body);
    Ok(())
}

/// The request, after its initiated event.
pub(crate) fn message(
    execution: &mut Execution<'_, '_>,
    namespace: NamespaceNumber,
    initiated: &RequestCancelExternalWorkflowExecutionInitiatedEventAttributes,
) -> RequestCancelExternal {
    let target = initiated.workflow_execution.clone().unwrap_or_default();
    RequestCancelExternal {
        target: ExternalTarget {
            namespace,
            workflow_id: target.workflow_id,
            run_id: target.run_id,
            child_workflow_only: initiated.child_workflow_only,
            source_run_id: execution.run.run_id.clone(),
            request_id: uuid_text(&execution.set.draw()),
        },
        reason: initiated.reason.clone(),
    }
}

#[expect(deprecated, reason = "SDKs still name the namespace")]
fn check(
    attributes: &RequestCancelExternalWorkflowExecutionCommandAttributes,
    completion: &Completion<'_>,
    limit: u64,
) -> Result<(), String> {
    let (id, run) = (&attributes.workflow_id, &attributes.run_id);
    let namespace = &attributes.namespace;
    if id.is_empty() {
        return Err(format!(
            "WorkflowId is not set on RequestCancelExternalWorkflowExecutionCommand. Namespace={namespace} RunId={run}"
        ));
    }
    if u64::try_from(id.len()).unwrap_or(u64::MAX) > limit {
        return Err(format!(
            "WorkflowId on RequestCancelExternalWorkflowExecutionCommand exceeds length limit. WorkflowId={id} Length={} Limit={limit} RunId={run} Namespace={namespace}",
            id.len()
        ));
    }
    let place = format!("WorkflowId={id} RunId={run} Namespace={namespace}");
    if !run.is_empty() && uuid_bytes(run).is_none() {
        return Err(format!(
            "Invalid RunId set on RequestCancelExternalWorkflowExecutionCommand. {place}"
        ));
    }
    if completion.initiated_children.contains(id) {
        return Err(format!(
            "Start and RequestCancel for child workflow is not allowed in same workflow task. {place}"
        ));
    }
    Ok(())
}
