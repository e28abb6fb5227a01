//! openraft's network traits over our lanes.

use crate::append_session::AppendLane;
use crate::apply_thread::ApplyMode;
use crate::handshake::Target;
use crate::link::Links;
use crate::peer::{NodeId, Peer};
use crate::snapshot_send;
use crate::state_machine::SnapshotData;
use crate::transport::{Lane, LinkError};
use crate::types::{Snapshot, Types, Vote};
use crate::wire;
use futures::{Stream, StreamExt, stream};
use openraft::OptionalSend;
use openraft::base::{BoxFuture, BoxStream};
use openraft::errors::{
    NetworkError, RPCError, ReplicationClosed, StreamingError, Timeout, Unreachable,
};
use openraft::network::{
    Backoff, NetBackoff, NetSnapshot, NetStreamAppend, NetTransferLeader, NetVote, RPCOption,
    RPCTypes, RaftNetworkFactory,
};
use openraft::raft::{
    AppendEntriesRequest, SnapshotResponse, StreamAppendResult, TransferLeaderRequest,
    TransferLeaderResponse, VoteRequest, VoteResponse,
};
use proto::answer::Answer;
use proto::call::Call;
use std::time::Duration;
use steadfast_proto::internal::raft::v1 as proto;

/// Makes the clients of peers; connecting is left to their first use.
#[derive(Debug, Clone)]
pub(crate) struct Network {
    pub(crate) links: Links,
    pub(crate) mode: ApplyMode,
    /// Bytes per second that a snapshot may take from the disk and the wire.
    pub(crate) snapshot_rate: u64,
}

impl Network {
    /// Sends a snapshot that replaces a peer's wrong state.
    pub(crate) async fn rebuild(
        &self,
        target: &Target,
        vote: Vote,
        snapshot: Snapshot,
    ) -> Result<(), LinkError> {
        snapshot_send::send(self, target, vote, snapshot, true)
            .await
            .map(|_| ())
    }

    fn client(&self, target: NodeId, peer: &Peer, lane: Lane) -> PeerClient {
        let target = Target {
            node_id: target,
            address: peer.raft_address.clone(),
            node_uuid: peer.node_uuid,
        };
        let append = AppendLane::new(self.links.clone(), target.clone());
        PeerClient {
            network: self.clone(),
            target,
            lane,
            append,
        }
    }
}

impl RaftNetworkFactory<Types> for Network {
    type Network = PeerClient;

    async fn new_client(&mut self, target: NodeId, peer: &Peer) -> PeerClient {
        self.client(target, peer, Lane::Append)
    }

    async fn new_heartbeat_client(&mut self, target: NodeId, peer: &Peer) -> PeerClient {
        self.client(target, peer, Lane::Control)
    }

    async fn new_snapshot_client(&mut self, target: NodeId, peer: &Peer) -> PeerClient {
        self.client(target, peer, Lane::Snapshot)
    }
}

/// One peer, as one of openraft's tasks sees it.
#[derive(Debug)]
pub(crate) struct PeerClient {
    network: Network,
    target: Target,
    /// What the task is for: entries go by the append lane, heartbeats by the control lane.
    lane: Lane,
    append: AppendLane,
}

type AppendStream<'s> = BoxStream<'s, Result<StreamAppendResult<Types>, RPCError<Types>>>;

impl PeerClient {
    async fn call(
        &self,
        call: Call,
        action: RPCTypes,
        deadline: Duration,
    ) -> Result<Answer, RPCError<Types>> {
        let answer = self.network.links.call(&self.target, call, deadline).await;
        answer.map_err(|error| self.error(action, error))
    }

    fn error(&self, action: RPCTypes, error: LinkError) -> RPCError<Types> {
        rpc_error(
            self.network.links.identity.node_id,
            self.target.node_id,
            action,
            error,
        )
    }

    fn protocol(&self, action: RPCTypes) -> RPCError<Types> {
        self.error(
            action,
            LinkError::Protocol("an answer of the wrong kind".to_owned()),
        )
    }

    async fn heartbeat(
        &self,
        request: AppendEntriesRequest<Types>,
        deadline: Duration,
    ) -> Result<StreamAppendResult<Types>, RPCError<Types>> {
        let action = RPCTypes::AppendEntries;
        let call = Call::Heartbeat(wire::append_to(0, 0, request));
        match self.call(call, action, deadline).await? {
            Answer::Heartbeat(appended) => {
                wire::appended_from(appended).map_err(|error| self.error(action, error))
            }
            Answer::Vote(_)
            | Answer::TransferLeader(_)
            | Answer::Exchange(_)
            | Answer::Join(_)
            | Answer::Failed(_) => Err(self.protocol(action)),
        }
    }

    async fn ask_vote(
        &self,
        call: Call,
        option: &RPCOption,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        match self.call(call, RPCTypes::Vote, option.soft_ttl()).await? {
            Answer::Vote(response) => wire::vote_response_from(&response)
                .map_err(|error| self.error(RPCTypes::Vote, error)),
            Answer::Heartbeat(_)
            | Answer::TransferLeader(_)
            | Answer::Exchange(_)
            | Answer::Join(_)
            | Answer::Failed(_) => Err(self.protocol(RPCTypes::Vote)),
        }
    }
}

/// Unreachable makes openraft wait before it tries again; a broken connection is tried at once.
fn rpc_error(id: NodeId, target: NodeId, action: RPCTypes, error: LinkError) -> RPCError<Types> {
    match error {
        LinkError::Unreachable(_) | LinkError::Refused { .. } => {
            RPCError::Unreachable(Unreachable::new(&error))
        }
        LinkError::Timeout(timeout) => RPCError::Timeout(Timeout {
            action,
            id,
            target,
            timeout,
        }),
        LinkError::Broken | LinkError::Failed(_) | LinkError::Protocol(_) | LinkError::Busy => {
            RPCError::Network(NetworkError::new(&error))
        }
    }
}

impl NetBackoff<Types> for PeerClient {
    fn backoff(&self) -> Option<Backoff> {
        None
    }
}

impl NetStreamAppend<Types> for PeerClient {
    fn stream_append<'s, S>(
        &'s mut self,
        mut input: S,
        option: RPCOption,
    ) -> BoxFuture<'s, Result<AppendStream<'s>, RPCError<Types>>>
    where
        S: Stream<Item = AppendEntriesRequest<Types>> + OptionalSend + Unpin + 'static,
    {
        Box::pin(async move {
            if self.lane == Lane::Control {
                let Some(request) = input.next().await else {
                    return Ok(Box::pin(stream::empty()) as AppendStream<'s>);
                };
                let result = self.heartbeat(request, option.hard_ttl()).await;
                return Ok(Box::pin(stream::iter([result])) as AppendStream<'s>);
            }
            let (id, target) = (self.network.links.identity.node_id, self.target.node_id);
            let to_rpc_error = move |error| rpc_error(id, target, RPCTypes::AppendEntries, error);
            let answers = self.append.session(input).await.map_err(to_rpc_error)?;
            let answers = answers.map(move |answer| answer.map_err(to_rpc_error));
            Ok(Box::pin(answers) as AppendStream<'s>)
        })
    }
}

impl NetVote<Types> for PeerClient {
    async fn vote(
        &mut self,
        request: VoteRequest<Types>,
        option: RPCOption,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        self.ask_vote(Call::Vote(wire::vote_request_to(&request)), &option)
            .await
    }

    async fn pre_vote(
        &mut self,
        request: VoteRequest<Types>,
        option: RPCOption,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        self.ask_vote(Call::PreVote(wire::vote_request_to(&request)), &option)
            .await
    }
}

impl NetTransferLeader<Types> for PeerClient {
    async fn transfer_leader(
        &mut self,
        request: TransferLeaderRequest<Types>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<Types>, RPCError<Types>> {
        let action = RPCTypes::TransferLeader;
        let call = Call::TransferLeader(wire::transfer_to(&request));
        match self.call(call, action, option.soft_ttl()).await? {
            Answer::TransferLeader(result) => {
                wire::transfer_result_from(result).map_err(|error| self.error(action, error))
            }
            Answer::Heartbeat(_)
            | Answer::Vote(_)
            | Answer::Exchange(_)
            | Answer::Join(_)
            | Answer::Failed(_) => Err(self.protocol(action)),
        }
    }
}

impl NetSnapshot<Types> for PeerClient {
    type SnapshotData = SnapshotData;

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: Snapshot,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<Types>, StreamingError<Types>> {
        let sent = snapshot_send::send(&self.network, &self.target, vote, snapshot, false);
        tokio::select! {
            sent = sent => match sent {
                Ok(vote) => Ok(SnapshotResponse::new(vote)),
                Err(error) => {
                    tracing::warn!(peer = self.target.node_id, %error, "snapshot not sent");
                    Err(self.error(RPCTypes::InstallSnapshot, error).into())
                }
            },
            closed = cancel => Err(StreamingError::Closed(closed)),
        }
    }
}
