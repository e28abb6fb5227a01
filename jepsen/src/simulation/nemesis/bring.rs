//! One fault, brought about.

use super::{Ailment, Fault, Nemesis};
use rand::Rng;
use rand::seq::IndexedRandom;
use std::time::Duration;
use steadfast::shard::Shard;
use steadfast_storage::disk::CrashLoss;
use tokio::time::Instant;

/// A hand-over may take so long.
const HAND_OVER: Duration = Duration::from_secs(1);
/// The longest pause of a machine.
const PAUSE_MAX: Duration = Duration::from_secs(20);

/// By how much the leader's clock is wrong where that is all that is wrong, in milliseconds.
const LEADERS_CLOCK: std::ops::Range<i64> = 1_200..4_500;

impl Nemesis {
    pub(super) async fn break_something(&mut self) {
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
                self.sick.insert(id, Ailment::Dies(CrashLoss::Seeded(seed)));
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
            Fault::Pause => {
                let id = self.victim()?;
                let longest = self
                    .chance
                    .random_range(1_000..=PAUSE_MAX.as_millis() as u64);
                let takes = Duration::from_millis(longest);
                self.cluster.hold(id);
                self.paused.insert(id, Instant::now() + takes);
            }
            Fault::ClockJump if self.swarm.only_leaders_clock => self.leaders_clock_jumps()?,
            Fault::ClockJump => {
                let id = self.swarm.wrong_clock;
                self.cluster.disk(id)?;
                let seconds: i64 = self.chance.random_range(-3_600..3_600);
                self.cluster.jump_clock(id, seconds * 1_000_000_000);
            }
            Fault::ClockDrift => {
                let id = self.swarm.wrong_clock;
                self.cluster.disk(id)?;
                let rate = 2.0_f64.powf(self.chance.random_range(-1.0..=1.0));
                self.fastest_clock = self.fastest_clock.max(rate);
                self.a_clock_ran_slow |= rate < 1.0;
                self.cluster.drift_clock(id, rate);
            }
            Fault::LeaderTransfer => {
                let leader = self.cluster.doors().leader()?;
                leader.hand_over(None, HAND_OVER).await;
            }
            Fault::LeaderIsolation => self.isolate_leader()?,
            Fault::Isolation | Fault::OneWay | Fault::Partition | Fault::SlowLink => {
                self.break_links(fault)?;
                self.mend_later();
            }
            Fault::FailedSync
            | Fault::SlowSync
            | Fault::DiskFull
            | Fault::BitFlip
            | Fault::WrongRead
            | Fault::StrayWrite => self.break_disk(fault).await?,
            Fault::LostDisk | Fault::Grow | Fault::Shrink => self.change_members(fault).await?,
        }
        Some(())
    }
    /// A few seconds wrong, or right again. Less than the five seconds after which a node lets others
    /// lead, so the leader stays.
    fn leaders_clock_jumps(&mut self) -> Option<()> {
        let leads = |(id, shard): (u64, Shard)| shard.is_leader().then_some(id);
        let (id, wrong_by) = match self.leaders_clock {
            Some(clock) => clock,
            None => (self.cluster.doors().by_id().into_iter().find_map(leads)?, 0),
        };
        self.cluster.disk(id)?;
        let mut by = -wrong_by;
        if by == 0 {
            by = self.chance.random_range(LEADERS_CLOCK) * 1_000_000;
            if self.chance.random_bool(0.3) {
                by = -by;
            }
        }
        self.cluster.jump_clock(id, by);
        self.leaders_clock = Some((id, wrong_by + by));
        Some(())
    }
}
