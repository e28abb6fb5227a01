//! The seam to clocks, and cluster time made of them (design D6).

mod cluster_time;

pub use cluster_time::ClusterTime;

use std::fmt::Debug;
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

/// A duration in nanoseconds; saturates after 292 years.
pub(crate) fn nanos(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}
