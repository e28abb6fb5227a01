//! What the nodes say of themselves, asked all the time: who leads in which term, and that nobody
//! goes back.

use crate::evidence::Violation;
use crate::workload::{Addresses, Channels};
use futures::future::join_all;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use steadfast_proto::internal::admin::v1 as admin;
use steadfast_proto::internal::admin::v1::admin_service_client::AdminServiceClient;
use tokio::time::{sleep, timeout};
use tonic::transport::{Channel, Endpoint};

/// Between two rounds of questions.
const EVERY: Duration = Duration::from_millis(200);
/// A node that does not answer within this is not heard in this round.
const ANSWERS: Duration = Duration::from_millis(500);

/// What was seen so far.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// Who said to lead in each term.
    pub(super) leaders: BTreeMap<u64, BTreeSet<u64>>,
    /// When each term's leader was first seen.
    pub(super) led_since: BTreeMap<u64, Duration>,
    /// Term and applied index of each node in this life.
    lives: BTreeMap<u64, (u64, u64)>,
    /// Increased when a node is started: answers of an earlier life count no more.
    life: BTreeMap<u64, u64>,
    /// The newest answer of each node.
    pub(super) newest: BTreeMap<u64, (Instant, admin::StatusResponse)>,
    /// What must not be.
    pub(super) violations: Vec<Violation>,
}

/// Watches all nodes.
#[derive(Debug, Clone)]
pub(super) struct Watch {
    began: Instant,
    channels: Channels,
    seen: Arc<Mutex<Seen>>,
}

impl Watch {
    /// Begins to watch the nodes that callers know; who leads, callers learn from it.
    pub(super) fn begin(began: Instant, channels: &Channels) -> Watch {
        let watch = Watch {
            began,
            channels: channels.clone(),
            seen: Arc::default(),
        };
        let looking = watch.clone();
        tokio::spawn(async move {
            loop {
                looking.look().await;
                sleep(EVERY).await;
            }
        });
        watch
    }

    pub(super) fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A node begins another life, on the same disk or a new one.
    pub(super) fn lives_again(&self, node: u64) {
        let mut seen = self.seen();
        *seen.life.entry(node).or_default() += 1;
        seen.lives.remove(&node);
        seen.newest.remove(&node);
    }

    /// Who leads, as far as is known.
    pub(super) fn leader(&self) -> Option<u64> {
        self.channels.addresses().leader
    }

    async fn look(&self) {
        let known: Addresses = self.channels.addresses().clone();
        let asked = known.nodes.iter().map(|(node, address)| async move {
            let life = self.seen().life.get(node).copied().unwrap_or_default();
            let answer = timeout(ANSWERS, status(address)).await.ok().flatten()?;
            Some((*node, life, answer))
        });
        for (node, life, answer) in join_all(asked).await.into_iter().flatten() {
            self.take(node, life, answer);
        }
        let leader = self.newest_leader();
        self.channels.addresses().leader = leader;
    }

    fn take(&self, node: u64, life: u64, answer: admin::StatusResponse) {
        let mut seen = self.seen();
        if seen.life.get(&node).copied().unwrap_or_default() != life || answer.node_id != node {
            return;
        }
        let own = own(&answer).cloned().unwrap_or_default();
        if own.role == "leader" {
            seen.leaders.entry(answer.term).or_default().insert(node);
            let now = self.began.elapsed();
            seen.led_since.entry(answer.term).or_insert(now);
        }
        let now = (answer.term, own.applied);
        let before = seen.lives.insert(node, now).unwrap_or_default();
        if before.0 > now.0 || before.1 > now.1 {
            let what = format!("node {node} went from {before:?} to {now:?}");
            seen.violations
                .push(Violation::new("nodes_never_go_back", what));
        }
        seen.newest.insert(node, (Instant::now(), answer));
    }

    /// Of those that say they lead, the one of the greatest term.
    fn newest_leader(&self) -> Option<u64> {
        let seen = self.seen();
        let fresh = seen
            .newest
            .values()
            .filter(|(at, answer)| at.elapsed() < 3 * ANSWERS && leads(answer));
        fresh
            .max_by_key(|(_, answer)| answer.term)
            .map(|(_, answer)| answer.node_id)
    }
}

fn leads(answer: &admin::StatusResponse) -> bool {
    own(answer).is_some_and(|own| own.role == "leader")
}

/// What a node says of itself.
pub(super) fn own(answer: &admin::StatusResponse) -> Option<&admin::NodeStatus> {
    answer.nodes.iter().find(|status| {
        let member = status.member.as_ref();
        member.is_some_and(|member| member.id == answer.node_id)
    })
}

/// A connection to a node's admin service.
pub(super) async fn connect(address: &str) -> Option<AdminServiceClient<Channel>> {
    let endpoint = Endpoint::from_shared(format!("http://{address}")).ok()?;
    let channel = endpoint.connect_timeout(ANSWERS).connect().await.ok()?;
    Some(AdminServiceClient::new(channel).max_decoding_message_size(64 << 20))
}

async fn status(address: &str) -> Option<admin::StatusResponse> {
    let mut client = connect(address).await?;
    let answer = client.status(admin::StatusRequest {}).await.ok()?;
    Some(answer.into_inner())
}
