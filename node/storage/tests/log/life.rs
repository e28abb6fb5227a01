//! An intact disk: what goes in comes out, also after reopening.

use crate::support::{Running, answer, entry, indexes, open, position, segments, small};
use bytes::Bytes;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use steadfast_storage::disk::{CrashLoss, SimulatedDisk};
use steadfast_storage::log::{LogOptions, Recovered};

#[test]
fn a_new_log_is_empty() {
    let (log, _writer, recovered) = open(&SimulatedDisk::new(), small());
    assert_eq!(recovered, Recovered::default());
    assert_eq!(
        (log.last(), log.vote(), log.purged(), log.committed()),
        (None, None, None, None)
    );
    assert!(log.read(0, 10, 100).unwrap().is_empty());
}

#[test]
fn everything_is_there_after_reopening() {
    let disk = SimulatedDisk::new();
    let (running, _) = Running::start(&disk, small());
    let entries: Vec<_> = (0..100).map(|index| entry(1, index, 200)).collect();
    for part in entries.chunks(7) {
        running.append(part.to_vec()).unwrap();
    }
    running.vote(b"first").unwrap();
    running.vote(b"second").unwrap();
    running.log.save_committed(Some(position(1, 98)));
    running.log.purge(position(1, 9));
    running.stop();

    let (log, _writer, recovered) = open(&disk.crash(CrashLoss::AllUnsynced), small());
    let expected = Recovered {
        vote: Some(Bytes::from_static(b"second")),
        committed: Some(position(1, 98)),
        purged: Some(position(1, 9)),
        last: Some(position(1, 99)),
    };
    assert_eq!(recovered, expected);
    assert_eq!(log.read(10, 100, usize::MAX).unwrap(), entries[10..]);
    assert!(log.read(9, 100, usize::MAX).unwrap().is_empty(), "purged");
}

#[test]
fn entries_can_be_read_before_they_are_written() {
    let (log, _writer, _) = open(&SimulatedDisk::new(), small());
    log.append(vec![entry(3, 1, 5000), entry(3, 2, 5000)], Box::new(|_| ()));
    assert_eq!(log.last(), Some(position(3, 2)));
    assert_eq!(indexes(&log.read(1, 3, usize::MAX).unwrap()), [1, 2]);
    assert!(log.queued_bytes() > 10_000);
}

#[test]
fn reads_are_bounded_but_never_empty() {
    let disk = SimulatedDisk::new();
    let (running, _) = Running::start(&disk, small());
    running
        .append((1..=20).map(|index| entry(1, index, 300)).collect())
        .unwrap();
    for from in [1, 5, 19] {
        assert_eq!(indexes(&running.log.read(from, 21, 1).unwrap()), [from]);
        assert_eq!(
            indexes(&running.log.read(from, from, 1).unwrap()),
            [0u64; 0]
        );
    }
    // 300 bytes and what each entry costs besides.
    assert_eq!(indexes(&running.log.read(2, 21, 1000).unwrap()), [2, 3, 4]);
    assert!(running.log.read(21, 30, 1000).unwrap().is_empty());
}

#[test]
fn old_entries_are_read_from_disk_and_new_ones_are_not() {
    let disk = SimulatedDisk::new();
    let (running, _) = Running::start(&disk, small());
    let entries: Vec<_> = (1..=60).map(|index| entry(1, index, 300)).collect();
    for entry in &entries {
        running.append(vec![entry.clone()]).unwrap();
    }
    assert!(running.log.counters().cached_bytes <= 1000);
    assert_eq!(running.log.read(60, 61, 1).unwrap(), entries[59..]);
    assert_eq!(running.log.counters().disk_reads, 0);
    assert_eq!(running.log.read(1, 61, usize::MAX).unwrap(), entries);
    let counters = running.log.counters();
    // One read for each file, not for each entry.
    assert!(counters.disk_reads <= counters.segments, "{counters:?}");
    assert!(counters.segments >= 4, "{counters:?}");
}

#[test]
fn truncated_entries_are_replaced() {
    let disk = SimulatedDisk::new();
    let (running, _) = Running::start(&disk, small());
    running
        .append((0..30).map(|index| entry(1, index, 300)).collect())
        .unwrap();
    running.log.truncate_after(Some(4));
    assert_eq!(running.log.last(), Some(position(1, 4)));
    running
        .append((5..8).map(|index| entry(2, index, 300)).collect())
        .unwrap();
    running.log.truncate_after(Some(6));
    running.append(vec![entry(3, 7, 10)]).unwrap();
    running.stop();

    let (running, recovered) = Running::start(&disk, small());
    assert_eq!(recovered.last, Some(position(3, 7)));
    let terms: Vec<u64> = running
        .log
        .read(3, 99, usize::MAX)
        .unwrap()
        .iter()
        .map(|e| e.position.term)
        .collect();
    assert_eq!(terms, [1, 1, 2, 2, 3]);
    running.log.truncate_after(None);
    running.append(vec![entry(4, 0, 10)]).unwrap();
    running.stop();
    let (_log, _writer, recovered) = open(&disk, small());
    assert_eq!(recovered.last, Some(position(4, 0)));
}

#[test]
fn files_go_when_all_in_them_is_purged_and_the_vote_stays() {
    let disk = SimulatedDisk::new();
    let (running, _) = Running::start(&disk, small());
    running.vote(b"kept").unwrap();
    running.append(vec![entry(1, 1, 10)]).unwrap();
    running.log.save_committed(Some(position(1, 1)));
    for index in 2..=60 {
        running.append(vec![entry(1, index, 300)]).unwrap();
    }
    let before = segments(&disk);
    assert!(before.len() >= 4, "{before:?}");
    running.log.purge(position(1, 55));
    assert_eq!(
        segments(&disk),
        before,
        "nothing goes before the purge is durable"
    );
    running.append(vec![entry(1, 61, 10)]).unwrap();
    running.stop();
    let after = segments(&disk);
    assert!(after.len() <= 2, "{after:?}");

    let (log, _writer, recovered) = open(&disk.crash(CrashLoss::AllUnsynced), small());
    assert_eq!(recovered.vote, Some(Bytes::from_static(b"kept")));
    assert_eq!(
        recovered.committed,
        Some(position(1, 55)),
        "what is purged was committed"
    );
    assert_eq!(
        indexes(&log.read(56, 99, usize::MAX).unwrap()),
        [56, 57, 58, 59, 60, 61]
    );
}

#[test]
fn a_purge_beyond_the_end_moves_the_log() {
    let disk = SimulatedDisk::new();
    let (running, _) = Running::start(&disk, small());
    running
        .append((1..=3).map(|index| entry(1, index, 10)).collect())
        .unwrap();
    running.log.purge(position(5, 100));
    running.log.purge(position(1, 2));
    assert_eq!(
        (running.log.last(), running.log.purged()),
        (Some(position(5, 100)), Some(position(5, 100)))
    );
    running.append(vec![entry(5, 101, 10)]).unwrap();
    running.stop();
    let (log, _writer, recovered) = open(&disk, small());
    assert_eq!(
        (recovered.purged, recovered.last),
        (Some(position(5, 100)), Some(position(5, 101)))
    );
    assert_eq!(indexes(&log.read(101, 200, 1).unwrap()), [101]);
}

#[test]
fn an_append_larger_than_a_segment_fits() {
    let disk = SimulatedDisk::new();
    let (running, _) = Running::start(&disk, small());
    running.append(vec![entry(1, 1, 10)]).unwrap();
    running.append(vec![entry(1, 2, 100_000)]).unwrap();
    running.append(vec![entry(1, 3, 10)]).unwrap();
    running.stop();
    let (log, _writer, _) = open(&disk, small());
    assert_eq!(
        log.read(1, 9, usize::MAX).unwrap(),
        [entry(1, 1, 10), entry(1, 2, 100_000), entry(1, 3, 10)]
    );
}

#[test]
fn waiting_appends_share_a_sync_and_are_answered_in_order() {
    let disk = SimulatedDisk::new();
    let (log, writer, _) = open(&disk, LogOptions::default());
    let order = Arc::new(Mutex::new(Vec::new()));
    let syncs = disk.counts().syncs;
    for index in 0..1000u64 {
        let votes = order.clone();
        let (order, disk) = (order.clone(), disk.clone());
        log.append(
            vec![entry(1, index, 100)],
            Box::new(move |result| {
                result.unwrap();
                assert!(disk.counts().syncs > syncs, "answered before the sync");
                order.lock().unwrap().push(index);
            }),
        );
        if index % 100 == 50 {
            let done = Box::new(move |_| votes.lock().unwrap().push(10_000 + index));
            log.save_vote(Bytes::from_static(b"vote"), done);
        }
    }
    let running = Running::of(log, writer);
    running.append(vec![entry(1, 1000, 100)]).unwrap();
    let counters = running.log.counters();
    assert_eq!((counters.appends, counters.entries), (1011, 1001));
    assert!(counters.syncs <= 2, "{counters:?}");
    assert_eq!(running.log.queued_bytes(), 0);
    let mut expected = Vec::new();
    for index in 0..1000 {
        expected.push(index);
        expected.extend((index % 100 == 50).then_some(10_000 + index));
    }
    assert_eq!(*order.lock().unwrap(), expected);
}

#[test]
fn batches_are_bounded() {
    let disk = SimulatedDisk::new();
    let (log, writer, _) = open(
        &disk,
        LogOptions {
            batch_records: 10,
            ..LogOptions::default()
        },
    );
    for index in 0..100 {
        log.append(vec![entry(1, index, 10)], Box::new(|_| ()));
    }
    let running = Running::of(log, writer);
    answer(&running.append_later(vec![])).unwrap();
    assert_eq!(running.log.counters().batches, 11);
}

#[test]
fn notes_alone_are_never_synced() {
    let disk = SimulatedDisk::new();
    let (running, _) = Running::start(&disk, small());
    running
        .append((1..=50).map(|index| entry(1, index, 10)).collect())
        .unwrap();
    let counts = disk.counts();
    for index in 1..=50 {
        running.log.save_committed(Some(position(1, index)));
    }
    running.log.purge(position(1, 10));
    std::thread::yield_now();
    assert_eq!(disk.counts(), counts);
}

#[tokio::test(start_paused = true)]
async fn on_a_task_answers_come_after_the_latency() {
    let (log, writer, _) = open(&SimulatedDisk::new(), small());
    let task = tokio::spawn(writer.run_on_task(|| Duration::from_millis(5)));
    let start = tokio::time::Instant::now();
    for index in 0..3 {
        let (done, answer) = tokio::sync::oneshot::channel();
        log.append(
            vec![entry(1, index, 10)],
            Box::new(move |result| drop(done.send(result))),
        );
        answer.await.unwrap().unwrap();
    }
    assert_eq!(start.elapsed(), Duration::from_millis(15));
    drop(log);
    task.await.unwrap();
}
