//! The log on the real file system, written by a process that is killed again and again.

#![expect(
    clippy::unwrap_used,
    reason = "a test stops at what it does not expect"
)]

use bytes::Bytes;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};
use steadfast_storage::directory::{Directory, DirectoryError};
use steadfast_storage::disk::RealDisk;
use steadfast_storage::log::{Log, LogEntry, LogOptions, Position};

/// Set for the process that writes and is killed.
const CHILD: &str = "STEADFAST_LOG_KILL_DIR";
/// All lives together.
const LIVES_LAST: Duration = Duration::from_secs(6);
/// Entries that are kept when purging.
const KEPT: u64 = 300;

fn options() -> LogOptions {
    LogOptions {
        segment_bytes: 256 << 10,
        extend_bytes: 64 << 10,
        cache_bytes: 32 << 10,
        ..LogOptions::default()
    }
}

fn entry(index: u64) -> LogEntry {
    let position = Position {
        term: 1,
        leader: 1,
        index,
    };
    let payload = vec![(index % 251) as u8; (index * 37 % 1500) as usize];
    LogEntry {
        position,
        payload: payload.into(),
    }
}

/// Not a test of its own: what the killed process does.
#[test]
fn child_writes_until_it_is_killed() {
    let Some(dir) = std::env::var_os(CHILD) else {
        return;
    };
    let dir = Path::new(&dir);
    let directory = Directory::open(Arc::new(RealDisk), dir).unwrap();
    let opened = Log::open(Arc::new(RealDisk), &directory.log_dir(), options());
    let (log, writer, recovered) = opened.unwrap();
    std::thread::spawn(move || writer.run());
    let mut index = recovered.last.map_or(1, |last| last.index + 1);
    loop {
        let count = 1 + index % 5;
        let last = index + count - 1;
        let entries = (index..=last).map(entry).collect();
        let done = Box::new(move |result: Result<(), _>| {
            result.unwrap();
            writeln!(std::io::stdout(), "durable {last}").unwrap();
        });
        log.append(entries, done);
        index = last + 1;
        if index % 50 < count {
            let vote = Bytes::from(last.to_string());
            log.save_vote(
                vote,
                Box::new(move |_| writeln!(std::io::stdout(), "vote {last}").unwrap()),
            );
            if last > KEPT {
                log.purge(entry(last - KEPT).position);
            }
        }
        while log.queued_bytes() > 64 << 10 {
            std::thread::yield_now();
        }
    }
}

/// Runs a process for a while and kills it; returns the last entry and vote it called durable.
fn live(dir: &Path, lifetime: Duration) -> (u64, u64) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child_writes_until_it_is_killed", "--nocapture"])
        .env(CHILD, dir)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let stdout = child.stdout.take().unwrap();
    let reader = std::thread::spawn(move || {
        let (mut durable, mut vote) = (0, 0);
        for line in BufReader::new(stdout).lines() {
            let line = line.unwrap_or_default();
            // libtest writes its own words before the first of ours, on the same line.
            let words: Vec<&str> = line.split_whitespace().rev().take(2).collect();
            match words[..] {
                [number, "durable"] => durable = number.parse().unwrap(),
                [number, "vote"] => vote = number.parse().unwrap(),
                _ => {}
            }
        }
        (durable, vote)
    });
    std::thread::sleep(lifetime);
    child.kill().unwrap();
    child.wait().unwrap();
    reader.join().unwrap()
}

#[test]
fn what_was_called_durable_survives_kill_9() {
    if std::env::var_os(CHILD).is_some() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (start, mut lives, mut durable, mut voted) = (Instant::now(), 0u64, 0, 0);
    while start.elapsed() < LIVES_LAST {
        let lifetime = Duration::from_millis(10 + lives * 61 % 170);
        let (last_durable, last_vote) = live(dir.path(), lifetime);
        durable = durable.max(last_durable);
        voted = voted.max(last_vote);
        lives += 1;

        let directory = Directory::open(Arc::new(RealDisk), dir.path()).unwrap();
        let opened = Log::open(Arc::new(RealDisk), &directory.log_dir(), options());
        let (log, _writer, recovered) = opened.unwrap();
        let last = recovered.last.map_or(0, |last| last.index);
        assert!(
            last >= durable,
            "entry {durable} was durable, {last} is the last in life {lives}"
        );
        let vote: u64 = recovered.vote.map_or(0, |vote| {
            std::str::from_utf8(&vote).unwrap().parse().unwrap()
        });
        assert!(
            vote >= voted,
            "vote {voted} was durable, {vote} is found in life {lives}"
        );
        let first = recovered.purged.map_or(1, |purged| purged.index + 1);
        let entries = log.read(first, u64::MAX, usize::MAX).unwrap();
        assert_eq!(entries, (first..=last).map(entry).collect::<Vec<_>>());
    }
    assert!(
        durable > 1000 && lives > 10,
        "{durable} entries in {lives} lives"
    );
}

#[test]
fn a_data_directory_serves_one_process() {
    if std::env::var_os(CHILD).is_some() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let held = Directory::open(Arc::new(RealDisk), dir.path()).unwrap();
    let second = Directory::open(Arc::new(RealDisk), dir.path());
    assert!(matches!(second, Err(DirectoryError::Locked { .. })));
    drop(held);
    Directory::open(Arc::new(RealDisk), dir.path()).unwrap();
}
