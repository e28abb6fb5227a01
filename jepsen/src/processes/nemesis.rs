//! Brings faults about, alone and in pairs, and mends them: in rounds of fault, recovery, quiet.
//! Files are spoiled and disks lost on one node at a time, and it is whole again before the next.

mod callers;
mod disks;
mod limits;
mod members;
mod network;
mod nodes;
mod restored;

use super::Trouble;
use super::caller_faults::Callers;
use super::cluster::{Change, Cluster, READY, REFUSES};
use super::fault::Fault;
use crate::evidence::Violation;
use disks::{File, Harm};
pub(super) use limits::STEADY_RATE;
use network::Weather;
use rand::Rng;
use rand::seq::{IndexedRandom, SliceRandom};
use rand_chacha::ChaCha8Rng;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use tokio::time::sleep;

const TICK: Duration = Duration::from_millis(100);
/// Probability that a fault comes with another one.
const IN_PAIRS: f64 = 0.35;
/// Everything is whole between rounds, so there is a leader soon.
const LEADER_WITHIN: Duration = Duration::from_secs(15);
/// A hand-over in a storm comes after each of these.
const STORM: Duration = Duration::from_millis(400);

/// A wall clock that is right: libfaketime keeps a rate until it is told another.
const RIGHT: &str = "+0 x1.0";

/// Why a round ends the run.
#[derive(Debug)]
pub(super) enum Failure {
    /// The nodes did what they must not.
    Violation(Violation),
    /// The machine did not do what it can.
    Trouble(Trouble),
}

impl From<Violation> for Failure {
    fn from(violation: Violation) -> Failure {
        Failure::Violation(violation)
    }
}

impl From<Trouble> for Failure {
    fn from(trouble: Trouble) -> Failure {
        Failure::Trouble(trouble)
    }
}

/// What came of the wish for a fault: what was done, or `None`, when it cannot be now.
type Brought = Result<Option<String>, Failure>;

/// One fault as it happened.
#[derive(Debug, Clone)]
pub(super) struct Event {
    pub(super) from: Duration,
    /// When everything was whole again.
    pub(super) to: Duration,
    pub(super) fault: &'static str,
    pub(super) what: String,
}

/// Breaks and mends.
#[derive(Debug)]
pub(super) struct Nemesis {
    pub(super) cluster: Cluster,
    pub(super) callers: Callers,
    faults: Vec<Fault>,
    /// What is still to come before any comes again.
    next: Vec<Fault>,
    chance: ChaCha8Rng,
    began: Instant,
    /// Leadership is handed over until the mending.
    storm: bool,
    pub(super) events: Vec<Event>,
    /// How often each fault happened.
    pub(super) happened: BTreeMap<String, u32>,
}

impl Nemesis {
    pub(super) fn new(
        cluster: Cluster,
        callers: Callers,
        faults: Vec<Fault>,
        chance: ChaCha8Rng,
        began: Instant,
    ) -> Nemesis {
        Nemesis {
            cluster,
            callers,
            faults,
            next: Vec::new(),
            chance,
            began,
            storm: false,
            events: Vec::new(),
            happened: BTreeMap::new(),
        }
    }

    /// Rounds until a moment.
    pub(super) async fn run(&mut self, until: Instant) -> Result<(), Failure> {
        while Instant::now() < until {
            self.round().await?;
            let quiet = self.millis(1_000, 3_000);
            self.hold(quiet).await?;
        }
        Ok(())
    }

    async fn round(&mut self) -> Result<(), Failure> {
        let Some(first) = self.draw() else {
            sleep(TICK).await;
            return Ok(());
        };
        let mut faults = vec![first];
        if !first.comes_alone() && self.chance.random_bool(IN_PAIRS) {
            let others = self.faults.iter().copied();
            let others = others.filter(|it| *it != first && !it.comes_alone());
            // One clock may be wrong, not two (design D6).
            let others = others.filter(|it| !(first.is_of_clocks() && it.is_of_clocks()));
            let others: Vec<Fault> = others.collect();
            faults.extend(others.choose(&mut self.chance));
        }
        self.wait_for_leader().await?;
        let from = self.began.elapsed();
        let begins = self.events.len();
        for fault in faults {
            if let Some(what) = self.bring(fault).await? {
                *self.happened.entry(fault.name().to_owned()).or_default() += 1;
                let event = Event {
                    from,
                    to: from,
                    fault: fault.name(),
                    what,
                };
                super::run::told(&event);
                self.events.push(event);
            }
        }
        let hold = self.millis(1_500, 6_000);
        self.hold(hold).await?;
        self.mend().await?;
        let to = self.began.elapsed();
        for event in &mut self.events[begins..] {
            event.to = to;
        }
        Ok(())
    }

    /// Most faults are about the leader; without one in time they come all the same.
    async fn wait_for_leader(&mut self) -> Result<(), Failure> {
        let until = Instant::now() + LEADER_WITHIN;
        while self.leader().is_none() && Instant::now() < until {
            self.hold(TICK).await?;
        }
        Ok(())
    }

    /// Each fault once in a drawn order, then again.
    fn draw(&mut self) -> Option<Fault> {
        if self.next.is_empty() {
            self.next.clone_from(&self.faults);
            self.next.shuffle(&mut self.chance);
        }
        self.next.pop()
    }

    fn millis(&mut self, from: u64, to: u64) -> Duration {
        Duration::from_millis(self.chance.random_range(from..=to))
    }

    /// Looks after the nodes for a while.
    pub(super) async fn hold(&mut self, lasts: Duration) -> Result<(), Failure> {
        let until = Instant::now() + lasts;
        let mut storm_at = Instant::now();
        while Instant::now() < until {
            sleep(TICK).await;
            self.look()?;
            if self.storm && Instant::now() >= storm_at {
                // Who cannot hand over now says so; that is no matter here.
                let asked = self.cluster.change(Change::Transfer);
                tokio::time::timeout(STORM, asked).await.ok();
                storm_at = Instant::now() + STORM;
            }
        }
        Ok(())
    }

    fn look(&mut self) -> Result<(), Failure> {
        let ended = self.cluster.unexpected_ends().into_iter().next();
        let back = self.cluster.watch.seen().violations.first().cloned();
        match ended.or(back) {
            Some(violation) => Err(violation.into()),
            None => Ok(()),
        }
    }

    /// Everything is whole again: links, disks, clocks, limits; every node runs and serves.
    pub(super) async fn mend(&mut self) -> Result<(), Failure> {
        self.storm = false;
        self.callers.mend();
        if let Some(switch) = &self.cluster.switch {
            switch.heal();
        }
        for at in self.cluster.settled() {
            self.mend_host(at)?;
        }
        for at in self.cluster.settled() {
            let node = self.cluster.hosts[at].node.unwrap_or_default();
            if self.cluster.ready(at, READY).await? {
                continue;
            }
            let words = self.cluster.last_words(node);
            if !self.cluster.hosts[at].spoiled || !words.contains(REFUSES) {
                let what = format!("node {node} does not start again: {words}");
                return Err(Violation::new("nodes_start", what).into());
            }
            let words = words.rsplit("steadfast: ").next().unwrap_or_default();
            self.note(format!("node {node} refuses: {words}"));
            self.replace(at).await?;
        }
        self.look()
    }

    fn mend_host(&mut self, at: usize) -> Result<(), Failure> {
        let host = &mut self.cluster.hosts[at];
        host.go_on();
        if host.may_end || host.disk.broken {
            host.kill()?;
        }
        if host.disk.broken {
            host.disk.mount_again()?;
        }
        host.disk.free();
        host.limit_disk(None)?;
        host.limit_memory(None)?;
        host.limit_cpu(None)?;
        host.set_clock(RIGHT)?;
        host.may_end = false;
        if !host.runs()
            && let Some(node) = host.node
        {
            self.cluster.start_node(at, node)?;
        }
        Ok(())
    }

    /// Adds to what is told of the last fault.
    fn note(&mut self, what: String) {
        if let Some(event) = self.events.last_mut() {
            event.what = format!("{}; {what}", event.what);
        }
    }

    fn leader(&self) -> Option<usize> {
        self.cluster
            .leader()
            .filter(|at| self.cluster.hosts[*at].runs())
    }

    fn followers(&self) -> Vec<usize> {
        let leader = self.leader();
        let running = self.cluster.running();
        running
            .into_iter()
            .filter(|at| Some(*at) != leader)
            .collect()
    }

    fn follower(&mut self) -> Option<usize> {
        self.followers().choose(&mut self.chance).copied()
    }

    fn anyone(&mut self) -> Option<usize> {
        self.cluster.running().choose(&mut self.chance).copied()
    }

    /// So many places, the leader's first.
    fn several(&mut self, count: usize) -> Vec<usize> {
        let mut others = self.followers();
        others.shuffle(&mut self.chance);
        let mut all: Vec<usize> = self.leader().into_iter().chain(others).collect();
        all.truncate(count);
        all
    }

    fn minority(&self) -> usize {
        (self.cluster.size - 1) / 2
    }

    #[expect(clippy::too_many_lines, reason = "one match")]
    async fn bring(&mut self, fault: Fault) -> Brought {
        let (minority, all) = (self.minority(), self.cluster.size);
        match fault {
            Fault::KillLeader => self.kill_these(self.leader()),
            Fault::KillFollower => {
                let follower = self.follower();
                self.kill_these(follower)
            }
            Fault::KillMajority => self.kill_several(minority + 1),
            Fault::KillAll => self.kill_several(all),
            Fault::StopLeader => self.stop_leader().await,
            Fault::RollingRestart => self.restart_all().await,
            Fault::PauseLeader => Ok(self.pause_these(self.leader())),
            Fault::PauseFollower => {
                let follower = self.follower();
                Ok(self.pause_these(follower))
            }
            Fault::PauseMajority => {
                let places = self.several(minority + 1);
                Ok(self.pause_these(places))
            }
            Fault::PauseKill => self.pause_kill().await,
            Fault::TransferStorm => Ok(self.begin_storm()),
            Fault::IsolateLeader => Ok(self.isolate(self.leader())),
            Fault::IsolateFollower => {
                let follower = self.follower();
                Ok(self.isolate(follower))
            }
            Fault::SplitMinority => {
                let places = self.several(minority);
                Ok(self.isolate(places))
            }
            Fault::Bridge => Ok(self.bridge()),
            Fault::OneWayFromLeader => Ok(self.mute_leader()),
            Fault::OneWayToLeader => Ok(self.deafen_leader()),
            Fault::CutClients => Ok(self.cut_clients()),
            Fault::CutAnswers => Ok(self.cut_answers()),
            Fault::SlowNetwork => Ok(self.slow_network()),
            Fault::SlowLink => Ok(self.slow_link()),
            Fault::LossyNetwork => Ok(self.lossy_network()),
            Fault::DoubledPackets => Ok(self.everywhere(Weather::Doubled)),
            Fault::ReorderedPackets => Ok(self.everywhere(Weather::Reordered)),
            Fault::BentPackets => Ok(self.everywhere(Weather::Bent)),
            Fault::NarrowNetwork => Ok(self.everywhere(Weather::Narrow)),
            Fault::ResetConnections => Ok(self.everywhere(Weather::Resets)),
            Fault::PowerCut => {
                let places = self.anyone().into_iter().collect();
                self.cut_power(places)
            }
            Fault::PowerCutMinority => {
                let places = self.several(minority);
                self.cut_power(places)
            }
            Fault::PowerCutAll => {
                let places = self.several(all);
                self.cut_power(places)
            }
            Fault::PausePowerCut => self.pause_power_cut().await,
            Fault::DiskErrors => self.disk_errors(),
            Fault::FullDisk => self.full_disk(),
            Fault::LowDisk => self.low_disk(),
            Fault::SlowDisk => self.slow_disk(),
            Fault::FlipLog => self.spoil(File::Log, Harm::Flip),
            Fault::FlipBase => self.spoil(File::Base, Harm::Flip),
            Fault::FlipDelta => self.spoil(File::Delta, Harm::Flip),
            Fault::FlipManifest => self.spoil(File::Manifest, Harm::Flip),
            Fault::FlipIndex => self.spoil(File::Index, Harm::Flip),
            Fault::FlipIdentity => self.spoil(File::Identity, Harm::Flip),
            Fault::TruncateLog => self.spoil(File::Log, Harm::Truncate),
            Fault::TruncateDelta => self.spoil(File::Delta, Harm::Truncate),
            Fault::TruncateManifest => self.spoil(File::Manifest, Harm::Truncate),
            Fault::TruncateIndex => self.spoil(File::Index, Harm::Truncate),
            Fault::LostDisk => self.lose_disk().await,
            Fault::Membership => self.change_members().await,
            Fault::ClockJump => self.clock_jump(),
            Fault::ClockSkew => self.clock_skew(),
            Fault::MemoryLimit => self.memory_limit(),
            Fault::FileDescriptors => self.file_descriptors(),
            Fault::CpuQuota => self.cpu_quota(),
            Fault::KillWorkers => Ok(self.kill_workers()),
            Fault::KillClients => Ok(self.kill_clients()),
            Fault::SlowConsumer => Ok(self.slow_consumer()),
            Fault::RollingUpgrade => self.upgrade_all().await,
            // It comes when everything else is over.
            Fault::RestoredBackup => Ok(None),
        }
    }
}
