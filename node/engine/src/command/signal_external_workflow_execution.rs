//! SIGNAL_EXTERNAL_WORKFLOW_EXECUTION.

use super::target_namespace::target_namespace;
use super::{CommandError, CommandHead, Completion};
use crate::event::Attributes;
use crate::execution::{Execution, external};
use crate::id::{NamespaceNumber, uuid_bytes, uuid_text};
use crate::proto::Proto;
use crate::tables::{External, ExternalKind, ExternalTarget, MessageBody, SignalExternal};
use prost::Message;
use steadfast_proto::temporal::command::v1::SignalExternalWorkflowExecutionCommandAttributes;
use steadfast_proto::temporal::enums::v1::WorkflowTaskFailedCause as Cause;
use steadfast_proto::temporal::history::v1::SignalExternalWorkflowExecutionInitiatedEventAttributes;

/// Writes the initiated event and sends the signal.
#[expect(
    deprecated,
    reason = "SDKs still send `control`, and Temporal echoes it"
)]
pub(super) fn apply(
    execution: &mut Execution<'_, '_>,
    completion: &Completion<'_>,
    attributes: SignalExternalWorkflowExecutionCommandAttributes,
    head: CommandHead,
) -> Result<(), CommandError> {
    let cause = Cause::BadSignalWorkflowExecutionAttributes;
    let namespace = target_namespace(execution, completion, &attributes.namespace, cause)?;
    let limits = execution.set.limits();
    let (limit, pending_max) = (limits.id_length_max, limits.pending_signals_max);
    check(&attributes, limit).map_err(|text| CommandError::bad(cause, text))?;
    let size = attributes.input.as_ref().map_or(0, Message::encoded_len);
    let text = "SignalExternalWorkflowExecutionCommandAttributes.Input exceeds size limit.";
    super::check_blob(execution, size, cause, text)?;
    let pending = execution.run.pending_signals;
    if pending >= pending_max {
        let text = format!(
            "the number of pending signals to external workflows, {pending}, has reached the per-workflow limit of {pending_max}"
        );
        return Err(CommandError::bad(Cause::PendingSignalsLimitExceeded, text));
    }
    let target = attributes.execution.clone().unwrap_or_default();
    let control = attributes.control.clone();
    let initiated = SignalExternalWorkflowExecutionInitiatedEventAttributes {
        workflow_task_completed_event_id: completion.completed_event_id,
        namespace: attributes.namespace,
        namespace_id: namespace.id.clone(),
        workflow_execution: attributes.execution,
        signal_name: attributes.signal_name,
        input: attributes.input,
        control: attributes.control,
        child_workflow_only: attributes.child_workflow_only,
        header: attributes.header,
    };
    let message = message(execution, namespace.number, &initiated);
    let event = Attributes::SignalExternalWorkflowExecutionInitiatedEventAttributes(initiated);
    let initiated_event_id = execution.add_event(head.event(event));
    let kind = ExternalKind::Signal;
    let pending = External::of(kind, initiated_event_id, namespace, target, control);
    execution.set.took(&external::table::SENT);
    execution.initiate_external(pending, MessageBody::SignalExternal(Box::new(message)));
    Ok(())
}

/// The signal, after its initiated event.
pub(crate) fn message(
    execution: &mut Execution<'_, '_>,
    namespace: NamespaceNumber,
    initiated: &SignalExternalWorkflowExecutionInitiatedEventAttributes,
) -> SignalExternal {
    let target = initiated.workflow_execution.clone().unwrap_or_default();
    SignalExternal {
        target: ExternalTarget {
            namespace,
            workflow_id: target.workflow_id,
            run_id: target.run_id,
            child_workflow_only: initiated.child_workflow_only,
            source_run_id: execution.run.run_id.clone(),
            request_id: uuid_text(&execution.set.draw()),
        },
        signal_name: initiated.signal_name.clone(),
        input: initiated.input.as_ref().map(Proto::detached),
        header: initiated.header.as_ref().map(Proto::detached),
    }
}

#[expect(deprecated, reason = "SDKs still name the namespace")]
fn check(
    attributes: &SignalExternalWorkflowExecutionCommandAttributes,
    limit: u64,
) -> Result<(), String> {
    let Some(target) = attributes.execution.as_ref() else {
        return Err("Execution is not set on SignalExternalWorkflowExecutionCommand.".to_owned());
    };
    let (id, run, name) = (&target.workflow_id, &target.run_id, &attributes.signal_name);
    let namespace = &attributes.namespace;
    let place = format!("Namespace={namespace} RunId={run}");
    if id.is_empty() {
        return Err(format!(
            "WorkflowId is not set on SignalExternalWorkflowExecutionCommand. {place} SignalName={name}"
        ));
    }
    if u64::try_from(id.len()).unwrap_or(u64::MAX) > limit {
        return Err(format!(
            "WorkflowId on SignalExternalWorkflowExecutionCommand exceeds length limit. WorkflowId={id} Length={} Limit={limit} {place} SignalName={name}",
            id.len()
        ));
    }
    if !run.is_empty() && uuid_bytes(run).is_none() {
        return Err(format!(
            "Invalid RunId set on SignalExternalWorkflowExecutionCommand. WorkflowId={id} {place} SignalName={name}"
        ));
    }
    if name.is_empty() {
        return Err(format!(
            "SignalName is not set on SignalExternalWorkflowExecutionCommand. WorkflowId={id} {place}"
        ));
    }
    if u64::try_from(name.len()).unwrap_or(u64::MAX) > limit {
        return Err(format!(
            "SignalName on SignalExternalWorkflowExecutionCommand exceeds length limit. WorkflowId={id} SignalName={name} Length={} Limit={limit} {place}",
            name.len()
        ));
    }
    Ok(())
}
