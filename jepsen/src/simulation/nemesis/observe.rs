//! How far each node is, at every look.

use super::{Nemesis, Situation};
use crate::evidence::Observation;
use crate::log_story::{LogStory, Place};
use std::collections::BTreeMap;
use steadfast_engine::Tables;
use steadfast_engine::tables::keys::{due_prefix, due_time, prefix_end};

/// What was seen last, to see only what is new.
#[derive(Debug, Default)]
pub(super) struct Watched {
    /// By node, in this life.
    last: BTreeMap<u64, Observation>,
    /// Lives that ended, by node.
    lives: BTreeMap<u64, u32>,
    /// Counters of the state in this life: deltas written, merges; and the purged index.
    counted: BTreeMap<u64, [u64; 3]>,
    /// Logs, as far as they were read in this life.
    logs: BTreeMap<u64, Option<LogStory>>,
    /// Up to where each node's log was synced when it was read last, in any life.
    pub(super) synced: BTreeMap<u64, Place>,
    two_leaders: bool,
    joint: bool,
    late: bool,
    installs: u32,
}

impl Watched {
    /// A node's life ended.
    pub(super) fn ends(&mut self, id: u64) {
        self.last.remove(&id);
        self.counted.remove(&id);
        self.logs.remove(&id);
        *self.lives.entry(id).or_default() += 1;
    }

    /// How far a node's log was read; nothing of it in a new life.
    pub(super) fn log_of(&mut self, id: u64) -> &mut Option<LogStory> {
        self.logs.entry(id).or_default()
    }
}

impl Nemesis {
    pub(super) fn observe(&mut self) {
        let (mut leading, mut joint) = (0, false);
        for id in self.cluster.running() {
            let Some(door) = self.cluster.doors().get(id) else {
                continue;
            };
            let (term, leads) = {
                let leadership = door.shard.leadership();
                let leadership = leadership.borrow();
                (leadership.term, leadership.is_leader)
            };
            if leads {
                leading += 1;
                if self.leaders.insert((term, id)) {
                    self.led_since.push(self.trace.elapsed());
                }
            }
            let progress = door.raft.progress();
            let seen = Observation {
                at: self.trace.elapsed(),
                node: id,
                life: self.watched.lives.get(&id).copied().unwrap_or_default(),
                term,
                last: progress.last_log.unwrap_or_default(),
                committed: progress.committed.unwrap_or_default(),
                applied: door.shard.view().applied(),
                snapshot: progress.snapshot.unwrap_or_default(),
                purged: progress.purged.unwrap_or_default(),
            };
            let before = self.watched.last.insert(id, seen);
            if before.is_none_or(|before| !before.is_as_far(&seen)) {
                joint |= door.raft.members().joint;
                self.observations.push(seen);
                let counters = door.shard.store().counters();
                let now = [counters.deltas_written, counters.merges, seen.purged];
                self.counted(id, now);
            }
        }
        self.rare(leading, joint);
    }

    fn counted(&mut self, id: u64, now: [u64; 3]) {
        let before = self.watched.counted.insert(id, now).unwrap_or_default();
        let kinds = [Situation::Mark, Situation::Merge, Situation::Purge];
        for ((kind, now), before) in kinds.into_iter().zip(now).zip(before) {
            if now > before {
                self.meet(kind);
            }
        }
    }

    fn rare(&mut self, leading: u32, joint: bool) {
        let two = leading > 1;
        if two && !std::mem::replace(&mut self.watched.two_leaders, two) {
            self.meet(Situation::TwoLeaders);
        }
        self.watched.two_leaders = two;
        if joint && !std::mem::replace(&mut self.watched.joint, joint) {
            self.meet(Situation::JointMembership);
        }
        self.watched.joint = joint;
        let late = leading == 0 && self.something_is_due();
        if late && !self.watched.late {
            self.meet(Situation::DueWithoutLeader);
        }
        self.watched.late = late;
        let installs = self.cluster.network().installs();
        for _ in self.watched.installs..installs {
            self.meet(Situation::SnapshotInstall);
        }
        self.watched.installs = installs;
    }

    fn something_is_due(&self) -> bool {
        let now = self.cluster.true_time();
        let shards = self.cluster.doors().shards();
        let due = shards.first().and_then(|shard| {
            let prefix = due_prefix();
            let first = shard.view().scan(&prefix, &prefix_end(&prefix), 1, false);
            let (key, _) = first.ok()?.into_iter().next()?;
            due_time(&key)
        });
        due.is_some_and(|due| due <= now)
    }
}
