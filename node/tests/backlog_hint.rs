//! What a poll's answer says of the backlog. Go's SDK polls only its sticky queue while the answer
//! of that queue says more than zero, so a count of another queue would starve the normal one.

#![expect(clippy::unwrap_used, reason = "a test that fails panics")]

#[path = "parts/options.rs"]
mod options;

use options::options;
use std::time::Duration;
use steadfast::node::Node;
use steadfast_proto::temporal::common::v1::{WorkflowExecution, WorkflowType};
use steadfast_proto::temporal::enums::v1::TaskQueueKind;
use steadfast_proto::temporal::taskqueue::v1::{StickyExecutionAttributes, TaskQueue};
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

fn normal() -> TaskQueue {
    TaskQueue {
        name: "q".into(),
        ..TaskQueue::default()
    }
}

fn sticky() -> TaskQueue {
    TaskQueue {
        name: "one-worker".into(),
        kind: TaskQueueKind::Sticky.into(),
        normal_name: "q".into(),
    }
}

/// A worker and a client.
struct Party(WorkflowServiceClient<Channel>);

impl Party {
    async fn start(&mut self, workflow_id: &str) {
        let start = wire::StartWorkflowExecutionRequest {
            namespace: "default".into(),
            workflow_id: workflow_id.into(),
            workflow_type: Some(WorkflowType { name: "wf".into() }),
            task_queue: Some(normal()),
            ..Default::default()
        };
        self.0
            .start_workflow_execution(request(start))
            .await
            .unwrap();
    }

    async fn signal(&mut self, workflow_id: &str) {
        let signal = wire::SignalWorkflowExecutionRequest {
            namespace: "default".into(),
            workflow_execution: Some(WorkflowExecution {
                workflow_id: workflow_id.into(),
                ..WorkflowExecution::default()
            }),
            signal_name: "s".into(),
            ..Default::default()
        };
        self.0
            .signal_workflow_execution(request(signal))
            .await
            .unwrap();
    }

    async fn poll(&mut self, queue: TaskQueue) -> wire::PollWorkflowTaskQueueResponse {
        let poll = wire::PollWorkflowTaskQueueRequest {
            namespace: "default".into(),
            task_queue: Some(queue),
            ..Default::default()
        };
        let task = self.0.poll_workflow_task_queue(request(poll)).await;
        let task = task.unwrap().into_inner();
        assert!(!task.task_token.is_empty(), "{task:?}");
        task
    }

    async fn keep(&mut self, task: wire::PollWorkflowTaskQueueResponse) {
        let completed = wire::RespondWorkflowTaskCompletedRequest {
            namespace: "default".into(),
            task_token: task.task_token,
            sticky_attributes: Some(StickyExecutionAttributes {
                worker_task_queue: Some(sticky()),
                schedule_to_start_timeout: Some(prost_types::Duration {
                    seconds: 60,
                    nanos: 0,
                }),
            }),
            ..Default::default()
        };
        self.0
            .respond_workflow_task_completed(request(completed))
            .await
            .unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_hint_counts_the_queue_that_was_polled() {
    let folder = tempfile::tempdir().unwrap();
    let node = Node::start(options(folder.path())).await.unwrap();
    let address = format!("http://{}", node.addresses().grpc);
    let mut party = Party(WorkflowServiceClient::connect(address).await.unwrap());
    for workflow_id in ["kept-1", "kept-2"] {
        party.start(workflow_id).await;
        let task = party.poll(normal()).await;
        party.keep(task).await;
    }
    for number in 0..5 {
        party.start(&format!("waits-{number}")).await;
    }
    party.signal("kept-1").await;
    party.signal("kept-2").await;

    party.poll(sticky()).await;
    // The last one of its queue; five more of the normal queue are none of its business.
    let last = party.poll(sticky()).await;
    assert_eq!(last.backlog_count_hint, 0, "{last:?}");
    let of_normal = party.poll(normal()).await;
    assert!(of_normal.backlog_count_hint > 0, "{of_normal:?}");
    node.stop().await;
}
