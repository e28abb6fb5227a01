//! Bodies: collected whole, framed, and guarded until they are written.

use super::super::MESSAGE_BYTES_MAX;
use super::super::token::{self, AnyTask};
use crate::shard::Shard;
use bytes::{BufMut, Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Response};
use http_body::{Frame, SizeHint};
use http_body_util::{BodyExt, Full};
use std::pin::Pin;
use std::task::{Context, Poll};
use steadfast_engine::mutation::TaskToken;
use tonic::Status;
use tonic::body::Body;

/// gRPC's frame header: a flag and a length.
const FRAME_HEADER: usize = 5;
/// An answer of another node is at most this long; our pages end far below.
const ANSWER_BYTES_MAX: usize = 128 * 1024 * 1024;

/// Why a request's body could not be collected.
#[derive(Debug)]
pub(super) enum Limited {
    /// It is over the limit; with its announced size, if known.
    TooLarge(Option<u64>),
    /// The caller went away.
    Broken(Status),
}

/// A request's body, whole; at most one message of the allowed size.
pub(super) async fn collect(mut body: Body) -> Result<Bytes, Limited> {
    let mut whole = BytesMut::new();
    let mut first = Bytes::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(Limited::Broken)?.into_data() else {
            continue;
        };
        if first.is_empty() && whole.is_empty() {
            first = data;
        } else {
            if whole.is_empty() {
                whole.extend_from_slice(&first);
                first = Bytes::new();
            }
            whole.extend_from_slice(&data);
        }
        let head = if whole.is_empty() {
            &first[..]
        } else {
            &whole[..]
        };
        let announced = head
            .get(1..FRAME_HEADER)
            .and_then(|bytes| bytes.try_into().ok())
            .map(u32::from_be_bytes);
        let announced = announced
            .map(u64::from)
            .filter(|bytes| *bytes > MESSAGE_BYTES_MAX as u64);
        if announced.is_some() || head.len() > MESSAGE_BYTES_MAX + FRAME_HEADER {
            return Err(Limited::TooLarge(announced));
        }
    }
    Ok(if whole.is_empty() {
        first
    } else {
        whole.freeze()
    })
}

/// A body of these bytes.
pub(super) fn full(bytes: Bytes) -> Body {
    Body::new(Full::new(bytes))
}

/// An answer of one message that succeeded.
pub(super) fn frame(message: Bytes) -> Response<Body> {
    let mut data = BytesMut::with_capacity(FRAME_HEADER + message.len());
    data.put_u8(0);
    data.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
    data.extend_from_slice(&message);
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    let whole = Whole {
        data: data.freeze(),
        trailers: Some(trailers),
    };
    let mut response = Response::new(whole.into_body());
    response.headers_mut().insert(
        http::header::CONTENT_TYPE,
        HeaderValue::from_static("application/grpc"),
    );
    response
}

/// A collected answer.
#[derive(Debug, Default)]
pub(super) struct Whole {
    data: Bytes,
    trailers: Option<HeaderMap>,
}

impl Whole {
    /// Collects an answer; `None` when it breaks off.
    pub(super) async fn of(body: Body) -> Option<Self> {
        let collected = http_body_util::Limited::new(body, ANSWER_BYTES_MAX)
            .collect()
            .await
            .ok()?;
        let trailers = collected.trailers().cloned();
        Some(Self {
            data: collected.to_bytes(),
            trailers,
        })
    }

    /// Whether there is no message, or one without content.
    pub(super) fn is_empty(&self) -> bool {
        self.data.len() <= FRAME_HEADER
    }

    pub(super) fn into_body(self) -> Body {
        match self.trailers {
            Some(trailers) => {
                let trailers = std::future::ready(Some(Ok(trailers)));
                Body::new(Full::new(self.data).with_trailers(trailers))
            }
            None => full(self.data),
        }
    }
}

/// The task's token inside a poll's answer: its first field. `None` when the answer is empty,
/// compressed, or a query.
pub(super) fn task_token(response: &Response<Whole>) -> Option<TaskToken> {
    const PLAIN: u8 = 0;
    const FIELD_1_BYTES: u8 = 0x0a;
    let data = &response.body().data;
    let (head, message) = data.split_at_checked(FRAME_HEADER)?;
    let (tag, mut rest) = message.split_first()?;
    if head[0] != PLAIN || *tag != FIELD_1_BYTES {
        return None;
    }
    let length = usize::try_from(prost::encoding::decode_varint(&mut rest).ok()?).ok()?;
    match token::read_any_task(rest.get(..length)?) {
        Ok((AnyTask::Task(token), _)) => Some(token),
        Ok((AnyTask::Query(_), _)) | Err(_) => None,
    }
}

/// A body whose task goes back if it is dropped before its end was taken.
pub(super) struct Guarded {
    body: Body,
    undelivered: Option<(Shard, TaskToken)>,
}

impl Guarded {
    pub(super) fn new(body: Body, shard: Shard, token: TaskToken) -> Self {
        Self {
            body,
            undelivered: Some((shard, token)),
        }
    }
}

impl http_body::Body for Guarded {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        let ends = match &polled {
            Poll::Ready(Some(Ok(frame))) => frame.is_trailers() || self.body.is_end_stream(),
            Poll::Ready(None) => true,
            Poll::Ready(Some(Err(_))) | Poll::Pending => false,
        };
        if ends {
            self.undelivered = None;
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        if let Some((shard, token)) = self.undelivered.take() {
            shard.return_task(token);
        }
    }
}
