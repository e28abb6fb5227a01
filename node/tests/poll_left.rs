//! A worker that goes away between the claim of its task and the answer's last byte: the task goes
//! back, and the next poll gets it as if nothing had happened.

#![expect(clippy::unwrap_used, reason = "a test that fails panics")]

#[path = "parts/as_bytes.rs"]
mod as_bytes;
#[path = "parts/options.rs"]
mod options;

use as_bytes::AsBytes;
use bytes::Bytes;
use options::options;
use prost::Message;
use std::time::Duration;
use steadfast::node::Node;
use steadfast_proto::temporal::command::v1::command::Attributes;
use steadfast_proto::temporal::command::v1::{Command, ScheduleActivityTaskCommandAttributes};
use steadfast_proto::temporal::common::v1::{ActivityType, WorkflowType};
use steadfast_proto::temporal::enums::v1::CommandType;
use steadfast_proto::temporal::taskqueue::v1::TaskQueue;
use steadfast_proto::temporal::workflowservice::v1 as wire;
use steadfast_proto::temporal::workflowservice::v1::workflow_service_client::WorkflowServiceClient;
use tonic::Request;
use tonic::transport::Channel;

const DEADLINE: Duration = Duration::from_secs(20);

fn request<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(DEADLINE);
    request
}

fn queue() -> Option<TaskQueue> {
    Some(TaskQueue {
        name: "q".into(),
        ..TaskQueue::default()
    })
}

/// Polls as a worker that takes the head of the answer, which comes with a task, but not one byte
/// of its body; then it goes away.
async fn poll_and_leave(address: &str, method: &str, message: impl Message) {
    let endpoint = Channel::from_shared(format!("http://{address}")).unwrap();
    // No window: the server may not send any of a body.
    let channel = endpoint.initial_stream_window_size(0).connect().await;
    let mut client = tonic::client::Grpc::new(channel.unwrap());
    client.ready().await.unwrap();
    let path = format!("/temporal.api.workflowservice.v1.WorkflowService/{method}");
    let path = http::uri::PathAndQuery::try_from(path).unwrap();
    let message = request(Bytes::from(message.encode_to_vec()));
    let head = client.server_streaming(message, path, AsBytes).await;
    drop(head.unwrap());
}

fn workflow_poll() -> wire::PollWorkflowTaskQueueRequest {
    wire::PollWorkflowTaskQueueRequest {
        namespace: "default".into(),
        task_queue: queue(),
        ..Default::default()
    }
}

fn activity_poll() -> wire::PollActivityTaskQueueRequest {
    wire::PollActivityTaskQueueRequest {
        namespace: "default".into(),
        task_queue: queue(),
        ..Default::default()
    }
}

fn schedule_activity() -> Command {
    let attributes = ScheduleActivityTaskCommandAttributes {
        activity_id: "a".into(),
        activity_type: Some(ActivityType { name: "act".into() }),
        task_queue: queue(),
        start_to_close_timeout: Some(prost_types::Duration {
            seconds: 60,
            nanos: 0,
        }),
        ..Default::default()
    };
    let attributes = Attributes::ScheduleActivityTaskCommandAttributes(attributes);
    Command {
        command_type: CommandType::ScheduleActivityTask.into(),
        attributes: Some(attributes),
        ..Default::default()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_whose_answer_was_not_written_goes_to_the_next_poller() {
    let folder = tempfile::tempdir().unwrap();
    let node = Node::start(options(folder.path())).await.unwrap();
    let address = node.addresses().grpc.clone();
    let client = WorkflowServiceClient::connect(format!("http://{address}")).await;
    let mut client = client.unwrap();
    let start = wire::StartWorkflowExecutionRequest {
        namespace: "default".into(),
        workflow_id: "w".into(),
        workflow_type: Some(WorkflowType { name: "wf".into() }),
        task_queue: queue(),
        ..Default::default()
    };
    client
        .start_workflow_execution(request(start))
        .await
        .unwrap();

    poll_and_leave(&address, "PollWorkflowTaskQueue", workflow_poll()).await;
    let task = client
        .poll_workflow_task_queue(request(workflow_poll()))
        .await;
    let task = task.unwrap().into_inner();
    assert_eq!(task.attempt, 1, "{task:?}");
    assert!(!task.task_token.is_empty(), "{task:?}");
    assert_eq!(node.shard().telemetry().returned.get(), 1);

    let completed = wire::RespondWorkflowTaskCompletedRequest {
        task_token: task.task_token,
        commands: vec![schedule_activity()],
        namespace: "default".into(),
        ..Default::default()
    };
    let completed = client.respond_workflow_task_completed(request(completed));
    completed.await.unwrap();

    poll_and_leave(&address, "PollActivityTaskQueue", activity_poll()).await;
    let task = client
        .poll_activity_task_queue(request(activity_poll()))
        .await;
    let task = task.unwrap().into_inner();
    assert_eq!(
        (task.activity_id.as_str(), task.attempt),
        ("a", 1),
        "{task:?}"
    );
    assert_eq!(node.shard().telemetry().returned.get(), 2);
    node.stop().await;
}
