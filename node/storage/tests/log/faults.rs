//! The disk fails while the log is in use.

use crate::support::{Running, answer, entry, indexes, open, position, small};
use bytes::Bytes;
use std::sync::{Arc, Mutex};
use steadfast_storage::disk::{CrashLoss, SimulatedDisk};
use steadfast_storage::log::{LogFault, LogOptions, MAX_APPEND_BYTES};

#[test]
fn a_failed_sync_poisons_everyone_waiting_and_everyone_later() {
    let disk = SimulatedDisk::new();
    let (log, writer, _) = open(
        &disk,
        LogOptions {
            batch_records: 1,
            ..small()
        },
    );
    let poisoned = log.poisoned();
    let answers = Arc::new(Mutex::new(Vec::new()));
    let note = |index: u64| {
        let answers = answers.clone();
        Box::new(move |result: Result<(), _>| answers.lock().unwrap().push((index, result.is_ok())))
    };
    for index in 0..5 {
        log.append(vec![entry(1, index, 10)], note(index));
    }
    log.save_vote(Bytes::from_static(b"vote"), note(5));
    disk.fail_sync(3);
    let running = Running::of(log, writer);
    let fault = running.append(vec![entry(1, 5, 10)]).unwrap_err();
    assert!(
        matches!(
            &fault,
            LogFault::Io {
                what: "sync",
                full: false,
                ..
            }
        ),
        "{fault}"
    );
    let expected = [
        (0, true),
        (1, true),
        (2, false),
        (3, false),
        (4, false),
        (5, false),
    ];
    assert_eq!(*answers.lock().unwrap(), expected);
    assert_eq!(*poisoned.borrow(), Some(fault.clone()));
    assert_eq!(running.vote(b"later"), Err(fault));
    let written = disk.counts().writes;
    running.log.truncate_after(Some(0));
    running.log.purge(position(1, 0));
    running.stop();
    assert_eq!(
        disk.counts().writes,
        written,
        "nothing is written after a fault"
    );
}

#[test]
fn what_a_failed_sync_left_behind_is_made_durable_when_reopened() {
    let disk = SimulatedDisk::new();
    let (running, _) = Running::start(&disk, small());
    running.append(vec![entry(1, 1, 10)]).unwrap();
    disk.fail_sync(1);
    running.append(vec![entry(1, 2, 10)]).unwrap_err();
    running.stop();
    // The system believes that the failed bytes are clean; a restart of the process reads them.
    let disk = disk.crash(CrashLoss::Nothing);
    let (_log, _writer, recovered) = open(&disk, small());
    assert_eq!(recovered.last, Some(position(1, 2)));
    let (_log, _writer, after) = open(&disk.crash(CrashLoss::AllUnsynced), small());
    assert_eq!(
        after, recovered,
        "what was reported as held must be durable"
    );
}

#[test]
fn a_full_disk_poisons_and_loses_nothing() {
    let disk = SimulatedDisk::new();
    let (running, _) = Running::start(&disk, small());
    disk.set_capacity(20_000);
    let mut held = 0;
    let fault = loop {
        match running.append(vec![entry(1, held + 1, 300)]) {
            Ok(()) => held += 1,
            Err(fault) => break fault,
        }
    };
    assert!(matches!(fault, LogFault::Io { full: true, .. }), "{fault}");
    assert!(held > 20);
    running.stop();
    let disk = disk.crash(CrashLoss::AllUnsynced);
    disk.set_capacity(1 << 30);
    let (running, recovered) = Running::start(&disk, small());
    assert_eq!(recovered.last, Some(position(1, held)));
    running.append(vec![entry(1, held + 1, 300)]).unwrap();
    assert_eq!(
        running.log.read(1, 999, usize::MAX).unwrap().len() as u64,
        held + 1
    );
}

#[test]
fn a_disk_too_full_to_create_the_log_is_an_error() {
    let disk = SimulatedDisk::new();
    disk.set_capacity(10);
    let error = crate::support::try_open(&disk, small()).err().unwrap();
    assert!(
        error
            .to_string()
            .contains("write log file data/log/0000000001.log"),
        "{error}"
    );
    disk.set_capacity(1 << 20);
    assert!(
        crate::support::try_open(&disk, small()).is_ok(),
        "the half-made file is in the way"
    );
}

#[test]
fn a_dropped_writer_answers_everyone() {
    let (log, writer, _) = open(&SimulatedDisk::new(), small());
    let (done, result) = std::sync::mpsc::channel();
    log.append(
        vec![entry(1, 1, 10)],
        Box::new(move |result| drop(done.send(result))),
    );
    drop(writer);
    assert_eq!(answer(&result), Err(LogFault::WriterEnded));
    assert_eq!(*log.poisoned().borrow(), Some(LogFault::WriterEnded));
}

#[test]
fn an_append_beyond_the_bound_is_refused_and_the_log_lives() {
    let disk = SimulatedDisk::new();
    let (running, _) = Running::start(&disk, small());
    let payload = Bytes::from(vec![0; (MAX_APPEND_BYTES / 8) as usize]);
    let mut entries: Vec<_> = (1..=9).map(|index| entry(1, index, 0)).collect();
    for entry in &mut entries {
        entry.payload = payload.clone();
    }
    let fault = running.append(entries).unwrap_err();
    assert!(
        matches!(
            fault,
            LogFault::TooLarge {
                limit: MAX_APPEND_BYTES,
                ..
            }
        ),
        "{fault}"
    );
    running.append(vec![entry(1, 1, 10)]).unwrap();
    assert_eq!(indexes(&running.log.read(1, 99, 1).unwrap()), [1]);
}

#[test]
fn an_orderly_end_is_no_fault() {
    let (running, _) = Running::start(&SimulatedDisk::new(), small());
    let poisoned = running.log.poisoned();
    running.append(vec![entry(1, 1, 10)]).unwrap();
    running.stop();
    assert_eq!(*poisoned.borrow(), None);
}
