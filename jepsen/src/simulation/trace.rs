//! What happened, line by line, stamped with virtual time.

use super::Recording;
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use steadfast_storage::disk::SimulatedDisk;
use tokio::time::Instant;
use tracing::Dispatch;
use tracing::subscriber::NoSubscriber;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::FormatTime;

/// The trace of one simulation. Clones are the same.
#[derive(Debug, Clone)]
pub struct Trace {
    began: Instant,
    /// `None`: nothing is kept.
    text: Option<Arc<Mutex<Vec<u8>>>>,
}

impl Trace {
    /// Begins at the virtual now.
    #[must_use]
    pub fn begin(recording: Recording) -> Trace {
        Trace {
            began: Instant::now(),
            text: match recording {
                Recording::Kept => Some(Arc::default()),
                Recording::Off => None,
            },
        }
    }

    /// Virtual time since the beginning.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    /// Adds a line, when lines are kept.
    pub fn line(&self, line: impl FnOnce() -> String) {
        if self.text.is_some() {
            let line = format!("{:?} {}\n", self.elapsed(), line());
            self.append(line.as_bytes());
        }
    }

    fn append(&self, bytes: &[u8]) {
        // After the simulation's end, time is no longer virtual.
        if let Some(text) = &self.text
            && tokio::runtime::Handle::try_current().is_ok()
        {
            text.lock()
                .unwrap_or_else(PoisonError::into_inner)
                .extend_from_slice(bytes);
        }
    }

    /// All lines so far.
    #[must_use]
    pub fn text(&self) -> String {
        let Some(text) = &self.text else {
            return String::new();
        };
        let text = text.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&text).into_owned()
    }

    /// Whatever nodes say of themselves, applied mutations first of all.
    pub(super) fn subscriber(&self) -> Dispatch {
        if self.text.is_none() {
            return Dispatch::new(NoSubscriber::default());
        }
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
    pub(super) fn disk(&self, node: u64, disk: SimulatedDisk) -> SimulatedDisk {
        if self.text.is_none() {
            return disk;
        }
        let trace = self.clone();
        disk.with_trace(Arc::new(move |call| {
            trace.line(|| format!("disk {node} {call}"));
        }))
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
        self.0.append(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
