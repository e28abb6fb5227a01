//! What openraft may rely on when a call of the log store has returned or called back.

use openraft::RaftLogReader;
use openraft::storage::{IOFlushed, RaftLogStorage};
use openraft::type_config::TypeConfigExt;
use openraft::type_config::alias::{EntryOf, VoteOf};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use steadfast_raft::suite::{LogStore, Types};
use steadfast_storage::disk::{CrashLoss, SimulatedDisk};
use steadfast_storage::log::{Log, LogOptions};

/// A store whose syncs take a second of paused time.
fn store(disk: &SimulatedDisk) -> LogStore {
    let disk = Arc::new(disk.clone());
    let (log, writer, _) = Log::open(disk, Path::new("/log"), LogOptions::default()).unwrap();
    tokio::spawn(writer.run_on_task(|| Duration::from_secs(1)));
    LogStore::new(log)
}

fn entry(index: u64) -> EntryOf<Types> {
    openraft::testing::blank_ent::<Types>(1, 1, index)
}

#[tokio::test(start_paused = true)]
async fn a_saved_vote_is_durable_with_all_that_was_appended_before() {
    let disk = SimulatedDisk::new();
    let mut log = store(&disk);
    log.append([entry(0), entry(1)], IOFlushed::noop())
        .await
        .unwrap();
    let vote = VoteOf::<Types>::new(3, 2);
    log.save_vote(&vote).await.unwrap();
    // The power fails in the moment in which the call returns.
    let mut log = store(&disk.crash(CrashLoss::AllUnsynced));
    assert_eq!(log.read_vote().await.unwrap(), Some(vote));
    let entries = log.try_get_log_entries(0..2).await.unwrap();
    assert_eq!(entries, [entry(0), entry(1)]);
}

#[tokio::test(start_paused = true)]
async fn entries_that_are_called_durable_survive_a_power_cut() {
    let disk = SimulatedDisk::new();
    let mut log = store(&disk);
    let (done, durable) = Types::oneshot();
    log.append([entry(0), entry(1)], IOFlushed::signal(done))
        .await
        .unwrap();
    durable.await.unwrap().unwrap();
    let mut log = store(&disk.crash(CrashLoss::AllUnsynced));
    let entries = log.try_get_log_entries(0..2).await.unwrap();
    assert_eq!(entries, [entry(0), entry(1)]);
}

#[tokio::test(start_paused = true)]
async fn append_does_not_wait_for_the_disk() {
    let mut log = store(&SimulatedDisk::new());
    let began = tokio::time::Instant::now();
    log.append([entry(0)], IOFlushed::noop()).await.unwrap();
    assert_eq!(began.elapsed(), Duration::ZERO, "of paused time");
    assert_eq!(log.try_get_log_entries(0..1).await.unwrap(), [entry(0)]);
}
