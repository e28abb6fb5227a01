//! The clocks of a simulated machine: as wrong as the nemesis wants.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use steadfast::clock::Clock;
use steadfast_engine::Timestamp;
use tokio::time::Instant;

/// A clock that may jump and may run too fast or too slow. What drifts is what a node reads
/// (cluster time, time-outs of workflows); Raft's own timers follow true time.
#[derive(Debug)]
pub struct WrongClock(Mutex<State>);

#[derive(Debug)]
struct State {
    /// True time when the rate was last set.
    since: Instant,
    /// What the monotonic clock showed then.
    monotonic: Duration,
    /// The wall clock when the monotonic clock showed nothing.
    origin: i64,
    rate: f64,
}

impl WrongClock {
    /// A right clock that shows `wall` now. Call it inside the simulation's runtime.
    #[must_use]
    pub fn new(wall: Timestamp) -> Self {
        Self(Mutex::new(State {
            since: Instant::now(),
            monotonic: Duration::ZERO,
            origin: wall.0,
            rate: 1.0,
        }))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes the wall clock jump by some nanoseconds, in either direction.
    pub fn jump(&self, nanos: i64) {
        let mut state = self.state();
        state.origin = state.origin.saturating_add(nanos);
    }

    /// Lets both clocks run so much faster than true time from now on.
    pub fn set_rate(&self, rate: f64) {
        let mut state = self.state();
        state.monotonic = state.now();
        state.since = Instant::now();
        state.rate = rate;
    }
}

impl State {
    fn now(&self) -> Duration {
        self.monotonic + self.since.elapsed().mul_f64(self.rate)
    }
}

impl Clock for WrongClock {
    fn monotonic(&self) -> Duration {
        self.state().now()
    }

    fn wall(&self) -> Timestamp {
        let state = self.state();
        let passed = i64::try_from(state.now().as_nanos()).unwrap_or(i64::MAX);
        Timestamp(state.origin.saturating_add(passed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_clock_that_drifts_never_runs_backwards() {
        let clock = WrongClock::new(Timestamp(1_000));
        clock.set_rate(2.0);
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(clock.monotonic(), Duration::from_secs(2));
        clock.set_rate(0.5);
        assert_eq!(clock.monotonic(), Duration::from_secs(2));
        tokio::time::advance(Duration::from_secs(2)).await;
        assert_eq!(clock.monotonic(), Duration::from_secs(3));
        clock.jump(-7);
        assert_eq!(clock.wall(), Timestamp(1_000 - 7 + 3_000_000_000));
    }
}
