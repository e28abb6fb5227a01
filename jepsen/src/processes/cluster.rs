//! All places, and the nodes on them.

use super::host::{Addresses, Host, Start, address, wire};
use super::machine::Machine;
use super::switch::{Link, Port, Switch};
use super::watch::{self, Watch};
use super::{Trouble, io};
use crate::evidence::Violation;
use crate::workload::Channels;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use steadfast::cli::http_get;
use steadfast_proto::internal::admin::v1 as admin;
use tokio::time::{sleep, timeout};

/// A node that is healthy serves within this, on a slow machine.
pub(super) const READY: Duration = Duration::from_secs(60);
/// The membership changes within this; a new node may have a gigabyte to copy first.
const CHANGED: Duration = Duration::from_secs(240);
const LOOK: Duration = Duration::from_millis(100);
/// What a node says that does not go on with the files it has.
pub(super) const REFUSES: &str = "remove this node from the cluster";
/// The clients' own address in the switch.
const CLIENTS: u8 = 100;

/// The cluster.
#[derive(Debug)]
pub(super) struct Cluster {
    pub(super) hosts: Vec<Host>,
    pub(super) switch: Option<Switch>,
    /// How many nodes there should be; there is one place more.
    pub(super) size: usize,
    founders: String,
    binary: PathBuf,
    logs: PathBuf,
    pub(super) channels: Channels,
    pub(super) watch: Watch,
    next_node: u64,
    /// Nodes that came later, with whom each asked.
    joined: std::collections::BTreeMap<u64, String>,
}

/// What a cluster is made of.
#[derive(Debug)]
pub(super) struct Plan<'a> {
    pub(super) nodes: u8,
    pub(super) seed: u64,
    pub(super) binary: &'a Path,
    pub(super) machine: &'a Machine,
    /// Images and clocks.
    pub(super) scratch: &'a Path,
    /// The nodes' words.
    pub(super) logs: &'a Path,
    pub(super) began: Instant,
    /// Of each disk.
    pub(super) disk_bytes: u64,
}

fn addresses(number: u8, machine: &Machine) -> Result<Addresses, Trouble> {
    if machine.switch.is_ok() {
        let at = address(number);
        return Ok(Addresses {
            grpc: format!("{at}:7233"),
            raft: format!("{at}:7234"),
            http: format!("{at}:8233"),
        });
    }
    let free = || TcpListener::bind("127.0.0.1:0").map_err(io("a free port"));
    let sockets = [free()?, free()?, free()?];
    let mut ports = Vec::new();
    for socket in &sockets {
        let port = socket.local_addr().map_err(io("a port"))?.port();
        ports.push(format!("127.0.0.1:{port}"));
    }
    let [grpc, raft, http] = [0, 1, 2].map(|at| ports[at].clone());
    Ok(Addresses { grpc, raft, http })
}

impl Cluster {
    /// Makes places and starts the founders.
    pub(super) async fn start(plan: &Plan<'_>) -> Result<Cluster, Trouble> {
        let mut hosts = Vec::new();
        for number in 1..=plan.nodes + 1 {
            let addresses = addresses(number, plan.machine)?;
            hosts.push(Host::new(number, addresses, plan)?);
        }
        let switch = match plan.machine.switch {
            Ok(()) => Some(plug(plan.seed, &hosts)?),
            Err(_) => None,
        };
        let channels = Channels::default();
        let founders = hosts.iter().take(usize::from(plan.nodes));
        let founders: Vec<String> = founders
            .map(|host| format!("{}={}", host.number, host.addresses.raft))
            .collect();
        let mut cluster = Cluster {
            hosts,
            switch,
            size: usize::from(plan.nodes),
            founders: founders.join(","),
            binary: plan.binary.to_owned(),
            logs: plan.logs.to_owned(),
            watch: Watch::begin(plan.began, &channels),
            channels,
            next_node: u64::from(plan.nodes) + 1,
            joined: std::collections::BTreeMap::new(),
        };
        for at in 0..cluster.size {
            cluster.start_node(at, at as u64 + 1)?;
        }
        Ok(cluster)
    }

    /// Starts a node on a place.
    pub(super) fn start_node(&mut self, at: usize, node: u64) -> Result<(), Trouble> {
        let members = match self.joined.get(&node) {
            Some(address) => ["--join", address],
            None => ["--initial-members", &self.founders],
        };
        let log = self.logs.join(format!("node-{node}.log"));
        let start = Start {
            binary: &self.binary,
            node,
            members,
            log: &log,
        };
        self.watch.lives_again(node);
        let host = &mut self.hosts[at];
        host.start(&start)?;
        let grpc = host.addresses.grpc.clone();
        self.channels.addresses().nodes.insert(node, grpc);
        Ok(())
    }

    /// A node of a new number on a place with an empty disk, which asks another to join.
    pub(super) fn join(&mut self, at: usize, asks: usize) -> Result<u64, Trouble> {
        let node = self.next_node;
        self.next_node += 1;
        let raft = self.hosts[asks].addresses.raft.clone();
        self.joined.insert(node, raft);
        self.start_node(at, node)?;
        Ok(node)
    }

    /// The nodes are founders of a new cluster, whose data is on their disks.
    pub(super) fn found_again(&mut self) -> String {
        let founders = self.settled().into_iter().map(|at| {
            let host = &self.hosts[at];
            format!("{}={}", host.node.unwrap_or_default(), host.addresses.raft)
        });
        self.founders = founders.collect::<Vec<_>>().join(",");
        self.joined.clear();
        self.founders.clone()
    }

    /// The node of a place is gone for good, with its data.
    pub(super) fn forget(&mut self, at: usize) -> Result<(), Trouble> {
        self.hosts[at].kill()?;
        self.hosts[at].disk.wipe()?;
        self.hosts[at].spoiled = false;
        if let Some(node) = self.hosts[at].node.take() {
            self.channels.addresses().nodes.remove(&node);
        }
        Ok(())
    }

    /// Places with a node that should run.
    pub(super) fn settled(&self) -> Vec<usize> {
        (0..self.hosts.len())
            .filter(|at| self.hosts[*at].node.is_some())
            .collect()
    }

    /// Places whose process runs.
    pub(super) fn running(&self) -> Vec<usize> {
        (0..self.hosts.len())
            .filter(|at| self.hosts[*at].runs())
            .collect()
    }

    /// The place of the leader.
    pub(super) fn leader(&self) -> Option<usize> {
        let leader = self.watch.leader()?;
        self.hosts.iter().position(|host| host.node == Some(leader))
    }

    /// The clients' side of the switch.
    pub(super) fn clients(&self) -> Ipv4Addr {
        address(CLIENTS)
    }

    /// Sets the link from one place to another.
    pub(super) fn link(&self, from: usize, to: usize, link: Link) {
        if let Some(switch) = &self.switch {
            switch.set(self.hosts[from].address, self.hosts[to].address, link);
        }
    }

    /// Nodes that ended though no fault gave them a reason. One whose files were spoiled may, when
    /// it says so.
    pub(super) fn unexpected_ends(&mut self) -> Vec<Violation> {
        let mut found = Vec::new();
        for at in 0..self.hosts.len() {
            if let Some(status) = self.hosts[at].ended()
                && !self.hosts[at].may_end
            {
                let node = self.hosts[at].node.unwrap_or_default();
                let words = self.last_words(node);
                if self.hosts[at].spoiled && words.contains(REFUSES) {
                    continue;
                }
                let what = format!("node {node} ended, {status}: {words}");
                found.push(Violation::new("nodes_run", what));
            }
        }
        found
    }

    /// The last lines that a node wrote.
    pub(super) fn last_words(&self, node: u64) -> String {
        let path = self.logs.join(format!("node-{node}.log"));
        let text = std::fs::read(path).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(3)..].join(" / ")
    }

    /// Waits until a place serves linearizable reads. `Ok(false)`: its process ended.
    pub(super) async fn ready(&mut self, at: usize, within: Duration) -> Result<bool, Violation> {
        let until = Instant::now() + within;
        loop {
            if self.hosts[at].ended().is_some() || !self.hosts[at].runs() {
                return Ok(false);
            }
            if serves(&self.hosts[at].addresses.http).await {
                return Ok(true);
            }
            if Instant::now() > until {
                let node = self.hosts[at].node.unwrap_or_default();
                let words = self.last_words(node);
                let what = format!("node {node} does not serve after {within:?}: {words}");
                return Err(Violation::new("nodes_serve", what));
            }
            sleep(LOOK).await;
        }
    }

    /// Asks the leader for a change until it is made.
    pub(super) async fn change(&self, change: Change) -> Result<(), Violation> {
        let until = Instant::now() + CHANGED;
        let mut last = "no leader".to_owned();
        while Instant::now() < until {
            if let Some(at) = self.leader()
                && let Some(mut client) = watch::connect(&self.hosts[at].addresses.grpc).await
            {
                let asked = async {
                    match change {
                        Change::Promote(id) => {
                            let request = admin::PromoteMemberRequest { id };
                            client.promote_member(request).await.map(drop)
                        }
                        Change::Remove(id) => {
                            let request = admin::RemoveMemberRequest { id };
                            client.remove_member(request).await.map(drop)
                        }
                        Change::Raise(to) => {
                            let request = admin::RaiseEngineVersionRequest { to };
                            client.raise_engine_version(request).await.map(drop)
                        }
                        Change::Transfer => {
                            let request = admin::TransferLeaderRequest { to: 0 };
                            client.transfer_leader(request).await.map(drop)
                        }
                    }
                };
                match timeout(Duration::from_secs(10), asked).await {
                    Ok(Ok(())) => return Ok(()),
                    // The answer to the first try was lost.
                    Ok(Err(status)) if change.is_made(status.message()) => return Ok(()),
                    Ok(Err(status)) => last = status.message().to_owned(),
                    Err(_) => last = "no answer".to_owned(),
                }
            }
            sleep(LOOK).await;
        }
        Err(Violation::new(
            "members_change",
            format!("{change:?}: {last}"),
        ))
    }
}

/// A change that the leader is asked for.
#[derive(Debug, Clone, Copy)]
pub(super) enum Change {
    Promote(u64),
    Remove(u64),
    /// The engine version.
    Raise(u32),
    Transfer,
}

impl Change {
    /// Whether a refusal says that it was made before.
    fn is_made(self, message: &str) -> bool {
        match self {
            Change::Remove(id) => message.contains(&format!("node {id} is not a member")),
            Change::Promote(_) | Change::Raise(_) | Change::Transfer => message.contains("already"),
        }
    }
}

/// Makes the switch and gives each place its device.
fn plug(seed: u64, hosts: &[Host]) -> Result<Switch, Trouble> {
    let mut ports: Vec<Port> = hosts
        .iter()
        .map(|host| Port {
            name: format!("wire{}", host.number),
            address: host.address,
        })
        .collect();
    let clients = Port {
        name: "clients".into(),
        address: address(CLIENTS),
    };
    ports.push(clients.clone());
    let switch = Switch::start(seed, &ports).map_err(io("the switch"))?;
    for (host, port) in hosts.iter().zip(&ports) {
        host.plug(&port.name)?;
    }
    wire(&["ip"], &clients.name, clients.address)?;
    Ok(switch)
}

/// Whether `/health/ready` answers 200.
async fn serves(http: &str) -> bool {
    let answer = http_get::get(http, "/health/ready", Duration::from_secs(2)).await;
    matches!(answer, Ok((200, _)))
}
