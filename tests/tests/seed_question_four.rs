//! Q4: two workers never get the same task. Two thousand activity tasks, eight pollers on three
//! nodes, the leader killed twice: no (task, attempt) is handed out twice, and each task ends
//! completed. A claim whose answer never reached its worker may cost one more attempt.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use steadfast_proto::temporal::command::v1::command::Attributes;
use steadfast_proto::temporal::command::v1::{
    Command, CompleteWorkflowExecutionCommandAttributes, ScheduleActivityTaskCommandAttributes,
};
use steadfast_proto::temporal::common::v1::ActivityType;
use steadfast_proto::temporal::enums::v1::{CommandType, EventType};
use steadfast_proto::temporal::taskqueue::v1::TaskQueue;
use steadfast_proto::temporal::workflowservice::v1 as wire;
use steadfast_tests::Error;
use steadfast_tests::client::Client;
use steadfast_tests::cluster::Cluster;
use tonic::Request;

const WORKFLOWS: usize = 100;
const ACTIVITIES: usize = 20;
const QUEUE: &str = "q4";
const LIMIT: Duration = Duration::from_secs(150);

/// What the pollers were given: (workflow id, activity id, attempt), each with a count.
type Handed = Arc<Mutex<BTreeMap<(String, String, i32), usize>>>;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_task_is_handed_out_twice() -> Result<(), Error> {
    let mut cluster = Cluster::start(3).await?;
    let addresses: Vec<String> = cluster
        .ids()
        .into_iter()
        .map(|id| cluster.addresses(id).grpc.clone())
        .collect();
    let handed = Handed::default();
    let stop = Arc::new(AtomicBool::new(false));
    for poller in 0..8 {
        let client = Client::new(&[&addresses[poller % 3], &addresses[(poller + 1) % 3]]);
        tokio::spawn(poll_activities(client, handed.clone(), stop.clone()));
    }
    for poller in 0..3 {
        let client = Client::new(&[&addresses[poller], &addresses[(poller + 1) % 3]]);
        tokio::spawn(poll_workflows(client, stop.clone()));
    }
    let all: Vec<&str> = addresses.iter().map(String::as_str).collect();
    let client = Client::new(&all);
    let mut runs = Vec::new();
    for number in 0..WORKFLOWS {
        let id = format!("q4-{number}");
        let run_id = client.start("fan-out", &id, QUEUE, &[]).await?;
        runs.push((id, run_id));
        if number == WORKFLOWS / 3 || number == WORKFLOWS * 2 / 3 {
            let leader = cluster.leader().await?;
            cluster.kill(leader)?;
            cluster.restart(leader)?;
            cluster.wait_ready(leader).await?;
        }
    }
    for (id, run_id) in &runs {
        let history = client.closed_history(id, run_id, LIMIT).await?;
        let completed = history
            .iter()
            .filter(|event| event.event_type() == EventType::ActivityTaskCompleted)
            .count();
        assert_eq!(
            completed, ACTIVITIES,
            "{id}: each task ends completed, once"
        );
        let last = history.last().map(|event| event.event_type());
        assert_eq!(last, Some(EventType::WorkflowExecutionCompleted), "{id}");
    }
    stop.store(true, Ordering::Relaxed);
    let handed = handed.lock().unwrap_or_else(PoisonError::into_inner);
    let twice: Vec<_> = handed.iter().filter(|(_, count)| **count > 1).collect();
    assert!(twice.is_empty(), "handed out twice: {twice:?}");
    let tasks: BTreeSet<_> = handed
        .keys()
        .map(|(workflow, task, _)| (workflow, task))
        .collect();
    assert_eq!(
        tasks.len(),
        WORKFLOWS * ACTIVITIES,
        "every task was handed out"
    );
    Ok(())
}

async fn poll_activities(client: Client, handed: Handed, stop: Arc<AtomicBool>) {
    while !stop.load(Ordering::Relaxed) {
        let Ok(mut service) = client.service().await else {
            continue;
        };
        let mut poll = Request::new(wire::PollActivityTaskQueueRequest {
            namespace: "default".to_owned(),
            task_queue: Some(queue()),
            identity: "poller".to_owned(),
            ..Default::default()
        });
        poll.set_timeout(Duration::from_secs(20));
        let Ok(task) = service.poll_activity_task_queue(poll).await else {
            continue;
        };
        let task = task.into_inner();
        let Some(execution) = task.workflow_execution else {
            continue;
        };
        let key = (execution.workflow_id, task.activity_id, task.attempt);
        *handed
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .entry(key)
            .or_default() += 1;
        // As official SDKs: the answer is repeated until somebody takes it.
        for _ in 0..20 {
            let mut answer = Request::new(wire::RespondActivityTaskCompletedRequest {
                namespace: "default".to_owned(),
                task_token: task.task_token.clone(),
                identity: "poller".to_owned(),
                ..Default::default()
            });
            answer.set_timeout(Duration::from_secs(5));
            let Ok(mut service) = client.service().await else {
                continue;
            };
            match service.respond_activity_task_completed(answer).await {
                Err(status) if steadfast_tests::client::retried(&status) => {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
                Ok(_) | Err(_) => break,
            }
        }
    }
}

async fn poll_workflows(client: Client, stop: Arc<AtomicBool>) {
    while !stop.load(Ordering::Relaxed) {
        let Ok(mut service) = client.service().await else {
            continue;
        };
        let mut poll = Request::new(wire::PollWorkflowTaskQueueRequest {
            namespace: "default".to_owned(),
            task_queue: Some(queue()),
            identity: "decider".to_owned(),
            ..Default::default()
        });
        poll.set_timeout(Duration::from_secs(20));
        let Ok(task) = service.poll_workflow_task_queue(poll).await else {
            continue;
        };
        let task = task.into_inner();
        if task.task_token.is_empty() {
            continue;
        }
        let mut answer = Request::new(wire::RespondWorkflowTaskCompletedRequest {
            namespace: "default".to_owned(),
            task_token: task.task_token,
            identity: "decider".to_owned(),
            commands: commands(&task.history),
            ..Default::default()
        });
        answer.set_timeout(Duration::from_secs(5));
        // A lost answer runs into the task's time-out, and the next attempt decides the same.
        drop(service.respond_workflow_task_completed(answer).await);
    }
}

/// First all activities, then, when all have completed, the end; nothing in between.
fn commands(history: &[u8]) -> Vec<Command> {
    use prost::Message;
    let events = steadfast_proto::temporal::history::v1::History::decode(history)
        .map(|history| history.events)
        .unwrap_or_default();
    let count = |kind: EventType| {
        events
            .iter()
            .filter(|event| event.event_type() == kind)
            .count()
    };
    if count(EventType::ActivityTaskScheduled) == 0 {
        return (0..ACTIVITIES).map(schedule).collect();
    }
    if count(EventType::ActivityTaskCompleted) == ACTIVITIES {
        return vec![Command {
            command_type: CommandType::CompleteWorkflowExecution.into(),
            attributes: Some(Attributes::CompleteWorkflowExecutionCommandAttributes(
                CompleteWorkflowExecutionCommandAttributes::default(),
            )),
            ..Default::default()
        }];
    }
    Vec::new()
}

fn schedule(number: usize) -> Command {
    Command {
        command_type: CommandType::ScheduleActivityTask.into(),
        attributes: Some(Attributes::ScheduleActivityTaskCommandAttributes(
            ScheduleActivityTaskCommandAttributes {
                activity_id: format!("task-{number}"),
                activity_type: Some(ActivityType {
                    name: "task".to_owned(),
                }),
                task_queue: Some(queue()),
                start_to_close_timeout: Some(prost_types::Duration {
                    seconds: 5,
                    nanos: 0,
                }),
                ..Default::default()
            },
        )),
        ..Default::default()
    }
}

fn queue() -> TaskQueue {
    TaskQueue {
        name: QUEUE.to_owned(),
        ..TaskQueue::default()
    }
}
