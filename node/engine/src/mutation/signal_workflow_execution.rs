//! SignalWorkflowExecution.

use super::new_run::check_blob;
use crate::event::{Attributes, NewEvent};
use crate::execution::{Execution, namespace_of};
use crate::mutation::ExecutionTarget;
use crate::reply::{Fault, Refusal, Reply, Stop};
use crate::tables::WriteSet;
use prost::Message;
use steadfast_planted::{Bug, planted};
use steadfast_proto::temporal::common::v1::{Header, Link, Payloads, WorkflowExecution};
use steadfast_proto::temporal::enums::v1::{
    EventType, ResourceExhaustedCause, ResourceExhaustedScope,
};
use steadfast_proto::temporal::history::v1::WorkflowExecutionSignaledEventAttributes;
use steadfast_proto::temporal::workflowservice::v1::SignalWorkflowExecutionRequest;

pub(crate) fn apply(
    set: &mut WriteSet<'_>,
    request: &SignalWorkflowExecutionRequest,
) -> Result<Reply, Stop> {
    let namespace = namespace_of(set, &request.namespace)?;
    check_blob(set, request.input.as_ref().map_or(0, Message::encoded_len))?;
    let named = request.workflow_execution.clone().unwrap_or_default();
    let target = ExecutionTarget {
        namespace: request.namespace.clone(),
        workflow_id: named.workflow_id,
        run_id: named.run_id,
    };
    let mut execution = Execution::find(set, &target)?;
    check_signal(&execution)?;
    let made = EventType::WorkflowExecutionSignaled;
    let link = execution.link_to_request(&namespace, &request.request_id, made);
    let signal = Signal {
        name: &request.signal_name,
        input: request.input.clone(),
        identity: &request.identity,
        header: request.header.clone(),
        request_id: &request.request_id,
        links: request.links.clone(),
        external: None,
    };
    if add_signal(&mut execution, signal)? {
        if !execution.has_started_workflow_task() {
            execution.schedule_workflow_task()?;
        }
        execution.finish()?;
    }
    Ok(Reply::Signaled { link: Some(link) })
}

/// Refuses a signal to a run that is closed, about to close, or has had its fill.
pub(super) fn check_signal(execution: &Execution<'_, '_>) -> Result<(), Refusal> {
    if !planted(Bug::SignalAfterClose) {
        execution.check_open()?;
    }
    if execution.run.close_attempted && execution.has_started_workflow_task() {
        return Err(Refusal::ResourceExhausted {
            cause: ResourceExhaustedCause::BusyWorkflow.into(),
            scope: ResourceExhaustedScope::Namespace.into(),
            message: "workflow operation can not be applied because workflow is closing".to_owned(),
        });
    }
    if execution.run.signal_count >= execution.set.limits().signals_max {
        let text = "exceeded workflow execution limit for signal events";
        return Err(Refusal::InvalidArgument(text.to_owned()));
    }
    Ok(())
}

/// A signal.
#[derive(Debug)]
pub(super) struct Signal<'a> {
    pub(super) name: &'a str,
    pub(super) input: Option<Payloads>,
    pub(super) identity: &'a str,
    pub(super) header: Option<Header>,
    pub(super) request_id: &'a str,
    pub(super) links: Vec<Link>,
    /// The execution that sends it, when it is no client.
    pub(super) external: Option<WorkflowExecution>,
}

/// Adds the signal's event, or buffers it; false when its request id was seen before.
pub(super) fn add_signal(
    execution: &mut Execution<'_, '_>,
    signal: Signal<'_>,
) -> Result<bool, Fault> {
    let made = EventType::WorkflowExecutionSignaled;
    let before = execution.request(signal.request_id)?;
    let by_run = signal.external.is_some();
    if before.is_some_and(|request| request.event_type == i32::from(made))
        && !planted(Bug::SignalRequestIdIgnored)
        && !(by_run && planted(Bug::MessageDeliveredTwice))
    {
        return Ok(false);
    }
    let attributes = WorkflowExecutionSignaledEventAttributes {
        signal_name: signal.name.to_owned(),
        input: signal.input,
        identity: signal.identity.to_owned(),
        header: signal.header,
        request_id: signal.request_id.to_owned(),
        external_workflow_execution: signal.external,
        ..WorkflowExecutionSignaledEventAttributes::default()
    };
    let event = NewEvent::from(Attributes::WorkflowExecutionSignaledEventAttributes(
        attributes,
    ))
    .with_links(signal.links);
    let event_id = execution.add_or_buffer(event)?;
    execution.remember_request(signal.request_id, made, event_id.unwrap_or(0));
    execution.run.signal_count += 1;
    Ok(true)
}
