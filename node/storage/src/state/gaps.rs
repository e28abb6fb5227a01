//! Ranges of keys that hold no live record.
//!
//! A queue's records are taken from its front, and each leaves a tombstone until it is at rest. A
//! scan that starts at the front would pass all of them, each time. So what one scan found dead,
//! the next ones leap over; and one that finds an empty queue tells, so the next does not look for
//! it at rest. Knowledge only: with or without it a scan finds the same records.

use super::record::Key;
use imbl::OrdMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Ranges remembered. When there are more all are forgotten: each costs one long scan to learn.
const GAPS_MAX: usize = 1_024;
/// Ranges learned between two merges, at most.
const LEARNED_MAX: usize = 16;

/// Disjoint ranges without a live record in any layer, from the first key to before the second.
/// Cheap to clone; a view has those of its position.
#[derive(Debug, Clone, Default)]
pub(crate) struct Gaps(OrdMap<Key, Key>);

impl Gaps {
    /// Where the range that holds this key ends; the end itself is not in it.
    pub(crate) fn end_of(&self, key: &[u8]) -> Option<&Key> {
        let (_, end) = self.0.get_prev(key)?;
        (key < &end[..]).then_some(end)
    }

    /// A live record is put here.
    pub(crate) fn put(&mut self, key: &Key) {
        let Some((start, end)) = self.0.get_prev(key) else {
            return;
        };
        if key >= end {
            return;
        }
        let (start, end) = (start.clone(), end.clone());
        let after = successor(key);
        if start == *key {
            self.0.remove(&start);
        } else {
            self.0.insert(start, key.clone());
        }
        if after < end {
            self.insert(after, end);
        }
    }

    /// The record here is deleted: a range that ends here grows over it.
    pub(crate) fn delete(&mut self, key: &Key) {
        let Some((start, end)) = self.0.get_prev(key) else {
            return;
        };
        if end == key {
            let start = start.clone();
            self.add(start, successor(key));
        }
    }

    /// Nothing lives in this range.
    fn add(&mut self, from: Key, to: Key) {
        if from >= to {
            return;
        }
        let (mut start, mut end) = (from, to);
        // All ranges that overlap or touch become one: the union has no live record either.
        while let Some((other, other_end)) = self.0.get_prev(&end) {
            if *other_end < start {
                break;
            }
            let (other, other_end) = (other.clone(), other_end.clone());
            self.0.remove(&other);
            start = start.min(other);
            end = end.max(other_end);
        }
        self.insert(start, end);
    }

    fn insert(&mut self, start: Key, end: Key) {
        if self.0.len() >= GAPS_MAX {
            self.0.clear();
        }
        self.0.insert(start, end);
    }

    /// Takes in what scans of the present state found.
    pub(crate) fn learn(&mut self, learned: &Learned, merges: u64) {
        for found in std::mem::take(&mut *learned.lock()) {
            // Of an older state: a record may have been put there since.
            if found.merges == merges {
                self.add(found.from, found.to);
            }
        }
    }
}

/// The least key after this one.
fn successor(key: &Key) -> Key {
    let mut next = Vec::with_capacity(key.len() + 1);
    next.extend_from_slice(key);
    next.push(0);
    next.into()
}

#[derive(Debug)]
struct Found {
    merges: u64,
    from: Key,
    to: Key,
}

/// What scans of views found, until the next merge takes it in.
#[derive(Debug, Default)]
pub(crate) struct Learned {
    found: Mutex<Vec<Found>>,
    dead_passed: AtomicU64,
}

impl Learned {
    /// A scan of the state after so many merges found nothing alive in this range.
    pub(crate) fn tell(&self, merges: u64, from: Key, to: Key) {
        let mut found = self.lock();
        if found.len() < LEARNED_MAX {
            found.push(Found { merges, from, to });
        }
    }

    /// A walk passed so many dead records.
    pub(crate) fn passed(&self, dead: u64) {
        if dead > 0 {
            self.dead_passed.fetch_add(dead, Ordering::Relaxed);
        }
    }

    /// Dead records that walks passed so far.
    pub(crate) fn dead_passed(&self) -> u64 {
        self.dead_passed.load(Ordering::Relaxed)
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Found>> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &'static str) -> Key {
        Key::from_static(text.as_bytes())
    }

    fn gaps(ranges: &[(&'static str, &'static str)]) -> Gaps {
        let mut gaps = Gaps::default();
        for (from, to) in ranges {
            gaps.add(key(from), key(to));
        }
        gaps
    }

    fn ranges(gaps: &Gaps) -> Vec<(&[u8], &[u8])> {
        gaps.0
            .iter()
            .map(|(from, to)| (&from[..], &to[..]))
            .collect()
    }

    #[test]
    fn ranges_that_overlap_or_touch_are_one() {
        let joined = gaps(&[("b", "d"), ("h", "k"), ("d", "f"), ("a", "c")]);
        assert_eq!(ranges(&joined), [(&b"a"[..], &b"f"[..]), (b"h", b"k")]);
        let all = gaps(&[("b", "d"), ("h", "k"), ("c", "z"), ("m", "n"), ("x", "x")]);
        assert_eq!(ranges(&all), [(&b"b"[..], &b"z"[..])]);
    }

    #[test]
    fn a_record_put_into_a_range_is_left_out_of_it() {
        let mut gaps = gaps(&[("b", "f")]);
        gaps.put(&key("a"));
        gaps.put(&key("f"));
        assert_eq!(gaps.end_of(b"b").unwrap(), "f");
        gaps.put(&key("d"));
        assert_eq!(gaps.end_of(b"c").unwrap(), "d");
        assert!(gaps.end_of(b"d").is_none());
        assert_eq!(gaps.end_of(b"da").unwrap(), "f");
        gaps.put(&key("b"));
        assert!(gaps.end_of(b"b").is_none());
        assert_eq!(gaps.end_of(b"ba").unwrap(), "d");
    }

    #[test]
    fn a_record_that_is_deleted_at_the_end_of_a_range_joins_it_with_the_next() {
        let mut gaps = gaps(&[("b", "f")]);
        gaps.put(&key("c"));
        gaps.delete(&key("c"));
        assert_eq!(ranges(&gaps), [(&b"b"[..], &b"f"[..])]);
        gaps.delete(&key("f"));
        assert_eq!(ranges(&gaps), [(&b"b"[..], &b"f\0"[..])]);
        gaps.delete(&key("x"));
        gaps.delete(&key("a"));
        assert_eq!(ranges(&gaps).len(), 1);
    }

    #[test]
    fn what_was_found_before_the_last_merge_is_not_believed() {
        let learned = Learned::default();
        learned.tell(1, key("a"), key("c"));
        learned.tell(2, key("m"), key("p"));
        let mut gaps = Gaps::default();
        gaps.learn(&learned, 2);
        assert_eq!(ranges(&gaps), [(&b"m"[..], &b"p"[..])]);
        gaps.learn(&learned, 2);
        assert_eq!(ranges(&gaps).len(), 1);
    }

    #[test]
    fn both_bounds_hold() {
        let learned = Learned::default();
        for _ in 0..LEARNED_MAX * 2 {
            learned.tell(0, key("a"), key("b"));
        }
        assert_eq!(learned.lock().len(), LEARNED_MAX);
        let mut gaps = Gaps::default();
        for number in 0..GAPS_MAX * 3 {
            let from = format!("{number:08}a");
            gaps.add(from.into(), format!("{number:08}b").into());
            assert!((1..=GAPS_MAX).contains(&gaps.0.len()));
        }
    }

    #[test]
    fn many_ranges_are_what_a_plain_set_says() {
        let key_of = |number: u64| Key::from(format!("{number:04}"));
        let mut state = 1_u64;
        let mut draw = |below: u64| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (state >> 33) % below
        };
        let mut gaps = Gaps::default();
        let mut dead = std::collections::BTreeSet::new();
        for step in 0..20_000 {
            let at = draw(3_000);
            match draw(4) {
                0 => {
                    gaps.put(&key_of(at));
                    dead.remove(&at);
                }
                1 => {
                    gaps.delete(&key_of(at));
                    dead.insert(at);
                }
                _ => {
                    let end = at + 1 + draw(3);
                    gaps.add(key_of(at), key_of(end));
                    dead.extend(at..end);
                }
            }
            let looked = draw(3_000);
            let is_dead = gaps.end_of(&key_of(looked)).is_some();
            assert!(
                !is_dead || dead.contains(&looked),
                "step {step}: {looked} lives"
            );
        }
    }
}
