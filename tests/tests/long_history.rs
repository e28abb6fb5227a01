//! Long histories on three real nodes, with the limits raised by dynamic configuration: a workflow
//! with thousands of signals and one with thousands of activities run to the end, their histories
//! are read in pages, and the nodes' memory stays bounded.
//!
//! With `STEADFAST_LONG_HISTORY=full` ten times as many: 50,000 signals and 10,000 activities.

use prost::Message;
use std::collections::BTreeSet;
use std::io::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use steadfast_proto::temporal::command::v1::Command;
use steadfast_proto::temporal::common::v1::WorkflowType;
use steadfast_proto::temporal::history::v1::history_event::Attributes;
use steadfast_proto::temporal::history::v1::{History, HistoryEvent};
use steadfast_proto::temporal::taskqueue::v1::TaskQueue;
use steadfast_proto::temporal::workflowservice::v1 as wire;
use steadfast_sdk::RawClient;
use steadfast_sdk::client::{
    RawWorker, WorkflowTask, command, decode_history, execution, payloads,
};
use steadfast_tests::Error;
use steadfast_tests::cluster::Cluster;
use tokio::task::JoinSet;

const LIMITS: [&str; 4] = [
    "limit.historyCount.error=2000000",
    "limit.historySize.error=2000000000",
    "history.maximumSignalsPerExecution=1000000",
    "history.maximumBufferedEventsBatch=5000",
];
const SENDERS: u64 = 32;
/// Activities that one workflow task schedules.
const CHUNK: u64 = 250;
const ACTIVITY_POLLERS: usize = 32;
const CALL: Duration = Duration::from_secs(60);
/// Until a workflow has ended; in the full run on a machine that is busy.
const END: Duration = Duration::from_secs(900);
/// A page fits what gRPC clients receive by default.
const PAGE_BYTES_MAX: usize = 4 << 20;
/// Resident memory of a node, at most: the log's cache, overlays and tables (see
/// `docs/performance.md`), not histories.
const NODE_MIB_MAX: u64 = 700;
const INPUT_BYTES: usize = 64;

fn times() -> u64 {
    let full = std::env::var("STEADFAST_LONG_HISTORY").is_ok_and(|value| value == "full");
    if full { 10 } else { 1 }
}

fn say(text: &str) {
    // Shown by `--nocapture`, and with a failure.
    writeln!(std::io::stdout(), "{text}").ok();
}

async fn start() -> Result<(Cluster, RawClient), Error> {
    let options: Vec<&str> = LIMITS
        .iter()
        .flat_map(|value| ["--dynamic-config-value", value])
        .collect();
    let cluster = Cluster::start_with(3, &options).await?;
    let ids = cluster.ids().into_iter();
    let addresses: Vec<String> = ids.map(|id| cluster.addresses(id).grpc.clone()).collect();
    let client = RawClient::new(&addresses, "default", 9)
        .map_err(|error| Error::Program(error.to_string()))?;
    Ok((cluster, client))
}

/// The largest resident memory of any node, in MiB, sampled until it is dropped.
struct Memory {
    largest: Arc<AtomicU64>,
    sampler: tokio::task::JoinHandle<()>,
}

impl Memory {
    fn sample(pids: Vec<u32>) -> Self {
        let largest = Arc::new(AtomicU64::new(0));
        let into = Arc::clone(&largest);
        let sampler = tokio::spawn(async move {
            loop {
                for pid in &pids {
                    into.fetch_max(resident_mib(*pid), Ordering::Relaxed);
                }
                tokio::time::sleep(Duration::from_millis(250)).await;
            }
        });
        Self { largest, sampler }
    }

    fn largest(&self) -> u64 {
        self.largest.load(Ordering::Relaxed)
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        self.sampler.abort();
    }
}

fn resident_mib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kib.unwrap_or(0) >> 10
}

/// What a worker has seen of its workflow.
#[derive(Debug, Default)]
struct Seen {
    last_event_id: i64,
    scheduled: u64,
    completed: u64,
    has_end: bool,
}

impl Seen {
    fn add(&mut self, events: &[HistoryEvent]) {
        for event in events {
            if event.event_id <= self.last_event_id {
                continue;
            }
            self.last_event_id = event.event_id;
            match &event.attributes {
                Some(Attributes::ActivityTaskScheduledEventAttributes(_)) => self.scheduled += 1,
                Some(Attributes::ActivityTaskCompletedEventAttributes(_)) => self.completed += 1,
                Some(Attributes::WorkflowExecutionSignaledEventAttributes(signal)) => {
                    self.has_end |= signal.signal_name == "end";
                }
                Some(_) | None => {}
            }
        }
    }
}

type Decide = fn(&Seen, u64, &str) -> Vec<Command>;

/// Completes the workflow after the last signal.
fn until_end(seen: &Seen, _: u64, _: &str) -> Vec<Command> {
    let end = seen.has_end.then(|| command::complete_workflow(None));
    end.into_iter().collect()
}

/// Schedules the next activities when those before are done, and completes the workflow after all.
fn in_chunks(seen: &Seen, activities: u64, queue: &str) -> Vec<Command> {
    if seen.completed < seen.scheduled {
        return Vec::new();
    }
    if seen.completed == activities {
        return vec![command::complete_workflow(None)];
    }
    let last = activities.min(seen.scheduled + CHUNK);
    (seen.scheduled..last)
        .map(|number| {
            let (id, input) = (format!("{number:06}"), payloads(&[7; INPUT_BYTES]));
            command::schedule_activity(&id, "echo", queue, input, 600)
        })
        .collect()
}

/// A worker of one workflow: a poller of its queue and one of its sticky queue.
struct Worker {
    client: RawClient,
    queue: String,
    activities: u64,
    decide: Decide,
    seen: Mutex<Seen>,
}

impl Worker {
    fn start(self: &Arc<Self>, pollers: &mut JoinSet<()>) {
        for sticky in [false, true] {
            let worker = Arc::clone(self);
            pollers.spawn(async move { worker.poll(sticky).await });
        }
    }

    async fn poll(self: Arc<Self>, sticky: bool) {
        let name = format!("{}-sticky", self.queue);
        let index = usize::from(sticky);
        let mut worker = RawWorker::new(&self.client, index, &self.queue, Some(&name));
        loop {
            let polled = if sticky {
                worker.poll_sticky_task().await
            } else {
                worker.poll_workflow_task().await
            };
            let Ok(mut task) = polled else {
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            };
            while let Some(now) = task.take() {
                // A task that failed meanwhile comes again.
                if let Ok(commands) = self.answer(&now).await {
                    let answered = worker.complete_workflow_task(now.token(), commands).await;
                    task = answered.unwrap_or(None);
                }
            }
        }
    }

    async fn answer(&self, task: &WorkflowTask) -> Result<Vec<Command>, Error> {
        let mut events = task.events.clone();
        let mut token = task.response.next_page_token.clone();
        while !token.is_empty() {
            let page = page(&self.client, task.workflow_id(), token).await?;
            events.extend(decode_history(&page.history)?);
            token = page.next_page_token;
        }
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.add(&events);
        Ok((self.decide)(&seen, self.activities, &self.queue))
    }
}

async fn page(
    client: &RawClient,
    workflow_id: &str,
    next_page_token: prost::bytes::Bytes,
) -> Result<wire::GetWorkflowExecutionHistoryResponse, Error> {
    let request = wire::GetWorkflowExecutionHistoryRequest {
        namespace: "default".to_owned(),
        execution: Some(execution(workflow_id, "")),
        next_page_token,
        ..Default::default()
    };
    let answer = client.call(CALL, |mut service| {
        let request = request.clone();
        async move { service.get_workflow_execution_history(request).await }
    });
    Ok(answer.await?)
}

async fn page_reverse(
    client: &RawClient,
    workflow_id: &str,
    next_page_token: prost::bytes::Bytes,
) -> Result<wire::GetWorkflowExecutionHistoryReverseResponse, Error> {
    let request = wire::GetWorkflowExecutionHistoryReverseRequest {
        namespace: "default".to_owned(),
        execution: Some(execution(workflow_id, "")),
        next_page_token,
        ..Default::default()
    };
    let answer = client.call(CALL, |mut service| {
        let request = request.clone();
        async move {
            service
                .get_workflow_execution_history_reverse(request)
                .await
        }
    });
    Ok(answer.await?)
}

async fn start_workflow(client: &RawClient, name: &str) -> Result<(), Error> {
    let request = wire::StartWorkflowExecutionRequest {
        workflow_id: name.to_owned(),
        workflow_type: Some(WorkflowType {
            name: name.to_owned(),
        }),
        task_queue: Some(TaskQueue {
            name: name.to_owned(),
            ..Default::default()
        }),
        ..Default::default()
    };
    client.start(request, CALL).await?;
    Ok(())
}

/// Waits for the end, then reads the history in pages, both ways; gives it oldest first.
async fn completed_history(client: &RawClient, name: &str) -> Result<Vec<HistoryEvent>, Error> {
    let last = client.closed(execution(name, ""), END).await?;
    let completed = matches!(
        last.attributes,
        Some(Attributes::WorkflowExecutionCompletedEventAttributes(_))
    );
    assert!(completed, "{last:?}");
    let began = Instant::now();
    let (mut events, mut bytes, mut largest, mut pages) = (Vec::new(), 0, 0, 0);
    let mut token = prost::bytes::Bytes::new();
    loop {
        let page = page(client, name, token).await?;
        (pages, bytes) = (pages + 1, bytes + page.history.len());
        largest = largest.max(page.history.len());
        events.extend(decode_history(&page.history)?);
        token = page.next_page_token;
        if token.is_empty() {
            break;
        }
    }
    let took = began.elapsed();
    assert!(largest <= PAGE_BYTES_MAX, "a page of {largest} bytes");
    let length = i64::try_from(events.len()).unwrap_or(i64::MAX);
    assert_eq!(length, last.event_id, "the close is the last event");
    let ids = events.iter().map(|event| event.event_id);
    assert!(ids.eq(1..=length), "each event once, oldest first");
    let mut next = length;
    let mut token = prost::bytes::Bytes::new();
    loop {
        let page = page_reverse(client, name, token).await?;
        for event in History::decode(page.history)
            .map_err(|error| Error::Program(error.to_string()))?
            .events
        {
            assert_eq!(event.event_id, next, "each event once, newest first");
            next -= 1;
        }
        token = page.next_page_token;
        if token.is_empty() {
            break;
        }
    }
    assert_eq!(next, 0, "the reverse read ends at the first event");
    say(&format!(
        "{name}: {length} events, {bytes} bytes, {pages} pages of at most {largest} bytes, read in {took:?}"
    ));
    Ok(events)
}

async fn send_signals(client: &RawClient, name: &str, count: u64) -> Result<(), Error> {
    let mut senders = JoinSet::new();
    for sender in 0..SENDERS {
        let (client, name) = (client.clone(), name.to_owned());
        senders.spawn(async move {
            for number in (sender..count).step_by(usize::try_from(SENDERS).unwrap_or(1)) {
                let signal = format!("{sender} {number}");
                let input = Some(payloads(&[7; INPUT_BYTES]));
                let run = execution(&name, "");
                client.signal(run, &signal, input, CALL).await?;
            }
            Ok::<(), Error>(())
        });
    }
    while let Some(sent) = senders.join_next().await {
        sent.map_err(|error| Error::Program(error.to_string()))??;
    }
    client
        .signal(execution(name, ""), "end", None, CALL)
        .await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_workflow_with_thousands_of_signals_runs_to_the_end() -> Result<(), Error> {
    let count = 5_000 * times();
    let (cluster, client) = start().await?;
    let memory = Memory::sample(cluster.pids());
    let name = "signals";
    start_workflow(&client, name).await?;
    let worker = Arc::new(Worker {
        client: client.clone(),
        queue: name.to_owned(),
        activities: 0,
        decide: until_end,
        seen: Mutex::default(),
    });
    let mut pollers = JoinSet::new();
    worker.start(&mut pollers);
    let began = Instant::now();
    send_signals(&client, name, count).await?;
    let sent = began.elapsed();
    let events = completed_history(&client, name).await?;
    check_signals(&events, count);
    let largest = memory.largest();
    say(&format!(
        "{name}: {count} signals sent in {sent:?}, largest node {largest} MiB"
    ));
    assert!(largest < NODE_MIB_MAX, "a node took {largest} MiB");
    Ok(())
}

/// Each signal is there once; those of one sender in the order in which they were sent.
fn check_signals(events: &[HistoryEvent], count: u64) {
    let mut next: Vec<u64> = (0..SENDERS).collect();
    let mut signals = 0;
    for event in events {
        let Some(Attributes::WorkflowExecutionSignaledEventAttributes(signal)) = &event.attributes
        else {
            continue;
        };
        if signal.signal_name == "end" {
            assert_eq!(signals, count, "the last signal is the last");
            return;
        }
        let mut parts = signal.signal_name.split(' ').map(str::parse::<u64>);
        let (Some(Ok(sender)), Some(Ok(number))) = (parts.next(), parts.next()) else {
            panic!("a signal that nobody sent: {}", signal.signal_name);
        };
        let place = usize::try_from(sender).unwrap_or(usize::MAX);
        assert_eq!(number, next[place], "signals of sender {sender} in order");
        next[place] += SENDERS;
        signals += 1;
    }
    panic!("the last signal is missing");
}

fn start_activity_pollers(client: &RawClient, queue: &str, pollers: &mut JoinSet<()>) {
    for index in 0..ACTIVITY_POLLERS {
        let mut worker = RawWorker::new(client, index, queue, None);
        pollers.spawn(async move {
            loop {
                match worker.poll_activity_task().await {
                    Ok(Some(task)) => {
                        let token = task.task_token.clone();
                        // Lost answers end in a time-out and a second attempt.
                        worker.complete_activity(token, task.input).await.ok();
                    }
                    Ok(None) => {}
                    Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
                }
            }
        });
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_workflow_with_thousands_of_activities_runs_to_the_end() -> Result<(), Error> {
    let count = 1_000 * times();
    let (cluster, client) = start().await?;
    let memory = Memory::sample(cluster.pids());
    let name = "activities";
    let worker = Arc::new(Worker {
        client: client.clone(),
        queue: name.to_owned(),
        activities: count,
        decide: in_chunks,
        seen: Mutex::default(),
    });
    let mut pollers = JoinSet::new();
    worker.start(&mut pollers);
    start_activity_pollers(&client, name, &mut pollers);
    let began = Instant::now();
    start_workflow(&client, name).await?;
    let events = completed_history(&client, name).await?;
    let took = began.elapsed();
    check_activities(&events, count);
    let largest = memory.largest();
    say(&format!(
        "{name}: {count} activities, done and read in {took:?}, largest node {largest} MiB"
    ));
    assert!(largest < NODE_MIB_MAX, "a node took {largest} MiB");
    Ok(())
}

/// Each activity is scheduled once, in order, and completed once.
fn check_activities(events: &[HistoryEvent], count: u64) {
    let (mut scheduled, mut completed) = (BTreeSet::new(), BTreeSet::new());
    let mut number = 0;
    for event in events {
        match &event.attributes {
            Some(Attributes::ActivityTaskScheduledEventAttributes(activity)) => {
                assert_eq!(activity.activity_id, format!("{number:06}"));
                scheduled.insert(event.event_id);
                number += 1;
            }
            Some(Attributes::ActivityTaskCompletedEventAttributes(activity)) => {
                assert!(
                    completed.insert(activity.scheduled_event_id),
                    "completed twice: {activity:?}"
                );
            }
            Some(_) | None => {}
        }
    }
    assert_eq!(number, count);
    assert_eq!(scheduled, completed, "all that was scheduled is completed");
}
