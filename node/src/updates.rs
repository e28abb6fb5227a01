//! Callers who wait for updates. The state tells how far an update is; how a rejected or aborted
//! one ended only the effect tells, so it is kept here for those who wait at that moment.

use crate::shard::{Shard, Unavailable, View};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use steadfast_engine::effect::UpdateEnd;
use steadfast_engine::id::{NamespaceNumber, RunRef};
use steadfast_engine::read::update::{FoundUpdate, find};
use steadfast_engine::{Fault, read};
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

/// Callers that wait at once, for all updates.
const WAITERS_MAX: usize = 20_000;
/// Ends that are kept for one caller: it waits for one of the last.
const ENDS_MAX: usize = 8;
/// The state shows that an update is gone a little before the effect tells how it ended.
const END_ON_ITS_WAY: Duration = Duration::from_secs(1);

/// An update as its callers name it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Name {
    namespace: NamespaceNumber,
    workflow_id: String,
    update_id: String,
}

#[derive(Debug)]
struct Entry {
    look: Arc<Notify>,
    ends: Vec<(RunRef, u64, UpdateEnd)>,
}

#[derive(Debug, Default)]
struct State {
    next: u64,
    count: usize,
    waiters: BTreeMap<Name, BTreeMap<u64, Entry>>,
}

/// Who waits for which update.
#[derive(Debug, Default)]
pub struct Updates(Arc<Mutex<State>>);

/// A caller's place; it leaves when this is dropped.
#[derive(Debug)]
pub struct Waiter {
    state: Arc<Mutex<State>>,
    name: Name,
    number: u64,
    look: Arc<Notify>,
}

/// What a caller waited for.
#[derive(Debug)]
pub enum Waited {
    /// How far the update is: as far as was asked, or the time is over.
    Reached(FoundUpdate),
    /// It ended without a trace.
    Ended(UpdateEnd),
    /// It ended without a trace, and how was not seen here.
    Gone,
}

impl Updates {
    /// A place for a caller, to be taken before the update is asked for: nothing is missed then.
    /// `None` when too many wait.
    #[must_use]
    pub fn wait_for(
        &self,
        namespace: NamespaceNumber,
        workflow_id: &str,
        update_id: &str,
    ) -> Option<Waiter> {
        let name = Name {
            namespace,
            workflow_id: workflow_id.to_owned(),
            update_id: update_id.to_owned(),
        };
        let mut state = lock(&self.0);
        if state.count >= WAITERS_MAX {
            return None;
        }
        state.count += 1;
        state.next += 1;
        let (number, look) = (state.next, Arc::new(Notify::new()));
        let entry = Entry {
            look: look.clone(),
            ends: Vec::new(),
        };
        state
            .waiters
            .entry(name.clone())
            .or_default()
            .insert(number, entry);
        Some(Waiter {
            state: self.0.clone(),
            name,
            number,
            look,
        })
    }

    /// An update moved, or ended.
    pub(crate) fn changed(
        &self,
        run: &RunRef,
        update_id: &str,
        sequence: u64,
        end: Option<UpdateEnd>,
    ) {
        let mut state = lock(&self.0);
        if state.count == 0 {
            return;
        }
        let name = Name {
            namespace: run.namespace,
            workflow_id: run.workflow_id.clone(),
            update_id: update_id.to_owned(),
        };
        for entry in state
            .waiters
            .get_mut(&name)
            .into_iter()
            .flat_map(BTreeMap::values_mut)
        {
            if let Some(end) = &end {
                if entry.ends.len() >= ENDS_MAX {
                    entry.ends.remove(0);
                }
                entry.ends.push((run.clone(), sequence, end.clone()));
            }
            entry.look.notify_waiters();
        }
    }
}

impl Waiter {
    /// Waits until the update has come so far, has ended, or `deadline`.
    ///
    /// # Errors
    /// [`Unavailable`] when the state can't be read.
    pub async fn wait(
        &self,
        shard: &Shard,
        run: &RunRef,
        sequence: u64,
        reached: impl Fn(&FoundUpdate) -> bool,
        deadline: Instant,
    ) -> Result<Waited, Unavailable> {
        let mut gone_since = None;
        loop {
            let changed = self.look.notified();
            tokio::pin!(changed);
            // Counts from here on: what is applied after the look is not missed.
            changed.as_mut().enable();
            if let Some(end) = self.end(run, sequence) {
                return Ok(Waited::Ended(end));
            }
            let now = Instant::now();
            let over = now >= deadline || shard.polls_end().is_cancelled();
            let until = match look(&shard.view(), run, &self.name.update_id, sequence)? {
                Some(found) if over || reached(&found) => return Ok(Waited::Reached(found)),
                Some(_) => deadline,
                None => {
                    let patience = *gone_since.get_or_insert(now + END_ON_ITS_WAY);
                    if over || now >= patience {
                        return Ok(Waited::Gone);
                    }
                    patience.min(deadline)
                }
            };
            tokio::select! {
                _ = timeout_at(until, changed) => {}
                () = shard.polls_end().cancelled() => {}
            }
        }
    }

    fn end(&self, run: &RunRef, sequence: u64) -> Option<UpdateEnd> {
        let state = lock(&self.state);
        let entry = state.waiters.get(&self.name)?.get(&self.number)?;
        let mut ends = entry.ends.iter();
        ends.find(|(ended, number, _)| ended == run && *number == sequence)
            .map(|(_, _, end)| end.clone())
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        let mut state = lock(&self.state);
        state.count -= 1;
        if let Some(entries) = state.waiters.get_mut(&self.name) {
            entries.remove(&self.number);
            if entries.is_empty() {
                state.waiters.remove(&self.name);
            }
        }
    }
}

/// The update as the state has it, if it is still the one that was asked for.
fn look(
    view: &View,
    run: &RunRef,
    update_id: &str,
    sequence: u64,
) -> Result<Option<FoundUpdate>, Unavailable> {
    let broken = |fault: Fault| {
        tracing::error!(%fault, "a read for an update failed");
        Unavailable::Stopping
    };
    let Some(run) = read::run(view, run).map_err(broken)? else {
        return Ok(None);
    };
    let found = find(view, &run, update_id).map_err(broken)?;
    Ok(found.filter(|found| found.sequence == sequence))
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}
