//! A log on a disk, with its writer on a thread.

use bytes::Bytes;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::thread::JoinHandle;
use std::time::Duration;
use steadfast_storage::disk::{Disk, SimulatedDisk};
use steadfast_storage::log::{
    Log, LogEntry, LogError, LogFault, LogOptions, LogWriter, Position, Recovered,
};

pub(crate) const DIR: &str = "data/log";

/// No answer of the log takes this long.
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) fn small() -> LogOptions {
    LogOptions {
        segment_bytes: 4096,
        extend_bytes: 4096,
        cache_bytes: 1000,
        ..LogOptions::default()
    }
}

pub(crate) fn position(term: u64, index: u64) -> Position {
    Position {
        term,
        leader: 1,
        index,
    }
}

pub(crate) fn entry(term: u64, index: u64, bytes: usize) -> LogEntry {
    let payload = vec![(index % 251) as u8; bytes];
    LogEntry {
        position: position(term, index),
        payload: payload.into(),
    }
}

pub(crate) fn segment(number: u32) -> PathBuf {
    Path::new(DIR).join(format!("{number:010}.log"))
}

pub(crate) fn open(disk: &SimulatedDisk, options: LogOptions) -> (Log, LogWriter, Recovered) {
    try_open(disk, options).unwrap()
}

pub(crate) fn try_open(
    disk: &SimulatedDisk,
    options: LogOptions,
) -> Result<(Log, LogWriter, Recovered), LogError> {
    Log::open(Arc::new(disk.clone()), Path::new(DIR), options)
}

/// A log whose writer runs on a thread.
pub(crate) struct Running {
    pub(crate) log: Log,
    writer: JoinHandle<()>,
}

impl Running {
    pub(crate) fn start(disk: &SimulatedDisk, options: LogOptions) -> (Running, Recovered) {
        let (log, writer, recovered) = open(disk, options);
        (Running::of(log, writer), recovered)
    }

    pub(crate) fn of(log: Log, writer: LogWriter) -> Running {
        Running {
            log,
            writer: std::thread::spawn(move || writer.run()),
        }
    }

    pub(crate) fn append(&self, entries: Vec<LogEntry>) -> Result<(), LogFault> {
        answer(&self.append_later(entries))
    }

    pub(crate) fn append_later(&self, entries: Vec<LogEntry>) -> Receiver<Result<(), LogFault>> {
        let (done, answer) = channel();
        self.log
            .append(entries, Box::new(move |result| drop(done.send(result))));
        answer
    }

    pub(crate) fn vote(&self, vote: &'static [u8]) -> Result<(), LogFault> {
        let (done, result) = channel();
        let vote = Bytes::from_static(vote);
        self.log
            .save_vote(vote, Box::new(move |result| drop(done.send(result))));
        answer(&result)
    }

    /// Lets the writer finish all that is queued.
    pub(crate) fn stop(self) {
        drop(self.log);
        self.writer.join().unwrap();
    }
}

pub(crate) fn answer(answer: &Receiver<Result<(), LogFault>>) -> Result<(), LogFault> {
    answer.recv_timeout(PATIENCE).expect("the log answers")
}

pub(crate) fn indexes(entries: &[LogEntry]) -> Vec<u64> {
    entries.iter().map(|entry| entry.position.index).collect()
}

pub(crate) fn segments(disk: &SimulatedDisk) -> Vec<String> {
    disk.list(Path::new(DIR)).unwrap()
}
