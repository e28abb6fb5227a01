//! What happened, line by line, stamped with virtual time.

use prost::Message;
use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use steadfast_proto::internal::raft::v1::frame::Body;
use steadfast_raft::Transport;
use steadfast_raft::transport::{Frame, LANE_FRAMES, Lane, LinkError, Wire};
use steadfast_storage::disk::SimulatedDisk;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_stream::StreamExt;
use tracing::Dispatch;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::FormatTime;

/// The trace of one simulation. Clones are the same.
#[derive(Clone)]
pub(crate) struct Trace {
    began: Instant,
    text: Arc<Mutex<Vec<u8>>>,
}

impl Trace {
    /// Begins at the virtual now.
    pub(crate) fn begin() -> Trace {
        Trace {
            began: Instant::now(),
            text: Arc::default(),
        }
    }

    pub(crate) fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    pub(crate) fn line(&self, line: &str) {
        // After the simulation's end, time is no longer virtual.
        if tokio::runtime::Handle::try_current().is_ok() {
            let line = format!("{:?} {line}\n", self.elapsed());
            self.text.lock().unwrap().extend_from_slice(line.as_bytes());
        }
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.text.lock().unwrap().clone()).unwrap()
    }

    /// Whatever nodes say of themselves, applied mutations first of all.
    pub(crate) fn subscriber(&self) -> Dispatch {
        let trace = self.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_ansi(false)
            .with_env_filter(EnvFilter::new("off,steadfast=trace"))
            .with_timer(self.clone())
            .with_writer(move || TraceWriter(trace.clone()))
            .finish();
        Dispatch::new(subscriber)
    }

    /// A disk whose calls are traced.
    pub(crate) fn disk(&self, node: u64, disk: SimulatedDisk) -> SimulatedDisk {
        let trace = self.clone();
        disk.with_trace(Arc::new(move |call| {
            trace.line(&format!("disk {node} {call}"));
        }))
    }

    /// A transport whose frames are traced.
    pub(crate) fn transport(&self, from: &str, inner: Arc<dyn Transport>) -> Arc<dyn Transport> {
        Arc::new(TracingTransport {
            trace: self.clone(),
            from: from.to_owned(),
            inner,
        })
    }
}

impl FormatTime for Trace {
    fn format_time(&self, writer: &mut Writer<'_>) -> fmt::Result {
        write!(writer, "{:?}", self.elapsed())
    }
}

struct TraceWriter(Trace);

impl io::Write for TraceWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if tokio::runtime::Handle::try_current().is_ok() {
            self.0.text.lock().unwrap().extend_from_slice(bytes);
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct TracingTransport {
    trace: Trace,
    from: String,
    inner: Arc<dyn Transport>,
}

impl fmt::Debug for TracingTransport {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "TracingTransport({})", self.from)
    }
}

impl Transport for TracingTransport {
    fn connect(
        &self,
        address: &str,
        lane: Lane,
    ) -> Pin<Box<dyn Future<Output = Result<Wire, LinkError>> + Send>> {
        let (trace, from, to) = (self.trace.clone(), self.from.clone(), address.to_owned());
        let connecting = self.inner.connect(address, lane);
        Box::pin(async move {
            let wire = connecting.await;
            let opened = if wire.is_ok() { "opened" } else { "refused" };
            trace.line(&format!("lane {from}->{to} {lane:?} {opened}"));
            let Wire {
                sender: onward,
                receiver,
            } = wire?;
            let (sender, mut frames) = mpsc::channel::<Frame>(LANE_FRAMES);
            let (out, there) = (trace.clone(), format!("{from}->{to}"));
            tokio::spawn(async move {
                while let Some(frame) = frames.recv().await {
                    out.line(&format!("{there} {lane:?} {}", described(&frame)));
                    if onward.send(frame).await.is_err() {
                        return;
                    }
                }
            });
            let back = format!("{to}->{from}");
            let receiver = receiver.map(move |frame| {
                trace.line(&format!("{back} {lane:?} {}", described(&frame)));
                frame
            });
            Ok(Wire {
                sender,
                receiver: Box::pin(receiver),
            })
        })
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
