//! The SDK's worker on real nodes: typed workflows and activities, run, replayed and cancelled, also
//! when the leader and the worker end in the middle.

#![expect(clippy::unwrap_used, reason = "a failing step of a test ends it")]

#[path = "sdk_worker/order.rs"]
mod order;

use order::{Changed, GREET, Greeting, Holiday, Order, Payments, Stuck, Waits, greet};
use std::time::Duration;
use steadfast_proto::temporal::enums::v1::EventType;
use steadfast_proto::temporal::sdk::v1::{WorkflowInteractionDefinition, WorkflowMetadata};
use steadfast_sdk::worker::{ShutdownHandle, WorkerError, WorkerOptions};
use steadfast_sdk::{Client, History, Proto, Query, ReplayError, Replayer, StartOptions, Worker};
use steadfast_tests::cluster::Cluster;
use tokio::task::JoinHandle;

const QUEUE: &str = "orders";

/// A worker that runs, and how it is ended.
struct Running {
    stop: ShutdownHandle,
    ended: JoinHandle<Result<(), WorkerError>>,
}

impl Running {
    fn start(client: &Client, options: WorkerOptions) -> Self {
        let worker = Worker::builder(client, QUEUE)
            .options(options)
            .workflow::<Greeting>()
            .workflow::<Order>()
            .workflow::<Holiday>()
            .workflow::<Waits>()
            .activity(GREET, greet)
            .activities(Payments { fee: 1 })
            .build()
            .unwrap();
        let stop = worker.shutdown_handle();
        let ended = tokio::spawn(worker.run());
        Self { stop, ended }
    }

    async fn end(self) {
        self.stop.shutdown();
        self.ended.await.unwrap().unwrap();
    }
}

async fn client_of(cluster: &Cluster, nodes: u64) -> Client {
    let addresses: Vec<String> = (1..=nodes)
        .map(|id| cluster.addresses(id).grpc.clone())
        .collect();
    Client::connect(&addresses, "default").await.unwrap()
}

fn options(workflow_id: &str) -> StartOptions {
    StartOptions::new(workflow_id, QUEUE)
}

async fn an_order_ends_as_its_parts_say(client: &Client) {
    let order = client.start(Order::RUN, 5, options("order")).await.unwrap();
    let refused = order.update(Order::NOTE, String::new()).await.unwrap_err();
    assert!(
        refused.to_string().contains("a note has words"),
        "{refused}"
    );
    let noted = order.update(Order::NOTE, "first".to_string()).await;
    assert_eq!(noted.unwrap(), 1);
    order
        .signal(Order::APPROVE, "me".to_string())
        .await
        .unwrap();
    // 5 + 1, 13 + 1 in its second attempt, 1 + 1.
    assert_eq!(order.result().await.unwrap(), 22);
    let notes = order.query(Order::NOTES, ()).await.unwrap();
    assert_eq!(notes, ["first", "me", "hello child quick"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_workflow_with_everything_gives_its_result() {
    let cluster = Cluster::start(1).await.unwrap();
    let client = client_of(&cluster, 1).await;
    let worker = Running::start(&client, WorkerOptions::default());
    an_order_ends_as_its_parts_say(&client).await;
    worker.end().await;
}

/// Without a cache each task replays the history from its first event: whatever is not the same the
/// second time ends as a non-determinism error, and the workflow does not end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_workflow_that_is_replayed_at_each_task_gives_the_same_result() {
    let cluster = Cluster::start(1).await.unwrap();
    let client = client_of(&cluster, 1).await;
    let options = WorkerOptions {
        max_cached_workflows: 0,
        ..WorkerOptions::default()
    };
    let worker = Running::start(&client, options);
    an_order_ends_as_its_parts_say(&client).await;
    worker.end().await;
}

/// The leader is killed, and the worker ends and another one begins: every order has its result.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workflows_end_though_leader_and_worker_do_not_stay() {
    let mut cluster = Cluster::start(3).await.unwrap();
    let client = client_of(&cluster, 3).await;
    let first = Running::start(&client, WorkerOptions::default());
    let mut orders = Vec::new();
    for number in 0..10 {
        let id = format!("order-{number}");
        orders.push(
            client
                .start(Order::RUN, number, options(&id))
                .await
                .unwrap(),
        );
    }
    let leader = cluster.leader().await.unwrap();
    cluster.kill(leader).unwrap();
    first.end().await;
    let second = Running::start(&client, WorkerOptions::default());
    for order in &orders {
        order
            .signal(Order::APPROVE, "me".to_string())
            .await
            .unwrap();
    }
    for (number, order) in orders.iter().enumerate() {
        assert_eq!(order.result().await.unwrap(), number as u64 + 17);
    }
    second.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancelled_workflow_undoes_what_it_did() {
    let cluster = Cluster::start(1).await.unwrap();
    let client = client_of(&cluster, 1).await;
    let worker = Running::start(&client, WorkerOptions::default());
    let trip = client
        .start(Holiday::RUN, "Rome".to_string(), options("trip"))
        .await
        .unwrap();
    trip.signal(Holiday::BOOK, ()).await.unwrap();
    while trip.query(Holiday::BOOKED, ()).await.unwrap() == 0 {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let waits = trip.query(Query::named("__stack_trace"), ());
    let waits: String = waits.await.unwrap();
    assert_eq!(waits, "the workflow waits for\n  timer 1\n");
    let metadata = trip.query(Query::named("__temporal_workflow_metadata"), ());
    let Proto(metadata): Proto<WorkflowMetadata> = metadata.await.unwrap();
    let definition = metadata.definition.unwrap();
    let names = |list: &[WorkflowInteractionDefinition]| -> Vec<String> {
        list.iter().map(|one| one.name.clone()).collect()
    };
    assert_eq!(definition.r#type, "Holiday");
    assert_eq!(names(&definition.signal_definitions), ["book"]);
    assert_eq!(names(&definition.query_definitions), ["booked"]);
    assert!(definition.update_definitions.is_empty());
    trip.cancel().await.unwrap();
    let ended = trip.result().await.unwrap_err();
    assert!(
        ended.to_string().to_lowercase().contains("cancel"),
        "{ended}"
    );
    assert_eq!(trip.query(Holiday::BOOKED, ()).await.unwrap(), 0);
    worker.end().await;
}

/// A future that is not the SDK's fails the workflow task with words that say so; the workflow is not
/// lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn code_that_waits_for_another_future_is_told() {
    let cluster = Cluster::start(1).await.unwrap();
    let client = client_of(&cluster, 1).await;
    let worker = Running::start(&client, WorkerOptions::default());
    let waits = client
        .start(Waits::RUN, (), options("waits"))
        .await
        .unwrap();
    let mut told = String::new();
    for _ in 0..100 {
        for event in waits.history().await.unwrap() {
            told = format!("{told}{event:?}");
        }
        if told.contains("TMPRL1101") {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(
        told.contains("not the SDK's") || told.contains("not this SDK's"),
        "{told}"
    );
    waits.terminate("seen").await.unwrap();
    worker.end().await;
}

/// The history of an earlier run, as the command line downloads it; `UPDATE=1` writes it anew.
const ORDER: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/tests/sdk_worker/histories/order.json"
);

fn replayer() -> Replayer {
    let replayer = Replayer::new().workflow::<Greeting>();
    replayer.workflow::<Order>().workflow::<Holiday>()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_history_is_replayed_to_its_end_and_in_parts() {
    let cluster = Cluster::start(1).await.unwrap();
    let client = client_of(&cluster, 1).await;
    let worker = Running::start(&client, WorkerOptions::default());
    an_order_ends_as_its_parts_say(&client).await;
    worker.end().await;
    let order = client.workflow_of(Order::RUN, "order");
    let history = History::from_events(order.history().await.unwrap()).unwrap();
    replayer().replay(&history).await.unwrap();
    // As if it had been read while the workflow ran.
    let (mut parts, mut halves) = (0, 0);
    for (index, event) in history.events.iter().enumerate() {
        let part = History::from_events(history.events[..=index].to_vec()).unwrap();
        match event.event_type() {
            EventType::WorkflowTaskScheduled | EventType::WorkflowTaskStarted => {
                replayer().replay(&part).await.unwrap();
                parts += 1;
            }
            // What the order asked for in this task comes behind it.
            EventType::WorkflowTaskCompleted => {
                halves += usize::from(replayer().replay(&part).await.is_err());
            }
            _ => {}
        }
    }
    assert!(parts > 8 && halves > 2, "{parts} {halves}");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(ORDER, history.to_json().unwrap()).unwrap();
    }
}

#[tokio::test]
async fn a_history_of_before_is_replayed_and_a_change_of_the_code_is_told() {
    let history = History::from_json(&std::fs::read_to_string(ORDER).unwrap()).unwrap();
    replayer().replay(&history).await.unwrap();
    let changed = Replayer::new().workflow::<Changed>().replay(&history).await;
    let told = changed.unwrap_err();
    assert!(matches!(told, ReplayError::Different(_)), "{told:?}");
    let told = told.to_string();
    for word in ["event 5", "activity", "timer"] {
        assert!(told.to_lowercase().contains(word), "{told}");
    }
    let none = Replayer::new().workflow::<Greeting>();
    let told = none.replay(&history).await.unwrap_err().to_string();
    assert!(
        told.contains("`Order`") && told.contains("known: "),
        "{told}"
    );
    let mut stuck = history.clone();
    stuck.events.truncate(3);
    let told = Replayer::new().workflow::<Stuck>().replay(&stuck).await;
    assert!(matches!(told, Err(ReplayError::Stuck)), "{told:?}");
}
