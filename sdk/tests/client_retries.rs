//! Calls against servers that fail: what is repeated, and what is not.

#![expect(clippy::unwrap_used, reason = "a failing step of a test ends it")]

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use steadfast_proto::temporal::workflowservice::v1 as wire;
use steadfast_proto::temporal::workflowservice::v1::workflow_service_server::{
    WorkflowService, WorkflowServiceServer,
};
use steadfast_sdk::client::{CallError, RetryOptions, StartError};
use steadfast_sdk::{Client, ClientOptions, RawClient, StartOptions, Workflow};
use tokio::net::TcpListener;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Code, Request, Response, Status};

const WORKFLOW: Workflow<(), u8, u8> = Workflow::named("Order");

/// A server that fails starts as it is told, and keeps their request ids.
#[derive(Clone, Default)]
struct Failing {
    failures: Arc<Mutex<VecDeque<Code>>>,
    request_ids: Arc<Mutex<Vec<String>>>,
}

#[tonic::async_trait]
impl WorkflowService for Failing {
    async fn start_workflow_execution(
        &self,
        request: Request<wire::StartWorkflowExecutionRequest>,
    ) -> Result<Response<wire::StartWorkflowExecutionResponse>, Status> {
        let request_id = request.into_inner().request_id;
        self.request_ids.lock().unwrap().push(request_id);
        match self.failures.lock().unwrap().pop_front() {
            Some(code) => Err(Status::new(code, "as told")),
            None => Ok(Response::new(wire::StartWorkflowExecutionResponse {
                run_id: "r".to_string(),
                started: true,
                ..Default::default()
            })),
        }
    }
}

impl Failing {
    /// Serves at an address of its own.
    async fn serve(failures: &[Code]) -> (Self, String) {
        let server = Self {
            failures: Arc::new(Mutex::new(failures.iter().copied().collect())),
            ..Self::default()
        };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let service = WorkflowServiceServer::new(server.clone());
        let serving = Server::builder()
            .add_service(service)
            .serve_with_incoming(TcpIncoming::from(listener));
        tokio::spawn(serving);
        (server, address)
    }

    fn tries(&self) -> Vec<String> {
        self.request_ids.lock().unwrap().clone()
    }
}

async fn start(addresses: &[String]) -> Result<String, StartError> {
    let raw = RawClient::new(addresses, "default", addresses.len()).unwrap();
    let retry = RetryOptions {
        initial_interval: Duration::from_millis(1),
        maximum_interval: Duration::from_millis(20),
        maximum_elapsed: Duration::from_secs(2),
        ..RetryOptions::default()
    };
    let client = Client::new(raw, ClientOptions::new().retry(retry));
    let options = StartOptions::new("order-7", "orders");
    let handle = client.start(WORKFLOW, 1, options).await?;
    Ok(handle.run_id().unwrap().to_string())
}

#[tokio::test]
async fn what_passes_is_tried_again_under_the_same_request_id() {
    let failures = [
        Code::Unavailable,
        Code::ResourceExhausted,
        Code::Aborted,
        Code::Internal,
        Code::Unknown,
    ];
    let (server, address) = Failing::serve(&failures).await;
    assert_eq!(start(&[address]).await.unwrap(), "r");
    let tries = server.tries();
    assert_eq!(tries.len(), failures.len() + 1);
    assert!(tries.iter().all(|id| !id.is_empty() && *id == tries[0]));
}

#[tokio::test]
async fn a_no_is_given_to_the_caller_at_once() {
    for code in [
        Code::InvalidArgument,
        Code::NotFound,
        Code::PermissionDenied,
        Code::DeadlineExceeded,
    ] {
        let (server, address) = Failing::serve(&[code]).await;
        match start(&[address]).await {
            Err(StartError::Call(CallError::Rpc(status))) => assert_eq!(status.code(), code),
            other => panic!("{other:?}"),
        }
        assert_eq!(server.tries().len(), 1);
    }
}

#[tokio::test]
async fn a_server_that_stays_unavailable_is_given_up_in_time() {
    let (server, address) = Failing::serve(&[Code::Unavailable; 10_000]).await;
    let before = tokio::time::Instant::now();
    let error = start(&[address]).await.unwrap_err();
    assert!(error.to_string().contains("as told"), "{error}");
    assert!(before.elapsed() < Duration::from_secs(30));
    let tries = server.tries().len();
    assert!((10..10_000).contains(&tries), "{tries}");
}

#[tokio::test]
async fn another_address_takes_over() {
    let (down, first) = Failing::serve(&[Code::Unavailable; 10_000]).await;
    let (up, second) = Failing::serve(&[]).await;
    assert_eq!(start(&[first, second]).await.unwrap(), "r");
    assert_eq!((down.tries().len(), up.tries().len()), (1, 1));
    assert_eq!(down.tries(), up.tries());
}
