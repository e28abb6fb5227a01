//! Who should lead: a node whose wall clock is off those of the others lets them (design D6).

use super::Core;
use std::sync::PoisonError;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// After so long without a leader any voter may stand: a wrong clock is better than no leader. Nodes
/// tell each other once a second that they lead, so this is the least that is sure.
const LEADERLESS: Duration = Duration::from_secs(3);
const LOOK: Duration = Duration::from_millis(250);
/// A voter that was not heard for so long may be gone.
const HEARD: Duration = Duration::from_secs(3);

/// Every node's loop: whether it stands for election.
pub(super) async fn watch(core: &Core) {
    let Some(raft) = core.raft() else { return };
    let mut stood = true;
    loop {
        if core.leads() {
            core.leader_heard();
        }
        let clock = !core.time.is_off(core.node_id) || core.leaderless_for() >= LEADERLESS;
        // With a wrong state never: a cluster without a leader loses nothing.
        let stands = clock && !core.in_minority();
        if stands != stood {
            raft.stand(stands);
            stood = stands;
            if stands {
                tracing::info!("this node may lead again");
            } else {
                tracing::warn!("other nodes are to lead: the clock or the state here is wrong");
            }
        }
        sleep(LOOK).await;
    }
}

pub(super) fn successor(core: &Core) -> Option<u64> {
    let voters = core.raft()?.peers().into_iter().filter(|peer| peer.voter);
    voters
        .max_by_key(|peer| {
            let heard = peer.last_contact.is_some_and(|ago| ago <= HEARD);
            let sound = !core.soundness.differs(peer.id);
            (sound, heard, !core.time.is_off(peer.id), peer.matched)
        })
        .map(|peer| peer.id)
}

impl Core {
    /// This node leads as Raft sees it, whether it serves yet or not.
    pub(super) fn leads(&self) -> bool {
        self.raft()
            .is_some_and(|raft| raft.leadership().borrow().is_leader)
    }

    /// There is a leader now: this node, or one that just told that it is.
    pub(super) fn leader_heard(&self) {
        *self.led_at.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    fn leaderless_for(&self) -> Duration {
        self.led_at
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .elapsed()
    }
}
