//! What happened in all, and whether it was enough to mean anything.

use super::report::{Counts, FoundState};
use std::collections::BTreeMap;
use std::fmt;

/// From so many cuts on, each thing that should happen under load must have happened.
const ENOUGH_FROM_CUTS: u64 = 15;

/// Counted over all lives.
#[derive(Debug, Clone, Default)]
pub struct Tally {
    pub(super) lives: u64,
    pub(super) cuts: u64,
    /// Cuts before a life had begun its work.
    pub(super) cuts_at_start: u64,
    pub(super) kills: u64,
    pub(super) ends: u64,
    pub(super) directories: u64,
    pub(super) entries: u64,
    pub(super) votes: u64,
    pub(super) truncations: u64,
    pub(super) purges: u64,
    pub(super) marks: u64,
    /// Promises, and what follows from them, that came after the cut: by the sync under way.
    pub(super) late: u64,
    counts: Counts,
    /// How often sled was taken as it was, and how often it was fed from nothing though there was
    /// something to feed.
    believed: u64,
    rebuilt: u64,
    slowest_open_ms: u64,
    /// Calls that failed after a cut, by the kind of file: how often each.
    met: BTreeMap<String, u64>,
}

impl Tally {
    /// With the first directory.
    pub(super) fn begin() -> Tally {
        Tally {
            directories: 1,
            ..Tally::default()
        }
    }

    pub(super) fn add(&mut self, counts: Counts) {
        self.counts.segments += counts.segments;
        self.counts.deltas += counts.deltas;
        self.counts.merges += counts.merges;
        self.counts.sled_writes += counts.sled_writes;
    }

    pub(super) fn opened(&mut self, found: &FoundState) {
        self.believed += u64::from(found.believed);
        self.rebuilt += u64::from(!found.believed && found.mark > 0);
        self.slowest_open_ms = self.slowest_open_ms.max(found.took_ms);
    }

    pub(super) fn met(&mut self, what: String) {
        *self.met.entry(what).or_default() += 1;
    }

    /// What happened too seldom for the run to mean anything.
    pub(super) fn lacks(&self) -> Vec<&'static str> {
        if self.cuts < ENOUGH_FROM_CUTS {
            return Vec::new();
        }
        let met = |kind: &str| self.met.keys().any(|key| key.starts_with(kind));
        let happened = [
            ("entries acknowledged", self.entries > 20 * self.cuts),
            ("marks", self.marks > self.cuts),
            ("merged files", self.counts.merges > 0),
            ("entries taken back", self.truncations > 0),
            ("segments deleted", self.counts.segments > 0),
            ("sled taken as it was", self.believed > 0),
            ("sled fed from nothing", self.rebuilt > 0),
            ("cuts in the log", met("segment")),
            ("cuts in a delta", met("delta")),
        ];
        let lacks = happened.into_iter().filter(|(_, enough)| !enough);
        lacks.map(|(what, _)| what).collect()
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} power cuts ({} before work began), {} kills, {} orderly ends; {} lives in {} \
             directories",
            self.cuts, self.cuts_at_start, self.kills, self.ends, self.lives, self.directories
        )?;
        writeln!(
            f,
            "log: {} entries acknowledged ({} promises after a cut do not count), {} votes, {} times \
             entries taken back, {} purges, {} segments deleted",
            self.entries,
            self.late,
            self.votes,
            self.truncations,
            self.purges,
            self.counts.segments
        )?;
        writeln!(
            f,
            "state: {} durable marks told, {} deltas, {} merged files; slowest start {} ms",
            self.marks, self.counts.deltas, self.counts.merges, self.slowest_open_ms
        )?;
        writeln!(
            f,
            "sled: taken as it was {} times, fed from nothing {} times, {} writes",
            self.believed, self.rebuilt, self.counts.sled_writes
        )?;
        let met: Vec<String> = self
            .met
            .iter()
            .map(|(what, times)| format!("{what} {times}"))
            .collect();
        write!(f, "calls that a cut met: {}", met.join(", "))
    }
}
