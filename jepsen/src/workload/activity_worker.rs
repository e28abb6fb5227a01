//! A worker of activities: sometimes slow, sometimes failing, sometimes dead.

use super::caller::{Caller, Failed, timed};
use super::{NAMESPACE, queue};
use crate::operation::{Answer, Asked, DeliveredTask, Delivery};
use rand::Rng;
use std::time::Duration;
use steadfast_proto::temporal::failure::v1::failure::FailureInfo;
use steadfast_proto::temporal::failure::v1::{ApplicationFailureInfo, Failure};
use steadfast_proto::temporal::workflowservice::v1 as wire;
use tokio::time::sleep;
use tonic::Request;

const POLL: Duration = Duration::from_secs(10);
const ANSWER: Duration = Duration::from_secs(4);
const PAUSE: Duration = Duration::from_millis(50);
/// How often a completion is sent that gets no answer.
const TRIES: u32 = 4;

pub(super) async fn run(caller: Caller) {
    loop {
        let polled_at = caller.now();
        let mut poll = Request::new(wire::PollActivityTaskQueueRequest {
            namespace: NAMESPACE.into(),
            task_queue: queue(),
            identity: "worker".into(),
            ..Default::default()
        });
        poll.set_timeout(POLL);
        let polled = caller.call(POLL, |node| async move {
            node.poll_activity_task_queue(poll).await
        });
        match polled.await {
            Ok(task) if !task.task_token.is_empty() => perform(&caller, task, polled_at).await,
            Ok(_) | Err(_) => sleep(PAUSE).await,
        }
    }
}

async fn perform(caller: &Caller, task: wire::PollActivityTaskQueueResponse, polled: Duration) {
    let run_id = task.workflow_execution.clone().unwrap_or_default().run_id;
    let (activity_id, attempt) = (task.activity_id.clone(), task.attempt);
    caller.journal().deliveries.push(Delivery {
        polled,
        at: caller.now(),
        run_id: run_id.clone(),
        task: DeliveredTask::Activity {
            activity_id: activity_id.clone(),
        },
        attempt,
    });
    let habits = caller.habits();
    if caller.happens(habits.dies) {
        return;
    }
    let works = caller.chance().random_range(0..200);
    sleep(Duration::from_millis(works)).await;
    if caller.happens(habits.slow) {
        heartbeat(caller, &task).await;
        sleep(caller.around(Duration::from_secs(4))).await;
    }
    if caller.happens(habits.fails) {
        return fail(caller, &task).await;
    }
    for _ in 0..TRIES {
        let call = caller.asks(Asked::CompleteActivity {
            run_id: run_id.clone(),
            activity_id: activity_id.clone(),
            attempt,
        });
        let request = wire::RespondActivityTaskCompletedRequest {
            task_token: task.task_token.clone(),
            identity: "worker".into(),
            namespace: NAMESPACE.into(),
            ..Default::default()
        };
        let answer = caller.call(ANSWER, |node| async move {
            let request = timed(request, ANSWER);
            node.respond_activity_task_completed(request).await
        });
        let answer = answer.await;
        let again = matches!(answer, Err(Failed::Unknown(_)));
        caller.answered(call, answer.map(|_| Answer::Done).into());
        if !again {
            return;
        }
        sleep(PAUSE).await;
    }
}

/// Once, whatever comes of it.
async fn heartbeat(caller: &Caller, task: &wire::PollActivityTaskQueueResponse) {
    let request = wire::RecordActivityTaskHeartbeatRequest {
        task_token: task.task_token.clone(),
        namespace: NAMESPACE.into(),
        ..Default::default()
    };
    let call = caller.asks(Asked::HeartbeatActivity {
        run_id: task.workflow_execution.clone().unwrap_or_default().run_id,
        activity_id: task.activity_id.clone(),
        attempt: task.attempt,
    });
    let beat = caller.call(ANSWER, |node| async move {
        let request = timed(request, ANSWER);
        node.record_activity_task_heartbeat(request).await
    });
    let outcome = beat.await.map(|_| Answer::Done).into();
    caller.answered(call, outcome);
}

/// Once, whatever comes of it.
async fn fail(caller: &Caller, task: &wire::PollActivityTaskQueueResponse) {
    let request = wire::RespondActivityTaskFailedRequest {
        task_token: task.task_token.clone(),
        namespace: NAMESPACE.into(),
        failure: Some(Failure {
            message: "by chance".into(),
            // Without it the server refuses the failure, and the activity runs into its time-out.
            failure_info: Some(FailureInfo::ApplicationFailureInfo(
                ApplicationFailureInfo::default(),
            )),
            ..Failure::default()
        }),
        ..Default::default()
    };
    let call = caller.asks(Asked::FailActivity {
        run_id: task.workflow_execution.clone().unwrap_or_default().run_id,
        activity_id: task.activity_id.clone(),
        attempt: task.attempt,
    });
    let failed = caller.call(ANSWER, |node| async move {
        let request = timed(request, ANSWER);
        node.respond_activity_task_failed(request).await
    });
    let outcome = failed.await.map(|_| Answer::Done).into();
    caller.answered(call, outcome);
}
