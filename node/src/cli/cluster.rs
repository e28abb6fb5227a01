//! `steadfast cluster`: asks a running cluster, and changes its members.

use crate::cli::{Failure, Output, one_thread_runtime, say};
use crate::config;
use std::collections::BTreeMap;
use std::time::Duration;
use steadfast_proto::internal::admin::v1 as admin;
use steadfast_proto::internal::admin::v1::admin_service_client::AdminServiceClient;
use tokio::time::timeout;
use tonic::transport::{Channel, Endpoint};

/// A node that does not answer within this is told to be down.
const ASK_LIMIT: Duration = Duration::from_secs(3);
/// A change of membership has to be committed twice and may wait for an election.
const CHANGE_LIMIT: Duration = Duration::from_secs(30);

/// Options of `steadfast cluster`.
#[derive(Debug, Clone, clap::Args)]
pub struct ClusterArgs {
    /// gRPC addresses of nodes; the first that answers is asked
    #[arg(long, global = true, env = "STEADFAST_ADDRESS", value_delimiter = ',',
          default_value = "127.0.0.1:7233", value_name = "HOST:PORT",
          value_parser = config::peer_address)]
    pub address: Vec<String>,
    /// text or json
    #[arg(long, global = true, env = "STEADFAST_OUTPUT", default_value = "text")]
    pub output: Output,
    /// What to do
    #[command(subcommand)]
    pub action: Action,
}

/// What to do with a cluster.
#[derive(Debug, Clone, clap::Subcommand)]
pub enum Action {
    /// Leader, term and what each node has applied
    Status,
    /// The members and their addresses
    Members,
    /// Adds a new node as a learner; needed only when its own --join cannot reach the cluster
    Add(AddArgs),
    /// Makes a learner that has caught up a voter
    Promote(MemberArgs),
    /// Takes a node out; a node that was removed never comes back under its id
    Remove(MemberArgs),
    /// Hands leadership to a voter
    TransferLeader(TransferArgs),
    /// Lets the nodes go on by the rules of a newer version, once all of them run it; never back
    RaiseEngineVersion(RaiseArgs),
    /// Compares the digests of the nodes' states
    Digest,
}

/// A new member.
#[derive(Debug, Clone, clap::Args)]
pub struct AddArgs {
    /// Its number, which no node had before
    #[arg(long, env = "STEADFAST_MEMBER", value_name = "ID",
          value_parser = clap::value_parser!(u64).range(1..))]
    pub member: u64,
    /// Where the other nodes reach its Raft port; it tells its other addresses itself
    #[arg(long, env = "STEADFAST_MEMBER_RAFT_ADDRESS", value_name = "HOST:PORT",
          value_parser = config::peer_address)]
    pub member_raft_address: String,
}

/// A member.
#[derive(Debug, Clone, clap::Args)]
pub struct MemberArgs {
    /// Its number
    #[arg(long, env = "STEADFAST_MEMBER", value_name = "ID",
          value_parser = clap::value_parser!(u64).range(1..))]
    pub member: u64,
}

/// The next leader.
#[derive(Debug, Clone, clap::Args)]
pub struct TransferArgs {
    /// A voter's number; without it the most up-to-date one is taken
    #[arg(long, env = "STEADFAST_TO", value_name = "ID",
          value_parser = clap::value_parser!(u64).range(1..))]
    pub to: Option<u64>,
}

/// The next engine version.
#[derive(Debug, Clone, clap::Args)]
pub struct RaiseArgs {
    /// The version; without it the newest that all members know
    #[arg(long, env = "STEADFAST_TO", value_name = "VERSION",
          value_parser = clap::value_parser!(u32).range(1..))]
    pub to: Option<u32>,
}

/// The shape of `cluster status --output json`.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct StatusAnswer {
    /// The cluster's id.
    pub cluster_id: String,
    /// The leader's number; 0 when there is none.
    pub leader: u64,
    /// Raft's term.
    pub term: u64,
    /// The rules by which entries are applied.
    pub engine_version: u32,
    /// The members.
    pub nodes: Vec<NodeAnswer>,
}

/// One node in [`StatusAnswer`].
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct NodeAnswer {
    /// Its number.
    pub id: u64,
    /// leader, follower, learner or candidate.
    pub role: String,
    /// Log index applied.
    pub applied: u64,
    /// Log index committed.
    pub committed: u64,
    /// It answers.
    pub reachable: bool,
    /// The program's version.
    pub version: String,
    /// The newest engine version that it knows.
    pub newest_engine_version: u32,
}

pub(crate) type Admin = AdminServiceClient<Channel>;

/// Runs one action.
pub fn run(args: ClusterArgs) -> Result<(), Failure> {
    one_thread_runtime()?.block_on(act(args))
}

async fn act(args: ClusterArgs) -> Result<(), Failure> {
    let (mut near, status) = ask_any(&args.address).await?;
    match args.action {
        Action::Status => show_status(complete(status).await, args.output),
        Action::Members => show_members(&status, args.output),
        Action::Digest => digest(&status, args.output).await,
        Action::Add(add) => {
            let member = admin::Member {
                id: add.member,
                raft_address: add.member_raft_address,
                ..admin::Member::default()
            };
            let request = admin::AddMemberRequest {
                member: Some(member),
            };
            let mut leader = leader_of(&mut near, &status).await?;
            change(leader.add_member(request)).await?;
            let id = add.member;
            done(
                args.output,
                &format!("node {id} is a learner; next: cluster promote --member {id}"),
                &serde_json::json!({"id": id, "role": "learner"}),
            )
        }
        Action::Promote(MemberArgs { member }) => {
            let mut leader = leader_of(&mut near, &status).await?;
            change(leader.promote_member(admin::PromoteMemberRequest { id: member })).await?;
            done(
                args.output,
                &format!("node {member} is a voter"),
                &serde_json::json!({"id": member, "role": "voter"}),
            )
        }
        Action::Remove(MemberArgs { member }) => {
            let mut leader = leader_of(&mut near, &status).await?;
            change(leader.remove_member(admin::RemoveMemberRequest { id: member })).await?;
            done(
                args.output,
                &format!("node {member} is no member any more; its process ends by itself"),
                &serde_json::json!({"id": member, "removed": true}),
            )
        }
        Action::RaiseEngineVersion(RaiseArgs { to }) => {
            let to = to.unwrap_or(0);
            let mut leader = leader_of(&mut near, &status).await?;
            let request = admin::RaiseEngineVersionRequest { to };
            let version = change(leader.raise_engine_version(request))
                .await?
                .engine_version;
            done(
                args.output,
                &format!("the engine version is {version}"),
                &serde_json::json!({"engine_version": version}),
            )
        }
        Action::TransferLeader(TransferArgs { to }) => {
            let to = to.unwrap_or(0);
            let mut leader = leader_of(&mut near, &status).await?;
            change(leader.transfer_leader(admin::TransferLeaderRequest { to })).await?;
            done(
                args.output,
                "leadership was handed over",
                &serde_json::json!({"transferred": true}),
            )
        }
    }
}

fn done(output: Output, text: &str, json: &serde_json::Value) -> Result<(), Failure> {
    match output {
        Output::Text => say(text),
        Output::Json => say(&json.to_string()),
    }
    Ok(())
}

async fn connect(address: &str) -> Result<Admin, Failure> {
    let endpoint = Endpoint::from_shared(format!("http://{address}"))
        .map_err(|error| Failure::Usage(format!("{address}: {error}")))?
        .connect_timeout(ASK_LIMIT);
    let channel = endpoint.connect().await.map_err(|error| {
        let why = std::error::Error::source(&error).map_or(error.to_string(), ToString::to_string);
        Failure::failed(format!("cannot connect to {address}: {why}"))
    })?;
    Ok(AdminServiceClient::new(channel))
}

async fn ask(address: &str) -> Result<(Admin, admin::StatusResponse), Failure> {
    let mut client = connect(address).await?;
    let asked = timeout(ASK_LIMIT, client.status(admin::StatusRequest {})).await;
    match asked {
        Ok(Ok(answer)) => Ok((client, answer.into_inner())),
        Ok(Err(status)) => Err(Failure::failed(format!("{address}: {}", status.message()))),
        Err(_) => Err(Failure::failed(format!("{address} does not answer"))),
    }
}

/// The first of these nodes that answers, and what it says of the cluster.
pub(crate) async fn ask_any(
    addresses: &[String],
) -> Result<(Admin, admin::StatusResponse), Failure> {
    let mut last = Failure::Usage("no --address".into());
    for address in addresses {
        match ask(address).await {
            Ok(answer) => return Ok(answer),
            Err(failure) => last = failure,
        }
    }
    Err(last)
}

/// The leader, which another node names.
pub(crate) async fn leader_of(
    near: &mut Admin,
    status: &admin::StatusResponse,
) -> Result<Admin, Failure> {
    if status.leader == status.node_id {
        return Ok(near.clone());
    }
    let leader = status.nodes.iter().filter_map(|node| node.member.as_ref());
    match leader
        .into_iter()
        .find(|member| member.id == status.leader && member.id != 0)
    {
        Some(member) => connect(&member.grpc_address).await,
        None => Err(Failure::failed("the cluster has no leader now; try again")),
    }
}

async fn change<T>(
    call: impl Future<Output = Result<tonic::Response<T>, tonic::Status>>,
) -> Result<T, Failure> {
    match timeout(CHANGE_LIMIT, call).await {
        Ok(Ok(answer)) => Ok(answer.into_inner()),
        Ok(Err(status)) => Err(Failure::failed(status.message())),
        Err(_) => Err(Failure::failed(
            "no answer within 30 s; `steadfast cluster status` tells whether it was done",
        )),
    }
}

/// Asks each node for what it has applied: the first node only knows its own side.
async fn complete(mut status: admin::StatusResponse) -> StatusAnswer {
    let mut nodes = Vec::new();
    for node in std::mem::take(&mut status.nodes) {
        let member = node.member.clone().unwrap_or_default();
        let own = if member.id == status.node_id {
            Some(node.clone())
        } else {
            let answer = ask(&member.grpc_address)
                .await
                .ok()
                .map(|(_, answer)| answer);
            let is_own = |own: &admin::NodeStatus| {
                own.member
                    .as_ref()
                    .is_some_and(|other| other.id == member.id)
            };
            answer.and_then(|answer| answer.nodes.into_iter().find(is_own))
        };
        let reachable = own.is_some();
        let own = own.unwrap_or(node);
        nodes.push(NodeAnswer {
            id: member.id,
            role: own.role,
            applied: own.applied,
            committed: own.committed,
            reachable,
            version: own.version,
            newest_engine_version: own.newest_engine_version,
        });
    }
    nodes.sort_by_key(|node| node.id);
    StatusAnswer {
        cluster_id: status.cluster_id,
        leader: status.leader,
        term: status.term,
        engine_version: status.engine_version,
        nodes,
    }
}

fn show_status(answer: StatusAnswer, output: Output) -> Result<(), Failure> {
    if output == Output::Json {
        say(&serde_json::to_string(&answer).map_err(Failure::failed)?);
        return Ok(());
    }
    let leader = match answer.leader {
        0 => "no leader".to_string(),
        id => format!("leader {id}"),
    };
    say(&format!(
        "cluster {}  {leader}  term {}  engine version {}",
        answer.cluster_id, answer.term, answer.engine_version
    ));
    say("node  role       applied   committed  reachable  version  engine up to");
    for node in answer.nodes {
        let reachable = if node.reachable { "yes" } else { "no" };
        say(&format!(
            "{:<4}  {:<9}  {:<8}  {:<9}  {reachable:<9}  {:<7}  {}",
            node.id,
            node.role,
            node.applied,
            node.committed,
            node.version,
            node.newest_engine_version
        ));
    }
    Ok(())
}

fn show_members(status: &admin::StatusResponse, output: Output) -> Result<(), Failure> {
    let mut members: Vec<admin::Member> = status
        .nodes
        .iter()
        .filter_map(|node| node.member.clone())
        .collect();
    members.sort_by_key(|member| member.id);
    if output == Output::Json {
        let list: Vec<serde_json::Value> = members
            .iter()
            .map(|member| {
                serde_json::json!({
                    "id": member.id, "raft": member.raft_address, "grpc": member.grpc_address,
                    "http": member.http_address, "uuid": member.node_uuid,
                })
            })
            .collect();
        say(&serde_json::Value::from(list).to_string());
        return Ok(());
    }
    for member in members {
        say(&format!(
            "node {}  Raft {}  gRPC {}  HTTP {}  uuid {}",
            member.id,
            member.raft_address,
            member.grpc_address,
            member.http_address,
            member.node_uuid
        ));
    }
    Ok(())
}

/// Digests by mark, then by node.
type Marks = BTreeMap<u64, BTreeMap<u64, String>>;

/// Nodes that have the same mark must have the same digest. Nodes that are down are left out.
async fn digest(status: &admin::StatusResponse, output: Output) -> Result<(), Failure> {
    let mut marks = Marks::new();
    let mut silent = Vec::new();
    let members = status.nodes.iter().filter_map(|node| node.member.as_ref());
    for member in members.clone() {
        match digests_of(member).await {
            Ok(digests) => {
                for mark in digests {
                    let hex = mark.digest.iter().map(|byte| format!("{byte:02x}"));
                    let of_nodes = marks.entry(mark.index).or_default();
                    of_nodes.insert(member.id, hex.collect());
                }
            }
            Err(failure) => silent.push(format!("node {} is left out: {failure}", member.id)),
        }
    }
    if output == Output::Json {
        say(&serde_json::to_string(&marks).map_err(Failure::failed)?);
    } else {
        for (index, digests) in &marks {
            for (node, hex) in digests {
                say(&format!("mark {index}  node {node}  {hex}"));
            }
        }
    }
    for line in &silent {
        tracing::warn!("{line}");
    }
    compare(&marks, members.count()).map_err(Failure::Failed)
}

async fn digests_of(member: &admin::Member) -> Result<Vec<admin::MarkDigest>, Failure> {
    let mut client = connect(&member.grpc_address).await?;
    match timeout(ASK_LIMIT, client.digest(admin::DigestRequest {})).await {
        Ok(Ok(answer)) => Ok(answer.into_inner().digests),
        Ok(Err(status)) => Err(Failure::failed(status.message())),
        Err(_) => Err(Failure::failed("it does not answer")),
    }
}

/// Equal digests, and at least one mark that two nodes have: else nothing was compared.
fn compare(marks: &Marks, members: usize) -> Result<(), String> {
    let differs = |digests: &BTreeMap<u64, String>| {
        let mut values = digests.values();
        let first = values.next();
        values.any(|other| Some(other) != first)
    };
    if let Some((index, _)) = marks.iter().find(|(_, digests)| differs(digests)) {
        return Err(format!(
            "the nodes' states differ at mark {index}: stop the node in the minority and rebuild \
             it from a peer"
        ));
    }
    let compared = marks.values().any(|digests| digests.len() > 1);
    if compared || (members == 1 && !marks.is_empty()) {
        return Ok(());
    }
    Err(
        "nothing was compared: no two nodes that answer have the digest of the same mark; marks \
         come every 30 s while something changes, so try again later"
            .to_owned(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_count_only_when_something_was_compared() {
        let marks = |of: &[(u64, u64, &str)]| {
            let mut marks = Marks::new();
            for (index, node, hex) in of {
                let of_nodes = marks.entry(*index).or_default();
                of_nodes.insert(*node, (*hex).to_owned());
            }
            marks
        };
        let equal = marks(&[(5, 1, "a"), (5, 2, "a"), (9, 1, "b")]);
        assert_eq!(compare(&equal, 3), Ok(()));
        let apart = compare(&marks(&[(5, 1, "a"), (9, 2, "b")]), 3).unwrap_err();
        assert!(apart.contains("nothing was compared"), "{apart}");
        assert!(compare(&Marks::new(), 1).is_err());
        assert_eq!(compare(&marks(&[(5, 1, "a")]), 1), Ok(()));
        let other = compare(&marks(&[(5, 1, "a"), (5, 3, "b")]), 3).unwrap_err();
        assert!(other.contains("differ at mark 5"), "{other}");
    }

    #[test]
    fn the_status_shape_is_a_promise() {
        let answer = StatusAnswer {
            cluster_id: "c".into(),
            leader: 1,
            term: 2,
            engine_version: 1,
            nodes: vec![NodeAnswer {
                id: 1,
                role: "leader".into(),
                applied: 3,
                committed: 3,
                reachable: true,
                version: "0.1.0".into(),
                newest_engine_version: 2,
            }],
        };
        let want = serde_json::json!({
            "cluster_id": "c", "leader": 1, "term": 2, "engine_version": 1,
            "nodes": [{
                "id": 1, "role": "leader", "applied": 3, "committed": 3, "reachable": true,
                "version": "0.1.0", "newest_engine_version": 2,
            }],
        });
        assert_eq!(serde_json::to_value(&answer).unwrap(), want);
    }
}
