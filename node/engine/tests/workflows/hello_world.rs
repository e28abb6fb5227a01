//! The smallest whole story, driven over plain records: start, task, activity, task, done.

use crate::world::World;
use steadfast_engine::effect::{AssignedTask, Effect};
use steadfast_engine::id::{
    NamespaceNumber, PollId, QueueKey, Reservation, TaskKind, WorkerVersion,
};
use steadfast_engine::mutation::{ActivityTarget, Mutation, TaskToken};
use steadfast_engine::proto::Proto;
use steadfast_engine::{Refusal, Reply};
use steadfast_proto::temporal::command::v1::command::Attributes;
use steadfast_proto::temporal::command::v1::{
    Command, CompleteWorkflowExecutionCommandAttributes, ScheduleActivityTaskCommandAttributes,
};
use steadfast_proto::temporal::common::v1::{ActivityType, WorkflowType};
use steadfast_proto::temporal::enums::v1::CommandType;
use steadfast_proto::temporal::taskqueue::v1::TaskQueue;
use steadfast_proto::temporal::workflowservice::v1 as wire;


fn complete(world: &mut World, token: TaskToken, commands: Vec<Command>) -> Result<Reply, Refusal> {
    let request = wire::RespondWorkflowTaskCompletedRequest {
        commands,
        identity: "w".into(),
        ..Default::default()
    };
    let mutation = Mutation::RespondWorkflowTaskCompleted {
        token,
        request: Proto(request),
    };
    world.apply(mutation, Vec::new()).0
}

fn reservation(kind: TaskKind) -> Reservation {
    Reservation {
        queue: QueueKey {
            namespace: NamespaceNumber(2),
            kind,
            name: "q".into(),
        },
        poll: PollId {
            boot: 1,
            sequence: 7,
        },
        identity: "w".into(),
        worker: WorkerVersion::default(),
    }
}

fn token(reply: Reply) -> TaskToken {
    let Reply::Claimed(Some(task)) = reply else {
        panic!("{reply:?}")
    };
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
        workflow_type: Some(WorkflowType {
            name: "Hello".into(),
        }),
        task_queue: Some(TaskQueue {
            name: "q".into(),
            ..Default::default()
        }),
        request_id: "r".into(),
        ..Default::default()
    };
    world
        .apply(Mutation::StartWorkflowExecution(Proto(start)), Vec::new())
        .0
        .unwrap();
    let first = token(
        world
            .apply(
                Mutation::ClaimTask(reservation(TaskKind::Workflow)),
                Vec::new(),
            )
            .0
            .unwrap(),
    );
    let run = first.run.clone();
    let schedule = Command {
        command_type: CommandType::ScheduleActivityTask.into(),
        attributes: Some(Attributes::ScheduleActivityTaskCommandAttributes(
            ScheduleActivityTaskCommandAttributes {
                activity_id: "1".into(),
                activity_type: Some(ActivityType {
                    name: "Greet".into(),
                }),
                task_queue: Some(TaskQueue {
                    name: "q".into(),
                    ..Default::default()
                }),
                start_to_close_timeout: Some(prost_types::Duration {
                    seconds: 10,
                    nanos: 0,
                }),
                ..Default::default()
            },
        )),
        ..Default::default()
    };
    complete(&mut world, first.clone(), vec![schedule]).unwrap();
    let again = complete(&mut world, first, Vec::new()).unwrap();
    assert!(matches!(
        again,
        Reply::WorkflowTaskCompleted { new_task: None, .. }
    ));
    let activity = token(
        world
            .apply(
                Mutation::ClaimTask(reservation(TaskKind::Activity)),
                Vec::new(),
            )
            .0
            .unwrap(),
    );
    let request = Proto(wire::RespondActivityTaskCompletedRequest::default());
    let done = Mutation::RespondActivityTaskCompleted {
        target: ActivityTarget::Token(activity),
        request,
    };
    // A poller waits: the next workflow task is handed out in the same mutation.
    let (reply, effects) = world.apply(done, vec![reservation(TaskKind::Workflow)]);
    reply.unwrap();
    let assigned = effects.iter().find_map(|effect| match effect {
        Effect::TaskAssigned { task, .. } => Some(task.clone()),
        _ => None,
    });
    let Some(AssignedTask::Workflow(second)) = assigned.map(|task| *task) else {
        panic!("{effects:?}")
    };
    let closing = Command {
        command_type: CommandType::CompleteWorkflowExecution.into(),
        attributes: Some(Attributes::CompleteWorkflowExecutionCommandAttributes(
            CompleteWorkflowExecutionCommandAttributes::default(),
        )),
        ..Default::default()
    };
    complete(&mut world, second.token, vec![closing]).unwrap();
    let (events, _) = world.history(&run);
    let names: Vec<_> = events
        .iter()
        .map(|event| format!("{} {:?}", event.event_id, event.event_type()))
        .collect();
    assert_eq!(
        names.join(", "),
        "1 WorkflowExecutionStarted, 2 WorkflowTaskScheduled, 3 WorkflowTaskStarted, \
        4 WorkflowTaskCompleted, 5 ActivityTaskScheduled, 6 ActivityTaskStarted, 7 ActivityTaskCompleted, \
        8 WorkflowTaskScheduled, 9 WorkflowTaskStarted, 10 WorkflowTaskCompleted, 11 WorkflowExecutionCompleted"
    );
    let closed = steadfast_engine::read::run(&world.memory, &run)
        .unwrap()
        .unwrap();
    assert_eq!(closed.state_transitions, 7);
}
