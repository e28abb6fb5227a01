//! The commands that hand-driven workers answer with.

use prost_types::Duration;
use steadfast_proto::temporal::command::v1::command::Attributes;
use steadfast_proto::temporal::command::v1::{
    Command, CompleteWorkflowExecutionCommandAttributes, ScheduleActivityTaskCommandAttributes,
    StartTimerCommandAttributes,
};
use steadfast_proto::temporal::common::v1::{ActivityType, Payloads};
use steadfast_proto::temporal::enums::v1::CommandType;
use steadfast_proto::temporal::taskqueue::v1::TaskQueue;

/// A protobuf duration of whole seconds.
pub fn seconds(seconds: i64) -> Duration {
    Duration { seconds, nanos: 0 }
}

/// ScheduleActivityTask with a start-to-close time-out in seconds.
pub fn schedule_activity(
    activity_id: &str,
    activity_type: &str,
    task_queue: &str,
    input: Payloads,
    start_to_close_seconds: i64,
) -> Command {
    command(
        CommandType::ScheduleActivityTask,
        Attributes::ScheduleActivityTaskCommandAttributes(ScheduleActivityTaskCommandAttributes {
            activity_id: activity_id.to_string(),
            activity_type: Some(ActivityType {
                name: activity_type.to_string(),
            }),
            task_queue: Some(TaskQueue {
                name: task_queue.to_string(),
                ..Default::default()
            }),
            input: Some(input),
            start_to_close_timeout: Some(seconds(start_to_close_seconds)),
            ..Default::default()
        }),
    )
}

/// StartTimer.
pub fn start_timer(timer_id: &str, fire_after: Duration) -> Command {
    command(
        CommandType::StartTimer,
        Attributes::StartTimerCommandAttributes(StartTimerCommandAttributes {
            timer_id: timer_id.to_string(),
            start_to_fire_timeout: Some(fire_after),
        }),
    )
}

/// CompleteWorkflowExecution.
pub fn complete_workflow(result: Option<Payloads>) -> Command {
    command(
        CommandType::CompleteWorkflowExecution,
        Attributes::CompleteWorkflowExecutionCommandAttributes(
            CompleteWorkflowExecutionCommandAttributes { result },
        ),
    )
}

/// Any command.
pub fn command(command_type: CommandType, attributes: Attributes) -> Command {
    Command {
        command_type: command_type as i32,
        attributes: Some(attributes),
        ..Default::default()
    }
}
