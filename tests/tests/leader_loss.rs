//! What callers see when the leader goes, by `kill -9` and by SIGTERM: a call in flight ends with
//! a code that official SDKs retry, a retried call has one effect, and a planned stop costs nobody
//! an error.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;
use steadfast_proto::temporal::common::v1::{WorkflowExecution, WorkflowType};
use steadfast_proto::temporal::enums::v1::EventType;
use steadfast_proto::temporal::history::v1::history_event::Attributes;
use steadfast_proto::temporal::taskqueue::v1::TaskQueue;
use steadfast_proto::temporal::workflowservice::v1 as wire;
use steadfast_proto::temporal::workflowservice::v1::workflow_service_client::WorkflowServiceClient;
use steadfast_tests::Error;
use steadfast_tests::client::Client;
use steadfast_tests::cluster::{Cluster, connect};
use tonic::transport::Channel;
use tonic::{Code, Request, Status};

const SENDERS: usize = 24;
const WORKFLOW: &str = "leader-loss";
/// A call that is still open then has hung.
const DEADLINE: Duration = Duration::from_secs(15);

/// What the senders have seen.
#[derive(Debug, Default)]
struct Seen {
    acknowledged: AtomicUsize,
    failed: AtomicUsize,
    stop: AtomicBool,
}

fn execution() -> Option<WorkflowExecution> {
    Some(WorkflowExecution {
        workflow_id: WORKFLOW.to_owned(),
        run_id: String::new(),
    })
}

fn start_request(workflow_id: &str) -> wire::StartWorkflowExecutionRequest {
    wire::StartWorkflowExecutionRequest {
        namespace: "default".to_owned(),
        workflow_id: workflow_id.to_owned(),
        workflow_type: Some(WorkflowType {
            name: "waits".to_owned(),
        }),
        task_queue: Some(TaskQueue {
            name: "nobody-polls".to_owned(),
            ..TaskQueue::default()
        }),
        identity: "test".to_owned(),
        request_id: uuid::Uuid::new_v4().to_string(),
        ..wire::StartWorkflowExecutionRequest::default()
    }
}

fn timed<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(DEADLINE);
    request
}

async fn service(addresses: &[String], turn: usize) -> Option<WorkflowServiceClient<Channel>> {
    let channel = connect(&addresses[turn % addresses.len()]).await.ok()?;
    Some(WorkflowServiceClient::new(channel))
}

/// Codes that each official SDK retries, without those that say "it hung" or "we are broken".
fn ends_well(status: &Status, of_dead_node: bool) -> bool {
    match status.code() {
        Code::Unavailable => true,
        // The client library's own words for a connection that died under a call.
        Code::Unknown | Code::Cancelled | Code::Internal => of_dead_node,
        _ => false,
    }
}

/// Signals numbered names, each until it is acknowledged, always with the same request id.
async fn send(sender: usize, addresses: Vec<String>, dead: usize, seen: Arc<Seen>) -> Vec<String> {
    let mut sent = Vec::new();
    let mut turn = sender;
    while !seen.stop.load(Ordering::Relaxed) {
        let name = format!("{sender}-{}", sent.len());
        let request = wire::SignalWorkflowExecutionRequest {
            namespace: "default".to_owned(),
            workflow_execution: execution(),
            signal_name: name.clone(),
            identity: "test".to_owned(),
            request_id: uuid::Uuid::new_v4().to_string(),
            ..wire::SignalWorkflowExecutionRequest::default()
        };
        loop {
            let asked = turn % addresses.len();
            let Some(mut client) = service(&addresses, turn).await else {
                turn += 1;
                continue;
            };
            match client
                .signal_workflow_execution(timed(request.clone()))
                .await
            {
                Ok(_) => break,
                Err(status) => {
                    assert!(
                        ends_well(&status, asked == dead),
                        "node {asked}: {status:?}"
                    );
                    seen.failed.fetch_add(1, Ordering::Relaxed);
                    turn += 1;
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            }
        }
        seen.acknowledged.fetch_add(1, Ordering::Relaxed);
        sent.push(name);
    }
    sent
}

async fn acknowledged(seen: &Seen, more: usize) {
    let goal = seen.acknowledged.load(Ordering::Relaxed) + more;
    for _ in 0..6_000 {
        if seen.acknowledged.load(Ordering::Relaxed) >= goal {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("no progress: {seen:?}");
}

/// Each test has the machine to itself: with six nodes on two cores an election takes longer than a
/// forwarded call waits for a leader.
static ONE_AT_A_TIME: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_in_flight_when_the_leader_dies_ends_and_its_retry_has_one_effect()
-> Result<(), Error> {
    let _alone = ONE_AT_A_TIME.lock().await;
    let mut cluster = Cluster::start(3).await?;
    let ids = cluster.ids();
    let addresses: Vec<String> = ids
        .iter()
        .map(|id| cluster.addresses(*id).grpc.clone())
        .collect();
    let all: Vec<&str> = addresses.iter().map(String::as_str).collect();
    let client = Client::new(&all);
    let leader = cluster.leader().await?;
    let dead = ids.iter().position(|id| *id == leader).unwrap_or_default();
    let start = start_request(WORKFLOW);
    let run_id = client
        .service()
        .await?
        .start_workflow_execution(timed(start.clone()))
        .await?
        .into_inner()
        .run_id;
    let seen = Arc::new(Seen::default());
    let senders: Vec<_> = (0..SENDERS)
        .map(|sender| tokio::spawn(send(sender, addresses.clone(), dead, seen.clone())))
        .collect();
    acknowledged(&seen, 200).await;
    cluster.kill(leader)?;
    acknowledged(&seen, 200).await;
    seen.stop.store(true, Ordering::Relaxed);
    let mut sent = Vec::new();
    for sender in senders {
        sent.extend(
            sender
                .await
                .map_err(|error| Error::Program(error.to_string()))?,
        );
    }
    assert!(
        seen.failed.load(Ordering::Relaxed) > 0,
        "no call was in flight at the kill: the test shows nothing"
    );
    let new_leader = cluster.leader().await?;
    assert_ne!(new_leader, leader);
    let again = connect(&cluster.addresses(new_leader).grpc).await?;
    let again = WorkflowServiceClient::new(again)
        .start_workflow_execution(timed(start))
        .await?;
    assert_eq!(
        again.into_inner().run_id,
        run_id,
        "the same request id starts nothing new"
    );
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for event in client.history(WORKFLOW, &run_id).await? {
        if let Some(Attributes::WorkflowExecutionSignaledEventAttributes(signal)) = event.attributes
        {
            *counts.entry(signal.signal_name).or_default() += 1;
        }
    }
    let lost: Vec<_> = sent
        .iter()
        .filter(|name| !counts.contains_key(*name))
        .collect();
    assert!(lost.is_empty(), "acknowledged and lost: {lost:?}");
    let twice: Vec<_> = counts.iter().filter(|(_, count)| **count > 1).collect();
    assert!(twice.is_empty(), "one call, two effects: {twice:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_planned_stop_of_the_leader_costs_nobody_an_error() -> Result<(), Error> {
    let _alone = ONE_AT_A_TIME.lock().await;
    let mut cluster = Cluster::start(3).await?;
    let leader = cluster.leader().await?;
    let others: Vec<String> = cluster
        .ids()
        .into_iter()
        .filter(|id| *id != leader)
        .map(|id| cluster.addresses(id).grpc.clone())
        .collect();
    let stays: Vec<&str> = others.iter().map(String::as_str).collect();
    let client = Client::new(&stays);
    let run_id = client
        .service()
        .await?
        .start_workflow_execution(timed(start_request(WORKFLOW)))
        .await?
        .into_inner()
        .run_id;
    let poll = tokio::spawn(poll_of(cluster.addresses(leader).grpc.clone()));
    let seen = Arc::new(Seen::default());
    let senders: Vec<_> = (0..SENDERS)
        .map(|sender| tokio::spawn(send(sender, others.clone(), usize::MAX, seen.clone())))
        .collect();
    acknowledged(&seen, 200).await;
    let status = cluster.stop(leader).await?;
    assert_eq!(status.code(), Some(0), "a clean stop");
    acknowledged(&seen, 200).await;
    seen.stop.store(true, Ordering::Relaxed);
    let mut sent = 0;
    for sender in senders {
        sent += sender
            .await
            .map_err(|error| Error::Program(error.to_string()))?
            .len();
    }
    assert_eq!(
        seen.failed.load(Ordering::Relaxed),
        0,
        "calls through the nodes that stay wait for the new leader"
    );
    let answer = poll
        .await
        .map_err(|error| Error::Program(error.to_string()))??;
    assert!(
        answer.task_token.is_empty(),
        "the open poll ends with an empty answer"
    );
    let signals = client
        .history(WORKFLOW, &run_id)
        .await?
        .iter()
        .filter(|event| event.event_type() == EventType::WorkflowExecutionSignaled)
        .count();
    assert_eq!(signals, sent);
    Ok(())
}

async fn poll_of(address: String) -> Result<wire::PollActivityTaskQueueResponse, Error> {
    let mut client = WorkflowServiceClient::new(connect(&address).await?);
    let mut request = Request::new(wire::PollActivityTaskQueueRequest {
        namespace: "default".to_owned(),
        task_queue: Some(TaskQueue {
            name: "nothing-comes".to_owned(),
            ..TaskQueue::default()
        }),
        identity: "test".to_owned(),
        ..wire::PollActivityTaskQueueRequest::default()
    });
    request.set_timeout(Duration::from_secs(60));
    Ok(client.poll_activity_task_queue(request).await?.into_inner())
}
