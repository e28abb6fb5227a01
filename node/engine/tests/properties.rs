//! Properties over random mutations: two replicas agree, one of which gets each entry as bytes and
//! reads its whole state back from bytes now and then, as after a restart; the invariants hold; most
//! mutations are accepted. And properties of arithmetic and keys.

#![cfg(test)]

use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use steadfast_engine::check::check_state;
use steadfast_engine::effect::{AssignedTask, Effect};
use steadfast_engine::id::{
    NamespaceNumber, PollId, QueueKey, Reservation, TaskKind, WorkerVersion,
};
use steadfast_engine::mutation::{
    ActivityTarget, ExecutionTarget, Mutation, ProposalId, Proposed, TaskToken,
};
use steadfast_engine::proto::Proto;
use steadfast_engine::tables::{Record, keys};
use steadfast_engine::time::Span;
use steadfast_engine::{Reply, Timestamp, apply, resume, retry};
use steadfast_proto::temporal::command::v1::command::Attributes;
use steadfast_proto::temporal::command::v1::{
    Command, CompleteWorkflowExecutionCommandAttributes,
    RequestCancelActivityTaskCommandAttributes, ScheduleActivityTaskCommandAttributes,
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

#[path = "workflows/memory.rs"]
mod memory;
use memory::Memory;

const SEEDS: u64 = 6;
const STEPS: u64 = 2_500;
/// Steps between two comparisons of the replicas.
const COMPARED_EVERY: u64 = 20;

/// One random history of a cluster.
struct History {
    state: u64,
    step: u64,
    now: Timestamp,
    /// Applies what is proposed.
    leader: Memory,
    /// Applies what came over the wire.
    follower: Memory,
    workflow_tasks: Vec<TaskToken>,
    activity_tasks: Vec<TaskToken>,
    accepted: BTreeMap<String, u64>,
    refused: u64,
}

impl History {
    fn new(seed: u64) -> Self {
        let mut history = Self {
            state: seed,
            step: 0,
            now: Timestamp(1_700_000_000_000_000_000),
            leader: Memory::default(),
            follower: Memory::default(),
            workflow_tasks: Vec::new(),
            activity_tasks: Vec::new(),
            accepted: BTreeMap::new(),
            refused: 0,
        };
        history.propose(Mutation::Bootstrap {
            cluster_id: "cluster".into(),
            namespaces: vec!["default".into()],
            config: vec![(
                "limit.historyCount.suggestContinueAsNew".into(),
                "20".into(),
            )],
            search_attributes: vec![("Number".into(), IndexedValueType::Int.into())],
        });
        history
    }

    fn draw(&mut self, below: u64) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % below
    }

    fn number(&mut self, below: i64) -> i64 {
        i64::try_from(self.draw(below.unsigned_abs())).unwrap()
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.draw(100) < percent
    }

    fn propose(&mut self, mutation: Mutation) {
        self.step += 1;
        self.now = self.now.after(Span::millis(self.number(40)));
        let mut entropy = [0; 16];
        entropy[..8].copy_from_slice(&self.draw(u64::MAX).to_be_bytes());
        entropy[8..].copy_from_slice(&self.draw(u64::MAX).to_be_bytes());
        let reservations = (0..self.draw(4)).map(|_| self.poller()).collect();
        let proposal = ProposalId {
            boot: 1,
            sequence: self.step,
        };
        let proposed = Proposed {
            proposal,
            now: self.now,
            entropy,
            reservations,
            mutation,
        };
        let bytes = bincode::serialize(&proposed).unwrap();
        let received: Proposed = bincode::deserialize(&bytes).unwrap();
        assert_eq!(proposed, received, "an entry survives its encoding");

        let one = apply(&self.leader, &proposed).unwrap();
        let two = apply(&self.follower, &received).unwrap();
        assert_eq!(one.reply, two.reply);
        assert_eq!(one.effects, two.effects);
        if one.reply.is_err() && one.changes.keys().any(|key| *key != keys::meta_key()) {
            // Only a failed workflow task and the like change the state and refuse the call.
            assert!(
                !one.effects.is_empty(),
                "a refusal changes nothing: {proposed:?}"
            );
        }
        self.leader.merge(one.changes);
        self.follower.merge(two.changes);
        let name = format!("{:?}", received.mutation);
        let name = name
            .split(['(', ' ', '{'])
            .next()
            .unwrap_or_default()
            .to_owned();
        match one.reply {
            Ok(reply) => {
                *self.accepted.entry(name).or_default() += 1;
                self.keep_reply(reply);
            }
            Err(_) => self.refused += 1,
        }
        for effect in one.effects {
            if let Effect::TaskAssigned { task, .. } = effect {
                self.keep(*task);
            }
        }
    }

    fn keep_reply(&mut self, reply: Reply) {
        if let Reply::WorkflowTaskCompleted {
            new_task,
            eager_activities,
            ..
        } = reply
        {
            let new_task = new_task.into_iter().map(|task| *task);
            new_task
                .chain(eager_activities)
                .for_each(|task| self.keep(task));
        }
    }

    fn keep(&mut self, task: AssignedTask) {
        match task {
            AssignedTask::Workflow(task) => self.workflow_tasks.push(task.token),
            AssignedTask::Activity(task) => self.activity_tasks.push(task.token),
        }
    }

    fn poller(&mut self) -> Reservation {
        let kind = if self.chance(50) {
            TaskKind::Workflow
        } else {
            TaskKind::Activity
        };
        let name = if self.chance(80) { "q" } else { "other" };
        Reservation {
            queue: QueueKey {
                namespace: NamespaceNumber(2),
                kind,
                name: name.into(),
            },
            poll: PollId {
                boot: 1,
                sequence: self.draw(1_000),
            },
            identity: "worker".into(),
            worker: WorkerVersion::default(),
        }
    }

    /// A poller of a queue that has tasks, when there is one.
    fn useful_poller(&mut self) -> Reservation {
        let mut poller = self.poller();
        if let Some(queue) = resume::next_queue(&self.leader, None).unwrap() {
            poller.queue = queue;
        }
        poller
    }

    fn workflow_id(&mut self) -> String {
        format!("workflow-{}", self.draw(12))
    }

    /// A task that was claimed: mostly the last one, which is taken, sometimes an old one.
    fn take(&mut self, kind: TaskKind) -> Option<TaskToken> {
        let stays = self.chance(5);
        let position = self.draw(3);
        let tasks = match kind {
            TaskKind::Workflow => &mut self.workflow_tasks,
            TaskKind::Activity => &mut self.activity_tasks,
        };
        let back = usize::try_from(position)
            .unwrap()
            .min(tasks.len().checked_sub(1)?);
        let index = tasks.len() - 1 - back;
        Some(if stays {
            tasks[index].clone()
        } else {
            tasks.remove(index)
        })
    }

    fn mutation(&mut self) -> Mutation {
        match self.draw(100) {
            0..=9 => self.start(),
            10..=14 => self.signal(),
            15 => self.cancel(),
            16 => self.terminate(),
            17 => self.of_namespaces(),
            18 => self.rare(),
            19..=39 => Mutation::ClaimTask(self.useful_poller()),
            40..=64 => self.workflow_answer(),
            65..=84 => self.activity_answer(),
            _ => self.fire(),
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
        match self.draw(10) {
            0..=5 => command(
                CommandType::ScheduleActivityTask,
                Attributes::ScheduleActivityTaskCommandAttributes(self.activity()),
            ),
            6 => command(
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

    /// The follower reads its state back from bytes, and both are compared.
    fn restart_and_compare(&mut self, seed: u64) {
        for record in self.follower.0.values_mut() {
            let bytes = bincode::serialize(&**record).unwrap();
            *record = Arc::new(bincode::deserialize(&bytes).unwrap());
        }
        let step = self.step;
        assert!(
            self.leader.0 == self.follower.0,
            "seed {seed}, step {step}: the replicas differ"
        );
        let violations = check_state(&self.leader).unwrap();
        assert!(
            violations.is_empty(),
            "seed {seed}, step {step}: {violations:#?}"
        );
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

#[test]
fn replicas_agree_whatever_happens() {
    let mut seen = BTreeSet::new();
    for seed in 0..SEEDS {
        let mut history = History::new(seed);
        while history.step < STEPS {
            let mutation = history.mutation();
            history.propose(mutation);
            if history.step.is_multiple_of(COMPARED_EVERY) {
                history.restart_and_compare(seed);
            }
        }
        let accepted: u64 = history.accepted.values().sum();
        assert!(
            accepted > history.refused,
            "seed {seed}: {accepted}, {}",
            history.refused
        );
        seen.extend(history.accepted.into_keys());
    }
    let names = [
        "StartWorkflowExecution",
        "ClaimTask",
        "ReturnTask",
        "RespondWorkflowTaskCompleted",
        "RespondActivityTaskCompleted",
        "RespondActivityTaskFailed",
        "RespondActivityTaskCanceled",
        "RecordActivityTaskHeartbeat",
        "FireDue",
        "RegisterNamespace",
        "UpdateNamespace",
        "AddSearchAttributes",
        "SetConfig",
        "DeleteWorkflowExecution",
    ];
    for name in names {
        assert!(
            seen.contains(name),
            "{name} was accepted at least once: {seen:?}"
        );
    }
}

proptest! {
    /// The wait never shrinks, never exceeds the cap, and never overflows.
    #[test]
    fn retry_intervals_grow_to_their_cap(
        first in 1_i64..1_000_000_000_000,
        coefficient in 1.0_f64..100.0,
        cap_factor in 1_i64..10_000,
        attempt in 1_i32..i32::MAX - 1,
    ) {
        let cap = Span(first.saturating_mul(cap_factor));
        let policy = RetryPolicy {
            initial_interval: Some(Span(first).to_proto()),
            backoff_coefficient: coefficient,
            maximum_interval: Some(cap.to_proto()),
            ..RetryPolicy::default()
        };
        let (one, two) = (retry::interval(&policy, attempt), retry::interval(&policy, attempt + 1));
        prop_assert!(one <= two);
        prop_assert!(two <= cap);
        prop_assert!(one >= Span(first).min(cap));
    }

    /// A queue and its sequence number are found again in the key, whatever the name.
    #[test]
    fn queue_keys_are_read_back(
        namespace in 1_u32..,
        activity in any::<bool>(),
        name in ".{0,40}",
        sequence in any::<u64>(),
    ) {
        let kind = if activity { TaskKind::Activity } else { TaskKind::Workflow };
        let queue = QueueKey { namespace: NamespaceNumber(namespace), kind, name };
        let key = keys::queue_task_key(&queue, sequence);
        prop_assert_eq!(keys::queue_of_key(&key), Some((queue, sequence)));
    }

    /// Bytes that are no key are no key, and never a panic.
    #[test]
    fn foreign_bytes_are_no_queue_key(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
        if let Some((queue, sequence)) = keys::queue_of_key(&bytes) {
            // Kinds above 1 are read as activities.
            prop_assert_eq!(keys::queue_task_key(&queue, sequence).len(), bytes.len());
        }
    }
}
