//! Seeds on several threads: each seed on one, so that what it tells follows from it alone.

use super::say;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};
use steadfast_jepsen::evidence::Violation;
use steadfast_jepsen::simulation::{Order, Recording, Verdict, simulate_watched};

/// A seed whose virtual time stands still for so long in real time does not end.
const ENDLESS: Duration = Duration::from_secs(180);
const LOOK: Duration = Duration::from_secs(1);
/// One seed in so many is run twice.
const TWICE: u64 = 50;

/// What to run.
#[derive(Debug)]
pub(crate) struct Seeds {
    pub(crate) seeds: Range<u64>,
    /// Of these, what was done before.
    pub(crate) done: BTreeSet<u64>,
    /// No more than so many begin.
    pub(crate) most: u64,
    pub(crate) lasts: Duration,
    pub(crate) jobs: usize,
    /// No seed begins after so long.
    pub(crate) bound: Option<Duration>,
    /// All of them twice.
    pub(crate) all_twice: bool,
    /// Where the trace goes.
    pub(crate) trace: Option<PathBuf>,
    /// Set when no more are wanted, not even those under way.
    pub(crate) stop: Arc<AtomicBool>,
}

/// How it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// All seeds that were asked for and might begin have ended.
    Done,
    /// It was stopped.
    Stopped,
    /// A seed loops, and its thread with it, until this process ends.
    Loops,
}

/// Which seed is the next, on all threads.
#[derive(Debug)]
struct Next {
    began: Instant,
    seed: AtomicU64,
    begun: AtomicU64,
}

/// What came of one seed.
#[derive(Debug)]
pub(crate) struct Told {
    pub(crate) seed: u64,
    pub(crate) verdict: Verdict,
    /// The lines that say it.
    pub(crate) text: String,
    /// Does it again.
    pub(crate) again: String,
}

enum Message {
    /// A seed, and what grows while it goes on.
    Begins(u64, Arc<AtomicU64>),
    Ends(Box<Told>),
}

/// A seed under way.
struct Running {
    looks: Arc<AtomicU64>,
    seen: u64,
    /// Since when no more was seen.
    since: Instant,
}

impl Seeds {
    /// Runs them, and hands over what came of each as it comes.
    pub(crate) fn run(self, mut take: impl FnMut(Told)) -> End {
        let next = Arc::new(Next {
            began: Instant::now(),
            seed: AtomicU64::new(self.seeds.start),
            begun: AtomicU64::new(0),
        });
        let seeds = Arc::new(self);
        let (sender, messages) = channel();
        for _ in 0..seeds.jobs.max(1) {
            let (seeds, next, sender) = (seeds.clone(), next.clone(), sender.clone());
            // Not waited for: a seed that loops does not end.
            std::thread::spawn(move || seeds.work(&next, &sender));
        }
        drop(sender);
        let mut running: BTreeMap<u64, Running> = BTreeMap::new();
        loop {
            match messages.recv_timeout(LOOK) {
                Ok(Message::Begins(seed, looks)) => {
                    let (seen, since) = (0, Instant::now());
                    running.insert(seed, Running { looks, seen, since });
                }
                Ok(Message::Ends(told)) => {
                    running.remove(&told.seed);
                    take(*told);
                }
                Err(RecvTimeoutError::Disconnected) => return End::Done,
                Err(RecvTimeoutError::Timeout) => {}
            }
            if let Some(seed) = loops(&mut running) {
                let what = format!("no end after {ENDLESS:?}: something loops");
                let violations = vec![Violation::new("seeds_end", what)];
                let verdict = Verdict {
                    violations,
                    ..Verdict::default()
                };
                take(seeds.told(seed, verdict, ENDLESS));
                return End::Loops;
            }
            if seeds.stop.load(Ordering::Relaxed) {
                return End::Stopped;
            }
        }
    }

    fn work(&self, next: &Next, sender: &Sender<Message>) {
        loop {
            let seed = next.seed.fetch_add(1, Ordering::Relaxed);
            let late = self
                .bound
                .is_some_and(|bound| next.began.elapsed() >= bound);
            if late || seed >= self.seeds.end {
                return;
            }
            if self.done.contains(&seed) {
                continue;
            }
            if next.begun.fetch_add(1, Ordering::Relaxed) >= self.most {
                return;
            }
            // Who takes them may have stopped.
            let looks = Arc::default();
            sender.send(Message::Begins(seed, Arc::clone(&looks))).ok();
            let told = self.one(seed, &looks);
            sender.send(Message::Ends(Box::new(told))).ok();
        }
    }

    fn again(&self, seed: u64) -> String {
        let ticks = self.lasts.as_secs();
        format!("cargo xtask sim --seed {seed} --ticks {ticks}")
    }

    fn one(&self, seed: u64, looks: &Arc<AtomicU64>) -> Told {
        let twice = self.all_twice || seed.is_multiple_of(TWICE);
        let keep = twice || self.trace.is_some();
        let order = Order {
            seed,
            lasts: self.lasts,
            recording: if keep {
                Recording::Kept
            } else {
                Recording::Off
            },
        };
        let began = Instant::now();
        let mut verdict = simulate_watched(order, looks);
        let real = began.elapsed();
        if let Some(path) = &self.trace
            && let Err(error) = std::fs::write(path, &verdict.trace)
        {
            say(&format!("{}: {error}", path.display()));
        }
        if twice
            && let Some(line) = difference(&verdict.trace, &simulate_watched(order, looks).trace)
        {
            let name = "the_same_seed_gives_the_same_trace";
            verdict.violations.push(Violation::new(name, line));
        }
        verdict.trace = String::new();
        self.told(seed, verdict, real)
    }

    fn told(&self, seed: u64, verdict: Verdict, real: Duration) -> Told {
        Told {
            seed,
            text: self.described(seed, &verdict, real),
            again: self.again(seed),
            verdict,
        }
    }

    fn described(&self, seed: u64, verdict: &Verdict, real: Duration) -> String {
        let (simulated, real) = (verdict.simulated.as_secs_f64(), real.as_secs_f64());
        let faults: Vec<String> = verdict
            .faults
            .iter()
            .map(|(fault, times)| format!("{fault} {times}"))
            .collect();
        let situations: Vec<String> = verdict
            .situations
            .iter()
            .map(|(situation, times)| format!("{situation:?} {times}"))
            .collect();
        let mut text = format!(
            "seed {seed}: {} nodes, {simulated:.0} s simulated in {real:.1} s, {} operations, {} runs; {}; {}",
            verdict.nodes,
            verdict.operations,
            verdict.runs,
            faults.join(", "),
            situations.join(", "),
        );
        for violation in &verdict.violations {
            text.push_str(&format!("\n  VIOLATION {violation}"));
        }
        if !verdict.violations.is_empty() {
            text.push_str(&format!("\n  again: {}", self.again(seed)));
        }
        text
    }
}

/// A seed whose virtual time stands still for too long.
fn loops(running: &mut BTreeMap<u64, Running>) -> Option<u64> {
    for (seed, running) in running {
        let looks = running.looks.load(Ordering::Relaxed);
        if looks > running.seen {
            (running.seen, running.since) = (looks, Instant::now());
        }
        if running.since.elapsed() > ENDLESS {
            return Some(*seed);
        }
    }
    None
}

/// The first line in which two traces differ.
fn difference(first: &str, again: &str) -> Option<String> {
    if first == again {
        return None;
    }
    let same = first.lines().zip(again.lines()).take_while(|(a, b)| a == b);
    let at = same.count();
    let line = |text: &str| text.lines().nth(at).unwrap_or("the end").to_owned();
    Some(format!(
        "line {at}: {} -- and again: {}",
        line(first),
        line(again)
    ))
}
