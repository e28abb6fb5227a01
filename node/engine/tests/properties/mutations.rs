//! What may happen next: mutations that fit the state, most of the time.

use super::history::History;
use std::collections::BTreeMap;
use steadfast_engine::id::{NamespaceNumber, TaskKind};
use steadfast_engine::mutation::{ActivityTarget, ExecutionTarget, Mutation, TaskToken};
use steadfast_engine::proto::Proto;
use steadfast_engine::tables::{Record, keys};
use steadfast_engine::time::Span;
use steadfast_engine::{read, resume};
use steadfast_proto::temporal::command::v1::command::Attributes;
use steadfast_proto::temporal::command::v1::{
    Command, CompleteWorkflowExecutionCommandAttributes,
    RequestCancelActivityTaskCommandAttributes,
    RequestCancelExternalWorkflowExecutionCommandAttributes, ScheduleActivityTaskCommandAttributes,
    SignalExternalWorkflowExecutionCommandAttributes, StartChildWorkflowExecutionCommandAttributes,
    StartTimerCommandAttributes, UpsertWorkflowSearchAttributesCommandAttributes,
};
use steadfast_proto::temporal::common::v1::{
    ActivityType, Payload, RetryPolicy, SearchAttributes, WorkflowExecution, WorkflowType,
};
use steadfast_proto::temporal::enums::v1::{CommandType, IndexedValueType};
use steadfast_proto::temporal::failure::v1::failure::FailureInfo;
use steadfast_proto::temporal::failure::v1::{ApplicationFailureInfo, Failure};
use steadfast_proto::temporal::taskqueue::v1::TaskQueue;
use steadfast_proto::temporal::workflowservice::v1 as wire;

impl History {
    /// The next thing to happen.
    pub(crate) fn mutation(&mut self) -> Mutation {
        match self.draw(100) {
            0..=9 => self.start(),
            10..=14 => self.signal(),
            15 => self.cancel(),
            16 if self.chance(50) => self.reset(),
            16 => self.terminate(),
            17 => self.of_namespaces(),
            18 => self.rare(),
            19..=39 => Mutation::ClaimTask(self.useful_poller()),
            40..=64 => self.workflow_answer(),
            65..=84 => self.activity_answer(),
            85..=91 => self.deliver(),
            _ => self.fire(),
        }
    }

    /// The next message, so that the outbox stays short; mostly there is none.
    fn deliver(&mut self) -> Mutation {
        match resume::outbox(&self.leader, None, 1).unwrap().pop() {
            Some(message) => Mutation::DeliverMessage(message),
            None => self.fire(),
        }
    }

    fn start(&mut self) -> Mutation {
        let workflow_id = self.workflow_id();
        let mut request = wire::StartWorkflowExecutionRequest {
            namespace: "default".into(),
            workflow_id,
            workflow_type: Some(WorkflowType {
                name: "Workflow".into(),
            }),
            task_queue: queue("q"),
            request_id: format!("request-{}", self.step),
            workflow_id_conflict_policy: if self.chance(70) { 2 } else { 3 },
            request_eager_execution: self.chance(20),
            ..Default::default()
        };
        if self.chance(30) {
            request.workflow_run_timeout = Some(Span::seconds(1 + self.number(60)).to_proto());
        }
        if self.chance(20) {
            let indexed_fields = BTreeMap::from([("Number".into(), json("7"))]);
            request.search_attributes = Some(SearchAttributes { indexed_fields });
        }
        if self.chance(20) {
            request.retry_policy = Some(RetryPolicy {
                maximum_attempts: 3,
                ..Default::default()
            });
        }
        Mutation::StartWorkflowExecution(Proto(request))
    }

    fn signal(&mut self) -> Mutation {
        let workflow_id = self.workflow_id();
        Mutation::SignalWithStartWorkflowExecution(Proto(
            wire::SignalWithStartWorkflowExecutionRequest {
                namespace: "default".into(),
                workflow_id,
                workflow_type: Some(WorkflowType {
                    name: "Workflow".into(),
                }),
                task_queue: queue("q"),
                signal_name: "go".into(),
                request_id: format!("signal-{}", self.step),
                ..Default::default()
            },
        ))
    }

    fn execution(&mut self) -> Option<WorkflowExecution> {
        Some(WorkflowExecution {
            workflow_id: self.workflow_id(),
            run_id: String::new(),
        })
    }

    fn cancel(&mut self) -> Mutation {
        let workflow_execution = self.execution();
        Mutation::RequestCancelWorkflowExecution(Proto(
            wire::RequestCancelWorkflowExecutionRequest {
                namespace: "default".into(),
                workflow_execution,
                ..Default::default()
            },
        ))
    }

    /// Mostly a point that holds: early ids are in each history.
    fn reset(&mut self) -> Mutation {
        let workflow_id = self.workflow_id();
        let current =
            read::target::current_run(&self.leader, NamespaceNumber(2), &workflow_id).unwrap();
        let (next, original) = current.map_or((9, String::new()), |run| {
            (run.next_event_id, run.original_execution_run_id.clone())
        });
        let at = match self.number(3) {
            0 => 4,
            _ => 3 + self.number(next),
        };
        let run_id = if self.chance(30) {
            original
        } else {
            String::new()
        };
        Mutation::ResetWorkflowExecution(Proto(wire::ResetWorkflowExecutionRequest {
            namespace: "default".into(),
            workflow_execution: Some(WorkflowExecution {
                workflow_id,
                run_id,
            }),
            reason: "reset".into(),
            workflow_task_finish_event_id: at,
            request_id: format!("reset-{}", self.step),
            ..Default::default()
        }))
    }

    fn terminate(&mut self) -> Mutation {
        let workflow_execution = self.execution();
        Mutation::TerminateWorkflowExecution(Proto(wire::TerminateWorkflowExecutionRequest {
            namespace: "default".into(),
            workflow_execution,
            ..Default::default()
        }))
    }

    fn of_namespaces(&mut self) -> Mutation {
        let namespace = format!("namespace-{}", self.draw(6));
        match self.draw(4) {
            0 => Mutation::RegisterNamespace {
                request: Proto(wire::RegisterNamespaceRequest {
                    namespace,
                    workflow_execution_retention_period: Some(Span::seconds(7_200).to_proto()),
                    ..Default::default()
                }),
                id: format!("id-{}", self.step),
            },
            1 => Mutation::UpdateNamespace(Proto(wire::UpdateNamespaceRequest {
                namespace,
                ..Default::default()
            })),
            2 => Mutation::AddSearchAttributes {
                namespace: "default".into(),
                attributes: vec![(
                    format!("Word{}", self.draw(9)),
                    IndexedValueType::Keyword.into(),
                )],
            },
            _ => {
                let json = self.draw(100).to_string();
                let key = "limit.historyCount.suggestContinueAsNew".into();
                Mutation::SetConfig {
                    key,
                    value: Some(json),
                }
            }
        }
    }

    fn rare(&mut self) -> Mutation {
        let target = ExecutionTarget {
            namespace: "default".into(),
            workflow_id: self.workflow_id(),
            run_id: String::new(),
        };
        match self.draw(5) {
            0 => Mutation::DeleteWorkflowExecution(target),
            1 => Mutation::ResetStickyTaskQueue(target),
            2 => Mutation::PurgeNamespace(NamespaceNumber(2)),
            3 => Mutation::RaiseEngineVersion(1),
            _ => Mutation::ShutdownWorker {
                namespace: "default".into(),
                sticky_task_queue: "sticky".into(),
            },
        }
    }

    fn fire(&mut self) -> Mutation {
        let Some(earliest) = resume::earliest_due(&self.leader).unwrap() else {
            return self.start();
        };
        // Retention lies a day ahead: the clock does not jump that far at once.
        if earliest.since(self.now) < Span::seconds(120) {
            self.now = self.now.max(earliest);
        }
        match resume::due(&self.leader, self.now, 1).unwrap().pop() {
            Some(key) => Mutation::FireDue(key),
            None => {
                self.now = self.now.after(Span::seconds(3_600));
                self.start()
            }
        }
    }

    fn workflow_answer(&mut self) -> Mutation {
        let Some(token) = self.take(TaskKind::Workflow) else {
            return Mutation::ClaimTask(self.useful_poller());
        };
        match self.draw(20) {
            0 => {
                let request = Proto(wire::RespondWorkflowTaskFailedRequest::default());
                Mutation::RespondWorkflowTaskFailed { token, request }
            }
            1 => Mutation::ReturnTask(token),
            _ => {
                let commands = self.commands(&token);
                let request = Proto(wire::RespondWorkflowTaskCompletedRequest {
                    commands,
                    identity: "worker".into(),
                    return_new_workflow_task: self.chance(50),
                    ..Default::default()
                });
                Mutation::RespondWorkflowTaskCompleted { token, request }
            }
        }
    }

    fn commands(&mut self, token: &TaskToken) -> Vec<Command> {
        let mut commands: Vec<Command> = (0..self.draw(4)).map(|_| self.command(token)).collect();
        if self.chance(12) {
            commands.push(command(
                CommandType::CompleteWorkflowExecution,
                Attributes::CompleteWorkflowExecutionCommandAttributes(
                    CompleteWorkflowExecutionCommandAttributes::default(),
                ),
            ));
        }
        commands
    }

    fn command(&mut self, token: &TaskToken) -> Command {
        match self.draw(14) {
            10 => self.start_child(),
            11 => self.signal_external(),
            12 => self.cancel_external(),
            0..=5 => command(
                CommandType::ScheduleActivityTask,
                Attributes::ScheduleActivityTaskCommandAttributes(self.activity()),
            ),
            6 | 13 => command(
                CommandType::RequestCancelActivityTask,
                Attributes::RequestCancelActivityTaskCommandAttributes(
                    RequestCancelActivityTaskCommandAttributes {
                        scheduled_event_id: self.pending(token),
                    },
                ),
            ),
            7 => command(
                CommandType::UpsertWorkflowSearchAttributes,
                Attributes::UpsertWorkflowSearchAttributesCommandAttributes(
                    UpsertWorkflowSearchAttributesCommandAttributes {
                        search_attributes: Some(SearchAttributes {
                            indexed_fields: BTreeMap::from([("Number".into(), json("null"))]),
                        }),
                    },
                ),
            ),
            _ => command(
                CommandType::StartTimer,
                Attributes::StartTimerCommandAttributes(StartTimerCommandAttributes {
                    timer_id: self.new_name("timer"),
                    start_to_fire_timeout: Some(Span::seconds(self.number(20)).to_proto()),
                }),
            ),
        }
    }

    fn start_child(&mut self) -> Command {
        command(
            CommandType::StartChildWorkflowExecution,
            Attributes::StartChildWorkflowExecutionCommandAttributes(
                StartChildWorkflowExecutionCommandAttributes {
                    workflow_id: self.workflow_id(),
                    workflow_type: Some(WorkflowType {
                        name: "Workflow".into(),
                    }),
                    task_queue: queue("q"),
                    workflow_id_reuse_policy: if self.chance(50) { 4 } else { 1 },
                    parent_close_policy: i32::try_from(self.draw(4)).unwrap(),
                    retry_policy: self.chance(20).then(RetryPolicy::default),
                    ..Default::default()
                },
            ),
        )
    }

    fn signal_external(&mut self) -> Command {
        command(
            CommandType::SignalExternalWorkflowExecution,
            Attributes::SignalExternalWorkflowExecutionCommandAttributes(
                SignalExternalWorkflowExecutionCommandAttributes {
                    execution: self.execution(),
                    signal_name: "go".into(),
                    child_workflow_only: self.chance(20),
                    ..Default::default()
                },
            ),
        )
    }

    fn cancel_external(&mut self) -> Command {
        command(
            CommandType::RequestCancelExternalWorkflowExecution,
            Attributes::RequestCancelExternalWorkflowExecutionCommandAttributes(
                RequestCancelExternalWorkflowExecutionCommandAttributes {
                    workflow_id: self.workflow_id(),
                    child_workflow_only: self.chance(20),
                    ..Default::default()
                },
            ),
        )
    }

    fn new_name(&mut self, what: &str) -> String {
        let number = self.draw(1_000);
        format!("{what}-{}-{number}", self.step)
    }

    fn activity(&mut self) -> ScheduleActivityTaskCommandAttributes {
        let mut span = |percent: u64, seconds: i64| {
            let span = Span::seconds(1 + self.number(seconds));
            self.chance(percent).then(|| span.to_proto())
        };
        let (schedule_to_close_timeout, schedule_to_start_timeout) = (span(40, 30), span(30, 20));
        let heartbeat_timeout = span(40, 4);
        let start_to_close_timeout = span(100, 10);
        ScheduleActivityTaskCommandAttributes {
            activity_id: self.new_name("activity"),
            activity_type: Some(ActivityType {
                name: "Activity".into(),
            }),
            task_queue: queue(if self.chance(80) { "q" } else { "other" }),
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

    /// A pending activity of the task's run.
    fn pending(&mut self, token: &TaskToken) -> i64 {
        let prefix = keys::activity_prefix(&token.run);
        let found = self
            .leader
            .0
            .range(prefix.clone()..keys::prefix_end(&prefix))
            .next();
        match found.map(|(_, record)| &**record) {
            Some(Record::Activity(activity)) => activity.scheduled_event_id,
            Some(_) | None => 5,
        }
    }

    fn activity_answer(&mut self) -> Mutation {
        let Some(token) = self.take(TaskKind::Activity) else {
            return Mutation::ClaimTask(self.useful_poller());
        };
        let target = ActivityTarget::Token(token.clone());
        match self.draw(10) {
            0..=3 => {
                let request = Proto(wire::RespondActivityTaskCompletedRequest::default());
                Mutation::RespondActivityTaskCompleted { target, request }
            }
            4 | 5 => {
                let info = ApplicationFailureInfo {
                    non_retryable: self.chance(20),
                    ..ApplicationFailureInfo::default()
                };
                let failure = Failure {
                    failure_info: Some(FailureInfo::ApplicationFailureInfo(info)),
                    ..Failure::default()
                };
                let request = Proto(wire::RespondActivityTaskFailedRequest {
                    failure: Some(failure),
                    ..Default::default()
                });
                Mutation::RespondActivityTaskFailed { target, request }
            }
            6 => {
                let request = Proto(wire::RespondActivityTaskCanceledRequest::default());
                Mutation::RespondActivityTaskCanceled { target, request }
            }
            7 => Mutation::ReturnTask(token),
            _ => {
                // The activity goes on: its token stays.
                self.activity_tasks.insert(0, token);
                let request = Proto(wire::RecordActivityTaskHeartbeatRequest::default());
                Mutation::RecordActivityTaskHeartbeat { target, request }
            }
        }
    }
}

fn queue(name: &str) -> Option<TaskQueue> {
    Some(TaskQueue {
        name: name.into(),
        ..TaskQueue::default()
    })
}

fn json(text: &str) -> Payload {
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
