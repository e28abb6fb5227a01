//! A backup's state becomes that of a new cluster.

use crate::story::{command, complete_workflow, poll, seconds, start_request};
use crate::world::World;
use steadfast_engine::effect::{AssignedActivityTask, AssignedTask};
use steadfast_engine::id::{Reservation, TaskKind};
use steadfast_engine::mutation::{ActivityTarget, Mutation, TaskToken};
use steadfast_engine::proto::Proto;
use steadfast_engine::read::namespace;
use steadfast_engine::restore::{OpenRuns, new_cluster, void_activities, void_workflow_task};
use steadfast_engine::tables::keys::{activity_prefix, prefix_end};
use steadfast_engine::tables::{ActivityState, Record, Tables, WorkflowTaskPhase};
use steadfast_engine::{Refusal, Reply};
use steadfast_proto::temporal::command::v1::command::Attributes;
use steadfast_proto::temporal::command::v1::{Command, ScheduleActivityTaskCommandAttributes};
use steadfast_proto::temporal::common::v1::ActivityType;
use steadfast_proto::temporal::enums::v1::CommandType;
use steadfast_proto::temporal::taskqueue::v1::TaskQueue;
use steadfast_proto::temporal::workflowservice::v1 as wire;

/// Restores the world into a cluster of this id, as the shell does; the number of open runs.
pub(crate) fn restore(world: &mut World, cluster_id: &str) -> usize {
    let changes = new_cluster(&world.memory, cluster_id).unwrap();
    world.memory.merge(changes);
    let (mut runs, mut open) = (OpenRuns::default(), 0);
    loop {
        let slice = runs.next(&world.memory).unwrap();
        if slice.is_empty() {
            break;
        }
        open += slice.len();
        for run in slice {
            if let Some(changes) = void_workflow_task(&world.memory, &run).unwrap() {
                world.memory.merge(changes);
            }
            let mut from = None;
            while let Some(changes) = void_activities(&world.memory, &run, &mut from).unwrap() {
                world.memory.merge(changes);
            }
        }
    }
    world.check();
    for run in world.runs().iter().filter(|run| run.close.is_none()) {
        assert!(run.sticky.is_none(), "no worker has it in its cache");
        if let Some(task) = &run.workflow_task {
            assert!(!task.sticky);
            let waits = !matches!(task.phase, WorkflowTaskPhase::Started { .. });
            assert!(waits || task.returned != 0, "no worker has its task");
        }
        let prefix = activity_prefix(&run.run);
        let end = prefix_end(&prefix);
        for (_, record) in world.memory.scan(&prefix, &end, 1_000, false).unwrap() {
            let started = matches!(&*record, Record::Activity(activity)
                if matches!(activity.state, ActivityState::Started { .. }));
            assert!(!started, "no worker has an activity of it");
        }
    }
    open
}

fn activity(id: &str) -> Command {
    let attributes = ScheduleActivityTaskCommandAttributes {
        activity_id: id.into(),
        activity_type: Some(ActivityType { name: "A".into() }),
        task_queue: Some(TaskQueue {
            name: "q".into(),
            ..Default::default()
        }),
        start_to_close_timeout: seconds(3_600),
        heartbeat_timeout: seconds(5),
        ..Default::default()
    };
    command(
        CommandType::ScheduleActivityTask,
        Attributes::ScheduleActivityTaskCommandAttributes(attributes),
    )
}

fn start(world: &mut World, workflow_id: &str) {
    let request = wire::StartWorkflowExecutionRequest {
        workflow_id: workflow_id.into(),
        request_id: workflow_id.into(),
        ..start_request()
    };
    world
        .call(Mutation::StartWorkflowExecution(Proto(request)))
        .unwrap();
}

fn claim_activity(world: &mut World) -> AssignedActivityTask {
    let mut reservation: Reservation = poll("q");
    reservation.queue.kind = TaskKind::Activity;
    match world.call(Mutation::ClaimTask(reservation)).unwrap() {
        Reply::Claimed(Some(task)) => match *task {
            AssignedTask::Activity(task) => task,
            AssignedTask::Workflow(task) => panic!("{task:?}"),
        },
        other => panic!("no activity: {other:?}"),
    }
}

fn complete_activity(world: &mut World, token: &TaskToken) -> Result<Reply, Refusal> {
    world.call(Mutation::RespondActivityTaskCompleted {
        target: ActivityTarget::Token(token.clone()),
        request: Proto(wire::RespondActivityTaskCompletedRequest::default()),
    })
}

#[test]
fn claims_are_void_and_everything_is_handed_out_again_as_it_was() {
    let mut world = World::new();
    for id in ["claimed", "busy", "sticky"] {
        start(&mut world, id);
    }
    let claimed = world.task("q");
    let busy = world.task("q");
    let commands = vec![activity("first"), activity("second")];
    world.complete(&busy.token, commands).unwrap();
    let first = claim_activity(&mut world);
    let sticky = world.task("q");
    world.complete_sticky(&sticky.token, vec![activity("third")]);
    let execution = steadfast_proto::temporal::common::v1::WorkflowExecution {
        workflow_id: "sticky".into(),
        ..Default::default()
    };
    let signal = wire::SignalWorkflowExecutionRequest {
        namespace: "default".into(),
        workflow_execution: Some(execution),
        signal_name: "s".into(),
        ..Default::default()
    };
    world
        .call(Mutation::SignalWorkflowExecution(Proto(signal)))
        .unwrap();
    let before = world.told();

    let stamp = namespace::meta(&world.memory).unwrap().applied_at;
    assert_eq!(restore(&mut world, "another"), 3);

    let meta = namespace::meta(&world.memory).unwrap();
    assert_eq!(meta.cluster_id, "another");
    assert_eq!(meta.applied_at, stamp, "time goes on from the stamp");
    assert_eq!(world.told(), before, "no history has changed");
    assert!(matches!(
        world.complete(&claimed.token, vec![complete_workflow()]),
        Err(Refusal::NotFound(_))
    ));
    assert!(matches!(
        complete_activity(&mut world, &first.token),
        Err(Refusal::NotFound(_))
    ));

    // The workflow tasks are in the normal queue: the claimed one as it was, with its events.
    let mut again = [world.task("q"), world.task("q")];
    again.sort_by_key(|task| task.token.run.number);
    assert_eq!(again[0].token.run, claimed.token.run);
    assert_eq!(
        again[0].token.started_event_id,
        claimed.token.started_event_id
    );
    assert_ne!(again[0].token.claim, claimed.token.claim);
    assert_eq!(again[1].token.run, sticky.token.run);
    assert!(!again[1].sticky, "its worker gets the whole history");
    for task in &again {
        world.complete(&task.token, Vec::new()).unwrap();
    }
    // So are the activities, with the attempt that they had.
    let mut left: Vec<_> = (0..3).map(|_| claim_activity(&mut world)).collect();
    left.retain(|task| task.token.scheduled_event_id == first.token.scheduled_event_id);
    let same = left
        .iter()
        .find(|task| task.token.run == first.token.run)
        .unwrap();
    assert_eq!(same.token.attempt, first.token.attempt);
    complete_activity(&mut world, &same.token).unwrap();
}

#[test]
fn a_state_without_a_cluster_is_not_restored() {
    let world = crate::memory::Memory::default();
    assert!(new_cluster(&world, "another").is_err());
}
