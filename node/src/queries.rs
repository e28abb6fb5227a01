//! Queries: asked by a caller, answered by a worker, never in the log. In memory, on the leader.
//!
//! With a workflow task pending, a query is *buffered* and rides with the task (or with the next
//! one); otherwise it goes *directly* to a poll, first of the sticky queue, then of the normal one.

mod registry;

pub use registry::{QueryAnswer, QueryTask};

use crate::matching::STICKY_GRACE;
use crate::shard::{Shard, Unavailable};
use registry::{Asked, Place, Registry, Ticket};
use std::collections::BTreeMap;
use std::time::Duration;
use steadfast_engine::id::{QueueKey, RunRef, TaskKind};
use steadfast_engine::mutation::TaskToken;
use steadfast_engine::read::{self, StoredRun};
use steadfast_engine::tables::keys::config_key;
use steadfast_engine::{Fault, Record, Tables};
use steadfast_proto::temporal::query::v1::{WorkflowQuery, WorkflowQueryResult};
use tokio::time::{Instant, sleep_until, timeout_at};

/// The answer leaves so long before the caller's deadline, to arrive in time.
const AHEAD: Duration = Duration::from_millis(500);
/// After the end of the workflow task that carried a query, its answer is on its way for at most
/// this long: it comes with the same call.
const ANSWER_ON_ITS_WAY: Duration = Duration::from_secs(1);
/// A queue that was not polled for this long has no worker.
const NO_POLLER: Duration = Duration::from_secs(20);
/// `history.maxBufferedQueryCount`.
const BUFFERED_MAX_KEY: &str = "history.maxBufferedQueryCount";
const BUFFERED_MAX: usize = 1;

/// Why a query got no answer from a worker.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QueryError {
    /// The workflow is in no state to be queried.
    #[error("{0}")]
    NotReady(String),
    /// As many queries as allowed wait for the workflow task.
    #[error("too many queries wait")]
    BufferFull,
    /// Nobody polls the workflow's queue.
    #[error("no poller")]
    NoPoller,
    /// The caller's time is over.
    #[error("deadline exceeded")]
    DeadlineExceeded,
    /// This node cannot ask.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

/// Queries that wait for an answer.
#[derive(Debug)]
pub struct Queries(Registry);

impl Queries {
    /// None; `boot` is a random number of this process, which the names of its queries begin with.
    pub fn new(boot: u64) -> Self {
        Self(Registry::new(boot))
    }

    /// Asks a worker, until `deadline`. The caller has checked that the run may be queried.
    ///
    /// # Errors
    /// [`QueryError`].
    pub async fn query(
        &self,
        shard: &Shard,
        run: RunRef,
        query: WorkflowQuery,
        deadline: Instant,
    ) -> Result<QueryAnswer, QueryError> {
        let left = deadline.saturating_duration_since(Instant::now());
        let until = deadline - AHEAD.min(left / 2);
        let buffered_max = buffered_max(&shard.view());
        let Some(mut asked) = self.0.ask(run, query) else {
            return Err(QueryError::BufferFull);
        };
        loop {
            let run = now(shard, asked.ticket.run())?;
            let has_state = run.last_completed_started_event_id > 0;
            if run.close.is_none() && !has_state && run.workflow_task.is_none() {
                // Nothing can be asked before the first workflow task is there to carry it.
                wait(&mut asked, until, None).await?;
            } else if run.close.is_none() && run.workflow_task.is_some() {
                if !asked.ticket.buffer(buffered_max) {
                    return Err(QueryError::BufferFull);
                }
                // The task may have ended between the look at the run and the buffering.
                let run = now(shard, asked.ticket.run())?;
                if run.workflow_task.is_none() || run.close.is_some() {
                    continue;
                }
                if let Some(answer) = buffered(&mut asked, until).await? {
                    return Ok(answer);
                }
            } else {
                asked.ticket.set(Place::Direct);
                return directly(shard, &mut asked, &run, until).await;
            }
            if let Ok(answer) = asked.answer.try_recv() {
                return Ok(answer);
            }
        }
    }

    /// The queries that ride with a workflow task that is handed out now.
    pub fn attach(&self, token: &TaskToken) -> BTreeMap<String, WorkflowQuery> {
        self.0.attach(token)
    }

    /// A workflow task was completed with these answers. Queries that it left open are asked anew.
    pub fn answered(
        &self,
        _shard: &Shard,
        token: &TaskToken,
        results: BTreeMap<String, WorkflowQueryResult>,
    ) {
        self.0.answered(token, results);
    }

    /// A worker answers a query that it got on its own; false when nobody waits for it.
    pub fn respond(&self, id: &str, answer: QueryAnswer) -> bool {
        self.0.respond(id, answer)
    }

    /// A workflow task of the run has ended: its queries look again.
    pub(crate) fn workflow_task_ended(&self, run: &RunRef) {
        self.0.wake(run);
    }

    /// Leadership is lost.
    pub(crate) fn close(&self) {
        self.0.close();
    }

    /// Queries that wait.
    pub(crate) fn count(&self) -> usize {
        self.0.count()
    }
}

fn now(shard: &Shard, run: &RunRef) -> Result<StoredRun, QueryError> {
    let found = read::run(&shard.view(), run).map_err(|broken| broken_state(&broken))?;
    found.ok_or_else(|| QueryError::NotReady("the workflow execution is gone".to_owned()))
}

fn broken_state(fault: &Fault) -> QueryError {
    tracing::error!(%fault, "a read for a query failed");
    QueryError::Unavailable(Unavailable::Stopping)
}

fn buffered_max(tables: &dyn Tables) -> usize {
    match tables.get(&config_key()).ok().flatten().as_deref() {
        Some(Record::Config(config)) => config
            .raw
            .get(BUFFERED_MAX_KEY)
            .and_then(|value| value.trim().parse().ok())
            .unwrap_or(BUFFERED_MAX),
        _ => BUFFERED_MAX,
    }
}

/// Waits for an answer, or to be told to look again.
async fn wait(
    asked: &mut Asked,
    until: Instant,
    look_at: Option<Instant>,
) -> Result<Option<QueryAnswer>, QueryError> {
    let look_at = look_at.unwrap_or(until).min(until);
    tokio::select! {
        biased;
        answer = &mut asked.answer => match answer {
            Ok(answer) => Ok(Some(answer)),
            Err(_) => Err(QueryError::Unavailable(Unavailable::NotLeader)),
        },
        () = asked.ticket.look() => Ok(None),
        () = sleep_until(look_at) => {
            if look_at == until { Err(QueryError::DeadlineExceeded) } else { Ok(None) }
        }
    }
}

/// Waits with a workflow task; `None` when it ended without an answer.
async fn buffered(asked: &mut Asked, until: Instant) -> Result<Option<QueryAnswer>, QueryError> {
    if let Some(answer) = wait(asked, until, None).await? {
        return Ok(Some(answer));
    }
    if !asked.ticket.is_attached() {
        return Ok(None);
    }
    let on_its_way = Instant::now() + ANSWER_ON_ITS_WAY;
    let answer = wait(asked, until, Some(on_its_way)).await?;
    if answer.is_none() {
        // The next task carries it again.
        asked.ticket.set(Place::Waiting);
    }
    Ok(answer)
}

/// Hands the query to polls: of the sticky queue for its time-out, then of the normal queue.
async fn directly(
    shard: &Shard,
    asked: &mut Asked,
    run: &StoredRun,
    until: Instant,
) -> Result<QueryAnswer, QueryError> {
    let matching = shard.matching();
    let queue = |name: &str| QueueKey {
        namespace: run.run.namespace,
        kind: TaskKind::Workflow,
        name: name.to_owned(),
    };
    if let Some(sticky) = &run.sticky {
        let queue = queue(&sticky.name);
        let patience = Duration::from_nanos(sticky.schedule_to_start.0.max(0).cast_unsigned());
        if matching.polled_within(&queue, STICKY_GRACE)
            && matching.offer_query(&queue, asked.ticket.task())
        {
            let _back = Withdraw {
                shard,
                queue: &queue,
                ticket: &asked.ticket,
            };
            if let Ok(answer) =
                timeout_at((Instant::now() + patience).min(until), &mut asked.answer).await
            {
                return answer.map_err(|_| QueryError::Unavailable(Unavailable::NotLeader));
            }
        }
    }
    let queue = queue(&run.task_queue);
    if !matching.offer_query(&queue, asked.ticket.task()) {
        let leads = shard.is_leader();
        return Err(QueryError::Unavailable(if leads {
            Unavailable::Overloaded
        } else {
            Unavailable::NotLeader
        }));
    }
    let _back = Withdraw {
        shard,
        queue: &queue,
        ticket: &asked.ticket,
    };
    match timeout_at(until, &mut asked.answer).await {
        Ok(answer) => answer.map_err(|_| QueryError::Unavailable(Unavailable::NotLeader)),
        Err(_) if matching.polled_within(&queue, NO_POLLER) => Err(QueryError::DeadlineExceeded),
        Err(_) => Err(QueryError::NoPoller),
    }
}

/// Takes a query out of a line when it is not asked there any more.
struct Withdraw<'a> {
    shard: &'a Shard,
    queue: &'a QueueKey,
    ticket: &'a Ticket,
}

impl Drop for Withdraw<'_> {
    fn drop(&mut self) {
        // Whether it was taken already makes no difference.
        self.shard
            .matching()
            .withdraw_query(self.queue, self.ticket.id());
    }
}
