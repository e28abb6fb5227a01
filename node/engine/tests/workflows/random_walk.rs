//! A long random walk through the mutations of workflows and activities: after each step what the
//! state says must hold together. A seed that fails is found again by its number.

use crate::holds::check_run;
use crate::walk_updates;
use crate::world::World;
use prost_types::Duration;
use steadfast_engine::Reply;
use steadfast_engine::effect::{AssignedTask, Effect};
use steadfast_engine::id::{
    NamespaceNumber, PollId, QueueKey, Reservation, TaskKind, WorkerVersion,
};
use steadfast_engine::mutation::{ActivityTarget, ExecutionTarget, Mutation, TaskToken};
use steadfast_engine::proto::Proto;
use steadfast_engine::tables::{ActivityState, Record, Tables, WorkflowTaskPhase, keys};
use steadfast_proto::temporal::command::v1::command::Attributes as CommandAttributes;
use steadfast_proto::temporal::command::v1::{
    CancelTimerCommandAttributes, CancelWorkflowExecutionCommandAttributes, Command,
    CompleteWorkflowExecutionCommandAttributes, ContinueAsNewWorkflowExecutionCommandAttributes,
    FailWorkflowExecutionCommandAttributes, RecordMarkerCommandAttributes,
    RequestCancelActivityTaskCommandAttributes, ScheduleActivityTaskCommandAttributes,
    StartTimerCommandAttributes,
};
use steadfast_proto::temporal::common::v1::{
    ActivityType, RetryPolicy, WorkflowExecution, WorkflowType,
};
use steadfast_proto::temporal::enums::v1::{CommandType, EventType};
use steadfast_proto::temporal::failure::v1::failure::FailureInfo;
use steadfast_proto::temporal::failure::v1::{ApplicationFailureInfo, Failure};
use steadfast_proto::temporal::taskqueue::v1::{StickyExecutionAttributes, TaskQueue};
use steadfast_proto::temporal::workflowservice::v1 as wire;

const STEPS: usize = 1_500;
const SEEDS: u64 = 6;

struct Walk {
    world: World,
    state: u64,
    workflow_tokens: Vec<TaskToken>,
    activity_tokens: Vec<TaskToken>,
}

fn seconds(seconds: u64) -> Option<Duration> {
    Some(Duration {
        seconds: i64::try_from(seconds).unwrap(),
        nanos: 0,
    })
}

fn queue(name: &str) -> Option<TaskQueue> {
    Some(TaskQueue {
        name: name.into(),
        ..Default::default()
    })
}

fn failure(retryable: bool) -> Failure {
    let info = ApplicationFailureInfo {
        r#type: "T".into(),
        non_retryable: !retryable,
        ..Default::default()
    };
    Failure {
        message: "no".into(),
        failure_info: Some(FailureInfo::ApplicationFailureInfo(info)),
        ..Default::default()
    }
}

impl Walk {
    fn draw(&mut self, below: u64) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % below
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.draw(100) < percent
    }

    fn workflow_id(&mut self) -> String {
        format!("wf-{}", self.draw(4))
    }

    fn queue_key(&mut self) -> QueueKey {
        let (kind, name) = match self.draw(4) {
            0 => (TaskKind::Activity, "q"),
            1 => (TaskKind::Workflow, "sticky"),
            _ => (TaskKind::Workflow, "q"),
        };
        QueueKey {
            namespace: NamespaceNumber(2),
            kind,
            name: name.into(),
        }
    }

    fn reservation(&mut self) -> Reservation {
        Reservation {
            queue: self.queue_key(),
            poll: PollId {
                boot: 1,
                sequence: self.draw(1_000),
            },
            identity: "worker".into(),
            worker: WorkerVersion::default(),
        }
    }

    fn start(&mut self) -> Mutation {
        Mutation::StartWorkflowExecution(Proto(self.start_request()))
    }

    fn start_request(&mut self) -> wire::StartWorkflowExecutionRequest {
        let mut request = wire::StartWorkflowExecutionRequest {
            namespace: "default".into(),
            workflow_id: self.workflow_id(),
            workflow_type: Some(WorkflowType { name: "W".into() }),
            task_queue: queue("q"),
            request_id: format!("start-{}", self.draw(60)),
            workflow_id_conflict_policy: i32::try_from(self.draw(4)).unwrap(),
            workflow_id_reuse_policy: i32::try_from(self.draw(4)).unwrap(),
            request_eager_execution: self.chance(20),
            ..Default::default()
        };
        if self.chance(30) {
            request.workflow_run_timeout = seconds(1 + self.draw(40));
        }
        if self.chance(15) {
            request.workflow_execution_timeout = seconds(5 + self.draw(60));
        }
        if self.chance(30) {
            let maximum_attempts = i32::try_from(self.draw(4)).unwrap();
            request.retry_policy = Some(RetryPolicy {
                maximum_attempts,
                ..Default::default()
            });
        }
        if self.chance(10) {
            request.cron_schedule = "@every 3s".into();
        } else if self.chance(15) {
            request.workflow_start_delay = seconds(self.draw(5));
        }
        request
    }

    fn signal(&mut self) -> Mutation {
        let request_id = if self.chance(30) {
            String::new()
        } else {
            format!("s-{}", self.draw(400))
        };
        if self.chance(25) {
            return Mutation::SignalWithStartWorkflowExecution(Proto(
                wire::SignalWithStartWorkflowExecutionRequest {
                    namespace: "default".into(),
                    workflow_id: self.workflow_id(),
                    workflow_type: Some(WorkflowType { name: "W".into() }),
                    task_queue: queue("q"),
                    signal_name: "wake".into(),
                    request_id,
                    workflow_start_delay: if self.chance(20) { seconds(2) } else { None },
                    ..Default::default()
                },
            ));
        }
        Mutation::SignalWorkflowExecution(Proto(wire::SignalWorkflowExecutionRequest {
            namespace: "default".into(),
            workflow_execution: self.execution(),
            signal_name: "wake".into(),
            request_id,
            ..Default::default()
        }))
    }

    fn update(&mut self) -> Mutation {
        let update_id = format!("u{}", self.draw(40));
        if self.chance(20) {
            return walk_updates::with_start(self.start_request(), &update_id);
        }
        let update = walk_updates::update("default", &self.workflow_id(), &update_id);
        Mutation::UpdateWorkflowExecution(Proto(update))
    }

    fn execution(&mut self) -> Option<WorkflowExecution> {
        Some(WorkflowExecution {
            workflow_id: self.workflow_id(),
            run_id: String::new(),
        })
    }

    fn target(&mut self) -> ExecutionTarget {
        let (workflow_id, run_id) = (self.workflow_id(), String::new());
        ExecutionTarget {
            namespace: "default".into(),
            workflow_id,
            run_id,
        }
    }

    fn command(&mut self, token: &TaskToken) -> Command {
        let (command_type, attributes) = match self.draw(7) {
            0 | 1 => (
                CommandType::ScheduleActivityTask,
                CommandAttributes::ScheduleActivityTaskCommandAttributes(self.activity()),
            ),
            2 | 3 => (
                CommandType::StartTimer,
                CommandAttributes::StartTimerCommandAttributes(StartTimerCommandAttributes {
                    timer_id: format!("t{}", self.draw(6)),
                    start_to_fire_timeout: seconds(self.draw(6)),
                }),
            ),
            4 => (
                CommandType::CancelTimer,
                CommandAttributes::CancelTimerCommandAttributes(CancelTimerCommandAttributes {
                    timer_id: format!("t{}", self.draw(6)),
                }),
            ),
            5 => (
                CommandType::RecordMarker,
                CommandAttributes::RecordMarkerCommandAttributes(RecordMarkerCommandAttributes {
                    marker_name: if self.chance(90) {
                        "m".into()
                    } else {
                        String::new()
                    },
                    ..Default::default()
                }),
            ),
            _ => (
                CommandType::RequestCancelActivityTask,
                CommandAttributes::RequestCancelActivityTaskCommandAttributes(
                    RequestCancelActivityTaskCommandAttributes {
                        scheduled_event_id: self.pending_activity(token),
                    },
                ),
            ),
        };
        Command {
            command_type: command_type.into(),
            attributes: Some(attributes),
            ..Default::default()
        }
    }

    /// Mostly one that is pending.
    fn pending_activity(&mut self, token: &TaskToken) -> i64 {
        let prefix = keys::activity_prefix(&token.run);
        let end = keys::prefix_end(&prefix);
        let pending = self.world.memory.scan(&prefix, &end, 10, false).unwrap();
        let Some((_, record)) = pending.first().filter(|_| self.draw(10) > 0) else {
            return 7;
        };
        let Record::Activity(activity) = &**record else {
            panic!("{record:?}")
        };
        activity.scheduled_event_id
    }

    fn activity(&mut self) -> ScheduleActivityTaskCommandAttributes {
        ScheduleActivityTaskCommandAttributes {
            activity_id: format!("a{}", self.draw(8)),
            activity_type: Some(ActivityType { name: "A".into() }),
            task_queue: queue("q"),
            start_to_close_timeout: seconds(1 + self.draw(5)),
            schedule_to_close_timeout: if self.chance(50) {
                seconds(3 + self.draw(9))
            } else {
                None
            },
            heartbeat_timeout: if self.chance(30) { seconds(1) } else { None },
            request_eager_execution: self.chance(30),
            ..Default::default()
        }
    }

    fn closing(&mut self) -> Command {
        let (command_type, attributes) = match self.draw(4) {
            0 => (
                CommandType::CompleteWorkflowExecution,
                CommandAttributes::CompleteWorkflowExecutionCommandAttributes(
                    CompleteWorkflowExecutionCommandAttributes::default(),
                ),
            ),
            1 => (
                CommandType::FailWorkflowExecution,
                CommandAttributes::FailWorkflowExecutionCommandAttributes(
                    FailWorkflowExecutionCommandAttributes {
                        failure: Some(failure(true)),
                    },
                ),
            ),
            2 => (
                CommandType::CancelWorkflowExecution,
                CommandAttributes::CancelWorkflowExecutionCommandAttributes(
                    CancelWorkflowExecutionCommandAttributes::default(),
                ),
            ),
            _ => (
                CommandType::ContinueAsNewWorkflowExecution,
                CommandAttributes::ContinueAsNewWorkflowExecutionCommandAttributes(
                    ContinueAsNewWorkflowExecutionCommandAttributes::default(),
                ),
            ),
        };
        Command {
            command_type: command_type.into(),
            attributes: Some(attributes),
            ..Default::default()
        }
    }

    fn workflow_answer(&mut self) -> Option<Mutation> {
        let token = self.token(true)?;
        if self.chance(12) {
            let request = wire::RespondWorkflowTaskFailedRequest {
                identity: "w".into(),
                ..Default::default()
            };
            return Some(Mutation::RespondWorkflowTaskFailed {
                token,
                request: Proto(request),
            });
        }
        if self.chance(6) {
            return Some(Mutation::ReturnTask(token));
        }
        let mut state = self.draw(u64::MAX);
        let mut draw = |below: u64| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (state >> 33) % below
        };
        let (messages, mut commands) = walk_updates::answers(&self.world.memory, &token, &mut draw);
        if messages.is_empty() || self.chance(50) {
            let more: Vec<_> = (0..self.draw(4)).map(|_| self.command(&token)).collect();
            commands.extend(more);
        }
        if self.chance(15) {
            commands.push(self.closing());
        }
        let sticky = StickyExecutionAttributes {
            worker_task_queue: queue("sticky"),
            schedule_to_start_timeout: seconds(1 + self.draw(3)),
        };
        let request = wire::RespondWorkflowTaskCompletedRequest {
            commands,
            messages,
            identity: "w".into(),
            sticky_attributes: self.chance(50).then_some(sticky),
            return_new_workflow_task: self.chance(50),
            force_create_new_workflow_task: self.chance(10),
            ..Default::default()
        };
        Some(Mutation::RespondWorkflowTaskCompleted {
            token,
            request: Proto(request),
        })
    }

    /// Mostly the token of a task that a worker has, else any recent one.
    fn token(&mut self, workflow: bool) -> Option<TaskToken> {
        let tokens = if workflow {
            &self.workflow_tokens
        } else {
            &self.activity_tokens
        };
        let recent: Vec<TaskToken> = tokens.iter().rev().take(30).cloned().collect();
        let held: Vec<TaskToken> = recent
            .iter()
            .filter(|token| self.is_held(token))
            .cloned()
            .collect();
        let from = if held.is_empty() || self.chance(15) {
            recent
        } else {
            held
        };
        let count = u64::try_from(from.len()).unwrap();
        (count > 0).then(|| from[usize::try_from(self.draw(count)).unwrap()].clone())
    }

    fn is_held(&self, token: &TaskToken) -> bool {
        let key = match token.kind {
            TaskKind::Workflow => keys::run_key(&token.run),
            TaskKind::Activity => keys::activity_key(&token.run, token.scheduled_event_id),
        };
        match self.world.memory.0.get(&key).map(|record| &**record) {
            Some(Record::Run(run)) => run.workflow_task.as_ref().is_some_and(|task| {
                matches!(task.phase, WorkflowTaskPhase::Started { claim, .. } if claim == token.claim)
            }),
            Some(Record::Activity(activity)) => {
                activity.claim == token.claim
                    && matches!(activity.state, ActivityState::Started { .. })
            }
            _ => false,
        }
    }

    fn activity_answer(&mut self) -> Option<Mutation> {
        let token = self.token(false)?;
        let target = ActivityTarget::Token(token.clone());
        Some(match self.draw(8) {
            0..=2 => {
                let request = Proto(wire::RespondActivityTaskCompletedRequest::default());
                Mutation::RespondActivityTaskCompleted { target, request }
            }
            3 | 4 => {
                let failure = Some(failure(self.chance(70)));
                let request = wire::RespondActivityTaskFailedRequest {
                    failure,
                    ..Default::default()
                };
                Mutation::RespondActivityTaskFailed {
                    target,
                    request: Proto(request),
                }
            }
            5 => {
                let request = Proto(wire::RespondActivityTaskCanceledRequest::default());
                Mutation::RespondActivityTaskCanceled { target, request }
            }
            6 => {
                let request = Proto(wire::RecordActivityTaskHeartbeatRequest::default());
                Mutation::RecordActivityTaskHeartbeat { target, request }
            }
            _ => Mutation::ReturnTask(token),
        })
    }

    fn mutation(&mut self) -> Option<Mutation> {
        Some(match self.draw(100) {
            0..=9 => self.start(),
            10..=21 => self.signal(),
            22..=24 => Mutation::RequestCancelWorkflowExecution(Proto(
                wire::RequestCancelWorkflowExecutionRequest {
                    namespace: "default".into(),
                    workflow_execution: self.execution(),
                    ..Default::default()
                },
            )),
            25 if self.chance(50) => Mutation::TerminateWorkflowExecution(Proto(
                wire::TerminateWorkflowExecutionRequest {
                    namespace: "default".into(),
                    workflow_execution: self.execution(),
                    ..Default::default()
                },
            )),
            27 if self.chance(30) => Mutation::DeleteWorkflowExecution(self.target()),
            28 => Mutation::ResetStickyTaskQueue(self.target()),
            29 => Mutation::ShutdownWorker {
                namespace: "default".into(),
                sticky_task_queue: "sticky".into(),
            },
            30 => Mutation::AbandonStickyQueue(QueueKey {
                name: "sticky".into(),
                kind: TaskKind::Workflow,
                namespace: NamespaceNumber(2),
            }),
            31..=36 => self.update(),
            25..=27 | 37..=50 => Mutation::ClaimTask(self.reservation()),
            51..=72 => self.workflow_answer()?,
            73..=84 => self.activity_answer()?,
            _ => {
                let (key, at) = self.world.next_due()?;
                if at > self.world.now {
                    // A step of a few seconds at most, so that not everything times out.
                    if at.0 - self.world.now.0 > 4_000_000_000 && !self.chance(10) {
                        return None;
                    }
                    self.world.now = at;
                }
                Mutation::FireDue(key)
            }
        })
    }

    fn keep(&mut self, task: AssignedTask) {
        match task {
            AssignedTask::Workflow(task) => self.workflow_tokens.push(task.token),
            AssignedTask::Activity(task) => self.activity_tokens.push(task.token),
        }
    }

    fn step(&mut self) {
        let Some(mutation) = self.mutation() else {
            return;
        };
        let reservations = (0..self.draw(3)).map(|_| self.reservation()).collect();
        let (reply, effects) = self.world.apply(mutation, reservations);
        for effect in effects {
            if let Effect::TaskAssigned { task, .. } = effect {
                self.keep(*task);
            }
        }
        match reply {
            Ok(Reply::Started {
                eager_task: Some(task),
                ..
            }) => self.keep(*task),
            Ok(Reply::WorkflowTaskCompleted {
                new_task,
                eager_activities,
                ..
            }) => {
                new_task.into_iter().for_each(|task| self.keep(*task));
                eager_activities
                    .into_iter()
                    .for_each(|task| self.keep(task));
            }
            _ => {}
        }
    }

    fn check(&self) {
        let runs = self.world.runs();
        for run in &runs {
            check_run(&self.world, run);
        }
        let rows = self
            .world
            .memory
            .0
            .values()
            .filter(|record| matches!(&***record, Record::Visibility(_)));
        assert_eq!(rows.count(), runs.len(), "each run has one row");
        let open = runs.iter().filter(|run| run.close.is_none());
        let mut ids: Vec<_> = open.map(|run| run.run.workflow_id.clone()).collect();
        ids.sort();
        let count = ids.len();
        ids.dedup();
        assert_eq!(ids.len(), count, "a workflow id has one open run");
    }
}

#[test]
fn what_the_state_says_holds_together_when_it_is_restored_now_and_then() {
    for seed in 100..100 + SEEDS {
        let mut walk = Walk {
            world: World::new(),
            state: seed,
            workflow_tokens: Vec::new(),
            activity_tokens: Vec::new(),
        };
        for step in 0..STEPS {
            walk.step();
            if step % 20 == 0 {
                let histories = walk.world.told();
                crate::restored::restore(&mut walk.world, &format!("cluster-{step}"));
                assert_eq!(walk.world.told(), histories, "no history has changed");
                walk.check();
            }
        }
    }
}

#[test]
fn what_the_state_says_holds_together() {
    let mut seen = std::collections::BTreeSet::new();
    for seed in 0..SEEDS {
        let mut walk = Walk {
            world: World::new(),
            state: seed,
            workflow_tokens: Vec::new(),
            activity_tokens: Vec::new(),
        };
        for step in 0..STEPS {
            walk.step();
            walk.check();
            if step % 50 == 0 {
                // What is deleted later counts, too.
                for run in walk.world.runs() {
                    let (events, _) = walk.world.history(&run.run);
                    seen.extend(events.iter().map(|event| event.event_type));
                }
            }
        }
    }
    let walked = |event_type: EventType| seen.contains(&i32::from(event_type));
    for event_type in [41, 43]
        .into_iter()
        .chain(1..=28)
        .filter_map(|number| EventType::try_from(number).ok())
    {
        let external = matches!(
            event_type,
            EventType::RequestCancelExternalWorkflowExecutionInitiated
                | EventType::RequestCancelExternalWorkflowExecutionFailed
                | EventType::ExternalWorkflowExecutionCancelRequested
        );
        assert!(
            external || walked(event_type),
            "the walk came by {event_type:?}"
        );
    }
}
