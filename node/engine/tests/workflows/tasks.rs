//! Workflow tasks: buffering, failures, time-outs, stickiness, repeated and late answers.

use crate::story::{complete_workflow, marker, poll, seconds, timer, workflow_queue};
use crate::world::World;
use expect_test::expect;
use steadfast_engine::effect::{AssignedTask, Effect};
use steadfast_engine::mutation::{ExecutionTarget, Mutation};
use steadfast_engine::proto::Proto;
use steadfast_engine::{Refusal, Reply};
use steadfast_proto::temporal::workflowservice::v1 as wire;

#[test]
fn a_signal_during_a_task_is_buffered_and_the_next_task_comes_inline() {
    let mut world = World::new();
    world.start();
    let task = world.task("q");
    world.signal("wake").unwrap();
    // The same request again while its event is buffered.
    world.signal("wake").unwrap();
    let request = wire::RespondWorkflowTaskCompletedRequest {
        commands: vec![timer("t", 60)],
        identity: "worker".into(),
        return_new_workflow_task: true,
        ..Default::default()
    };
    let reply = world.complete_with(&task.token, request.clone()).unwrap();
    let Reply::WorkflowTaskCompleted {
        new_task: Some(next),
        ..
    } = &reply
    else {
        panic!("{reply:?}")
    };
    // The answer is lost; the worker sends its completion again.
    let again = world.complete_with(&task.token, request).unwrap();
    assert_eq!(again, reply);
    let AssignedTask::Workflow(next) = &**next else {
        panic!("{next:?}")
    };
    world
        .complete(&next.token, vec![complete_workflow()])
        .unwrap();
    expect![[r#"
        main Completed
          1 WorkflowExecutionStarted first=<run1> attempt=1
          2 WorkflowTaskScheduled queue=q attempt=1
          3 WorkflowTaskStarted scheduled=2
          4 WorkflowTaskCompleted started=3
          5 TimerStarted
          6 WorkflowExecutionSignaled name=wake
          7 WorkflowTaskScheduled queue=q attempt=1
          8 WorkflowTaskStarted scheduled=7
          9 WorkflowTaskCompleted started=8
          10 WorkflowExecutionCompleted
    "#]]
    .assert_eq(&world.told());
}

#[test]
fn a_close_with_unseen_events_is_refused_and_signals_wait() {
    let mut world = World::new();
    world.start();
    let task = world.task("q");
    world.signal("one").unwrap();
    let refused = world.complete(&task.token, vec![complete_workflow()]);
    assert_eq!(
        refused,
        Err(Refusal::InvalidArgument("UnhandledCommand".into()))
    );
    let task = world.task("q");
    let closing = world.signal("two").unwrap_err();
    assert!(
        matches!(closing, Refusal::ResourceExhausted { .. }),
        "{closing}"
    );
    world.complete(&task.token, vec![marker("kept")]).unwrap();
    world.signal("three").unwrap();
    expect![[r#"
        main Running
          1 WorkflowExecutionStarted first=<run1> attempt=1
          2 WorkflowTaskScheduled queue=q attempt=1
          3 WorkflowTaskStarted scheduled=2
          4 WorkflowTaskFailed cause=UnhandledCommand failure=UnhandledCommand by=worker
          5 WorkflowExecutionSignaled name=one
          6 WorkflowTaskScheduled queue=q attempt=1
          7 WorkflowTaskStarted scheduled=6
          8 WorkflowTaskCompleted started=7
          9 MarkerRecorded name=kept
          10 WorkflowExecutionSignaled name=three
          11 WorkflowTaskScheduled queue=q attempt=1
    "#]]
    .assert_eq(&world.told());
}

#[test]
fn a_bad_command_takes_the_good_ones_with_it() {
    let mut world = World::new();
    world.start();
    let task = world.task("q");
    let refused = world
        .complete(&task.token, vec![timer("good", 5), marker("")])
        .unwrap_err();
    assert_eq!(
        refused.to_string(),
        "BadRecordMarkerAttributes: MarkerName is not set on RecordMarkerCommand."
    );
    // The second bad answer in a row leaves no trace, and its task stays started.
    let task = world.task("q");
    assert_eq!(task.token.attempt, 2);
    world.complete(&task.token, vec![marker("")]).unwrap_err();
    world
        .complete(&task.token, vec![complete_workflow()])
        .unwrap();
    expect![[r#"
        main Completed
          1 WorkflowExecutionStarted first=<run1> attempt=1
          2 WorkflowTaskScheduled queue=q attempt=1
          3 WorkflowTaskStarted scheduled=2
          4 WorkflowTaskFailed cause=BadRecordMarkerAttributes failure=BadRecordMarkerAttributes: MarkerName is not set on RecordMarkerCommand. by=worker
          5 WorkflowTaskScheduled queue=q attempt=2
          6 WorkflowTaskStarted scheduled=5
          7 WorkflowTaskCompleted started=6
          8 WorkflowExecutionCompleted
    "#]].assert_eq(&world.told());
}

#[test]
fn a_failing_task_is_transient_until_something_new_comes() {
    let mut world = World::new();
    world.start();
    let task = world.task("q");
    world.fail(&task.token).unwrap();
    for attempt in [2, 3, 4] {
        let task = world.task("q");
        assert_eq!((task.token.attempt, task.stored_until), (attempt, 4));
        assert!(!task.tail.is_empty());
        world.fail(&task.token).unwrap();
    }
    world.signal("new").unwrap();
    let task = world.task("q");
    assert_eq!(task.token.attempt, 1);
    world
        .complete(&task.token, vec![complete_workflow()])
        .unwrap();
    expect![[r#"
        main Completed
          1 WorkflowExecutionStarted first=<run1> attempt=1
          2 WorkflowTaskScheduled queue=q attempt=1
          3 WorkflowTaskStarted scheduled=2
          4 WorkflowTaskFailed cause=WorkflowWorkerUnhandledFailure by=worker
          5 WorkflowExecutionSignaled name=new
          6 WorkflowTaskScheduled queue=q attempt=1
          7 WorkflowTaskStarted scheduled=6
          8 WorkflowTaskCompleted started=7
          9 WorkflowExecutionCompleted
    "#]]
    .assert_eq(&world.told());
}

#[test]
fn a_transient_task_that_succeeds_is_written_whole() {
    let mut world = World::new();
    world.start();
    let task = world.task("q");
    world.fire();
    let late = world.complete(&task.token, Vec::new()).unwrap_err();
    assert_eq!(late.to_string(), "Workflow task not found.");
    let task = world.task("q");
    world.signal("during").unwrap();
    world.complete(&task.token, Vec::new()).unwrap();
    expect![[r#"
        main Running
          1 WorkflowExecutionStarted first=<run1> attempt=1
          2 WorkflowTaskScheduled queue=q attempt=1
          3 WorkflowTaskStarted scheduled=2
          4 WorkflowTaskTimedOut type=StartToClose
          5 WorkflowTaskScheduled queue=q attempt=2
          6 WorkflowTaskStarted scheduled=5
          7 WorkflowTaskCompleted started=6
          8 WorkflowExecutionSignaled name=during
          9 WorkflowTaskScheduled queue=q attempt=1
    "#]]
    .assert_eq(&world.told());
}

#[test]
fn a_sticky_worker_that_is_gone_costs_one_time_out() {
    let mut world = World::new();
    world.start();
    let task = world.task("q");
    world.complete_sticky(&task.token, Vec::new());
    world.signal("wake").unwrap();
    world.fire();
    let task = world.task("q");
    assert!(!task.sticky && task.token.attempt == 1);
    world
        .complete(&task.token, vec![complete_workflow()])
        .unwrap();
    expect![[r#"
        main Completed
          1 WorkflowExecutionStarted first=<run1> attempt=1
          2 WorkflowTaskScheduled queue=q attempt=1
          3 WorkflowTaskStarted scheduled=2
          4 WorkflowTaskCompleted started=3
          5 WorkflowExecutionSignaled name=wake
          6 WorkflowTaskScheduled queue=sticky normal=q attempt=1
          7 WorkflowTaskTimedOut type=ScheduleToStart
          8 WorkflowTaskScheduled queue=q attempt=1
          9 WorkflowTaskStarted scheduled=8
          10 WorkflowTaskCompleted started=9
          11 WorkflowExecutionCompleted
    "#]]
    .assert_eq(&world.told());
}

#[test]
fn an_abandoned_sticky_task_moves_without_an_event() {
    let mut world = World::new();
    world.start();
    let task = world.task("q");
    world.complete_sticky(&task.token, Vec::new());
    world.signal("wake").unwrap();
    world
        .call(Mutation::AbandonStickyQueue(workflow_queue("sticky")))
        .unwrap();
    let task = world.task("q");
    assert!(!task.sticky);
    // Its first failure is forgiven: the next is a first attempt on the normal queue.
    world.fail(&task.token).unwrap();
    assert_eq!(world.task("q").token.attempt, 1);
    expect![[r#"
        main Running
          1 WorkflowExecutionStarted first=<run1> attempt=1
          2 WorkflowTaskScheduled queue=q attempt=1
          3 WorkflowTaskStarted scheduled=2
          4 WorkflowTaskCompleted started=3
          5 WorkflowExecutionSignaled name=wake
          6 WorkflowTaskScheduled queue=sticky normal=q attempt=1
          7 WorkflowTaskStarted scheduled=6
          8 WorkflowTaskFailed cause=WorkflowWorkerUnhandledFailure by=worker
          9 WorkflowTaskScheduled queue=q attempt=1
          10 WorkflowTaskStarted scheduled=9
    "#]]
    .assert_eq(&world.told());
}

#[test]
fn a_returned_task_goes_to_the_next_poller_as_it_is() {
    let mut world = World::new();
    world.start();
    let first = world.task("q");
    world
        .call(Mutation::ReturnTask(first.token.clone()))
        .unwrap();
    world.signal("meanwhile").unwrap();
    let second = world.task("q");
    assert_eq!(second.token.started_event_id, first.token.started_event_id);
    assert_ne!(second.token.claim, first.token.claim);
    let late = world.complete(&first.token, Vec::new()).unwrap_err();
    assert_eq!(late.to_string(), "Workflow task not found.");
    world.call(Mutation::ReturnTask(first.token)).unwrap_err();
    world.complete(&second.token, Vec::new()).unwrap();
    expect![[r#"
        main Running
          1 WorkflowExecutionStarted first=<run1> attempt=1
          2 WorkflowTaskScheduled queue=q attempt=1
          3 WorkflowTaskStarted scheduled=2
          4 WorkflowTaskCompleted started=3
          5 WorkflowExecutionSignaled name=meanwhile
          6 WorkflowTaskScheduled queue=q attempt=1
    "#]]
    .assert_eq(&world.told());
}

#[test]
fn a_waiting_poller_gets_the_task_in_the_same_mutation() {
    let mut world = World::new();
    let start = Mutation::StartWorkflowExecution(Proto(crate::story::start_request()));
    let (_, effects) = world.apply(start, vec![poll("other"), poll("q")]);
    let assigned = effects
        .iter()
        .find(|effect| matches!(effect, Effect::TaskAssigned { .. }));
    assert!(assigned.is_some(), "{effects:?}");
    assert_eq!(
        world.call(Mutation::ClaimTask(poll("q"))),
        Ok(Reply::Claimed(None))
    );
    expect![[r#"
        main Running
          1 WorkflowExecutionStarted first=<run1> attempt=1
          2 WorkflowTaskScheduled queue=q attempt=1
          3 WorkflowTaskStarted scheduled=2
    "#]]
    .assert_eq(&world.told());
}

#[test]
fn heartbeats_prolong_a_task_for_half_an_hour() {
    let mut world = World::new();
    world.start();
    let mut task = world.task("q");
    let request = wire::RespondWorkflowTaskCompletedRequest {
        return_new_workflow_task: true,
        force_create_new_workflow_task: true,
        ..Default::default()
    };
    let mut beats = 0;
    let over = loop {
        world.now = world.now.after(steadfast_engine::time::Span::seconds(9));
        match world.complete_with(&task.token, request.clone()) {
            Ok(Reply::WorkflowTaskCompleted {
                new_task: Some(next),
                ..
            }) => match *next {
                AssignedTask::Workflow(next) => task = next,
                AssignedTask::Activity(next) => panic!("{next:?}"),
            },
            other => break other.unwrap_err(),
        }
        beats += 1;
    };
    assert_eq!(over.to_string(), "workflow task heartbeat timeout");
    assert_eq!(beats, 199);
}

#[test]
fn a_run_time_out_ends_a_started_task_and_keeps_what_was_buffered() {
    let mut world = World::new();
    let request = wire::StartWorkflowExecutionRequest {
        workflow_run_timeout: seconds(3),
        workflow_task_timeout: seconds(30),
        ..crate::story::start_request()
    };
    world
        .call(Mutation::StartWorkflowExecution(Proto(request)))
        .unwrap();
    let task = world.task("q");
    world.signal("buffered").unwrap();
    world.fire();
    let late = world.complete(&task.token, Vec::new()).unwrap_err();
    assert_eq!(late.to_string(), "Workflow task not found.");
    let late = world.fail(&task.token).unwrap_err();
    assert_eq!(late.to_string(), "workflow execution already completed");
    expect![[r#"
        main TimedOut
          1 WorkflowExecutionStarted first=<run1> attempt=1
          2 WorkflowTaskScheduled queue=q attempt=1
          3 WorkflowTaskStarted scheduled=2
          4 WorkflowTaskFailed cause=ForceCloseCommand by=history-service
          5 WorkflowExecutionSignaled name=buffered
          6 WorkflowExecutionTimedOut retry=RetryPolicyNotSet
    "#]]
    .assert_eq(&world.told());
}

#[test]
fn timers_of_one_instant_fire_in_one_transaction() {
    let mut world = World::new();
    world.start();
    let task = world.task("q");
    world
        .complete(
            &task.token,
            vec![timer("b", 5), timer("a", 5), timer("later", 6)],
        )
        .unwrap();
    world.fire();
    let task = world.task("q");
    world.now = world.now.after(steadfast_engine::time::Span::seconds(1));
    let (key, _) = world.next_due().unwrap();
    world.call(Mutation::FireDue(key)).unwrap();
    world.complete(&task.token, Vec::new()).unwrap();
    expect![[r#"
        main Running
          1 WorkflowExecutionStarted first=<run1> attempt=1
          2 WorkflowTaskScheduled queue=q attempt=1
          3 WorkflowTaskStarted scheduled=2
          4 WorkflowTaskCompleted started=3
          5 TimerStarted
          6 TimerStarted
          7 TimerStarted
          8 TimerFired timer=b started=5
          9 TimerFired timer=a started=6
          10 WorkflowTaskScheduled queue=q attempt=1
          11 WorkflowTaskStarted scheduled=10
          12 WorkflowTaskCompleted started=11
          13 TimerFired timer=later started=7
          14 WorkflowTaskScheduled queue=q attempt=1
    "#]]
    .assert_eq(&world.told());
}

#[test]
fn resetting_stickiness_sends_the_next_task_to_the_normal_queue() {
    let mut world = World::new();
    world.start();
    let task = world.task("q");
    world.complete_sticky(&task.token, Vec::new());
    let target = ExecutionTarget {
        namespace: "default".into(),
        workflow_id: "main".into(),
        run_id: String::new(),
    };
    world.call(Mutation::ResetStickyTaskQueue(target)).unwrap();
    world.signal("wake").unwrap();
    assert!(!world.task("q").sticky);
}
