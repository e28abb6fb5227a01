//! Members that come and go.

use super::super::operator::Change;
use super::{Fault, Nemesis, Situation};
use crate::evidence::Violation;
use rand::Rng;
use rand::seq::IndexedRandom;
use steadfast_storage::disk::CrashLoss;
use tokio::task::JoinHandle;

/// No more members than this.
const MOST: usize = 5;
/// And no less.
const LEAST: usize = 3;

/// A change that the operator carries out.
#[derive(Debug)]
pub(super) struct Changing {
    pub(super) change: Change,
    operator: JoinHandle<()>,
}

impl Nemesis {
    /// One disk at a time, and none before the cluster has begun: it begins with all its members or
    /// not at all, so there a lost one is for its operator to start anew.
    pub(super) fn may_lose_a_disk(&self) -> bool {
        self.changing.is_none() && self.damaged.is_none() && !self.led_since.is_empty()
    }

    pub(super) async fn change_members(&mut self, fault: Fault) -> Option<()> {
        if !self.may_lose_a_disk() {
            return None;
        }
        let members = self.cluster.members().len();
        if fault == Fault::LostDisk {
            let id = self.victim()?;
            drop(self.cluster.crash(id, CrashLoss::AllUnsynced).await);
            self.watched.ends(id);
            self.paused.remove(&id);
            self.damaged = Some(id);
            self.replace(id).await.ok()
        } else if fault == Fault::Grow && members < MOST {
            self.begin(true, None).await.ok()
        } else if fault == Fault::Shrink && members > LEAST {
            let all: Vec<u64> = self.cluster.members().iter().copied().collect();
            let one = *all.choose(&mut self.chance)?;
            self.begin(false, Some(one)).await.ok()
        } else {
            None
        }
    }

    /// A new node takes the place of one that is gone for good.
    pub(super) async fn replace(&mut self, lost: u64) -> Result<(), Violation> {
        self.begin(true, Some(lost)).await
    }

    async fn begin(&mut self, add: bool, remove: Option<u64>) -> Result<(), Violation> {
        let mut joins = None;
        if add {
            let id = self.next_id;
            self.next_id += 1;
            let others: Vec<u64> = self
                .cluster
                .members()
                .iter()
                .copied()
                .filter(|other| Some(*other) != remove)
                .collect();
            let asks = others.choose(&mut self.chance).copied().unwrap_or(id);
            if let Err(error) = self.cluster.join(id, asks).await {
                let what = format!("node {id} does not start: {error}");
                return Err(Violation::new("nodes_start", what));
            }
            joins = Some(id);
        }
        let change = Change { add: joins, remove };
        self.trace
            .line(|| format!("the operator begins {change:?}"));
        let operator = tokio::spawn(change.carry_out(self.cluster.doors().clone()));
        self.changing = Some(Changing { change, operator });
        Ok(())
    }

    /// Takes note when the operator is done.
    pub(super) async fn members_changed(&mut self) -> Result<(), Violation> {
        let done = |changing: &Changing| changing.operator.is_finished();
        if !self.changing.as_ref().is_some_and(done) {
            return Ok(());
        }
        let Some(changing) = self.changing.take() else {
            return Ok(());
        };
        if changing.operator.await.is_err() {
            return Err(Violation::new("members_change", "the operator panicked"));
        }
        self.trace
            .line(|| format!("the operator has done {:?}", changing.change));
        self.meet(Situation::MembershipChange);
        if let Some(gone) = changing.change.remove {
            self.cluster.forget(gone);
            if self.damaged == Some(gone) {
                self.damaged = None;
            }
            let comes_back = self.down.iter().any(|(_, crashed)| crashed.id == gone);
            if comes_back || self.cluster.running().contains(&gone) {
                self.leaving.insert(gone);
            }
        }
        // Sometimes the machine of a removed node is thrown away at once.
        if self.chance.random_bool(0.5) {
            for id in std::mem::take(&mut self.leaving) {
                self.down.retain(|(_, crashed)| crashed.id != id);
                if self.cluster.running().contains(&id) {
                    drop(self.cluster.crash(id, CrashLoss::Nothing).await);
                    self.watched.ends(id);
                }
                self.sick.remove(&id);
                self.paused.remove(&id);
            }
        }
        Ok(())
    }
}
