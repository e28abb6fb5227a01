use super::*;
use crate::checkers::planted::{acknowledge, add, evidence, run};
use crate::operation::{Answer, Delivery};
use steadfast_proto::temporal::common::v1::RetryPolicy;
use steadfast_proto::temporal::history::v1::{
    ActivityTaskStartedEventAttributes, WorkflowExecutionStartedEventAttributes,
    WorkflowTaskScheduledEventAttributes, WorkflowTaskTimedOutEventAttributes,
};

fn seconds(seconds: i64) -> Option<prost_types::Duration> {
    Some(prost_types::Duration { seconds, nanos: 0 })
}

/// An activity `a` that may be silent for 4 s and take 9 s, with retries after a second.
fn activity() -> Event {
    Event::ActivityTaskScheduledEventAttributes(Activity {
        activity_id: "a".into(),
        heartbeat_timeout: seconds(4),
        start_to_close_timeout: seconds(9),
        retry_policy: Some(RetryPolicy {
            initial_interval: seconds(1),
            backoff_coefficient: 1.5,
            ..RetryPolicy::default()
        }),
        ..Activity::default()
    })
}

fn deliver(evidence: &mut Evidence, at: u64, attempt: i32) {
    evidence.journal.deliveries.push(Delivery {
        polled: Duration::from_secs(at),
        at: Duration::from_secs(at),
        run_id: "r".into(),
        task: DeliveredTask::Activity {
            activity_id: "a".into(),
        },
        attempt,
    });
}

#[test]
fn a_run_and_a_workflow_task_that_time_out_early_are_found() {
    let planted = |run_timeout, task_timeout| {
        let mut run = FinalRun::default();
        let started = WorkflowExecutionStartedEventAttributes {
            workflow_run_timeout: seconds(run_timeout),
            ..Default::default()
        };
        add(&mut run, Event::WorkflowExecutionStartedEventAttributes(started));
        let task = WorkflowTaskScheduledEventAttributes {
            start_to_close_timeout: seconds(task_timeout),
            ..Default::default()
        };
        add(&mut run, Event::WorkflowTaskScheduledEventAttributes(task));
        add(&mut run, Event::WorkflowTaskStartedEventAttributes(Default::default()));
        let timed_out = WorkflowTaskTimedOutEventAttributes {
            scheduled_event_id: 2,
            started_event_id: 3,
            timeout_type: TimeoutType::StartToClose.into(),
        };
        add(&mut run, Event::WorkflowTaskTimedOutEventAttributes(timed_out));
        add(&mut run, Event::WorkflowExecutionTimedOutEventAttributes(Default::default()));
        check(&evidence(vec![run])).len()
    };
    assert_eq!(planted(4, 1), 0);
    assert_eq!(planted(5, 1), 1);
    assert_eq!(planted(4, 2), 1);
}

#[test]
fn a_retry_before_the_attempt_before_timed_out_is_found_in_the_history() {
    let mut planted = run("w", "r");
    add(&mut planted, activity());
    let started = ActivityTaskStartedEventAttributes {
        scheduled_event_id: 3,
        attempt: 2,
        ..Default::default()
    };
    add(&mut planted, Event::ActivityTaskStartedEventAttributes(started));
    let mut planted = evidence(vec![planted]);
    // A second after it was scheduled: right if the first attempt failed at once.
    assert_eq!(check(&planted).len(), 0);
    deliver(&mut planted, 3, 1);
    assert_eq!(check(&planted).len(), 1);
    planted.runs[0].events[3].event_time.get_or_insert_default().seconds += 4;
    assert_eq!(check(&planted).len(), 0);
}

#[test]
fn a_retry_too_soon_by_true_time_or_in_spite_of_a_heartbeat_is_found() {
    let mut scheduled = run("w", "r");
    add(&mut scheduled, activity());
    let retried = |at, beat: Option<u64>| {
        let mut planted = evidence(vec![scheduled.clone()]);
        deliver(&mut planted, 100, 1);
        deliver(&mut planted, at, 2);
        if let Some(beat) = beat {
            let asked = Asked::HeartbeatActivity {
                run_id: "r".into(),
                activity_id: "a".into(),
                attempt: 1,
            };
            acknowledge(&mut planted, beat, asked, Answer::Done);
        }
        planted
    };
    assert_eq!(check(&retried(105, None)).len(), 0);
    assert_eq!(check(&retried(104, None)).len(), 1);
    assert_eq!(check(&retried(105, Some(103))).len(), 1);
    assert_eq!(check(&retried(108, Some(103))).len(), 0);
    // Nothing is said around a change of leader.
    let mut led = retried(104, None);
    led.led_since = vec![Duration::from_secs(99)];
    assert_eq!(check(&led).len(), 0);
}
