//! A steady load that looks like life, through the front door: workflows of an activity (of which
//! some are forgotten at first), a timer and a signal; those that closed are deleted after a while.

use super::life::{Life, Step};
use super::{ANSWERED_WITHIN, CLOSED_WITHIN, Order};
use rand::Rng;
use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use steadfast_proto::temporal::common::v1::{Payloads, WorkflowType};
use steadfast_proto::temporal::enums::v1::WorkflowTaskFailedCause;
use steadfast_proto::temporal::history::v1::history_event::Attributes;
use steadfast_proto::temporal::taskqueue::v1::TaskQueue;
use steadfast_proto::temporal::workflowservice::v1 as wire;
use steadfast_sdk::RawClient;
use steadfast_sdk::client::{
    ActivityTask, RawWorker, WorkflowTask, command, execution, may_retry, payloads,
};
use tokio::sync::Semaphore;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};
use tonic::{Code, Status};

const QUEUE: &str = "soak";
/// Pollers of each kind: workflow tasks, sticky tasks, activity tasks.
const POLLERS: usize = 32;
const CONNECTIONS: usize = 4;
/// Workflows that are open at once; a start waits when there are more.
const OPEN_MAX: usize = 4_000;
/// Before a call that failed is made again.
const AGAIN: Duration = Duration::from_millis(100);
/// Tries of an answer.
const TRIES_MAX: u32 = 200;
/// Of each input and result.
const INPUT_BYTES: usize = 1_000;
/// A signal is sent so many milliseconds after the start at most, and a timer lasts so long.
const SIGNAL_MS_MAX: u64 = 5_000;
const TIMER_SECONDS: std::ops::RangeInclusive<i64> = 1..=10;
/// One activity in so many is forgotten by the worker that has it, at its first attempt; it times
/// out.
const FORGOTTEN_ONE_IN: u32 = 50;
const ACTIVITY_SECONDS: i64 = 60;
const DELETERS: usize = 4;
/// Latencies of one interval that are kept.
const LATENCIES_MAX: usize = 100_000;

/// What clients counted.
#[derive(Debug, Clone, Default)]
pub(super) struct Counts {
    pub(super) started: u64,
    pub(super) completed: u64,
    pub(super) deleted: u64,
    pub(super) lost: u64,
    /// Calls that failed; they were made again when that may help.
    pub(super) errors: u64,
    pub(super) last_error: String,
    pub(super) last_lost: String,
}

impl Counts {
    /// In words, when there is one.
    pub(super) fn last_error(&self) -> String {
        match self.errors {
            0 => String::new(),
            _ => format!(", the last: {}", self.last_error),
        }
    }
}

/// The load; its tasks end with it.
#[derive(Debug)]
pub(super) struct Load {
    shared: Arc<Shared>,
    tasks: tokio::task::JoinSet<()>,
}

#[derive(Debug)]
struct Shared {
    client: RawClient,
    input: Payloads,
    keep: Duration,
    lives: Mutex<BTreeMap<String, Life>>,
    counts: Mutex<Counts>,
    /// Microseconds of the starts since they were last taken.
    starts: Mutex<Vec<u64>>,
    /// Closed workflows that are not deleted, in order of their ends.
    closed: Mutex<VecDeque<Closed>>,
    open: AtomicU64,
    starting: AtomicBool,
    deleting: AtomicBool,
}

#[derive(Debug)]
struct Closed {
    at: Instant,
    workflow_id: String,
    run_id: String,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Counters stay usable after a panic of another task.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Load {
    /// Begins.
    pub(super) async fn begin(address: &str, order: &Order) -> Result<Load, String> {
        let addresses = [address.to_owned()];
        let words = |error: steadfast_sdk::client::ClientError| error.to_string();
        RawClient::connect(&addresses, "default", ANSWERED_WITHIN)
            .await
            .map_err(words)?;
        let client = RawClient::new(&addresses, "default", CONNECTIONS).map_err(words)?;
        let shared = Arc::new(Shared {
            client,
            input: payloads(&[b'x'; INPUT_BYTES]),
            keep: order.keep,
            lives: Mutex::default(),
            counts: Mutex::default(),
            starts: Mutex::default(),
            closed: Mutex::default(),
            open: AtomicU64::new(0),
            starting: AtomicBool::new(true),
            deleting: AtomicBool::new(true),
        });
        let mut tasks = tokio::task::JoinSet::new();
        for index in 0..POLLERS {
            let worker = |at: usize, kind: &str| {
                let worker = RawWorker::new(&shared.client, index + at, QUEUE, Some("soak-sticky"));
                worker.with_identity(&format!("soak-{kind}-{index}"))
            };
            tasks.spawn(shared.clone().workflow_tasks(worker(0, "normal"), false));
            tasks.spawn(shared.clone().workflow_tasks(worker(1, "sticky"), true));
            tasks.spawn(shared.clone().activity_tasks(worker(2, "activity")));
        }
        for _ in 0..DELETERS {
            tasks.spawn(shared.clone().delete());
        }
        tasks.spawn(shared.clone().start_all(order.rate));
        Ok(Load { shared, tasks })
    }

    pub(super) fn counts(&self) -> Counts {
        lock(&self.shared.counts).clone()
    }

    /// Median and 99th percentile of the starts since the last call, in milliseconds.
    pub(super) fn take_starts(&self) -> [f64; 2] {
        let mut starts = std::mem::take(&mut *lock(&self.shared.starts));
        starts.sort_unstable();
        [50, 99].map(|percent| {
            let at = (starts.len() * percent / 100).min(starts.len().saturating_sub(1));
            starts.get(at).copied().unwrap_or_default() as f64 / 1_000.0
        })
    }

    /// Begins no more, and waits for the ends of those that are open.
    pub(super) async fn wind_down(&self) {
        self.shared.starting.store(false, Relaxed);
        let until = Instant::now() + CLOSED_WITHIN + ANSWERED_WITHIN;
        while self.shared.open.load(Relaxed) > 0 && Instant::now() < until {
            sleep(AGAIN).await;
        }
        self.shared.deleting.store(false, Relaxed);
    }

    /// Compares what the cluster lists with what clients know; what is wrong. Deleting takes a
    /// moment.
    pub(super) async fn list_is_right(&self) -> Result<(), String> {
        let until = Instant::now() + ANSWERED_WITHIN;
        loop {
            let counts = self.counts();
            let kept = counts.completed - counts.deleted;
            let count = |status: &'static str| async move {
                let query = format!("ExecutionStatus = '{status}'");
                self.shared.client.count(&query, ANSWERED_WITHIN).await
            };
            let found = [count("Running").await, count("Completed").await];
            match found {
                [Ok(0), Ok(completed)] if u64::try_from(completed) == Ok(kept) => return Ok(()),
                [running, completed] if Instant::now() > until => {
                    return Err(format!(
                        "the list has {running:?} running and {completed:?} completed workflows; \
                         0 and {kept} are right"
                    ));
                }
                [_, _] => sleep(AGAIN).await,
            }
        }
    }

    /// Ends all that is left.
    pub(super) async fn end(mut self) {
        self.tasks.shutdown().await;
    }
}

impl Shared {
    async fn start_all(self: Arc<Self>, rate: u32) {
        let mut due = interval(Duration::from_secs(1) / rate);
        // After a pause of the machine starts do not come all at once.
        due.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let open = Arc::new(Semaphore::new(OPEN_MAX));
        let mut running = tokio::task::JoinSet::new();
        let mut number = 0_u64;
        while self.starting.load(Relaxed) {
            due.tick().await;
            // Nobody closes it.
            let Ok(permit) = open.clone().acquire_owned().await else {
                return;
            };
            number += 1;
            let shared = self.clone();
            shared.open.fetch_add(1, Relaxed);
            running.spawn(async move {
                shared.live(number).await;
                shared.open.fetch_sub(1, Relaxed);
                drop(permit);
            });
            while running.try_join_next().is_some() {}
        }
        running.join_all().await;
    }

    /// One workflow, from its start to its end.
    async fn live(&self, number: u64) {
        let workflow_id = format!("soak-{number}");
        match self.live_until_closed(&workflow_id).await {
            Ok(run_id) => {
                lock(&self.counts).completed += 1;
                lock(&self.closed).push_back(Closed {
                    at: Instant::now(),
                    workflow_id,
                    run_id,
                });
            }
            Err(why) => {
                let mut counts = lock(&self.counts);
                counts.lost += 1;
                counts.last_lost = format!("{workflow_id}: {why}");
            }
        }
    }

    async fn live_until_closed(&self, workflow_id: &str) -> Result<String, String> {
        let words = |what: &str, status: &Status| {
            format!("{what}: {:?}: {}", status.code(), status.message())
        };
        let request = wire::StartWorkflowExecutionRequest {
            workflow_id: workflow_id.to_owned(),
            workflow_type: Some(WorkflowType {
                name: "order".into(),
            }),
            task_queue: Some(TaskQueue {
                name: QUEUE.into(),
                ..TaskQueue::default()
            }),
            input: Some(self.input.clone()),
            ..wire::StartWorkflowExecutionRequest::default()
        };
        let began = Instant::now();
        let started = self.client.start(request, ANSWERED_WITHIN).await;
        let run_id = started.map_err(|status| words("start", &status))?;
        self.took(began.elapsed());
        lock(&self.counts).started += 1;
        let pause = rand::rng().random_range(0..=SIGNAL_MS_MAX);
        sleep(Duration::from_millis(pause)).await;
        let run = execution(workflow_id, &run_id);
        let input = Some(self.input.clone());
        let signal = self
            .client
            .signal(run.clone(), "paid", input, ANSWERED_WITHIN);
        match signal.await {
            // A try whose answer was lost has done it, and the workflow is through: it waits for this
            // signal, so its end proves that it came.
            Err(status) if status.code() == Code::NotFound => {}
            other => other.map_err(|status| words("signal", &status))?,
        }
        let last = self.client.closed(run, CLOSED_WITHIN).await;
        let last = last.map_err(|status| words("wait", &status))?;
        match last.attributes {
            Some(Attributes::WorkflowExecutionCompletedEventAttributes(_)) => Ok(run_id),
            other => Err(format!("it ended otherwise: {other:?}")),
        }
    }

    fn took(&self, took: Duration) {
        let mut starts = lock(&self.starts);
        if starts.len() < LATENCIES_MAX {
            starts.push(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
        }
    }

    async fn delete(self: Arc<Self>) {
        while self.deleting.load(Relaxed) {
            let due = {
                let mut closed = lock(&self.closed);
                let is_due = closed
                    .front()
                    .is_some_and(|first| first.at.elapsed() >= self.keep);
                is_due.then(|| closed.pop_front()).flatten()
            };
            let Some(due) = due else {
                sleep(AGAIN).await;
                continue;
            };
            let request = wire::DeleteWorkflowExecutionRequest {
                namespace: self.client.namespace().to_owned(),
                workflow_execution: Some(execution(&due.workflow_id, &due.run_id)),
            };
            let deleted = self.client.call(ANSWERED_WITHIN, |mut service| {
                let request = request.clone();
                async move { service.delete_workflow_execution(request).await }
            });
            match deleted.await {
                Ok(_) => lock(&self.counts).deleted += 1,
                // The answer to the first try was lost.
                Err(status) if status.code() == Code::NotFound => {
                    lock(&self.counts).deleted += 1;
                }
                Err(status) => {
                    self.note("delete", &status).await;
                    lock(&self.closed).push_front(due);
                }
            }
        }
    }

    async fn workflow_tasks(self: Arc<Self>, mut worker: RawWorker, sticky: bool) {
        loop {
            let polled = match sticky {
                true => worker.poll_sticky_task().await,
                false => worker.poll_workflow_task().await,
            };
            match polled {
                Ok(mut task) => {
                    while let Some(now) = task {
                        task = self.answer(&mut worker, &now).await;
                    }
                }
                Err(status) => self.note("poll", &status).await,
            }
        }
    }

    /// Answers as workflow code would.
    async fn answer(&self, worker: &mut RawWorker, task: &WorkflowTask) -> Option<WorkflowTask> {
        let step = {
            let mut lives = lock(&self.lives);
            let life = lives.entry(task.run_id().to_owned()).or_default();
            life.sees(&task.events).then(|| life.next())
        };
        let Some(step) = step else {
            let cause = WorkflowTaskFailedCause::ResetStickyTaskQueue;
            // It comes again with its whole history, also when this is not heard.
            let failed = worker.fail_workflow_task(task.token(), cause, "events are missing");
            failed.await.ok();
            return None;
        };
        let next = match step {
            Some(Step::Activity) => command::schedule_activity(
                "pay",
                "pay",
                QUEUE,
                self.input.clone(),
                ACTIVITY_SECONDS,
            ),
            Some(Step::Timer) => {
                let lasts = rand::rng().random_range(TIMER_SECONDS);
                command::start_timer("wait", command::seconds(lasts))
            }
            Some(Step::End) => command::complete_workflow(Some(self.input.clone())),
            None => return self.complete(worker, task, Vec::new()).await,
        };
        let task_after = self.complete(worker, task, vec![next]).await;
        if step == Some(Step::End) {
            lock(&self.lives).remove(task.run_id());
        }
        task_after
    }

    async fn complete(
        &self,
        worker: &mut RawWorker,
        task: &WorkflowTask,
        commands: Vec<steadfast_proto::temporal::command::v1::Command>,
    ) -> Option<WorkflowTask> {
        for _ in 0..TRIES_MAX {
            let answered = worker.complete_workflow_task(task.token(), commands.clone());
            match answered.await {
                Ok(next) => return next,
                Err(status) => {
                    self.note("complete workflow task", &status).await;
                    if !may_retry(&status) {
                        return None;
                    }
                }
            }
        }
        None
    }

    async fn activity_tasks(self: Arc<Self>, mut worker: RawWorker) {
        loop {
            match worker.poll_activity_task().await {
                Ok(Some(task)) => self.perform(&mut worker, &task).await,
                Ok(None) => {}
                Err(status) => self.note("poll", &status).await,
            }
        }
    }

    async fn perform(&self, worker: &mut RawWorker, task: &ActivityTask) {
        if task.attempt == 1 && rand::rng().random_ratio(1, FORGOTTEN_ONE_IN) {
            return;
        }
        for _ in 0..TRIES_MAX {
            let result = Some(self.input.clone());
            match worker
                .complete_activity(task.task_token.clone(), result)
                .await
            {
                Ok(()) => return,
                Err(status) => {
                    self.note("complete activity", &status).await;
                    if !may_retry(&status) {
                        return;
                    }
                }
            }
        }
    }

    /// Counts a failed call and waits before the next.
    async fn note(&self, what: &str, status: &Status) {
        {
            let mut counts = lock(&self.counts);
            counts.errors += 1;
            counts.last_error = format!("{what}: {:?}: {}", status.code(), status.message());
        }
        sleep(AGAIN).await;
    }
}
