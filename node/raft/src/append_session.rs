//! The sending side of an append lane: one stream of requests, pipelined, answered in order.

use crate::handshake::{self, Target};
use crate::link::Links;
use crate::transport::{Lane, LinkError, Wire};
use crate::types::Types;
use crate::wire::{self, Body, frame};
use futures::{Stream, StreamExt, stream};
use openraft::raft::{AppendEntriesRequest, StreamAppendResult};
use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use steadfast_proto::internal::raft::v1 as proto;
use tokio::time::{Instant, sleep_until, timeout};

/// Requests without an answer. openraft's receiving side takes as many.
const MAX_IN_FLIGHT: usize = 64;
/// Bytes of entries without an answer, per peer.
const MAX_IN_FLIGHT_BYTES: usize = 4 << 20;
/// A peer that answers nothing for so long has lost the connection. Much longer than a slow
/// fsync, since a broken session sends everything again.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(1);

/// A peer's append lane; the connection outlives sessions.
#[derive(Debug)]
pub(crate) struct AppendLane {
    links: Links,
    target: Target,
    /// Openraft asks for `Sync`, a stream of frames is not; only `&mut` ever comes here.
    wire: Mutex<Option<Wire>>,
    session: u64,
}

impl AppendLane {
    pub(crate) fn new(links: Links, target: Target) -> AppendLane {
        AppendLane {
            links,
            target,
            wire: Mutex::new(None),
            session: 0,
        }
    }

    fn wire(&mut self) -> &mut Option<Wire> {
        self.wire.get_mut().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts a session: the answers to the requests of `input`, in order. It ends with the
    /// input, at the first negative answer, or with an error.
    ///
    /// The first request is awaited before anything else: openraft's pause after an error lies in
    /// that stream, and without it a peer that is away would be tried again without end.
    pub(crate) async fn session<'s, S>(
        &'s mut self,
        mut input: S,
    ) -> Result<
        impl Stream<Item = Result<StreamAppendResult<Types>, LinkError>> + Send + 's,
        LinkError,
    >
    where
        S: Stream<Item = AppendEntriesRequest<Types>> + Send + Unpin + 'static,
    {
        let first = input.next().await;
        if self.wire().is_none() && first.is_some() {
            let (transport, me) = (&*self.links.transport, &self.links.identity);
            let wire = handshake::open(transport, me, &self.target, Lane::Append).await?;
            *self.wire() = Some(wire);
        }
        // Late answers of an abandoned session are told apart by its number.
        self.session += 1;
        let session = Session {
            lane: self,
            input: Some(stream::iter(first).chain(input)),
            sequence: 0,
            in_flight: VecDeque::new(),
            in_flight_bytes: 0,
        };
        Ok(stream::unfold(Some(session), |session| async move {
            let mut session = session?;
            match session.next().await {
                None => None,
                Some(Ok(Ok(matched))) => Some((Ok(Ok(matched)), Some(session))),
                Some(Ok(Err(negative))) => Some((Ok(Err(negative)), None)),
                Some(Err(error)) => {
                    *session.lane.wire() = None;
                    Some((Err(error), None))
                }
            }
        }))
    }
}

struct InFlight {
    sequence: u64,
    bytes: usize,
    sent: Instant,
}

struct Session<'s, S> {
    lane: &'s mut AppendLane,
    input: Option<S>,
    sequence: u64,
    in_flight: VecDeque<InFlight>,
    in_flight_bytes: usize,
}

enum Happened {
    Frame(Option<proto::Frame>),
    Request(Option<AppendEntriesRequest<Types>>),
    Silence,
}

impl<S: Stream<Item = AppendEntriesRequest<Types>> + Send + Unpin> Session<'_, S> {
    async fn next(&mut self) -> Option<Result<StreamAppendResult<Types>, LinkError>> {
        loop {
            if self.input.is_none() && self.in_flight.is_empty() {
                return None;
            }
            match self.wait().await {
                Happened::Frame(frame) => match self.answered(frame).transpose() {
                    Some(answer) => return Some(answer),
                    None => continue,
                },
                Happened::Request(Some(request)) => {
                    if let Err(error) = self.send(request).await {
                        return Some(Err(error));
                    }
                }
                Happened::Request(None) => self.input = None,
                Happened::Silence => return Some(Err(LinkError::Timeout(ANSWER_TIMEOUT))),
            }
        }
    }

    async fn wait(&mut self) -> Happened {
        let has_room =
            self.in_flight.len() < MAX_IN_FLIGHT && self.in_flight_bytes < MAX_IN_FLIGHT_BYTES;
        let silent_at = self
            .in_flight
            .front()
            .map(|oldest| oldest.sent + ANSWER_TIMEOUT);
        let Some(wire) = self.lane.wire().as_mut() else {
            return Happened::Frame(None);
        };
        let input = self.input.as_mut().filter(|_| has_room);
        let request = async {
            match input {
                Some(input) => input.next().await,
                None => std::future::pending().await,
            }
        };
        let silence = async {
            match silent_at {
                Some(at) => sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            frame = wire.receiver.next() => Happened::Frame(frame),
            request = request => Happened::Request(request),
            () = silence => Happened::Silence,
        }
    }

    async fn send(&mut self, request: AppendEntriesRequest<Types>) -> Result<(), LinkError> {
        self.sequence += 1;
        let append = wire::append_to(self.lane.session, self.sequence, request);
        let bytes = append.entries.iter().map(|entry| entry.payload.len()).sum();
        let wire = self.lane.wire().as_ref().ok_or(LinkError::Broken)?;
        match timeout(
            ANSWER_TIMEOUT,
            wire.sender.send(frame(Body::Append(append))),
        )
        .await
        {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return Err(LinkError::Broken),
            Err(_) => return Err(LinkError::Timeout(ANSWER_TIMEOUT)),
        }
        let sent = Instant::now();
        self.in_flight.push_back(InFlight {
            sequence: self.sequence,
            bytes,
            sent,
        });
        self.in_flight_bytes += bytes;
        Ok(())
    }

    /// The answer in a frame; none when it belongs to an earlier session.
    fn answered(
        &mut self,
        frame: Option<proto::Frame>,
    ) -> Result<Option<StreamAppendResult<Types>>, LinkError> {
        let appended = match frame.and_then(|frame| frame.body) {
            Some(Body::Appended(appended)) => appended,
            Some(Body::Failed(message)) => return Err(LinkError::Failed(message)),
            Some(_) => return Err(LinkError::Protocol("no answer to entries".to_owned())),
            None => return Err(LinkError::Broken),
        };
        if appended.session != self.lane.session {
            return Ok(None);
        }
        let Some(oldest) = self.in_flight.pop_front() else {
            return Err(LinkError::Protocol("an answer to nothing".to_owned()));
        };
        // openraft takes answers as being in order: another one would acknowledge for the wrong.
        if oldest.sequence != appended.sequence {
            return Err(LinkError::Protocol("answers out of order".to_owned()));
        }
        self.in_flight_bytes -= oldest.bytes;
        wire::appended_from(appended).map(Some)
    }
}
