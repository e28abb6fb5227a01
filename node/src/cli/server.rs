//! `steadfast server`: one node.

use crate::cli::{Failure, asked_to_end};
use crate::config::{self, ConfigError};
use crate::node::{Node, NodeOptions};
use crate::shard::Seed;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;
use steadfast_engine::{NEWEST_ENGINE_VERSION, OLDEST_ENGINE_VERSION};
use tokio::time::timeout;

/// A node that was asked to end is gone within ten seconds (design D11).
const STOP_WITHIN: Duration = Duration::from_secs(9);

/// Options of `steadfast server`.
#[derive(Debug, Clone, clap::Args)]
pub struct ServerArgs {
    /// This node's number, from 1; it never changes and is never given to another disk
    #[arg(long, env = "STEADFAST_NODE_ID", required = true, value_name = "ID",
          value_parser = clap::value_parser!(u64).range(1..))]
    pub node_id: Option<u64>,
    /// The cluster's name, for people
    #[arg(
        long,
        env = "STEADFAST_CLUSTER_NAME",
        default_value = "steadfast",
        value_name = "NAME"
    )]
    pub cluster_name: String,
    /// Where log and state are kept
    #[arg(
        long,
        env = "STEADFAST_DATA_DIR",
        default_value = "steadfast-data",
        value_name = "DIR"
    )]
    pub data_dir: PathBuf,
    /// Where workers and clients connect
    #[arg(long, env = "STEADFAST_GRPC_ADDRESS", default_value = "0.0.0.0:7233",
          value_name = "HOST:PORT", value_parser = listen_address)]
    pub grpc_address: String,
    /// Where the other nodes connect
    #[arg(long, env = "STEADFAST_RAFT_ADDRESS", default_value = "0.0.0.0:7234",
          value_name = "HOST:PORT", value_parser = listen_address)]
    pub raft_address: String,
    /// Where health and metrics are served
    #[arg(long, env = "STEADFAST_HTTP_ADDRESS", default_value = "0.0.0.0:8233",
          value_name = "HOST:PORT", value_parser = listen_address)]
    pub http_address: String,
    /// The gRPC address under which the other nodes reach this one
    #[arg(long, env = "STEADFAST_ADVERTISE_GRPC_ADDRESS", value_name = "HOST:PORT",
          value_parser = config::peer_address)]
    pub advertise_grpc_address: Option<String>,
    /// The Raft address under which the other nodes reach this one
    #[arg(long, env = "STEADFAST_ADVERTISE_RAFT_ADDRESS", value_name = "HOST:PORT",
          value_parser = config::peer_address)]
    pub advertise_raft_address: Option<String>,
    /// The members of a new cluster with their Raft addresses, the same on each of them
    #[arg(
        long,
        env = "STEADFAST_INITIAL_MEMBERS",
        value_delimiter = ',',
        value_name = "1=HOST:PORT,2=…,3=…"
    )]
    pub initial_members: Vec<String>,
    /// The Raft address of a member of the cluster to join
    #[arg(long, env = "STEADFAST_JOIN", value_name = "HOST:PORT",
          value_parser = config::peer_address)]
    pub join: Option<String>,
    /// What a new cluster begins with
    #[command(flatten)]
    pub seed: SeedArgs,
    /// The newest engine version that this node knows: tests of upgrades play an older program
    #[arg(long, hide = true, env = "STEADFAST_TEST_ENGINE_VERSION",
          value_parser = clap::value_parser!(u32)
              .range(i64::from(OLDEST_ENGINE_VERSION)..=i64::from(NEWEST_ENGINE_VERSION)))]
    pub test_engine_version: Option<u32>,
    /// The `steadfast dev` process that this node must not outlive
    #[arg(long, hide = true)]
    pub dev_parent: Option<u32>,
}

/// What the first bootstrap puts into the state; ignored by a cluster that exists.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct SeedArgs {
    /// A namespace to make, besides `default`; repeatable
    #[arg(
        long,
        env = "STEADFAST_NAMESPACE",
        value_delimiter = ',',
        value_name = "NAME"
    )]
    pub namespace: Vec<String>,
    /// A search attribute to add; repeatable
    #[arg(long, env = "STEADFAST_SEARCH_ATTRIBUTE", value_delimiter = ',',
          value_name = "NAME=TYPE", value_parser = config::search_attribute)]
    pub search_attribute: Vec<(String, i32)>,
    /// A dynamic configuration value; repeatable (in the environment: one per line)
    #[arg(long, env = "STEADFAST_DYNAMIC_CONFIG_VALUE", value_delimiter = '\n',
          value_name = "KEY=JSON", value_parser = config::dynamic_config_value)]
    pub dynamic_config_value: Vec<(String, String)>,
}

fn listen_address(text: &str) -> Result<String, String> {
    config::host_and_port(text).map(|_| text.to_string())
}

/// The addresses and members of a node, after the options were checked against each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The node's number.
    pub node_id: u64,
    /// Under which the others reach gRPC.
    pub advertise_grpc_address: String,
    /// Under which the others reach Raft.
    pub advertise_raft_address: String,
    /// Under which health is reached.
    pub advertise_http_address: String,
    /// Members of a new cluster; empty when the data directory must say.
    pub initial_members: BTreeMap<u64, String>,
}

impl ServerArgs {
    /// Checks the options against each other, once.
    pub fn identity(&self) -> Result<Identity, ConfigError> {
        let contradiction = |text: String| Err(ConfigError::Contradiction(text));
        let Some(node_id) = self.node_id else {
            return contradiction("--node-id is missing".into());
        };
        let initial_members = config::initial_members(&self.initial_members)?;
        if self.join.is_some() && !initial_members.is_empty() {
            return contradiction(
                "--join and --initial-members exclude each other: a node joins a cluster or \
                 begins one"
                    .into(),
            );
        }
        if !initial_members.is_empty() && !initial_members.contains_key(&node_id) {
            return contradiction(format!(
                "--node-id {node_id} is not one of --initial-members; add it there, or use --join"
            ));
        }
        // A directory with an identity but without a log goes on to the refusal that it deserves.
        let holds_a_node = self.data_dir.join("IDENTITY").exists();
        if initial_members.is_empty() && self.join.is_none() && !holds_a_node {
            return contradiction(format!(
                "{} holds no node: one that begins a cluster needs --initial-members, one that \
                 joins needs --join",
                self.data_dir.display()
            ));
        }
        let advertise_raft_address = match (
            &self.advertise_raft_address,
            initial_members.get(&node_id),
            others_reach(&self.raft_address),
        ) {
            (Some(given), Some(member), _) if given != member => {
                return contradiction(format!(
                    "--advertise-raft-address {given} and the address {member} of node {node_id} \
                     in --initial-members differ"
                ));
            }
            (Some(address), _, _) | (None, Some(address), _) => address.clone(),
            (None, None, true) => self.raft_address.clone(),
            (None, None, false) => {
                return contradiction(format!(
                    "others cannot connect to --raft-address {}; give --advertise-raft-address",
                    self.raft_address
                ));
            }
        };
        let reached = |given: Option<&String>, listens: &String| match given {
            Some(address) => address.clone(),
            None if others_reach(listens) => listens.clone(),
            None => on_host_of(&advertise_raft_address, listens),
        };
        Ok(Identity {
            node_id,
            advertise_grpc_address: reached(
                self.advertise_grpc_address.as_ref(),
                &self.grpc_address,
            ),
            advertise_http_address: reached(None, &self.http_address),
            advertise_raft_address,
            initial_members,
        })
    }

    /// Addresses that others than this machine can connect to.
    fn open_addresses(&self) -> Vec<&str> {
        [&self.grpc_address, &self.raft_address, &self.http_address]
            .into_iter()
            .filter(|address| !is_loopback(address))
            .map(String::as_str)
            .collect()
    }
}

fn others_reach(address: &str) -> bool {
    let Ok((host, port)) = config::host_and_port(address) else {
        return false;
    };
    port != 0 && host != "0.0.0.0" && host != "[::]"
}

/// The port of `listens` on the host of `address`.
pub(crate) fn on_host_of(address: &str, listens: &str) -> String {
    match (
        config::host_and_port(address),
        config::host_and_port(listens),
    ) {
        (Ok((host, _)), Ok((_, port))) => format!("{host}:{port}"),
        (Err(_), _) | (_, Err(_)) => listens.to_string(),
    }
}

fn is_loopback(address: &str) -> bool {
    let Ok((host, _)) = config::host_and_port(address) else {
        return false;
    };
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    bare == "localhost"
        || bare
            .parse::<std::net::IpAddr>()
            .is_ok_and(|ip| ip.is_loopback())
}

/// Runs a node until SIGTERM, Ctrl-C or a fault.
pub fn run(args: ServerArgs) -> Result<(), Failure> {
    let identity = args.identity()?;
    if let Some(parent) = args.dev_parent {
        die_with(parent)?;
    }
    let open = args.open_addresses();
    if !open.is_empty() {
        tracing::warn!(
            addresses = open.join(", "),
            "listens beyond this machine without TLS: whoever reaches these addresses can read \
             and change everything"
        );
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .thread_name("steadfast")
        .enable_all()
        .build()
        .map_err(|error| Failure::failed(format!("cannot start the async runtime: {error}")))?;
    let result = runtime.block_on(serve(args, identity));
    // A thread that hangs in a system call must not hold up the end.
    runtime.shutdown_timeout(Duration::from_millis(500));
    result
}

/// Makes the kernel end this process with its parent, however the parent ends.
fn die_with(parent: u32) -> Result<(), Failure> {
    let told =
        rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL));
    told.map_err(|error| Failure::failed(format!("cannot watch the parent process: {error}")))?;
    // The parent may have died before we asked.
    let now = rustix::process::getppid().map(|pid| pid.as_raw_nonzero().get().unsigned_abs());
    if now != Some(parent) {
        return Err(Failure::failed(
            "the `steadfast dev` process that started this node is gone",
        ));
    }
    Ok(())
}

async fn serve(args: ServerArgs, identity: Identity) -> Result<(), Failure> {
    let id = identity.node_id;
    let asked = asked_to_end();
    tokio::pin!(asked);
    // A node that waits for the others to found a cluster ends when it is asked to, too.
    let node = tokio::select! {
        node = Node::start(node_options(args, identity)) => node.map_err(Failure::failed)?,
        ended = &mut asked => return ended.map_err(Failure::failed),
    };
    tracing::info!(node = id, version = env!("CARGO_PKG_VERSION"), "serves");
    let ended = tokio::select! {
        ended = &mut asked => ended.map_err(Failure::failed),
        reason = node.failed() => {
            tracing::error!(reason, "the node stops");
            Err(Failure::failed(format!("the node cannot go on: {reason}")))
        }
    };
    // In order in either case: the others take over at once, and no call is cut off.
    if timeout(STOP_WITHIN, node.stop()).await.is_err() {
        tracing::warn!("did not stop in time; ending all the same");
    }
    ended
}

fn node_options(args: ServerArgs, identity: Identity) -> NodeOptions {
    NodeOptions {
        node_id: identity.node_id,
        cluster_name: args.cluster_name,
        data_dir: args.data_dir,
        grpc_address: args.grpc_address,
        raft_address: args.raft_address,
        http_address: args.http_address,
        advertise_grpc_address: identity.advertise_grpc_address,
        advertise_raft_address: identity.advertise_raft_address,
        advertise_http_address: identity.advertise_http_address,
        initial_members: identity.initial_members,
        join: args.join.unwrap_or_default(),
        seed: Seed {
            namespaces: args.seed.namespace,
            config: args.seed.dynamic_config_value,
            search_attributes: args.seed.search_attribute,
        },
        engine_version: args.test_engine_version,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Cli, Command};
    use clap::Parser;

    fn server(args: &[&str]) -> ServerArgs {
        let all = ["steadfast", "server"].iter().chain(args);
        match Cli::try_parse_from(all).unwrap().command {
            Command::Server(server) => *server,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn others_reach_a_node_at_the_host_of_its_raft_address() {
        let members = "1=a:7234,2=b:7234,3=c:7234";
        let identity = server(&["--node-id", "2", "--initial-members", members])
            .identity()
            .unwrap();
        assert_eq!(identity.advertise_raft_address, "b:7234");
        assert_eq!(identity.advertise_grpc_address, "b:7233");
        assert_eq!(identity.advertise_http_address, "b:8233");
        assert_eq!(identity.initial_members.len(), 3);
    }

    #[test]
    fn contradictions_are_refused() {
        for (args, why) in [
            (
                &["--node-id", "4", "--initial-members", "1=a:1,2=b:1,3=c:1"][..],
                "not one of",
            ),
            (
                &[
                    "--node-id",
                    "1",
                    "--initial-members",
                    "1=a:1",
                    "--join",
                    "b:1",
                ],
                "exclude",
            ),
            (
                &["--node-id", "1", "--data-dir", "/none"],
                "--initial-members",
            ),
            (
                &["--node-id", "1", "--join", "b:1"],
                "--advertise-raft-address",
            ),
            (
                &[
                    "--node-id",
                    "1",
                    "--initial-members",
                    "1=a:1",
                    "--advertise-raft-address",
                    "b:1",
                ],
                "differ",
            ),
        ] {
            let error = server(args).identity().unwrap_err().to_string();
            assert!(error.contains(why), "{error}");
        }
    }

    #[test]
    fn only_loopback_is_safe_without_tls() {
        let open = server(&["--node-id", "1", "--raft-address", "127.0.0.1:1"]);
        assert_eq!(open.open_addresses(), ["0.0.0.0:7233", "0.0.0.0:8233"]);
        assert!(is_loopback("[::1]:7"));
        assert!(!is_loopback("[::]:7"));
        assert!(is_loopback("localhost:7"));
    }
}
