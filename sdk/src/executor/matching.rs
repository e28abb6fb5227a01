//! Commands and the events that they become: a replay must give the commands that the history has.

use crate::executor::context::Issued;
use crate::executor::local::{self, MarkerData};
use crate::executor::operation::Child;
use crate::executor::patch;
use std::fmt;
use steadfast_proto::temporal::command::v1::command::Attributes;
use steadfast_proto::temporal::command::v1::{
    CancelTimerCommandAttributes, Command, RequestCancelActivityTaskCommandAttributes,
    RequestCancelExternalWorkflowExecutionCommandAttributes,
};
use steadfast_proto::temporal::enums::v1::{CommandType, EventType};
use steadfast_proto::temporal::history::v1::HistoryEvent;
use steadfast_proto::temporal::history::v1::history_event::Attributes as Event;

/// The command with these attributes.
pub(crate) fn command_of(attributes: Attributes) -> Command {
    use Attributes as A;
    use CommandType as C;
    let command_type = match &attributes {
        A::ScheduleActivityTaskCommandAttributes(_) => C::ScheduleActivityTask,
        A::StartTimerCommandAttributes(_) => C::StartTimer,
        A::CompleteWorkflowExecutionCommandAttributes(_) => C::CompleteWorkflowExecution,
        A::FailWorkflowExecutionCommandAttributes(_) => C::FailWorkflowExecution,
        A::RequestCancelActivityTaskCommandAttributes(_) => C::RequestCancelActivityTask,
        A::CancelTimerCommandAttributes(_) => C::CancelTimer,
        A::CancelWorkflowExecutionCommandAttributes(_) => C::CancelWorkflowExecution,
        A::RequestCancelExternalWorkflowExecutionCommandAttributes(_) => {
            C::RequestCancelExternalWorkflowExecution
        }
        A::RecordMarkerCommandAttributes(_) => C::RecordMarker,
        A::ContinueAsNewWorkflowExecutionCommandAttributes(_) => C::ContinueAsNewWorkflowExecution,
        A::StartChildWorkflowExecutionCommandAttributes(_) => C::StartChildWorkflowExecution,
        A::SignalExternalWorkflowExecutionCommandAttributes(_) => {
            C::SignalExternalWorkflowExecution
        }
        A::UpsertWorkflowSearchAttributesCommandAttributes(_) => C::UpsertWorkflowSearchAttributes,
        A::ProtocolMessageCommandAttributes(_) => C::ProtocolMessage,
        A::ModifyWorkflowPropertiesCommandAttributes(_) => C::ModifyWorkflowProperties,
        A::ScheduleNexusOperationCommandAttributes(_) => C::ScheduleNexusOperation,
        A::RequestCancelNexusOperationCommandAttributes(_) => C::RequestCancelNexusOperation,
    };
    Command {
        command_type: command_type as i32,
        attributes: Some(attributes),
        ..Default::default()
    }
}

pub(crate) fn cancel_timer(timer_id: &str) -> Attributes {
    Attributes::CancelTimerCommandAttributes(CancelTimerCommandAttributes {
        timer_id: timer_id.to_string(),
    })
}

pub(crate) fn cancel_activity(scheduled_event_id: i64) -> Attributes {
    Attributes::RequestCancelActivityTaskCommandAttributes(
        RequestCancelActivityTaskCommandAttributes { scheduled_event_id },
    )
}

#[allow(deprecated, reason = "the field `namespace` is what the server reads")]
pub(crate) fn cancel_child(child: &Child) -> Attributes {
    Attributes::RequestCancelExternalWorkflowExecutionCommandAttributes(
        RequestCancelExternalWorkflowExecutionCommandAttributes {
            namespace: child.namespace.clone(),
            workflow_id: child.workflow_id.clone(),
            run_id: child.run_id.clone().unwrap_or_default(),
            child_workflow_only: true,
            ..Default::default()
        },
    )
}

/// An event that a command of the workflow became.
pub(crate) fn is_of_command(event: &HistoryEvent) -> bool {
    matches!(
        event.event_type(),
        EventType::ActivityTaskScheduled
            | EventType::ActivityTaskCancelRequested
            | EventType::TimerStarted
            | EventType::TimerCanceled
            | EventType::MarkerRecorded
            | EventType::StartChildWorkflowExecutionInitiated
            | EventType::SignalExternalWorkflowExecutionInitiated
            | EventType::RequestCancelExternalWorkflowExecutionInitiated
            | EventType::UpsertWorkflowSearchAttributes
            | EventType::WorkflowPropertiesModified
            | EventType::WorkflowExecutionUpdateAccepted
            | EventType::WorkflowExecutionUpdateCompleted
            | EventType::WorkflowExecutionCompleted
            | EventType::WorkflowExecutionFailed
            | EventType::WorkflowExecutionCanceled
            | EventType::WorkflowExecutionContinuedAsNew
            | EventType::NexusOperationScheduled
            | EventType::NexusOperationCancelRequested
    )
}

/// What identifies a command: two that have the same identity are the same step of the code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Identity {
    /// Activity id and type.
    ScheduleActivity(String, String),
    /// The event that scheduled it.
    CancelActivity(i64),
    /// Timer id.
    StartTimer(String),
    /// Timer id.
    CancelTimer(String),
    /// The name; of a patch its id, of a local activity its number and type.
    Marker(String, String),
    /// Workflow id and type.
    StartChild(String, String),
    /// Workflow id and signal name.
    SignalExternal(String, String),
    /// Workflow id.
    CancelExternal(String),
    /// No more than that.
    UpsertSearchAttributes,
    /// No more than that.
    ModifyProperties,
    /// Update id.
    AcceptUpdate(String),
    /// Update id.
    CompleteUpdate(String),
    /// The end.
    Complete,
    /// The end.
    Fail,
    /// The end.
    Cancel,
    /// The end, with the type of the next run.
    ContinueAsNew(String),
    /// One that this SDK does not give.
    Unknown(String),
}

impl fmt::Display for Identity {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ScheduleActivity(id, of_type) => {
                write!(formatter, "ScheduleActivityTask `{of_type}` (id {id})")
            }
            Self::CancelActivity(event) => {
                write!(formatter, "RequestCancelActivityTask (of event {event})")
            }
            Self::StartTimer(id) => write!(formatter, "StartTimer (id {id})"),
            Self::CancelTimer(id) => write!(formatter, "CancelTimer (id {id})"),
            Self::Marker(name, what) => write!(formatter, "RecordMarker `{name}` ({what})"),
            Self::StartChild(id, of_type) => {
                write!(
                    formatter,
                    "StartChildWorkflowExecution `{of_type}` (id {id})"
                )
            }
            Self::SignalExternal(id, name) => write!(
                formatter,
                "SignalExternalWorkflowExecution `{name}` (to {id})"
            ),
            Self::CancelExternal(id) => write!(
                formatter,
                "RequestCancelExternalWorkflowExecution (of {id})"
            ),
            Self::UpsertSearchAttributes => formatter.write_str("UpsertWorkflowSearchAttributes"),
            Self::ModifyProperties => formatter.write_str("ModifyWorkflowProperties"),
            Self::AcceptUpdate(id) => write!(formatter, "acceptance of update {id}"),
            Self::CompleteUpdate(id) => write!(formatter, "completion of update {id}"),
            Self::Complete => formatter.write_str("CompleteWorkflowExecution"),
            Self::Fail => formatter.write_str("FailWorkflowExecution"),
            Self::Cancel => formatter.write_str("CancelWorkflowExecution"),
            Self::ContinueAsNew(of_type) => {
                write!(formatter, "ContinueAsNewWorkflowExecution (`{of_type}`)")
            }
            Self::Unknown(what) => formatter.write_str(what),
        }
    }
}

fn marker_identity(
    name: &str,
    details: &std::collections::BTreeMap<String, steadfast_proto::temporal::common::v1::Payloads>,
) -> Identity {
    let first = |key: &str| {
        let payload = details.get(key).and_then(|found| found.payloads.first());
        payload
            .map(|payload| payload.data.clone())
            .unwrap_or_default()
    };
    let what = match name {
        local::MARKER => serde_json::from_slice::<MarkerData>(&first("data"))
            .map(|data| format!("{}: {}", data.seq, data.activity_type)),
        patch::MARKER => {
            serde_json::from_slice::<patch::MarkerData>(&first("patch-data")).map(|data| data.id)
        }
        _ => Ok(String::new()),
    };
    Identity::Marker(name.to_string(), what.unwrap_or_default())
}

/// The identity of a command.
pub(crate) fn of_command(issued: &Issued) -> Identity {
    use Attributes as A;
    let name = |found: &Option<steadfast_proto::temporal::common::v1::WorkflowType>| {
        found
            .as_ref()
            .map(|found| found.name.clone())
            .unwrap_or_default()
    };
    let Some(attributes) = &issued.command.attributes else {
        return Identity::Unknown("no command".to_string());
    };
    match attributes {
        A::ScheduleActivityTaskCommandAttributes(found) => Identity::ScheduleActivity(
            found.activity_id.clone(),
            found
                .activity_type
                .as_ref()
                .map(|found| found.name.clone())
                .unwrap_or_default(),
        ),
        A::StartTimerCommandAttributes(found) => Identity::StartTimer(found.timer_id.clone()),
        A::CompleteWorkflowExecutionCommandAttributes(_) => Identity::Complete,
        A::FailWorkflowExecutionCommandAttributes(_) => Identity::Fail,
        A::RequestCancelActivityTaskCommandAttributes(found) => {
            Identity::CancelActivity(found.scheduled_event_id)
        }
        A::CancelTimerCommandAttributes(found) => Identity::CancelTimer(found.timer_id.clone()),
        A::CancelWorkflowExecutionCommandAttributes(_) => Identity::Cancel,
        A::RequestCancelExternalWorkflowExecutionCommandAttributes(found) => {
            Identity::CancelExternal(found.workflow_id.clone())
        }
        A::RecordMarkerCommandAttributes(found) => {
            marker_identity(&found.marker_name, &found.details)
        }
        A::ContinueAsNewWorkflowExecutionCommandAttributes(found) => {
            Identity::ContinueAsNew(name(&found.workflow_type))
        }
        A::StartChildWorkflowExecutionCommandAttributes(found) => {
            Identity::StartChild(found.workflow_id.clone(), name(&found.workflow_type))
        }
        A::SignalExternalWorkflowExecutionCommandAttributes(found) => Identity::SignalExternal(
            found
                .execution
                .as_ref()
                .map(|found| found.workflow_id.clone())
                .unwrap_or_default(),
            found.signal_name.clone(),
        ),
        A::UpsertWorkflowSearchAttributesCommandAttributes(_) => Identity::UpsertSearchAttributes,
        A::ModifyWorkflowPropertiesCommandAttributes(_) => Identity::ModifyProperties,
        A::ProtocolMessageCommandAttributes(found) => {
            match found.message_id.strip_suffix("/accept") {
                Some(id) => Identity::AcceptUpdate(id.to_string()),
                None => {
                    let id = found.message_id.strip_suffix("/complete");
                    Identity::CompleteUpdate(id.unwrap_or_default().to_string())
                }
            }
        }
        A::ScheduleNexusOperationCommandAttributes(_)
        | A::RequestCancelNexusOperationCommandAttributes(_) => {
            Identity::Unknown("a command for Nexus".to_string())
        }
    }
}

/// The identity of the command that an event came from.
pub(crate) fn of_event(event: &HistoryEvent) -> Identity {
    let name = |found: &Option<steadfast_proto::temporal::common::v1::WorkflowType>| {
        found
            .as_ref()
            .map(|found| found.name.clone())
            .unwrap_or_default()
    };
    let workflow_id = |found: &Option<steadfast_proto::temporal::common::v1::WorkflowExecution>| {
        found
            .as_ref()
            .map(|found| found.workflow_id.clone())
            .unwrap_or_default()
    };
    match event.attributes.as_ref() {
        Some(Event::ActivityTaskScheduledEventAttributes(found)) => Identity::ScheduleActivity(
            found.activity_id.clone(),
            found
                .activity_type
                .as_ref()
                .map(|found| found.name.clone())
                .unwrap_or_default(),
        ),
        Some(Event::ActivityTaskCancelRequestedEventAttributes(found)) => {
            Identity::CancelActivity(found.scheduled_event_id)
        }
        Some(Event::TimerStartedEventAttributes(found)) => {
            Identity::StartTimer(found.timer_id.clone())
        }
        Some(Event::TimerCanceledEventAttributes(found)) => {
            Identity::CancelTimer(found.timer_id.clone())
        }
        Some(Event::MarkerRecordedEventAttributes(found)) => {
            marker_identity(&found.marker_name, &found.details)
        }
        Some(Event::StartChildWorkflowExecutionInitiatedEventAttributes(found)) => {
            Identity::StartChild(found.workflow_id.clone(), name(&found.workflow_type))
        }
        Some(Event::SignalExternalWorkflowExecutionInitiatedEventAttributes(found)) => {
            Identity::SignalExternal(
                workflow_id(&found.workflow_execution),
                found.signal_name.clone(),
            )
        }
        Some(Event::RequestCancelExternalWorkflowExecutionInitiatedEventAttributes(found)) => {
            Identity::CancelExternal(workflow_id(&found.workflow_execution))
        }
        Some(Event::UpsertWorkflowSearchAttributesEventAttributes(_)) => {
            Identity::UpsertSearchAttributes
        }
        Some(Event::WorkflowPropertiesModifiedEventAttributes(_)) => Identity::ModifyProperties,
        Some(Event::WorkflowExecutionUpdateAcceptedEventAttributes(found)) => {
            Identity::AcceptUpdate(found.protocol_instance_id.clone())
        }
        Some(Event::WorkflowExecutionUpdateCompletedEventAttributes(found)) => {
            let meta = found.meta.as_ref();
            Identity::CompleteUpdate(meta.map(|meta| meta.update_id.clone()).unwrap_or_default())
        }
        Some(Event::WorkflowExecutionCompletedEventAttributes(_)) => Identity::Complete,
        Some(Event::WorkflowExecutionFailedEventAttributes(_)) => Identity::Fail,
        Some(Event::WorkflowExecutionCanceledEventAttributes(_)) => Identity::Cancel,
        Some(Event::WorkflowExecutionContinuedAsNewEventAttributes(found)) => {
            Identity::ContinueAsNew(name(&found.workflow_type))
        }
        _ => Identity::Unknown(event.event_type().as_str_name().to_string()),
    }
}
