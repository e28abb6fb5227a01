//! How much may be on its way to being applied (design D8).

use super::Class;
use std::sync::{Arc, Mutex, PoisonError};

/// Encoded mutations not yet applied, in bytes.
pub(super) const BYTES_MAX: usize = 32 << 20;
/// Mutations not yet applied.
pub(super) const COUNT_MAX: usize = 4_096;
/// What fills may use so much of both; the rest is for what drains.
const FILLS_QUARTERS: usize = 3;

/// Counts what was let in and is not applied yet.
#[derive(Debug, Default, Clone)]
pub(super) struct Admission(Arc<Mutex<Load>>);

#[derive(Debug, Default, Clone, Copy)]
struct Load {
    bytes: usize,
    count: usize,
}

/// A mutation that was let in; leaves when dropped.
#[derive(Debug)]
pub(super) struct Admitted {
    admission: Admission,
    bytes: usize,
}

impl Admission {
    /// Lets a mutation in, or not.
    pub(super) fn enter(&self, class: Class, bytes: usize) -> Option<Admitted> {
        let (bytes_max, count_max) = match class {
            Class::Drains => (BYTES_MAX, COUNT_MAX),
            Class::Fills => (
                BYTES_MAX / 4 * FILLS_QUARTERS,
                COUNT_MAX / 4 * FILLS_QUARTERS,
            ),
        };
        let mut load = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if load.bytes + bytes > bytes_max || load.count >= count_max {
            return None;
        }
        load.bytes += bytes;
        load.count += 1;
        Some(Admitted {
            admission: self.clone(),
            bytes,
        })
    }

    /// Bytes and mutations on their way.
    pub(super) fn load(&self) -> (usize, usize) {
        let load = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        (load.bytes, load.count)
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        let mut load = self
            .admission
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        load.bytes -= self.bytes;
        load.count -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fills_leaves_a_quarter_for_what_drains() {
        let admission = Admission::default();
        let fills: Vec<_> = std::iter::from_fn(|| admission.enter(Class::Fills, 1)).collect();
        assert_eq!(fills.len(), COUNT_MAX / 4 * 3);
        let drains: Vec<_> = std::iter::from_fn(|| admission.enter(Class::Drains, 1)).collect();
        assert_eq!(drains.len(), COUNT_MAX / 4);
        drop(drains);
        assert!(admission.enter(Class::Fills, 1).is_none());
        drop(fills);
        assert_eq!(admission.load(), (0, 0));
    }

    #[test]
    fn bytes_are_bounded_too() {
        let admission = Admission::default();
        let big = 4 << 20;
        let fills: Vec<_> = std::iter::from_fn(|| admission.enter(Class::Fills, big)).collect();
        assert_eq!(fills.len(), 6);
        assert!(admission.enter(Class::Drains, big).is_some());
    }
}
