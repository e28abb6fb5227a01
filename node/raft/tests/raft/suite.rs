//! openraft's own test suite on our log and our adapter.

use crate::log;
use crate::machine::{Shared, TestMachine};
use futures::Stream;
use openraft::storage::{EntryResponder, RaftStateMachine};
use openraft::testing::log::{StoreBuilder, Suite};
use openraft::type_config::alias::{LogIdOf, SnapshotMetaOf, SnapshotOf, StoredMembershipOf};
use openraft::{OptionalSend, RaftSnapshotBuilder, StorageError};
use std::io;
use steadfast_raft::suite::{LogStore, Machine, SnapshotData, Types, run};
use steadfast_raft::{ApplyMode, Committed, Content, Position, StateMachine};
use tempfile::TempDir;

/// Our adapter, but for one thing: the suite purges logs that were never applied and expects a
/// snapshot of nothing then, where the adapter refuses to start, since state is lost.
#[derive(Debug)]
struct SuiteMachine(Machine);

type Data = Option<SnapshotData>;

fn wrapped(snapshot: SnapshotOf<Types, SnapshotData>) -> SnapshotOf<Types, Data> {
    SnapshotOf::<Types, Data> {
        meta: snapshot.meta,
        snapshot: Some(snapshot.snapshot),
    }
}

impl RaftStateMachine<Types> for SuiteMachine {
    type SnapshotData = Data;
    type SnapshotBuilder = Builder<<Machine as RaftStateMachine<Types>>::SnapshotBuilder>;

    async fn applied_state(
        &mut self,
    ) -> io::Result<(Option<LogIdOf<Types>>, StoredMembershipOf<Types>)> {
        self.0.applied_state().await
    }

    async fn apply<S>(&mut self, entries: S) -> io::Result<()>
    where
        S: Stream<Item = Result<EntryResponder<Types>, io::Error>> + Unpin + OptionalSend,
    {
        self.0.apply(entries).await
    }

    async fn try_create_snapshot_builder(&mut self, force: bool) -> Option<Self::SnapshotBuilder> {
        let nothing = self.0.applied_state().await.unwrap().0.is_none();
        let builder = self.0.try_create_snapshot_builder(force).await?;
        Some(Builder { builder, nothing })
    }

    async fn get_snapshot_builder(&mut self) -> Self::SnapshotBuilder {
        Builder {
            builder: self.0.get_snapshot_builder().await,
            nothing: false,
        }
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMetaOf<Types>,
        snapshot: Data,
    ) -> io::Result<()> {
        self.0.install_snapshot(meta, snapshot.unwrap()).await
    }

    async fn get_current_snapshot(&mut self) -> io::Result<Option<SnapshotOf<Types, Data>>> {
        Ok(self.0.get_current_snapshot().await?.map(wrapped))
    }
}

#[derive(Debug)]
struct Builder<B> {
    builder: B,
    nothing: bool,
}

impl<B: RaftSnapshotBuilder<Types, SnapshotData = SnapshotData>> RaftSnapshotBuilder<Types>
    for Builder<B>
{
    type SnapshotData = Data;

    async fn build_snapshot(&mut self) -> io::Result<SnapshotOf<Types, Data>> {
        if self.nothing {
            let meta = SnapshotMetaOf::<Types>::default();
            return Ok(SnapshotOf::<Types, Data> {
                meta,
                snapshot: None,
            });
        }
        self.builder.build_snapshot().await.map(wrapped)
    }
}

struct Stores;

impl StoreBuilder<Types, LogStore, SuiteMachine, TempDir> for Stores {
    async fn build(&self) -> Result<(TempDir, LogStore, SuiteMachine), StorageError<Types>> {
        let dir = tempfile::tempdir().unwrap();
        let store = LogStore::new(log::open(dir.path()).0);
        let machine = TestMachine(Shared::for_suite());
        let (machine, _ended) = Machine::start(ApplyMode::Thread, machine).unwrap();
        Ok((dir, store, SuiteMachine(machine)))
    }
}

#[test]
fn the_suite_of_openraft_passes() {
    run(async { Suite::test_all(Stores).await }).unwrap();
}

#[test]
fn a_purged_log_without_a_snapshot_is_refused() {
    run(async {
        let (_dir, _store, mut machine) = Stores.build().await.unwrap();
        let mut builder = machine.0.try_create_snapshot_builder(true).await.unwrap();
        let error = builder.build_snapshot().await.unwrap_err();
        assert!(error.to_string().contains("files are missing"), "{error}");
    });
}

#[test]
fn a_snapshot_of_another_place_than_announced_is_refused() {
    run(async {
        let mut source = TestMachine(Shared::for_suite());
        let position = Position {
            term: 1,
            leader: 1,
            index: 5,
        };
        let content = Content::Normal(bytes::Bytes::from_static(b"x"));
        source.apply(vec![Committed { position, content }]).unwrap();
        let files = StateMachine::snapshot(&mut source).unwrap().unwrap();
        let (_dir, _store, mut machine) = Stores.build().await.unwrap();
        let meta = SnapshotMetaOf::<Types>::default();
        let data = Some(SnapshotData::Files(files));
        let refused = machine.install_snapshot(&meta, data).await;
        let error = refused.expect_err("Raft would go on from another place than the state");
        assert!(
            error.to_string().contains("installed a snapshot"),
            "{error}"
        );
    });
}
