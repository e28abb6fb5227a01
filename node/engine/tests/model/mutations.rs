//! What may happen next: mutations that fit the state, most of the time.

use crate::commands::{queue, seconds};
use crate::walk::Walk;
use crate::walk_updates;
use steadfast_engine::id::{NamespaceNumber, QueueKey, TaskKind};
use steadfast_engine::mutation::{ActivityTarget, ExecutionTarget, Mutation, TaskToken};
use steadfast_engine::proto::Proto;
use steadfast_engine::resume;
use steadfast_engine::time::Span;
use steadfast_proto::temporal::common::v1::{
    Callback, RetryPolicy, SearchAttributes, WorkflowExecution, WorkflowType,
};
use steadfast_proto::temporal::enums::v1::{IndexedValueType, NamespaceState};
use steadfast_proto::temporal::failure::v1::failure::FailureInfo;
use steadfast_proto::temporal::failure::v1::{ApplicationFailureInfo, Failure};
use steadfast_proto::temporal::namespace::v1::UpdateNamespaceInfo;
use steadfast_proto::temporal::taskqueue::v1::StickyExecutionAttributes;
use steadfast_proto::temporal::workflowservice::v1 as wire;

impl Walk {
    /// The next thing to happen.
    pub(crate) fn mutation(&mut self) -> Mutation {
        if self.chance(50)
            && let Some(message) = resume::outbox(&self.memory, None, 1).unwrap().pop()
        {
            return Mutation::DeliverMessage(message);
        }
        match self.draw(1_000) {
            0..=89 => self.start(),
            90..=119 => self.signal(),
            120..=159 => self.signal_with_start(),
            160..=171 => self.cancel(),
            172..=177 => self.terminate(),
            178..=183 => Mutation::DeleteWorkflowExecution(self.target()),
            184..=199 => self.of_namespaces(),
            200..=216 => self.rare(),
            217..=224 => self.reset(),
            225..=269 => self.update(),
            270..=419 => Mutation::ClaimTask(self.useful_poller()),
            420..=679 => self.workflow_answer(),
            680..=859 => self.activity_answer(),
            _ => self.fire(),
        }
    }

    pub(crate) fn workflow_id(&mut self) -> String {
        format!("workflow-{}", self.draw(9))
    }

    /// Mostly the one that lives.
    fn namespace(&mut self) -> String {
        match self.draw(200) {
            0 => "nowhere",
            1 => "gone",
            _ => "default",
        }
        .to_owned()
    }

    /// Mostly the given one.
    fn policy(&mut self, percent: u64, usual: i32) -> i32 {
        let other = i32::try_from(self.draw(4)).unwrap();
        if self.chance(percent) { usual } else { other }
    }

    fn start(&mut self) -> Mutation {
        Mutation::StartWorkflowExecution(Proto(self.start_request()))
    }

    fn update(&mut self) -> Mutation {
        let update_id = format!("update-{}", self.draw(200));
        if self.chance(15) {
            return walk_updates::with_start(self.start_request(), &update_id);
        }
        let (namespace, workflow_id) = (self.namespace(), self.workflow_id());
        let update = walk_updates::update(&namespace, &workflow_id, &update_id);
        Mutation::UpdateWorkflowExecution(Proto(update))
    }

    /// Mostly to a workflow task of a run that was touched lately.
    fn reset(&mut self) -> Mutation {
        let last = self.runs.len().checked_sub(1);
        let Some(run) = last.map(|last| {
            let back = usize::try_from(self.draw(5)).unwrap();
            self.runs[last - back.min(last)].clone()
        }) else {
            return self.start();
        };
        let run = steadfast_engine::read::run(&self.memory, &run).unwrap();
        let Some(run) = run else { return self.start() };
        let finish_event_id = if self.chance(90) {
            run.last_completed_started_event_id + 1
        } else {
            self.number(run.next_event_id + 2)
        };
        Mutation::ResetWorkflowExecution(Proto(wire::ResetWorkflowExecutionRequest {
            namespace: "default".into(),
            workflow_execution: Some(WorkflowExecution {
                workflow_id: run.run.workflow_id.clone(),
                run_id: run.run_id.clone(),
            }),
            reason: "reset".into(),
            workflow_task_finish_event_id: finish_event_id,
            request_id: format!("reset-{}", self.step - self.draw(3)),
            ..Default::default()
        }))
    }

    fn start_request(&mut self) -> wire::StartWorkflowExecutionRequest {
        let mut request = wire::StartWorkflowExecutionRequest {
            namespace: self.namespace(),
            workflow_id: self.workflow_id(),
            workflow_type: Some(WorkflowType {
                name: "Workflow".into(),
            }),
            task_queue: queue("q"),
            request_id: format!("request-{}", self.step),
            workflow_id_conflict_policy: self.policy(85, 2),
            workflow_id_reuse_policy: self.policy(90, 1),
            request_eager_execution: self.chance(20),
            ..Default::default()
        };
        if self.chance(30) {
            request.workflow_run_timeout = seconds(1 + self.number(60));
        }
        if self.chance(10) {
            request.workflow_execution_timeout = seconds(5 + self.number(90));
        }
        if self.chance(20) {
            let indexed_fields = [("Number".to_owned(), crate::commands::json("7"))].into();
            request.search_attributes = Some(SearchAttributes { indexed_fields });
        }
        if self.chance(20) {
            request.retry_policy = Some(RetryPolicy {
                maximum_attempts: 3,
                ..Default::default()
            });
        }
        match self.draw(40) {
            0 => request.cron_schedule = "@every 3s".into(),
            1 | 2 => request.workflow_start_delay = seconds(self.number(5)),
            3 => request.completion_callbacks = vec![Callback::default()],
            _ => {}
        }
        request
    }

    fn signal(&mut self) -> Mutation {
        Mutation::SignalWorkflowExecution(Proto(wire::SignalWorkflowExecutionRequest {
            namespace: self.namespace(),
            workflow_execution: self.execution(),
            signal_name: "go".into(),
            request_id: format!("signal-{}", self.draw(10_000)),
            ..Default::default()
        }))
    }

    fn signal_with_start(&mut self) -> Mutation {
        Mutation::SignalWithStartWorkflowExecution(Proto(
            wire::SignalWithStartWorkflowExecutionRequest {
                namespace: self.namespace(),
                workflow_id: self.workflow_id(),
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

    fn target(&mut self) -> ExecutionTarget {
        ExecutionTarget {
            namespace: "default".into(),
            workflow_id: self.workflow_id(),
            run_id: String::new(),
        }
    }

    fn cancel(&mut self) -> Mutation {
        Mutation::RequestCancelWorkflowExecution(Proto(
            wire::RequestCancelWorkflowExecutionRequest {
                namespace: self.namespace(),
                workflow_execution: self.execution(),
                request_id: format!("cancel-{}", self.step),
                ..Default::default()
            },
        ))
    }

    fn terminate(&mut self) -> Mutation {
        Mutation::TerminateWorkflowExecution(Proto(wire::TerminateWorkflowExecutionRequest {
            namespace: self.namespace(),
            workflow_execution: self.execution(),
            ..Default::default()
        }))
    }

    fn of_namespaces(&mut self) -> Mutation {
        let namespace = format!("namespace-{}", self.draw(30));
        match self.draw(5) {
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
            2 => Mutation::UpdateNamespace(Proto(wire::UpdateNamespaceRequest {
                namespace: "gone".into(),
                update_info: Some(UpdateNamespaceInfo {
                    state: NamespaceState::Deprecated.into(),
                    ..Default::default()
                }),
                ..Default::default()
            })),
            3 => Mutation::AddSearchAttributes {
                namespace: "default".into(),
                attributes: vec![(
                    format!("Word{}", self.draw(9)),
                    IndexedValueType::Keyword.into(),
                )],
            },
            _ => Mutation::SetConfig {
                key: "limit.historyCount.suggestContinueAsNew".into(),
                value: Some(self.draw(100).to_string()),
            },
        }
    }

    fn rare(&mut self) -> Mutation {
        let run = self.runs.first().filter(|run| self.stands(run)).cloned();
        match (self.draw(50), run) {
            (0, Some(run)) => Mutation::QuarantineRun {
                run,
                reason: "a test".into(),
            },
            (1..=6, Some(run)) => Mutation::DeleteSlice(run),
            (7..=14, _) => Mutation::PurgeNamespace(NamespaceNumber(2)),
            (15..=19, _) => Mutation::RaiseEngineVersion(1),
            (20..=29, _) => Mutation::ShutdownWorker {
                namespace: "default".into(),
                sticky_task_queue: "sticky".into(),
            },
            (30..=39, _) => Mutation::AbandonStickyQueue(QueueKey {
                name: "sticky".into(),
                kind: TaskKind::Workflow,
                namespace: NamespaceNumber(2),
            }),
            _ => Mutation::ResetStickyTaskQueue(self.target()),
        }
    }

    fn fire(&mut self) -> Mutation {
        let Some(earliest) = resume::earliest_due(&self.memory).unwrap() else {
            return self.start();
        };
        if self.chance(3) {
            // Too early, most of the time.
            let all = resume::due(&self.memory, earliest, 1).unwrap();
            return all
                .into_iter()
                .next()
                .map_or_else(|| self.start(), Mutation::FireDue);
        }
        // Retention lies a day ahead: the clock does not jump that far at once.
        if earliest.since(self.now) < Span::seconds(20) {
            self.now = self.now.max(earliest);
        }
        match resume::due(&self.memory, self.now, 1).unwrap().pop() {
            Some(key) => Mutation::FireDue(key),
            None => {
                self.now = self.now.after(Span::seconds(3_600));
                self.start()
            }
        }
    }

    fn workflow_answer(&mut self) -> Mutation {
        let Some(token) = self.take_task(TaskKind::Workflow) else {
            return Mutation::ClaimTask(self.useful_poller());
        };
        match self.draw(20) {
            0 => {
                let request = Proto(wire::RespondWorkflowTaskFailedRequest::default());
                Mutation::RespondWorkflowTaskFailed { token, request }
            }
            1 => Mutation::ReturnTask(token),
            _ => {
                let mut state = self.draw(u64::MAX);
                let mut draw = |below: u64| {
                    state = state
                        .wrapping_mul(6_364_136_223_846_793_005)
                        .wrapping_add(1);
                    (state >> 33) % below
                };
                let (messages, mut commands) =
                    walk_updates::answers(&self.memory, &token, &mut draw);
                if messages.is_empty() || self.chance(60) {
                    commands.extend(self.commands(&token));
                }
                let sticky = StickyExecutionAttributes {
                    worker_task_queue: queue("sticky"),
                    schedule_to_start_timeout: seconds(1 + self.number(4)),
                };
                let request = Proto(wire::RespondWorkflowTaskCompletedRequest {
                    commands,
                    messages,
                    identity: "worker".into(),
                    sticky_attributes: self.chance(40).then_some(sticky),
                    return_new_workflow_task: self.chance(50),
                    force_create_new_workflow_task: self.chance(8),
                    ..Default::default()
                });
                Mutation::RespondWorkflowTaskCompleted { token, request }
            }
        }
    }

    /// A task that was claimed: mostly one of the last, which is taken, sometimes it stays.
    fn take_task(&mut self, kind: TaskKind) -> Option<TaskToken> {
        let stays = self.chance(4);
        let back = usize::try_from(self.draw(3)).unwrap();
        let tasks = match kind {
            TaskKind::Workflow => &mut self.workflow_tasks,
            TaskKind::Activity => &mut self.activity_tasks,
        };
        let last = tasks.len().checked_sub(1)?;
        let index = last - back.min(last);
        Some(if stays {
            tasks[index].clone()
        } else {
            tasks.remove(index)
        })
    }

    fn activity_answer(&mut self) -> Mutation {
        let Some(token) = self.take_task(TaskKind::Activity) else {
            return Mutation::ClaimTask(self.useful_poller());
        };
        let target = if self.chance(5) {
            ActivityTarget::Id {
                namespace: "default".into(),
                workflow_id: token.run.workflow_id.clone(),
                run_id: String::new(),
                activity_id: format!("activity-{}", self.draw(50)),
            }
        } else {
            ActivityTarget::Token(token.clone())
        };
        match self.draw(10) {
            0..=3 => {
                let request = Proto(wire::RespondActivityTaskCompletedRequest::default());
                Mutation::RespondActivityTaskCompleted { target, request }
            }
            4 | 5 => {
                let info = ApplicationFailureInfo {
                    non_retryable: self.chance(20),
                    ..Default::default()
                };
                let request = Proto(wire::RespondActivityTaskFailedRequest {
                    failure: Some(Failure {
                        failure_info: Some(FailureInfo::ApplicationFailureInfo(info)),
                        ..Default::default()
                    }),
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
