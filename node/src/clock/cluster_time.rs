//! Cluster time: what the leader stamps proposals with, and what timers wait for.
//!
//! It advances with the leader's monotonic clock from the last applied stamp. The *reference* is
//! the latest time that the wall clocks of a majority of voters have reached; it steers cluster
//! time by at most a tenth, and lets it step forward when it lies more than a second ahead. So one
//! node with a wrong clock neither fires timers early nor stops them.

use super::{Clock, nanos};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use steadfast_engine::Timestamp;
use steadfast_planted::{Bug, planted};

/// Steering adds or takes at most this part of the time that passed.
const STEER_PART: i64 = 10;
/// Cluster time behind the reference by more than this steps forward.
const STEP_NANOS: i64 = 1_000_000_000;
/// A peer's wall clock counts for this long after it was heard (nodes talk once a second).
const HEARD_FOR: Duration = Duration::from_secs(10);
/// A node whose clock is off the reference by more says so, and lets others lead.
const OFFSET_TOLD_NANOS: i64 = 5_000_000_000;

/// Cluster time, as this node would stamp it. Read it only while in office.
#[derive(Debug)]
pub struct ClusterTime {
    clock: Arc<dyn Clock>,
    node_id: u64,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The last time told.
    cluster: i64,
    /// The monotonic clock then.
    at: Duration,
    voters: BTreeSet<u64>,
    /// Peers' wall clocks, and our monotonic clock when they were heard.
    heard: BTreeMap<u64, (i64, Duration)>,
    told_offset: bool,
    /// The latest stamp that was applied here, and our monotonic clock when it was.
    applied: (i64, Duration),
}

impl ClusterTime {
    /// For this node; begins when [`ClusterTime::begin`] is called.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>, node_id: u64) -> Self {
        Self {
            clock,
            node_id,
            state: Mutex::default(),
        }
    }

    /// This machine's clocks.
    #[must_use]
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.clock
    }

    /// Who votes; a majority of them makes the reference.
    pub fn set_voters(&self, voters: &BTreeSet<u64>) {
        let mut state = self.state();
        if state.voters != *voters {
            state.voters.clone_from(voters);
        }
    }

    /// A peer's wall clock, just told by it.
    pub fn heard(&self, peer: u64, wall: Timestamp) {
        let at = self.clock.monotonic();
        self.state().heard.insert(peer, (wall.0, at));
    }

    /// Whether a majority's wall clocks are known.
    #[must_use]
    pub fn has_reference(&self) -> bool {
        let (mono, wall) = (self.clock.monotonic(), self.clock.wall());
        reference(&self.state(), self.node_id, wall.0, mono).is_some()
    }

    /// An entry with this stamp was applied here.
    pub fn applied(&self, stamp: Timestamp) {
        let at = self.clock.monotonic();
        let mut state = self.state();
        if stamp.0 > state.applied.0 {
            state.applied = (stamp.0, at);
        }
    }

    /// Begins a leadership: from the last applied stamp and the time since it was applied here, or
    /// from the reference when that is later. So time goes on while nobody leads: standing still and
    /// stepping forward later, it would fire what was asked for in between too early.
    /// The very first leadership of a cluster has no stamp yet and takes what it has.
    pub fn begin(&self, applied_at: Timestamp) {
        let (mono, wall) = (self.clock.monotonic(), self.clock.wall().0);
        let mut state = self.state();
        let reference = reference(&state, self.node_id, wall, mono);
        let first = applied_at == Timestamp::default();
        let known = reference.unwrap_or(if first { wall } else { 0 });
        let (stamp, at) = state.applied;
        let steady = stamp.saturating_add(nanos(mono.saturating_sub(at)));
        state.cluster = state.cluster.max(applied_at.0).max(known).max(steady);
        state.at = mono;
    }

    /// Cluster time now. Never runs backwards.
    pub fn now(&self) -> Timestamp {
        let mut state = self.state();
        // Read under the lock, or a late caller would set the monotonic clock back.
        let (mono, wall) = (self.clock.monotonic(), self.clock.wall().0);
        let elapsed = nanos(mono.saturating_sub(state.at));
        let steady = state.cluster.saturating_add(elapsed);
        let reference = match planted(Bug::TimerFiresByWallClock) {
            true => Some(wall),
            false => reference(&state, self.node_id, wall, mono),
        };
        state.at = mono;
        state.cluster = match reference {
            None => steady,
            Some(reference) if reference > steady.saturating_add(STEP_NANOS) => reference,
            Some(reference) => {
                let most = elapsed / STEER_PART;
                steady + reference.saturating_sub(steady).clamp(-most, most)
            }
        };
        Timestamp(state.cluster)
    }

    /// Whether a voter's wall clock is more than five seconds off the majority's. False while that
    /// is not known: this node or the other is new here, or was not heard for ten seconds.
    #[must_use]
    pub fn is_off(&self, node: u64) -> bool {
        let (mono, wall) = (self.clock.monotonic(), self.clock.wall().0);
        let state = self.state();
        let reference = reference(&state, self.node_id, wall, mono);
        let clock = clock_of(&state, node, self.node_id, wall, mono);
        reference.zip(clock).is_some_and(|(reference, clock)| {
            clock.saturating_sub(reference).saturating_abs() > OFFSET_TOLD_NANOS
        })
    }

    /// Warns, once per occasion, when this machine's clock is far off the majority's.
    pub fn tell_offset(&self) {
        let (mono, wall) = (self.clock.monotonic(), self.clock.wall().0);
        let mut state = self.state();
        let Some(reference) = reference(&state, self.node_id, wall, mono) else {
            return;
        };
        let offset = wall.saturating_sub(reference);
        let off = offset.saturating_abs() > OFFSET_TOLD_NANOS;
        if off && !state.told_offset {
            let seconds = offset / 1_000_000_000;
            tracing::warn!(
                seconds,
                "this machine's clock is off those of the other nodes; set it right"
            );
        }
        state.told_offset = off;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The latest time that the clocks of a majority of voters have reached. A voter that was not heard
/// counts as one that has reached nothing.
fn reference(state: &State, node_id: u64, wall: i64, mono: Duration) -> Option<i64> {
    let alone = BTreeSet::from([node_id]);
    let voters = if state.voters.is_empty() {
        &alone
    } else {
        &state.voters
    };
    let mut clocks: Vec<i64> = voters
        .iter()
        .filter_map(|voter| clock_of(state, *voter, node_id, wall, mono))
        .collect();
    clocks.sort_unstable_by(|one, other| other.cmp(one));
    clocks.get(voters.len() / 2).copied()
}

/// What a node's wall clock shows now, as far as it was heard.
fn clock_of(state: &State, node: u64, node_id: u64, wall: i64, mono: Duration) -> Option<i64> {
    if node == node_id {
        return Some(wall);
    }
    let (told, at) = state.heard.get(&node)?;
    let ago = mono.saturating_sub(*at);
    (ago <= HEARD_FOR).then(|| told.saturating_add(nanos(ago)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicI64, Ordering};

    const SECOND: i64 = 1_000_000_000;
    const HOUR: i64 = 3_600 * SECOND;
    const START: i64 = 1_700_000_000 * SECOND;

    #[derive(Debug, Default)]
    struct HandClock {
        mono: AtomicI64,
        wrong_by: AtomicI64,
    }

    impl Clock for HandClock {
        fn monotonic(&self) -> Duration {
            Duration::from_nanos(self.mono.load(Ordering::Relaxed).cast_unsigned())
        }
        fn wall(&self) -> Timestamp {
            let wrong_by = self.wrong_by.load(Ordering::Relaxed);
            Timestamp(START + wrong_by + self.mono.load(Ordering::Relaxed))
        }
    }

    /// A leader of three whose own clock is wrong, and whose peers' clocks are right.
    struct Leader {
        clock: Arc<HandClock>,
        time: ClusterTime,
    }

    impl Leader {
        fn new(wrong_by: i64) -> Leader {
            let clock = Arc::new(HandClock::default());
            clock.wrong_by.store(wrong_by, Ordering::Relaxed);
            let time = ClusterTime::new(clock.clone(), 1);
            time.set_voters(&BTreeSet::from([1, 2, 3]));
            Leader { clock, time }
        }

        /// Lets true time pass in steps, with the peers heard at each; the true time then.
        fn pass(&self, span: i64, step: i64) -> i64 {
            for _ in 0..span / step {
                self.clock.mono.fetch_add(step, Ordering::Relaxed);
                self.hear();
                self.time.now();
            }
            START + self.clock.mono.load(Ordering::Relaxed)
        }

        fn hear(&self) {
            let right = Timestamp(START + self.clock.mono.load(Ordering::Relaxed));
            self.time.heard(2, right);
            self.time.heard(3, right);
        }
    }

    #[test]
    fn a_leader_with_a_clock_an_hour_wrong_keeps_true_time() {
        for wrong_by in [HOUR, -HOUR] {
            let leader = Leader::new(wrong_by);
            leader.hear();
            leader.time.begin(Timestamp(START));
            let truth = leader.pass(60 * SECOND, SECOND / 10);
            assert!(
                (leader.time.now().0 - truth).abs() < SECOND / 1_000,
                "wrong by {wrong_by}"
            );
        }
    }

    #[test]
    fn alone_against_unheard_peers_the_wall_clock_moves_nothing() {
        for wrong_by in [HOUR, -HOUR] {
            let leader = Leader::new(wrong_by);
            leader.time.begin(Timestamp(START));
            leader.clock.mono.store(10 * SECOND, Ordering::Relaxed);
            assert_eq!(leader.time.now().0, START + 10 * SECOND);
            assert!(!leader.time.has_reference());
        }
    }

    #[test]
    fn a_jump_of_a_single_node_never_takes_time_back() {
        let clock = Arc::new(HandClock::default());
        let time = ClusterTime::new(clock.clone(), 1);
        time.begin(Timestamp::default());
        let before = time.now();
        assert_eq!(before.0, START);
        clock.wrong_by.store(-HOUR, Ordering::Relaxed);
        clock.mono.store(10 * SECOND, Ordering::Relaxed);
        // Nine seconds in ten: steered, not stopped.
        assert_eq!(time.now().0, before.0 + 9 * SECOND);
    }

    #[test]
    fn after_an_outage_a_majority_lets_time_step_forward() {
        let leader = Leader::new(0);
        leader.time.begin(Timestamp(START - HOUR));
        assert_eq!(
            leader.time.now().0,
            START - HOUR,
            "the peers are not heard yet"
        );
        leader.hear();
        assert_eq!(leader.time.now().0, START);
    }

    /// A timer of 800 ms fired after 442 ms, since time stood still between two leaders and then
    /// stepped forward.
    #[test]
    fn time_goes_on_between_two_leaderships_though_no_peer_is_heard() {
        let leader = Leader::new(0);
        leader.time.applied(Timestamp(START));
        leader.clock.mono.store(5 * SECOND, Ordering::Relaxed);
        leader.time.begin(Timestamp(START));
        assert_eq!(leader.time.now().0, START + 5 * SECOND);
        leader.hear();
        assert_eq!(leader.time.now().0, START + 5 * SECOND, "no step");
    }

    #[test]
    fn a_clock_is_off_when_the_majority_says_so() {
        let leader = Leader::new(6 * SECOND);
        assert!(!leader.time.is_off(1), "nobody else was heard");
        leader.hear();
        assert!(leader.time.is_off(1));
        assert!(!leader.time.is_off(2));
        assert!(!leader.time.is_off(4), "unknown here");
        leader.time.heard(3, Timestamp(START - 6 * SECOND));
        assert!(leader.time.is_off(1) && leader.time.is_off(3));
        leader.clock.wrong_by.store(4 * SECOND, Ordering::Relaxed);
        assert!(!leader.time.is_off(1));
    }

    #[test]
    fn small_differences_are_steered_away_at_a_tenth() {
        let leader = Leader::new(0);
        leader.time.begin(Timestamp(START - SECOND / 2));
        leader.hear();
        leader.clock.mono.store(SECOND, Ordering::Relaxed);
        leader.hear();
        assert_eq!(
            leader.time.now().0,
            START - SECOND / 2 + SECOND + SECOND / 10
        );
        let truth = leader.pass(10 * SECOND, SECOND / 10);
        assert!((leader.time.now().0 - truth).abs() < SECOND / 1_000);
    }
}
