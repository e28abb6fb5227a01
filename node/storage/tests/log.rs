//! The log against the simulated disk: what it promises, and what it does when the disk breaks.

#![expect(
    clippy::unwrap_used,
    reason = "a test stops at what it does not expect"
)]

#[path = "log/crash.rs"]
mod crash;
#[path = "log/damage.rs"]
mod damage;
#[path = "log/faults.rs"]
mod faults;
#[path = "log/life.rs"]
mod life;
#[path = "log/support.rs"]
mod support;
