//! An operator transfers the leadership ten times while users work, by the command that operators
//! type: no call of a user returns an error, be it through the front door or directly to a node.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use steadfast_proto::temporal::common::v1::WorkflowType;
use steadfast_proto::temporal::enums::v1::EventType;
use steadfast_proto::temporal::taskqueue::v1::TaskQueue;
use steadfast_proto::temporal::workflowservice::v1 as wire;
use steadfast_sdk::client::{RawClient, RawWorker, command, execution, payloads, wait_for_close};
use steadfast_tests::cluster::Cluster;
use steadfast_tests::command::steadfast;
use steadfast_tests::everything::{Everything, tell};
use steadfast_tests::front_door::FrontDoor;
use steadfast_tests::{Error, sdk};
use tokio::sync::Mutex;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tonic::{Request, Status};

const TRANSFERS: usize = 10;
/// Calls go on before the first transfer, between two, and after the last.
const BETWEEN: Duration = Duration::from_secs(1);
/// A call that is still open then has hung.
const DEADLINE: Duration = Duration::from_secs(15);
const QUEUE: &str = "orders";
/// Users of each kind at each address.
const USERS: usize = 3;
/// Two clusters at once are more than a small machine has.
static ONE_AT_A_TIME: Mutex<()> = Mutex::const_new(());

/// What the users have seen.
#[derive(Debug, Default)]
struct Seen {
    stop: AtomicBool,
    calls: AtomicU64,
    completed: AtomicU64,
    errors: std::sync::Mutex<Vec<String>>,
}

impl Seen {
    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Counts a call, whose error nobody hides and nobody repeats.
    fn call<T>(&self, who: &str, what: &str, answer: Result<T, Status>) -> Option<T> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        match answer {
            Ok(answer) => Some(answer),
            Err(status) => {
                let (code, message) = (status.code(), status.message());
                self.complain(format!("{who}: {what}: {code:?}: {message}"));
                None
            }
        }
    }

    fn complain(&self, line: String) {
        self.errors.lock().expect("no user panicked").push(line);
    }
}

fn timed<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(DEADLINE);
    request
}

/// Starts workflows, signals them, looks at them, waits for their ends; each call once.
async fn client(client: RawClient, who: String, seen: Arc<Seen>) {
    let mut service = client.service(0);
    for number in 0_u64.. {
        if seen.stopped() {
            return;
        }
        let workflow_id = format!("{who}-{number}");
        let start = wire::StartWorkflowExecutionRequest {
            namespace: "default".into(),
            workflow_id: workflow_id.clone(),
            workflow_type: Some(WorkflowType {
                name: "order".into(),
            }),
            task_queue: Some(TaskQueue {
                name: QUEUE.into(),
                ..TaskQueue::default()
            }),
            request_id: uuid::Uuid::new_v4().to_string(),
            ..wire::StartWorkflowExecutionRequest::default()
        };
        let started = service.start_workflow_execution(timed(start)).await;
        let Some(started) = seen.call(&who, "start", started) else {
            continue;
        };
        let run = execution(&workflow_id, &started.into_inner().run_id);
        let signal = wire::SignalWorkflowExecutionRequest {
            namespace: "default".into(),
            workflow_execution: Some(run.clone()),
            signal_name: "paid".into(),
            request_id: uuid::Uuid::new_v4().to_string(),
            ..wire::SignalWorkflowExecutionRequest::default()
        };
        let signalled = service.signal_workflow_execution(timed(signal)).await;
        seen.call(&who, "signal", signalled);
        let describe = wire::DescribeWorkflowExecutionRequest {
            namespace: "default".into(),
            execution: Some(run.clone()),
        };
        let described = service.describe_workflow_execution(timed(describe)).await;
        seen.call(&who, "describe", described);
        let count = wire::CountWorkflowExecutionsRequest {
            namespace: "default".into(),
            query: "ExecutionStatus = 'Running'".into(),
        };
        let counted = service.count_workflow_executions(timed(count)).await;
        seen.call(&who, "count", counted);
        let closed = wait_for_close(service.clone(), "default", &run).await;
        if let Some(last) = seen.call(&who, "wait for the end", closed) {
            match last.event_type() {
                EventType::WorkflowExecutionCompleted => {
                    seen.completed.fetch_add(1, Ordering::Relaxed);
                }
                other => seen.complain(format!("{workflow_id} ended so: {other:?}")),
            }
        }
    }
}

/// Polls for workflow tasks: an activity, then the end once the activity and the signal are there.
async fn workflow_worker(mut worker: RawWorker, who: String, seen: Arc<Seen>) {
    while !seen.stopped() {
        let polled = worker.poll_workflow_task().await;
        let mut task = seen
            .call(&who, "poll for a workflow task", polled)
            .flatten();
        while let Some(now) = task {
            let has = |kind| now.events.iter().any(|event| event.event_type() == kind);
            let commands = match () {
                () if !has(EventType::ActivityTaskScheduled) => {
                    vec![command::schedule_activity(
                        "pay",
                        "pay",
                        QUEUE,
                        payloads(b"1"),
                        60,
                    )]
                }
                () if has(EventType::ActivityTaskCompleted)
                    && has(EventType::WorkflowExecutionSignaled) =>
                {
                    vec![command::complete_workflow(None)]
                }
                () => Vec::new(),
            };
            let answer = worker.complete_workflow_task(now.token(), commands).await;
            task = match answer {
                // Temporal's answer to a worker that did not know of a new event yet.
                Err(status) if status.message() == "UnhandledCommand" => None,
                answer => seen
                    .call(&who, "complete a workflow task", answer)
                    .flatten(),
            };
        }
    }
}

async fn activity_worker(mut worker: RawWorker, who: String, seen: Arc<Seen>) {
    while !seen.stopped() {
        let polled = worker.poll_activity_task().await;
        if let Some(task) = seen
            .call(&who, "poll for an activity task", polled)
            .flatten()
        {
            let result = Some(payloads(b"2"));
            let answer = worker.complete_activity(task.task_token, result).await;
            seen.call(&who, "complete an activity", answer);
        }
    }
}

/// `steadfast cluster transfer-leader`, again and again; how often somebody else led then.
async fn transfer(cluster: &Cluster, between: Duration) -> Result<usize, Error> {
    let mut others = 0;
    for _ in 0..TRANSFERS {
        sleep(between).await;
        let before = cluster.leader().await?;
        let address = &cluster.addresses(before).grpc;
        steadfast(&["cluster", "transfer-leader", "--address", address])
            .await?
            .succeeded()?;
        others += usize::from(cluster.leader().await? != before);
    }
    sleep(between).await;
    Ok(others)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_planned_transfers_cost_no_user_an_error_even_without_retries() -> Result<(), Error> {
    let _alone = ONE_AT_A_TIME.lock().await;
    let cluster = Cluster::start(3).await?;
    let door = FrontDoor::open(&cluster).await?;
    let seen = Arc::new(Seen::default());
    let mut users = JoinSet::new();
    let nodes = cluster.ids().into_iter();
    let nodes = nodes.map(|id| (format!("node-{id}"), cluster.addresses(id).grpc.clone()));
    for (place, address) in nodes.chain([("door".to_owned(), door.address.clone())]) {
        let made = RawClient::new(&[address], "default", USERS);
        let made = made.map_err(|error| Error::Program(error.to_string()))?;
        for number in 0..USERS {
            let who = |kind: &str| format!("{place}-{kind}-{number}");
            let worker = || RawWorker::new(&made, number, QUEUE, None);
            users.spawn(client(made.clone(), who("client"), seen.clone()));
            users.spawn(workflow_worker(worker(), who("worker"), seen.clone()));
            users.spawn(activity_worker(worker(), who("activity"), seen.clone()));
        }
    }
    let others = transfer(&cluster, BETWEEN).await?;
    let completed = seen.completed.load(Ordering::Relaxed);
    seen.stop.store(true, Ordering::Relaxed);
    users.shutdown().await;
    let calls = seen.calls.load(Ordering::Relaxed);
    let errors = seen.errors.lock().expect("no user panicked").clone();
    tell(&format!(
        "{calls} calls, {completed} workflows completed, {others} transfers"
    ));
    assert_eq!(others, TRANSFERS, "each transfer makes another leader");
    assert!(completed > 50, "users got work done: {completed}");
    assert!(
        errors.is_empty(),
        "of {calls} calls {}: {errors:#?}",
        errors.len()
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_go_sdk_uses_everything_over_ten_planned_transfers_without_an_error()
-> Result<(), Error> {
    let _alone = ONE_AT_A_TIME.lock().await;
    let cluster = Cluster::start(3).await?;
    let program = Everything::start(&cluster, &mut sdk::go("everything")?).await?;
    let others = transfer(&cluster, 2 * BETWEEN).await?;
    let ended = program.end().await?;
    let (status, lines) = (&ended.status, &ended.lines);
    assert!(ended.is_well(), "{status:?}:\n{lines}");
    let (took, done) = (ended.took, ended.done.join(" "));
    tell(&format!(
        "{others} transfers; ended within {took:?}; {done}"
    ));
    assert_eq!(others, TRANSFERS, "each transfer makes another leader");
    // A call that the SDK gave up, so that its user does not know what came of it.
    assert!(!done.contains("unknown"), "{done}");
    Ok(())
}
