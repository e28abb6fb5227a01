//! Events of children, and of signals and requests to cancel to others.

use super::event_text::Line;
use super::payloads_text;
use steadfast_engine::event::Attributes;
use steadfast_proto::temporal::common::v1::WorkflowExecution;
use steadfast_proto::temporal::enums::v1::{
    CancelExternalWorkflowExecutionFailedCause, ParentClosePolicy,
    SignalExternalWorkflowExecutionFailedCause, StartChildWorkflowExecutionFailedCause,
};

fn id(execution: Option<&WorkflowExecution>) -> &str {
    execution.map_or("", |execution| &execution.workflow_id)
}

/// What matters of a child's event; `None` for other events.
pub(super) fn child(line: Line, attributes: &Attributes) -> Result<Line, Line> {
    Ok(match attributes {
        Attributes::StartChildWorkflowExecutionInitiatedEventAttributes(event) => {
            let policy = ParentClosePolicy::try_from(event.parent_close_policy);
            let policy = policy.map_or_else(|_| "?".to_owned(), |policy| format!("{policy:?}"));
            line.text("id", &event.workflow_id)
                .queue(event.task_queue.as_ref())
                .span("run_timeout", event.workflow_run_timeout.as_ref())
                .span("task_timeout", event.workflow_task_timeout.as_ref())
                .text("policy", &policy)
        }
        Attributes::StartChildWorkflowExecutionFailedEventAttributes(event) => {
            let cause = StartChildWorkflowExecutionFailedCause::try_from(event.cause).unwrap();
            line.text("id", &event.workflow_id)
                .number("initiated", event.initiated_event_id)
                .text("cause", &format!("{cause:?}"))
        }
        Attributes::ChildWorkflowExecutionStartedEventAttributes(event) => line
            .text("id", id(event.workflow_execution.as_ref()))
            .number("initiated", event.initiated_event_id),
        Attributes::ChildWorkflowExecutionCompletedEventAttributes(event) => line
            .text("id", id(event.workflow_execution.as_ref()))
            .number("initiated", event.initiated_event_id)
            .number("started", event.started_event_id)
            .text("result", &payloads_text(event.result.as_ref())),
        Attributes::ChildWorkflowExecutionFailedEventAttributes(event) => line
            .text("id", id(event.workflow_execution.as_ref()))
            .number("initiated", event.initiated_event_id)
            .number("started", event.started_event_id)
            .failure("failure", event.failure.as_ref())
            .retry_state(event.retry_state),
        Attributes::ChildWorkflowExecutionCanceledEventAttributes(event) => line
            .text("id", id(event.workflow_execution.as_ref()))
            .number("initiated", event.initiated_event_id)
            .number("started", event.started_event_id)
            .text("details", &payloads_text(event.details.as_ref())),
        Attributes::ChildWorkflowExecutionTimedOutEventAttributes(event) => line
            .text("id", id(event.workflow_execution.as_ref()))
            .number("initiated", event.initiated_event_id)
            .number("started", event.started_event_id)
            .retry_state(event.retry_state),
        Attributes::ChildWorkflowExecutionTerminatedEventAttributes(event) => line
            .text("id", id(event.workflow_execution.as_ref()))
            .number("initiated", event.initiated_event_id)
            .number("started", event.started_event_id),
        _ => return Err(line),
    })
}

/// What matters of an event about another execution; the line back for other events.
pub(super) fn external(line: Line, attributes: &Attributes) -> Result<Line, Line> {
    Ok(match attributes {
        Attributes::SignalExternalWorkflowExecutionInitiatedEventAttributes(event) => line
            .text("id", id(event.workflow_execution.as_ref()))
            .text("name", &event.signal_name),
        Attributes::SignalExternalWorkflowExecutionFailedEventAttributes(event) => {
            let cause = SignalExternalWorkflowExecutionFailedCause::try_from(event.cause).unwrap();
            line.text("id", id(event.workflow_execution.as_ref()))
                .number("initiated", event.initiated_event_id)
                .text("cause", &format!("{cause:?}"))
        }
        Attributes::ExternalWorkflowExecutionSignaledEventAttributes(event) => line
            .text("id", id(event.workflow_execution.as_ref()))
            .number("initiated", event.initiated_event_id),
        Attributes::RequestCancelExternalWorkflowExecutionInitiatedEventAttributes(event) => line
            .text("id", id(event.workflow_execution.as_ref()))
            .text("reason", &event.reason),
        Attributes::RequestCancelExternalWorkflowExecutionFailedEventAttributes(event) => {
            let cause = CancelExternalWorkflowExecutionFailedCause::try_from(event.cause).unwrap();
            line.text("id", id(event.workflow_execution.as_ref()))
                .number("initiated", event.initiated_event_id)
                .text("cause", &format!("{cause:?}"))
        }
        Attributes::ExternalWorkflowExecutionCancelRequestedEventAttributes(event) => line
            .text("id", id(event.workflow_execution.as_ref()))
            .number("initiated", event.initiated_event_id),
        Attributes::WorkflowExecutionCancelRequestedEventAttributes(event)
            if event.external_workflow_execution.is_some() =>
        {
            line.text("cause", &event.cause)
                .text("from", id(event.external_workflow_execution.as_ref()))
                .number("initiated", event.external_initiated_event_id)
        }
        Attributes::WorkflowExecutionSignaledEventAttributes(event)
            if event.external_workflow_execution.is_some() =>
        {
            line.text("name", &event.signal_name)
                .text("input", &payloads_text(event.input.as_ref()))
                .text("from", id(event.external_workflow_execution.as_ref()))
        }
        _ => return Err(line),
    })
}
