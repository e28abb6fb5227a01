//! The gRPC side of a node: Temporal's services and our own, on one port.
//!
//! ```text
//! connection --> forward (version, size, leader or not) --> service (one line an RPC)
//!                                                            --> validate --> shard (propose, read, poll)
//!                                                            <-- answer, status
//! ```

mod activity_task;
pub mod admin;
mod answer;
mod call;
mod client_version;
mod deliver;
mod execution;
mod forward;
mod history;
mod message;
mod namespace;
mod operator_service;
mod service;
mod status;
mod system;
mod task_queue;
mod token;
mod unimplemented;
mod update;
mod update_with_start;
mod validate;
mod visibility;
mod worker;
mod workflow_task;

pub use admin::{Admin, AdminError, BackupStream};

use self::admin::AdminApi;
use self::forward::ForwardLayer;
use self::service::Service;
use crate::matching::SeenPoller;
use crate::shard::{Class, Poll, Polled, Shard, View};
use bytes::Bytes;
use prost::Message;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use steadfast_engine::effect::AssignedTask;
use steadfast_engine::id::{NamespaceNumber, QueueKey};
use steadfast_engine::mutation::TaskToken;
use steadfast_engine::read::namespace::{self as namespaces, StoredNamespace};
use steadfast_engine::tables::Limits;
use steadfast_engine::{Mutation, Reply};
use steadfast_proto::internal::admin::v1::admin_service_server::AdminServiceServer;
use steadfast_proto::temporal::common::v1::WorkerVersionCapabilities;
use steadfast_proto::temporal::enums::v1::NamespaceState;
use steadfast_proto::temporal::operatorservice::v1::operator_service_server::{
    OperatorService, OperatorServiceServer,
};
use steadfast_proto::temporal::taskqueue::v1::PollerInfo;
use steadfast_proto::temporal::workflowservice::v1::workflow_service_server::{
    WorkflowService, WorkflowServiceServer,
};
use tokio::net::TcpListener;
use tokio::time::Instant;
use tonic::Status;
use tonic::codec::CompressionEncoding;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;

/// The version of Temporal's server that clients may take us for.
pub const SERVER_VERSION: &str = "1.32.0";
/// Messages from clients are at most this long, decompressed (gRPC's default receive limit).
pub const MESSAGE_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Calls at once on one connection; workers hold a few polls each, other nodes forward theirs.
const STREAMS_MAX: u32 = 10_000;
/// Streams of a connection that clients may have reset before we took them: polls are cancelled
/// in bulk when a worker stops.
const RESET_STREAMS_MAX: usize = 2_000;
/// A client's side that is silent for this long is asked for a sign of life, and left after as much.
const KEEP_ALIVE: Duration = Duration::from_secs(60);
const KEEP_ALIVE_ANSWER: Duration = Duration::from_secs(20);

/// Why the gRPC port stopped being served.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// Accepting connections failed for good.
    #[error("gRPC: {0}")]
    Transport(#[from] tonic::transport::Error),
    /// The descriptors that reflection tells are not readable.
    #[error("gRPC reflection: {0}")]
    Reflection(#[from] tonic_reflection::server::Error),
}

/// Serves the gRPC port until `shutdown`, then lets calls that are under way finish.
///
/// # Errors
/// [`ServeError`] when nothing can be served, or accepting connections failed for good.
pub async fn serve(
    shard: Shard,
    admin: Arc<dyn Admin>,
    listener: TcpListener,
    shutdown: impl Future<Output = ()>,
) -> Result<(), ServeError> {
    let api = Arc::new(Api { shard });
    let service = Service(api.clone());
    let workflow = WorkflowServiceServer::new(service.clone())
        .accept_compressed(CompressionEncoding::Gzip)
        .send_compressed(CompressionEncoding::Gzip)
        .max_decoding_message_size(MESSAGE_BYTES_MAX);
    let operator = OperatorServiceServer::new(service)
        .accept_compressed(CompressionEncoding::Gzip)
        .max_decoding_message_size(MESSAGE_BYTES_MAX);
    let admin = AdminServiceServer::new(AdminApi {
        api: api.clone(),
        admin,
    });
    // Java connects only when the service it wants says SERVING. A node serves as long as it is
    // there: it forwards what it can't answer.
    let (health_reporter, health) = tonic_health::server::health_reporter();
    health_reporter
        .set_serving::<WorkflowServiceServer<Service>>()
        .await;
    health_reporter
        .set_serving::<OperatorServiceServer<Service>>()
        .await;
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(steadfast_proto::TEMPORAL_DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    Server::builder()
        .tcp_nodelay(true)
        .http2_keepalive_interval(Some(KEEP_ALIVE))
        .http2_keepalive_timeout(Some(KEEP_ALIVE_ANSWER))
        .max_concurrent_streams(Some(STREAMS_MAX))
        .http2_max_pending_accept_reset_streams(Some(RESET_STREAMS_MAX))
        .initial_stream_window_size(Some(1024 * 1024))
        .initial_connection_window_size(Some(16 * 1024 * 1024))
        .layer(ForwardLayer::new(api))
        .add_service(health)
        .add_service(reflection().build_v1()?)
        .add_service(reflection().build_v1alpha()?)
        .add_service(admin)
        .add_service(operator)
        .add_service(workflow)
        .serve_with_incoming_shutdown(
            TcpIncoming::from(listener).with_nodelay(Some(true)),
            shutdown,
        )
        .await?;
    Ok(())
}

/// The services of a node as they take decoded requests, without a port, without forwarding: for a
/// simulation, whose clients find the leader themselves.
#[must_use]
pub fn services(shard: Shard) -> impl WorkflowService + OperatorService + Clone {
    Service(Arc::new(Api { shard }))
}

/// What all handlers work with.
#[derive(Debug)]
pub(crate) struct Api {
    pub(crate) shard: Shard,
}

/// In which states a namespace takes a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Need {
    /// New workflows.
    Registered,
    /// Everything else: a deprecated one will do.
    Open,
}

/// The namespace beside a token.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Named(Option<NamespaceNumber>);

impl Named {
    /// A token's namespace must be the request's, when that names one.
    pub(crate) fn fence(self, token: NamespaceNumber) -> Result<(), Status> {
        if self.0.is_none_or(|named| named == token) {
            return Ok(());
        }
        Err(status::invalid(
            "Operation requested with a token from a different namespace.",
        ))
    }
}

impl Api {
    /// The namespace that a request names. A name that this node's state does not have is looked up
    /// again in the newest state before it counts as unknown.
    pub(crate) async fn namespace(
        &self,
        name: &str,
        need: Need,
    ) -> Result<StoredNamespace, Status> {
        if name.is_empty() {
            return Err(status::invalid("Namespace is empty."));
        }
        let seen = namespaces::by_name(&self.shard.view(), name)
            .map_err(|broken| status::fault(&broken))?;
        let found = match seen {
            Some(found) => found,
            None => {
                validate::id_length(name, "Namespace", &self.limits()?)?;
                namespaces::by_name(&self.read().await?, name)
                    .map_err(|broken| status::fault(&broken))?
                    .ok_or_else(|| status::namespace_not_found(name))?
            }
        };
        let takes = match NamespaceState::try_from(found.state) {
            Ok(NamespaceState::Registered) => true,
            Ok(NamespaceState::Deprecated) => need == Need::Open,
            Ok(NamespaceState::Deleted | NamespaceState::Unspecified) | Err(_) => false,
        };
        if takes {
            return Ok(found);
        }
        Err(status::namespace_invalid_state(
            name.to_owned(),
            found.state,
            need == Need::Registered,
        ))
    }

    /// The namespace that a request with a token names, if it does.
    pub(crate) async fn named(&self, name: &str) -> Result<Named, Status> {
        if name.is_empty() {
            return Ok(Named(None));
        }
        Ok(Named(Some(self.namespace(name, Need::Open).await?.number)))
    }

    /// The limits in force on this node.
    pub(crate) fn limits(&self) -> Result<Limits, Status> {
        namespaces::limits(&self.shard.view()).map_err(|broken| status::fault(&broken))
    }

    /// A view that holds everything that was acknowledged before the call.
    pub(crate) async fn read(&self) -> Result<View, Status> {
        self.shard.read().await.map_err(status::unavailable)
    }

    /// Proposes, and waits for the reply.
    pub(crate) async fn propose(&self, class: Class, mutation: Mutation) -> Result<Reply, Status> {
        self.shard
            .propose(class, mutation)
            .await
            .map_err(status::unavailable)?
            .map_err(status::refused)
    }

    /// Proposes what has nothing to say but that it is done.
    pub(crate) async fn done(&self, class: Class, mutation: Mutation) -> Result<(), Status> {
        self.propose(class, mutation).await.map(drop)
    }

    /// Waits for a task; `None` when there was none in time.
    pub(crate) async fn poll(
        &self,
        poll: Poll,
        deadline: Instant,
    ) -> Result<Option<Polled>, Status> {
        self.shard
            .poll(poll, deadline)
            .await
            .map_err(status::unavailable)
    }

    /// A random UUID.
    pub(crate) fn uuid(&self) -> String {
        self.shard.uuid()
    }

    /// Who polled a queue lately.
    pub(crate) fn pollers(&self, queue: &QueueKey) -> Vec<PollerInfo> {
        self.shard
            .matching()
            .pollers(queue)
            .into_iter()
            .map(poller_info)
            .collect()
    }

    /// The encoded answer of a poll whose task this node's own apply has handed over.
    pub(crate) fn delivered(&self, task: AssignedTask) -> Result<(Bytes, TaskToken), Status> {
        let view = self.shard.view();
        let (message, token) = match task {
            AssignedTask::Workflow(task) => {
                let events = if task.sticky {
                    answer::Events::New
                } else {
                    answer::Events::All
                };
                let answer = answer::workflow_task(
                    &view,
                    &task,
                    events,
                    BTreeMap::new(),
                    self.shard.matching(),
                )?;
                (answer.unwrap_or_default().encode_to_vec(), task.token)
            }
            AssignedTask::Activity(task) => {
                let answer = answer::activity_task(&view, &task, true)?;
                (answer.unwrap_or_default().encode_to_vec(), task.token)
            }
        };
        Ok((message.into(), token))
    }

    /// A reply that does not belong to its mutation: a bug of ours.
    pub(crate) fn unexpected(reply: &Reply) -> Status {
        tracing::error!(?reply, "a mutation got a reply of another kind");
        Status::internal("unexpected reply")
    }
}

#[expect(deprecated, reason = "the field that shows a build id")]
fn poller_info(poller: SeenPoller) -> PollerInfo {
    let version = poller.worker;
    PollerInfo {
        last_access_time: Some(poller.last_access.to_proto()),
        identity: poller.identity,
        rate_per_second: 100_000.0,
        worker_version_capabilities: (!version.build_id.is_empty()).then_some(
            WorkerVersionCapabilities {
                build_id: version.build_id,
                use_versioning: version.use_versioning,
                deployment_series_name: version.deployment_name,
            },
        ),
        ..Default::default()
    }
}
