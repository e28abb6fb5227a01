//! Lanes as bidirectional gRPC streams; the one place of the peer links that knows tonic.

use super::{CONNECT_TIMEOUT, LANE_FRAMES, Lane, LinkError, MAX_FRAME_BYTES, Transport, Wire};
use crate::inbound::Inbound;
use futures::future::BoxFuture;
use futures::{Stream, StreamExt};
use proto::peer_service_client::PeerServiceClient;
use proto::peer_service_server::{PeerService, PeerServiceServer};
use std::pin::Pin;
use std::time::Duration;
use steadfast_proto::internal::raft::v1 as proto;
use tokio::sync::mpsc;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::codegen::BoxStream;
use tonic::transport::{Endpoint, Server};
use tonic::{Request, Response, Status, Streaming};

/// A dead connection is noticed after interval plus timeout, even when nothing is sent.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(1);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(2);
/// HTTP/2's default of 64 KiB would stop the pipeline after one batch.
const STREAM_WINDOW: u32 = 4 << 20;

/// Lanes over TCP.
#[derive(Debug, Clone, Copy, Default)]
pub struct GrpcTransport;

impl Transport for GrpcTransport {
    fn connect(&self, address: &str, _lane: Lane) -> BoxFuture<'static, Result<Wire, LinkError>> {
        let endpoint = Endpoint::from_shared(format!("http://{address}"));
        Box::pin(async move {
            let unreachable = |error: &dyn std::error::Error| LinkError::Unreachable(text(error));
            let channel = endpoint
                .map_err(|error| unreachable(&error))?
                .connect_timeout(CONNECT_TIMEOUT)
                .tcp_nodelay(true)
                .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
                .keep_alive_timeout(KEEPALIVE_TIMEOUT)
                .keep_alive_while_idle(true)
                .initial_stream_window_size(STREAM_WINDOW)
                .initial_connection_window_size(STREAM_WINDOW)
                .connect()
                .await
                .map_err(|error| unreachable(&error))?;
            let mut client = PeerServiceClient::new(channel)
                .max_decoding_message_size(MAX_FRAME_BYTES)
                .max_encoding_message_size(MAX_FRAME_BYTES);
            let (sender, frames) = mpsc::channel(LANE_FRAMES);
            let response = client
                .lane(ReceiverStream::new(frames))
                .await
                .map_err(|status| LinkError::Unreachable(status.to_string()))?;
            Ok(Wire {
                sender,
                receiver: until_error(response.into_inner()),
            })
        })
    }
}

/// The causes too: tonic's own text is only "transport error".
fn text(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

fn until_error(
    frames: Streaming<proto::Frame>,
) -> Pin<Box<dyn Stream<Item = proto::Frame> + Send>> {
    Box::pin(
        frames
            .take_while(|frame| std::future::ready(frame.is_ok()))
            .filter_map(|frame| std::future::ready(frame.ok())),
    )
}

#[derive(Debug)]
struct Service(Inbound);

#[tonic::async_trait]
impl PeerService for Service {
    async fn lane(
        &self,
        request: Request<Streaming<proto::Frame>>,
    ) -> Result<Response<BoxStream<proto::Frame>>, Status> {
        let (sender, frames) = mpsc::channel(LANE_FRAMES);
        self.0.accept(Wire {
            sender,
            receiver: until_error(request.into_inner()),
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(frames).map(Ok))))
    }
}

/// Serves the peer port until `shutdown` is ready. Run it on Raft's runtime.
pub async fn serve(
    listener: tokio::net::TcpListener,
    inbound: Inbound,
    shutdown: impl Future<Output = ()>,
) -> Result<(), LinkError> {
    let service = PeerServiceServer::new(Service(inbound))
        .max_decoding_message_size(MAX_FRAME_BYTES)
        .max_encoding_message_size(MAX_FRAME_BYTES);
    let server = Server::builder()
        .tcp_nodelay(true)
        .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(STREAM_WINDOW)
        .add_service(service)
        .serve_with_incoming(TcpListenerStream::new(listener));
    // Not tonic's graceful shutdown: lanes never end by themselves.
    tokio::select! {
        result = server => result.map_err(|error| LinkError::Unreachable(text(&error))),
        () = shutdown => Ok(()),
    }
}
