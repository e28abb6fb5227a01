//! What is due fires (design D6): the leader's loop over the one index of due times. Deletions in
//! slices go on here, too.

use crate::shard::{Class, Core, Unavailable};
use futures::future::join_all;
use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use steadfast_engine::id::RunRef;
use steadfast_engine::tables::keys::{due_prefix, due_time, prefix_end};
use steadfast_engine::{Fault, Key, Mutation, Tables, Timestamp};
use steadfast_planted::{Bug, planted};
use tokio::sync::Notify;
use tokio::time::sleep;

/// Due items proposed at once; users' proposals come between.
const FIRED_MAX: usize = 256;
/// The loop looks again after this at the latest.
const SLEEP_MAX: Duration = Duration::from_secs(60);
/// After proposals that came to nothing.
const PAUSE: Duration = Duration::from_millis(100);
/// Runs whose deletion goes on; more are found again by their due items.
const DELETIONS_MAX: usize = 10_000;

/// Wakes the loop when something is due earlier than it thinks.
#[derive(Debug, Default)]
pub(crate) struct Alarm {
    state: Mutex<State>,
    woken: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// What the loop sleeps for; it is awake without one.
    sleeps_until: Option<Timestamp>,
    deletions: BTreeSet<RunRef>,
}

impl Alarm {
    /// A due time was added.
    pub(crate) fn due_at(&self, at: Timestamp) {
        let mut state = self.lock();
        if state.sleeps_until.is_some_and(|until| at < until) {
            state.sleeps_until = None;
            self.woken.notify_one();
        }
    }

    /// A run is to be deleted in slices.
    pub(crate) fn delete(&self, run: RunRef) {
        let mut state = self.lock();
        if state.deletions.len() < DELETIONS_MAX {
            state.deletions.insert(run);
            self.woken.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Fires what is due, until cancelled.
pub(crate) async fn run(core: &Core) {
    // What a former leadership noted may be done already; due items tell the rest.
    *core.alarm.lock() = State::default();
    let forgets = planted(Bug::TimersLostWithLeader).then(|| core.time.now());
    loop {
        // From here on the alarm wakes: what is added after the look is earlier than "for ever".
        core.alarm.lock().sleeps_until = Some(Timestamp(i64::MAX));
        let now = core.time.now();
        let due = match due(core, now) {
            Ok(due) => due,
            Err(fault) => {
                tracing::error!(%fault, "the due times cannot be read");
                sleep(PAUSE).await;
                continue;
            }
        };
        let deletions = std::mem::take(&mut core.alarm.lock().deletions);
        let next = due
            .iter()
            .find_map(|key| due_time(key).filter(|at| *at > now));
        let fires: Vec<Key> = due
            .into_iter()
            .filter(|key| due_time(key).is_some_and(|at| at <= now))
            .filter(|key| forgets.is_none_or(|before| due_time(key) >= Some(before)))
            .collect();
        if fires.is_empty() && deletions.is_empty() {
            wait(core, now, next).await;
            continue;
        }
        if let Some(earliest) = fires.first().and_then(|key| due_time(key)) {
            let micros = now.since(earliest).0.cast_unsigned() / 1_000;
            core.telemetry
                .due_lag_micros
                .store(micros, Ordering::Relaxed);
        }
        let deletions = deletions
            .into_iter()
            .take(FIRED_MAX)
            .map(Mutation::DeleteSlice);
        if !propose(
            core,
            fires.into_iter().map(Mutation::FireDue).chain(deletions),
        )
        .await
        {
            sleep(PAUSE).await;
        }
    }
}

/// The earliest due items: those that are due, and one after them.
fn due(core: &Core, now: Timestamp) -> Result<Vec<Key>, Fault> {
    let (view, prefix) = (core.view(), due_prefix());
    let found = view.scan(&prefix, &prefix_end(&prefix), 1, false)?;
    let first: Vec<Key> = found.into_iter().map(|(key, _)| key).collect();
    if first
        .first()
        .and_then(|key| due_time(key))
        .is_none_or(|at| at > now)
    {
        return Ok(first);
    }
    let found = view.scan(&prefix, &prefix_end(&prefix), FIRED_MAX, false)?;
    Ok(found.into_iter().map(|(key, _)| key).collect())
}

async fn wait(core: &Core, now: Timestamp, next: Option<Timestamp>) {
    let left = next.map_or(SLEEP_MAX, |next| {
        Duration::from_nanos(next.since(now).0.cast_unsigned())
    });
    let left = left.min(SLEEP_MAX);
    {
        let mut state = core.alarm.lock();
        match state.sleeps_until {
            Some(_) => state.sleeps_until = next.or(state.sleeps_until),
            // Woken since the look.
            None => return,
        }
    }
    // Cluster time may run a tenth slower than this clock: then the loop looks and sleeps again.
    tokio::select! {
        () = core.alarm.woken.notified() => {}
        () = sleep(left) => {}
    }
}

/// Proposes all; false when nothing came of any.
async fn propose(core: &Core, mutations: impl Iterator<Item = Mutation>) -> bool {
    let mut replies = Vec::new();
    for mutation in mutations {
        match core.propose(Class::Drains, mutation) {
            Ok(reply) => replies.push(reply),
            // The rest stays due.
            Err(_) => break,
        }
    }
    let outcomes = join_all(replies).await;
    outcomes
        .into_iter()
        .any(|outcome| matches!(outcome.unwrap_or(Err(Unavailable::Unknown)), Ok(Ok(_))))
}
