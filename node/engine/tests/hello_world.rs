//! The smallest whole story, driven over plain records: start, task, activity, task, done.

use std::collections::BTreeMap;
use std::sync::Arc;
use steadfast_engine::effect::{AssignedTask, Effect};
use steadfast_engine::id::{NamespaceNumber, PollId, QueueKey, Reservation, TaskKind, WorkerVersion};
use steadfast_engine::mutation::{ActivityTarget, Mutation, ProposalId, Proposed, TaskToken};
use steadfast_engine::proto::Proto;
use steadfast_engine::tables::{Key, Record, Tables};
use steadfast_engine::{Fault, Refusal, Reply, Timestamp, apply};
use steadfast_proto::temporal::command::v1::command::Attributes;
use steadfast_proto::temporal::command::v1::{
    Command, CompleteWorkflowExecutionCommandAttributes, ScheduleActivityTaskCommandAttributes,
};
use steadfast_proto::temporal::common::v1::{ActivityType, WorkflowType};
use steadfast_proto::temporal::enums::v1::CommandType;
use steadfast_proto::temporal::history::v1::History;
use steadfast_proto::temporal::taskqueue::v1::TaskQueue;
use steadfast_proto::temporal::workflowservice::v1 as wire;

#[derive(Default)]
struct Memory(BTreeMap<Key, Arc<Record>>);

impl Tables for Memory {
    fn get(&self, key: &[u8]) -> Result<Option<Arc<Record>>, Fault> {
        Ok(self.0.get(key).cloned())
    }

    fn scan(
        &self,
        from: &[u8],
        to: &[u8],
        limit: usize,
        reverse: bool,
    ) -> Result<Vec<(Key, Arc<Record>)>, Fault> {
        let bounds = (std::ops::Bound::Included(from), std::ops::Bound::Excluded(to));
        let range = self.0.range::<[u8], _>(bounds).map(|(key, record)| (key.clone(), Arc::clone(record)));
        Ok(if reverse { range.rev().take(limit).collect() } else { range.take(limit).collect() })
    }
}

struct World {
    memory: Memory,
    now: i64,
    steps: u8,
}

impl World {
    fn new() -> Self {
        let mut world = Self { memory: Memory::default(), now: 1_700_000_000, steps: 0 };
        let bootstrap = Mutation::Bootstrap {
            cluster_id: "c".into(),
            namespaces: vec!["default".into()],
            config: Vec::new(),
            search_attributes: Vec::new(),
        };
        world.apply(bootstrap, Vec::new()).0.unwrap();
        world
    }

    fn apply(
        &mut self,
        mutation: Mutation,
        reservations: Vec<Reservation>,
    ) -> (Result<Reply, Refusal>, Vec<Effect>) {
        self.now += 1;
        self.steps += 1;
        let proposed = Proposed {
            proposal: ProposalId { boot: 1, sequence: 1 },
            now: Timestamp(self.now * 1_000_000_000),
            entropy: [self.steps; 16],
            reservations,
            mutation,
        };
        let applied = apply(&self.memory, &proposed).unwrap();
        for (key, change) in applied.changes {
            match change {
                Some(record) => self.memory.0.insert(key, record),
                None => self.memory.0.remove(&key),
            };
        }
        (applied.reply, applied.effects)
    }

    fn complete(&mut self, token: TaskToken, commands: Vec<Command>) -> Result<Reply, Refusal> {
        let request = wire::RespondWorkflowTaskCompletedRequest {
            commands,
            identity: "w".into(),
            ..Default::default()
        };
        self.apply(Mutation::RespondWorkflowTaskCompleted { token, request: Proto(request) }, Vec::new()).0
    }
}

fn reservation(kind: TaskKind) -> Reservation {
    Reservation {
        queue: QueueKey { namespace: NamespaceNumber(2), kind, name: "q".into() },
        poll: PollId { boot: 1, sequence: 7 },
        identity: "w".into(),
        worker: WorkerVersion::default(),
    }
}

fn token(reply: Reply) -> TaskToken {
    let Reply::Claimed(Some(task)) = reply else { panic!("{reply:?}") };
    match *task {
        AssignedTask::Workflow(task) => task.token,
        AssignedTask::Activity(task) => task.token,
    }
}

#[test]
fn hello_world_with_one_activity() {
    let mut world = World::new();
    let start = wire::StartWorkflowExecutionRequest {
        namespace: "default".into(),
        workflow_id: "hello".into(),
        workflow_type: Some(WorkflowType { name: "Hello".into() }),
        task_queue: Some(TaskQueue { name: "q".into(), ..Default::default() }),
        request_id: "r".into(),
        ..Default::default()
    };
    world.apply(Mutation::StartWorkflowExecution(Proto(start)), Vec::new()).0.unwrap();
    let first = token(world.apply(Mutation::ClaimTask(reservation(TaskKind::Workflow)), Vec::new()).0.unwrap());
    let run = first.run.clone();
    let schedule = Command {
        command_type: CommandType::ScheduleActivityTask.into(),
        attributes: Some(Attributes::ScheduleActivityTaskCommandAttributes(
            ScheduleActivityTaskCommandAttributes {
                activity_id: "1".into(),
                activity_type: Some(ActivityType { name: "Greet".into() }),
                task_queue: Some(TaskQueue { name: "q".into(), ..Default::default() }),
                start_to_close_timeout: Some(prost_types::Duration { seconds: 10, nanos: 0 }),
                ..Default::default()
            },
        )),
        ..Default::default()
    };
    world.complete(first.clone(), vec![schedule]).unwrap();
    let again = world.complete(first, Vec::new()).unwrap();
    assert!(matches!(again, Reply::WorkflowTaskCompleted { new_task: None, .. }));
    let activity = token(world.apply(Mutation::ClaimTask(reservation(TaskKind::Activity)), Vec::new()).0.unwrap());
    let request = Proto(wire::RespondActivityTaskCompletedRequest::default());
    let done = Mutation::RespondActivityTaskCompleted { target: ActivityTarget::Token(activity), request };
    // A poller waits: the next workflow task is handed out in the same mutation.
    let (reply, effects) = world.apply(done, vec![reservation(TaskKind::Workflow)]);
    reply.unwrap();
    let assigned = effects.iter().find_map(|effect| match effect {
        Effect::TaskAssigned { task, .. } => Some(task.clone()),
        _ => None,
    });
    let Some(AssignedTask::Workflow(second)) = assigned.map(|task| *task) else { panic!("{effects:?}") };
    let complete = Command {
        command_type: CommandType::CompleteWorkflowExecution.into(),
        attributes: Some(Attributes::CompleteWorkflowExecutionCommandAttributes(
            CompleteWorkflowExecutionCommandAttributes::default(),
        )),
        ..Default::default()
    };
    world.complete(second.token, vec![complete]).unwrap();
    let mut names = Vec::new();
    for record in world.memory.0.values() {
        if let Record::HistoryBatch(batch) = &**record {
            let history: History = prost::Message::decode(batch.events.clone()).unwrap();
            names.extend(history.events.iter().map(|event| format!("{} {:?}", event.event_id, event.event_type())));
        }
    }
    assert_eq!(names.join(", "), "1 WorkflowExecutionStarted, 2 WorkflowTaskScheduled, 3 WorkflowTaskStarted, \
        4 WorkflowTaskCompleted, 5 ActivityTaskScheduled, 6 ActivityTaskStarted, 7 ActivityTaskCompleted, \
        8 WorkflowTaskScheduled, 9 WorkflowTaskStarted, 10 WorkflowTaskCompleted, 11 WorkflowExecutionCompleted");
    let closed = steadfast_engine::read::run(&world.memory, &run).unwrap().unwrap();
    assert_eq!(closed.state_transitions, 7);
}
