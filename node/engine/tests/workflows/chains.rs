//! Runs that follow each other: retry, cron, continue-as-new.

use crate::story::{command, complete_workflow, seconds, start_request};
use crate::world::World;
use expect_test::expect;
use steadfast_engine::mutation::Mutation;
use steadfast_engine::proto::Proto;
use steadfast_engine::time::Span;
use steadfast_proto::temporal::command::v1::command::Attributes;
use steadfast_proto::temporal::command::v1::{
    Command, ContinueAsNewWorkflowExecutionCommandAttributes,
    FailWorkflowExecutionCommandAttributes,
};
use steadfast_proto::temporal::common::v1::RetryPolicy;
use steadfast_proto::temporal::enums::v1::CommandType;
use steadfast_proto::temporal::failure::v1::Failure;
use steadfast_proto::temporal::workflowservice::v1::StartWorkflowExecutionRequest;

fn start(world: &mut World, change: impl Fn(&mut StartWorkflowExecutionRequest)) {
    let mut request = start_request();
    change(&mut request);
    world
        .call(Mutation::StartWorkflowExecution(Proto(request)))
        .unwrap();
}

fn fail_workflow(message: &str) -> Command {
    command(
        CommandType::FailWorkflowExecution,
        Attributes::FailWorkflowExecutionCommandAttributes(
            FailWorkflowExecutionCommandAttributes {
                failure: Some(Failure {
                    message: message.into(),
                    ..Default::default()
                }),
            },
        ),
    )
}

fn continue_as_new() -> Command {
    command(
        CommandType::ContinueAsNewWorkflowExecution,
        Attributes::ContinueAsNewWorkflowExecutionCommandAttributes(
            ContinueAsNewWorkflowExecutionCommandAttributes::default(),
        ),
    )
}

fn step(world: &mut World, closing: Command) {
    let task = world.task("q");
    world.complete(&task.token, vec![closing]).unwrap();
}

#[test]
fn a_failed_workflow_is_retried_until_its_attempts_are_used() {
    let mut world = World::new();
    start(&mut world, |request| {
        request.retry_policy = Some(RetryPolicy {
            initial_interval: seconds(2),
            maximum_attempts: 2,
            ..Default::default()
        });
    });
    step(&mut world, fail_workflow("first"));
    world.fire();
    step(&mut world, fail_workflow("second"));
    expect![[r#"
        main Failed
          1 WorkflowExecutionStarted first=<run1> attempt=1
          2 WorkflowTaskScheduled queue=q attempt=1
          3 WorkflowTaskStarted scheduled=2
          4 WorkflowTaskCompleted started=3
          5 WorkflowExecutionFailed retry=InProgress next=<run2>
        main Failed
          1 WorkflowExecutionStarted continued=<run1> initiator=Retry first=<run1> attempt=2 backoff=2.000s failure=first
          2 WorkflowTaskScheduled queue=q attempt=1
          3 WorkflowTaskStarted scheduled=2
          4 WorkflowTaskCompleted started=3
          5 WorkflowExecutionFailed retry=MaximumAttemptsReached
    "#]].assert_eq(&world.told());
}

#[test]
fn a_cron_workflow_goes_on_after_success_and_failure() {
    let mut world = World::new();
    start(&mut world, |request| {
        request.cron_schedule = "@every 10s".into()
    });
    world.fire();
    step(&mut world, complete_workflow());
    world.fire();
    step(&mut world, fail_workflow("once"));
    expect![[r#"
        main Completed
          1 WorkflowExecutionStarted initiator=CronSchedule first=<run1> attempt=1 backoff=10.000s
          2 WorkflowTaskScheduled queue=q attempt=1
          3 WorkflowTaskStarted scheduled=2
          4 WorkflowTaskCompleted started=3
          5 WorkflowExecutionCompleted next=<run2>
        main Failed
          1 WorkflowExecutionStarted continued=<run1> initiator=CronSchedule first=<run1> attempt=1 backoff=10.000s
          2 WorkflowTaskScheduled queue=q attempt=1
          3 WorkflowTaskStarted scheduled=2
          4 WorkflowTaskCompleted started=3
          5 WorkflowExecutionFailed retry=RetryPolicyNotSet next=<run3>
        main Running
          1 WorkflowExecutionStarted continued=<run2> initiator=CronSchedule first=<run1> attempt=1 backoff=10.000s failure=once
    "#]].assert_eq(&world.told());
}

#[test]
fn a_young_run_that_continues_as_new_waits_for_the_rest_of_a_second() {
    let mut world = World::new();
    start(&mut world, |request| {
        request.workflow_run_timeout = seconds(100)
    });
    step(&mut world, continue_as_new());
    world.fire();
    world.now = world.now.after(Span::seconds(2));
    step(&mut world, continue_as_new());
    step(&mut world, complete_workflow());
    expect![[r#"
        main ContinuedAsNew
          1 WorkflowExecutionStarted first=<run1> attempt=1
          2 WorkflowTaskScheduled queue=q attempt=1
          3 WorkflowTaskStarted scheduled=2
          4 WorkflowTaskCompleted started=3
          5 WorkflowExecutionContinuedAsNew next=<run2>
        main ContinuedAsNew
          1 WorkflowExecutionStarted continued=<run1> initiator=Workflow first=<run1> attempt=1 backoff=0.998s
          2 WorkflowTaskScheduled queue=q attempt=1
          3 WorkflowTaskStarted scheduled=2
          4 WorkflowTaskCompleted started=3
          5 WorkflowExecutionContinuedAsNew next=<run3>
        main Completed
          1 WorkflowExecutionStarted continued=<run2> initiator=Workflow first=<run1> attempt=1
          2 WorkflowTaskScheduled queue=q attempt=1
          3 WorkflowTaskStarted scheduled=2
          4 WorkflowTaskCompleted started=3
          5 WorkflowExecutionCompleted
    "#]].assert_eq(&world.told());
}

#[test]
fn a_run_time_out_is_retried_but_the_execution_time_out_is_the_end() {
    let mut world = World::new();
    start(&mut world, |request| {
        request.retry_policy = Some(RetryPolicy::default());
        request.workflow_run_timeout = seconds(5);
        request.workflow_execution_timeout = seconds(8);
    });
    // The first run's time-out, the second's first task, the end of it all.
    for _ in 0..3 {
        world.fire();
    }
    expect![[r#"
        main TimedOut
          1 WorkflowExecutionStarted first=<run1> attempt=1
          2 WorkflowTaskScheduled queue=q attempt=1
          3 WorkflowExecutionTimedOut retry=InProgress next=<run2>
        main TimedOut
          1 WorkflowExecutionStarted continued=<run1> initiator=Retry first=<run1> attempt=2 backoff=1.000s failure=workflow timeout
          2 WorkflowTaskScheduled queue=q attempt=1
          3 WorkflowExecutionTimedOut retry=Timeout
    "#]].assert_eq(&world.told());
}
