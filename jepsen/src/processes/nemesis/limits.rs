//! Clocks that are wrong, and machines that give less than they should.

use super::{Brought, Fault, Nemesis};
use rand::Rng;

/// Memory that a limited node still gets.
const MEMORY_BYTES: u64 = 1 << 20;
/// File descriptors that a limited node still gets.
const FILES: usize = 2;
/// Of a CPU.
const PERCENT: u32 = 10;

impl Nemesis {
    pub(super) fn bring_limits(&mut self, fault: Fault) -> Brought {
        match fault {
            Fault::ClockJump => {
                let seconds: i32 = self.chance.random_range(-3_600..3_600);
                let words = format!("{seconds:+}");
                self.on_one(&format!("the clock jumps by {words} s on"), |host| {
                    host.set_clock(&words)
                })
            }
            Fault::ClockSkew => {
                let words = match self.chance.random() {
                    true => "+0 x2.0",
                    false => "+0 x0.5",
                };
                self.on_one(&format!("the clock runs at {words} on"), |host| {
                    host.set_clock(words)
                })
            }
            Fault::MemoryLimit => self.on_one("1 MiB more memory for", |host| {
                host.may_end = true;
                host.limit_memory(Some(MEMORY_BYTES))
            }),
            Fault::FileDescriptors => self.on_one("two more file descriptors for", |host| {
                host.may_end = true;
                host.limit_files(FILES)
            }),
            Fault::CpuQuota => {
                self.on_one("a tenth of a CPU for", |host| host.limit_cpu(Some(PERCENT)))
            }
            _ => Ok(None),
        }
    }
}
