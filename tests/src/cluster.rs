//! Real node processes on loopback.

use crate::program::Program;
use crate::{Error, io};
use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};
use steadfast_proto::internal::admin::v1 as admin;
use tempfile::TempDir;
use tonic::transport::Channel;

/// The addresses of one node.
#[derive(Debug, Clone)]
pub struct Addresses {
    /// Clients and workers.
    pub grpc: String,
    /// Other nodes.
    pub raft: String,
    /// Health and metrics.
    pub http: String,
}

/// A cluster of processes of the binary under test.
#[derive(Debug)]
pub struct Cluster {
    folder: TempDir,
    addresses: BTreeMap<u64, Addresses>,
    nodes: BTreeMap<u64, Program>,
    options: Vec<String>,
    /// Nodes that came later, with the Raft address that each was told to join.
    joined: BTreeMap<u64, String>,
    /// Data directories that are elsewhere.
    moved: BTreeMap<u64, PathBuf>,
    /// More options of one node.
    own_options: BTreeMap<u64, Vec<String>>,
}

const READY: Duration = Duration::from_secs(30);

impl Cluster {
    /// Starts nodes and waits until each serves.
    ///
    /// # Errors
    /// [`Error`] with the nodes' output when one does not come up.
    pub async fn start(count: u64) -> Result<Self, Error> {
        Self::start_with(count, &[]).await
    }

    /// The same with more options for each node.
    ///
    /// # Errors
    /// [`Error`] with the nodes' output when one does not come up.
    pub async fn start_with(count: u64, options: &[&str]) -> Result<Self, Error> {
        let folder = tempfile::tempdir().map_err(io("temporary folder"))?;
        let ports = free_ports(usize::try_from(count * 3).unwrap_or(usize::MAX))?;
        let addresses = (1..=count)
            .zip(ports.chunks(3))
            .map(|(id, ports)| {
                let [grpc, raft, http] = [0, 1, 2].map(|n| format!("127.0.0.1:{}", ports[n]));
                (id, Addresses { grpc, raft, http })
            })
            .collect();
        let options = options.iter().map(|option| (*option).to_owned()).collect();
        let mut cluster = Self {
            folder,
            addresses,
            nodes: BTreeMap::new(),
            options,
            joined: BTreeMap::new(),
            moved: BTreeMap::new(),
            own_options: BTreeMap::new(),
        };
        for id in 1..=count {
            cluster.restart(id)?;
        }
        for id in 1..=count {
            cluster.wait_ready(id).await?;
        }
        Ok(cluster)
    }

    /// Starts a node that is not running, on its data directory.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn restart(&mut self, id: u64) -> Result<(), Error> {
        let members: Vec<String> = self
            .addresses
            .iter()
            .filter(|(id, _)| !self.joined.contains_key(*id))
            .map(|(id, node)| format!("{id}={}", node.raft))
            .collect();
        let node = &self.addresses[&id];
        let mut command = Command::new(binary()?);
        command
            .args([
                "server",
                "--cluster-name",
                "test",
                "--node-id",
                &id.to_string(),
            ])
            .args(["--data-dir".as_ref(), self.data_dir(id).as_os_str()])
            .args(["--grpc-address", &node.grpc, "--raft-address", &node.raft])
            .args(["--http-address", &node.http])
            .args(&self.options)
            .args(self.own_options.get(&id).into_iter().flatten());
        match self.joined.get(&id) {
            Some(address) => command.args(["--join", address]),
            None => command.args(["--initial-members", &members.join(",")]),
        };
        let program = Program::start(&format!("node {id}"), &mut command)?;
        self.nodes.insert(id, program);
        Ok(())
    }

    /// From its next start on, a node has this data directory.
    pub fn move_data_dir(&mut self, id: u64, dir: PathBuf) {
        self.moved.insert(id, dir);
    }

    /// From its next start on, a node has these options besides those of all.
    pub fn set_options(&mut self, id: u64, options: &[&str]) {
        let options = options.iter().map(|option| (*option).to_owned());
        self.own_options.insert(id, options.collect());
    }

    /// The folder in which everything of this cluster lies.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Starts a new node that joins at the Raft address of node `at`.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn join(&mut self, id: u64, at: u64) -> Result<(), Error> {
        let ports = free_ports(3)?;
        let [grpc, raft, http] = [0, 1, 2].map(|n| format!("127.0.0.1:{}", ports[n]));
        self.joined.insert(id, self.addresses[&at].raft.clone());
        self.addresses.insert(id, Addresses { grpc, raft, http });
        self.restart(id)
    }

    /// Waits for the end of a node that ends by itself; gives its exit code and its last words.
    ///
    /// # Errors
    /// [`Error::TimedOut`] after 30 s.
    pub async fn ended(&mut self, id: u64) -> Result<(Option<i32>, String), Error> {
        let Some(node) = self.nodes.get_mut(&id) else {
            return Err(Error::Program(format!("node {id} does not run")));
        };
        let status = node.wait(READY).await?;
        let output = self.output(id);
        self.nodes.remove(&id);
        Ok((status.code(), output))
    }

    /// Waits until a node serves linearizable reads.
    ///
    /// # Errors
    /// [`Error::TimedOut`] with its output.
    pub async fn wait_ready(&self, id: u64) -> Result<(), Error> {
        let deadline = Instant::now() + READY;
        while !ready(&self.addresses[&id].http).await {
            if Instant::now() > deadline {
                return Err(Error::TimedOut(format!(
                    "node {id} is not ready:\n{}",
                    self.output(id)
                )));
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }

    /// `kill -9`.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn kill(&mut self, id: u64) -> Result<(), Error> {
        self.nodes
            .remove(&id)
            .map_or(Ok(()), |mut node| node.kill())
    }

    /// SIGTERM, and waits for the end.
    ///
    /// # Errors
    /// [`Error::TimedOut`] after 12 s.
    pub async fn stop(&mut self, id: u64) -> Result<std::process::ExitStatus, Error> {
        let Some(mut node) = self.nodes.remove(&id) else {
            return Err(Error::Program(format!("node {id} does not run")));
        };
        node.terminate()?;
        node.wait(Duration::from_secs(12)).await
    }

    /// The leader, as the nodes that run say it.
    ///
    /// # Errors
    /// [`Error::TimedOut`] when there is none for 15 s.
    pub async fn leader(&self) -> Result<u64, Error> {
        let deadline = Instant::now() + Duration::from_secs(15);
        loop {
            for id in self.nodes.keys() {
                let Ok(mut client) = self.admin(*id).await else {
                    continue;
                };
                let Ok(status) = client.status(admin::StatusRequest {}).await else {
                    continue;
                };
                let leader = status.get_ref().leader;
                if leader != 0 && leader == *id {
                    return Ok(leader);
                }
            }
            if Instant::now() > deadline {
                let outputs: Vec<String> = self.nodes.keys().map(|id| self.output(*id)).collect();
                return Err(Error::TimedOut(format!(
                    "no leader:\n{}",
                    outputs.join("\n")
                )));
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// A client of a node's admin service.
    ///
    /// # Errors
    /// [`Error::Program`] when it can't be reached.
    pub async fn admin(
        &self,
        id: u64,
    ) -> Result<admin::admin_service_client::AdminServiceClient<Channel>, Error> {
        let channel = connect(&self.addresses[&id].grpc).await?;
        Ok(admin::admin_service_client::AdminServiceClient::new(
            channel,
        ))
    }

    /// Where a node listens.
    #[must_use]
    pub fn addresses(&self, id: u64) -> &Addresses {
        &self.addresses[&id]
    }

    /// All ids, running or not.
    #[must_use]
    pub fn ids(&self) -> Vec<u64> {
        self.addresses.keys().copied().collect()
    }

    /// A node's data directory.
    #[must_use]
    pub fn data_dir(&self, id: u64) -> PathBuf {
        let own = || self.folder.path().join(format!("node-{id}"));
        self.moved.get(&id).cloned().unwrap_or_else(own)
    }

    /// What a running node has printed.
    #[must_use]
    pub fn output(&self, id: u64) -> String {
        let lines = self.nodes.get(&id).map(Program::lines).unwrap_or_default();
        format!("node {id}:\n{}", lines.join("\n"))
    }

    /// Process ids of the running nodes.
    #[must_use]
    pub fn pids(&self) -> Vec<u32> {
        self.nodes.values().map(Program::pid).collect()
    }
}

/// Connects to a gRPC address within a second or two.
///
/// # Errors
/// [`Error::Program`] when nobody answers.
pub async fn connect(address: &str) -> Result<Channel, Error> {
    Channel::from_shared(format!("http://{address}"))
        .map_err(|error| Error::Program(format!("address {address}: {error}")))?
        .connect_timeout(Duration::from_secs(2))
        .connect()
        .await
        .map_err(|error| Error::Program(format!("connect to {address}: {error}")))
}

/// The binary under test: `STEADFAST_BIN`, or the one beside this test's folder.
///
/// # Errors
/// [`Error::Program`] when it was not built.
pub fn binary() -> Result<PathBuf, Error> {
    if let Some(path) = std::env::var_os("STEADFAST_BIN") {
        return Ok(PathBuf::from(path));
    }
    let test = std::env::current_exe().map_err(io("own path"))?;
    let built = test
        .ancestors()
        .nth(2)
        .unwrap_or(Path::new("."))
        .join("steadfast");
    if built.exists() {
        return Ok(built);
    }
    Err(Error::Program(format!(
        "build it first: cargo build -p steadfast ({})",
        built.display()
    )))
}

/// Ports that were free a moment ago; each call gives others.
///
/// # Errors
/// [`Error::Io`].
pub fn free_ports(count: usize) -> Result<Vec<u16>, Error> {
    let sockets: Vec<TcpListener> = (0..count)
        .map(|_| TcpListener::bind("127.0.0.1:0"))
        .collect::<Result<_, _>>()
        .map_err(io("bind a free port"))?;
    sockets
        .iter()
        .map(|socket| {
            socket
                .local_addr()
                .map(|address| address.port())
                .map_err(io("port"))
        })
        .collect()
}

/// Whether `/health/ready` answers 200.
pub async fn ready(http: &str) -> bool {
    matches!(http_get(http, "/health/ready").await, Ok((200, _)))
}

/// A plain GET: status and body.
///
/// # Errors
/// [`Error::Io`].
pub async fn http_get(address: &str, path: &str) -> Result<(u16, String), Error> {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let what = || format!("GET http://{address}{path}");
    let mut stream = tokio::net::TcpStream::connect(address)
        .await
        .map_err(io(what()))?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream
        .write_all(request.as_bytes())
        .await
        .map_err(io(what()))?;
    let mut answer = String::new();
    stream
        .read_to_string(&mut answer)
        .await
        .map_err(io(what()))?;
    let status = answer
        .split(' ')
        .nth(1)
        .and_then(|code| code.parse().ok())
        .unwrap_or(0);
    let body = answer
        .split_once("\r\n\r\n")
        .map(|(_, body)| body.to_owned())
        .unwrap_or_default();
    Ok((status, body))
}
