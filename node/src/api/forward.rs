//! The layer that every call passes: version check, size limit, and the way to the leader.
//!
//! A node that does not lead sends the call on as it came, over HTTP/2, one hop, and hands the
//! answer back (design D11, decision 0005). What the leader may have seen before it went away is
//! tried again only when that is harmless; everything else is UNAVAILABLE, and the caller's own
//! retry is harmless because each RPC is idempotent by its natural key.

mod body;
mod channels;
mod count;
mod malformed;
mod method;

use self::body::{Guarded, Limited, collect, frame, full};
use self::channels::Channels;
use self::method::Method;
use super::call::{Arrived, FORWARDED_HEADER, POLL_HEADER, parse_timeout, poll_text, timeout_text};
use super::deliver::Delivered;
use super::status::{NOT_LEADER_HEADER, unavailable};
use super::{Api, client_version};
use crate::shard::{Delivery, Shard, Unavailable};
use bytes::Bytes;
use http::{HeaderValue, Request, Response, request};
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use steadfast_engine::id::PollId;
use tokio::time::{Instant, sleep_until, timeout_at};
use tonic::body::Body;
use tonic::{Code, Status};
use tower::{Layer, Service};

/// How long a call waits for a leader to appear (design D3).
const LEADER_WAIT: Duration = Duration::from_secs(2);
/// Pause before a leader is looked for again, so that a node that just lost it is not hammered.
const RETRY_PAUSE: Duration = Duration::from_millis(20);
/// How often a leader is looked for while none is ready.
const LOOK_AGAIN: Duration = Duration::from_millis(50);
/// A call without a deadline is given up after this on its way through another node.
const NO_DEADLINE: Duration = Duration::from_secs(90);
/// The grace in which the leader's own answer to a deadline is preferred over ours.
const DEADLINE_GRACE: Duration = Duration::from_millis(200);
/// A poll's empty answer leaves this long before the caller's deadline.
const POLL_AHEAD: Duration = Duration::from_millis(500);
/// A poll with less time left is not sent again: the leader would refuse it.
const SHORTEST_RETRIED_POLL: Duration = Duration::from_millis(2_050);

/// Makes [`Forward`] services.
#[derive(Debug, Clone)]
pub(crate) struct ForwardLayer {
    api: Arc<Api>,
    channels: Arc<Channels>,
}

impl ForwardLayer {
    pub(crate) fn new(api: Arc<Api>) -> Self {
        Self {
            api,
            channels: Arc::new(Channels::default()),
        }
    }
}

impl<S> Layer<S> for ForwardLayer {
    type Service = Forward<S>;
    fn layer(&self, inner: S) -> Forward<S> {
        Forward {
            inner,
            api: self.api.clone(),
            channels: self.channels.clone(),
        }
    }
}

/// The layer's service.
#[derive(Debug, Clone)]
pub(crate) struct Forward<S> {
    inner: S,
    api: Arc<Api>,
    channels: Arc<Channels>,
}

impl<S> Service<Request<Body>> for Forward<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>
        + Clone
        + Send
        + 'static,
    S::Future: Send + 'static,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let arrived = Instant::now();
        request.extensions_mut().insert(Arrived(arrived));
        let counted = count::Counted::of(&request);
        let shard = self.api.shard.clone();
        // The inner service that was polled ready serves this call.
        let inner = self.inner.clone();
        let mut this = self.clone();
        this.inner = std::mem::replace(&mut self.inner, inner);
        Box::pin(async move {
            let answer = this.serve(request, arrived).await;
            let answer = answer.unwrap_or_else(Status::into_http);
            counted.answered(shard.telemetry(), &answer, arrived.elapsed());
            Ok(answer)
        })
    }
}

impl<S> Forward<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>
        + Clone
        + Send
        + 'static,
    S::Future: Send + 'static,
{
    async fn serve(
        mut self,
        request: Request<Body>,
        arrived: Instant,
    ) -> Result<Response<Body>, Status> {
        client_version::check(request.headers())?;
        let path = request.uri().path().to_owned();
        let method = Method::of(&path)?;
        if method.is_local() {
            return self.local(request).await;
        }
        let forwarded = request.headers().contains_key(FORWARDED_HEADER);
        if forwarded && !self.api.shard.is_leader() {
            return Err(unavailable(Unavailable::NotLeader));
        }
        let (parts, body) = request.into_parts();
        let body = match collect(body).await {
            Ok(body) => body,
            Err(Limited::TooLarge(bytes)) => return Err(too_large(bytes)),
            Err(Limited::Broken(error)) => return Err(Status::cancelled(error.to_string())),
        };
        let timeout = parts
            .headers
            .get("grpc-timeout")
            .and_then(|value| parse_timeout(value.to_str().ok()?));
        let deadline = arrived + timeout.unwrap_or(NO_DEADLINE).min(NO_DEADLINE);
        if forwarded {
            // One hop: whoever sent it looks for the leader again.
            return self.local(Request::from_parts(parts, full(body))).await;
        }
        if method.is_poll() {
            self.poll(parts, body, deadline).await
        } else {
            self.forward(method, parts, body, arrived, deadline).await
        }
    }

    /// This node answers.
    async fn local(&mut self, request: Request<Body>) -> Result<Response<Body>, Status> {
        let path = request.uri().path().to_owned();
        let is_forwarded = request.headers().contains_key(FORWARDED_HEADER);
        let Ok(response) = self.inner.call(request).await;
        let response = malformed::read(sized(response));
        if is_unknown(&response) {
            return Err(Method::of(&path)?.unknown());
        }
        // The node that holds the worker's connection delivers, and returns what it cannot deliver.
        let delivered = response
            .extensions()
            .get::<Delivered>()
            .filter(|_| !is_forwarded);
        match delivered.map(|delivered| delivered.token.clone()) {
            Some(token) => Ok(guarded(&self.api.shard, response, token)),
            None => Ok(response),
        }
    }

    /// Anything but a poll: to the leader, or here once this node leads.
    async fn forward(
        &mut self,
        method: Method<'_>,
        parts: request::Parts,
        body: Bytes,
        arrived: Instant,
        deadline: Instant,
    ) -> Result<Response<Body>, Status> {
        let given = parts.headers.contains_key("grpc-timeout");
        // Counts from the first trouble: a call that waited long for its answer is tried again, too.
        let mut patience = None;
        loop {
            let until = patience
                .unwrap_or_else(|| Instant::now() + LEADER_WAIT)
                .min(deadline);
            let Some(leader) = find_leader(&self.api.shard, until).await else {
                return Err(unavailable(Unavailable::NoLeader));
            };
            let mut request = Request::from_parts(parts.clone(), full(body.clone()));
            match leader {
                Leader::Here => {
                    let response = self.local(request).await?;
                    if !is_not_leader(&response) {
                        return Ok(response);
                    }
                }
                Leader::Other(address) => {
                    mark_forwarded(&mut request);
                    if given && arrived.elapsed() > DEADLINE_GRACE {
                        set_timeout(
                            &mut request,
                            deadline.saturating_duration_since(Instant::now()),
                        );
                    }
                    let sent = self.channels.send(&address, false, request);
                    match timeout_at(deadline + DEADLINE_GRACE, sent).await {
                        Err(_) => return Err(unavailable(Unavailable::DeadlineExceeded)),
                        Ok(Ok(response)) if is_not_leader(&response) => {}
                        Ok(Ok(response)) => return Ok(sized(response).map(body::Whole::into_body)),
                        Ok(Err(failed)) if failed.was_sent && !method.is_read() => {
                            return Err(unavailable(Unavailable::Unknown));
                        }
                        Ok(Err(_)) => {}
                    }
                }
            }
            let now = Instant::now();
            let until = *patience.get_or_insert(now + LEADER_WAIT);
            if now + RETRY_PAUSE >= until.min(deadline) {
                return Err(unavailable(Unavailable::NoLeader));
            }
            sleep_until(now + RETRY_PAUSE).await;
        }
    }

    /// A worker's poll: it stays registered with whoever leads until its deadline. This node's own
    /// apply is the sure way to its task; the leader's answer usually comes first.
    async fn poll(
        &mut self,
        parts: request::Parts,
        body: Bytes,
        deadline: Instant,
    ) -> Result<Response<Body>, Status> {
        let give_up = deadline.checked_sub(POLL_AHEAD).unwrap_or(deadline);
        let mut first = true;
        let mut remote = None;
        loop {
            let Some(leader) = find_leader(&self.api.shard, give_up).await else {
                break;
            };
            let mut request = Request::from_parts(parts.clone(), full(body.clone()));
            if !first {
                let left = deadline.saturating_duration_since(Instant::now());
                if left < SHORTEST_RETRIED_POLL {
                    break;
                }
                set_timeout(&mut request, left);
            }
            first = false;
            match leader {
                Leader::Here => {
                    let response = self.local(request).await?;
                    if !is_not_leader(&response) {
                        return Ok(response);
                    }
                }
                Leader::Other(address) => {
                    let shard = &self.api.shard;
                    let (poll, delivery) = remote.get_or_insert_with(|| {
                        let poll = shard.next_poll_id();
                        (poll, shard.register_delivery(poll))
                    });
                    mark_forwarded(&mut request);
                    set_poll(&mut request, &poll_text(*poll));
                    // The token in the answer must be readable here.
                    request.headers_mut().remove("grpc-accept-encoding");
                    tokio::select! {
                        biased;
                        sent = self.channels.send(&address, true, request) => match sent {
                            Ok(response) if is_not_leader(&response) => {}
                            Ok(response) => {
                                // An empty answer does not prove that no task is on its way: the
                                // poll then counts as left, and such a task goes back.
                                if !response.body().is_empty() {
                                    answered(remote);
                                }
                                return Ok(self.handed_back(response));
                            }
                            Err(_) => {}
                        },
                        task = delivery.task() => {
                            let (message, token) = self.api.delivered(task)?;
                            answered(remote);
                            return Ok(guarded(&self.api.shard, frame(message), token));
                        }
                        () = sleep_until(give_up) => break,
                    }
                }
            }
            sleep_until(Instant::now() + RETRY_PAUSE).await;
        }
        Ok(frame(Bytes::new()))
    }

    /// The leader's answer to a poll; a task in it is this node's to deliver.
    fn handed_back(&self, response: Response<body::Whole>) -> Response<Body> {
        let response = sized(response);
        let token = body::task_token(&response);
        let response = response.map(body::Whole::into_body);
        match token {
            Some(token) => guarded(&self.api.shard, response, token),
            None => response,
        }
    }
}

/// A poll that had been registered for this node's own delivery has its answer.
fn answered(remote: Option<(PollId, Delivery)>) {
    if let Some((_, delivery)) = remote {
        delivery.answered();
    }
}

enum Leader {
    Here,
    Other(String),
}

/// Who leads, as soon as someone does; `None` when nobody did until `patience` was over.
async fn find_leader(shard: &Shard, patience: Instant) -> Option<Leader> {
    if shard.is_leader() {
        return Some(Leader::Here);
    }
    let mut leadership = shard.leadership();
    loop {
        leadership.mark_unchanged();
        if shard.is_leader() {
            return Some(Leader::Here);
        }
        if let Some(address) = shard.leader_grpc_address() {
            return Some(Leader::Other(address));
        }
        let now = Instant::now();
        if now >= patience {
            return None;
        }
        // A new leader becomes ready without a change of leadership: look again now and then.
        let look_again = (now + LOOK_AGAIN).min(patience);
        if let Ok(Err(_)) = timeout_at(look_again, leadership.changed()).await {
            return None;
        }
    }
}

fn is_not_leader<B>(response: &Response<B>) -> bool {
    response.headers().contains_key(NOT_LEADER_HEADER)
}

/// tonic answers a method that it does not know without a word; our own answers have one.
fn is_unknown<B>(response: &Response<B>) -> bool {
    let status = response.headers().get("grpc-status");
    status.is_some_and(|status| status.as_bytes() == b"12")
        && !response.headers().contains_key("grpc-message")
}

fn mark_forwarded(request: &mut Request<Body>) {
    request
        .headers_mut()
        .insert(FORWARDED_HEADER, HeaderValue::from_static("1"));
}

fn set_timeout(request: &mut Request<Body>, left: Duration) {
    if let Ok(value) = HeaderValue::from_str(&timeout_text(left)) {
        request.headers_mut().insert("grpc-timeout", value);
    }
}

fn set_poll(request: &mut Request<Body>, poll: &str) {
    if let Ok(value) = HeaderValue::from_str(poll) {
        request.headers_mut().insert(POLL_HEADER, value);
    }
}

/// tonic answers a message over the limit with OUT_OF_RANGE, which SDKs would try again; gRPC-Go,
/// and so Temporal, answers RESOURCE_EXHAUSTED.
fn sized<B: Default>(response: Response<B>) -> Response<B> {
    let out_of_range = i32::from(Code::OutOfRange).to_string();
    let status = response.headers().get("grpc-status");
    if status.is_none_or(|status| status.as_bytes() != out_of_range.as_bytes()) {
        return response;
    }
    let message = response
        .headers()
        .get("grpc-message")
        .and_then(|message| message.to_str().ok());
    let found: Option<u64> = message
        .unwrap_or_default()
        .split(|next: char| !next.is_ascii_digit())
        .filter(|digits| !digits.is_empty())
        .find_map(|digits| digits.parse().ok().filter(|bytes| *bytes > 4 * 1024 * 1024));
    too_large(found).into_http()
}

fn too_large(bytes: Option<u64>) -> Status {
    let limit = super::MESSAGE_BYTES_MAX;
    let bytes = bytes.map_or_else(|| format!("over {limit}"), |bytes| bytes.to_string());
    Status::resource_exhausted(format!(
        "grpc: received message larger than max ({bytes} vs. {limit})"
    ))
}

/// A task's answer that goes back to its queue when it is dropped before it was written.
fn guarded(
    shard: &Shard,
    response: Response<Body>,
    token: steadfast_engine::mutation::TaskToken,
) -> Response<Body> {
    response.map(|body| Body::new(Guarded::new(body, shard.clone(), token)))
}
