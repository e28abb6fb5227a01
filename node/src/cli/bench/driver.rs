//! Starters and pollers.

use crate::cli::bench::BenchArgs;
use hdrhistogram::Histogram;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use steadfast_proto::temporal::common::v1::{Payloads, WorkflowType};
use steadfast_proto::temporal::history::v1::HistoryEvent;
use steadfast_proto::temporal::history::v1::history_event::Attributes;
use steadfast_proto::temporal::taskqueue::v1::TaskQueue;
use steadfast_proto::temporal::workflowservice::v1 as wire;
use steadfast_sdk::RawClient;
use steadfast_sdk::client::{
    RawWorker, Service, WorkflowTask, command, execution, may_retry, payloads, wait_for_close,
};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};
use tonic::Status;
use uuid::Uuid;

/// Before a call that failed is made again.
const AGAIN: Duration = Duration::from_millis(50);
/// A workflow is given up after this many failed calls; a cluster without a leader is back before.
const TRIES_MAX: u32 = 200;
/// Pollers are waiting at the server after this.
const POLLERS_SETTLE: Duration = Duration::from_millis(500);
/// Latencies above a minute are counted as a minute.
const LATENCY_US_MAX: u64 = 60_000_000;

/// Load on one task queue of its own.
#[derive(Debug)]
pub(super) struct Driver {
    client: RawClient,
    args: BenchArgs,
    task_queue: String,
    sticky: String,
    input: Payloads,
    /// Activities completed of each open run, as its worker has seen them.
    progress: Mutex<BTreeMap<String, u32>>,
    stopping: AtomicBool,
    start: Mutex<Histogram<u64>>,
    end_to_end: Mutex<Histogram<u64>>,
    completed: AtomicU64,
    failed: AtomicU64,
    errors: AtomicU64,
    last_error: Mutex<String>,
}

/// What one phase measured. Latencies are [p50, p99] in milliseconds.
#[derive(Debug, Clone)]
pub(super) struct Measured {
    pub(super) took: Duration,
    pub(super) completed: u64,
    pub(super) failed: u64,
    pub(super) errors: u64,
    pub(super) last_error: String,
    pub(super) start: [f64; 2],
    pub(super) end_to_end: [f64; 2],
}

fn histogram() -> Mutex<Histogram<u64>> {
    let made = Histogram::new_with_bounds(1, LATENCY_US_MAX, 3);
    Mutex::new(made.unwrap_or_else(|_| unreachable!("the bounds are constant and valid")))
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    // Counters stay usable after a panic of another task.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[expect(clippy::cast_precision_loss, reason = "figures for people")]
fn quantiles(histogram: &Mutex<Histogram<u64>>) -> [f64; 2] {
    let histogram = lock(histogram);
    [0.5, 0.99].map(|quantile| histogram.value_at_quantile(quantile) as f64 / 1_000.0)
}

fn record(histogram: &Mutex<Histogram<u64>>, since: Instant) {
    let micros = u64::try_from(since.elapsed().as_micros()).unwrap_or(LATENCY_US_MAX);
    lock(histogram).saturating_record(micros.min(LATENCY_US_MAX));
}

impl Driver {
    pub(super) fn new(client: RawClient, args: &BenchArgs) -> Driver {
        let task_queue = format!("bench-{}", &Uuid::new_v4().simple().to_string()[..12]);
        Driver {
            client,
            args: args.clone(),
            sticky: format!("{task_queue}-sticky"),
            task_queue,
            input: payloads(&vec![b'x'; args.payload_bytes as usize]),
            progress: Mutex::default(),
            stopping: AtomicBool::new(false),
            start: histogram(),
            end_to_end: histogram(),
            completed: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            errors: AtomicU64::new(0),
            last_error: Mutex::default(),
        }
    }

    /// Starts the pollers and waits until the server has them.
    pub(super) async fn start_pollers(self: &Arc<Self>) {
        for index in 0..self.args.pollers as usize {
            let worker = |offset: usize, kind: &str| {
                RawWorker::new(
                    &self.client,
                    index + offset,
                    &self.task_queue,
                    Some(&self.sticky),
                )
                .with_identity(&format!("bench-{kind}-{index}"))
            };
            tokio::spawn(self.clone().poll_workflow_tasks(worker(0, "normal"), false));
            tokio::spawn(self.clone().poll_workflow_tasks(worker(1, "sticky"), true));
            if self.args.activities > 0 {
                tokio::spawn(self.clone().poll_activity_tasks(worker(2, "activity")));
            }
        }
        sleep(POLLERS_SETTLE).await;
    }

    /// Lets the pollers end after their current poll.
    pub(super) fn stop(&self) {
        self.stopping.store(true, Relaxed);
    }

    /// Forgets what the warm-up measured.
    pub(super) fn forget(&self) {
        lock(&self.start).reset();
        lock(&self.end_to_end).reset();
        for counter in [&self.completed, &self.failed, &self.errors] {
            counter.store(0, Relaxed);
        }
    }

    /// Runs workflows number `first` to `first + count`, so many in flight as the options say.
    pub(super) async fn run(self: &Arc<Self>, count: u64, first: u64) -> Measured {
        let begin = Instant::now();
        let next = Arc::new(AtomicU64::new(0));
        let mut starters = JoinSet::new();
        for index in 0..self.args.in_flight as usize {
            let driver = self.clone();
            let next = next.clone();
            let mut service = self.client.service(index);
            starters.spawn(async move {
                loop {
                    let number = next.fetch_add(1, Relaxed);
                    if number >= count {
                        return;
                    }
                    if let Some(due) = driver.due(begin, number) {
                        sleep_until(due).await;
                    }
                    driver.run_one(&mut service, first + number).await;
                }
            });
        }
        starters.join_all().await;
        self.measured(begin)
    }

    /// When start number `number` is due, under a rate.
    fn due(&self, begin: Instant, number: u64) -> Option<Instant> {
        let rate = u64::from(self.args.rate);
        let micros = number.saturating_mul(1_000_000).checked_div(rate)?;
        Some(begin + Duration::from_micros(micros))
    }

    async fn run_one(&self, service: &mut Service, number: u64) {
        let workflow_id = format!("{}-{number}", self.task_queue);
        let began = Instant::now();
        let Some(run_id) = self.start(service, &workflow_id).await else {
            return;
        };
        record(&self.start, began);
        for _ in 0..TRIES_MAX {
            let run = execution(&workflow_id, &run_id);
            match wait_for_close(service.clone(), self.client.namespace(), &run).await {
                Ok(event) => return self.closed(&event, began),
                Err(status) => self.note("wait", &status).await,
            }
        }
        self.failed.fetch_add(1, Relaxed);
    }

    fn closed(&self, event: &HistoryEvent, began: Instant) {
        match &event.attributes {
            Some(Attributes::WorkflowExecutionCompletedEventAttributes(_)) => {
                record(&self.end_to_end, began);
                self.completed.fetch_add(1, Relaxed);
            }
            _ => {
                self.failed.fetch_add(1, Relaxed);
            }
        }
    }

    async fn start(&self, service: &mut Service, workflow_id: &str) -> Option<String> {
        let request = wire::StartWorkflowExecutionRequest {
            namespace: self.client.namespace().to_string(),
            workflow_id: workflow_id.to_string(),
            workflow_type: Some(WorkflowType {
                name: "bench".into(),
            }),
            task_queue: Some(TaskQueue {
                name: self.task_queue.clone(),
                ..Default::default()
            }),
            input: Some(self.input.clone()),
            request_id: Uuid::new_v4().to_string(),
            identity: self.client.identity().to_string(),
            ..Default::default()
        };
        for _ in 0..TRIES_MAX {
            match service.start_workflow_execution(request.clone()).await {
                Ok(answer) => return Some(answer.into_inner().run_id),
                Err(status) => self.note("start", &status).await,
            }
        }
        self.failed.fetch_add(1, Relaxed);
        None
    }

    /// Opens the workflow that signals go to; its worker takes the tasks and does nothing.
    pub(super) async fn open_signalled(&self) -> Result<(), String> {
        let started = self
            .start(&mut self.client.service(0), &self.signalled())
            .await;
        sleep(POLLERS_SETTLE).await;
        match started {
            Some(_) => Ok(()),
            None => Err(format!(
                "cannot start a workflow: {}",
                lock(&self.last_error)
            )),
        }
    }

    fn signalled(&self) -> String {
        format!("{}-signalled", self.task_queue)
    }

    /// Sends signals to one workflow.
    pub(super) async fn signal(self: &Arc<Self>, count: u64) -> Measured {
        let begin = Instant::now();
        let next = Arc::new(AtomicU64::new(0));
        let mut senders = JoinSet::new();
        for index in 0..self.args.in_flight as usize {
            let driver = self.clone();
            let next = next.clone();
            let mut service = self.client.service(index);
            senders.spawn(async move {
                while next.fetch_add(1, Relaxed) < count {
                    driver.signal_one(&mut service).await;
                }
            });
        }
        senders.join_all().await;
        self.measured(begin)
    }

    async fn signal_one(&self, service: &mut Service) {
        let request = wire::SignalWorkflowExecutionRequest {
            namespace: self.client.namespace().to_string(),
            workflow_execution: Some(execution(&self.signalled(), "")),
            signal_name: "bench".into(),
            input: Some(self.input.clone()),
            identity: self.client.identity().to_string(),
            request_id: Uuid::new_v4().to_string(),
            ..Default::default()
        };
        let began = Instant::now();
        match service.signal_workflow_execution(request).await {
            Ok(_) => {
                record(&self.start, began);
                self.completed.fetch_add(1, Relaxed);
            }
            Err(status) => self.note("signal", &status).await,
        }
    }

    fn measured(&self, begin: Instant) -> Measured {
        Measured {
            took: begin.elapsed(),
            completed: self.completed.load(Relaxed),
            failed: self.failed.load(Relaxed),
            errors: self.errors.load(Relaxed),
            last_error: lock(&self.last_error).clone(),
            start: quantiles(&self.start),
            end_to_end: quantiles(&self.end_to_end),
        }
    }

    async fn poll_workflow_tasks(self: Arc<Self>, mut worker: RawWorker, sticky: bool) {
        while !self.stopping.load(Relaxed) {
            let polled = if sticky {
                worker.poll_sticky_task().await
            } else {
                worker.poll_workflow_task().await
            };
            let mut task = match polled {
                Ok(task) => task,
                Err(status) => {
                    self.note("poll", &status).await;
                    continue;
                }
            };
            while let Some(now) = task.take() {
                task = self.answer(&mut worker, now).await;
            }
        }
    }

    /// Answers a workflow task as workflow code would: the next activity, or the end.
    async fn answer(&self, worker: &mut RawWorker, task: WorkflowTask) -> Option<WorkflowTask> {
        if self.args.signals > 0 {
            return self.complete(worker, &task, Vec::new()).await;
        }
        let is_completed = |event: &&HistoryEvent| {
            matches!(
                event.attributes,
                Some(Attributes::ActivityTaskCompletedEventAttributes(_))
            )
        };
        let seen = u32::try_from(task.events.iter().filter(is_completed).count()).unwrap_or(0);
        let completed = {
            let mut progress = lock(&self.progress);
            let known = progress.entry(task.run_id().to_string()).or_default();
            *known = if task.is_full() { seen } else { *known + seen };
            *known
        };
        let ends = completed >= self.args.activities;
        let command = if ends {
            command::complete_workflow(Some(self.input.clone()))
        } else {
            let id = (completed + 1).to_string();
            command::schedule_activity(&id, "echo", &self.task_queue, self.input.clone(), 60)
        };
        let next = self.complete(worker, &task, vec![command]).await;
        if ends {
            lock(&self.progress).remove(task.run_id());
        }
        next
    }

    async fn complete(
        &self,
        worker: &mut RawWorker,
        task: &WorkflowTask,
        commands: Vec<steadfast_proto::temporal::command::v1::Command>,
    ) -> Option<WorkflowTask> {
        for _ in 0..TRIES_MAX {
            match worker
                .complete_workflow_task(task.token(), commands.clone())
                .await
            {
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

    async fn poll_activity_tasks(self: Arc<Self>, mut worker: RawWorker) {
        while !self.stopping.load(Relaxed) {
            let task = match worker.poll_activity_task().await {
                Ok(Some(task)) => task,
                Ok(None) => continue,
                Err(status) => {
                    self.note("poll", &status).await;
                    continue;
                }
            };
            for _ in 0..TRIES_MAX {
                let result = Some(self.input.clone());
                match worker
                    .complete_activity(task.task_token.clone(), result)
                    .await
                {
                    Ok(()) => break,
                    Err(status) => {
                        self.note("complete activity", &status).await;
                        if !may_retry(&status) {
                            break;
                        }
                    }
                }
            }
        }
    }

    /// Counts a failed call and waits before the next.
    async fn note(&self, what: &str, status: &Status) {
        if !self.stopping.load(Relaxed) {
            self.errors.fetch_add(1, Relaxed);
            *lock(&self.last_error) = format!("{what}: {:?}: {}", status.code(), status.message());
        }
        sleep(AGAIN).await;
    }
}
