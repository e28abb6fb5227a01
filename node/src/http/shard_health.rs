//! What a node's shard says of its health.

use crate::cli::http_get::HttpConnection;
use crate::http::{Health, LeaderAnswer, OWN_ANSWER};
use crate::shard::{Shard, Unavailable};
use crate::telemetry::Page;
use std::fmt::{self, Debug};
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::time::Duration;
use tokio::sync::Mutex;

/// Longest wait for the leader's word; the page's own limit is shorter.
const LEADER_LIMIT: Duration = Duration::from_millis(500);

/// Adds what the shard does not know (log, disk, process) to the page of metrics.
pub type MoreMetrics = Box<dyn Fn(&mut Page) + Send + Sync>;

/// A node's health: it serves when it leads and its majority confirms that, or when it hands calls
/// to such a leader.
pub struct ShardHealth {
    shard: Shard,
    node_id: u64,
    more_metrics: MoreMetrics,
    /// The connection to the leader's HTTP address, kept from one question to the next.
    leader: Mutex<Option<(String, HttpConnection)>>,
}

impl Debug for ShardHealth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ShardHealth")
            .field("node_id", &self.node_id)
            .finish_non_exhaustive()
    }
}

impl ShardHealth {
    /// The health of a running shard.
    pub fn new(shard: Shard, node_id: u64, more_metrics: MoreMetrics) -> ShardHealth {
        ShardHealth {
            shard,
            node_id,
            more_metrics,
            leader: Mutex::new(None),
        }
    }

    async fn leader_reads(&self) -> bool {
        let leader = self.shard.leadership().borrow().leader.clone();
        let Some(peer) = leader.and_then(|leader| leader.peer) else {
            return false;
        };
        if peer.http_address.is_empty() {
            return false;
        }
        let mut kept = self.leader.lock().await;
        let answer = ask(&mut kept, &peer.http_address).await;
        if answer.is_err() {
            *kept = None;
        }
        answer.is_ok_and(|answer| answer.leads && answer.ready)
    }
}

async fn ask(
    kept: &mut Option<(String, HttpConnection)>,
    address: &str,
) -> io::Result<LeaderAnswer> {
    if kept.as_ref().is_none_or(|(to, _)| to != address) {
        let connection = HttpConnection::connect(address, LEADER_LIMIT).await?;
        *kept = Some((address.to_string(), connection));
    }
    let Some((_, connection)) = kept else {
        return Err(io::ErrorKind::NotConnected.into());
    };
    let (_, body) = connection.get(OWN_ANSWER, LEADER_LIMIT).await?;
    serde_json::from_slice(&body).map_err(io::Error::other)
}

impl Health for ShardHealth {
    fn node_id(&self) -> u64 {
        self.node_id
    }

    fn leads(&self) -> bool {
        self.shard.is_leader()
    }

    fn leader_grpc(&self) -> Option<String> {
        self.shard.leader_grpc_address()
    }

    fn reads(&self, through_leader: bool) -> Pin<Box<dyn Future<Output = bool> + Send + '_>> {
        Box::pin(async move {
            match self.shard.read().await {
                Ok(_) => true,
                Err(Unavailable::NotLeader) => through_leader && self.leader_reads().await,
                Err(
                    Unavailable::NoLeader
                    | Unavailable::Unknown
                    | Unavailable::Overloaded
                    | Unavailable::DiskLow
                    | Unavailable::Stopping
                    | Unavailable::DeadlineExceeded,
                ) => false,
            }
        })
    }

    fn metrics(&self) -> String {
        let mut page = Page::default();
        self.shard.render(&mut page);
        (self.more_metrics)(&mut page);
        page.done()
    }
}
