//! Clocks that are wrong, and machines that give less than they should.

use super::{Brought, Nemesis};
use rand::Rng;

/// Memory that a limited node still gets.
const MEMORY_BYTES: u64 = 1 << 20;
/// File descriptors that a limited node still gets.
const FILES: usize = 2;
/// Of a CPU.
const PERCENT: u32 = 10;

/// The rate of the steady clocks, whatever is done to a clock here: libfaketime bends the wall clocks
/// alone (`FAKETIME_DONT_FAKE_MONOTONIC` in the nodes' environment), and by those no node measures.
pub(in crate::processes) const STEADY_RATE: f64 = 1.0;

impl Nemesis {
    pub(super) fn clock_jump(&mut self) -> Brought {
        let seconds: i32 = self.chance.random_range(-3_600..3_600);
        let words = format!("{seconds:+}");
        self.on_one(&format!("the clock jumps by {words} s on"), |host| {
            host.set_clock(&words)
        })
    }

    pub(super) fn clock_skew(&mut self) -> Brought {
        let words = match self.chance.random() {
            true => "+0 x2.0",
            false => "+0 x0.5",
        };
        self.on_one(&format!("the clock runs at {words} on"), |host| {
            host.set_clock(words)
        })
    }

    pub(super) fn memory_limit(&mut self) -> Brought {
        self.on_one("1 MiB more memory for", |host| {
            host.may_end = true;
            host.limit_memory(Some(MEMORY_BYTES))
        })
    }

    pub(super) fn file_descriptors(&mut self) -> Brought {
        self.on_one("two more file descriptors for", |host| {
            host.may_end = true;
            host.limit_files(FILES)
        })
    }

    pub(super) fn cpu_quota(&mut self) -> Brought {
        self.on_one("a tenth of a CPU for", |host| host.limit_cpu(Some(PERCENT)))
    }
}
