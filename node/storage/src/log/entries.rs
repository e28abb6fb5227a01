//! Where each entry is: in memory, on its way to the disk, or on it.

use super::LogEntry;
use crate::position::Position;
use bytes::Bytes;
use std::collections::VecDeque;

/// Counted for each kept payload besides its bytes.
const PAYLOAD_OVERHEAD: u64 = 64;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Location {
    /// Not written yet; the number tells apart appends to the same index.
    Queued(u64),
    Written {
        segment: u32,
        offset: u32,
    },
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Slot {
    pub(super) term: u64,
    pub(super) leader: u64,
    pub(super) location: Location,
    pub(super) payload_bytes: u32,
}

/// The entries that are held, without gaps, and the payloads of the newest.
#[derive(Debug)]
pub(super) struct Entries {
    /// Index of the first slot, also when there is none; unknown until the first entry or purge.
    first: Option<u64>,
    slots: VecDeque<Slot>,
    /// Payloads of the last slots.
    payloads: VecDeque<Bytes>,
    payload_bytes: u64,
    payload_limit: u64,
    next_sequence: u64,
}

impl Entries {
    pub(super) fn new(first: Option<u64>, payload_limit: u64) -> Entries {
        Entries {
            first,
            slots: VecDeque::new(),
            payloads: VecDeque::new(),
            payload_bytes: 0,
            payload_limit,
            next_sequence: 0,
        }
    }

    /// The index the next entry must have; any when unknown.
    pub(super) fn next_index(&self) -> Option<u64> {
        self.first.map(|first| first + self.slots.len() as u64)
    }

    pub(super) fn last(&self) -> Option<Position> {
        let (slot, next) = (self.slots.back()?, self.next_index()?);
        Some(Position {
            term: slot.term,
            leader: slot.leader,
            index: next - 1,
        })
    }

    pub(super) fn cached_bytes(&self) -> u64 {
        self.payload_bytes
    }

    /// Takes an entry that is not written yet; returns its sequence.
    pub(super) fn push_queued(&mut self, entry: &LogEntry) -> u64 {
        let sequence = self.next_sequence;
        self.next_sequence += 1;
        self.push(
            entry.position,
            entry.payload.clone(),
            Location::Queued(sequence),
        );
        sequence
    }

    /// Takes an entry found on disk.
    pub(super) fn push_written(&mut self, position: Position, payload: Bytes, at: (u32, u32)) {
        let location = Location::Written {
            segment: at.0,
            offset: at.1,
        };
        self.push(position, payload, location);
        self.evict();
    }

    fn push(&mut self, position: Position, payload: Bytes, location: Location) {
        let next = self.next_index().unwrap_or(position.index);
        assert_eq!(
            position.index, next,
            "entries follow each other without a gap"
        );
        self.first.get_or_insert(position.index);
        self.slots.push_back(Slot {
            term: position.term,
            leader: position.leader,
            location,
            payload_bytes: u32::try_from(payload.len()).expect("an append is bounded"),
        });
        self.payload_bytes += payload.len() as u64 + PAYLOAD_OVERHEAD;
        self.payloads.push_back(payload);
    }

    /// Notes where a queued entry was written, unless it was replaced since.
    pub(super) fn written(&mut self, index: u64, sequence: u64, segment: u32, offset: u32) {
        let Some(at) = self.first.and_then(|first| index.checked_sub(first)) else {
            return;
        };
        let slot = usize::try_from(at)
            .ok()
            .and_then(|at| self.slots.get_mut(at));
        if let Some(slot) = slot.filter(|slot| slot.location == Location::Queued(sequence)) {
            slot.location = Location::Written { segment, offset };
        }
    }

    /// Lets go of the oldest payloads beyond the bound, but of none that is nowhere else.
    pub(super) fn evict(&mut self) {
        while self.payload_bytes > self.payload_limit {
            let oldest = self.slots.len() - self.payloads.len();
            match self.slots.get(oldest).map(|slot| slot.location) {
                Some(Location::Written { .. }) => self.drop_oldest_payload(),
                Some(Location::Queued(_)) | None => break,
            }
        }
    }

    fn drop_oldest_payload(&mut self) {
        if let Some(payload) = self.payloads.pop_front() {
            self.payload_bytes -= payload.len() as u64 + PAYLOAD_OVERHEAD;
        }
    }

    /// Forgets the entries after `index`, or all.
    pub(super) fn truncate_after(&mut self, index: Option<u64>) {
        let Some(first) = self.first else { return };
        let end = index.map_or(0, |index| index.saturating_add(1));
        let keep = usize::try_from(end.saturating_sub(first)).unwrap_or(usize::MAX);
        while self.slots.len() > keep {
            self.slots.pop_back();
            if let Some(payload) = self.payloads.pop_back() {
                self.payload_bytes -= payload.len() as u64 + PAYLOAD_OVERHEAD;
            }
        }
        if end < first {
            self.first = index.map(|index| index + 1);
        }
    }

    /// Forgets the entries up to `index`, which may lie beyond the last.
    pub(super) fn purge(&mut self, index: u64) {
        let after = index.saturating_add(1);
        while self.first.is_some_and(|first| first < after) && !self.slots.is_empty() {
            if self.payloads.len() == self.slots.len() {
                self.drop_oldest_payload();
            }
            self.slots.pop_front();
            self.first = self.first.map(|first| first + 1);
        }
        if self.first.is_none_or(|first| first < after) {
            self.first = Some(after);
        }
    }

    /// The slot of an index, and its payload when it is in memory.
    pub(super) fn get(&self, index: u64) -> Option<(Slot, Option<&Bytes>)> {
        let at = usize::try_from(index.checked_sub(self.first?)?).ok()?;
        let slot = *self.slots.get(at)?;
        let without_payload = self.slots.len() - self.payloads.len();
        let payload = at
            .checked_sub(without_payload)
            .and_then(|at| self.payloads.get(at));
        Some((slot, payload))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(term: u64, index: u64) -> LogEntry {
        let position = Position {
            term,
            leader: 1,
            index,
        };
        LogEntry {
            position,
            payload: Bytes::from(vec![7; 36]),
        }
    }

    #[test]
    fn payloads_leave_memory_only_when_written() {
        let mut entries = Entries::new(None, 250);
        let sequences: Vec<u64> = (5..10).map(|i| entries.push_queued(&entry(1, i))).collect();
        entries.evict();
        assert_eq!(entries.cached_bytes(), 500);
        entries.written(5, sequences[0], 1, 100);
        entries.evict();
        assert_eq!(entries.cached_bytes(), 400);
        assert!(entries.get(5).unwrap().1.is_none());
        assert!(entries.get(6).unwrap().1.is_some());
        assert!(entries.get(4).is_none() && entries.get(10).is_none());
    }

    #[test]
    fn a_replaced_entry_does_not_take_the_place_of_the_old_one() {
        let mut entries = Entries::new(None, 1 << 20);
        let old = entries.push_queued(&entry(1, 0));
        entries.truncate_after(None);
        let new = entries.push_queued(&entry(2, 0));
        entries.written(0, old, 1, 100);
        assert_eq!(entries.get(0).unwrap().0.location, Location::Queued(new));
        entries.written(0, new, 1, 200);
        let written = Location::Written {
            segment: 1,
            offset: 200,
        };
        assert_eq!(entries.get(0).unwrap().0.location, written);
    }

    #[test]
    fn purging_beyond_the_end_moves_the_next_index() {
        let mut entries = Entries::new(None, 1 << 20);
        entries.push_queued(&entry(1, 3));
        entries.purge(9);
        assert_eq!((entries.next_index(), entries.last()), (Some(10), None));
        assert_eq!(entries.cached_bytes(), 0);
        entries.purge(4);
        assert_eq!(entries.next_index(), Some(10));
    }
}
