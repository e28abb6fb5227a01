//! openraft's own test suite on our log and our adapter.

use crate::log;
use crate::machine::{Shared, TestMachine};
use steadfast_raft::ApplyMode;
use steadfast_raft::suite::{LogStore, Machine, StorageError, StoreBuilder, Suite, Types, run};
use tempfile::TempDir;

struct Builder;

impl StoreBuilder<Types, LogStore, Machine, TempDir> for Builder {
    async fn build(&self) -> Result<(TempDir, LogStore, Machine), StorageError<Types>> {
        let dir = tempfile::tempdir().unwrap();
        let store = LogStore::new(log::open(dir.path()).0);
        let machine = TestMachine(Shared::for_suite());
        let (machine, _ended) = Machine::start(ApplyMode::Thread, machine).unwrap();
        Ok((dir, store, machine))
    }
}

#[test]
fn the_suite_of_openraft_passes() {
    run(async { Suite::test_all(Builder).await }).unwrap();
}
