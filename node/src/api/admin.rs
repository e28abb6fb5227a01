//! Our own AdminService: what operators and tests ask of one node.

use super::status::{fault, refused};
use super::{Api, validate};
use bytes::{Bytes, BytesMut};
use std::sync::Arc;
use steadfast_engine::read::history::{self, PAGE_BATCHES_MAX};
use steadfast_engine::read::{namespace, resolve};
use steadfast_proto::internal::admin::v1 as wire;
use steadfast_proto::internal::admin::v1::admin_service_server::AdminService;
use steadfast_proto::temporal::common::v1::WorkflowExecution;
use tonic::codegen::BoxStream;
use tonic::{Request, Response, Status};

/// What the node behind the service knows and can change of the cluster.
#[tonic::async_trait]
pub trait Admin: std::fmt::Debug + Send + Sync + 'static {
    /// What this node knows of the cluster.
    async fn status(&self) -> wire::StatusResponse;
    /// Adds a learner.
    ///
    /// # Errors
    /// A line for the operator.
    async fn add_member(&self, member: wire::Member) -> Result<(), AdminError>;
    /// Makes a caught-up learner a voter.
    ///
    /// # Errors
    /// A line for the operator.
    async fn promote_member(&self, id: u64) -> Result<(), AdminError>;
    /// Takes a member out.
    ///
    /// # Errors
    /// A line for the operator.
    async fn remove_member(&self, id: u64) -> Result<(), AdminError>;
    /// Hands leadership to a voter; 0 means any.
    ///
    /// # Errors
    /// A line for the operator.
    async fn transfer_leader(&self, to: u64) -> Result<(), AdminError>;
    /// Raises the engine version; 0 means as far as all members know. The version in force then.
    ///
    /// # Errors
    /// A line for the operator.
    async fn raise_engine_version(&self, to: u32) -> Result<u32, AdminError>;
    /// Takes a mark that holds everything acknowledged so far; its log index.
    ///
    /// # Errors
    /// A line for the operator.
    async fn take_mark(&self) -> Result<u64, AdminError>;
    /// Streams the files of a mark at `index` or later, at so many bytes a second (0: the default).
    ///
    /// # Errors
    /// A line for the operator.
    async fn back_up(&self, index: u64, bytes_per_second: u64) -> Result<BackupStream, AdminError>;
    /// The digests of this node's newest complete marks.
    fn digests(&self) -> Vec<wire::MarkDigest>;
}

/// The parts of a backup.
pub type BackupStream = BoxStream<wire::BackupPart>;

/// Why an operator's wish was not fulfilled.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AdminError {
    /// Another node leads; its gRPC address when known, else empty.
    #[error("this node does not lead; ask the leader at {0}")]
    NotLeader(String),
    /// The wish makes no sense now.
    #[error("{0}")]
    Refused(String),
    /// Another such wish is being fulfilled.
    #[error("{0}")]
    Busy(String),
    /// It may or may not have happened.
    #[error("{0}")]
    Unknown(String),
}

fn failed(error: AdminError) -> Status {
    let message = error.to_string();
    match error {
        AdminError::NotLeader(_) | AdminError::Refused(_) => Status::failed_precondition(message),
        AdminError::Busy(_) => Status::resource_exhausted(message),
        AdminError::Unknown(_) => Status::unavailable(message),
    }
}

/// The service.
#[derive(Debug, Clone)]
pub(crate) struct AdminApi {
    pub(crate) api: Arc<Api>,
    pub(crate) admin: Arc<dyn Admin>,
}

#[tonic::async_trait]
impl AdminService for AdminApi {
    async fn status(
        &self,
        _: Request<wire::StatusRequest>,
    ) -> Result<Response<wire::StatusResponse>, Status> {
        Ok(Response::new(self.admin.status().await))
    }

    async fn add_member(
        &self,
        request: Request<wire::AddMemberRequest>,
    ) -> Result<Response<wire::AddMemberResponse>, Status> {
        let Some(member) = request.into_inner().member else {
            return Err(Status::invalid_argument("member is not set"));
        };
        self.admin.add_member(member).await.map_err(failed)?;
        Ok(Response::new(wire::AddMemberResponse {}))
    }

    async fn promote_member(
        &self,
        request: Request<wire::PromoteMemberRequest>,
    ) -> Result<Response<wire::PromoteMemberResponse>, Status> {
        self.admin
            .promote_member(request.into_inner().id)
            .await
            .map_err(failed)?;
        Ok(Response::new(wire::PromoteMemberResponse {}))
    }

    async fn remove_member(
        &self,
        request: Request<wire::RemoveMemberRequest>,
    ) -> Result<Response<wire::RemoveMemberResponse>, Status> {
        self.admin
            .remove_member(request.into_inner().id)
            .await
            .map_err(failed)?;
        Ok(Response::new(wire::RemoveMemberResponse {}))
    }

    async fn transfer_leader(
        &self,
        request: Request<wire::TransferLeaderRequest>,
    ) -> Result<Response<wire::TransferLeaderResponse>, Status> {
        self.admin
            .transfer_leader(request.into_inner().to)
            .await
            .map_err(failed)?;
        Ok(Response::new(wire::TransferLeaderResponse {}))
    }

    async fn raise_engine_version(
        &self,
        request: Request<wire::RaiseEngineVersionRequest>,
    ) -> Result<Response<wire::RaiseEngineVersionResponse>, Status> {
        let to = request.into_inner().to;
        let engine_version = self.admin.raise_engine_version(to).await.map_err(failed)?;
        Ok(Response::new(wire::RaiseEngineVersionResponse {
            engine_version,
        }))
    }

    async fn take_mark(
        &self,
        _: Request<wire::TakeMarkRequest>,
    ) -> Result<Response<wire::TakeMarkResponse>, Status> {
        let index = self.admin.take_mark().await.map_err(failed)?;
        Ok(Response::new(wire::TakeMarkResponse { index }))
    }

    async fn backup(
        &self,
        request: Request<wire::BackupRequest>,
    ) -> Result<Response<BackupStream>, Status> {
        let request = request.into_inner();
        let backed_up = self.admin.back_up(request.index, request.bytes_per_second);
        Ok(Response::new(backed_up.await.map_err(failed)?))
    }

    async fn digest(
        &self,
        _: Request<wire::DigestRequest>,
    ) -> Result<Response<wire::DigestResponse>, Status> {
        Ok(Response::new(wire::DigestResponse {
            digests: self.admin.digests(),
        }))
    }

    /// From this node's own applied state, never through the leader.
    async fn local_history(
        &self,
        request: Request<wire::LocalHistoryRequest>,
    ) -> Result<Response<wire::LocalHistoryResponse>, Status> {
        let request = request.into_inner();
        let execution = WorkflowExecution {
            workflow_id: request.workflow_id,
            run_id: request.run_id,
        };
        let target = validate::execution(&request.namespace, Some(&execution))?;
        let view = self.api.shard.view();
        let broken = |broken| fault(&broken);
        let namespace = namespace::by_name(&view, &request.namespace)
            .map_err(broken)?
            .ok_or_else(|| super::status::namespace_not_found(&request.namespace))?;
        let run = resolve(&view, namespace.number, &target.workflow_id, &target.run_id)
            .map_err(broken)?
            .map_err(refused)?;
        let (mut events, mut from) = (BytesMut::new(), 1);
        loop {
            let page = history::forward(&view, &run, from, run.next_event_id - 1, PAGE_BATCHES_MAX)
                .map_err(broken)?;
            events.extend_from_slice(&page.events);
            match page.next {
                Some(next) => from = next,
                None => break,
            }
            tokio::task::yield_now().await;
        }
        Ok(Response::new(wire::LocalHistoryResponse {
            applied: view.applied(),
            run_id: run.run_id.clone(),
            history: Bytes::from(events),
        }))
    }
}
