//! A cluster is backed up while it works, and a new one is made of the backup.

use prost::bytes::Bytes;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use steadfast_proto::temporal::command::v1 as command;
use steadfast_proto::temporal::command::v1::command::Attributes;
use steadfast_proto::temporal::common::v1::ActivityType;
use steadfast_proto::temporal::enums::v1::CommandType;
use steadfast_proto::temporal::history::v1::HistoryEvent;
use steadfast_proto::temporal::taskqueue::v1::TaskQueue;
use steadfast_proto::temporal::workflowservice::v1 as wire;
use steadfast_tests::client::{Client, retried};
use steadfast_tests::cluster::Cluster;
use steadfast_tests::command::steadfast;
use steadfast_tests::{Error, io};
use tokio::time::{Instant, sleep};
use tonic::{Code, Request, Status};

const LIMIT: Duration = Duration::from_secs(40);
const QUEUE: &str = "work";

fn queue() -> Option<TaskQueue> {
    Some(TaskQueue {
        name: QUEUE.to_owned(),
        ..TaskQueue::default()
    })
}

fn clients(cluster: &Cluster) -> Client {
    let addresses: Vec<String> = (1..=3)
        .map(|id| cluster.addresses(id).grpc.clone())
        .collect();
    let all: Vec<&str> = addresses.iter().map(String::as_str).collect();
    Client::new(&all)
}

/// Starts workflows until told to stop; ids and run ids of those that were acknowledged.
async fn load(client: Client, stop: Arc<AtomicBool>) -> Result<Vec<(String, String)>, Error> {
    let mut started = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let id = format!("load-{}", started.len());
        let run_id = client.start("load", &id, "nobody", &[]).await?;
        started.push((id, run_id));
        sleep(Duration::from_millis(3)).await;
    }
    Ok(started)
}

/// A workflow task of the queue.
async fn workflow_task(client: &Client) -> Result<wire::PollWorkflowTaskQueueResponse, Error> {
    let deadline = Instant::now() + LIMIT;
    while Instant::now() < deadline {
        let mut call = Request::new(wire::PollWorkflowTaskQueueRequest {
            namespace: "default".to_owned(),
            task_queue: queue(),
            identity: "worker".to_owned(),
            ..Default::default()
        });
        call.set_timeout(Duration::from_secs(5));
        match client.service().await?.poll_workflow_task_queue(call).await {
            Ok(answer) if !answer.get_ref().task_token.is_empty() => return Ok(answer.into_inner()),
            Ok(_) => {}
            Err(status) if retried(&status) => sleep(Duration::from_millis(100)).await,
            Err(status) => return Err(status.into()),
        }
    }
    Err(Error::TimedOut("no workflow task".to_owned()))
}

async fn activity_task(client: &Client) -> Result<wire::PollActivityTaskQueueResponse, Error> {
    let deadline = Instant::now() + LIMIT;
    while Instant::now() < deadline {
        let mut call = Request::new(wire::PollActivityTaskQueueRequest {
            namespace: "default".to_owned(),
            task_queue: queue(),
            identity: "worker".to_owned(),
            ..Default::default()
        });
        call.set_timeout(Duration::from_secs(5));
        match client.service().await?.poll_activity_task_queue(call).await {
            Ok(answer) if !answer.get_ref().task_token.is_empty() => return Ok(answer.into_inner()),
            Ok(_) => {}
            Err(status) if retried(&status) => sleep(Duration::from_millis(100)).await,
            Err(status) => return Err(status.into()),
        }
    }
    Err(Error::TimedOut("no activity task".to_owned()))
}

async fn complete(
    client: &Client,
    task_token: &Bytes,
    commands: Vec<command::Command>,
) -> Result<(), Error> {
    let request = wire::RespondWorkflowTaskCompletedRequest {
        namespace: "default".to_owned(),
        task_token: task_token.clone(),
        identity: "worker".to_owned(),
        commands,
        ..Default::default()
    };
    let mut service = client.service().await?;
    service.respond_workflow_task_completed(request).await?;
    Ok(())
}

async fn complete_activity(client: &Client, task_token: &Bytes) -> Result<(), Error> {
    let request = wire::RespondActivityTaskCompletedRequest {
        namespace: "default".to_owned(),
        task_token: task_token.clone(),
        identity: "worker".to_owned(),
        ..Default::default()
    };
    let mut service = client.service().await?;
    service.respond_activity_task_completed(request).await?;
    Ok(())
}

fn schedule_activity() -> command::Command {
    command::Command {
        command_type: CommandType::ScheduleActivityTask.into(),
        attributes: Some(Attributes::ScheduleActivityTaskCommandAttributes(
            command::ScheduleActivityTaskCommandAttributes {
                activity_id: "pay".to_owned(),
                activity_type: Some(ActivityType {
                    name: "pay".to_owned(),
                }),
                task_queue: queue(),
                start_to_close_timeout: Some(prost_types::Duration {
                    seconds: 3_600,
                    nanos: 0,
                }),
                ..Default::default()
            },
        )),
        ..Default::default()
    }
}

fn complete_workflow() -> command::Command {
    command::Command {
        command_type: CommandType::CompleteWorkflowExecution.into(),
        attributes: Some(Attributes::CompleteWorkflowExecutionCommandAttributes(
            command::CompleteWorkflowExecutionCommandAttributes::default(),
        )),
        ..Default::default()
    }
}

fn refusal(result: Result<(), Error>) -> Result<Status, Error> {
    match result {
        Err(Error::Call(status)) => Ok(*status),
        Err(other) => Err(other),
        Ok(()) => Err(Error::Program("it was accepted".to_owned())),
    }
}

fn members(cluster: &Cluster, address: impl Fn(u64) -> String) -> String {
    let member = |id: &u64| format!("{id}={}", address(*id));
    cluster
        .ids()
        .iter()
        .map(member)
        .collect::<Vec<_>>()
        .join(",")
}

async fn restore(cluster: &Cluster, backup: &Path, out: &Path) -> Result<serde_json::Value, Error> {
    let raft = members(cluster, |id| cluster.addresses(id).raft.clone());
    let grpc = members(cluster, |id| cluster.addresses(id).grpc.clone());
    let http = members(cluster, |id| cluster.addresses(id).http.clone());
    let (backup, out) = (backup.display().to_string(), out.display().to_string());
    steadfast(&[
        "restore",
        "--backup",
        &backup,
        "--out",
        &out,
        "--cluster-name",
        "test",
        "--initial-members",
        &raft,
        "--member-grpc-addresses",
        &grpc,
        "--member-http-addresses",
        &http,
        "--output",
        "json",
    ])
    .await?
    .succeeded()?
    .json()
}

fn last_time(events: &[HistoryEvent]) -> Option<prost_types::Timestamp> {
    events.last().and_then(|event| event.event_time)
}

/// What workers had when the backup was made.
struct Claims {
    /// Run id of the workflow whose activity a worker has.
    busy: String,
    activity: wire::PollActivityTaskQueueResponse,
    /// A workflow task that a worker has.
    workflow: wire::PollWorkflowTaskQueueResponse,
}

async fn claims(client: &Client) -> Result<Claims, Error> {
    let busy = client.start("w", "busy", QUEUE, &[]).await?;
    let task = workflow_task(client).await?;
    complete(client, &task.task_token, vec![schedule_activity()]).await?;
    let activity = activity_task(client).await?;
    client.start("w", "claimed", QUEUE, &[]).await?;
    let workflow = workflow_task(client).await?;
    Ok(Claims {
        busy,
        activity,
        workflow,
    })
}

/// Late answers are refused, and the tasks come again, as they were.
async fn claims_are_void(client: &Client, claims: &Claims) -> Result<(), Error> {
    for refused in [
        refusal(
            complete(
                client,
                &claims.workflow.task_token,
                vec![complete_workflow()],
            )
            .await,
        )?,
        refusal(complete_activity(client, &claims.activity.task_token).await)?,
    ] {
        assert_eq!(refused.code(), Code::NotFound, "{refused:?}");
        assert!(refused.message().contains("another cluster"), "{refused:?}");
    }
    let again = workflow_task(client).await?;
    assert_eq!(again.workflow_execution, claims.workflow.workflow_execution);
    assert_eq!(again.started_event_id, claims.workflow.started_event_id);
    complete(client, &again.task_token, vec![complete_workflow()]).await?;
    let once_more = activity_task(client).await?;
    assert_eq!(once_more.attempt, claims.activity.attempt);
    complete_activity(client, &once_more.task_token).await?;
    let task = workflow_task(client).await?;
    complete(client, &task.task_token, vec![complete_workflow()]).await?;
    let history = client.closed_history("busy", &claims.busy, LIMIT).await?;
    assert_eq!(history.len(), 11, "{history:?}");
    let times: Vec<_> = history
        .iter()
        .filter_map(|event| event.event_time)
        .collect();
    assert!(
        times.is_sorted_by_key(|time| (time.seconds, time.nanos)),
        "time goes on from where it was: {times:?}"
    );
    Ok(())
}

/// Of what was started while the backup was made, a beginning is there and the rest is not.
async fn a_beginning_is_there(client: &Client, started: &[(String, String)]) -> Result<(), Error> {
    let mut there = 0;
    for (id, run_id) in started {
        match client.history(id, run_id).await {
            Ok(_) => there += 1,
            Err(Error::Call(status)) if status.code() == Code::NotFound => break,
            Err(other) => return Err(other),
        }
    }
    for (id, run_id) in &started[there..] {
        let missing = client.history(id, run_id).await;
        assert!(missing.is_err(), "{id} is there, and one before is not");
    }
    assert!(there > 0, "the load was in it");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restored_cluster_has_all_that_was_acknowledged_before_the_backup_and_goes_on()
-> Result<(), Error> {
    let mut cluster = Cluster::start(3).await?;
    let client = clients(&cluster);
    let stop = Arc::new(AtomicBool::new(false));
    let during = tokio::spawn(load(client.clone(), stop.clone()));

    let claims = claims(&client).await?;
    let known = client.start("load", "known", "nobody", &[]).await?;
    let before = client.history("known", &known).await?;
    let follower = cluster.leader().await? % 3 + 1;
    let backup = cluster.folder().join("backup");
    let (address, to) = (
        cluster.addresses(follower).grpc.clone(),
        backup.display().to_string(),
    );
    let make = [
        "backup",
        "--address",
        &address,
        "--out",
        &to,
        "--output",
        "json",
    ];
    let made = steadfast(&make).await?.succeeded()?.json()?;
    assert_eq!(made["node_id"], follower, "the node that was asked gave it");
    let refused = steadfast(&make).await?.refused()?;
    assert!(refused.contains("not empty"), "{refused}");

    stop.store(true, Ordering::Relaxed);
    let started = during
        .await
        .map_err(|error| Error::Program(error.to_string()))??;
    // What the old cluster does after the backup does not count.
    let late = client.start("load", "late", "nobody", &[]).await?;
    for id in 1..=3 {
        cluster.kill(id)?;
    }

    let out = cluster.folder().join("restored");
    let restored = restore(&cluster, &backup, &out).await?;
    assert_ne!(restored["cluster_id"], made["cluster_id"]);
    assert_eq!(restored["from_cluster_id"], made["cluster_id"]);
    for id in 1..=3 {
        cluster.move_data_dir(id, out.join(format!("node-{id}")));
        cluster.restart(id)?;
    }
    for id in 1..=3 {
        cluster.wait_ready(id).await?;
    }
    let status = steadfast(&[
        "cluster",
        "status",
        "--address",
        &address,
        "--output",
        "json",
    ])
    .await?
    .succeeded()?
    .json()?;
    assert_eq!(status["cluster_id"], restored["cluster_id"]);

    // All that was acknowledged before is there; of what came with the backup, a beginning.
    assert_eq!(client.history("known", &known).await?, before);
    a_beginning_is_there(&client, &started).await?;
    assert!(client.history("late", &late).await.is_err());

    claims_are_void(&client, &claims).await?;
    let new = client.start("load", "new", "nobody", &[]).await?;
    let (new, before) = (client.history("new", &new).await?, last_time(&before));
    assert!(last_time(&new).map(|time| time.seconds) >= before.map(|time| time.seconds));
    let digest = ["cluster", "digest", "--address", &address];
    steadfast(&digest).await?.succeeded()?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_backup_is_refused_in_one_line() -> Result<(), Error> {
    let folder = tempfile::tempdir().map_err(io("temporary folder"))?;
    let path = |name: &str| folder.path().join(name).display().to_string();
    std::fs::create_dir_all(path("none")).map_err(io("folder"))?;
    let (none, out) = (path("none"), path("out"));
    let restore = |members: &'static str| {
        let (none, out) = (none.clone(), out.clone());
        async move {
            let all = [
                "restore",
                "--backup",
                &none,
                "--out",
                &out,
                "--initial-members",
                members,
            ];
            steadfast(&all).await?.refused()
        }
    };
    let line = restore("1=a:1,2=b:1,3=c:1").await?;
    assert!(line.contains("no backup was finished there"), "{line}");
    let line = restore("1=a:1,2=b:1").await?;
    assert!(line.contains("1, 3 or 5"), "{line}");
    let backup = ["backup", "--address", "127.0.0.1:1", "--out", &out];
    let line = steadfast(&backup).await?.refused()?;
    assert!(line.contains("cannot connect"), "{line}");
    assert!(!folder.path().join("out").exists(), "nothing was made");
    Ok(())
}
