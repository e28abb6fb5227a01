//! Connections to other nodes' gRPC ports.

use super::body::Whole;
use http::{Request, Response};
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tonic::body::Body;
use tonic::transport::{Channel, Endpoint};
use tower::{Service, ServiceExt};

/// A node on the same network answers in much less.
const CONNECT: Duration = Duration::from_millis(500);
/// A leader that is gone without a word is noticed after two of these.
const KEEP_ALIVE: Duration = Duration::from_secs(1);
/// More addresses than a cluster has members: old ones are dropped.
const ADDRESSES_MAX: usize = 32;

/// A call that got no answer.
#[derive(Debug)]
pub(super) struct Failed {
    /// Whether the other node may have seen it.
    pub(super) was_sent: bool,
}

/// One connection for polls and one for the rest, to each address: waiting polls must not take the
/// streams of short calls.
#[derive(Debug, Default)]
pub(crate) struct Channels(Mutex<BTreeMap<(String, bool), Channel>>);

impl Channels {
    /// Sends a call and collects its whole answer.
    pub(super) async fn send(
        &self,
        address: &str,
        is_poll: bool,
        request: Request<Body>,
    ) -> Result<Response<Whole>, Failed> {
        let mut channel = self
            .channel(address, is_poll)
            .ok_or(Failed { was_sent: false })?;
        let ready = channel
            .ready()
            .await
            .map_err(|_| Failed { was_sent: false })?;
        let response = ready.call(request).await.map_err(|error| {
            tracing::debug!(%error, address, "a forwarded call failed");
            Failed {
                was_sent: !is_connect(&error),
            }
        })?;
        let (parts, body) = response.into_parts();
        match Whole::of(body).await {
            Some(whole) => Ok(Response::from_parts(parts, whole)),
            None => Err(Failed { was_sent: true }),
        }
    }

    fn channel(&self, address: &str, is_poll: bool) -> Option<Channel> {
        let mut channels = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (address.to_owned(), is_poll);
        if let Some(channel) = channels.get(&key) {
            return Some(channel.clone());
        }
        if channels.len() >= ADDRESSES_MAX {
            channels.clear();
        }
        let endpoint = Endpoint::from_shared(format!("http://{address}")).ok()?;
        let channel = endpoint
            .connect_timeout(CONNECT)
            .tcp_nodelay(true)
            .http2_keep_alive_interval(KEEP_ALIVE)
            .keep_alive_timeout(KEEP_ALIVE)
            .keep_alive_while_idle(true)
            .initial_connection_window_size(Some(16 * 1024 * 1024))
            .initial_stream_window_size(Some(1024 * 1024))
            .connect_lazy();
        channels.insert(key, channel.clone());
        Some(channel)
    }
}

/// Whether no connection could be made, so that nothing was sent.
fn is_connect(error: &tonic::transport::Error) -> bool {
    let mut source: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = source {
        if error.is::<tonic::ConnectError>() {
            return true;
        }
        source = error.source();
    }
    false
}
