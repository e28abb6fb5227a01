//! `steadfast dev` as a user has it: real processes, killed for real.

#![expect(clippy::unwrap_used, reason = "a failing step of a test ends it")]

use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use steadfast::cli::dev::file::DevFile;
use steadfast::cli::http_get;
use steadfast::http::LeaderAnswer;
use steadfast_proto::temporal::common::v1::WorkflowType;
use steadfast_proto::temporal::history::v1::history_event::Attributes;
use steadfast_proto::temporal::taskqueue::v1::TaskQueue;
use steadfast_proto::temporal::workflowservice::v1 as wire;
use steadfast_sdk::RawClient;
use steadfast_sdk::client::{RawWorker, command, execution, payloads};
use tokio::time::{Instant, sleep};

/// Generous, because tests share their machine.
const LIMIT: Duration = Duration::from_secs(60);

/// A running `dev`, killed when the test ends.
struct Dev {
    child: Child,
    data_dir: PathBuf,
}

impl Dev {
    fn start(data_dir: &Path, args: &[&str]) -> Dev {
        let child = dev_command(data_dir, args).spawn().unwrap();
        Dev {
            child,
            data_dir: data_dir.into(),
        }
    }

    fn pid(&self) -> u32 {
        self.child.id()
    }

    async fn ready(&mut self) -> DevFile {
        self.file_where("all nodes serve", |_| true).await
    }

    /// The content of dev.json once it fulfils a condition.
    async fn file_where(&mut self, what: &str, fits: impl Fn(&DevFile) -> bool) -> DevFile {
        let deadline = Instant::now() + LIMIT;
        loop {
            if let Ok(file) = DevFile::read(&self.data_dir.join("dev.json"))
                && fits(&file)
            {
                return file;
            }
            assert!(
                self.child.try_wait().unwrap().is_none(),
                "dev ended before: {what}"
            );
            assert!(Instant::now() < deadline, "not within a minute: {what}");
            sleep(Duration::from_millis(50)).await;
        }
    }

    async fn ended(&mut self, limit: Duration) -> Option<i32> {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            assert!(
                Instant::now() < deadline,
                "dev did not end within {limit:?}"
            );
            sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        if self.child.try_wait().is_ok_and(|ended| ended.is_none()) {
            signal(self.pid(), Signal::KILL);
            self.child.wait().ok();
        }
    }
}

fn dev_command(data_dir: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_steadfast"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("STEADFAST_")) {
        command.env_remove(name);
    }
    command
        .arg("dev")
        .arg("--data-dir")
        .arg(data_dir)
        .args(args)
        .stdin(Stdio::null());
    command
}

fn pid(pid: u32) -> Pid {
    Pid::from_raw(i32::try_from(pid).unwrap()).unwrap()
}

fn signal(process: u32, signal: Signal) {
    kill_process(pid(process), signal).ok();
}

async fn gone(process: u32) {
    let deadline = Instant::now() + Duration::from_secs(5);
    while test_kill_process(pid(process)).is_ok() {
        assert!(
            Instant::now() < deadline,
            "process {process} outlived its parent"
        );
        sleep(Duration::from_millis(20)).await;
    }
}

async fn leader(file: &DevFile) -> u64 {
    let deadline = Instant::now() + LIMIT;
    loop {
        for node in &file.nodes {
            let asked = http_get::get(&node.http, "/leader", Duration::from_secs(1)).await;
            let answer = asked
                .ok()
                .and_then(|(_, body)| serde_json::from_slice(&body).ok());
            if answer.is_some_and(|answer: LeaderAnswer| answer.leads && answer.ready) {
                return node.id;
            }
        }
        assert!(Instant::now() < deadline, "no leader");
        sleep(Duration::from_millis(50)).await;
    }
}

/// Starts a workflow of one activity and does its worker's part.
async fn run_workflow(client: &RawClient, workflow_id: &str) {
    let request = wire::StartWorkflowExecutionRequest {
        workflow_id: workflow_id.into(),
        workflow_type: Some(WorkflowType { name: "one".into() }),
        task_queue: Some(TaskQueue {
            name: "dev-test".into(),
            ..Default::default()
        }),
        input: Some(payloads(b"in")),
        ..Default::default()
    };
    let run_id = client.start(request, LIMIT).await.unwrap();
    let mut worker = RawWorker::new(client, 0, "dev-test", None);
    let task = worker
        .poll_workflow_task()
        .await
        .unwrap()
        .expect("a workflow task");
    assert_eq!(task.run_id(), run_id);
    let schedule = command::schedule_activity("1", "echo", "dev-test", payloads(b"x"), 60);
    worker
        .complete_workflow_task(task.token(), vec![schedule])
        .await
        .unwrap();
    let activity = worker
        .poll_activity_task()
        .await
        .unwrap()
        .expect("an activity task");
    worker
        .complete_activity(activity.task_token, Some(payloads(b"y")))
        .await
        .unwrap();
    let task = worker
        .poll_workflow_task()
        .await
        .unwrap()
        .expect("a second workflow task");
    let complete = command::complete_workflow(Some(payloads(b"out")));
    worker
        .complete_workflow_task(task.token(), vec![complete])
        .await
        .unwrap();
    let close = client
        .closed(execution(workflow_id, &run_id), LIMIT)
        .await
        .unwrap();
    assert!(matches!(
        close.attributes,
        Some(Attributes::WorkflowExecutionCompletedEventAttributes(_))
    ));
}

#[tokio::test]
async fn three_nodes_lose_their_leader_and_stop_together() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let mut dev = Dev::start(&data, &["--port", "0", "--http-port", "0"]);
    let file = dev.ready().await;
    assert_eq!(file.nodes.len(), 3);
    assert_eq!(file.pid, dev.pid());
    assert!(!file.cluster_id.is_empty());
    let front_http = http_get::get(&file.http, "/health/ready", Duration::from_secs(5)).await;
    assert_eq!(front_http.unwrap().0, 200);
    let front = RawClient::connect(std::slice::from_ref(&file.grpc), "default", LIMIT)
        .await
        .unwrap();
    run_workflow(&front, "before").await;

    let second = dev_command(&data, &["--port", "0", "--http-port", "0"])
        .output()
        .unwrap();
    let line = String::from_utf8_lossy(&second.stderr).to_string();
    assert_eq!(second.status.code(), Some(1), "{line}");
    assert_eq!(line.lines().count(), 1, "{line}");
    assert!(line.contains(&format!("process {}", dev.pid())), "{line}");

    let old_leader = leader(&file).await;
    let old = file
        .nodes
        .iter()
        .find(|node| node.id == old_leader)
        .unwrap()
        .clone();
    signal(old.pid, Signal::KILL);
    run_workflow(&front, "without node").await;
    let again = |file: &DevFile| {
        file.nodes
            .iter()
            .any(|node| node.id == old.id && node.pid != old.pid)
    };
    let file = dev.file_where("the node runs again", again).await;
    let same = file.nodes.iter().find(|node| node.id == old.id).unwrap();
    assert_eq!(
        (&same.grpc, &same.raft, &same.http),
        (&old.grpc, &old.raft, &old.http)
    );
    run_workflow(&front, "after").await;

    signal(dev.pid(), Signal::TERM);
    assert_eq!(dev.ended(Duration::from_secs(11)).await, Some(0));
    for node in &file.nodes {
        gone(node.pid).await;
    }
    assert!(!data.join("dev.json").exists());

    // The same cluster comes back with what it had.
    let mut dev = Dev::start(&data, &["--port", "0", "--http-port", "0"]);
    let file = dev.ready().await;
    let front = RawClient::connect(std::slice::from_ref(&file.grpc), "default", LIMIT)
        .await
        .unwrap();
    for workflow_id in ["before", "without node", "after"] {
        front
            .closed(execution(workflow_id, ""), LIMIT)
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn nodes_die_with_a_parent_that_was_killed() {
    let dir = tempfile::tempdir().unwrap();
    let mut dev = Dev::start(
        dir.path(),
        &["--port", "0", "--http-port", "0", "--nodes", "1"],
    );
    let file = dev.ready().await;
    signal(dev.pid(), Signal::KILL);
    dev.child.wait().unwrap();
    gone(file.nodes[0].pid).await;
}

#[tokio::test]
async fn an_ephemeral_cluster_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let args = [
        "--port",
        "0",
        "--http-port",
        "0",
        "--nodes",
        "1",
        "--ephemeral",
    ];
    let child = dev_command(dir.path(), &args)
        .env("TMPDIR", dir.path())
        .spawn()
        .unwrap();
    let deadline = Instant::now() + LIMIT;
    let data_dir = loop {
        let found = std::fs::read_dir(dir.path())
            .unwrap()
            .flatten()
            .map(|entry| entry.path());
        if let Some(path) = found
            .into_iter()
            .find(|path| path.join("dev.json").exists())
        {
            break path;
        }
        assert!(Instant::now() < deadline, "the cluster does not serve");
        sleep(Duration::from_millis(50)).await;
    };
    let mut dev = Dev { child, data_dir };
    signal(dev.pid(), Signal::INT);
    assert_eq!(dev.ended(Duration::from_secs(11)).await, Some(0));
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn a_port_in_use_is_one_line_that_says_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let output = dev_command(dir.path(), &["--port", &port, "--http-port", "0"])
        .output()
        .unwrap();
    let line = String::from_utf8_lossy(&output.stderr).to_string();
    assert_eq!(output.status.code(), Some(1), "{line}");
    assert_eq!(line.lines().count(), 1, "{line}");
    // The usual ports of the nodes may be taken too on a machine where a cluster runs.
    assert!(
        line.contains("is in use") && line.contains("--port 0"),
        "{line}"
    );
}
