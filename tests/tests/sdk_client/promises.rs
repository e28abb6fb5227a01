//! What the client promises, each against the node at an address.

use crate::worker::{Worker, turned};
use futures::future::BoxFuture;
use futures::stream::TryStreamExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use steadfast_proto::temporal::common::v1::{Header, Payload};
use steadfast_proto::temporal::enums::v1::{
    QueryRejectCondition, WorkflowExecutionStatus, WorkflowIdConflictPolicy,
};
use steadfast_proto::temporal::history::v1::history_event::Attributes;
use steadfast_proto::temporal::workflowservice::v1 as wire;
use steadfast_sdk::client::{
    Answer, ClientInterceptor, Memo, Next, QueryError, RawWorker, StartError, UpdateError,
    UpdateOptions, UpdateWithStartError, WorkflowError, execution,
};
use steadfast_sdk::codec::{CodecError, PayloadCodec};
use steadfast_sdk::failure::FailureKind;
use steadfast_sdk::{
    Args, Client, ClientOptions, DataConverter, Failure, Query, RetryPolicy, SearchAttribute,
    SearchAttributes, Signal, StartOptions, Update, Workflow,
};
use tokio::time::{Instant, sleep};

/// The state of all workflows here: they have none.
struct State;

type Order = (String, u64);
const ECHO: Workflow<State, Order, Order> = Workflow::named("Echo");
const FAIL: Workflow<State, (), ()> = Workflow::named("Fail");
const AGAIN: Workflow<State, usize, usize> = Workflow::named("Again");
const SIGNALED: Workflow<State, (), Order> = Workflow::named("Signaled");
const WAITING: Workflow<State, String, ()> = Workflow::named("Waiting");
const OUTSIDE: Workflow<State, (), String> = Workflow::named("Outside");
const PAY: Signal<State, Order> = Signal::named("pay");
const COUNT: Query<State, (), usize> = Query::named("count");
const NONE: Query<State, (), usize> = Query::named("none");
const ADD: Update<State, Order, Order> = Update::named("add");
const EMPTY: Update<State, (), ()> = Update::named("empty");

/// For all that takes time on a busy machine.
const LIMIT: Duration = Duration::from_secs(60);

async fn client(address: &str) -> Client {
    Client::connect(&[address.to_string()], "default")
        .await
        .unwrap()
}

fn order() -> Order {
    ("book".to_string(), 2)
}

fn options(workflow_id: &str, task_queue: &str) -> StartOptions {
    StartOptions::new(workflow_id, task_queue)
}

pub(crate) async fn results_come_with_types_and_failures_with_causes(address: &str) {
    let client = client(address).await;
    let _worker = Worker::start(client.raw(), "results");
    let echo = client
        .start(ECHO, order(), options("echo", "results"))
        .await;
    assert_eq!(echo.unwrap().result().await.unwrap(), order());
    let same = client.workflow_of(ECHO, "echo");
    assert_eq!(same.result().await.unwrap(), order());
    // Two arguments for a workflow that has two in another language.
    let two: Workflow<State, Args<(String, u64)>, String> = Workflow::named("Echo");
    let input = Args(("a".to_string(), 1));
    let two = client.start(two, input, options("two", "results")).await;
    assert_eq!(two.unwrap().result().await.unwrap(), "a");

    let fails = client.start(FAIL, (), options("fail", "results")).await;
    match fails.unwrap().result().await {
        Err(WorkflowError::Failed(failure)) => {
            assert_eq!(failure.error_type(), Some("Refused"));
            assert_eq!(failure.to_string(), "card refused: no money");
            assert_eq!(failure.content().source, "RustSDK");
        }
        other => panic!("{other:?}"),
    }
    let nothing = client.workflow::<State, ()>("nothing").result().await;
    match nothing {
        Err(WorkflowError::Call(error)) => assert!(error.is_not_found(), "{error}"),
        other => panic!("{other:?}"),
    }
    let wrong = client.workflow::<State, u64>("echo").result().await;
    let error = wrong.unwrap_err().to_string();
    assert!(error.contains("as `u64`"), "{error}");
}

pub(crate) async fn results_follow_the_runs_of_a_workflow(address: &str) {
    let client = client(address).await;
    let _worker = Worker::start(client.raw(), "runs");
    let again = client
        .start(AGAIN, 3, options("again", "runs"))
        .await
        .unwrap();
    assert_eq!(again.result().await.unwrap(), 7);
    match again.result_of_run().await {
        Err(WorkflowError::ContinuedAsNew { run_id }) => {
            let rest = again.clone().of_run(run_id);
            assert_eq!(rest.result().await.unwrap(), 7);
        }
        other => panic!("{other:?}"),
    }
    let retry_policy = RetryPolicy {
        initial_interval: Duration::from_millis(10),
        ..RetryPolicy::attempts(2)
    };
    let start = options("retried", "runs").retry_policy(retry_policy);
    let retried = client.start(FAIL, (), start).await.unwrap();
    let failed = retried.result().await.unwrap_err();
    assert!(matches!(failed, WorkflowError::Failed(_)), "{failed:?}");
    let last = client
        .workflow::<State, ()>("retried")
        .describe()
        .await
        .unwrap();
    assert_ne!(Some(last.run_id()), retried.run_id());
}

pub(crate) async fn an_id_that_is_taken_names_the_run_in_the_way(address: &str) {
    let client = client(address).await;
    let start = || options("taken", "nobody");
    let first = client.start(WAITING, String::new(), start()).await.unwrap();
    match client.start(WAITING, String::new(), start()).await {
        Err(StartError::AlreadyStarted {
            workflow_id,
            run_id,
        }) => {
            assert_eq!(workflow_id, "taken");
            assert_eq!(Some(run_id.as_str()), first.run_id());
        }
        other => panic!("{other:?}"),
    }
    let existing = start().id_conflict_policy(WorkflowIdConflictPolicy::UseExisting);
    let same = client
        .start(WAITING, String::new(), existing)
        .await
        .unwrap();
    assert_eq!(same.run_id(), first.run_id());
    let instead = start().id_conflict_policy(WorkflowIdConflictPolicy::TerminateExisting);
    client.start(WAITING, String::new(), instead).await.unwrap();
    let ended = first.result().await.unwrap_err();
    assert!(
        matches!(ended, WorkflowError::Terminated { .. }),
        "{ended:?}"
    );
}

pub(crate) async fn signals_queries_and_updates_reach_the_workflow(address: &str) {
    let client = client(address).await;
    let _worker = Worker::start(client.raw(), "talk");
    let start = options("talk", "talk");
    let waiting = client.start(WAITING, String::new(), start).await.unwrap();
    assert_eq!(waiting.query(COUNT, ()).await.unwrap(), 0);
    waiting.signal(PAY, order()).await.unwrap();
    assert_eq!(waiting.query(COUNT, ()).await.unwrap(), 1);
    match waiting.query(NONE, ()).await {
        Err(QueryError::Failed(failure)) => assert_eq!(failure.error_type(), Some("Unknown")),
        other => panic!("{other:?}"),
    }
    assert_eq!(waiting.update(ADD, order()).await.unwrap(), order());
    match waiting.update(EMPTY, ()).await {
        Err(UpdateError::Failed(failure)) => assert_eq!(failure.error_type(), Some("Rejected")),
        other => panic!("{other:?}"),
    }
    let once = UpdateOptions::new().update_id("once");
    let handle = waiting.start_update(ADD, order(), once).await.unwrap();
    assert_eq!(handle.update_id(), "once");
    assert_eq!(handle.result().await.unwrap(), order());
    let known = waiting.update_handle::<Order>("once");
    assert_eq!(known.result().await.unwrap(), order());

    waiting.terminate("enough").await.unwrap();
    let condition = QueryRejectCondition::NotOpen;
    match waiting.query_unless(COUNT, (), condition).await {
        Err(QueryError::Rejected { status }) => {
            assert_eq!(status, WorkflowExecutionStatus::Terminated);
        }
        other => panic!("{other:?}"),
    }
    assert!(
        waiting
            .signal(PAY, order())
            .await
            .unwrap_err()
            .is_not_found()
    );
}

pub(crate) async fn a_start_brings_its_signal_or_update_along(address: &str) {
    let client = client(address).await;
    let _worker = Worker::start(client.raw(), "along");
    let start = options("signaled", "along");
    let signaled = client.signal_with_start(SIGNALED, (), start, PAY, order());
    assert_eq!(signaled.await.unwrap().result().await.unwrap(), order());

    let start =
        || options("updated", "along").id_conflict_policy(WorkflowIdConflictPolicy::UseExisting);
    let mut runs = Vec::new();
    for _ in 0..2 {
        let update = UpdateOptions::new();
        let input = "x".to_string();
        let (waiting, update) = client
            .update_with_start(WAITING, input, start(), ADD, order(), update)
            .await
            .unwrap();
        assert_eq!(update.result().await.unwrap(), order());
        runs.push(waiting.run_id().unwrap().to_string());
    }
    assert_eq!(runs[0], runs[1]);
    let fail = start().id_conflict_policy(WorkflowIdConflictPolicy::Fail);
    let update = UpdateOptions::new();
    let refused = client
        .update_with_start(WAITING, String::new(), fail, ADD, order(), update)
        .await;
    match refused {
        Err(UpdateWithStartError::Start(StartError::AlreadyStarted { run_id, .. })) => {
            assert_eq!(run_id, runs[0]);
        }
        other => panic!("{other:?}"),
    }
}

pub(crate) async fn cancelled_and_terminated_workflows_say_so(address: &str) {
    let client = client(address).await;
    let _worker = Worker::start(client.raw(), "end");
    let start = options("cancelled", "end");
    let waiting = client
        .start(WAITING, "why".to_string(), start)
        .await
        .unwrap();
    waiting.cancel_because("no need").await.unwrap();
    match waiting.result().await {
        Err(WorkflowError::Canceled { details }) => {
            let converter = client.data_converter().converter();
            let why: String = converter.from_payload(&details[0]).unwrap();
            assert_eq!(why, "why");
        }
        other => panic!("{other:?}"),
    }
    let start = options("terminated", "end");
    let waiting = client.start(WAITING, String::new(), start).await.unwrap();
    waiting.terminate_with("for a test", order()).await.unwrap();
    match waiting.result().await {
        Err(WorkflowError::Terminated { reason, details }) => {
            assert_eq!((reason.as_str(), details.len()), ("for a test", 1));
        }
        other => panic!("{other:?}"),
    }
    let start = options("late", "nobody").run_timeout(Duration::from_millis(500));
    let late = client.start(WAITING, String::new(), start).await.unwrap();
    let ended = late.result().await.unwrap_err();
    assert!(matches!(ended, WorkflowError::TimedOut), "{ended:?}");
    let history = waiting.history().await.unwrap();
    assert_eq!(history[0].event_id, 1);
}

pub(crate) async fn lists_have_memo_and_search_attributes(address: &str) {
    let client = client(address).await;
    for number in 0..3_u64 {
        let start = options(&format!("listed-{number}"), "nobody")
            .memo(Memo::new().with("number", number))
            .search_attributes(SearchAttributes::new().keyword("Customer", "c7"))
            .static_summary("a *summary*");
        client.start(WAITING, String::new(), start).await.unwrap();
    }
    let query = "Customer = 'c7'";
    let listed: Vec<_> = client.list(query).try_collect().await.unwrap();
    assert_eq!(listed.len(), 3);
    assert_eq!(client.count(query).await.unwrap().count, 3);
    let first = listed
        .iter()
        .find(|one| one.workflow_id() == "listed-0")
        .unwrap();
    assert_eq!(first.memo::<u64>("number").unwrap(), Some(0));
    assert_eq!(first.memo::<u64>("none").unwrap(), None);
    assert_eq!(first.workflow_type(), "Waiting");
    assert_eq!(first.status(), WorkflowExecutionStatus::Running);
    let described = client
        .workflow::<State, ()>("listed-1")
        .describe()
        .await
        .unwrap();
    assert_eq!(described.static_summary().as_deref(), Some("a *summary*"));
    assert_eq!(described.memo::<u64>("number").unwrap(), Some(1));
    let customer = described.search_attributes();
    let expected = SearchAttribute::Keyword("c7".to_string());
    assert_eq!(customer.get("Customer"), Some(&expected));
    let wrong: Result<Vec<_>, _> = client.list("no query at all").try_collect().await;
    assert!(wrong.is_err());
}

pub(crate) async fn activities_are_completed_from_outside(address: &str) {
    let client = client(address).await;
    let _worker = Worker::start(client.raw(), "outside");
    let mut poller = RawWorker::new(client.raw(), 0, "outside", None);
    let mut workflows = Vec::new();
    let mut tokens = Vec::new();
    for workflow_id in ["completed", "failed", "cancelled"] {
        let start = options(workflow_id, "outside");
        workflows.push(client.start(OUTSIDE, (), start).await.unwrap());
        tokens.push(next_activity(&mut poller).await);
    }
    let by_token = client.activity_by_token(tokens[0].clone());
    assert!(!by_token.heartbeat(1_u8).await.unwrap().cancel_requested);
    by_token.complete("paid".to_string()).await.unwrap();
    assert_eq!(workflows[0].result().await.unwrap(), "paid");
    assert!(
        by_token
            .complete(String::new())
            .await
            .unwrap_err()
            .is_not_found()
    );

    let by_id = client.activity_by_id("failed", None, "charge");
    by_id.heartbeat(()).await.unwrap();
    let refused = Failure::non_retryable("Refused", "card refused");
    by_id.fail(refused).await.unwrap();
    match workflows[1].result().await {
        Err(WorkflowError::Failed(failure)) => {
            assert!(matches!(failure.kind(), FailureKind::Application(_)));
            assert_eq!(failure.message(), "card refused");
        }
        other => panic!("{other:?}"),
    }

    workflows[2].cancel().await.unwrap();
    let by_token = client.activity_by_token(tokens[2].clone());
    let deadline = Instant::now() + LIMIT;
    while !by_token.heartbeat(()).await.unwrap().cancel_requested {
        assert!(Instant::now() < deadline, "the heartbeat says so");
        sleep(Duration::from_millis(50)).await;
    }
    let by_id = client.activity_by_id("cancelled", None, "charge");
    by_id
        .report_cancellation("stopped".to_string())
        .await
        .unwrap();
    assert_eq!(workflows[2].result().await.unwrap(), "stopped");
}

async fn next_activity(poller: &mut RawWorker) -> bytes::Bytes {
    let deadline = Instant::now() + LIMIT;
    loop {
        assert!(Instant::now() < deadline, "no activity task");
        if let Some(task) = poller.poll_activity_task().await.unwrap() {
            return task.task_token;
        }
    }
}

struct Turned;

impl PayloadCodec for Turned {
    fn encode(&self, payloads: Vec<Payload>) -> BoxFuture<'_, Result<Vec<Payload>, CodecError>> {
        Box::pin(async move { Ok(payloads.into_iter().map(turned).collect()) })
    }

    fn decode(&self, payloads: Vec<Payload>) -> BoxFuture<'_, Result<Vec<Payload>, CodecError>> {
        self.encode(payloads)
    }
}

/// Counts starts and gives them a header.
struct Traced(Arc<AtomicUsize>);

impl ClientInterceptor for Traced {
    fn start<'a>(
        &'a self,
        mut request: wire::StartWorkflowExecutionRequest,
        next: Next<'a, wire::StartWorkflowExecutionRequest, wire::StartWorkflowExecutionResponse>,
    ) -> Answer<'a, wire::StartWorkflowExecutionResponse> {
        self.0.fetch_add(1, Ordering::Relaxed);
        let trace = Payload {
            data: bytes::Bytes::from_static(b"t1"),
            ..Default::default()
        };
        request.header = Some(Header {
            fields: [("trace".to_string(), trace)].into(),
        });
        next.run(request)
    }
}

pub(crate) async fn the_codec_and_the_interceptors_see_every_call(address: &str) {
    let plain = client(address).await;
    let _worker = Worker::start(plain.raw(), "codec");
    let starts = Arc::new(AtomicUsize::new(0));
    let options_of_client = ClientOptions::new()
        .data_converter(DataConverter::default().with_codec(Turned))
        .interceptor(Traced(Arc::clone(&starts)));
    let client = Client::new(plain.raw().clone(), options_of_client);
    let start = options("secret", "codec").memo(Memo::new().with("note", "hidden".to_string()));
    let echo = client.start(ECHO, order(), start).await.unwrap();
    assert_eq!(echo.result().await.unwrap(), order());
    assert_eq!(starts.load(Ordering::Relaxed), 1);
    // The server, and who has no codec, sees nothing of it.
    let open = plain.workflow::<State, Order>("secret").result().await;
    assert!(open.is_err());
    let raw = plain
        .raw()
        .history(execution("secret", ""), LIMIT)
        .await
        .unwrap();
    match raw[0].attributes.as_ref().unwrap() {
        Attributes::WorkflowExecutionStartedEventAttributes(started) => {
            let header = started.header.as_ref().unwrap();
            assert_eq!(header.fields["trace"].data, "t1".as_bytes());
            let input = &started.input.as_ref().unwrap().payloads[0];
            let clear = turned(input.clone());
            assert_eq!(clear.data, r#"["book",2]"#.as_bytes());
        }
        other => panic!("{other:?}"),
    }
    let described = echo.describe().await.unwrap();
    assert_eq!(described.memo("note").unwrap(), Some("hidden".to_string()));
    let events = echo.history().await.unwrap();
    match events[0].attributes.as_ref().unwrap() {
        Attributes::WorkflowExecutionStartedEventAttributes(started) => {
            let input = &started.input.as_ref().unwrap().payloads[0];
            assert_eq!(input.data, r#"["book",2]"#.as_bytes());
        }
        other => panic!("{other:?}"),
    }
}

pub(crate) async fn a_dead_address_is_passed_over(address: &str) {
    // Nothing listens on the first.
    let addresses = ["127.0.0.1:1".to_string(), address.to_string()];
    let client = Client::connect(&addresses, "default").await.unwrap();
    let started = Instant::now();
    let start = options("passed-over", "nobody");
    client.start(WAITING, String::new(), start).await.unwrap();
    assert!(started.elapsed() < Duration::from_secs(20));
}
