//! Whether the replicas hold the same state (design D4): the verdict on the digests that nodes tell
//! each other, and what follows from it.
//!
//! A node whose digest differs from that of a majority is in the *minority*: it does not lead or
//! stand, and asks a node of the majority for its files. When digests differ and none has a
//! majority the states are *split*: the leader refuses writes until one has.

use super::Core;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::sleep;

/// A peer that was not heard for so long is not asked for its files.
const HEARD: Duration = Duration::from_secs(3);
/// One try to hand over the leadership.
const TRANSFER: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(500);

/// Digests by the log index of their mark.
type Digests = BTreeMap<u64, u128>;

/// What the digests say.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Verdict {
    /// Nodes whose state differs from that of a majority.
    differing: BTreeSet<u64>,
    /// Nodes that hold the state of a majority.
    sound: BTreeSet<u64>,
    /// Index of a mark at which states differ and none has a majority.
    split: Option<u64>,
}

/// The digests told last, and the verdict on them.
#[derive(Debug, Default)]
pub(super) struct Soundness {
    told: Mutex<BTreeMap<u64, Digests>>,
    verdict: watch::Sender<Verdict>,
}

/// A majority at any mark tells who is right; among the others the newest mark with two reports
/// tells whether there is a majority at all.
fn judge(voters: &BTreeSet<u64>, reports: &BTreeMap<u64, Digests>) -> Verdict {
    let indexes: BTreeSet<u64> = reports
        .values()
        .flat_map(|own| own.keys().copied())
        .collect();
    let majority = voters.len() / 2 + 1;
    let mut verdict = Verdict::default();
    let mut undecided = None;
    for index in indexes {
        let mut nodes: BTreeMap<u128, BTreeSet<u64>> = BTreeMap::new();
        for (node, digests) in reports {
            if let Some(digest) = digests.get(&index) {
                nodes.entry(*digest).or_default().insert(*node);
            }
        }
        let has_majority = |nodes: &&BTreeSet<u64>| nodes.intersection(voters).count() >= majority;
        if let Some(right) = nodes.values().find(has_majority) {
            verdict.sound.extend(right);
            let wrong = nodes.values().filter(|nodes| *nodes != right).flatten();
            verdict.differing.extend(wrong);
            undecided = None;
        } else if nodes.values().map(BTreeSet::len).sum::<usize>() >= 2 {
            undecided = Some((index, nodes));
        }
    }
    verdict.sound = &verdict.sound - &verdict.differing;
    if let Some((index, nodes)) = undecided {
        let disagree = nodes
            .values()
            .filter(|nodes| !nodes.is_subset(&verdict.differing))
            .count();
        verdict.split = (disagree > 1).then_some(index);
    }
    verdict
}

impl Soundness {
    fn told(&self) -> std::sync::MutexGuard<'_, BTreeMap<u64, Digests>> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn verdict(&self) -> watch::Receiver<Verdict> {
        self.verdict.subscribe()
    }

    fn is_split(&self) -> bool {
        self.verdict.borrow().split.is_some()
    }

    pub(super) fn differs(&self, node: u64) -> bool {
        self.verdict.borrow().differing.contains(&node)
    }
}

impl Core {
    /// Takes what a peer told, and looks at all of it again.
    pub(super) fn digests_told(&self, from: u64, digests: &[(u64, u128)]) {
        let digests = digests.iter().copied().collect();
        self.soundness.told().insert(from, digests);
        self.judge();
    }

    /// This node's state was replaced or a peer told something.
    pub(super) fn judge(&self) {
        let Some(raft) = self.raft() else { return };
        let members = raft.members();
        if members.voters.is_empty() {
            return;
        }
        let own = self.store.digests();
        let own = own.iter().map(|own| (own.position.index, own.digest));
        let verdict = {
            let mut told = self.soundness.told();
            told.retain(|node, _| members.peers.contains_key(node));
            told.insert(self.node_id, own.collect());
            judge(&members.voters, &told)
        };
        let before = self.soundness.verdict.send_replace(verdict.clone());
        if before == verdict {
            return;
        }
        if before.differing != verdict.differing && !verdict.differing.is_empty() {
            self.telemetry.digest_mismatches.add(1);
            let nodes = &verdict.differing;
            tracing::error!(?nodes, "nodes hold another state than the majority");
        }
        match (before.split, verdict.split) {
            (None, Some(index)) => {
                self.telemetry.digest_mismatches.add(1);
                tracing::error!(
                    index,
                    "the nodes' states differ and none has a majority: writes are refused"
                );
            }
            (Some(_), None) => tracing::warn!("a majority has the same state again"),
            (Some(_), Some(_)) | (None, None) => {}
        }
    }

    /// This node's state differs from that of a majority.
    pub(super) fn in_minority(&self) -> bool {
        self.soundness.differs(self.node_id)
    }

    /// States differ without a majority: nothing is written.
    pub(super) fn is_split(&self) -> bool {
        self.soundness.is_split()
    }

    /// 0 when all is well, 1 in the minority, 2 while no state has a majority.
    pub(super) fn unsound(&self) -> u64 {
        match (self.in_minority(), self.is_split()) {
            (true, _) => 1,
            (false, true) => 2,
            (false, false) => 0,
        }
    }

    /// Whose files this node needs: those of a node of the majority that is there.
    pub(super) fn rebuild_from(&self) -> u64 {
        if !self.in_minority() {
            return 0;
        }
        let sound = self.soundness.verdict.borrow().sound.clone();
        let Some(raft) = self.raft() else { return 0 };
        let heard = raft.peers().into_iter().find(|peer| {
            sound.contains(&peer.id) && peer.last_contact.is_some_and(|ago| ago <= HEARD)
        });
        heard.map_or(0, |peer| peer.id)
    }

    /// A peer in the minority asks for this node's files.
    pub(super) fn asked_to_rebuild(&self, peer: u64) {
        if self.unsound() != 0 || !self.soundness.differs(peer) {
            return;
        }
        if let Some(raft) = self.raft() {
            raft.send_rebuild(peer);
        }
    }
}

/// Ends when this node is in the minority.
pub(super) async fn until_minority(core: &Core) {
    let mut verdict = core.soundness.verdict();
    let minority = |verdict: &Verdict| verdict.differing.contains(&core.node_id);
    // The shard holds the sender: this ends with the verdict only.
    drop(verdict.wait_for(minority).await);
}

/// A leader in the minority hands over, until it does not lead or its state is right again.
pub(super) async fn hand_over(core: &Core) {
    let Some(raft) = core.raft() else { return };
    tracing::error!("this node's state is not that of the majority: it leaves the leadership");
    while core.in_minority() && core.leads() {
        if !raft
            .transfer_leader(super::stand::successor(core), TRANSFER)
            .await
        {
            sleep(PAUSE).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(reports: &[(u64, &[(u64, u128)])]) -> Verdict {
        let reports = reports
            .iter()
            .map(|(node, digests)| (*node, digests.iter().copied().collect()))
            .collect();
        judge(&BTreeSet::from([1, 2, 3]), &reports)
    }

    #[test]
    fn equal_digests_are_sound() {
        let all = told(&[(1, &[(5, 50)]), (2, &[(5, 50), (9, 90)]), (3, &[(5, 50)])]);
        assert!(all.differing.is_empty());
        assert_eq!(all.split, None);
        // Marks that nobody shares say nothing.
        let apart = told(&[(1, &[(5, 50)]), (2, &[(6, 60)])]);
        assert_eq!(apart, Verdict::default());
    }

    #[test]
    fn one_against_two_is_the_minority() {
        let two = told(&[(1, &[(5, 50)]), (2, &[(5, 51)]), (3, &[(5, 50)])]);
        assert_eq!(two.differing, BTreeSet::from([2]));
        assert_eq!(two.sound, BTreeSet::from([1, 3]));
        assert_eq!(two.split, None);
    }

    #[test]
    fn one_against_one_is_split_until_the_third_tells() {
        let split = told(&[(1, &[(5, 50)]), (2, &[(5, 51)])]);
        assert_eq!(split.split, Some(5));
        assert!(split.differing.is_empty());
        let all_differ = told(&[(1, &[(5, 50)]), (2, &[(5, 51)]), (3, &[(5, 52)])]);
        assert_eq!(all_differ.split, Some(5));
    }

    #[test]
    fn a_known_minority_splits_nothing_at_the_next_mark() {
        let next = told(&[
            (1, &[(5, 50), (9, 90)]),
            (2, &[(5, 51), (9, 91)]),
            (3, &[(5, 50)]),
        ]);
        assert_eq!(next.differing, BTreeSet::from([2]));
        assert_eq!(next.split, None);
    }
}
