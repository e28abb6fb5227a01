//! The model check: random mutations, at least half of them accepted, from a seed. After each one
//! the invariants of the runs it touched hold, at intervals those of the whole state. Each kind of
//! mutation, command, event and refusal is reached often, or the run fails. Each log, replayed
//! twice with marks at other places, gives the same digests.
//!
//! `cargo xtask model-check --mutations N --seed S` asks for more than the default here, and with
//! `--walk W` for one walk again.

#![cfg(test)]

mod commands;
mod counts;
mod kinds;
#[path = "../workflows/memory.rs"]
mod memory;
mod mutations;
mod walk;
#[path = "../workflows/walk_updates.rs"]
mod walk_updates;

use counts::{Counts, LEAST};
use mimalloc::MiMalloc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use walk::Walk;

/// As the server's.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// Mutations of an ordinary test run.
const MUTATIONS: u64 = 60_000;
/// Mutations of one cluster.
const WALK: u64 = 2_500;

fn number(name: &str, default: u64) -> u64 {
    let text = std::env::var(name).ok();
    text.map_or(default, |text| text.parse().unwrap())
}

#[test]
fn whatever_happens_the_invariants_hold() {
    let mutations = number("MODEL_CHECK_MUTATIONS", MUTATIONS);
    let seed = number("MODEL_CHECK_SEED", 1);
    let (next, counts) = (AtomicU64::new(0), Mutex::new(Counts::default()));
    let walks = mutations.div_ceil(WALK);
    if let Ok(text) = std::env::var("MODEL_CHECK_WALK") {
        walk_alone(seed, text.parse().unwrap());
        return;
    }
    let threads = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                let _ends = EndsAll(&next);
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= walks {
                        return;
                    }
                    let walk = walk_alone(seed, number);
                    counts.lock().unwrap().merge(walk.counts);
                    if walks > 1_000 && number.is_multiple_of(walks / 100) {
                        eprintln!("walk {number} of {walks}");
                    }
                }
            });
        }
    });
    let counts = counts.into_inner().unwrap();
    let text = counts.text();
    // Shown by `--nocapture`.
    eprintln!("{text}");
    // Fewer mutations than a million: each kind is still seen now and then. A short walk is uneven.
    let faults = counts.faults(if mutations < 1_000_000 {
        (LEAST * mutations / 4_000_000).max(1)
    } else {
        LEAST
    });
    assert!(faults.is_empty(), "{faults:#?}");
}

fn walk_alone(seed: u64, number: u64) -> Walk {
    let mut walk = Walk::new(seed.wrapping_mul(1_000_003).wrapping_add(number));
    let _guard = Named(seed, number);
    walk.walk(WALK);
    walk.replay(u64::MAX);
    walk.replay(97 + number % 400);
    walk
}

/// A walk that fails ends the others: hours are not spent on what has failed.
struct EndsAll<'a>(&'a AtomicU64);

impl Drop for EndsAll<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.store(u64::MAX / 2, Ordering::Relaxed);
        }
    }
}

/// Names the walk that failed.
struct Named(u64, u64);

impl Drop for Named {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let Named(seed, walk) = self;
            eprintln!("again: cargo xtask model-check --seed {seed} --walk {walk}");
        }
    }
}
