//! One node's process: started, started again when it dies, stopped with its parent.

use crate::cli::dev::file::DevNode;
use crate::cli::server::SeedArgs;
use rustix::process::{Pid, Signal, kill_process};
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;
use steadfast_proto::temporal::enums::v1::IndexedValueType;
use tokio::process::{Child, Command};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

/// A dead node is started again after this.
const AGAIN: Duration = Duration::from_secs(1);
/// After [`QUICK_ENDS_MAX`] lives shorter than [`QUICK`], this: a node that cannot start must not
/// fill the terminal.
const AGAIN_SLOWLY: Duration = Duration::from_secs(10);
const QUICK: Duration = Duration::from_secs(5);
const QUICK_ENDS_MAX: u32 = 5;
/// A node promises to be gone 10 s after SIGTERM; the parent has promised the same.
const STOP_LIMIT: Duration = Duration::from_secs(9);

/// How to start a node.
#[derive(Debug, Clone)]
pub struct ChildSpec {
    /// The program, which is this one.
    pub executable: PathBuf,
    /// Its addresses and directory.
    pub node: DevNode,
    /// `--initial-members`.
    pub members: String,
    /// What a new cluster begins with.
    pub seed: SeedArgs,
}

/// What became of a node's process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Happened {
    /// It was started.
    Started {
        /// The node.
        id: u64,
        /// Its process.
        pid: u32,
    },
    /// It ended without being asked to.
    Ended {
        /// The node.
        id: u64,
        /// The process that ended.
        pid: u32,
        /// How, in words.
        status: String,
        /// It was killed; otherwise it gave up by itself.
        by_signal: bool,
        /// When it will be started again.
        again_in: Duration,
    },
    /// The operating system refused to start it.
    CannotStart {
        /// The node.
        id: u64,
        /// Its words.
        why: String,
    },
}

/// Keeps a node running until `stop`, then stops it.
pub async fn supervise(spec: ChildSpec, tell: mpsc::Sender<Happened>, stop: CancellationToken) {
    let id = spec.node.id;
    let mut quick_ends = 0;
    loop {
        let began = Instant::now();
        let mut child = match command(&spec).spawn() {
            Ok(child) => child,
            Err(error) => {
                // When nobody listens any more, the parent is ending.
                tell.send(Happened::CannotStart {
                    id,
                    why: error.to_string(),
                })
                .await
                .ok();
                return;
            }
        };
        let pid = child.id().unwrap_or_default();
        tell.send(Happened::Started { id, pid }).await.ok();
        let status = tokio::select! {
            status = child.wait() => status,
            () = stop.cancelled() => return end(child).await,
        };
        let (status, by_signal) = in_words(status);
        quick_ends = if began.elapsed() < QUICK && !by_signal {
            quick_ends + 1
        } else {
            0
        };
        let again_in = if quick_ends >= QUICK_ENDS_MAX {
            AGAIN_SLOWLY
        } else {
            AGAIN
        };
        tell.send(Happened::Ended {
            id,
            pid,
            status,
            by_signal,
            again_in,
        })
        .await
        .ok();
        tokio::select! {
            () = sleep(again_in) => {}
            () = stop.cancelled() => return,
        }
    }
}

fn command(spec: &ChildSpec) -> Command {
    let node = &spec.node;
    let mut command = Command::new(&spec.executable);
    command
        .arg("server")
        .args(["--node-id", &node.id.to_string()])
        .args(["--cluster-name", "dev"])
        .arg("--data-dir")
        .arg(&node.data_dir)
        .args(["--grpc-address", &node.grpc])
        .args(["--raft-address", &node.raft])
        .args(["--http-address", &node.http])
        .args(["--initial-members", &spec.members])
        .args(["--dev-parent", &std::process::id().to_string()]);
    for namespace in &spec.seed.namespace {
        command.args(["--namespace", namespace]);
    }
    for (name, kind) in &spec.seed.search_attribute {
        command.args([
            "--search-attribute",
            &format!("{name}={}", kind_name(*kind)),
        ]);
    }
    for (key, value) in &spec.seed.dynamic_config_value {
        command.args(["--dynamic-config-value", &format!("{key}={value}")]);
    }
    // The parent's own options must not reach a node by way of the environment.
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("STEADFAST_") && !text.starts_with("STEADFAST_LOG_") {
            command.env_remove(&name);
        }
    }
    // Ctrl-C on the terminal is for the parent alone; it stops its nodes in order.
    command
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .process_group(0);
    command
}

fn kind_name(kind: i32) -> &'static str {
    match IndexedValueType::try_from(kind).unwrap_or_default() {
        IndexedValueType::Text => "Text",
        IndexedValueType::Keyword | IndexedValueType::Unspecified => "Keyword",
        IndexedValueType::Int => "Int",
        IndexedValueType::Double => "Double",
        IndexedValueType::Bool => "Bool",
        IndexedValueType::Datetime => "Datetime",
        IndexedValueType::KeywordList => "KeywordList",
    }
}

async fn end(mut child: Child) {
    let pid = child
        .id()
        .and_then(|pid| i32::try_from(pid).ok())
        .and_then(Pid::from_raw);
    if let Some(pid) = pid {
        // It may have ended this moment.
        kill_process(pid, Signal::TERM).ok();
    }
    if timeout(STOP_LIMIT, child.wait()).await.is_err() {
        child.kill().await.ok();
    }
}

fn in_words(status: std::io::Result<std::process::ExitStatus>) -> (String, bool) {
    use std::os::unix::process::ExitStatusExt;
    match status {
        Ok(status) => match (status.signal(), status.code()) {
            (Some(signal), _) => (format!("killed by signal {signal}"), true),
            (None, Some(code)) => (format!("exit code {code}"), false),
            (None, None) => (status.to_string(), false),
        },
        Err(error) => (error.to_string(), false),
    }
}
