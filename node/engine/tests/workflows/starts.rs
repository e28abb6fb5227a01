//! Starting, finding and ending workflows: id policies, dedup, delays, cancel, terminate, delete.

use crate::story::{complete_workflow, start_request};
use crate::world::World;
use expect_test::expect;
use steadfast_engine::mutation::{ExecutionTarget, Mutation};
use steadfast_engine::proto::Proto;
use steadfast_engine::tables::{Record, keys};
use steadfast_engine::{Refusal, Reply, Tables};
use steadfast_proto::temporal::enums::v1::{WorkflowIdConflictPolicy, WorkflowIdReusePolicy};
use steadfast_proto::temporal::workflow::v1::OnConflictOptions;
use steadfast_proto::temporal::workflowservice::v1 as wire;

fn start(
    world: &mut World,
    change: impl Fn(&mut wire::StartWorkflowExecutionRequest),
) -> Result<Reply, Refusal> {
    let mut request = start_request();
    change(&mut request);
    world.call(Mutation::StartWorkflowExecution(Proto(request)))
}

fn started(reply: &Reply) -> (bool, &str) {
    match reply {
        Reply::Started {
            started, run_id, ..
        } => (*started, run_id),
        other => panic!("{other:?}"),
    }
}

fn close(world: &mut World) {
    let task = world.task("q");
    world
        .complete(&task.token, vec![complete_workflow()])
        .unwrap();
}

fn target() -> ExecutionTarget {
    let (workflow_id, run_id) = ("main".into(), String::new());
    ExecutionTarget {
        namespace: "default".into(),
        workflow_id,
        run_id,
    }
}

#[test]
fn the_same_request_gets_the_same_run_even_after_its_close() {
    let mut world = World::new();
    let first = world.start();
    let again = world.start();
    assert_eq!(started(&first), started(&again));
    close(&mut world);
    let after = start(&mut world, |request| {
        request.workflow_id_reuse_policy = WorkflowIdReusePolicy::RejectDuplicate.into();
    });
    let after = after.unwrap();
    assert_eq!(started(&first), started(&after));
    assert_eq!(world.runs().len(), 1);
}

#[test]
fn a_running_workflow_is_kept_used_or_terminated() {
    let mut world = World::new();
    let first = world.start();
    let other =
        |request: &mut wire::StartWorkflowExecutionRequest| request.request_id = "other".into();
    let refused = start(&mut world, other).unwrap_err();
    assert!(
        refused
            .to_string()
            .starts_with("Workflow execution is already running. WorkflowId: main")
    );
    let used = start(&mut world, |request| {
        other(request);
        request.workflow_id_conflict_policy = WorkflowIdConflictPolicy::UseExisting.into();
        request.on_conflict_options = Some(OnConflictOptions {
            attach_request_id: true,
            ..Default::default()
        });
    });
    let used = used.unwrap();
    assert_eq!(started(&used), (false, started(&first).1));
    let taken = start(&mut world, |request| {
        request.request_id = "third".into();
        request.workflow_id_conflict_policy = WorkflowIdConflictPolicy::TerminateExisting.into();
    });
    assert!(started(&taken.unwrap()).0);
    expect![[r#"
        main Terminated
          1 WorkflowExecutionStarted first=<run1> attempt=1
          2 WorkflowTaskScheduled queue=q attempt=1
          3 WorkflowExecutionOptionsUpdated
          4 WorkflowExecutionTerminated reason="TerminateIfRunning WorkflowIdReusePolicy" by=history-service
        main Running
          1 WorkflowExecutionStarted first=<run2> attempt=1
          2 WorkflowTaskScheduled queue=q attempt=1
    "#]].assert_eq(&world.told());
}

#[test]
fn a_closed_workflow_is_followed_as_the_reuse_policy_says() {
    let mut world = World::new();
    world.start();
    close(&mut world);
    let with = |world: &mut World, policy: WorkflowIdReusePolicy| {
        start(world, |request| {
            request.request_id = "other".into();
            request.workflow_id_reuse_policy = policy.into();
        })
    };
    let refused = with(&mut world, WorkflowIdReusePolicy::RejectDuplicate).unwrap_err();
    assert!(
        refused
            .to_string()
            .ends_with("Workflow Id reuse policy: reject duplicate workflow Id.")
    );
    let refused = with(&mut world, WorkflowIdReusePolicy::AllowDuplicateFailedOnly).unwrap_err();
    assert!(
        refused
            .to_string()
            .starts_with("Workflow execution already finished successfully.")
    );
    assert!(started(&with(&mut world, WorkflowIdReusePolicy::AllowDuplicate).unwrap()).0);
    assert_eq!(world.runs().len(), 2);
}

#[test]
fn a_delayed_start_hears_of_a_cancel_at_once_but_not_of_a_signal() {
    let mut world = World::new();
    start(&mut world, |request| {
        request.workflow_start_delay = crate::story::seconds(60)
    })
    .unwrap();
    world.signal("early").unwrap();
    assert_eq!(world.runs()[0].workflow_task, None);
    let cancel = wire::RequestCancelWorkflowExecutionRequest {
        namespace: "default".into(),
        workflow_execution: world.execution(),
        ..Default::default()
    };
    for _ in 0..2 {
        world
            .call(Mutation::RequestCancelWorkflowExecution(Proto(
                cancel.clone(),
            )))
            .unwrap();
    }
    expect![[r#"
        main Running
          1 WorkflowExecutionStarted first=<run1> attempt=1 backoff=60.000s
          2 WorkflowExecutionSignaled name=early
          3 WorkflowExecutionCancelRequested
          4 WorkflowTaskScheduled queue=q attempt=1
    "#]]
    .assert_eq(&world.told());
}

#[test]
fn an_eager_start_answers_with_the_first_task() {
    let mut world = World::new();
    let reply = start(&mut world, |request| request.request_eager_execution = true).unwrap();
    let again = start(&mut world, |request| request.request_eager_execution = true).unwrap();
    assert_eq!(reply, again);
    assert!(matches!(
        reply,
        Reply::Started {
            eager_task: Some(_),
            ..
        }
    ));
    expect![[r#"
        main Running
          1 WorkflowExecutionStarted first=<run1> attempt=1
          2 WorkflowTaskScheduled queue=q attempt=1
          3 WorkflowTaskStarted scheduled=2
    "#]]
    .assert_eq(&world.told());
}

#[test]
fn signal_with_start_starts_once_and_signals_each_time() {
    let mut world = World::new();
    let request = |id: &str| {
        Mutation::SignalWithStartWorkflowExecution(Proto(
            wire::SignalWithStartWorkflowExecutionRequest {
                namespace: "default".into(),
                workflow_id: "main".into(),
                workflow_type: start_request().workflow_type,
                task_queue: start_request().task_queue,
                signal_name: id.into(),
                request_id: id.into(),
                ..Default::default()
            },
        ))
    };
    assert!(started(&world.call(request("one")).unwrap()).0);
    assert!(started(&world.call(request("one")).unwrap()).0);
    assert!(!started(&world.call(request("two")).unwrap()).0);
    assert!(!started(&world.call(request("two")).unwrap()).0);
    expect![[r#"
        main Running
          1 WorkflowExecutionStarted first=<run1> attempt=1
          2 WorkflowExecutionSignaled name=one
          3 WorkflowTaskScheduled queue=q attempt=1
          4 WorkflowExecutionSignaled name=two
    "#]]
    .assert_eq(&world.told());
}

#[test]
fn a_terminated_workflow_takes_nothing_more() {
    let mut world = World::new();
    world.start();
    let task = world.task("q");
    world.signal("buffered").unwrap();
    let terminate = |first: &str, world: &World| {
        Mutation::TerminateWorkflowExecution(Proto(wire::TerminateWorkflowExecutionRequest {
            namespace: "default".into(),
            workflow_execution: world.execution(),
            identity: "client".into(),
            first_execution_run_id: first.into(),
            ..Default::default()
        }))
    };
    let other = terminate("of another chain", &world);
    assert_eq!(
        world.call(other).unwrap_err().to_string(),
        "workflow execution not found"
    );
    let this = terminate("", &world);
    world.call(this.clone()).unwrap();
    let again = world.call(this).unwrap_err();
    assert_eq!(again.to_string(), "workflow execution already completed");
    let late = world.complete(&task.token, Vec::new()).unwrap_err();
    assert_eq!(late.to_string(), "Workflow task not found.");
    assert_eq!(
        world.signal("late").unwrap_err().to_string(),
        "workflow execution already completed"
    );
    expect![[r#"
        main Terminated
          1 WorkflowExecutionStarted first=<run1> attempt=1
          2 WorkflowTaskScheduled queue=q attempt=1
          3 WorkflowTaskStarted scheduled=2
          4 WorkflowTaskFailed cause=ForceCloseCommand by=history-service
          5 WorkflowExecutionSignaled name=buffered
          6 WorkflowExecutionTerminated reason="terminated by user via frontend" by=client
    "#]]
    .assert_eq(&world.told());
}

#[test]
fn a_deleted_workflow_leaves_nothing_and_its_id_is_free() {
    let mut world = World::new();
    world.start();
    for number in 0..700 {
        world.signal(&number.to_string()).unwrap();
    }
    let reply = world.call(Mutation::DeleteWorkflowExecution(target()));
    assert_eq!(reply, Ok(Reply::Deleting { more: true }));
    let again = world
        .call(Mutation::DeleteWorkflowExecution(target()))
        .unwrap_err();
    assert_eq!(again.to_string(), "workflow not found for ID: main");
    // The id is free while the rest is still being deleted.
    world.start();
    let before = world.runs()[0].run.clone();
    let mut slices = 0;
    while world.next_due().is_some_and(|(_, at)| at <= world.now) {
        world.fire();
        slices += 1;
    }
    assert_eq!(slices, 2);
    let prefix = keys::execution_prefix(before.namespace, "main");
    let end = keys::prefix_end(&prefix);
    let left = world.memory.scan(&prefix, &end, usize::MAX, false).unwrap();
    let number = |key: &[u8]| keys::run_number_of_key(key, "main");
    assert!(
        left.iter()
            .all(|(key, _)| number(key) == Some(before.number)),
        "{left:?}"
    );
    let rows = world
        .memory
        .0
        .values()
        .filter(|record| matches!(&***record, Record::Visibility(_)));
    assert_eq!(rows.count(), 1);
}

#[test]
fn a_closed_workflow_goes_after_its_retention() {
    let mut world = World::new();
    world.start();
    close(&mut world);
    assert_eq!(world.runs().len(), 1);
    world.fire();
    assert_eq!(world.runs().len(), 0);
    assert_eq!(world.next_due(), None);
}
