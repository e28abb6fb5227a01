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
    /// The digests of this node's newest complete marks.
    fn digests(&self) -> Vec<wire::MarkDigest>;
}

/// Why an operator's wish was not fulfilled.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AdminError {
    /// Another node leads; its gRPC address when known, else empty.
    #[error("this node does not lead; ask the leader at {0}")]
    NotLeader(String),
    /// The wish makes no sense now.
    #[error("{0}")]
    Refused(String),
    /// It may or may not have happened.
    #[error("{0}")]
    Unknown(String),
}

fn failed(error: AdminError) -> Status {
    let message = error.to_string();
    match error {
        AdminError::NotLeader(_) | AdminError::Refused(_) => Status::failed_precondition(message),
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
