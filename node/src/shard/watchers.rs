//! Calls that wait for a run to change.

use super::{Core, Unavailable, View};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use steadfast_engine::id::RunRef;
use steadfast_engine::read;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

/// Calls that wait at once, of all runs.
const WATCHERS_MAX: usize = 20_000;

#[derive(Debug, Default)]
struct State {
    count: usize,
    runs: BTreeMap<RunRef, (usize, Arc<Notify>)>,
}

/// Who waits for which run.
#[derive(Debug, Default)]
pub(super) struct RunWatchers(Mutex<State>);

struct Watcher<'a> {
    watchers: &'a RunWatchers,
    run: &'a RunRef,
    notify: Arc<Notify>,
}

impl RunWatchers {
    fn watch<'a>(&'a self, run: &'a RunRef) -> Option<Watcher<'a>> {
        let mut state = self.lock();
        if state.count >= WATCHERS_MAX {
            return None;
        }
        state.count += 1;
        let (count, notify) = state.runs.entry(run.clone()).or_default();
        *count += 1;
        Some(Watcher {
            watchers: self,
            run,
            notify: notify.clone(),
        })
    }

    /// The run has new events, or has closed.
    pub(super) fn changed(&self, run: &RunRef) {
        if let Some((_, notify)) = self.lock().runs.get(run) {
            notify.notify_waiters();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Watcher<'_> {
    fn drop(&mut self) {
        let mut state = self.watchers.lock();
        state.count -= 1;
        if let Some((count, _)) = state.runs.get_mut(self.run) {
            *count -= 1;
            if *count == 0 {
                state.runs.remove(self.run);
            }
        }
    }
}

impl Core {
    pub(super) async fn run_changed(
        &self,
        run: &RunRef,
        past_event_id: i64,
        deadline: Instant,
    ) -> Result<View, Unavailable> {
        let Some(watcher) = self.watchers.watch(run) else {
            return Err(Unavailable::Overloaded);
        };
        loop {
            let changed = watcher.notify.notified();
            tokio::pin!(changed);
            // Counts from here on: what is applied after the look is not missed.
            changed.as_mut().enable();
            let view = self.view();
            let found = read::run(&view, run).map_err(|fault| {
                tracing::error!(%fault, "a read failed");
                Unavailable::Stopping
            })?;
            let waits = found.is_some_and(|run| {
                run.close.is_none() && run.next_event_id <= past_event_id.saturating_add(1)
            });
            if !waits || Instant::now() >= deadline || self.ending.is_cancelled() {
                return Ok(view);
            }
            // A held view costs memory.
            drop(view);
            tokio::select! {
                _ = timeout_at(deadline, changed) => {}
                () = self.ending.cancelled() => {}
            }
        }
    }
}
