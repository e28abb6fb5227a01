//! What a seed draws: how bad the world is. Each seed has its own mix, so that rare mixes are met
//! too (swarm testing).

use super::Conditions;
use crate::workload::Habits;
use rand::Rng;
use rand::seq::IndexedRandom;
use rand_chacha::ChaCha8Rng;
use std::time::Duration;
use steadfast::sizes::Sizes;

/// A kind of fault that a nemesis brings about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// A process is killed; the machine lives.
    Kill,
    /// A machine loses its power, and what was not synced.
    PowerLoss,
    /// A machine loses its power in the middle of some later call of its disk.
    PowerLossInDiskCall,
    /// All machines lose their power at once.
    PowerLossOfAll,
    /// A node is switched off in order.
    Stop,
    /// A sync fails; its node must end.
    FailedSync,
    /// A sync takes long.
    SlowSync,
    /// A node hears and is heard by nobody.
    Isolation,
    /// A node is heard by nobody, but hears.
    OneWay,
    /// The leader hears and is heard by no node, for 2 to 12 s; callers still reach it.
    LeaderIsolation,
    /// Two groups of nodes do not hear each other.
    Partition,
    /// One link is slow.
    SlowLink,
    /// One wall clock jumps; always the same node's.
    ClockJump,
    /// The leader hands over.
    LeaderTransfer,
    /// A machine stands still for a while, and goes on.
    Pause,
    /// One machine's clocks run too fast or too slow; the same that jumps.
    ClockDrift,
    /// A disk has room for little more, or for nothing.
    DiskFull,
    /// One bit of a file turned at rest.
    BitFlip,
    /// One read shows a wrong bit.
    WrongRead,
    /// One write lands at another place of its file.
    StrayWrite,
    /// A machine and its disk are gone for good; a new node takes the place.
    LostDisk,
    /// A new node joins and votes, up to five.
    Grow,
    /// A node is removed, down to three.
    Shrink,
}

/// All of them.
pub const FAULTS: [Fault; 23] = [
    Fault::Kill,
    Fault::PowerLoss,
    Fault::PowerLossInDiskCall,
    Fault::PowerLossOfAll,
    Fault::Stop,
    Fault::FailedSync,
    Fault::SlowSync,
    Fault::Isolation,
    Fault::OneWay,
    Fault::LeaderIsolation,
    Fault::Partition,
    Fault::SlowLink,
    Fault::ClockJump,
    Fault::LeaderTransfer,
    Fault::Pause,
    Fault::ClockDrift,
    Fault::DiskFull,
    Fault::BitFlip,
    Fault::WrongRead,
    Fault::StrayWrite,
    Fault::LostDisk,
    Fault::Grow,
    Fault::Shrink,
];

/// Everything that a seed draws before it begins.
#[derive(Debug, Clone)]
pub struct Swarm {
    /// Three or five.
    pub nodes: u64,
    /// The network between nodes.
    pub conditions: Conditions,
    /// Logs and states of the nodes.
    pub sizes: Sizes,
    /// Clients and workers.
    pub habits: Habits,
    /// How many clients.
    pub clients: u64,
    /// How many workers of each kind.
    pub workers: u64,
    /// The kinds of faults that happen.
    pub faults: Vec<Fault>,
    /// Mean time between faults.
    pub fault_every: Duration,
    /// Mean time until what broke is mended.
    pub mended_after: Duration,
    /// Whose clock is wrong, when clocks are.
    pub wrong_clock: u64,
    /// Nothing breaks but the leader's clock, which is a few seconds wrong and then right again: so
    /// the leader stays, and timers can be compared with true time.
    pub only_leaders_clock: bool,
}

fn millis(chance: &mut ChaCha8Rng, from: u64, to: u64) -> Duration {
    Duration::from_millis(chance.random_range(from..=to))
}

/// Half of the time nothing, otherwise up to a bound.
fn rarely(chance: &mut ChaCha8Rng, most: f64) -> f64 {
    if chance.random() {
        return 0.0;
    }
    most * chance.random::<f64>()
}

/// Small ones most of the time: then a minute sees marks, merges, purges and snapshots.
fn sizes(chance: &mut ChaCha8Rng) -> Sizes {
    let sizes = Sizes {
        min_free_bytes: 4 << 20,
        ..Sizes::default()
    };
    if chance.random_bool(0.2) {
        return sizes;
    }
    Sizes {
        segment_bytes: chance.random_range(16 << 10..256 << 10),
        log_cache_bytes: chance.random_range(0..256 << 10),
        keep_entries: chance.random_range(0..300),
        mark_bytes: chance.random_range(128 << 10..2 << 20),
        mark_every: millis(chance, 2_000, 15_000),
        merge_min_bytes: chance.random_range(8 << 10..256 << 10),
        merge_max_deltas: chance.random_range(4..12),
        ..sizes
    }
}

impl Swarm {
    /// Draws one.
    pub fn draw(chance: &mut ChaCha8Rng) -> Swarm {
        let nodes = *[3, 3, 3, 5].choose(chance).unwrap_or(&3);
        let conditions = Conditions {
            delay: millis(chance, 0, 5),
            jitter: millis(chance, 0, 25),
            lost: rarely(chance, 0.05),
            sent_again: millis(chance, 50, 300),
            broken: rarely(chance, 0.01),
        };
        let habits = Habits {
            delay: millis(chance, 1, 40),
            answer_lost: rarely(chance, 0.1),
            astray: rarely(chance, 0.2),
            dies: rarely(chance, 0.1),
            slow: rarely(chance, 0.1),
            fails: rarely(chance, 0.2),
            pause: millis(chance, 200, 400),
        };
        let sizes = sizes(chance);
        // A third of the kinds each time, and at least one that takes a node away.
        let mut faults: Vec<Fault> = FAULTS
            .into_iter()
            .filter(|_| chance.random_bool(0.35))
            .collect();
        faults.push(
            *[Fault::Kill, Fault::PowerLoss]
                .choose(chance)
                .unwrap_or(&Fault::Kill),
        );
        // Who grows may shrink, and one kind happens more often than the others.
        if faults.contains(&Fault::Grow) || faults.contains(&Fault::Shrink) {
            faults.extend([Fault::Grow, Fault::Shrink]);
        }
        if let Some(favourite) = FAULTS.choose(chance) {
            faults.extend([*favourite; 4]);
        }
        Swarm {
            nodes,
            conditions,
            sizes,
            habits,
            clients: chance.random_range(8..=14),
            workers: chance.random_range(2..=5),
            faults,
            fault_every: millis(chance, 1_500, 8_000),
            mended_after: millis(chance, 500, 6_000),
            wrong_clock: chance.random_range(1..=nodes),
            only_leaders_clock: false,
        }
    }

    /// The same world, in which nothing breaks but the leader's clock.
    #[must_use]
    pub fn with_only_the_leaders_clock_wrong(self) -> Swarm {
        Swarm {
            faults: vec![Fault::ClockJump],
            only_leaders_clock: true,
            ..self
        }
    }
}
