//! What happens at the limits.

use crate::story::{complete_workflow, marker, poll, start_request, timer};
use crate::world::World;
use expect_test::expect;
use steadfast_engine::effect::Effect;
use steadfast_engine::mutation::Mutation;
use steadfast_engine::proto::Proto;
use steadfast_engine::{Refusal, Reply};
use steadfast_proto::temporal::command::v1::command::Attributes;
use steadfast_proto::temporal::common::v1::{Payload, Payloads};

fn set(world: &mut World, key: &str, value: &str) {
    let (key, value) = (key.into(), Some(value.into()));
    world.call(Mutation::SetConfig { key, value }).unwrap();
}

/// What the call hears that goes too far.
fn exceeded(what: &str) -> Refusal {
    Refusal::InvalidArgument(format!("Workflow history {what} exceeds limit."))
}

#[test]
fn a_call_that_takes_a_history_over_its_limit_is_taken_back_and_ends_the_workflow() {
    let mut world = World::new();
    set(&mut world, "limit.historyCount.error", "6");
    world.start();
    let task = world.task("q");
    let commands = vec![marker("a"), marker("b"), marker("c")];
    let refused = world.complete(&task.token, commands).unwrap_err();
    assert_eq!(refused, exceeded("count"));
    expect![[r#"
        main Terminated
          1 WorkflowExecutionStarted first=<run1> attempt=1
          2 WorkflowTaskScheduled queue=q attempt=1
          3 WorkflowTaskStarted scheduled=2
          4 WorkflowTaskFailed cause=ForceCloseCommand by=history-service
          5 WorkflowExecutionTerminated reason="Workflow history count exceeds limit." by=history-service
    "#]]
    .assert_eq(&world.told());
}

#[test]
fn a_signal_that_takes_a_history_over_its_limit_ends_the_workflow_without_the_signal() {
    let mut world = World::new();
    set(&mut world, "limit.historyCount.error", "3");
    world.start();
    world.signal("fits").unwrap();
    let refused = world.signal("is too much").unwrap_err();
    assert_eq!(refused, exceeded("count"));
    expect![[r#"
        main Terminated
          1 WorkflowExecutionStarted first=<run1> attempt=1
          2 WorkflowTaskScheduled queue=q attempt=1
          3 WorkflowExecutionSignaled name=fits
          4 WorkflowExecutionTerminated reason="Workflow history count exceeds limit." by=history-service
    "#]]
    .assert_eq(&world.told());
}

#[test]
fn a_task_whose_start_would_pass_the_limit_is_not_handed_out() {
    let mut world = World::new();
    set(&mut world, "limit.historyCount.error", "3");
    world.start();
    world.signal("fits").unwrap();
    let polled = world.call(Mutation::ClaimTask(poll("q"))).unwrap();
    assert_eq!(polled, Reply::Claimed(None));
    expect![[r#"
        main Terminated
          1 WorkflowExecutionStarted first=<run1> attempt=1
          2 WorkflowTaskScheduled queue=q attempt=1
          3 WorkflowExecutionSignaled name=fits
          4 WorkflowExecutionTerminated reason="Workflow history count exceeds limit." by=history-service
    "#]]
    .assert_eq(&world.told());
}

/// The call that made the task stands: its start would be a change of its own.
#[test]
fn a_task_whose_start_would_pass_the_limit_is_not_handed_to_a_waiting_poll() {
    let mut world = World::new();
    set(&mut world, "limit.historyCount.error", "2");
    let start = Mutation::StartWorkflowExecution(Proto(start_request()));
    let (reply, effects) = world.apply(start, vec![poll("q")]);
    assert!(reply.is_ok(), "{reply:?}");
    let handed_out = |effect: &Effect| matches!(effect, Effect::TaskAssigned { .. });
    assert!(!effects.iter().any(handed_out), "{effects:?}");
    expect![[r#"
        main Terminated
          1 WorkflowExecutionStarted first=<run1> attempt=1
          2 WorkflowTaskScheduled queue=q attempt=1
          3 WorkflowExecutionTerminated reason="Workflow history count exceeds limit." by=history-service
    "#]]
    .assert_eq(&world.told());
}

#[test]
fn a_timer_that_takes_a_history_over_its_limit_ends_the_workflow_without_it() {
    let mut world = World::new();
    set(&mut world, "limit.historyCount.error", "5");
    world.start();
    let task = world.task("q");
    world.complete(&task.token, vec![timer("t", 10)]).unwrap();
    world.fire();
    expect![[r#"
        main Terminated
          1 WorkflowExecutionStarted first=<run1> attempt=1
          2 WorkflowTaskScheduled queue=q attempt=1
          3 WorkflowTaskStarted scheduled=2
          4 WorkflowTaskCompleted started=3
          5 TimerStarted
          6 WorkflowExecutionTerminated reason="Workflow history count exceeds limit." by=history-service
    "#]]
    .assert_eq(&world.told());
}

/// Temporal looks at the size before a change: the one that passes it stays, the next does not.
#[test]
fn a_history_too_large_ends_with_the_next_call() {
    let mut world = World::new();
    set(&mut world, "limit.historySize.error", "1");
    world.start();
    let refused = world.signal("one").unwrap_err();
    assert_eq!(refused, exceeded("size"));
    expect![[r#"
        main Terminated
          1 WorkflowExecutionStarted first=<run1> attempt=1
          2 WorkflowTaskScheduled queue=q attempt=1
          3 WorkflowExecutionTerminated reason="Workflow history size exceeds limit." by=history-service
    "#]]
    .assert_eq(&world.told());
}

#[test]
fn a_history_that_just_reaches_its_limit_goes_on() {
    let mut world = World::new();
    // 1 started, 2 to 4 a workflow task, 5 and 6 markers.
    set(&mut world, "limit.historyCount.error", "6");
    world.start();
    let task = world.task("q");
    world
        .complete(&task.token, vec![marker("a"), marker("b")])
        .unwrap();
    assert_eq!(world.runs()[0].next_event_id - 1, 6);
    assert!(world.runs()[0].close.is_none(), "{}", world.told());
}

#[test]
fn a_long_history_suggests_to_continue_as_new() {
    let mut world = World::new();
    set(&mut world, "limit.historyCount.suggestContinueAsNew", "5");
    world.start();
    let task = world.task("q");
    assert!(
        !world.runs()[0]
            .workflow_task
            .as_ref()
            .unwrap()
            .suggest_continue_as_new
    );
    world.complete(&task.token, vec![marker("a")]).unwrap();
    world.signal("wake").unwrap();
    world.task("q");
    assert!(
        world.runs()[0]
            .workflow_task
            .as_ref()
            .unwrap()
            .suggest_continue_as_new
    );
}

#[test]
fn a_full_buffer_fails_the_task_and_nothing_is_lost() {
    let mut world = World::new();
    set(&mut world, "history.maximumBufferedEventsBatch", "2");
    world.start();
    let task = world.task("q");
    for name in ["one", "two", "three"] {
        world.signal(name).unwrap();
    }
    let late = world
        .complete(&task.token, vec![complete_workflow()])
        .unwrap_err();
    assert_eq!(late.to_string(), "Workflow task not found.");
    expect![[r#"
        main Running
          1 WorkflowExecutionStarted first=<run1> attempt=1
          2 WorkflowTaskScheduled queue=q attempt=1
          3 WorkflowTaskStarted scheduled=2
          4 WorkflowTaskFailed cause=ForceCloseCommand by=history-service
          5 WorkflowExecutionSignaled name=one
          6 WorkflowExecutionSignaled name=two
          7 WorkflowExecutionSignaled name=three
          8 WorkflowTaskScheduled queue=q attempt=1
    "#]]
    .assert_eq(&world.told());
}

#[test]
fn a_buffer_of_too_many_bytes_fails_the_task_too() {
    let mut world = World::new();
    set(
        &mut world,
        "history.maximumBufferedEventsSizeInBytes",
        "100",
    );
    world.start();
    let task = world.task("q");
    let name = "n".repeat(90);
    world.signal("one").unwrap();
    world.signal(&name).unwrap();
    let late = world
        .complete(&task.token, vec![complete_workflow()])
        .unwrap_err();
    assert_eq!(late.to_string(), "Workflow task not found.");
    let run = &world.runs()[0];
    assert_eq!((run.buffered_count, run.buffered_bytes), (0, 0));
    assert_eq!(run.signal_count, 2);
}

#[test]
fn signals_have_an_end() {
    let mut world = World::new();
    set(&mut world, "history.maximumSignalsPerExecution", "2");
    world.start();
    world.signal("one").unwrap();
    world.signal("two").unwrap();
    let refused = world.signal("three").unwrap_err();
    let text = "exceeded workflow execution limit for signal events".to_owned();
    assert_eq!(refused, Refusal::InvalidArgument(text));
}

#[test]
fn a_value_over_the_blob_limit_is_refused_at_the_door_and_ends_a_workflow_that_made_it() {
    let mut world = World::new();
    set(&mut world, "limit.blobSize.error", "100");
    let large = Payloads {
        payloads: vec![Payload {
            data: vec![0; 200].into(),
            ..Payload::default()
        }],
    };
    let mut request = start_request();
    request.input = Some(large.clone());
    let refused = world
        .call(Mutation::StartWorkflowExecution(Proto(request)))
        .unwrap_err();
    assert_eq!(refused.to_string(), "Blob data size exceeds limit.");
    world.start();
    let task = world.task("q");
    let mut command = marker("large");
    if let Some(Attributes::RecordMarkerCommandAttributes(attributes)) = &mut command.attributes {
        attributes.details.insert("d".into(), large);
    }
    world
        .complete(&task.token, vec![timer("t", 1), command])
        .unwrap_err();
    expect![[r#"
        main Terminated
          1 WorkflowExecutionStarted first=<run1> attempt=1
          2 WorkflowTaskScheduled queue=q attempt=1
          3 WorkflowTaskStarted scheduled=2
          4 WorkflowTaskFailed cause=BadRecordMarkerAttributes failure=BadRecordMarkerAttributes: RecordMarkerCommandAttributes.Details exceeds size limit. by=worker
          5 WorkflowExecutionTerminated reason="BadRecordMarkerAttributes: RecordMarkerCommandAttributes.Details exceeds size limit." by=history-service
    "#]].assert_eq(&world.told());
}

#[test]
fn a_quarantined_run_is_left_alone_but_can_be_deleted() {
    let mut world = World::new();
    world.start();
    let task = world.task("q");
    let run = task.token.run.clone();
    world
        .call(Mutation::QuarantineRun {
            run,
            reason: "a bug".into(),
        })
        .unwrap();
    assert!(matches!(world.signal("x"), Err(Refusal::Quarantined(_))));
    assert!(matches!(
        world.complete(&task.token, Vec::new()),
        Err(Refusal::Quarantined(_))
    ));
    // Its time-out is dropped, not tried for ever.
    world.fire();
    assert_eq!(world.next_due(), None);
    let target = steadfast_engine::mutation::ExecutionTarget {
        namespace: "default".into(),
        workflow_id: "main".into(),
        run_id: String::new(),
    };
    world
        .call(Mutation::DeleteWorkflowExecution(target))
        .unwrap();
    assert!(world.runs().is_empty());
}

#[test]
fn a_task_that_fails_five_times_is_reported_until_it_succeeds() {
    let mut world = World::new();
    world.start();
    for _ in 0..5 {
        let task = world.task("q");
        world.fail(&task.token).unwrap();
    }
    let reported = |world: &World| {
        let attributes = world.runs()[0].search_attributes.clone();
        attributes
            .get("TemporalReportedProblems")
            .map(|value| value.data.clone())
    };
    let value = reported(&world).unwrap();
    assert!(
        value.starts_with(b"[\"category=WorkflowTaskFailed\""),
        "{value:?}"
    );
    let task = world.task("q");
    world.complete(&task.token, Vec::new()).unwrap();
    assert_eq!(reported(&world), None);
}
