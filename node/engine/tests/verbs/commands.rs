//! Commands of workflow code, one a line: `schedule_activity a start_to_close=10s`.

use super::{Args, payload};
use steadfast_proto::temporal::command::v1::command::Attributes;
use steadfast_proto::temporal::command::v1::{
    CancelTimerCommandAttributes, CancelWorkflowExecutionCommandAttributes, Command,
    CompleteWorkflowExecutionCommandAttributes, ContinueAsNewWorkflowExecutionCommandAttributes,
    FailWorkflowExecutionCommandAttributes, RecordMarkerCommandAttributes,
    RequestCancelActivityTaskCommandAttributes, ScheduleActivityTaskCommandAttributes,
    StartTimerCommandAttributes, UpsertWorkflowSearchAttributesCommandAttributes,
};
use steadfast_proto::temporal::common::v1::{
    ActivityType, RetryPolicy, SearchAttributes, WorkflowType,
};
use steadfast_proto::temporal::enums::v1::CommandType;
use steadfast_proto::temporal::taskqueue::v1::TaskQueue;

/// The command of a line; `None` for an answer to an update that goes without one.
pub(super) fn command(line: &str) -> Option<Command> {
    let args = Args::parse(line, line);
    if ["accept", "respond", "reject", "protocol_message"].contains(&args.verb.as_str()) {
        return super::update::command(&args).map(|attributes| Command {
            command_type: CommandType::ProtocolMessage.into(),
            attributes: Some(Attributes::ProtocolMessageCommandAttributes(attributes)),
            ..Command::default()
        });
    }
    let (command_type, attributes) = attributes(&args);
    args.finish();
    Some(Command {
        command_type: command_type.into(),
        attributes: Some(attributes),
        ..Command::default()
    })
}

fn attributes(args: &Args) -> (CommandType, Attributes) {
    match args.verb.as_str() {
        "schedule_activity" => (
            CommandType::ScheduleActivityTask,
            Attributes::ScheduleActivityTaskCommandAttributes(schedule_activity(args)),
        ),
        "cancel_activity" => (
            CommandType::RequestCancelActivityTask,
            Attributes::RequestCancelActivityTaskCommandAttributes(
                RequestCancelActivityTaskCommandAttributes {
                    scheduled_event_id: args.number("event"),
                },
            ),
        ),
        "start_timer" => (
            CommandType::StartTimer,
            Attributes::StartTimerCommandAttributes(StartTimerCommandAttributes {
                timer_id: args.name_or("t"),
                start_to_fire_timeout: args.span("after"),
            }),
        ),
        "cancel_timer" => (
            CommandType::CancelTimer,
            Attributes::CancelTimerCommandAttributes(CancelTimerCommandAttributes {
                timer_id: args.name_or("t"),
            }),
        ),
        "marker" => (
            CommandType::RecordMarker,
            Attributes::RecordMarkerCommandAttributes(RecordMarkerCommandAttributes {
                marker_name: args.name_or("marker"),
                ..Default::default()
            }),
        ),
        "upsert" => (CommandType::UpsertWorkflowSearchAttributes, upsert(args)),
        "start_child" => super::external::start_child(args),
        "signal_external" => super::external::signal_external(args),
        "cancel_external" => super::external::cancel_external(args),
        _ => closing(args),
    }
}

fn closing(args: &Args) -> (CommandType, Attributes) {
    match args.verb.as_str() {
        "complete" => (
            CommandType::CompleteWorkflowExecution,
            Attributes::CompleteWorkflowExecutionCommandAttributes(
                CompleteWorkflowExecutionCommandAttributes {
                    result: args.payloads("result"),
                },
            ),
        ),
        "fail" => (
            CommandType::FailWorkflowExecution,
            Attributes::FailWorkflowExecutionCommandAttributes(
                FailWorkflowExecutionCommandAttributes {
                    failure: Some(super::activity::failure(args)),
                },
            ),
        ),
        "cancel_workflow" => (
            CommandType::CancelWorkflowExecution,
            Attributes::CancelWorkflowExecutionCommandAttributes(
                CancelWorkflowExecutionCommandAttributes {
                    details: args.payloads("details"),
                },
            ),
        ),
        "continue_as_new" => (
            CommandType::ContinueAsNewWorkflowExecution,
            Attributes::ContinueAsNewWorkflowExecutionCommandAttributes(
                ContinueAsNewWorkflowExecutionCommandAttributes {
                    workflow_type: Some(WorkflowType {
                        name: args.get_or("type", "Workflow"),
                    }),
                    task_queue: queue(args),
                    input: args.payloads("input"),
                    ..Default::default()
                },
            ),
        ),
        other => panic!("unknown command {other}"),
    }
}

fn schedule_activity(args: &Args) -> ScheduleActivityTaskCommandAttributes {
    let name = args.get_or("type", "act");
    ScheduleActivityTaskCommandAttributes {
        activity_id: args.name_or(""),
        activity_type: Some(ActivityType { name }),
        task_queue: queue(args),
        input: args.payloads("input"),
        schedule_to_close_timeout: args.span("schedule_to_close"),
        schedule_to_start_timeout: args.span("schedule_to_start"),
        start_to_close_timeout: args.span("start_to_close"),
        heartbeat_timeout: args.span("heartbeat"),
        retry_policy: retry_policy(args),
        request_eager_execution: args.has("eager"),
        ..Default::default()
    }
}

fn retry_policy(args: &Args) -> Option<RetryPolicy> {
    let policy = RetryPolicy {
        initial_interval: args.span("first_retry"),
        backoff_coefficient: args.number("coefficient"),
        maximum_interval: args.span("longest_retry"),
        maximum_attempts: args.number("attempts"),
        non_retryable_error_types: args
            .get("not_retried")
            .map(|names| names.split(',').map(str::to_owned).collect())
            .unwrap_or_default(),
    };
    (policy != RetryPolicy::default()).then_some(policy)
}

fn queue(args: &Args) -> Option<TaskQueue> {
    let name = args.get_or("queue", "q");
    (name != "none").then(|| TaskQueue {
        name,
        ..TaskQueue::default()
    })
}

fn upsert(args: &Args) -> Attributes {
    let fields = args
        .others()
        .into_iter()
        .map(|(name, json)| (name, payload(&json)));
    Attributes::UpsertWorkflowSearchAttributesCommandAttributes(
        UpsertWorkflowSearchAttributesCommandAttributes {
            search_attributes: Some(SearchAttributes {
                indexed_fields: fields.collect(),
            }),
        },
    )
}
