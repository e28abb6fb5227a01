//! Control lanes: calls to a peer and their answers, many in flight, in any order.

use crate::handshake::{self, Identity, Target};
use crate::peer::NodeId;
use crate::transport::{Lane, LinkError, Transport, Wire};
use crate::wire::{Body, frame};
use futures::StreamExt;
use proto::answer::Answer;
use proto::call::Call;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use steadfast_proto::internal::raft::v1 as proto;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout};

/// Calls that wait for one peer. Heartbeats come every 75 ms and give up after as long.
const QUEUE: usize = 64;
/// After a failed connection calls fail at once for so long, instead of each trying again.
const RETRY_AFTER: Duration = Duration::from_millis(50);
/// A peer that has left a call unanswered for so long gets a new connection: this one may be
/// half open.
const SILENCE: Duration = Duration::from_secs(2);

/// All control lanes of a node, and what is needed to open other lanes.
#[derive(Debug, Clone)]
pub(crate) struct Links {
    pub(crate) identity: Arc<Identity>,
    pub(crate) transport: Arc<dyn Transport>,
    table: Arc<Mutex<BTreeMap<NodeId, Link>>>,
}

#[derive(Debug, Clone)]
struct Link {
    target: Target,
    requests: mpsc::Sender<Request>,
}

#[derive(Debug)]
struct Request {
    call: Call,
    answer: oneshot::Sender<Result<Answer, LinkError>>,
}

impl Links {
    pub(crate) fn new(identity: Identity, transport: Arc<dyn Transport>) -> Links {
        Links {
            identity: Arc::new(identity),
            transport,
            table: Arc::default(),
        }
    }

    /// Calls a peer. Must run on Raft's runtime: the first call starts the lane's task.
    pub(crate) async fn call(
        &self,
        target: &Target,
        call: Call,
        deadline: Duration,
    ) -> Result<Answer, LinkError> {
        let (answer, answered) = oneshot::channel();
        let requests = self.requests(target);
        match requests.try_send(Request { call, answer }) {
            Ok(()) => {}
            Err(mpsc::error::TrySendError::Full(_)) => return Err(LinkError::Busy),
            Err(mpsc::error::TrySendError::Closed(_)) => return Err(LinkError::Broken),
        }
        match timeout(deadline, answered).await {
            Ok(Ok(Ok(Answer::Failed(message)))) => Err(LinkError::Failed(message)),
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(LinkError::Broken),
            Err(_) => Err(LinkError::Timeout(deadline)),
        }
    }

    /// Closes every lane.
    pub(crate) fn close(&self) {
        self.table
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
    }

    fn requests(&self, target: &Target) -> mpsc::Sender<Request> {
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(link) = table.get(&target.node_id)
            && link.target == *target
            && !link.requests.is_closed()
        {
            return link.requests.clone();
        }
        let (requests, queue) = mpsc::channel(QUEUE);
        let lane = ControlLane {
            identity: self.identity.clone(),
            transport: self.transport.clone(),
            target: target.clone(),
            queue,
        };
        tokio::spawn(lane.run());
        table.insert(
            target.node_id,
            Link {
                target: target.clone(),
                requests: requests.clone(),
            },
        );
        requests
    }
}

struct ControlLane {
    identity: Arc<Identity>,
    transport: Arc<dyn Transport>,
    target: Target,
    queue: mpsc::Receiver<Request>,
}

impl ControlLane {
    /// Connects when there is something to say; ends when nobody can call any more.
    async fn run(mut self) {
        while let Some(first) = self.queue.recv().await {
            let opened = handshake::open(
                &*self.transport,
                &self.identity,
                &self.target,
                Lane::Control,
            );
            match opened.await {
                Ok(wire) => self.converse(wire, first).await,
                Err(error) => {
                    tracing::debug!(peer = self.target.node_id, %error, "no control lane");
                    self.fail(first, &error).await;
                }
            }
        }
    }

    async fn fail(&mut self, first: Request, error: &LinkError) {
        drop(first.answer.send(Err(error.clone())));
        let until = Instant::now() + RETRY_AFTER;
        while let Ok(Some(request)) = tokio::time::timeout_at(until, self.queue.recv()).await {
            drop(request.answer.send(Err(error.clone())));
        }
    }

    async fn converse(&mut self, mut wire: Wire, first: Request) {
        let mut calls = Calls::default();
        let mut next = Some(first);
        loop {
            if let Some(request) = next.take()
                && (calls.silent() || !calls.send(&wire, request))
            {
                return;
            }
            tokio::select! {
                request = self.queue.recv() => match request {
                    Some(request) => next = Some(request),
                    None => return,
                },
                frame = wire.receiver.next() => match frame.and_then(|frame| frame.body) {
                    Some(Body::Answer(answer)) => calls.answered(answer),
                    Some(_) | None => return,
                },
            }
        }
    }
}

/// Calls sent on one connection and not answered yet. Dropping it breaks them.
#[derive(Default)]
struct Calls {
    last_id: u64,
    waiting: BTreeMap<u64, (Instant, oneshot::Sender<Result<Answer, LinkError>>)>,
}

impl Calls {
    /// Sends a call; false when the connection cannot take it.
    fn send(&mut self, wire: &Wire, request: Request) -> bool {
        self.last_id += 1;
        let call = proto::Call {
            id: self.last_id,
            call: Some(request.call),
        };
        match wire.sender.try_send(frame(Body::Call(call))) {
            Ok(()) => {
                self.waiting
                    .insert(self.last_id, (Instant::now(), request.answer));
                true
            }
            Err(_) => {
                drop(request.answer.send(Err(LinkError::Broken)));
                false
            }
        }
    }

    fn answered(&mut self, answer: proto::Answer) {
        if let Some((_, waiting)) = self.waiting.remove(&answer.id) {
            let result = answer.answer.ok_or(LinkError::Broken);
            drop(waiting.send(result));
        }
    }

    fn silent(&self) -> bool {
        self.waiting
            .first_key_value()
            .is_some_and(|(_, (sent, _))| sent.elapsed() > SILENCE)
    }
}
