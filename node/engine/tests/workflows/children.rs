//! Many children at once, and a run that is set aside.

use crate::story::{command, workflow_queue};
use crate::world::World;
use std::collections::BTreeMap;
use steadfast_engine::mutation::Mutation;
use steadfast_engine::proto::Proto;
use steadfast_engine::tables::{MessageBody, MessageRef, Record, Run, Tables, keys};
use steadfast_engine::{read, resume};
use steadfast_proto::temporal::command::v1::command::Attributes;
use steadfast_proto::temporal::command::v1::{
    Command, SignalExternalWorkflowExecutionCommandAttributes,
    StartChildWorkflowExecutionCommandAttributes,
};
use steadfast_proto::temporal::common::v1::{WorkflowExecution, WorkflowType};
use steadfast_proto::temporal::enums::v1::{CommandType, WorkflowExecutionStatus};
use steadfast_proto::temporal::taskqueue::v1::TaskQueue;
use steadfast_proto::temporal::workflowservice::v1 as wire;

/// More than one slice of a parent's close.
const CHILDREN: usize = 205;

fn start_child(workflow_id: String) -> Command {
    command(
        CommandType::StartChildWorkflowExecution,
        Attributes::StartChildWorkflowExecutionCommandAttributes(
            StartChildWorkflowExecutionCommandAttributes {
                workflow_id,
                workflow_type: Some(WorkflowType {
                    name: "Child".into(),
                }),
                task_queue: Some(TaskQueue {
                    name: "children".into(),
                    ..TaskQueue::default()
                }),
                ..Default::default()
            },
        ),
    )
}

fn body(world: &World, message: MessageRef) -> MessageBody {
    let record = world.memory.get(&keys::message_key(message)).unwrap();
    match record.as_deref() {
        Some(Record::Message(message)) => message.body.clone(),
        other => panic!("{other:?}"),
    }
}

/// Delivers everything; how many slices of closes were among it.
fn deliver(world: &mut World) -> usize {
    let mut slices = 0;
    while let Some(message) = resume::outbox(&world.memory, None, 1).unwrap().pop() {
        if matches!(body(world, message), MessageBody::CloseChildren { .. }) {
            slices += 1;
        }
        world.call(Mutation::DeliverMessage(message)).unwrap();
    }
    slices
}

fn terminate(world: &World) -> Mutation {
    Mutation::TerminateWorkflowExecution(Proto(wire::TerminateWorkflowExecutionRequest {
        namespace: "default".into(),
        workflow_execution: world.execution(),
        ..Default::default()
    }))
}

#[test]
fn a_close_with_many_children_is_cut_in_slices() {
    let mut world = World::new();
    world.start();
    let task = world.task("q");
    let commands = (0..CHILDREN).map(|number| start_child(format!("child-{number}")));
    world.complete(&task.token, commands.collect()).unwrap();
    assert_eq!(deliver(&mut world), 0);
    let mutation = terminate(&world);
    world.call(mutation).unwrap();
    assert_eq!(deliver(&mut world), 2);
    let ended: BTreeMap<i32, usize> = world.runs().iter().filter(|run| run.parent.is_some()).fold(
        BTreeMap::new(),
        |mut counts, run| {
            *counts.entry(run.status).or_default() += 1;
            counts
        },
    );
    let terminated = i32::from(WorkflowExecutionStatus::Terminated);
    assert_eq!(ended, BTreeMap::from([(terminated, CHILDREN)]));
    let parent = parent(&world);
    let described = read::describe::workflow_execution(&world.memory, &parent, String::new());
    assert_eq!(described.unwrap().pending_children.len(), CHILDREN);
}

#[test]
fn messages_of_a_run_that_is_set_aside_are_dropped() {
    let mut world = World::new();
    world.start();
    let task = world.task("q");
    let signal = command(
        CommandType::SignalExternalWorkflowExecution,
        Attributes::SignalExternalWorkflowExecutionCommandAttributes(
            SignalExternalWorkflowExecutionCommandAttributes {
                execution: Some(WorkflowExecution {
                    workflow_id: "other".into(),
                    run_id: String::new(),
                }),
                signal_name: "go".into(),
                ..Default::default()
            },
        ),
    );
    let commands = vec![start_child("child".into()), signal];
    world.complete(&task.token, commands).unwrap();
    let run = parent(&world).run;
    let reason = "a test".to_owned();
    world.call(Mutation::QuarantineRun { run, reason }).unwrap();
    deliver(&mut world);
    assert!(world.runs().iter().all(|run| run.parent.is_none()));
    let queue = workflow_queue("children");
    let backlog = read::queue::backlog(&world.memory, &queue, 1).unwrap();
    assert_eq!(backlog.count, 0);
}

fn parent(world: &World) -> Run {
    world
        .runs()
        .into_iter()
        .find(|run| run.parent.is_none())
        .unwrap()
}
