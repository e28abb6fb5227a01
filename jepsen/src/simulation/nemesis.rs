//! Brings faults about, and mends them. Never more machines are down or sick than a quorum can
//! spare, but for a power loss of all.

use super::swarm::{Fault, Swarm};
use super::{Cluster, Crashed, Trace};
use crate::evidence::Violation;
use rand::Rng;
use rand::seq::IndexedRandom;
use rand_chacha::ChaCha8Rng;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use steadfast_storage::disk::CrashLoss;
use tokio::time::{Instant, sleep};

/// Between two looks.
const TICK: Duration = Duration::from_millis(50);
/// A hand-over may take so long.
const HAND_OVER: Duration = Duration::from_secs(1);

/// Breaks and mends one cluster.
#[derive(Debug)]
pub struct Nemesis {
    cluster: Cluster,
    swarm: Swarm,
    chance: ChaCha8Rng,
    trace: Trace,
    /// With the moment at which each comes back.
    down: Vec<(Instant, Crashed)>,
    /// Nodes that must fail soon, and what happens to their machine then.
    sick: BTreeMap<u64, CrashLoss>,
    /// When links and disks are mended.
    mend_at: Option<Instant>,
    /// How often each kind happened.
    pub happened: BTreeMap<Fault, u32>,
    /// Who said to lead in each term.
    pub leaders: BTreeMap<u64, BTreeSet<u64>>,
    /// When a new leader was first seen.
    pub led_since: Vec<Duration>,
    /// Term and applied index of each node in this life, which only grow.
    seen: BTreeMap<u64, (u64, u64)>,
}

impl Nemesis {
    /// For a cluster that runs well so far.
    #[must_use]
    pub fn new(cluster: Cluster, swarm: Swarm, chance: ChaCha8Rng, trace: &Trace) -> Self {
        Self {
            cluster,
            swarm,
            chance,
            trace: trace.clone(),
            down: Vec::new(),
            sick: BTreeMap::new(),
            mend_at: None,
            happened: BTreeMap::new(),
            leaders: BTreeMap::new(),
            led_since: Vec::new(),
            seen: BTreeMap::new(),
        }
    }

    /// The cluster.
    #[must_use]
    pub fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// Breaks and mends until a moment.
    ///
    /// # Errors
    /// A node failed or did not start for which there was no reason, or went back.
    pub async fn run(&mut self, until: Instant) -> Result<(), Violation> {
        let mut next = Instant::now() + self.around(self.swarm.fault_every);
        while Instant::now() < until {
            sleep(TICK).await;
            self.look().await?;
            if Instant::now() >= next {
                self.break_something().await;
                next = Instant::now() + self.around(self.swarm.fault_every);
            }
        }
        Ok(())
    }

    /// Looks only, until a moment.
    ///
    /// # Errors
    /// As [`Nemesis::run`].
    pub async fn watch(&mut self, until: Instant) -> Result<(), Violation> {
        while Instant::now() < until {
            sleep(TICK).await;
            self.look().await?;
        }
        Ok(())
    }

    /// Mends all links and disks, and starts all machines.
    ///
    /// # Errors
    /// As [`Nemesis::run`].
    pub async fn heal(&mut self) -> Result<(), Violation> {
        self.trace.line(|| "all is healed".into());
        self.mend();
        self.cluster
            .network()
            .set_conditions(super::Conditions::default());
        for id in std::mem::take(&mut self.sick).into_keys() {
            // What was to come does not come: the machine is started afresh.
            let crashed = self.cluster.crash(id, CrashLoss::Nothing).await;
            self.down.push((Instant::now(), crashed));
        }
        for (at, _) in &mut self.down {
            *at = Instant::now();
        }
        self.look().await
    }

    fn around(&mut self, mean: Duration) -> Duration {
        mean.mul_f64(2.0 * self.chance.random::<f64>())
    }

    fn one(&mut self) -> Option<u64> {
        self.cluster.running().choose(&mut self.chance).copied()
    }

    /// A node that may be taken away.
    fn victim(&mut self) -> Option<u64> {
        let spare = (self.cluster.size() as usize - 1) / 2;
        if self.down.len() + self.sick.len() >= spare {
            return None;
        }
        self.one().filter(|id| !self.sick.contains_key(id))
    }

    async fn take(&mut self, id: u64, loss: CrashLoss) {
        let crashed = self.cluster.crash(id, loss).await;
        self.gone(crashed);
    }

    fn gone(&mut self, crashed: Crashed) {
        self.seen.remove(&crashed.id);
        self.sick.remove(&crashed.id);
        let back = Instant::now() + self.around(self.swarm.mended_after);
        self.down.push((back, crashed));
    }

    async fn look(&mut self) -> Result<(), Violation> {
        for (id, reason) in self.cluster.failures() {
            match self.sick.remove(&id) {
                Some(loss) => {
                    self.trace.line(|| format!("{id} cannot go on: {reason}"));
                    self.take(id, loss).await;
                }
                None => {
                    let what = format!("node {id} cannot go on: {reason}");
                    return Err(Violation::new("nodes_run", what));
                }
            }
        }
        let now = Instant::now();
        let (back, down) = std::mem::take(&mut self.down)
            .into_iter()
            .partition(|(at, _)| *at <= now);
        self.down = down;
        let back: Vec<(Instant, Crashed)> = back;
        for (_, crashed) in back {
            let id = crashed.id;
            if let Err(error) = self.cluster.restart(crashed).await {
                let what = format!("node {id} does not start: {error}");
                return Err(Violation::new("nodes_start", what));
            }
        }
        if self.mend_at.is_some_and(|at| at <= now) {
            self.mend();
        }
        self.observe()
    }

    fn observe(&mut self) -> Result<(), Violation> {
        for id in self.cluster.running() {
            let Some(door) = self.cluster.doors().get(id) else {
                continue;
            };
            let (term, leads) = {
                let leadership = door.shard.leadership();
                let leadership = leadership.borrow();
                (leadership.term, leadership.is_leader)
            };
            let applied = door.shard.view().applied();
            if leads {
                if !self.leaders.contains_key(&term) {
                    self.led_since.push(self.trace.elapsed());
                }
                self.leaders.entry(term).or_default().insert(id);
            }
            let before = self.seen.insert(id, (term, applied)).unwrap_or_default();
            if before.0 > term || before.1 > applied {
                let what = format!("node {id} went from {before:?} to {:?}", (term, applied));
                return Err(Violation::new("nodes_never_go_back", what));
            }
        }
        Ok(())
    }

    fn mend(&mut self) {
        self.trace.line(|| "links and disks are mended".into());
        self.cluster.heal();
        for id in self.cluster.running() {
            if let Some(disk) = self.cluster.disk(id) {
                disk.set_sync_takes(Duration::from_micros(500));
            }
        }
        self.mend_at = None;
    }

    fn mend_later(&mut self) {
        if self.mend_at.is_none() {
            self.mend_at = Some(Instant::now() + self.around(self.swarm.mended_after));
        }
    }

    async fn break_something(&mut self) {
        let Some(fault) = self.swarm.faults.choose(&mut self.chance).copied() else {
            return;
        };
        if self.bring(fault).await.is_some() {
            self.trace.line(|| format!("fault {fault:?}"));
            *self.happened.entry(fault).or_default() += 1;
        }
    }

    /// `None` when it cannot be now.
    async fn bring(&mut self, fault: Fault) -> Option<()> {
        let seed = self.chance.random();
        match fault {
            Fault::Kill => {
                let id = self.victim()?;
                self.take(id, CrashLoss::Nothing).await;
            }
            Fault::PowerLoss => {
                let id = self.victim()?;
                self.take(id, CrashLoss::Seeded(seed)).await;
            }
            Fault::PowerLossInDiskCall => {
                let id = self.victim()?;
                let call = self.chance.random_range(1..60);
                self.cluster.disk(id)?.cut_power_at(call);
                self.sick.insert(id, CrashLoss::Seeded(seed));
            }
            Fault::PowerLossOfAll => {
                for id in self.cluster.running() {
                    self.take(id, CrashLoss::Seeded(seed ^ id)).await;
                }
            }
            Fault::Stop => {
                let id = self.victim()?;
                let stopped = self.cluster.stop_one(id).await;
                self.gone(stopped);
            }
            Fault::FailedSync => {
                let id = self.victim()?;
                let sync = self.chance.random_range(1..20);
                self.cluster.disk(id)?.fail_sync(sync);
                self.sick.insert(id, CrashLoss::Nothing);
            }
            Fault::SlowSync => {
                let id = self.one()?;
                let takes = Duration::from_millis(self.chance.random_range(20..400));
                self.cluster.disk(id)?.set_sync_takes(takes);
                self.mend_later();
            }
            Fault::Isolation | Fault::OneWay | Fault::Partition | Fault::SlowLink => {
                self.break_links(fault)?;
                self.mend_later();
            }
            Fault::ClockJump => {
                let id = self.swarm.wrong_clock;
                self.cluster.disk(id)?;
                let seconds: i64 = self.chance.random_range(-3_600..3_600);
                self.cluster.jump_clock(id, seconds * 1_000_000_000);
            }
            Fault::LeaderTransfer => {
                let leader = self.cluster.doors().leader()?;
                leader.hand_over(None, HAND_OVER).await;
            }
        }
        Some(())
    }

    fn break_links(&mut self, fault: Fault) -> Option<()> {
        let one = self.one()?;
        let others: Vec<u64> = (1..=self.cluster.size()).filter(|id| *id != one).collect();
        match fault {
            Fault::OneWay => others.iter().for_each(|to| self.cluster.cut(one, *to)),
            Fault::Partition => {
                let (here, there): (Vec<u64>, Vec<u64>) =
                    (1..=self.cluster.size()).partition(|_| self.chance.random());
                for (a, b) in here.iter().flat_map(|a| there.iter().map(move |b| (a, b))) {
                    self.cluster.cut(*a, *b);
                    self.cluster.cut(*b, *a);
                }
            }
            Fault::SlowLink => {
                let other = *others.choose(&mut self.chance)?;
                let by = Duration::from_millis(self.chance.random_range(20..500));
                self.cluster.slow(one, other, by);
            }
            Fault::Isolation
            | Fault::Kill
            | Fault::PowerLoss
            | Fault::PowerLossInDiskCall
            | Fault::PowerLossOfAll
            | Fault::Stop
            | Fault::FailedSync
            | Fault::SlowSync
            | Fault::ClockJump
            | Fault::LeaderTransfer => self.cluster.isolate(one),
        }
        Some(())
    }

    /// Ends all nodes.
    pub async fn end(self) {
        self.cluster.stop().await;
    }
}
