//! What each node has at the end, from its own state: every history, byte for byte, the digests,
//! and what its files tell when it is stopped.

use super::cluster::Cluster;
use super::nemesis::Failure;
use super::{Trouble, io, tool, watch};
use crate::evidence::{FinalRun, Violation};
use crate::log_story::{LogStory, Logs};
use crate::workload::{self, Caller, NAMESPACE};
use prost::Message;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};
use steadfast_proto::internal::admin::v1 as admin;
use steadfast_proto::internal::admin::v1::admin_service_client::AdminServiceClient;
use steadfast_proto::temporal::history::v1::History;
use tokio::time::sleep;
use tonic::transport::Channel;

/// All nodes have applied the same within this.
const CONVERGE: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(300);

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Final {
    pub(super) runs: Vec<FinalRun>,
    /// Marks whose digests more than one node had.
    pub(super) marks_compared: usize,
}

type Admin = AdminServiceClient<Channel>;

/// Reads everything from every node and compares.
pub(super) async fn read(cluster: &Cluster, caller: &Caller) -> Result<Final, Failure> {
    converged(cluster).await?;
    let rows = workload::all_rows(caller).await?;
    let mut nodes = Vec::new();
    for at in cluster.settled() {
        let host = &cluster.hosts[at];
        let client = watch::connect(&host.addresses.grpc).await;
        let node = host.node.unwrap_or_default();
        let client = client
            .ok_or_else(|| Violation::new("nodes_serve", format!("no connection to {node}")))?;
        nodes.push((node, client));
    }
    let mut found = Final::default();
    for ((workflow_id, run_id), status) in rows {
        let run = one_run(&mut nodes, &workflow_id, &run_id, status).await?;
        found.runs.push(run);
    }
    found.marks_compared = digests(&mut nodes).await?;
    Ok(found)
}

async fn converged(cluster: &Cluster) -> Result<(), Violation> {
    let until = Instant::now() + CONVERGE;
    loop {
        sleep(LOOK).await;
        let applied: Vec<(u64, u64)> = {
            let seen = cluster.watch.seen();
            let newest = seen.newest.iter();
            let applied = newest.map(|(node, (_, answer))| {
                (*node, watch::own(answer).map_or(0, |own| own.applied))
            });
            applied.collect()
        };
        let settled = cluster.settled().into_iter();
        let settled = settled.filter_map(|at| cluster.hosts[at].node);
        let of = |node: u64| {
            applied
                .iter()
                .find(|(id, _)| *id == node)
                .map(|(_, at)| *at)
        };
        let ours: Vec<Option<u64>> = settled.map(of).collect();
        if ours.iter().all(|at| at.is_some() && *at == ours[0]) {
            return Ok(());
        }
        if Instant::now() > until {
            return Err(Violation::new("replicas_converge", format!("{applied:?}")));
        }
    }
}

/// A run's history, the same on all nodes.
async fn one_run(
    nodes: &mut [(u64, Admin)],
    workflow_id: &str,
    run_id: &str,
    status: i32,
) -> Result<FinalRun, Failure> {
    let mut histories = Vec::new();
    for (node, client) in nodes {
        let request = admin::LocalHistoryRequest {
            namespace: NAMESPACE.into(),
            workflow_id: workflow_id.into(),
            run_id: run_id.into(),
        };
        let answer = client.local_history(request).await.map_err(|status| {
            let what = format!(
                "node {node} lacks {workflow_id} {run_id}: {}",
                status.message()
            );
            Violation::new("each_node_has_every_run", what)
        })?;
        histories.push((*node, answer.into_inner().history));
    }
    for (node, history) in &histories {
        if *history != histories[0].1 {
            let what = format!(
                "nodes {} and {node} have different histories of {workflow_id} {run_id}",
                histories[0].0
            );
            return Err(Violation::new("replicas_are_the_same", what).into());
        }
    }
    let bytes = histories.swap_remove(0).1;
    let history = History::decode(bytes)
        .map_err(|error| Violation::new("histories_are_readable", error.to_string()))?;
    Ok(FinalRun {
        workflow_id: workflow_id.to_owned(),
        run_id: run_id.to_owned(),
        status,
        events: history.events,
    })
}

/// Digests of the same mark are the same; how many marks there were to compare.
async fn digests(nodes: &mut [(u64, Admin)]) -> Result<usize, Failure> {
    let mut by_mark: BTreeMap<u64, Vec<(u64, Vec<u8>)>> = BTreeMap::new();
    for (node, client) in nodes {
        let answer = client
            .digest(admin::DigestRequest {})
            .await
            .map_err(|status| {
                Violation::new("nodes_serve", format!("node {node}: {}", status.message()))
            })?;
        for mark in answer.into_inner().digests {
            let digests = by_mark.entry(mark.index).or_default();
            digests.push((*node, mark.digest.to_vec()));
        }
    }
    for (mark, digests) in &by_mark {
        if digests.iter().any(|(_, digest)| *digest != digests[0].1) {
            let what = format!("digests of mark {mark}: {digests:?}");
            return Err(Violation::new("replicas_are_the_same", what).into());
        }
    }
    Ok(by_mark.values().filter(|digests| digests.len() > 1).count())
}

/// All nodes stop in order, and their files are whole.
pub(super) async fn stop(cluster: &mut Cluster, binary: &Path) -> Result<(), Failure> {
    for at in cluster.settled() {
        let node = cluster.hosts[at].node.unwrap_or_default();
        cluster.hosts[at].may_end = true;
        let status = cluster.hosts[at].stop().await?;
        if !status.is_some_and(|status| status.success()) {
            let what = format!("node {node}: {status:?}: {}", cluster.last_words(node));
            return Err(Violation::new("nodes_stop_in_order", what).into());
        }
    }
    let mut digests: BTreeMap<u64, (u64, String)> = BTreeMap::new();
    for at in cluster.settled() {
        let node = cluster.hosts[at].node.unwrap_or_default();
        let dir = cluster.hosts[at].disk.data_dir();
        let (binary, dir) = (binary.to_string_lossy(), dir.to_string_lossy());
        let words = [&*binary, "inspect", "--output", "json", "--data-dir", &*dir];
        let told = tool(&words);
        let told = told.map_err(|why: Trouble| {
            Violation::new("files_are_whole", format!("node {node}: {why}"))
        })?;
        let told: serde_json::Value = serde_json::from_str(&told).unwrap_or_default();
        let applied = told["state"]["applied"].as_u64().unwrap_or_default();
        let digest = told["state"]["digest"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        if let Some((other, first)) = digests.get(&applied)
            && *first != digest
        {
            let what = format!("files of {other} and {node} at {applied}: {first}, {digest}");
            return Err(Violation::new("replicas_are_the_same", what).into());
        }
        digests.insert(applied, (node, digest));
    }
    Ok(())
}

/// What the logs of the stopped nodes say is committed.
pub(super) fn logs(cluster: &Cluster) -> Result<Logs, Trouble> {
    let mut logs = Logs::new();
    for at in cluster.settled() {
        let dir = cluster.hosts[at].disk.data_dir().join("log");
        let failed = || io(dir.display().to_string());
        let mut segments: BTreeMap<u32, Vec<u8>> = BTreeMap::new();
        for entry in std::fs::read_dir(&dir).map_err(failed())? {
            let path = entry.map_err(failed())?.path();
            let name = path.file_stem().and_then(|name| name.to_str());
            if let Some(number) = name.and_then(|name| name.parse().ok()) {
                segments.insert(number, std::fs::read(&path).map_err(failed())?);
            }
        }
        let bytes = |segment: u32, at: u64, len: usize| {
            let bytes = segments.get(&segment)?;
            let from = usize::try_from(at).ok()?.min(bytes.len());
            Some(bytes[from..from.saturating_add(len).min(bytes.len())].to_vec())
        };
        if let Some(oldest) = segments.keys().next() {
            let node = cluster.hosts[at].node.unwrap_or_default();
            LogStory::new(*oldest).read(node, &bytes, &mut logs);
        }
    }
    Ok(logs)
}
