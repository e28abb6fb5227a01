//! `steadfast restore`: the data directories of a new cluster, out of a backup.

use crate::cli::server::on_host_of;
use crate::cli::{Failure, Output, say};
use crate::config::{self, ConfigError};
use crate::entropy::OsEntropy;
use crate::node::Seams;
use crate::restore::{RestoreOptions, Restored, restore};
use std::collections::BTreeMap;
use std::path::PathBuf;
use steadfast_engine::ENGINE_VERSION;
use steadfast_raft::Peer;

/// What a node listens on when it is not told.
const GRPC_ADDRESS: &str = "0.0.0.0:7233";
const HTTP_ADDRESS: &str = "0.0.0.0:8233";

/// Options of `steadfast restore`.
#[derive(Debug, Clone, clap::Args)]
pub struct RestoreArgs {
    /// The folder of a finished backup
    #[arg(long, env = "STEADFAST_BACKUP", value_name = "DIR")]
    pub backup: PathBuf,
    /// A folder for the new data directories, node-1, node-2, …; each goes to its machine
    #[arg(long, env = "STEADFAST_OUT", value_name = "DIR")]
    pub out: PathBuf,
    /// The members of the new cluster with their Raft addresses
    #[arg(
        long,
        env = "STEADFAST_INITIAL_MEMBERS",
        value_delimiter = ',',
        required = true,
        value_name = "1=HOST:PORT,2=…,3=…"
    )]
    pub initial_members: Vec<String>,
    /// Their gRPC addresses, where they are not port 7233 of the same host
    #[arg(
        long,
        env = "STEADFAST_MEMBER_GRPC_ADDRESSES",
        value_delimiter = ',',
        value_name = "1=HOST:PORT,2=…,3=…"
    )]
    pub member_grpc_addresses: Vec<String>,
    /// Their addresses of health and metrics, where they are not port 8233 of the same host
    #[arg(
        long,
        env = "STEADFAST_MEMBER_HTTP_ADDRESSES",
        value_delimiter = ',',
        value_name = "1=HOST:PORT,2=…,3=…"
    )]
    pub member_http_addresses: Vec<String>,
    /// The new cluster's name, for people
    #[arg(
        long,
        env = "STEADFAST_CLUSTER_NAME",
        default_value = "steadfast",
        value_name = "NAME"
    )]
    pub cluster_name: String,
    /// The newest engine version that the new nodes know
    #[arg(long, hide = true, env = "STEADFAST_TEST_ENGINE_VERSION")]
    pub test_engine_version: Option<u32>,
    /// text or json
    #[arg(long, env = "STEADFAST_OUTPUT", default_value = "text")]
    pub output: Output,
}

impl RestoreArgs {
    fn members(&self) -> Result<BTreeMap<u64, Peer>, ConfigError> {
        let raft = config::initial_members(&self.initial_members)?;
        let grpc =
            config::member_addresses("--member-grpc-addresses", &self.member_grpc_addresses)?;
        let http =
            config::member_addresses("--member-http-addresses", &self.member_http_addresses)?;
        for (option, given) in [
            ("--member-grpc-addresses", &grpc),
            ("--member-http-addresses", &http),
        ] {
            if let Some(id) = given.keys().find(|id| !raft.contains_key(id)) {
                return Err(ConfigError::Contradiction(format!(
                    "{option} names node {id}, which is not one of --initial-members"
                )));
            }
        }
        let member = |(id, raft_address): (u64, String)| {
            let or_usual = |given: &BTreeMap<u64, String>, usual| {
                given
                    .get(&id)
                    .cloned()
                    .unwrap_or_else(|| on_host_of(&raft_address, usual))
            };
            let peer = Peer {
                grpc_address: or_usual(&grpc, GRPC_ADDRESS),
                http_address: or_usual(&http, HTTP_ADDRESS),
                raft_address,
                ..Peer::default()
            };
            (id, peer)
        };
        Ok(raft.into_iter().map(member).collect())
    }
}

/// Restores.
pub fn run(args: &RestoreArgs) -> Result<(), Failure> {
    let members = args.members()?;
    let seams = Seams::real().map_err(Failure::failed)?;
    let entropy = OsEntropy::new().map_err(Failure::failed)?;
    let options = RestoreOptions {
        backup: args.backup.clone(),
        out: args.out.clone(),
        cluster_name: args.cluster_name.clone(),
        members,
        engine_version: args.test_engine_version.unwrap_or(ENGINE_VERSION),
    };
    let restored =
        restore(&seams.disk, &seams.index, &entropy, options).map_err(Failure::failed)?;
    tell(args, &restored);
    Ok(())
}

fn tell(args: &RestoreArgs, restored: &Restored) {
    if args.output == Output::Json {
        let dirs: BTreeMap<String, String> = restored
            .data_dirs
            .iter()
            .map(|(id, dir)| (id.to_string(), dir.display().to_string()))
            .collect();
        let json = serde_json::json!({
            "cluster_id": restored.cluster_id,
            "from_cluster_id": restored.from_cluster_id,
            "index": restored.position.index,
            "open_runs": restored.open_runs,
            "data_dirs": dirs,
        });
        return say(&json.to_string());
    }
    say(&format!(
        "cluster {} is made of the backup of cluster {} at log entry {}; {} workflows go on",
        restored.cluster_id,
        restored.from_cluster_id,
        restored.backed_up_at.index,
        restored.open_runs
    ));
    let members = args.initial_members.join(",");
    let name = match args.cluster_name.as_str() {
        "steadfast" => String::new(),
        name => format!(" --cluster-name {name}"),
    };
    say("start its nodes, each with its data directory on its machine:");
    for (id, dir) in &restored.data_dirs {
        say(&format!(
            "  steadfast server --node-id {id} --data-dir {}{name} --initial-members {members}",
            dir.display()
        ));
    }
}
