//! The seam to clocks, and cluster time made of them (design D6).

mod cluster_time;

pub use cluster_time::ClusterTime;

use std::fmt::Debug;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant, SystemTime};
use steadfast_engine::Timestamp;

/// The clocks of one machine.
pub trait Clock: Send + Sync + Debug + 'static {
    /// Time since some moment in the past; never runs backwards, never jumps.
    fn monotonic(&self) -> Duration;
    /// What the machine thinks the time of day is. May be wrong, may jump.
    fn wall(&self) -> Timestamp;
}

/// The operating system's clocks.
#[derive(Debug, Clone, Copy)]
pub struct RealClock {
    origin: Instant,
}

impl Default for RealClock {
    fn default() -> Self {
        Self {
            origin: Instant::now(),
        }
    }
}

impl Clock for RealClock {
    fn monotonic(&self) -> Duration {
        self.origin.elapsed()
    }

    fn wall(&self) -> Timestamp {
        match SystemTime::now().duration_since(SystemTime::UNIX_EPOCH) {
            Ok(since) => Timestamp(nanos(since)),
            // Before 1970: as wrong as a clock can be, and no reason to stop.
            Err(_) => Timestamp::default(),
        }
    }
}

/// Clocks of a simulated machine: tokio's (pausable) time, and a wall clock that is as wrong as the
/// test wants.
#[derive(Debug)]
pub struct SimulatedClock {
    origin: tokio::time::Instant,
    wall_at_origin: AtomicI64,
}

impl SimulatedClock {
    /// A clock that shows `wall` now. Call it inside the simulation's runtime.
    #[must_use]
    pub fn new(wall: Timestamp) -> Self {
        Self {
            origin: tokio::time::Instant::now(),
            wall_at_origin: AtomicI64::new(wall.0),
        }
    }

    /// Makes the wall clock jump by some nanoseconds, in either direction.
    pub fn jump(&self, nanos: i64) {
        self.wall_at_origin.fetch_add(nanos, Ordering::Relaxed);
    }
}

impl Clock for SimulatedClock {
    fn monotonic(&self) -> Duration {
        self.origin.elapsed()
    }

    fn wall(&self) -> Timestamp {
        let origin = self.wall_at_origin.load(Ordering::Relaxed);
        Timestamp(origin.saturating_add(nanos(self.monotonic())))
    }
}

/// A duration in nanoseconds; saturates after 292 years.
pub(crate) fn nanos(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}
