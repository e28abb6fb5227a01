//! Failures as they travel.

use crate::converter::Converter;
use crate::duration::{from_wire as duration, to_wire as wire_duration};
use crate::failure::{ActivityFailure, Application, ChildWorkflowFailure, Failure, FailureKind};
use serde::{Deserialize, Serialize};
use steadfast_proto::temporal::common::v1::{
    ActivityType, Payload, Payloads, WorkflowExecution, WorkflowType,
};
use steadfast_proto::temporal::enums::v1::{ApplicationErrorCategory, RetryState, TimeoutType};
use steadfast_proto::temporal::failure::v1 as wire;
use steadfast_proto::temporal::failure::v1::failure::FailureInfo;

/// What failures of this SDK's code name as their source.
pub const SOURCE: &str = "RustSDK";
/// The message of a failure whose own is in its encoded attributes, as in all SDKs.
const ENCODED: &str = "Encoded failure";

/// How failures travel. Pure, as the converter of values.
pub trait FailureConverter: Send + Sync + 'static {
    /// As others understand it.
    fn to_wire(&self, failure: &Failure, converter: &Converter) -> wire::Failure;

    /// From any SDK or the server.
    #[expect(
        clippy::wrong_self_convention,
        reason = "the converter reads, the failure is what comes of it"
    )]
    fn from_wire(&self, failure: wire::Failure, converter: &Converter) -> Failure;
}

/// What all SDKs do.
#[derive(Debug, Clone, Copy, Default)]
pub struct DefaultFailureConverter {
    /// Message and stack trace become a payload, so that a codec can hide them too.
    pub encode_common_attributes: bool,
}

impl FailureConverter for DefaultFailureConverter {
    fn to_wire(&self, failure: &Failure, converter: &Converter) -> wire::Failure {
        let content = failure.content();
        let source = match (content.source.as_str(), &content.kind) {
            ("", kind) if is_of_code(kind) => SOURCE,
            (source, _) => source,
        };
        let mut written = wire::Failure {
            message: content.message.clone(),
            source: source.to_string(),
            stack_trace: content.stack_trace.clone(),
            encoded_attributes: None,
            cause: content
                .cause
                .as_ref()
                .map(|cause| Box::new(self.to_wire(cause, converter))),
            failure_info: info(&content.kind),
        };
        if self.encode_common_attributes {
            hide(&mut written, converter);
        }
        written
    }

    fn from_wire(&self, mut failure: wire::Failure, converter: &Converter) -> Failure {
        show(&mut failure, converter);
        let mut read = Failure::new(failure.message, kind(failure.failure_info));
        let content = read.content_mut();
        content.stack_trace = failure.stack_trace;
        content.source = failure.source;
        content.cause = failure.cause.map(|cause| self.from_wire(*cause, converter));
        read
    }
}

/// What is hidden of a failure: the names are the same in all SDKs.
#[derive(Serialize, Deserialize)]
struct CommonAttributes {
    #[serde(default)]
    message: String,
    #[serde(default)]
    stack_trace: String,
}

fn hide(failure: &mut wire::Failure, converter: &Converter) {
    let attributes = CommonAttributes {
        message: std::mem::replace(&mut failure.message, ENCODED.to_string()),
        stack_trace: std::mem::take(&mut failure.stack_trace),
    };
    // Only a format that the user added can refuse two strings; nothing is shown even then.
    failure.encoded_attributes = converter.to_payload(&attributes).ok();
}

fn show(failure: &mut wire::Failure, converter: &Converter) {
    let Some(payload) = failure.encoded_attributes.take() else {
        return;
    };
    // What cannot be read stays hidden, as in other SDKs: the failure itself is more important.
    if let Ok(attributes) = converter.from_payload::<CommonAttributes>(&payload) {
        failure.message = attributes.message;
        failure.stack_trace = attributes.stack_trace;
    }
}

/// Code makes failures of these kinds; the server makes the others.
fn is_of_code(kind: &FailureKind) -> bool {
    match kind {
        FailureKind::Application(_) | FailureKind::Canceled { .. } | FailureKind::Other => true,
        FailureKind::Timeout { .. }
        | FailureKind::Terminated
        | FailureKind::Server { .. }
        | FailureKind::Activity(_)
        | FailureKind::ChildWorkflow(_)
        | FailureKind::ContinueAsNew(_) => false,
    }
}

fn info(kind: &FailureKind) -> Option<FailureInfo> {
    Some(match kind {
        FailureKind::Application(application) => {
            FailureInfo::ApplicationFailureInfo(wire::ApplicationFailureInfo {
                r#type: application.error_type.clone(),
                non_retryable: application.non_retryable,
                details: payloads(&application.details),
                next_retry_delay: application.next_retry_delay.map(wire_duration),
                category: match application.benign {
                    true => ApplicationErrorCategory::Benign as i32,
                    false => ApplicationErrorCategory::Unspecified as i32,
                },
            })
        }
        FailureKind::Timeout {
            timeout_type,
            last_heartbeat_details,
        } => FailureInfo::TimeoutFailureInfo(wire::TimeoutFailureInfo {
            timeout_type: *timeout_type as i32,
            last_heartbeat_details: payloads(last_heartbeat_details),
        }),
        FailureKind::Canceled { details } => {
            FailureInfo::CanceledFailureInfo(wire::CanceledFailureInfo {
                details: payloads(details),
                identity: String::new(),
            })
        }
        FailureKind::Terminated => FailureInfo::TerminatedFailureInfo(Default::default()),
        FailureKind::Server { non_retryable } => {
            FailureInfo::ServerFailureInfo(wire::ServerFailureInfo {
                non_retryable: *non_retryable,
            })
        }
        FailureKind::Activity(activity) => activity_info(activity),
        FailureKind::ChildWorkflow(child) => child_info(child),
        FailureKind::ContinueAsNew(_) => {
            unreachable!("continue-as-new is a command, never a failure on the wire")
        }
        FailureKind::Other => return None,
    })
}

fn activity_info(activity: &ActivityFailure) -> FailureInfo {
    FailureInfo::ActivityFailureInfo(wire::ActivityFailureInfo {
        scheduled_event_id: activity.scheduled_event_id,
        started_event_id: activity.started_event_id,
        identity: activity.identity.clone(),
        activity_type: Some(ActivityType {
            name: activity.activity_type.clone(),
        }),
        activity_id: activity.activity_id.clone(),
        retry_state: activity.retry_state as i32,
    })
}

fn child_info(child: &ChildWorkflowFailure) -> FailureInfo {
    FailureInfo::ChildWorkflowExecutionFailureInfo(wire::ChildWorkflowExecutionFailureInfo {
        namespace: child.namespace.clone(),
        workflow_execution: Some(WorkflowExecution {
            workflow_id: child.workflow_id.clone(),
            run_id: child.run_id.clone(),
        }),
        workflow_type: Some(WorkflowType {
            name: child.workflow_type.clone(),
        }),
        initiated_event_id: child.initiated_event_id,
        started_event_id: child.started_event_id,
        retry_state: child.retry_state as i32,
    })
}

fn kind(info: Option<FailureInfo>) -> FailureKind {
    let Some(info) = info else {
        return FailureKind::Other;
    };
    match info {
        FailureInfo::ApplicationFailureInfo(info) => FailureKind::Application(Application {
            error_type: info.r#type,
            non_retryable: info.non_retryable,
            details: list(info.details),
            next_retry_delay: info.next_retry_delay.map(duration),
            benign: info.category == ApplicationErrorCategory::Benign as i32,
        }),
        FailureInfo::TimeoutFailureInfo(info) => FailureKind::Timeout {
            timeout_type: TimeoutType::try_from(info.timeout_type).unwrap_or_default(),
            last_heartbeat_details: list(info.last_heartbeat_details),
        },
        FailureInfo::CanceledFailureInfo(info) => FailureKind::Canceled {
            details: list(info.details),
        },
        FailureInfo::TerminatedFailureInfo(_) => FailureKind::Terminated,
        FailureInfo::ServerFailureInfo(info) => FailureKind::Server {
            non_retryable: info.non_retryable,
        },
        FailureInfo::ActivityFailureInfo(info) => FailureKind::Activity(ActivityFailure {
            activity_id: info.activity_id,
            activity_type: info.activity_type.unwrap_or_default().name,
            scheduled_event_id: info.scheduled_event_id,
            started_event_id: info.started_event_id,
            identity: info.identity,
            retry_state: RetryState::try_from(info.retry_state).unwrap_or_default(),
        }),
        FailureInfo::ChildWorkflowExecutionFailureInfo(info) => child_kind(info),
        FailureInfo::ResetWorkflowFailureInfo(_)
        | FailureInfo::NexusOperationExecutionFailureInfo(_)
        | FailureInfo::NexusHandlerFailureInfo(_) => FailureKind::Other,
    }
}

fn child_kind(info: wire::ChildWorkflowExecutionFailureInfo) -> FailureKind {
    let execution = info.workflow_execution.unwrap_or_default();
    FailureKind::ChildWorkflow(ChildWorkflowFailure {
        namespace: info.namespace,
        workflow_id: execution.workflow_id,
        run_id: execution.run_id,
        workflow_type: info.workflow_type.unwrap_or_default().name,
        initiated_event_id: info.initiated_event_id,
        started_event_id: info.started_event_id,
        retry_state: RetryState::try_from(info.retry_state).unwrap_or_default(),
    })
}

fn payloads(list: &[Payload]) -> Option<Payloads> {
    let payloads = list.to_vec();
    (!payloads.is_empty()).then_some(Payloads { payloads })
}

fn list(payloads: Option<Payloads>) -> Vec<Payload> {
    payloads.unwrap_or_default().payloads
}

#[cfg(test)]
mod tests;
