//! `steadfast dev`: a cluster on this machine, as real processes, behind one front door.

pub mod child;
pub mod file;
pub mod lock;
pub mod ports;

use crate::cli::proxy::backend::{Backend, Backends, Lane};
use crate::cli::proxy::front::{CONNECTIONS_MAX, Front};
use crate::cli::server::SeedArgs;
use crate::cli::{Failure, asked_to_end, http_get, one_thread_runtime, say};
use child::{ChildSpec, Happened};
use file::{DevFile, DevNode};
use ports::NodePorts;
use std::path::{Path, PathBuf};
use std::time::Duration;
use steadfast_proto::internal::admin::v1 as admin;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

/// A cluster that does not serve after this long has something wrong with it.
const START_LIMIT: Duration = Duration::from_secs(60);
/// Between two questions whether a node serves.
const START_POLL: Duration = Duration::from_millis(50);

/// Options of `steadfast dev`.
#[derive(Debug, Clone, clap::Args)]
pub struct DevArgs {
    /// How many nodes: 1, 3 or 5
    #[arg(long, env = "STEADFAST_NODES", default_value = "3", value_name = "1|3|5",
          value_parser = nodes)]
    pub nodes: u64,
    /// Where the nodes keep log and state
    #[arg(
        long,
        env = "STEADFAST_DATA_DIR",
        default_value = "steadfast-data",
        value_name = "DIR"
    )]
    pub data_dir: PathBuf,
    /// Keep the data in a temporary directory that is removed at the end
    #[arg(long, env = "STEADFAST_EPHEMERAL")]
    pub ephemeral: bool,
    /// The port for workers and clients; 0 for a free one, and free ones for the nodes
    #[arg(long, env = "STEADFAST_PORT", default_value_t = 7233)]
    pub port: u16,
    /// The port for health and metrics; 0 for a free one
    #[arg(long, env = "STEADFAST_HTTP_PORT", default_value_t = 8233)]
    pub http_port: u16,
    /// What the cluster begins with
    #[command(flatten)]
    pub seed: SeedArgs,
}

fn nodes(text: &str) -> Result<u64, String> {
    match text {
        "1" => Ok(1),
        "3" => Ok(3),
        "5" => Ok(5),
        _ => Err("a cluster has 1, 3 or 5 nodes".into()),
    }
}

/// Why `steadfast dev` cannot start or go on.
#[derive(Debug, thiserror::Error)]
pub enum DevError {
    /// Another `dev` holds the directory.
    #[error(
        "another `steadfast dev` (process {pid}) runs on {dir}; stop it or choose another \
         --data-dir"
    )]
    InUse {
        /// The directory.
        dir: PathBuf,
        /// The holder, as it wrote it.
        pid: String,
    },
    /// The directory was made with another number of nodes.
    #[error(
        "{dir} holds a cluster of {found} nodes; use --nodes {found}, or another --data-dir for a \
         new cluster"
    )]
    OtherSize {
        /// The directory.
        dir: PathBuf,
        /// Its nodes.
        found: usize,
    },
    /// A port is taken.
    #[error(
        "port {port} ({what}) is in use; stop what uses it, or choose others with --port 0 \
         --http-port 0"
    )]
    PortInUse {
        /// The port.
        port: u16,
        /// Whose it is to be.
        what: String,
    },
    /// No free port was found.
    #[error("found no free port between {0} and {1}")]
    NoFreePort(u16, u16),
    /// A file of the data directory cannot be used.
    #[error("{path}: {why}")]
    File {
        /// The file.
        path: PathBuf,
        /// What went wrong.
        why: String,
    },
    /// A node ended before the cluster served; its own line says why.
    #[error("node {id} did not start ({status}); its line above says why")]
    NodeFailed {
        /// The node.
        id: u64,
        /// Its exit status.
        status: String,
    },
    /// A node does not get ready.
    #[error("node {id} does not serve after {} s; see its lines above", START_LIMIT.as_secs())]
    NotReady {
        /// The node.
        id: u64,
    },
    /// The operating system refused something.
    #[error("{what}: {source}")]
    System {
        /// What was tried.
        what: String,
        /// The answer.
        source: std::io::Error,
    },
}

impl From<DevError> for Failure {
    fn from(error: DevError) -> Failure {
        Failure::Failed(error.to_string())
    }
}

/// Runs a cluster until Ctrl-C or SIGTERM.
pub fn run(args: DevArgs) -> Result<(), Failure> {
    // One thread: children are started from it, and they end when their parent's thread does.
    let runtime = one_thread_runtime()?;
    if !args.ephemeral {
        return runtime.block_on(dev(&args, &args.data_dir));
    }
    let name = format!("steadfast-dev-{}", uuid::Uuid::new_v4());
    let dir = std::env::temp_dir().join(name);
    let result = runtime.block_on(dev(&args, &dir));
    std::fs::remove_dir_all(&dir)
        .map_err(|error| Failure::failed(format!("cannot remove {}: {error}", dir.display())))?;
    result
}

async fn dev(args: &DevArgs, data_dir: &Path) -> Result<(), Failure> {
    let file_error = |error: std::io::Error| DevError::File {
        path: data_dir.into(),
        why: error.to_string(),
    };
    std::fs::create_dir_all(data_dir).map_err(file_error)?;
    let data_dir = std::fs::canonicalize(data_dir).map_err(file_error)?;
    let _lock = lock::take(&data_dir)?;
    DevFile::remove(&data_dir)?;
    let ports = ports::settle(&data_dir, args.nodes, args.port == 0)?;
    let grpc = listen(args.port, "the front door, --port").await?;
    let http = listen(args.http_port, "the front door, --http-port").await?;
    let specs = child_specs(args, &data_dir, &ports)?;
    Cluster::start(data_dir, specs, grpc, http)?.run().await
}

async fn listen(port: u16, what: &str) -> Result<TcpListener, DevError> {
    TcpListener::bind(("127.0.0.1", port))
        .await
        .map_err(|error| match error.kind() {
            std::io::ErrorKind::AddrInUse => DevError::PortInUse {
                port,
                what: what.into(),
            },
            _ => DevError::System {
                what: format!("cannot listen on port {port}"),
                source: error,
            },
        })
}

fn child_specs(
    args: &DevArgs,
    data_dir: &Path,
    ports: &[NodePorts],
) -> Result<Vec<ChildSpec>, DevError> {
    let executable = std::env::current_exe().map_err(|source| DevError::System {
        what: "cannot find this program's own file".into(),
        source,
    })?;
    let members: Vec<String> = ports
        .iter()
        .map(|node| format!("{}=127.0.0.1:{}", node.id, node.raft))
        .collect();
    let members = members.join(",");
    Ok(ports
        .iter()
        .map(|node| ChildSpec {
            executable: executable.clone(),
            node: DevNode {
                id: node.id,
                pid: 0,
                grpc: format!("127.0.0.1:{}", node.grpc),
                raft: format!("127.0.0.1:{}", node.raft),
                http: format!("127.0.0.1:{}", node.http),
                data_dir: data_dir.join(format!("node-{}", node.id)),
            },
            members: members.clone(),
            seed: args.seed.clone(),
        })
        .collect())
}

/// The running cluster, from the parent's point of view.
#[derive(Debug)]
struct Cluster {
    data_dir: PathBuf,
    file: DevFile,
    /// The file is written once all nodes serve, then whenever a node was started again.
    published: bool,
    happened: mpsc::Receiver<Happened>,
    children: JoinSet<()>,
    /// Ends the children.
    stop: CancellationToken,
    /// Ends the front doors, before the children.
    close: CancellationToken,
}

impl Cluster {
    fn start(
        data_dir: PathBuf,
        specs: Vec<ChildSpec>,
        grpc: TcpListener,
        http: TcpListener,
    ) -> Result<Cluster, Failure> {
        let stop = CancellationToken::new();
        let close = CancellationToken::new();
        let file = DevFile {
            cluster_id: String::new(),
            grpc: grpc.local_addr().map_err(Failure::failed)?.to_string(),
            http: http.local_addr().map_err(Failure::failed)?.to_string(),
            pid: std::process::id(),
            nodes: specs.iter().map(|spec| spec.node.clone()).collect(),
        };
        let nodes: Vec<Backend> = file
            .nodes
            .iter()
            .map(|node| Backend {
                grpc: node.grpc.clone(),
                http: node.http.clone(),
            })
            .collect();
        let backends = Backends::watch(nodes, close.clone());
        for (lane, listener) in [(Lane::Grpc, grpc), (Lane::Http, http)] {
            let front = Front {
                lane,
                backends: backends.clone(),
                connections: CONNECTIONS_MAX,
            };
            tokio::spawn(front.serve(listener, close.clone()));
        }
        // A node starts and ends at most once a second; the parent reads at once.
        let (sender, happened) = mpsc::channel(64);
        let mut children = JoinSet::new();
        for spec in specs {
            children.spawn(child::supervise(spec, sender.clone(), stop.clone()));
        }
        Ok(Cluster {
            data_dir,
            file,
            published: false,
            happened,
            children,
            stop,
            close,
        })
    }

    async fn run(mut self) -> Result<(), Failure> {
        let result = tokio::select! {
            ended = asked_to_end() => ended.map_err(Failure::failed),
            result = self.watch() => result.map_err(Failure::from),
        };
        if self.published {
            say("steadfast dev: stopping");
        }
        self.close.cancel();
        self.stop.cancel();
        let children = std::mem::take(&mut self.children);
        // The children end within 10 s, or are killed; a second Ctrl-C kills them now.
        tokio::select! {
            _ = children.join_all() => {}
            _ = asked_to_end() => {}
        }
        DevFile::remove(&self.data_dir)?;
        result
    }

    async fn watch(&mut self) -> Result<(), DevError> {
        let serving = serving(self.file.nodes.clone());
        tokio::pin!(serving);
        loop {
            tokio::select! {
                cluster_id = &mut serving, if !self.published => {
                    self.file.cluster_id = cluster_id?;
                    self.published = true;
                    self.file.write(&self.data_dir)?;
                    self.tell();
                }
                Some(happened) = self.happened.recv() => self.note(happened)?,
            }
        }
    }

    fn note(&mut self, happened: Happened) -> Result<(), DevError> {
        match happened {
            Happened::Started { id, pid } => {
                if let Some(node) = self.file.nodes.iter_mut().find(|node| node.id == id) {
                    node.pid = pid;
                }
                if self.published {
                    self.file.write(&self.data_dir)?;
                    say(&format!("steadfast dev: node {id} runs again (pid {pid})"));
                }
                Ok(())
            }
            Happened::Ended {
                id,
                pid,
                status,
                by_signal,
                again_in,
            } => {
                if !self.published && !by_signal {
                    return Err(DevError::NodeFailed { id, status });
                }
                let seconds = again_in.as_secs();
                say(&format!(
                    "steadfast dev: node {id} (pid {pid}) ended: {status}; starting it again in \
                     {seconds} s"
                ));
                Ok(())
            }
            Happened::CannotStart { id, why } => Err(DevError::System {
                what: format!("cannot start node {id}"),
                source: std::io::Error::other(why),
            }),
        }
    }

    fn tell(&self) {
        let file = &self.file;
        let count = file.nodes.len();
        say(&format!(
            "steadfast dev: {count} nodes serve at {} (gRPC)",
            file.grpc
        ));
        say(&format!("  health and metrics  http://{}", file.http));
        for node in &file.nodes {
            let DevNode {
                id,
                pid,
                grpc,
                raft,
                http,
                ..
            } = node;
            say(&format!(
                "  node {id}  pid {pid}  gRPC {grpc}  Raft {raft}  HTTP {http}"
            ));
        }
        say(&format!(
            "  data in {}; Ctrl-C stops all",
            self.data_dir.display()
        ));
    }
}

/// Waits until every node serves linearizable reads; gives the cluster's id.
async fn serving(nodes: Vec<DevNode>) -> Result<String, DevError> {
    let deadline = Instant::now() + START_LIMIT;
    for node in &nodes {
        let ready = async {
            loop {
                let answer = http_get::get(&node.http, "/health/ready", START_LIMIT).await;
                if matches!(answer, Ok((200, _))) {
                    return;
                }
                tokio::time::sleep(START_POLL).await;
            }
        };
        timeout_at(deadline, ready)
            .await
            .map_err(|_| DevError::NotReady { id: node.id })?;
    }
    let Some(first) = nodes.first() else {
        return Ok(String::new());
    };
    timeout_at(deadline, cluster_id(first))
        .await
        .map_err(|_| DevError::NotReady { id: first.id })
}

async fn cluster_id(node: &DevNode) -> String {
    loop {
        let client = admin::admin_service_client::AdminServiceClient::connect(format!(
            "http://{}",
            node.grpc
        ));
        if let Ok(mut client) = client.await
            && let Ok(answer) = client.status(admin::StatusRequest {}).await
            && !answer.get_ref().cluster_id.is_empty()
        {
            return answer.into_inner().cluster_id;
        }
        tokio::time::sleep(START_POLL).await;
    }
}
