//! How a node's life begins: with the log that it had, or as part of a cluster.

use super::{StartError, told};
use crate::shard::{StateRecord, View};
use std::collections::BTreeMap;
use std::time::Duration;
use steadfast_engine::read::namespace;
use steadfast_engine::{ENGINE_VERSION, OLDEST_ENGINE_VERSION};
use steadfast_raft::{BootstrapError, RaftNode};
use steadfast_storage::directory::{Directory, DirectoryError, LogMarker};
use steadfast_storage::log::{Log, Recovered};
use steadfast_storage::state::StateStore;
use tokio::sync::watch;

/// Between looks whether a new log holds something.
const LOG_LOOK: Duration = Duration::from_millis(50);

/// Refuses a log that lost its vote: a node that forgot whom it voted for may vote twice. Only the
/// first entry of a cluster, of term 0, is written before any vote; everything else, and so each
/// applied state, comes with one.
///
/// # Errors
/// [`DirectoryError::LogLost`].
pub(super) fn has_its_vote(
    directory: &Directory,
    node_id: u64,
    recovered: &Recovered,
    applied: bool,
) -> Result<(), DirectoryError> {
    let elected = recovered.last.is_some_and(|last| last.term > 0);
    if recovered.vote.is_none() && (elected || applied) {
        return Err(directory.log_lost(node_id));
    }
    Ok(())
}

/// Refuses a state whose rules this program does not know; the newest version that it knows.
///
/// # Errors
/// [`StartError::EngineVersion`], [`StartError::Engine`].
pub(super) fn knows_its_state(
    store: &StateStore<StateRecord>,
    newest: Option<u32>,
) -> Result<u32, StartError> {
    let (oldest, newest) = (OLDEST_ENGINE_VERSION, newest.unwrap_or(ENGINE_VERSION));
    let found = namespace::meta(&View::of(store))?.engine_version;
    // 0 before the bootstrap.
    if found != 0 && !(oldest..=newest).contains(&found) {
        return Err(StartError::EngineVersion {
            found,
            oldest,
            newest,
        });
    }
    Ok(newest)
}

/// What a new node does to become part of a cluster.
#[derive(Debug)]
pub(super) struct Beginning {
    /// The founding members; none for a node that is added.
    pub members: BTreeMap<u64, String>,
    /// The address of a member to ask; empty to wait.
    pub join: String,
    pub log: Log,
    pub marker: LogMarker,
}

/// Begins the cluster, joins it, or waits to be added.
pub(super) async fn begin(
    raft: RaftNode,
    beginning: Beginning,
    failed: watch::Sender<Option<String>>,
) {
    let begun = if beginning.join.is_empty() {
        raft.bootstrap(&beginning.members).await
    } else {
        raft.join(&beginning.join).await
    };
    match begun {
        Ok(how) => {
            tracing::debug!(?how, "this node is part of a cluster");
            let log = beginning.log;
            // Not before something is durable: a crash until then leaves a new node.
            while log.vote().is_none() || log.counters().syncs == 0 {
                tokio::time::sleep(LOG_LOOK).await;
            }
            let set = beginning.marker.set();
            told(&failed, set.map_err(|error| error.to_string()));
        }
        Err(BootstrapError::Stopped) => {}
        Err(error) => told(&failed, Err(error.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use std::path::Path;
    use std::sync::Arc;
    use steadfast_storage::disk::SimulatedDisk;
    use steadfast_storage::log::Position;

    #[test]
    fn a_log_without_its_vote_is_refused() {
        let disk = Arc::new(SimulatedDisk::new());
        let directory = Directory::open(disk, Path::new("data")).unwrap();
        let recovered = |term: Option<u64>, voted: bool| Recovered {
            vote: voted.then(|| Bytes::from_static(b"vote")),
            last: term.map(|term| Position {
                term,
                ..Position::default()
            }),
            ..Recovered::default()
        };
        for (term, voted, applied, good) in [
            (None, false, false, true),
            // The first entry of a cluster comes before the first vote.
            (Some(0), false, false, true),
            (Some(1), true, true, true),
            (Some(1), false, false, false),
            (Some(0), false, true, false),
            (None, false, true, false),
        ] {
            let checked = has_its_vote(&directory, 7, &recovered(term, voted), applied);
            assert_eq!(checked.is_ok(), good, "{term:?} {voted} {applied}");
            if let Err(error) = checked {
                assert!(error.to_string().contains("remove --member 7"), "{error}");
            }
        }
    }
}
