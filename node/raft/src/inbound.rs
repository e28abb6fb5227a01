//! The receiving side of lanes: peers' frames become calls of openraft.

use crate::exchange::{self, Exchanger};
use crate::handshake::{self, Caller, Identity};
use crate::log_store::LogStore;
use crate::membership::{self, MembershipError};
use crate::peer::{NodeId, Peer};
use crate::snapshot_receive;
use crate::state_machine::Machine;
use crate::transport::{LANE_FRAMES, Lane, LinkError, Wire};
use crate::types::{Raft, Runtime, Types};
use crate::wire::{self, Body, frame};
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use openraft::raft::AppendEntriesRequest;
use proto::answer::Answer;
use proto::call::Call;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use steadfast_proto::internal::raft::v1 as proto;
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinSet;
use tokio_stream::wrappers::ReceiverStream;

/// Lanes open to this node at once: three for each of a handful of peers, and their successors
/// while old ones are noticed to be dead.
const MAX_LANES: usize = 256;
/// Calls of one control lane in work.
const MAX_CALLS: usize = 64;

/// Takes lanes that a transport has accepted.
#[derive(Debug, Clone)]
pub struct Inbound {
    shared: Arc<Shared>,
}

/// What lanes are served with.
#[derive(Debug)]
pub(crate) struct Served {
    pub(crate) identity: Arc<Identity>,
    pub(crate) raft: Raft,
    pub(crate) machine: Machine,
    pub(crate) log: LogStore,
    pub(crate) exchanger: Exchanger,
    /// One membership change at a time.
    pub(crate) changing: Arc<tokio::sync::Mutex<()>>,
}

#[derive(Debug)]
struct Shared {
    served: Served,
    runtime: Handle,
    /// Each lane draws its seed from here.
    seeds: AtomicU64,
    lanes: Arc<Semaphore>,
    stopping: watch::Receiver<bool>,
}

impl Inbound {
    pub(crate) fn new(served: Served, seed: u64, stopping: watch::Receiver<bool>) -> Inbound {
        let shared = Shared {
            served,
            runtime: Handle::current(),
            seeds: AtomicU64::new(seed),
            lanes: Arc::new(Semaphore::new(MAX_LANES)),
            stopping,
        };
        Inbound {
            shared: Arc::new(shared),
        }
    }

    /// Serves a lane until either end closes it.
    pub fn accept(&self, wire: Wire) {
        let Ok(permit) = self.shared.lanes.clone().try_acquire_owned() else {
            tracing::warn!("too many lanes: one is closed unheard");
            return;
        };
        let seed = self.shared.seeds.fetch_add(1, Ordering::Relaxed);
        let shared = self.shared.clone();
        let mut stopping = shared.stopping.clone();
        let lane = async move {
            tokio::select! {
                () = shared.serve(wire) => {}
                _ = stopping.wait_for(|stopping| *stopping) => {}
            }
            drop(permit);
        };
        self.shared.runtime.spawn(Runtime::scope(seed, lane));
    }
}

impl Shared {
    async fn serve(&self, mut wire: Wire) {
        let known = |node: NodeId| exchange::known_uuid(&self.served.raft, node);
        let caller = match handshake::receive(&mut wire, &self.served.identity, known).await {
            Ok(caller) => caller,
            Err(error) => {
                tracing::warn!(%error, "a lane was refused");
                return;
            }
        };
        tracing::debug!(peer = caller.node_id, lane = ?caller.lane, "lane open");
        match caller.lane {
            Lane::Append => self.append(wire).await,
            Lane::Control => self.control(wire, &caller).await,
            Lane::Snapshot => {
                snapshot_receive::receive(
                    wire,
                    &self.served.raft,
                    &self.served.machine,
                    &self.served.log,
                )
                .await
            }
        }
    }

    /// One session of openraft's replication after the other; answers go back in order.
    async fn append(&self, mut wire: Wire) {
        let mut session = 0;
        let mut requests: Option<mpsc::Sender<AppendEntriesRequest<Types>>> = None;
        let mut answering = JoinSet::new();
        while let Some(Body::Append(append)) = wire.receiver.next().await.and_then(|f| f.body) {
            let of = append.session;
            let request = match wire::append_from(append) {
                Ok(request) => request,
                Err(error) => {
                    drop(
                        wire.sender
                            .send(frame(Body::Failed(error.to_string())))
                            .await,
                    );
                    return;
                }
            };
            if of != session || requests.is_none() {
                let (sender, queue) = mpsc::channel(LANE_FRAMES);
                let answers = self.served.raft.stream_append(ReceiverStream::new(queue));
                let answers = answers.map(|answer| answer.map_err(|error| error.to_string()));
                answering.spawn(answer_in_order(answers.boxed(), of, wire.sender.clone()));
                session = of;
                requests = Some(sender);
                while answering.try_join_next().is_some() {}
            }
            if let Some(requests) = &requests {
                // A session that ended with a negative answer ignores what follows.
                drop(requests.send(request).await);
            }
        }
    }

    async fn control(&self, mut wire: Wire, caller: &Caller) {
        let mut calls: FuturesUnordered<BoxFuture<'_, proto::Answer>> = FuturesUnordered::new();
        loop {
            tokio::select! {
                answer = calls.next(), if !calls.is_empty() => {
                    let Some(answer) = answer else { return };
                    if wire.sender.send(frame(Body::Answer(answer))).await.is_err() {
                        return;
                    }
                }
                frame = wire.receiver.next(), if calls.len() < MAX_CALLS => {
                    let Some(Body::Call(call)) = frame.and_then(|frame| frame.body) else { return };
                    calls.push(self.answer(caller.node_id, call).boxed());
                }
            }
        }
    }

    async fn answer(&self, from: NodeId, call: proto::Call) -> proto::Answer {
        let answer = match call.call {
            Some(kind) => self.answer_kind(from, kind).await,
            None => Err(LinkError::Protocol("an empty call".to_owned())),
        };
        let answer = answer.unwrap_or_else(|error| Answer::Failed(error.to_string()));
        proto::Answer {
            id: call.id,
            answer: Some(answer),
        }
    }

    async fn answer_kind(&self, from: NodeId, call: Call) -> Result<Answer, LinkError> {
        let failed = |error: &dyn std::fmt::Display| LinkError::Failed(error.to_string());
        match call {
            Call::Heartbeat(append) => {
                let request = wire::append_from(append)?;
                let prev = request.prev_log_id;
                let response = self
                    .served
                    .raft
                    .append_entries(request)
                    .await
                    .map_err(|e| failed(&e))?;
                let result = wire::heartbeat_result(prev, response);
                Ok(Answer::Heartbeat(wire::appended_to(0, 0, result)))
            }
            Call::Vote(request) => {
                let request = wire::vote_request_from(&request)?;
                let response = self
                    .served
                    .raft
                    .vote(request)
                    .await
                    .map_err(|e| failed(&e))?;
                Ok(Answer::Vote(wire::vote_response_to(&response)))
            }
            Call::PreVote(request) => {
                let request = wire::vote_request_from(&request)?;
                let response = self
                    .served
                    .raft
                    .pre_vote(request)
                    .await
                    .map_err(|e| failed(&e))?;
                Ok(Answer::Vote(wire::vote_response_to(&response)))
            }
            Call::TransferLeader(request) => {
                let request = wire::transfer_from(&request)?;
                let result = self
                    .served
                    .raft
                    .handle_transfer_leader(request)
                    .await
                    .map_err(|e| failed(&e))?;
                Ok(Answer::TransferLeader(wire::transfer_result_to(&result)))
            }
            Call::Exchange(exchange) => Ok(Answer::Exchange(
                self.served.exchanger.answer(from, &exchange).await?,
            )),
            Call::Join(join) => {
                let peer = join.peer.as_ref().map(Peer::from_proto).unwrap_or_default();
                let Ok(guard) = self.served.changing.clone().try_lock_owned() else {
                    return Err(failed(&MembershipError::InProgress));
                };
                let result = membership::answer_join(&self.served.raft, from, peer).await;
                drop(guard);
                let result = Some(result.map_err(|e| failed(&e))?);
                Ok(Answer::Join(proto::JoinResult { result }))
            }
        }
    }
}

type Answers =
    futures::stream::BoxStream<'static, Result<openraft::raft::StreamAppendResult<Types>, String>>;

async fn answer_in_order(mut answers: Answers, session: u64, sender: mpsc::Sender<proto::Frame>) {
    let mut sequence = 0;
    while let Some(answer) = answers.next().await {
        sequence += 1;
        let appended = match answer {
            Ok(result) => wire::appended_to(session, sequence, result),
            Err(message) => {
                let result = Some(proto::appended::Result::Failed(message));
                proto::Appended {
                    session,
                    sequence,
                    result,
                }
            }
        };
        if sender.send(frame(Body::Appended(appended))).await.is_err() {
            return;
        }
    }
}
