//! Brings faults about, and mends them, bounded by what a cluster must survive (the fault atlas):
//! but for a power loss of all, seldom more machines are away at once than a quorum can spare, and
//! then only for a while; and never more than one disk is damaged or lost, until a new node has
//! taken its place.

mod bring;
mod disks;
mod links;
mod logs;
mod members;
mod observe;
mod upgrade;

use super::swarm::{Fault, Swarm};
use super::{Cluster, Crashed, Met, Situation, Trace};
use crate::evidence::{Observation, Violation};
use crate::log_story::{Logs, Shortened};
use members::Changing;
use rand::Rng;
use rand::seq::IndexedRandom;
use rand_chacha::ChaCha8Rng;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use steadfast_storage::disk::CrashLoss;
use tokio::time::{Instant, sleep};
use upgrade::Upgrade;

/// Between two looks.
const TICK: Duration = Duration::from_millis(50);
/// A sync of a good disk.
const SYNC_TAKES: Duration = Duration::from_micros(500);
/// How often one machine more is taken away, for a while, than a quorum can spare.
const ONE_MORE: f64 = 0.1;

/// What is wrong with a machine that runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ailment {
    /// It must fail soon; what is lost then.
    Dies(CrashLoss),
    /// Its disk is full, or nearly: it may stop, and there is room again when it starts.
    Full,
    /// Something on its disk is wrong, or will be: when the node finds out, a new one takes its
    /// place. It may never find out.
    Damaged,
}

/// Breaks and mends one cluster.
#[derive(Debug)]
pub struct Nemesis {
    cluster: Cluster,
    swarm: Swarm,
    chance: ChaCha8Rng,
    trace: Trace,
    /// With the moment at which each comes back.
    down: Vec<(Instant, Crashed)>,
    sick: BTreeMap<u64, Ailment>,
    /// Machines that stand still, until when.
    paused: BTreeMap<u64, Instant>,
    /// When links and disks are mended.
    mend_at: Option<Instant>,
    /// The change of membership under way; one at a time.
    changing: Option<Changing>,
    /// The rolling upgrade, in seeds that have one.
    upgrade: Option<Upgrade>,
    /// A member whose disk is damaged or gone.
    damaged: Option<u64>,
    /// Nodes that were removed and must end.
    leaving: BTreeSet<u64>,
    /// Ids are never used again.
    next_id: u64,
    /// Grows with each look.
    pub looks: Arc<AtomicU64>,
    /// How often each kind happened.
    pub happened: BTreeMap<Fault, u32>,
    /// Rare situations.
    pub met: Met,
    /// Who was seen to lead, with the term. A term may see several leaders, one after the other:
    /// what names a leadership is its term and its node (openraft's `leader_id_adv`).
    leaders: BTreeSet<(u64, u64)>,
    /// When a new leader was first seen.
    pub led_since: Vec<Duration>,
    /// The rate of the fastest clock there was.
    pub fastest_clock: f64,
    /// Some clock ran slower than true time.
    pub a_clock_ran_slow: bool,
    /// The leader whose clock alone is wrong in seeds that have that, and by how much it is now.
    leaders_clock: Option<(u64, i64)>,
    /// How far each node was, whenever that changed.
    pub observations: Vec<Observation>,
    /// The committed entries of all nodes' logs.
    pub logs: Logs,
    /// Logs that a start made shorter than they had been.
    pub shortened: Vec<Shortened>,
    watched: observe::Watched,
}

impl Nemesis {
    /// For a cluster that runs well so far.
    #[must_use]
    pub fn new(cluster: Cluster, swarm: Swarm, chance: ChaCha8Rng, trace: &Trace) -> Self {
        let next_id = cluster.members().last().map_or(1, |last| last + 1);
        Self {
            cluster,
            swarm,
            chance,
            trace: trace.clone(),
            down: Vec::new(),
            sick: BTreeMap::new(),
            paused: BTreeMap::new(),
            mend_at: None,
            changing: None,
            upgrade: None,
            damaged: None,
            leaving: BTreeSet::new(),
            next_id,
            looks: Arc::default(),
            happened: BTreeMap::new(),
            met: Met::new(),
            leaders: BTreeSet::new(),
            led_since: Vec::new(),
            fastest_clock: 1.0,
            a_clock_ran_slow: false,
            leaders_clock: None,
            observations: Vec::new(),
            logs: Logs::new(),
            shortened: Vec::new(),
            watched: observe::Watched::default(),
        }
    }

    /// The cluster.
    #[must_use]
    pub fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// Whether the operator still changes the membership, or a machine waits for its new disk.
    #[must_use]
    pub fn is_changing(&self) -> bool {
        self.changing.is_some() || !self.leaving.is_empty()
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

    /// Mends all links and disks, and starts all machines. A damaged disk stays: its node may still
    /// find out.
    ///
    /// # Errors
    /// As [`Nemesis::run`].
    pub async fn heal(&mut self) -> Result<(), Violation> {
        self.trace.line(|| "all is healed".into());
        self.mend();
        self.cluster
            .network()
            .set_conditions(super::Conditions::default());
        self.cluster.drift_clock(self.swarm.wrong_clock, 1.0);
        for id in std::mem::take(&mut self.paused).into_keys() {
            self.cluster.release(id);
        }
        for id in self.cluster.running() {
            if let Some(Ailment::Dies(_)) = self.sick.get(&id) {
                // What was to come does not come: the machine is started afresh.
                self.sick.remove(&id);
                let crashed = self.cluster.crash(id, CrashLoss::Nothing).await;
                self.watched.ends(id);
                self.down.push((Instant::now(), crashed));
            }
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

    /// A node that may be taken away for a while.
    fn victim(&mut self) -> Option<u64> {
        let spare = (self.voters() - 1) / 2;
        let away = self.away();
        if away > spare || away == spare && !self.chance.random_bool(ONE_MORE) {
            return None;
        }
        self.healthy()
    }

    /// The fewest that vote before or after the change under way.
    fn voters(&self) -> usize {
        let members = self.cluster.members().len();
        let joins = self.changing.as_ref().and_then(|it| it.change.add);
        members - usize::from(joins.is_some())
    }

    /// Members that are away or ill.
    fn away(&self) -> usize {
        let running = self.cluster.running();
        let well = |id: &&u64| {
            running.contains(id)
                && !matches!(self.sick.get(id), Some(Ailment::Dies(_) | Ailment::Full))
                && !self.paused.contains_key(id)
        };
        let members = self.cluster.members();
        members.len() - members.iter().filter(well).count()
    }

    fn healthy(&mut self) -> Option<u64> {
        let one = self.one()?;
        let well = !self.sick.contains_key(&one)
            && !self.paused.contains_key(&one)
            && !self.leaving.contains(&one);
        well.then_some(one)
    }

    async fn take(&mut self, id: u64, loss: CrashLoss) {
        let crashed = self.cluster.crash(id, loss).await;
        self.gone(crashed);
    }

    fn gone(&mut self, crashed: Crashed) {
        let id = crashed.id;
        self.watched.ends(id);
        self.paused.remove(&id);
        if let Some(Ailment::Dies(_)) = self.sick.get(&id) {
            self.sick.remove(&id);
        }
        let back = Instant::now() + self.around(self.swarm.mended_after);
        self.down.push((back, crashed));
    }

    async fn look(&mut self) -> Result<(), Violation> {
        self.looks.fetch_add(1, Ordering::Relaxed);
        for (id, reason) in self.cluster.failures() {
            self.failed(id, &reason).await?;
        }
        self.members_changed().await?;
        let now = Instant::now();
        self.go_on_upgrading(now).await;
        let (back, down) = std::mem::take(&mut self.down)
            .into_iter()
            .partition(|(at, _)| *at <= now);
        self.down = down;
        let back: Vec<(Instant, Crashed)> = back;
        for (_, crashed) in back {
            self.comes_back(crashed).await?;
        }
        self.go_on(now);
        if self.mend_at.is_some_and(|at| at <= now) {
            self.mend();
        }
        self.observe();
        self.read_logs();
        Ok(())
    }

    /// A node says that it cannot go on: with a good reason, or something is wrong.
    async fn failed(&mut self, id: u64, reason: &str) -> Result<(), Violation> {
        self.trace.line(|| format!("{id} cannot go on: {reason}"));
        let removed = self.changing.as_ref().and_then(|it| it.change.remove);
        let leaves = removed == Some(id) && reason.contains("no member");
        if self.leaving.remove(&id) || leaves {
            drop(self.cluster.crash(id, CrashLoss::Nothing).await);
            self.watched.ends(id);
            self.sick.remove(&id);
            self.paused.remove(&id);
            return Ok(());
        }
        match self.sick.get(&id).copied() {
            Some(Ailment::Dies(loss)) => self.take(id, loss).await,
            Some(Ailment::Full) => self.take(id, CrashLoss::Nothing).await,
            Some(Ailment::Damaged) => {
                drop(self.cluster.crash(id, CrashLoss::Nothing).await);
                self.damage_found(id).await?;
            }
            None => {
                let what = format!("node {id} cannot go on: {reason}");
                return Err(Violation::new("nodes_run", what));
            }
        }
        Ok(())
    }

    async fn comes_back(&mut self, crashed: Crashed) -> Result<(), Violation> {
        let id = crashed.id;
        if self.sick.get(&id) == Some(&Ailment::Full) {
            crashed.make_room();
            self.sick.remove(&id);
        }
        let Err(error) = self.cluster.restart(crashed).await else {
            return Ok(());
        };
        self.trace.line(|| format!("{id} does not start: {error}"));
        if self.sick.get(&id) == Some(&Ailment::Damaged) {
            return self.damage_found(id).await;
        }
        let what = format!("node {id} does not start: {error}");
        Err(Violation::new("nodes_start", what))
    }

    /// The operator sees that a node will not go on with its disk, and replaces it.
    async fn damage_found(&mut self, id: u64) -> Result<(), Violation> {
        self.sick.remove(&id);
        self.watched.ends(id);
        self.meet(Situation::DamageFound);
        self.replace(id).await
    }

    fn meet(&mut self, situation: Situation) {
        *self.met.entry(situation).or_default() += 1;
    }

    /// Machines that stood still long enough move again; the disks of the others still hang.
    fn go_on(&mut self, now: Instant) {
        for (id, until) in self.paused.clone() {
            let left = until.saturating_duration_since(now);
            if left.is_zero() {
                self.paused.remove(&id);
                self.cluster.release(id);
            }
            if let Some(disk) = self.cluster.disk(id) {
                disk.set_sync_takes(left.max(SYNC_TAKES));
            }
        }
    }

    fn mend(&mut self) {
        self.trace.line(|| "links and disks are mended".into());
        self.cluster.heal();
        for id in self.cluster.running() {
            if let Some(disk) = self.cluster.disk(id) {
                disk.set_sync_takes(SYNC_TAKES);
                disk.leave_free(u64::MAX);
            }
            if self.sick.get(&id) == Some(&Ailment::Full) {
                self.sick.remove(&id);
            }
        }
        self.mend_at = None;
    }

    /// Not before a while has passed, though others are to be mended earlier.
    fn mend_after(&mut self, takes: Duration) {
        self.mend_at = self.mend_at.max(Some(Instant::now() + takes));
    }

    fn mend_later(&mut self) {
        if self.mend_at.is_none() {
            self.mend_at = Some(Instant::now() + self.around(self.swarm.mended_after));
        }
    }

    /// Ends all nodes.
    pub async fn end(self) {
        self.cluster.stop().await;
    }
}
