//! SCHEDULE_ACTIVITY_TASK.

use super::{CommandError, CommandHead, Completion};
use crate::event::Attributes;
use crate::execution::{Execution, activity};
use crate::priority;
use crate::retry;
use crate::tables::Limits;
use crate::time::{SPAN_MAX, Span};
use prost::Message;
use steadfast_proto::temporal::command::v1::ScheduleActivityTaskCommandAttributes;
use steadfast_proto::temporal::enums::v1::{TaskQueueKind, WorkflowTaskFailedCause as Cause};
use steadfast_proto::temporal::history::v1::ActivityTaskScheduledEventAttributes;
use steadfast_proto::temporal::taskqueue::v1::TaskQueue;

/// Queues whose names begin so are the server's own.
const RESERVED_QUEUE_PREFIX: &str = "/_sys/";

/// Writes the event with time-outs and retry policy filled in, and hands the activity out.
pub(super) fn apply(
    execution: &mut Execution<'_, '_>,
    completion: &mut Completion<'_>,
    attributes: ScheduleActivityTaskCommandAttributes,
    head: CommandHead,
) -> Result<(), CommandError> {
    let cause = Cause::BadScheduleActivityAttributes;
    let limits = execution.set.limits();
    let pending_max = limits.pending_activities_max;
    let eager = attributes.request_eager_execution && limits.eager_activities;
    check_names(&attributes, limits).map_err(|text| CommandError::bad(cause, text))?;
    let retry_policy = retry::with_defaults(attributes.retry_policy.as_ref());
    retry::validate(&retry_policy).map_err(|text| CommandError::bad(cause, text))?;
    priority::validate(attributes.priority.as_ref())
        .map_err(|text| CommandError::bad(cause, format!("invalid priorities: {text}")))?;
    let spans = normalised(&attributes, execution.run.times.run_timeout)
        .map_err(|text| CommandError::bad(cause, text))?;
    let bytes = attributes.input.as_ref().map_or(0, Message::encoded_len);
    if execution.set.limits().exceeds_blob(bytes) {
        let text = "ScheduleActivityTaskCommandAttributes.Input exceeds size limit.";
        return Err(CommandError::too_large(cause, text));
    }
    if activity::scheduled_event_id(execution, &attributes.activity_id)?.is_some() {
        let text = format!(
            "invalid history builder state for action: add-activitytask-scheduled-event, \
             ActivityID: {}",
            attributes.activity_id
        );
        return Err(CommandError::bad(Cause::ScheduleActivityDuplicateId, text));
    }
    if execution.run.pending_activities >= pending_max {
        let text = format!(
            "the number of pending activities, {}, has reached the per-workflow limit of \
             {pending_max}",
            execution.run.pending_activities
        );
        return Err(CommandError::bad(
            Cause::PendingActivitiesLimitExceeded,
            text,
        ));
    }
    #[expect(
        deprecated,
        reason = "SDKs still send use_workflow_build_id, and Temporal echoes it"
    )]
    let scheduled = ActivityTaskScheduledEventAttributes {
        activity_id: attributes.activity_id,
        activity_type: attributes.activity_type,
        task_queue: attributes.task_queue.map(with_kind),
        header: attributes.header,
        input: attributes.input,
        schedule_to_close_timeout: Some(spans.schedule_to_close.to_proto()),
        schedule_to_start_timeout: Some(spans.schedule_to_start.to_proto()),
        start_to_close_timeout: Some(spans.start_to_close.to_proto()),
        heartbeat_timeout: Some(spans.heartbeat.to_proto()),
        workflow_task_completed_event_id: completion.completed_event_id,
        retry_policy: Some(retry_policy),
        use_workflow_build_id: attributes.use_workflow_build_id,
        priority: attributes.priority,
    };
    let event = Attributes::ActivityTaskScheduledEventAttributes(scheduled.clone());
    let event_id = execution.add_event(head.event(event));
    let pending = activity::schedule(execution, event_id, scheduled);
    execution.set.took(&activity::table::SCHEDULED);
    if eager {
        let task = activity::start_eagerly(execution, pending, &completion.request.identity);
        completion.eager_activities.push(task);
    } else {
        activity::dispatch(execution, pending)?;
    }
    Ok(())
}

/// A queue without a kind is a normal one.
fn with_kind(mut queue: TaskQueue) -> TaskQueue {
    if queue.kind() == TaskQueueKind::Unspecified {
        queue.set_kind(TaskQueueKind::Normal);
    }
    queue
}

fn check_names(
    attributes: &ScheduleActivityTaskCommandAttributes,
    limits: &Limits,
) -> Result<(), String> {
    let limit = usize::try_from(limits.id_length_max).unwrap_or(usize::MAX);
    let queue = attributes
        .task_queue
        .as_ref()
        .map_or("", |queue| queue.name.as_str());
    let activity_id = attributes.activity_id.as_str();
    let name = attributes
        .activity_type
        .as_ref()
        .map_or("", |kind| kind.name.as_str());
    if queue.is_empty() {
        return Err("taskQueue is not set".to_owned());
    }
    if queue.len() > limit {
        return Err("taskQueue length exceeds limit".to_owned());
    }
    if queue.starts_with(RESERVED_QUEUE_PREFIX) {
        let prefix = RESERVED_QUEUE_PREFIX;
        return Err(format!(
            "task queue name cannot start with reserved prefix {prefix}"
        ));
    }
    if activity_id.is_empty() {
        return Err("activityId is not set".to_owned());
    }
    if name.is_empty() {
        return Err("activityType is not set".to_owned());
    }
    for (what, value) in [("activityId", activity_id), ("activityType", name)] {
        if value.len() > limit {
            let length = value.len();
            return Err(format!(
                "{what} exceeds length limit. Length={length} Limit={limit}"
            ));
        }
    }
    Ok(())
}

struct Spans {
    schedule_to_close: Span,
    schedule_to_start: Span,
    start_to_close: Span,
    heartbeat: Span,
}

/// Derives what is not set, and caps each by what contains it. Zero is infinite.
fn normalised(
    attributes: &ScheduleActivityTaskCommandAttributes,
    run_timeout: Span,
) -> Result<Spans, String> {
    let given = [
        (
            "ScheduleToCloseTimeout",
            &attributes.schedule_to_close_timeout,
        ),
        (
            "ScheduleToStartTimeout",
            &attributes.schedule_to_start_timeout,
        ),
        ("StartToCloseTimeout", &attributes.start_to_close_timeout),
        ("HeartbeatTimeout", &attributes.heartbeat_timeout),
    ];
    for (name, duration) in given {
        if retry::is_negative(duration.as_ref()) {
            return Err(format!("invalid {name}: negative duration"));
        }
    }
    let [
        schedule_to_close,
        schedule_to_start,
        start_to_close,
        heartbeat,
    ] = given.map(|(_, duration)| Span::from_proto(duration.as_ref()));
    let mut spans = Spans {
        schedule_to_close,
        schedule_to_start,
        start_to_close,
        heartbeat,
    };
    if !schedule_to_close.is_zero() {
        spans.schedule_to_start = within(schedule_to_start, schedule_to_close);
        spans.start_to_close = within(start_to_close, schedule_to_close);
    } else if !start_to_close.is_zero() {
        spans.schedule_to_close = run_timeout;
        if schedule_to_start.is_zero() {
            spans.schedule_to_start = run_timeout;
        }
    } else {
        let name = attributes
            .activity_type
            .as_ref()
            .map_or("", |kind| kind.name.as_str());
        return Err(format!(
            "a valid StartToCloseTimeout or ScheduleToCloseTimeout must be set on the activity. \
             ActivityId={} ActivityType={name}",
            attributes.activity_id
        ));
    }
    let cap = if run_timeout.is_zero() {
        SPAN_MAX
    } else {
        run_timeout
    };
    for span in [
        &mut spans.schedule_to_close,
        &mut spans.schedule_to_start,
        &mut spans.start_to_close,
        &mut spans.heartbeat,
    ] {
        *span = (*span).min(cap);
    }
    spans.heartbeat = spans.heartbeat.min(spans.start_to_close);
    Ok(spans)
}

/// A span that is not set takes the one that contains it; a longer one is cut to it.
fn within(span: Span, container: Span) -> Span {
    if span.is_zero() {
        container
    } else {
        span.min(container)
    }
}
