//! What a workflow answers its task with.

use crate::walk::Walk;
use prost_types::Duration;
use steadfast_engine::mutation::TaskToken;
use steadfast_engine::tables::{Record, keys};
use steadfast_engine::time::Span;
use steadfast_proto::temporal::command::v1::command::Attributes;
use steadfast_proto::temporal::command::v1::{
    CancelTimerCommandAttributes, CancelWorkflowExecutionCommandAttributes, Command,
    CompleteWorkflowExecutionCommandAttributes, ContinueAsNewWorkflowExecutionCommandAttributes,
    FailWorkflowExecutionCommandAttributes, ModifyWorkflowPropertiesCommandAttributes,
    RecordMarkerCommandAttributes, RequestCancelActivityTaskCommandAttributes,
    RequestCancelExternalWorkflowExecutionCommandAttributes, ScheduleActivityTaskCommandAttributes,
    SignalExternalWorkflowExecutionCommandAttributes, StartChildWorkflowExecutionCommandAttributes,
    StartTimerCommandAttributes, UpsertWorkflowSearchAttributesCommandAttributes,
};
use steadfast_proto::temporal::common::v1::{
    ActivityType, Memo, Payload, RetryPolicy, SearchAttributes, WorkflowExecution, WorkflowType,
};
use steadfast_proto::temporal::enums::v1::{CommandType, ParentClosePolicy};
use steadfast_proto::temporal::failure::v1::Failure;
use steadfast_proto::temporal::taskqueue::v1::TaskQueue;

/// Of a thousand commands, those for other workflows.
const FOR_OTHERS: u64 = 160;

pub(crate) fn seconds(seconds: i64) -> Option<Duration> {
    Some(Span::seconds(seconds).to_proto())
}

pub(crate) fn queue(name: &str) -> Option<TaskQueue> {
    Some(TaskQueue {
        name: name.into(),
        ..TaskQueue::default()
    })
}

pub(crate) fn json(text: &str) -> Payload {
    let mut payload = Payload {
        data: text.to_owned().into(),
        ..Payload::default()
    };
    payload
        .metadata
        .insert("encoding".to_owned(), "json/plain".into());
    payload
}

fn command(command_type: CommandType, attributes: Attributes) -> Command {
    Command {
        command_type: command_type.into(),
        attributes: Some(attributes),
        ..Command::default()
    }
}

impl Walk {
    /// Some commands; sometimes the last one closes the workflow.
    pub(crate) fn commands(&mut self, token: &TaskToken) -> Vec<Command> {
        let mut commands: Vec<Command> = (0..self.draw(4)).map(|_| self.command(token)).collect();
        if self.chance(14) {
            commands.push(self.closing());
        }
        commands
    }

    fn command(&mut self, token: &TaskToken) -> Command {
        if self.draw(1_000) < FOR_OTHERS {
            return self.for_others();
        }
        match self.draw(40) {
            0..=21 => command(
                CommandType::ScheduleActivityTask,
                Attributes::ScheduleActivityTaskCommandAttributes(self.activity()),
            ),
            22..=25 => command(
                CommandType::RequestCancelActivityTask,
                Attributes::RequestCancelActivityTaskCommandAttributes(
                    RequestCancelActivityTaskCommandAttributes {
                        scheduled_event_id: self.pending_activity(token),
                    },
                ),
            ),
            26 => command(
                CommandType::UpsertWorkflowSearchAttributes,
                Attributes::UpsertWorkflowSearchAttributesCommandAttributes(
                    UpsertWorkflowSearchAttributesCommandAttributes {
                        search_attributes: Some(SearchAttributes {
                            indexed_fields: [("Number".to_owned(), json("null"))].into(),
                        }),
                    },
                ),
            ),
            27 => command(
                CommandType::ModifyWorkflowProperties,
                Attributes::ModifyWorkflowPropertiesCommandAttributes(
                    ModifyWorkflowPropertiesCommandAttributes {
                        upserted_memo: Some(Memo {
                            fields: [("note".to_owned(), json("1"))].into(),
                        }),
                    },
                ),
            ),
            28 => command(
                CommandType::RecordMarker,
                Attributes::RecordMarkerCommandAttributes(RecordMarkerCommandAttributes {
                    marker_name: if self.chance(95) { "marker" } else { "" }.into(),
                    ..Default::default()
                }),
            ),
            29..=31 => command(
                CommandType::CancelTimer,
                Attributes::CancelTimerCommandAttributes(CancelTimerCommandAttributes {
                    timer_id: self.pending_timer(token),
                }),
            ),
            _ => command(
                CommandType::StartTimer,
                Attributes::StartTimerCommandAttributes(StartTimerCommandAttributes {
                    timer_id: self.new_name("timer"),
                    start_to_fire_timeout: seconds(self.number(20)),
                }),
            ),
        }
    }

    fn for_others(&mut self) -> Command {
        let workflow_id = self.workflow_id();
        match self.draw(5) {
            0..=2 => command(
                CommandType::StartChildWorkflowExecution,
                Attributes::StartChildWorkflowExecutionCommandAttributes(
                    StartChildWorkflowExecutionCommandAttributes {
                        // Mostly of its own: the other ids are taken most of the time.
                        workflow_id: format!("workflow-{}", self.draw(15)),
                        workflow_type: Some(WorkflowType {
                            name: "Workflow".into(),
                        }),
                        task_queue: queue("q"),
                        workflow_run_timeout: seconds(4 + self.number(30)),
                        parent_close_policy: [
                            ParentClosePolicy::Terminate,
                            ParentClosePolicy::Abandon,
                            ParentClosePolicy::RequestCancel,
                        ][usize::try_from(self.draw(3)).unwrap()]
                        .into(),
                        ..Default::default()
                    },
                ),
            ),
            3 => command(
                CommandType::SignalExternalWorkflowExecution,
                Attributes::SignalExternalWorkflowExecutionCommandAttributes(
                    SignalExternalWorkflowExecutionCommandAttributes {
                        execution: Some(WorkflowExecution {
                            workflow_id,
                            run_id: String::new(),
                        }),
                        signal_name: "go".into(),
                        ..Default::default()
                    },
                ),
            ),
            _ => command(
                CommandType::RequestCancelExternalWorkflowExecution,
                Attributes::RequestCancelExternalWorkflowExecutionCommandAttributes(
                    RequestCancelExternalWorkflowExecutionCommandAttributes {
                        workflow_id,
                        ..Default::default()
                    },
                ),
            ),
        }
    }

    fn closing(&mut self) -> Command {
        match self.draw(8) {
            0 | 1 => command(
                CommandType::CompleteWorkflowExecution,
                Attributes::CompleteWorkflowExecutionCommandAttributes(
                    CompleteWorkflowExecutionCommandAttributes::default(),
                ),
            ),
            2..=4 => command(
                CommandType::FailWorkflowExecution,
                Attributes::FailWorkflowExecutionCommandAttributes(
                    FailWorkflowExecutionCommandAttributes {
                        failure: Some(Failure::default()),
                    },
                ),
            ),
            5 | 6 => command(
                CommandType::CancelWorkflowExecution,
                Attributes::CancelWorkflowExecutionCommandAttributes(
                    CancelWorkflowExecutionCommandAttributes::default(),
                ),
            ),
            _ => command(
                CommandType::ContinueAsNewWorkflowExecution,
                Attributes::ContinueAsNewWorkflowExecutionCommandAttributes(
                    ContinueAsNewWorkflowExecutionCommandAttributes::default(),
                ),
            ),
        }
    }

    fn new_name(&mut self, what: &str) -> String {
        let number = self.draw(1_000);
        format!("{what}-{}-{number}", self.step)
    }

    fn activity(&mut self) -> ScheduleActivityTaskCommandAttributes {
        let mut span = |percent: u64, most: i64| {
            let span = seconds(1 + self.number(most));
            self.chance(percent).then_some(span).flatten()
        };
        let (schedule_to_close_timeout, schedule_to_start_timeout) = (span(40, 30), span(30, 20));
        let heartbeat_timeout = span(40, 4);
        let start_to_close_timeout = span(100, 10);
        let activity_id = if self.chance(20) {
            format!("activity-{}", self.draw(50))
        } else {
            self.new_name("activity")
        };
        ScheduleActivityTaskCommandAttributes {
            activity_id,
            activity_type: Some(ActivityType {
                name: "Activity".into(),
            }),
            task_queue: queue("q"),
            schedule_to_close_timeout,
            schedule_to_start_timeout,
            start_to_close_timeout,
            heartbeat_timeout,
            retry_policy: Some(RetryPolicy {
                maximum_attempts: i32::try_from(self.draw(5)).unwrap(),
                ..Default::default()
            }),
            request_eager_execution: self.chance(20),
            ..Default::default()
        }
    }

    /// A pending activity of the task's run; 5 when there is none.
    fn pending_activity(&self, token: &TaskToken) -> i64 {
        let prefix = keys::activity_prefix(&token.run);
        let end = keys::prefix_end(&prefix);
        let found = self.memory.0.range(prefix..end).next();
        match found.map(|(_, record)| &**record) {
            Some(Record::Activity(activity)) => activity.scheduled_event_id,
            Some(_) | None => 5,
        }
    }

    /// A pending timer of the task's run; one that is not there when there is none.
    fn pending_timer(&self, token: &TaskToken) -> String {
        let prefix = keys::timer_prefix(&token.run);
        let end = keys::prefix_end(&prefix);
        let found = self.memory.0.range(prefix.clone()..end).next();
        // The id stands at the key's end, two bytes of length before it.
        found.map_or_else(
            || "no-timer".to_owned(),
            |(key, _)| String::from_utf8(key[prefix.len() + 2..].to_vec()).unwrap(),
        )
    }
}
