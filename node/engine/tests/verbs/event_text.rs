//! One line per event: its id, its type and what matters of it.

use super::child_text::{child, external};
use super::payloads_text;
use steadfast_engine::event::Attributes;
use steadfast_engine::time::Span;
use steadfast_proto::temporal::enums::v1::{RetryState, TimeoutType, WorkflowTaskFailedCause};
use steadfast_proto::temporal::failure::v1::Failure;
use steadfast_proto::temporal::failure::v1::failure::FailureInfo;
use steadfast_proto::temporal::history::v1::HistoryEvent;
use steadfast_proto::temporal::taskqueue::v1::TaskQueue;

/// Collects `key=value` of what is set.
#[derive(Default)]
pub(super) struct Line(Vec<String>);

impl Line {
    pub(super) fn text(mut self, key: &str, value: &str) -> Self {
        if !value.is_empty() && value != "[]" {
            self.0.push(format!("{key}={value}"));
        }
        self
    }

    pub(super) fn number(self, key: &str, value: impl Into<i64>) -> Self {
        let value = value.into();
        if value == 0 {
            self
        } else {
            self.text(key, &value.to_string())
        }
    }

    pub(super) fn span(self, key: &str, value: Option<&prost_types::Duration>) -> Self {
        let span = Span::from_proto(value);
        if span.is_zero() {
            self
        } else {
            self.text(key, &span_text(span))
        }
    }

    pub(super) fn failure(self, key: &str, value: Option<&Failure>) -> Self {
        let text = failure_text(value);
        self.text(key, &text)
    }

    pub(super) fn queue(self, queue: Option<&TaskQueue>) -> Self {
        let Some(queue) = queue else { return self };
        let kind = format!("{:?}", queue.kind());
        let text = match queue.normal_name.as_str() {
            "" => format!("{}/{kind}", queue.name),
            normal => format!("{}/{kind}(normal={normal})", queue.name),
        };
        self.text("queue", &text)
    }

    pub(super) fn retry_state(self, value: i32) -> Self {
        match RetryState::try_from(value) {
            Ok(RetryState::Unspecified) | Err(_) => self,
            Ok(state) => self.text("retry_state", &format!("{state:?}")),
        }
    }
}

fn span_text(span: Span) -> String {
    format!("{}s", span.0 / 1_000_000 * 1_000_000)
        .replace("000000000s", "s")
        .replace("000000s", "ms")
}

pub(super) fn failure_text(failure: Option<&Failure>) -> String {
    let Some(failure) = failure else {
        return String::new();
    };
    let message = match failure.message.len() {
        0..=120 => format!("{:?}", failure.message),
        length => format!("<{length} characters>"),
    };
    let info = match failure.failure_info.as_ref() {
        Some(FailureInfo::ApplicationFailureInfo(info)) => {
            let last = if info.non_retryable { " final" } else { "" };
            format!(" {}{last}", info.r#type)
        }
        Some(FailureInfo::TimeoutFailureInfo(info)) => {
            let details = payloads_text(info.last_heartbeat_details.as_ref());
            let details = if details == "[]" {
                String::new()
            } else {
                format!(" {details}")
            };
            let kind = TimeoutType::try_from(info.timeout_type).unwrap();
            format!(" {kind:?}{details}")
        }
        Some(FailureInfo::ServerFailureInfo(info)) => {
            format!(" server{}", if info.non_retryable { " final" } else { "" })
        }
        Some(_) | None => String::new(),
    };
    let cause = match failure.cause.as_deref() {
        Some(cause) => format!(" cause={}", failure_text(Some(cause))),
        None => String::new(),
    };
    format!("{{{message}{info}{cause}}}")
}

pub(super) fn event_text(event: &HistoryEvent) -> String {
    let line = Line::default();
    let attributes = event.attributes.as_ref().unwrap();
    let line = match attributes {
        Attributes::ActivityTaskScheduledEventAttributes(_)
        | Attributes::ActivityTaskStartedEventAttributes(_)
        | Attributes::ActivityTaskCompletedEventAttributes(_)
        | Attributes::ActivityTaskFailedEventAttributes(_)
        | Attributes::ActivityTaskTimedOutEventAttributes(_)
        | Attributes::ActivityTaskCancelRequestedEventAttributes(_)
        | Attributes::ActivityTaskCanceledEventAttributes(_) => activity(line, attributes),
        Attributes::WorkflowTaskScheduledEventAttributes(_)
        | Attributes::WorkflowTaskStartedEventAttributes(_)
        | Attributes::WorkflowTaskCompletedEventAttributes(_)
        | Attributes::WorkflowTaskFailedEventAttributes(_)
        | Attributes::WorkflowTaskTimedOutEventAttributes(_) => workflow_task(line, attributes),
        _ => match child(line, attributes).or_else(|line| external(line, attributes)) {
            Ok(line) => line,
            Err(line) => workflow(line, attributes),
        },
    };
    let name = format!("{:?}", event.event_type());
    format!("{:3} {name} {}", event.event_id, line.0.join(" "))
        .trim_end()
        .to_owned()
}

fn activity(line: Line, attributes: &Attributes) -> Line {
    match attributes {
        Attributes::ActivityTaskScheduledEventAttributes(event) => {
            let policy = event.retry_policy.clone().unwrap_or_default();
            line.text("id", &event.activity_id)
                .queue(event.task_queue.as_ref())
                .span(
                    "schedule_to_close",
                    event.schedule_to_close_timeout.as_ref(),
                )
                .span(
                    "schedule_to_start",
                    event.schedule_to_start_timeout.as_ref(),
                )
                .span("start_to_close", event.start_to_close_timeout.as_ref())
                .span("heartbeat", event.heartbeat_timeout.as_ref())
                .span("first_retry", policy.initial_interval.as_ref())
                .text("coefficient", &policy.backoff_coefficient.to_string())
                .span("longest_retry", policy.maximum_interval.as_ref())
                .number("attempts", policy.maximum_attempts)
        }
        Attributes::ActivityTaskStartedEventAttributes(event) => line
            .number("scheduled", event.scheduled_event_id)
            .number("attempt", event.attempt)
            .text("by", &event.identity)
            .failure("last_failure", event.last_failure.as_ref()),
        Attributes::ActivityTaskCompletedEventAttributes(event) => line
            .number("scheduled", event.scheduled_event_id)
            .number("started", event.started_event_id)
            .text("by", &event.identity)
            .text("result", &payloads_text(event.result.as_ref())),
        Attributes::ActivityTaskFailedEventAttributes(event) => line
            .number("scheduled", event.scheduled_event_id)
            .number("started", event.started_event_id)
            .failure("failure", event.failure.as_ref())
            .retry_state(event.retry_state),
        Attributes::ActivityTaskTimedOutEventAttributes(event) => line
            .number("scheduled", event.scheduled_event_id)
            .number("started", event.started_event_id)
            .failure("failure", event.failure.as_ref())
            .retry_state(event.retry_state),
        Attributes::ActivityTaskCancelRequestedEventAttributes(event) => {
            line.number("scheduled", event.scheduled_event_id)
        }
        Attributes::ActivityTaskCanceledEventAttributes(event) => line
            .number("scheduled", event.scheduled_event_id)
            .number("started", event.started_event_id)
            .number("requested", event.latest_cancel_requested_event_id)
            .text("details", &payloads_text(event.details.as_ref())),
        _ => line,
    }
}

fn workflow_task(line: Line, attributes: &Attributes) -> Line {
    match attributes {
        Attributes::WorkflowTaskScheduledEventAttributes(event) => line
            .queue(event.task_queue.as_ref())
            .span("timeout", event.start_to_close_timeout.as_ref())
            .number("attempt", event.attempt),
        Attributes::WorkflowTaskStartedEventAttributes(event) => line
            .number("scheduled", event.scheduled_event_id)
            .text("by", &event.identity),
        Attributes::WorkflowTaskCompletedEventAttributes(event) => line
            .number("scheduled", event.scheduled_event_id)
            .number("started", event.started_event_id),
        Attributes::WorkflowTaskFailedEventAttributes(event) => {
            let cause = WorkflowTaskFailedCause::try_from(event.cause).unwrap();
            line.number("scheduled", event.scheduled_event_id)
                .number("started", event.started_event_id)
                .text("cause", &format!("{cause:?}"))
                .failure("failure", event.failure.as_ref())
                .text(
                    "by",
                    if event.base_run_id.is_empty() {
                        ""
                    } else {
                        &event.identity
                    },
                )
        }
        Attributes::WorkflowTaskTimedOutEventAttributes(event) => {
            let timeout = TimeoutType::try_from(event.timeout_type).unwrap();
            line.number("scheduled", event.scheduled_event_id)
                .number("started", event.started_event_id)
                .text("timeout", &format!("{timeout:?}"))
        }
        _ => line,
    }
}

fn workflow(line: Line, attributes: &Attributes) -> Line {
    match attributes {
        Attributes::WorkflowExecutionStartedEventAttributes(event) => line
            .text(
                "type",
                &event.workflow_type.clone().unwrap_or_default().name,
            )
            .queue(event.task_queue.as_ref())
            .span(
                "execution_timeout",
                event.workflow_execution_timeout.as_ref(),
            )
            .span("run_timeout", event.workflow_run_timeout.as_ref())
            .number("attempt", event.attempt)
            .span("backoff", event.first_workflow_task_backoff.as_ref())
            .text("input", &payloads_text(event.input.as_ref()))
            .failure("continued_failure", event.continued_failure.as_ref()),
        Attributes::WorkflowExecutionSignaledEventAttributes(event) => line
            .text("name", &event.signal_name)
            .text("input", &payloads_text(event.input.as_ref())),
        Attributes::WorkflowExecutionCompletedEventAttributes(event) => {
            line.text("result", &payloads_text(event.result.as_ref()))
        }
        Attributes::WorkflowExecutionFailedEventAttributes(event) => line
            .failure("failure", event.failure.as_ref())
            .retry_state(event.retry_state),
        Attributes::WorkflowExecutionTimedOutEventAttributes(event) => {
            line.retry_state(event.retry_state)
        }
        Attributes::WorkflowExecutionTerminatedEventAttributes(event) => line
            .text("reason", &event.reason)
            .text("by", &event.identity),
        Attributes::WorkflowExecutionUpdateAdmittedEventAttributes(event) => {
            let request = event.request.clone().unwrap_or_default();
            line.text("id", &request.meta.unwrap_or_default().update_id)
        }
        Attributes::WorkflowExecutionUpdateAcceptedEventAttributes(event) => {
            let request = event.accepted_request.clone();
            let name = request
                .and_then(|request| request.input)
                .map(|input| input.name);
            line.text("id", &event.protocol_instance_id)
                .number("after", event.accepted_request_sequencing_event_id)
                .text("name", &name.unwrap_or_default())
        }
        Attributes::WorkflowExecutionUpdateCompletedEventAttributes(event) => line
            .text("id", &event.meta.clone().unwrap_or_default().update_id)
            .number("accepted", event.accepted_event_id)
            .text(
                "outcome",
                &super::update::outcome_text(&event.outcome.clone().unwrap_or_default()),
            ),
        Attributes::TimerStartedEventAttributes(event) => line
            .text("id", &event.timer_id)
            .span("after", event.start_to_fire_timeout.as_ref()),
        Attributes::TimerFiredEventAttributes(event) => line
            .text("id", &event.timer_id)
            .number("started", event.started_event_id),
        Attributes::TimerCanceledEventAttributes(event) => line
            .text("id", &event.timer_id)
            .number("started", event.started_event_id),
        _ => line,
    }
}
