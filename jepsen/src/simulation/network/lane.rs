//! One direction of a lane: frames on their way.

use super::SimulatedNetwork;
use prost::Message;
use std::collections::VecDeque;
use steadfast_proto::internal::raft::v1::frame::Body;
use steadfast_raft::transport::{Frame, LANE_FRAMES, Lane};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

pub(super) struct Direction {
    pub(super) network: SimulatedNetwork,
    pub(super) from: String,
    pub(super) to: String,
    pub(super) lane: Lane,
    pub(super) sender_life: CancellationToken,
    pub(super) receiver_life: CancellationToken,
    /// Both directions of a lane break together.
    pub(super) broken: CancellationToken,
}

impl Direction {
    /// Carries frames from the sending to the receiving end, at most [`LANE_FRAMES`] at a time.
    pub(super) async fn carry(self, frames: mpsc::Receiver<Frame>, out: mpsc::Sender<Frame>) {
        // `None` once nothing more is taken: the sender is gone, or the lane broke.
        let mut frames = Some(frames);
        let mut changes = self.network.changes();
        let mut way: VecDeque<(Instant, Frame)> = VecDeque::new();
        loop {
            let open = self.network.open(&self.from, &self.to);
            let now = Instant::now();
            while open && way.front().is_some_and(|(due, _)| *due <= now) {
                let Some((_, frame)) = way.pop_front() else {
                    break;
                };
                self.traced("arrives", &frame);
                if matches!(frame.body, Some(Body::Installed(_))) {
                    self.network.installed();
                }
                let delivered = self
                    .receiver_life
                    .run_until_cancelled(out.send(frame))
                    .await;
                if !matches!(delivered, Some(Ok(()))) {
                    return;
                }
            }
            if frames.is_none() && way.is_empty() {
                return;
            }
            let due = way.front().map(|(due, _)| *due).filter(|_| open);
            let taking = frames.is_some();
            tokio::select! {
                biased;
                () = self.receiver_life.cancelled() => return,
                () = self.sender_life.cancelled(), if taking => frames = None,
                () = self.broken.cancelled(), if taking => frames = None,
                () = out.closed() => return,
                changed = changes.changed() => if changed.is_err() { return },
                () = sleep_until(due.unwrap_or(now)), if due.is_some() => {}
                frame = next(&mut frames), if taking && way.len() < LANE_FRAMES => match frame {
                    Some(frame) => self.send(frame, &mut way),
                    None => frames = None,
                },
            }
        }
    }

    fn send(&self, frame: Frame, way: &mut VecDeque<(Instant, Frame)>) {
        self.traced("leaves", &frame);
        let due = Instant::now() + self.network.delay(&self.from, &self.to);
        // A stream keeps its order.
        let due = way.back().map_or(due, |(before, _)| due.max(*before));
        way.push_back((due, frame));
        if let Some(arrives) = self.network.breaks() {
            self.network
                .trace
                .line(|| format!("lane {}->{} {:?} breaks", self.from, self.to, self.lane));
            if !arrives {
                way.clear();
            }
            self.broken.cancel();
        }
    }

    fn traced(&self, what: &str, frame: &Frame) {
        self.network.trace.line(|| {
            let (from, to, lane) = (&self.from, &self.to, self.lane);
            format!("{from}->{to} {lane:?} {} {what}", described(frame))
        });
    }
}

async fn next(frames: &mut Option<mpsc::Receiver<Frame>>) -> Option<Frame> {
    match frames {
        Some(frames) => frames.recv().await,
        None => None,
    }
}

/// Kind, length and hash (FNV-1a) of a frame.
fn described(frame: &Frame) -> String {
    let kind = match &frame.body {
        Some(Body::Hello(_)) => "hello",
        Some(Body::Welcome(_)) => "welcome",
        Some(Body::Refused(_)) => "refused",
        Some(Body::Append(_)) => "append",
        Some(Body::Appended(_)) => "appended",
        Some(Body::Call(_)) => "call",
        Some(Body::Answer(_)) => "answer",
        Some(Body::Offer(_)) => "snapshot offer",
        Some(Body::Want(_)) => "snapshot want",
        Some(Body::Chunk(_)) => "snapshot chunk",
        Some(Body::Received(_)) => "snapshot received",
        Some(Body::Installed(_)) => "snapshot installed",
        Some(Body::Failed(_)) => "failed",
        None => "empty",
    };
    let bytes = frame.encode_to_vec();
    let hash = bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("{kind} {} {hash:016x}", bytes.len())
}
