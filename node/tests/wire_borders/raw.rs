//! Calls whose messages are bytes.

use super::as_bytes::AsBytes;
use bytes::Bytes;
use std::time::Duration;
use tonic::codec::CompressionEncoding;
use tonic::transport::Channel;
use tonic::{Request, Status};

/// A little more than the shortest deadline that a poll may have.
const DEADLINE: Duration = Duration::from_millis(2_100);

/// A client of bytes.
#[derive(Debug, Clone)]
pub(super) struct Raw(Channel);

impl Raw {
    pub(super) async fn connect(address: &str) -> Self {
        let endpoint = Channel::from_shared(format!("http://{address}")).unwrap();
        Self(endpoint.connect().await.unwrap())
    }

    /// Calls a method.
    pub(super) async fn call(&self, path: &str, message: Bytes) -> Result<Bytes, Status> {
        self.send(path, message, None).await
    }

    /// As [`Raw::call`], with the message compressed.
    pub(super) async fn compressed(&self, path: &str, message: Bytes) -> Result<Bytes, Status> {
        self.send(path, message, Some(CompressionEncoding::Gzip))
            .await
    }

    async fn send(
        &self,
        path: &str,
        message: Bytes,
        encoding: Option<CompressionEncoding>,
    ) -> Result<Bytes, Status> {
        let mut client = tonic::client::Grpc::new(self.0.clone())
            .accept_compressed(CompressionEncoding::Gzip)
            .max_decoding_message_size(64 << 20);
        if let Some(encoding) = encoding {
            client = client.send_compressed(encoding);
        }
        client
            .ready()
            .await
            .map_err(|error| Status::unknown(error.to_string()))?;
        let mut request = Request::new(message);
        request.set_timeout(DEADLINE);
        let path = http::uri::PathAndQuery::try_from(path).unwrap();
        let answer = client.unary(request, path, AsBytes).await?;
        Ok(answer.into_inner())
    }
}
