//! Links that break.

use super::{Fault, Nemesis};
use rand::Rng;
use rand::seq::IndexedRandom;
use std::time::Duration;

/// How long the leader is alone, in milliseconds: longer than the others need to elect another one.
const LEADER_ALONE: std::ops::RangeInclusive<u64> = 2_000..=12_000;

impl Nemesis {
    /// The leader is cut off; it does not know for how long, and callers still reach it.
    pub(super) fn isolate_leader(&mut self) -> Option<()> {
        let doors = self.cluster.doors().by_id();
        let (leader, _) = doors.into_iter().find(|(_, shard)| shard.is_leader())?;
        self.cluster.isolate(leader);
        let takes = self.chance.random_range(LEADER_ALONE);
        self.mend_after(Duration::from_millis(takes));
        Some(())
    }

    pub(super) fn break_links(&mut self, fault: Fault) -> Option<()> {
        let one = self.one()?;
        let all = self.cluster.members().clone();
        let others: Vec<u64> = all.iter().copied().filter(|id| *id != one).collect();
        if fault == Fault::OneWay {
            others.iter().for_each(|to| self.cluster.cut(one, *to));
        } else if fault == Fault::Partition {
            let (here, there): (Vec<u64>, Vec<u64>) =
                all.into_iter().partition(|_| self.chance.random());
            for (a, b) in here.iter().flat_map(|a| there.iter().map(move |b| (a, b))) {
                self.cluster.cut(*a, *b);
                self.cluster.cut(*b, *a);
            }
        } else if fault == Fault::SlowLink {
            let other = *others.choose(&mut self.chance)?;
            let by = Duration::from_millis(self.chance.random_range(20..500));
            self.cluster.slow(one, other, by);
        } else {
            self.cluster.isolate(one);
        }
        Some(())
    }
}
