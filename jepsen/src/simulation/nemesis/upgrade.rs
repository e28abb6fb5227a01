//! A rolling upgrade: one node after the other is killed and comes back with a newer program, until
//! the operator can raise the engine version. No node ever goes back to the old program.

use super::super::Doors;
use super::{Nemesis, Situation};
use std::time::Duration;
use steadfast_engine::{ENGINE_VERSION, NEWEST_ENGINE_VERSION};
use steadfast_storage::disk::CrashLoss;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

/// Between two nodes' upgrades, at least.
const EVERY: Duration = Duration::from_secs(4);
/// Between two tries to raise the version.
const LOOK: Duration = Duration::from_secs(1);
/// A try that has no answer by then is made again.
const ANSWER: Duration = Duration::from_secs(5);

/// An upgrade under way.
#[derive(Debug)]
pub(super) struct Upgrade {
    /// When the next node's turn comes.
    next_at: Instant,
    /// Raises the version as soon as all know it.
    operator: Option<JoinHandle<()>>,
}

/// Goes on until the version is raised, through all that happens to leaders meanwhile.
async fn raise(doors: Doors) {
    loop {
        sleep(LOOK).await;
        let Some(door) = doors.leading() else {
            continue;
        };
        let step = async {
            door.moves().await;
            door.shard.raise_engine_version(0).await
        };
        let done = door.life.run_until_cancelled(timeout(ANSWER, step)).await;
        if let Some(Ok(Ok(version))) = done
            && version > ENGINE_VERSION
        {
            return;
        }
    }
}

impl Nemesis {
    /// From now on nodes are upgraded; new ones begin with the newer program.
    pub fn begin_upgrade(&mut self) {
        self.cluster.set_new_program(NEWEST_ENGINE_VERSION);
        self.upgrade = Some(Upgrade {
            next_at: Instant::now() + EVERY,
            operator: Some(tokio::spawn(raise(self.cluster.doors().clone()))),
        });
    }

    /// Takes the next node's turn when it may be away, and notes when the version is raised.
    pub(super) async fn go_on_upgrading(&mut self, now: Instant) {
        let Some(upgrade) = &mut self.upgrade else {
            return;
        };
        let raised = upgrade
            .operator
            .as_ref()
            .is_some_and(JoinHandle::is_finished);
        let is_due = upgrade.next_at <= now;
        if is_due {
            upgrade.next_at = now + EVERY;
        }
        if raised {
            upgrade.operator = None;
            self.trace.line(|| "the engine version is raised".into());
            self.meet(Situation::EngineVersionRaised);
        }
        if !is_due || self.away() >= (self.voters() - 1) / 2 {
            return;
        }
        let next = self.cluster.running().into_iter().find(|id| {
            self.cluster.program(*id) < NEWEST_ENGINE_VERSION
                && !self.sick.contains_key(id)
                && !self.paused.contains_key(id)
                && !self.leaving.contains(id)
        });
        if let Some(id) = next {
            self.trace.line(|| format!("{id} gets a newer program"));
            self.cluster.upgrade(id);
            self.take(id, CrashLoss::Nothing).await;
        }
    }
}
