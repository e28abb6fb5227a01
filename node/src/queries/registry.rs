//! The queries that wait, by run and by id.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use steadfast_engine::id::RunRef;
use steadfast_engine::mutation::TaskToken;
use steadfast_proto::temporal::common::v1::Payloads;
use steadfast_proto::temporal::enums::v1::QueryResultType;
use steadfast_proto::temporal::failure::v1::Failure;
use steadfast_proto::temporal::query::v1::{WorkflowQuery, WorkflowQueryResult};
use tokio::sync::{Notify, oneshot};

/// Queries that wait at once, of all runs.
const QUERIES_MAX: usize = 10_000;

/// A query that a poll gets on its own.
#[derive(Debug, Clone)]
pub struct QueryTask {
    /// Whom it asks.
    pub run: RunRef,
    /// Its name, for the answer.
    pub id: String,
    /// What it asks.
    pub query: WorkflowQuery,
}

/// What a worker said.
#[derive(Debug, Clone, PartialEq)]
#[expect(
    clippy::large_enum_variant,
    reason = "one at a time, on its way to its caller"
)]
pub enum QueryAnswer {
    /// The result.
    Answered(Option<Payloads>),
    /// The query failed in the worker.
    Failed {
        /// Why.
        message: String,
        /// The failure, when the worker gave one.
        failure: Option<Failure>,
    },
}

/// Where a query is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// Nowhere yet.
    Waiting,
    /// It rides with the next workflow task that is handed out.
    Buffered,
    /// It rides with the workflow task of this claim.
    Attached(u64),
    /// It goes to a poll on its own.
    Direct,
}

#[derive(Debug)]
struct Entry {
    query: WorkflowQuery,
    place: Place,
    answer: oneshot::Sender<QueryAnswer>,
    look: Arc<Notify>,
}

#[derive(Debug, Default)]
struct State {
    next: u64,
    by_run: BTreeMap<RunRef, BTreeMap<String, Entry>>,
    runs: BTreeMap<String, RunRef>,
}

/// All queries that wait.
#[derive(Debug)]
pub(super) struct Registry {
    state: Arc<Mutex<State>>,
    /// A late answer may reach another process than the one that asked, which counts from the
    /// beginning, too: its queries have other names.
    boot: u64,
}

/// A query and where its answer comes.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) ticket: Ticket,
    pub(super) answer: oneshot::Receiver<QueryAnswer>,
}

/// A query's place in the registry; it leaves when this is dropped.
#[derive(Debug)]
pub(super) struct Ticket {
    registry: Arc<Mutex<State>>,
    task: QueryTask,
    look: Arc<Notify>,
}

impl Registry {
    pub(super) fn new(boot: u64) -> Self {
        let state = Arc::default();
        Self { state, boot }
    }

    /// Registers a query; `None` when too many wait.
    pub(super) fn ask(&self, run: RunRef, query: WorkflowQuery) -> Option<Asked> {
        let mut state = lock(&self.state);
        if state.runs.len() >= QUERIES_MAX {
            return None;
        }
        state.next += 1;
        let id = format!("query-{:016x}-{}", self.boot, state.next);
        let (answer, answered) = oneshot::channel();
        let look = Arc::new(Notify::new());
        let entry = Entry {
            query: query.clone(),
            place: Place::Waiting,
            answer,
            look: look.clone(),
        };
        state.runs.insert(id.clone(), run.clone());
        state
            .by_run
            .entry(run.clone())
            .or_default()
            .insert(id.clone(), entry);
        let ticket = Ticket {
            registry: self.state.clone(),
            task: QueryTask { run, id, query },
            look,
        };
        Some(Asked {
            ticket,
            answer: answered,
        })
    }

    pub(super) fn attach(&self, token: &TaskToken) -> BTreeMap<String, WorkflowQuery> {
        let mut state = lock(&self.state);
        let Some(entries) = state.by_run.get_mut(&token.run) else {
            return BTreeMap::new();
        };
        let mut attached = BTreeMap::new();
        for (id, entry) in entries
            .iter_mut()
            .filter(|(_, entry)| entry.place == Place::Buffered)
        {
            entry.place = Place::Attached(token.claim);
            attached.insert(id.clone(), entry.query.clone());
        }
        attached
    }

    pub(super) fn answered(
        &self,
        token: &TaskToken,
        mut results: BTreeMap<String, WorkflowQueryResult>,
    ) {
        let mut answers = Vec::new();
        let mut state = lock(&self.state);
        let Some(entries) = state.by_run.get_mut(&token.run) else {
            return;
        };
        for (id, entry) in entries
            .iter_mut()
            .filter(|(_, entry)| entry.place == Place::Attached(token.claim))
        {
            match results.remove(id) {
                Some(result) => answers.push((id.clone(), answer_of(result))),
                None => {
                    entry.place = Place::Waiting;
                    entry.look.notify_one();
                }
            }
        }
        drop(state);
        for (id, answer) in answers {
            self.respond(&id, answer);
        }
    }

    pub(super) fn respond(&self, id: &str, answer: QueryAnswer) -> bool {
        let entry = remove(&mut lock(&self.state), id);
        entry.is_some_and(|entry| entry.answer.send(answer).is_ok())
    }

    pub(super) fn wake(&self, run: &RunRef) {
        if let Some(entries) = lock(&self.state).by_run.get(run) {
            for entry in entries.values() {
                entry.look.notify_one();
            }
        }
    }

    pub(super) fn close(&self) {
        let mut state = lock(&self.state);
        state.by_run.clear();
        state.runs.clear();
    }

    pub(super) fn count(&self) -> usize {
        lock(&self.state).runs.len()
    }
}

impl Ticket {
    pub(super) fn id(&self) -> &str {
        &self.task.id
    }

    pub(super) fn run(&self) -> &RunRef {
        &self.task.run
    }

    pub(super) fn task(&self) -> QueryTask {
        self.task.clone()
    }

    /// Waits until the query should be looked at again.
    pub(super) async fn look(&self) {
        self.look.notified().await;
    }

    pub(super) fn set(&self, place: Place) {
        let mut state = lock(&self.registry);
        if let Some(entry) = entry(&mut state, &self.task) {
            entry.place = place;
        }
    }

    /// Lets it ride with the next workflow task; false when `max` others already do.
    pub(super) fn buffer(&self, max: usize) -> bool {
        let mut state = lock(&self.registry);
        let Some(entries) = state.by_run.get_mut(&self.task.run) else {
            return true;
        };
        let riding = entries.iter().filter(|(id, entry)| {
            **id != self.task.id && matches!(entry.place, Place::Buffered | Place::Attached(_))
        });
        if riding.count() >= max {
            return false;
        }
        if let Some(entry) = entries.get_mut(&self.task.id) {
            entry.place = Place::Buffered;
        }
        true
    }

    pub(super) fn is_attached(&self) -> bool {
        let mut state = lock(&self.registry);
        entry(&mut state, &self.task).is_some_and(|entry| matches!(entry.place, Place::Attached(_)))
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        remove(&mut lock(&self.registry), &self.task.id);
    }
}

fn entry<'a>(state: &'a mut State, task: &QueryTask) -> Option<&'a mut Entry> {
    state.by_run.get_mut(&task.run)?.get_mut(&task.id)
}

fn remove(state: &mut State, id: &str) -> Option<Entry> {
    let run = state.runs.remove(id)?;
    let entries = state.by_run.get_mut(&run)?;
    let entry = entries.remove(id);
    if entries.is_empty() {
        state.by_run.remove(&run);
    }
    entry
}

fn answer_of(result: WorkflowQueryResult) -> QueryAnswer {
    if result.result_type == i32::from(QueryResultType::Failed) {
        QueryAnswer::Failed {
            message: result.error_message,
            failure: result.failure,
        }
    } else {
        QueryAnswer::Answered(result.answer)
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use steadfast_engine::id::NamespaceNumber;

    fn run() -> RunRef {
        RunRef {
            namespace: NamespaceNumber(1),
            workflow_id: "w".into(),
            number: 1,
        }
    }

    /// Found by `cargo xtask jepsen --seed 126`: after a rolling restart a query of one workflow got
    /// the late answer of a query of another.
    #[test]
    fn an_answer_for_the_process_before_is_nobodys() {
        let (before, now) = (Registry::new(1), Registry::new(2));
        let old = before.ask(run(), WorkflowQuery::default()).unwrap();
        let mut new = now.ask(run(), WorkflowQuery::default()).unwrap();
        assert!(!now.respond(old.ticket.id(), QueryAnswer::Answered(None)));
        assert!(new.answer.try_recv().is_err());
        assert!(now.respond(new.ticket.id(), QueryAnswer::Answered(None)));
        assert_eq!(new.answer.try_recv(), Ok(QueryAnswer::Answered(None)));
    }
}
