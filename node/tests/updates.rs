//! Updates on a real node of one member, over its gRPC port: accepted, rejected, still waiting over
//! a restart, and aborted by the close of the workflow.

#![expect(clippy::unwrap_used, reason = "a test that fails panics")]

#[path = "parts/options.rs"]
mod options;

use options::options;
use prost::{Message as _, Name};
use std::path::Path;
use std::time::Duration;
use steadfast::node::Node;
use steadfast_proto::temporal::common::v1::{WorkflowExecution, WorkflowType};
use steadfast_proto::temporal::enums::v1::UpdateWorkflowExecutionLifecycleStage as Stage;
use steadfast_proto::temporal::failure::v1::Failure;
use steadfast_proto::temporal::history::v1::History;
use steadfast_proto::temporal::protocol::v1::Message;
use steadfast_proto::temporal::taskqueue::v1::TaskQueue;
use steadfast_proto::temporal::update::v1::outcome::Value;
use steadfast_proto::temporal::update::v1::{
    Acceptance, Input, Meta, Outcome, Rejection, Request as UpdateRequest, Response, UpdateRef,
    WaitPolicy,
};
use steadfast_proto::temporal::workflowservice::v1 as wire;
use steadfast_proto::temporal::workflowservice::v1::workflow_service_client::WorkflowServiceClient;
use tokio::task::JoinHandle;
use tonic::transport::Channel;
use tonic::{Code, Request, Status};

type Client = WorkflowServiceClient<Channel>;
type Answer = Result<wire::UpdateWorkflowExecutionResponse, Status>;

/// Long enough for a slow machine.
const PATIENCE: Duration = Duration::from_secs(60);

async fn start(dir: &Path) -> (Node, Client) {
    let node = Node::start(options(dir)).await.unwrap();
    let address = format!("http://{}", node.addresses().grpc);
    (node, Client::connect(address).await.unwrap())
}

async fn stop(node: Node) {
    let stopped = tokio::time::timeout(PATIENCE, node.stop()).await;
    stopped.expect("stops in time");
}

fn timed<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(PATIENCE);
    request
}

fn queue() -> Option<TaskQueue> {
    Some(TaskQueue {
        name: "q".into(),
        ..TaskQueue::default()
    })
}

fn execution() -> Option<WorkflowExecution> {
    Some(WorkflowExecution {
        workflow_id: "w".into(),
        run_id: String::new(),
    })
}

async fn start_workflow(client: &mut Client) {
    let request = wire::StartWorkflowExecutionRequest {
        namespace: "default".into(),
        workflow_id: "w".into(),
        workflow_type: Some(WorkflowType { name: "wf".into() }),
        task_queue: queue(),
        ..Default::default()
    };
    client
        .start_workflow_execution(timed(request))
        .await
        .unwrap();
}

fn update(client: &Client, update_id: &str) -> JoinHandle<Answer> {
    let request = wire::UpdateWorkflowExecutionRequest {
        namespace: "default".into(),
        workflow_execution: execution(),
        request: Some(UpdateRequest {
            meta: Some(Meta {
                update_id: update_id.into(),
                identity: "c".into(),
            }),
            input: Some(Input {
                name: "set".into(),
                ..Input::default()
            }),
            ..UpdateRequest::default()
        }),
        ..Default::default()
    };
    let mut client = client.clone();
    tokio::spawn(async move {
        let answer = client.update_workflow_execution(timed(request)).await;
        answer.map(tonic::Response::into_inner)
    })
}

async fn stage(client: &mut Client, update_id: &str, wanted: Stage) -> Result<Stage, Status> {
    let request = wire::PollWorkflowExecutionUpdateRequest {
        namespace: "default".into(),
        update_ref: Some(UpdateRef {
            workflow_execution: execution(),
            update_id: update_id.into(),
        }),
        wait_policy: Some(WaitPolicy {
            lifecycle_stage: wanted.into(),
        }),
        ..Default::default()
    };
    let polled = client
        .poll_workflow_execution_update(timed(request))
        .await?;
    Ok(Stage::try_from(polled.into_inner().stage).unwrap())
}

async fn poll(client: &mut Client) -> wire::PollWorkflowTaskQueueResponse {
    let request = wire::PollWorkflowTaskQueueRequest {
        namespace: "default".into(),
        task_queue: queue(),
        ..Default::default()
    };
    let polled = client.poll_workflow_task_queue(timed(request)).await;
    polled.unwrap().into_inner()
}

async fn complete(client: &mut Client, task_token: bytes::Bytes, messages: Vec<Message>) {
    let request = wire::RespondWorkflowTaskCompletedRequest {
        namespace: "default".into(),
        task_token,
        messages,
        ..Default::default()
    };
    client
        .respond_workflow_task_completed(timed(request))
        .await
        .unwrap();
}

fn message<M: prost::Message + Name>(update_id: &str, body: &M) -> Message {
    Message {
        id: format!("{update_id}/{}", M::NAME),
        protocol_instance_id: update_id.into(),
        body: Some(prost_types::Any {
            type_url: format!("type.googleapis.com/{}", M::full_name()),
            value: body.encode_to_vec(),
        }),
        sequencing_id: None,
    }
}

fn response(update_id: &str) -> Message {
    let response = Response {
        meta: Some(Meta {
            update_id: update_id.into(),
            identity: "c".into(),
        }),
        outcome: Some(Outcome {
            value: Some(Value::Success(Default::default())),
        }),
    };
    message(update_id, &response)
}

async fn events(client: &mut Client) -> usize {
    let request = wire::GetWorkflowExecutionHistoryRequest {
        namespace: "default".into(),
        execution: execution(),
        ..Default::default()
    };
    let history = client.get_workflow_execution_history(timed(request)).await;
    let history = history.unwrap().into_inner().history;
    History::decode(history).unwrap().events.len()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[expect(clippy::too_many_lines, reason = "one story, told in order")]
async fn updates_are_answered_once_and_outlive_the_node() {
    let dir = tempfile::tempdir().unwrap();
    let (node, mut client) = start(dir.path()).await;
    start_workflow(&mut client).await;
    let task = poll(&mut client).await;
    complete(&mut client, task.task_token, Vec::new()).await;

    let asked = update(&client, "yes");
    let task = poll(&mut client).await;
    assert_eq!(task.messages[0].id, "yes/request");
    let answers = vec![message("yes", &Acceptance::default()), response("yes")];
    complete(&mut client, task.task_token, answers).await;
    let answer = asked.await.unwrap().unwrap();
    assert_eq!(answer.stage, i32::from(Stage::Completed));
    assert_eq!(
        stage(&mut client, "yes", Stage::Completed).await.unwrap(),
        Stage::Completed
    );

    let before = events(&mut client).await;
    let asked = update(&client, "no");
    let task = poll(&mut client).await;
    let rejection = Rejection {
        failure: Some(Failure {
            message: "not now".into(),
            ..Failure::default()
        }),
        ..Rejection::default()
    };
    complete(
        &mut client,
        task.task_token,
        vec![message("no", &rejection)],
    )
    .await;
    match asked.await.unwrap().unwrap().outcome.unwrap().value {
        Some(Value::Failure(failure)) => assert_eq!(failure.message, "not now"),
        other => panic!("{other:?}"),
    }
    let gone = stage(&mut client, "no", Stage::Completed).await;
    assert_eq!(gone.unwrap_err().code(), Code::NotFound);
    // The task told of events that came after the last completed one, so its own are written.
    assert_eq!(events(&mut client).await, before + 3);

    // A worker has this one when the node stops.
    let asked = update(&client, "later");
    let task = poll(&mut client).await;
    assert_eq!(task.messages.len(), 1);
    drop(client);
    stop(node).await;
    let told = asked.await.unwrap();
    assert!(told.is_err() || told.unwrap().stage == i32::from(Stage::Admitted));

    let (node, mut client) = start(dir.path()).await;
    let at = stage(&mut client, "later", Stage::Admitted).await.unwrap();
    assert_eq!(at, Stage::Admitted);
    let again = update(&client, "later");
    let answers = vec![message("later", &Acceptance::default()), response("later")];
    complete(&mut client, task.task_token, answers).await;
    let answer = again.await.unwrap().unwrap();
    assert_eq!(answer.stage, i32::from(Stage::Completed));

    let asked = update(&client, "late");
    while stage(&mut client, "late", Stage::Admitted).await.is_err() {
        tokio::task::yield_now().await;
    }
    let request = wire::TerminateWorkflowExecutionRequest {
        namespace: "default".into(),
        workflow_execution: execution(),
        ..Default::default()
    };
    client
        .terminate_workflow_execution(timed(request))
        .await
        .unwrap();
    let aborted = asked.await.unwrap().unwrap_err();
    assert_eq!(
        (aborted.code(), aborted.message()),
        (
            Code::NotFound,
            "workflow update was aborted by closing workflow"
        )
    );
    drop(client);
    stop(node).await;
}
