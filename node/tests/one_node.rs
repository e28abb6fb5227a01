//! A real node of one member, over its gRPC port: the life of a workflow with one activity, a
//! timer, a query, a restart.

#![expect(
    clippy::unwrap_used,
    clippy::too_many_lines,
    reason = "a test that fails panics; one story"
)]

#[path = "parts/options.rs"]
mod options;

use options::options;
use prost::Message;
use std::time::Duration;
use steadfast::node::Node;
use steadfast_proto::temporal::command::v1::command::Attributes;
use steadfast_proto::temporal::command::v1::{
    Command, CompleteWorkflowExecutionCommandAttributes, ScheduleActivityTaskCommandAttributes,
    StartTimerCommandAttributes,
};
use steadfast_proto::temporal::common::v1::{ActivityType, WorkflowExecution, WorkflowType};
use steadfast_proto::temporal::enums::v1::{
    CommandType, EventType, QueryResultType, TaskQueueKind,
};
use steadfast_proto::temporal::history::v1::History;
use steadfast_proto::temporal::query::v1::WorkflowQuery;
use steadfast_proto::temporal::taskqueue::v1::TaskQueue;
use steadfast_proto::temporal::workflowservice::v1 as wire;
use steadfast_proto::temporal::workflowservice::v1::workflow_service_client::WorkflowServiceClient;
use tonic::Request;
use tonic::transport::Channel;

type Client = WorkflowServiceClient<Channel>;

/// Long enough for a slow machine.
const PATIENCE: Duration = Duration::from_secs(20);

async fn start(dir: &std::path::Path) -> (Node, Client) {
    let node = Node::start(options(dir)).await.unwrap();
    let client = Client::connect(format!("http://{}", node.addresses().grpc))
        .await
        .unwrap();
    (node, client)
}

fn with_deadline<T>(message: T, seconds: u64) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(Duration::from_secs(seconds));
    request
}

fn queue() -> Option<TaskQueue> {
    Some(TaskQueue {
        name: "q".into(),
        kind: TaskQueueKind::Normal.into(),
        ..Default::default()
    })
}

fn execution() -> Option<WorkflowExecution> {
    Some(WorkflowExecution {
        workflow_id: "w".into(),
        run_id: String::new(),
    })
}

async fn poll_workflow(mut client: Client) -> wire::PollWorkflowTaskQueueResponse {
    let request = wire::PollWorkflowTaskQueueRequest {
        namespace: "default".into(),
        task_queue: queue(),
        identity: "worker".into(),
        ..Default::default()
    };
    let polled = client
        .poll_workflow_task_queue(with_deadline(request, 20))
        .await
        .unwrap();
    polled.into_inner()
}

async fn poll_activity(mut client: Client) -> wire::PollActivityTaskQueueResponse {
    let request = wire::PollActivityTaskQueueRequest {
        namespace: "default".into(),
        task_queue: queue(),
        identity: "worker".into(),
        ..Default::default()
    };
    client
        .poll_activity_task_queue(with_deadline(request, 20))
        .await
        .unwrap()
        .into_inner()
}

async fn complete(
    client: &mut Client,
    token: bytes::Bytes,
    kind: CommandType,
    attributes: Attributes,
) {
    let command = Command {
        command_type: kind.into(),
        attributes: Some(attributes),
        ..Default::default()
    };
    let request = wire::RespondWorkflowTaskCompletedRequest {
        task_token: token,
        commands: vec![command],
        identity: "worker".into(),
        namespace: "default".into(),
        ..Default::default()
    };
    client
        .respond_workflow_task_completed(request)
        .await
        .unwrap();
}

fn schedule_activity() -> Attributes {
    Attributes::ScheduleActivityTaskCommandAttributes(ScheduleActivityTaskCommandAttributes {
        activity_id: "1".into(),
        activity_type: Some(ActivityType { name: "a".into() }),
        task_queue: queue(),
        start_to_close_timeout: Some(prost_types::Duration {
            seconds: 30,
            nanos: 0,
        }),
        ..Default::default()
    })
}

fn start_timer() -> Attributes {
    Attributes::StartTimerCommandAttributes(StartTimerCommandAttributes {
        timer_id: "t".into(),
        start_to_fire_timeout: Some(prost_types::Duration {
            seconds: 1,
            nanos: 0,
        }),
    })
}

async fn start_workflow(client: &mut Client) {
    let request = wire::StartWorkflowExecutionRequest {
        namespace: "default".into(),
        workflow_id: "w".into(),
        workflow_type: Some(WorkflowType { name: "wf".into() }),
        task_queue: queue(),
        request_id: "r".into(),
        identity: "starter".into(),
        ..Default::default()
    };
    let started = client
        .start_workflow_execution(with_deadline(request, 10))
        .await
        .unwrap();
    assert!(started.into_inner().started);
}

async fn event_types(client: &mut Client) -> Vec<EventType> {
    let request = wire::GetWorkflowExecutionHistoryRequest {
        namespace: "default".into(),
        execution: execution(),
        ..Default::default()
    };
    let response = client
        .get_workflow_execution_history(with_deadline(request, 10))
        .await
        .unwrap()
        .into_inner();
    let history = History::decode(response.history).unwrap();
    history
        .events
        .iter()
        .map(|event| event.event_type())
        .collect()
}

async fn one_life(mut client: Client, node: &Node) {
    // The poll waits before there is a task: its reservation rides with the start.
    let polling = tokio::spawn(poll_workflow(client.clone()));
    start_workflow(&mut client).await;
    let task = polling.await.unwrap();
    assert_eq!(task.started_event_id, 3);

    let activity = tokio::spawn(poll_activity(client.clone()));
    complete(
        &mut client,
        task.task_token,
        CommandType::ScheduleActivityTask,
        schedule_activity(),
    )
    .await;
    let activity = activity.await.unwrap();
    assert_eq!(activity.activity_id, "1");
    let done = wire::RespondActivityTaskCompletedRequest {
        task_token: activity.task_token,
        namespace: "default".into(),
        ..Default::default()
    };
    client.respond_activity_task_completed(done).await.unwrap();

    // This one finds a backlog.
    let task = poll_workflow(client.clone()).await;
    let before = std::time::Instant::now();
    complete(
        &mut client,
        task.task_token,
        CommandType::StartTimer,
        start_timer(),
    )
    .await;
    let task = poll_workflow(client.clone()).await;
    assert!(before.elapsed() >= Duration::from_secs(1), "never early");
    assert_eq!(task.started_event_id, 14);

    // A query on the started task rides with nothing until it ends; then it goes to a poll.
    let close = Attributes::CompleteWorkflowExecutionCommandAttributes(
        CompleteWorkflowExecutionCommandAttributes::default(),
    );
    complete(
        &mut client,
        task.task_token,
        CommandType::CompleteWorkflowExecution,
        close,
    )
    .await;
    let mut asking = client.clone();
    let asked = tokio::spawn(async move {
        let request = wire::QueryWorkflowRequest {
            namespace: "default".into(),
            execution: execution(),
            query: Some(WorkflowQuery {
                query_type: "state".into(),
                ..Default::default()
            }),
            ..Default::default()
        };
        asking
            .query_workflow(with_deadline(request, 10))
            .await
            .unwrap();
    });
    let query = poll_workflow(client.clone()).await;
    assert_eq!(query.query.unwrap().query_type, "state");
    let answer = wire::RespondQueryTaskCompletedRequest {
        task_token: query.task_token,
        completed_type: QueryResultType::Answered.into(),
        namespace: "default".into(),
        ..Default::default()
    };
    client.respond_query_task_completed(answer).await.unwrap();
    asked.await.unwrap();
    assert_eq!(
        event_types(&mut client).await.last(),
        Some(&EventType::WorkflowExecutionCompleted)
    );
    assert!(node.shard().is_leader());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_workflow_lives_and_survives_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let (node, client) = start(dir.path()).await;
    tokio::time::timeout(3 * PATIENCE, one_life(client.clone(), &node))
        .await
        .expect("in time");
    let mut client = client;
    let before = event_types(&mut client).await;
    assert_eq!(before.len(), 16);
    drop(client);
    tokio::time::timeout(PATIENCE, node.stop())
        .await
        .expect("stops in time");

    let (node, mut client) = start(dir.path()).await;
    assert_eq!(event_types(&mut client).await, before);
    drop(client);
    tokio::time::timeout(PATIENCE, node.stop())
        .await
        .expect("stops in time");
}

#[tokio::test]
async fn a_node_that_has_started_can_be_asked_at_once() {
    let dir = tempfile::tempdir().unwrap();
    // On this one thread none of the node's tasks has run yet.
    let node = Node::start(options(dir.path())).await.unwrap();
    drop(node.shard().leadership());
    node.stop().await;
}
