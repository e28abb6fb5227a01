//! Who leads, as the node needs to know it.

use crate::peer::{NodeId, Peer};
use crate::types::{Raft, Types};
use openraft::ChangeMembers;
use openraft::RaftMetrics;
use openraft::async_runtime::WatchReceiver;
use std::collections::BTreeSet;
use tokio::sync::watch;

/// The leader, if one is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leader {
    /// Its id.
    pub id: NodeId,
    /// Its addresses, when membership knows them.
    pub peer: Option<Peer>,
}

/// Who leads. A hint on every node but a ready leader.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Leadership {
    /// Raft's term.
    pub term: u64,
    /// Who leads in it.
    pub leader: Option<Leader>,
    /// This node leads. Its term and id name this leadership.
    pub is_leader: bool,
    /// This node leads and has applied everything that was committed before: it may act.
    pub ready: bool,
}

fn of(metrics: &RaftMetrics<Types>) -> Leadership {
    let is_leader = metrics.state.is_leader() && metrics.vote.committed;
    let applied_in = metrics
        .last_applied
        .as_ref()
        .map(|id| id.committed_leader_id());
    Leadership {
        term: metrics.current_term,
        leader: metrics.current_leader.map(|id| Leader {
            id,
            peer: metrics.membership_config.get_node(&id).cloned(),
        }),
        is_leader,
        // The first entry of a leadership is its own, blank: applied, all before it is too.
        ready: is_leader && applied_in == Some(&metrics.vote.leader_id),
    }
}

/// Keeps `leadership` and `stopped` up to date until Raft stops.
pub(crate) async fn watch(
    raft: Raft,
    leadership: watch::Sender<Leadership>,
    stopped: watch::Sender<Option<String>>,
) {
    let mut metrics = raft.metrics();
    let mut finishing = false;
    loop {
        let (now, joint, failure) = {
            let metrics = metrics.borrow_watched();
            let joint = metrics.membership_config.get_joint_config().len() > 1;
            (
                of(&metrics),
                joint,
                metrics
                    .running_state
                    .as_ref()
                    .err()
                    .map(ToString::to_string),
            )
        };
        // A predecessor died in the middle of a change: only a new leader can finish it.
        if now.ready && joint && !finishing {
            tokio::spawn(finish_joint(raft.clone()));
        }
        finishing = now.ready;
        leadership.send_if_modified(|old| {
            let changed = *old != now;
            *old = now;
            changed
        });
        if failure.is_some() {
            stopped.send_replace(failure);
            return;
        }
        if metrics.changed().await.is_err() {
            stopped.send_replace(Some("raft stopped".to_owned()));
            return;
        }
    }
}

async fn finish_joint(raft: Raft) {
    let nothing = ChangeMembers::AddVoterIds(BTreeSet::new());
    match raft.change_membership(nothing, false).await {
        Ok(_) => tracing::info!("finished a membership change of a former leader"),
        Err(error) => tracing::warn!(%error, "a membership change stays unfinished"),
    }
}
