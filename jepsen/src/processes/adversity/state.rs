//! The states of a cluster, and how each comes about.

use super::load::Load;
use super::{LOOK, Order, Rig};
use crate::processes::cluster::{Change, READY};
use crate::processes::fault::Fault;
use crate::processes::machine::Machine;
use crate::processes::nemesis::Failure;
use crate::processes::switch::Link;
use rand::seq::IndexedRandom;
use std::time::{Duration, Instant};
use tokio::time::sleep;

/// Writes a second of a slow disk: a sync needs one to three.
const SLOW_WRITES: u32 = 10;
/// Leader kills in one state.
const KILLS: u32 = 4;
/// Of each packet's time on its way.
const DELAY: Duration = Duration::from_millis(20);
/// The part of the packets that is lost.
const LOST: f64 = 0.02;

macro_rules! states {
    ($($state:ident $name:literal $needs:expr, $what:literal;)*) => {
        /// A state of the cluster.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum State { $(#[doc = $what] $state),* }

        /// All of them, in the order of the sheet.
        pub const STATES: &[State] = &[$(State::$state),*];

        impl State {
            /// As it is named on the command line.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(State::$state => $name),* }
            }

            /// What is wrong, for people.
            #[must_use]
            pub fn what(self) -> &'static str {
                match self { $(State::$state => $what),* }
            }

            /// The fault whose needs it has.
            fn needs(self) -> Option<Fault> {
                match self { $(State::$state => $needs),* }
            }
        }
    };
}

states! {
    Baseline "baseline" None, "nothing";
    MarksAndMerges "marks-and-merges" None, "inputs of 16 KiB: deltas and new bases are written all the time";
    FollowerDown "follower-down" None, "a follower is down";
    LeaderKills "leader-kills" None, "the leader is killed four times";
    RollingRestart "rolling-restart" None, "one node after the other is stopped and started";
    SlowFollower "slow-follower" Some(Fault::SlowDisk), "a follower's disk takes ten writes a second";
    SlowLeader "slow-leader" Some(Fault::SlowDisk), "the leader's disk takes ten writes a second";
    LossyNetwork "lossy-network" Some(Fault::LossyNetwork), "between nodes, 2 % of the packets are lost and all take 20 ms";
    MuteLeader "mute-leader" Some(Fault::OneWayFromLeader), "no node hears the leader, clients do";
    FullDisk "full-disk" Some(Fault::FullDisk), "a follower's disk is full";
    Filled "filled" None, "much state, as for the next row";
    WipeAndRejoin "wipe-and-rejoin" None, "a follower loses its disk and is replaced by a new node";
}

impl State {
    /// The state of a name.
    #[must_use]
    pub fn named(name: &str) -> Option<State> {
        STATES.iter().copied().find(|state| state.name() == name)
    }

    /// Why it cannot be on a machine; `None`: it can.
    pub(super) fn missing(self, machine: &Machine) -> Option<String> {
        self.needs().and_then(|fault| fault.missing(machine))
    }

    /// Bytes of each input and result.
    pub(super) fn payload_bytes(self) -> u32 {
        match self {
            State::MarksAndMerges => 16 << 10,
            State::Baseline
            | State::FollowerDown
            | State::LeaderKills
            | State::RollingRestart
            | State::SlowFollower
            | State::SlowLeader
            | State::LossyNetwork
            | State::MuteLeader
            | State::FullDisk
            | State::Filled
            | State::WipeAndRejoin => 100,
        }
    }

    /// Whether the cluster is filled before, so that there is something to copy.
    pub(super) fn is_full_of_state(self) -> bool {
        self == State::Filled || self == State::WipeAndRejoin
    }
}

impl Rig {
    /// Brings a state about; what was done.
    pub(super) async fn bring(
        &mut self,
        state: State,
        order: &Order,
        load: &mut Load,
    ) -> Result<String, Failure> {
        match state {
            State::Baseline | State::MarksAndMerges => Ok(String::new()),
            State::Filled => Ok(self.filled.clone()),
            State::FollowerDown => {
                let at = self.follower().await;
                self.cluster.hosts[at].may_end = true;
                self.cluster.hosts[at].kill()?;
                Ok(String::new())
            }
            State::LeaderKills => self.kill_leaders(order.lasts / KILLS, load).await,
            State::RollingRestart => self.restart_all().await,
            State::SlowFollower => {
                let at = self.follower().await;
                self.cluster.hosts[at].limit_disk(Some(SLOW_WRITES))?;
                Ok(String::new())
            }
            State::SlowLeader => {
                let at = self.leader_in_time().await;
                self.cluster.hosts[at].limit_disk(Some(SLOW_WRITES))?;
                Ok(String::new())
            }
            State::LossyNetwork => {
                self.between_nodes(Link {
                    delay: DELAY,
                    lost: LOST,
                    ..Link::default()
                });
                Ok(String::new())
            }
            State::MuteLeader => {
                let leader = self.leader_in_time().await;
                for other in self
                    .cluster
                    .settled()
                    .into_iter()
                    .filter(|at| *at != leader)
                {
                    let cut = Link {
                        cut: true,
                        ..Link::default()
                    };
                    self.cluster.link(leader, other, cut);
                }
                Ok(String::new())
            }
            State::FullDisk => {
                let at = self.follower().await;
                self.cluster.hosts[at].may_end = true;
                self.cluster.hosts[at].disk.fill(0)?;
                Ok(String::new())
            }
            State::WipeAndRejoin => self.replace().await,
        }
    }

    pub(super) fn leader(&self) -> Option<usize> {
        let leader = self.cluster.leader();
        leader.filter(|at| self.cluster.hosts[*at].runs())
    }

    /// The leader, as soon as there is one; any node, when there is none for long.
    async fn leader_in_time(&self) -> usize {
        let until = Instant::now() + super::LEADER_WITHIN;
        loop {
            if let Some(at) = self.leader() {
                return at;
            }
            if Instant::now() > until {
                return 0;
            }
            sleep(LOOK).await;
        }
    }

    async fn follower(&mut self) -> usize {
        let leader = self.leader_in_time().await;
        let others: Vec<usize> = self
            .cluster
            .running()
            .into_iter()
            .filter(|at| *at != leader)
            .collect();
        others.choose(&mut self.chance).copied().unwrap_or(leader)
    }

    fn between_nodes(&self, link: Link) {
        let settled = self.cluster.settled();
        for a in &settled {
            for b in settled.iter().filter(|b| *b != a) {
                self.cluster.link(*a, *b, link);
            }
        }
    }

    /// Kills the leader again and again while there is load; each node is started again at once.
    async fn kill_leaders(&mut self, every: Duration, load: &mut Load) -> Result<String, Failure> {
        let mut kills = 0;
        for _ in 0..KILLS {
            if !load.runs()? {
                break;
            }
            let next = Instant::now() + every;
            let at = self.leader_in_time().await;
            let node = self.cluster.hosts[at].node.unwrap_or_default();
            self.cluster.hosts[at].kill()?;
            kills += 1;
            self.cluster.start_node(at, node)?;
            self.serves(at).await?;
            sleep(next.saturating_duration_since(Instant::now())).await;
        }
        Ok(format!("{kills} kills, {} s apart", every.as_secs()))
    }

    async fn restart_all(&mut self) -> Result<String, Failure> {
        let began = Instant::now();
        for at in self.cluster.settled() {
            let node = self.cluster.hosts[at].node.unwrap_or_default();
            self.cluster.hosts[at].may_end = true;
            self.cluster.hosts[at].stop().await?;
            self.cluster.start_node(at, node)?;
            self.serves(at).await?;
        }
        Ok(format!("done after {:.0} s", began.elapsed().as_secs_f64()))
    }

    /// A node that lost its data is removed, and one of a new number takes its place.
    async fn replace(&mut self) -> Result<String, Failure> {
        let at = self.follower().await;
        let node = self.cluster.hosts[at].node.unwrap_or_default();
        self.cluster.forget(at)?;
        let began = Instant::now();
        self.cluster.change(Change::Remove(node)).await?;
        let asks = self.leader_in_time().await;
        let new = self.cluster.join(at, asks)?;
        if !self.cluster.ready(at, READY).await? {
            let what = format!("node {new}: {}", self.cluster.last_words(new));
            return Err(crate::evidence::Violation::new("new_nodes_join", what).into());
        }
        let serves = began.elapsed().as_secs_f64();
        self.cluster.change(Change::Promote(new)).await?;
        let took = began.elapsed().as_secs_f64();
        let bytes = self.cluster.hosts[at].disk.used();
        Ok(format!(
            "node {new} serves {serves:.1} s later and votes {took:.1} s later, with {:.2} GB on \
             its disk",
            bytes as f64 / 1e9
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_state_is_found_by_its_name_and_the_first_is_the_one_to_compare_with() {
        for state in STATES {
            assert_eq!(State::named(state.name()), Some(*state));
        }
        assert_eq!(STATES[0], State::Baseline);
        assert!(
            STATES
                .iter()
                .all(|state| state.missing(&Machine::able()).is_none())
        );
    }
}
