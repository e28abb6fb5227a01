//! What the nodes say of themselves, asked all the time: who leads in which term, and that nobody
//! goes back.
//!
//! A term may see several leaders, one after the other: a leadership is a term and a node, and the
//! greater node id supersedes the smaller (openraft's `leader_id_adv`). So leaderships have an order,
//! and what a node knows of them never goes back in it.

use crate::evidence::{Observation, Violation};
use crate::workload::{Addresses, Channels};
use futures::future::join_all;
use std::collections::BTreeMap;
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

/// A leadership: its term and its node, in openraft's order.
pub(super) type Leadership = (u64, u64);

/// What was seen so far.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// When a node first knew of each leadership.
    pub(super) led_since: BTreeMap<Leadership, Duration>,
    /// How far each node was, whenever that changed.
    pub(super) observations: Vec<Observation>,
    /// The newest of each node in this life.
    lives: BTreeMap<u64, Observation>,
    /// The newest leadership that each node knew of in this life.
    known: BTreeMap<u64, Leadership>,
    /// Increased when a node is started: answers of an earlier life count no more.
    life: BTreeMap<u64, u32>,
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

impl Seen {
    fn knows(&mut self, node: u64, leadership: Leadership, at: Duration) {
        self.led_since.entry(leadership).or_insert(at);
        let before = self.known.insert(node, leadership).unwrap_or_default();
        if before > leadership {
            self.back(format!(
                "node {node} knew of the leadership {before:?} and then of {leadership:?}"
            ));
        }
    }

    fn is_as_far(&mut self, now: Observation) {
        let before = self.lives.insert(now.node, now);
        if let Some(before) = before
            && (before.term > now.term || before.applied > now.applied)
        {
            self.back(format!("{before:?}, then {now:?}"));
        }
        if before.is_none_or(|before| !before.is_as_far(&now)) {
            self.observations.push(now);
        }
    }

    fn back(&mut self, what: String) {
        let violation = Violation::new("nodes_never_go_back", what);
        self.violations.push(violation);
    }
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
        seen.known.remove(&node);
        seen.newest.remove(&node);
    }

    /// A file of a node was spoiled while it was down: of what it knew before, its vote too, it may
    /// have lost what no checksum can tell from a write that a crash cut off.
    pub(super) fn may_forget(&self, node: u64) {
        self.seen().observations.retain(|seen| seen.node != node);
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

    fn take(&self, node: u64, life: u32, answer: admin::StatusResponse) {
        let mut seen = self.seen();
        if seen.life.get(&node).copied().unwrap_or_default() != life || answer.node_id != node {
            return;
        }
        let at = self.began.elapsed();
        if answer.leader != 0 {
            seen.knows(node, (answer.term, answer.leader), at);
        }
        let own = own(&answer).cloned().unwrap_or_default();
        seen.is_as_far(Observation {
            at,
            node,
            life,
            term: answer.term,
            // Nodes do not tell how long their logs are: at least this.
            last: own.committed,
            committed: own.committed,
            applied: own.applied,
            ..Observation::default()
        });
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

#[cfg(test)]
mod tests {
    use super::*;

    fn watch() -> Watch {
        Watch {
            began: Instant::now(),
            channels: Channels::default(),
            seen: Arc::default(),
        }
    }

    fn says(watch: &Watch, node: u64, leadership: Leadership, applied: u64) {
        let own = admin::NodeStatus {
            member: Some(admin::Member {
                id: node,
                ..Default::default()
            }),
            applied,
            committed: applied,
            ..Default::default()
        };
        let life = watch.seen().life.get(&node).copied().unwrap_or_default();
        let answer = admin::StatusResponse {
            node_id: node,
            term: leadership.0,
            leader: leadership.1,
            nodes: vec![own],
            ..Default::default()
        };
        watch.take(node, life, answer);
    }

    #[test]
    fn two_leaders_of_a_term_one_after_the_other_are_no_violation() {
        let watch = watch();
        for leadership in [(2, 1), (2, 0), (2, 3), (3, 1)] {
            says(&watch, 1, leadership, 5);
            says(&watch, 3, leadership, 5);
        }
        assert_eq!(watch.seen().violations, []);
        let known: Vec<Leadership> = watch.seen().led_since.keys().copied().collect();
        assert_eq!(known, [(2, 1), (2, 3), (3, 1)]);
    }

    #[test]
    fn a_node_that_goes_back_to_a_superseded_leadership_is_found() {
        let watch = watch();
        says(&watch, 1, (2, 3), 5);
        says(&watch, 1, (2, 1), 5);
        assert_eq!(watch.seen().violations.len(), 1);
    }

    #[test]
    fn a_node_may_be_less_far_in_another_life_only() {
        let watch = watch();
        says(&watch, 1, (2, 1), 5);
        watch.lives_again(1);
        says(&watch, 1, (2, 1), 3);
        assert_eq!(watch.seen().violations, []);
        says(&watch, 1, (2, 1), 2);
        assert_eq!(watch.seen().violations.len(), 1);
        assert_eq!(watch.seen().observations.len(), 3);
        watch.may_forget(1);
        assert_eq!(watch.seen().observations, []);
    }
}
