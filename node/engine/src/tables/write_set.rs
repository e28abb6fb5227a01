//! The write set of one mutation: reads see what it wrote; nothing is touched before it is done.

use super::{Config, Key, Limits, Meta, Namespace, Record, Run, Tables, keys};
use crate::effect::Effect;
use crate::id::{NamespaceNumber, Reservation, RunRef};
use crate::reply::Fault;
use crate::time::Timestamp;
use crate::transition::Transition;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Puts (`Some`) and deletes (`None`) by key.
pub type Changes = BTreeMap<Key, Option<Arc<Record>>>;

/// Records written by a workflow task's commands, or a reset, at most: a task may schedule the 2,000
/// activities that a run can have pending, each with record, id, queue entry and up to four due
/// items.
const RECORDS_OF_COMMANDS: usize = 20_000;
/// Records written by the flush of a full buffer: each event goes, and its request id learns what
/// event it made.
const RECORDS_OF_BUFFER: usize = 2 * (crate::limits::BUFFERED_EVENTS_MAX as usize + 1);
/// Records written by one mutation, at most. More than that is a bug, and refused by a panic before
/// anything is touched.
const RECORDS_MAX: usize = RECORDS_OF_COMMANDS + RECORDS_OF_BUFFER;
/// From here on no more commands are applied in one mutation.
const RECORDS_FULL: usize = RECORDS_OF_COMMANDS - 2_000;

/// What a mutation does with a run whose history passed a limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum OverLimit {
    /// The run is terminated behind what the mutation did.
    EndHere,
    /// What the mutation did will be taken back: it is noted, and the run goes on for now.
    Note,
    /// It was noted: the run, and the reason for which it will be terminated.
    Noted(RunRef, &'static str),
}

/// One mutation's view of the state, and what it wants changed.
pub struct WriteSet<'tables> {
    tables: &'tables dyn Tables,
    changes: Changes,
    /// Duties of the shell, in order.
    pub effects: Vec<Effect>,
    /// Rows of the transition tables that were taken.
    pub(crate) transitions: Vec<&'static Transition>,
    /// Waiting pollers not yet used.
    pub reservations: Vec<Reservation>,
    /// What happens to a run that passes a limit of its history.
    pub(crate) over_limit: OverLimit,
    /// Cluster time of this mutation.
    pub now: Timestamp,
    /// Counters; written back by [`WriteSet::finish`].
    pub meta: Meta,
    meta_before: Meta,
    reservations_before: Vec<Reservation>,
    limits: Arc<Record>,
    entropy: [u8; 16],
    draws: u64,
}

impl std::fmt::Debug for WriteSet<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("WriteSet")
            .field("changes", &self.changes)
            .field("effects", &self.effects)
            .finish_non_exhaustive()
    }
}

impl<'tables> WriteSet<'tables> {
    /// Starts a mutation: cluster time never runs backwards.
    ///
    /// # Errors
    /// [`Fault`] when the counters can't be read.
    pub fn new(
        tables: &'tables dyn Tables,
        now: Timestamp,
        entropy: [u8; 16],
        reservations: Vec<Reservation>,
    ) -> Result<Self, Fault> {
        let meta = match tables.get(&keys::meta_key())?.as_deref() {
            Some(Record::Meta(meta)) => meta.clone(),
            Some(other) => return Err(wrong(other)),
            None => Meta {
                next_run: 1,
                next_namespace: 1,
                next_task: 1,
                ..Meta::default()
            },
        };
        let limits = match tables.get(&keys::config_key())? {
            Some(record) => record,
            None => Arc::new(Record::Config(Config::default())),
        };
        let now = now.max(meta.applied_at);
        let meta_before = meta.clone();
        let (changes, effects) = (Changes::new(), Vec::new());
        let draws = 0;
        let reservations_before = reservations.clone();
        let mut set = Self {
            tables,
            changes,
            effects,
            transitions: Vec::new(),
            reservations,
            over_limit: OverLimit::EndHere,
            now,
            meta,
            meta_before,
            reservations_before,
            limits,
            entropy,
            draws,
        };
        set.meta.applied_at = now;
        Ok(set)
    }

    /// The limits in force.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        match self.limits.as_ref() {
            Record::Config(config) => &config.limits,
            _ => unreachable_limits(),
        }
    }

    /// Sixteen bytes that differ at each call and follow from the proposal's random bytes.
    pub fn draw(&mut self) -> [u8; 16] {
        self.draws += 1;
        let mut bytes = self.entropy;
        if self.draws > 1 {
            let (low, high) = bytes.split_at_mut(8);
            for half in [low, high] {
                let mut seed = [0_u8; 8];
                seed.copy_from_slice(half);
                let mixed = split_mix(u64::from_be_bytes(seed).wrapping_add(self.draws));
                half.copy_from_slice(&mixed.to_be_bytes());
            }
        }
        bytes
    }

    /// The record under a key, as this mutation sees it.
    ///
    /// # Errors
    /// [`Fault`] when storage is broken.
    pub fn get(&self, key: &[u8]) -> Result<Option<Arc<Record>>, Fault> {
        match self.changes.get(key) {
            Some(change) => Ok(change.clone()),
            None => self.tables.get(key),
        }
    }

    /// Writes a record.
    pub fn put(&mut self, key: Key, record: Record) {
        self.changes.insert(key, Some(Arc::new(record)));
        assert!(self.changes.len() <= RECORDS_MAX, "a mutation is bounded");
    }

    /// Deletes a record; harmless when there is none.
    pub fn delete(&mut self, key: Key) {
        self.changes.insert(key, None);
        assert!(self.changes.len() <= RECORDS_MAX, "a mutation is bounded");
    }

    /// Notes that a row of a transition table was taken.
    pub(crate) fn took(&mut self, row: &'static Transition) {
        self.transitions.push(row);
    }

    /// Whether so much was written that a list of commands has to stop.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.changes.len() >= RECORDS_FULL
    }

    /// Up to `limit` records of a prefix, as this mutation sees them.
    ///
    /// # Errors
    /// [`Fault`] when storage is broken.
    pub fn scan_prefix(
        &self,
        prefix: &[u8],
        limit: usize,
        reverse: bool,
    ) -> Result<Vec<(Key, Arc<Record>)>, Fault> {
        let end = keys::prefix_end(prefix);
        self.scan(prefix, &end, limit, reverse)
    }

    /// Up to `limit` records with `from <= key < to`, as this mutation sees them.
    ///
    /// # Errors
    /// [`Fault`] when storage is broken.
    pub fn scan(
        &self,
        from: &[u8],
        to: &[u8],
        limit: usize,
        reverse: bool,
    ) -> Result<Vec<(Key, Arc<Record>)>, Fault> {
        if from >= to {
            return Ok(Vec::new());
        }
        let changed = self.changes.range::<[u8], _>((
            std::ops::Bound::Included(from),
            std::ops::Bound::Excluded(to),
        ));
        let changed: Vec<_> = changed.collect();
        let deleted = changed
            .iter()
            .filter(|(_, change)| change.is_none())
            .count();
        let stored = self
            .tables
            .scan(from, to, limit.saturating_add(deleted), reverse)?;
        let mut merged: BTreeMap<Key, Arc<Record>> = stored.into_iter().collect();
        for (key, change) in changed {
            match change {
                Some(record) => merged.insert(key.clone(), Arc::clone(record)),
                None => merged.remove(key),
            };
        }
        let entries = merged.into_iter();
        Ok(if reverse {
            entries.rev().take(limit).collect()
        } else {
            entries.take(limit).collect()
        })
    }

    /// Takes everything back that this mutation did, but for the clock.
    pub fn rollback(&mut self) {
        self.changes.clear();
        self.effects.clear();
        self.transitions.clear();
        self.reservations.clone_from(&self.reservations_before);
        self.meta = self.meta_before.clone();
        self.meta.applied_at = self.now;
        self.draws = 0;
    }

    /// Ends the mutation: what changed, and the duties.
    #[must_use]
    pub fn finish(mut self) -> (Changes, Vec<Effect>) {
        if self.meta != self.meta_before {
            let meta = self.meta.clone();
            self.put(keys::meta_key(), Record::Meta(meta));
        }
        (self.changes, self.effects)
    }

    /// A namespace by name.
    ///
    /// # Errors
    /// [`Fault`] when storage is broken.
    pub fn namespace_by_name(&self, name: &str) -> Result<Option<Arc<Record>>, Fault> {
        match self.get(&keys::namespace_name_key(name))?.as_deref() {
            Some(Record::NamespaceName(number)) => {
                self.get(&keys::namespace_key(NamespaceNumber(*number)))
            }
            Some(other) => Err(wrong(other)),
            None => Ok(None),
        }
    }

    /// A namespace by number.
    ///
    /// # Errors
    /// [`Fault`] when storage is broken.
    pub fn namespace(&self, number: NamespaceNumber) -> Result<Option<Namespace>, Fault> {
        match self.get(&keys::namespace_key(number))?.as_deref() {
            Some(Record::Namespace(namespace)) => Ok(Some(namespace.clone())),
            Some(other) => Err(wrong(other)),
            None => Ok(None),
        }
    }

    /// A run's mutable state, to change and put back.
    ///
    /// # Errors
    /// [`Fault`] when storage is broken.
    pub fn run(&self, run: &RunRef) -> Result<Option<Box<Run>>, Fault> {
        match self.get(&keys::run_key(run))?.as_deref() {
            Some(Record::Run(run)) => Ok(Some(run.clone())),
            Some(other) => Err(wrong(other)),
            None => Ok(None),
        }
    }
}

/// Reads work on what a mutation sees, too.
impl Tables for WriteSet<'_> {
    fn get(&self, key: &[u8]) -> Result<Option<Arc<Record>>, Fault> {
        WriteSet::get(self, key)
    }

    fn scan(
        &self,
        from: &[u8],
        to: &[u8],
        limit: usize,
        reverse: bool,
    ) -> Result<Vec<(Key, Arc<Record>)>, Fault> {
        WriteSet::scan(self, from, to, limit, reverse)
    }
}

/// A record of another family under a key: the state is damaged.
#[must_use]
pub(crate) fn wrong(record: &Record) -> Fault {
    Fault::Decode(format!(
        "record of another family: {:.80}",
        format!("{record:?}")
    ))
}

fn unreachable_limits() -> &'static Limits {
    panic!("the configuration's key holds a configuration")
}

fn split_mix(seed: u64) -> u64 {
    let mut mixed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}
