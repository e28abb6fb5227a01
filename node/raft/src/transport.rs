//! How frames travel: a seam with two implementations, gRPC in production and memory in
//! simulation. What the frames mean is above it.

pub mod grpc;
pub mod memory;

use futures::Stream;
use futures::future::BoxFuture;
use std::fmt::Debug;
use std::pin::Pin;
use std::time::Duration;
use steadfast_proto::internal::raft::v1 as proto;
use tokio::sync::mpsc;

pub use proto::{Frame, RefusedReason};

/// Frames queued on a lane before its writer waits. With the byte window of an append session
/// this bounds memory per lane.
pub const LANE_FRAMES: usize = 64;
/// The largest frame. A batch of entries is about 1 MiB, but one entry may be larger alone.
pub const MAX_FRAME_BYTES: usize = 16 << 20;
/// How long a connection and its handshake may take.
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// What a lane is for. Each has its own connection, so that a full one delays no other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lane {
    /// Log entries, pipelined.
    Append,
    /// Heartbeats, votes, leader transfer, exchange.
    Control,
    /// One snapshot.
    Snapshot,
}

impl Lane {
    pub(crate) fn number(self) -> u32 {
        match self {
            Lane::Append => 1,
            Lane::Control => 2,
            Lane::Snapshot => 3,
        }
    }

    pub(crate) fn from_number(number: u32) -> Option<Lane> {
        [Lane::Append, Lane::Control, Lane::Snapshot]
            .into_iter()
            .find(|l| l.number() == number)
    }
}

/// Why a peer did not answer.
#[derive(Debug, Clone, thiserror::Error)]
pub enum LinkError {
    /// No connection.
    #[error("unreachable: {0}")]
    Unreachable(String),
    /// The peer, or we, found that these two must not talk.
    #[error("refused: {message}")]
    Refused {
        /// For code.
        reason: RefusedReason,
        /// For people.
        message: String,
    },
    /// The connection broke.
    #[error("the connection broke")]
    Broken,
    /// No answer in time.
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    /// The peer answered with a failure.
    #[error("the peer failed: {0}")]
    Failed(String),
    /// A frame that makes no sense here.
    #[error("protocol: {0}")]
    Protocol(String),
    /// Too many calls wait for this peer.
    #[error("too many calls wait for this peer")]
    Busy,
}

/// One end of a lane: ordered frames both ways. The end of `receiver` means that it broke;
/// dropping a wire closes the lane.
pub struct Wire {
    /// Frames to the other end.
    pub sender: mpsc::Sender<Frame>,
    /// Frames from the other end.
    pub receiver: Pin<Box<dyn Stream<Item = Frame> + Send>>,
}

impl Debug for Wire {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Wire")
    }
}

/// Opens lanes to peers.
pub trait Transport: Send + Sync + Debug + 'static {
    /// Connects to the peer port at `address` (`HOST:PORT`). The caller bounds the time.
    fn connect(&self, address: &str, lane: Lane) -> BoxFuture<'static, Result<Wire, LinkError>>;
}
