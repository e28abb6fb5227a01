//! Marks, what follows from a durable one, and room on the disk.

use super::{Core, Unavailable};
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout};

const LOOK: Duration = Duration::from_millis(250);
/// A mark that is asked for is durable here within this, or the disk is too slow for a backup.
const TAKEN_WITHIN: Duration = Duration::from_secs(60);
/// Between looks at the disk.
const DISK_LOOK: Duration = Duration::from_secs(1);
/// And while it is nearly full.
const DISK_LOOK_LOW: Duration = Duration::from_millis(100);

/// The leader's loop: proposes marks by bytes and by time.
pub(super) async fn propose(core: &Core) {
    let mut marked = Instant::now();
    loop {
        sleep(LOOK).await;
        let changed = core.store.counters().overlay_records > 0;
        let due = core.store.active_bytes() >= core.sizes.mark_bytes
            || changed && marked.elapsed() >= core.sizes.mark_every;
        // With too many frozen the keeper is behind; another would stop apply.
        if due && !core.store.frozen_full() {
            core.propose_mark();
            marked = Instant::now();
        }
    }
}

/// A mark for a backup: it holds everything that was acknowledged before the call.
pub(super) async fn take(core: &Core) -> Result<u64, Unavailable> {
    let before = core.read().await?.applied();
    let mut durable = core.store.durable();
    if !core.store.room().await {
        return Err(Unavailable::Stopping);
    }
    core.propose_mark();
    let marked = durable.wait_for(|durable| {
        durable
            .position
            .is_some_and(|position| position.index > before)
    });
    match timeout(TAKEN_WITHIN, marked).await {
        Ok(Ok(durable)) => Ok(durable.position.map_or(0, |position| position.index)),
        Ok(Err(_)) => Err(Unavailable::Stopping),
        Err(_) => Err(Unavailable::Unknown),
    }
}

/// Every node's loop: the log before a durable mark may go.
pub(super) async fn purge_log(core: &Core) {
    let Some(raft) = core.raft() else { return };
    let mut durable = core.store.durable();
    loop {
        let position = durable.borrow_and_update().position;
        if let Some(position) = position
            && let Err(error) = raft.snapshot_durable(position.index).await
        {
            tracing::debug!(%error, "the log is not purged");
        }
        if durable.changed().await.is_err() {
            return;
        }
    }
}

/// Every node's loop: a nearly full disk takes no work that fills it, and a full one ends the node
/// while its last steps still find room.
pub(super) async fn watch_disk(core: &Core) {
    loop {
        let mut low = false;
        match core.store.space() {
            Ok(room) => {
                low = room.low;
                let was_low = core.disk_low.swap(low, Ordering::Relaxed);
                let free = room.space.free;
                if room.empty {
                    core.fail(format!("the disk is full: {free} bytes are free"));
                }
                if low && !was_low {
                    tracing::warn!(
                        free,
                        "the disk is nearly full: new work is refused until there is room"
                    );
                }
            }
            Err(error) => tracing::warn!(%error, "the disk does not tell its room"),
        }
        sleep(if low { DISK_LOOK_LOW } else { DISK_LOOK }).await;
    }
}

/// Before an orderly end: what the leader applied since the last mark goes to a file, so that the
/// next start has little to replay. A follower takes the marks there are.
pub(super) async fn rest(core: &Core, within: Duration) {
    let changed = core.store.counters().overlay_records > 0;
    if !core.in_office() || !changed || core.store.frozen_full() {
        return;
    }
    let before = core.store.applied().map_or(0, |position| position.index);
    let mut durable = core.store.durable();
    core.propose_mark();
    let marked = durable.wait_for(|durable| {
        durable
            .position
            .is_some_and(|position| position.index > before)
    });
    if timeout(within, marked).await.is_err() {
        tracing::debug!("the last mark is not durable yet");
    }
}
