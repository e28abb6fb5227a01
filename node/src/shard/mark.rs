//! Marks, what follows from a durable one, and room on the disk.

use super::Core;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// An overlay of so many bytes is frozen.
const MARK_BYTES: usize = 64 << 20;
/// And any overlay with changes after so long: a restart replays the log since the last mark.
const MARK_EVERY: Duration = Duration::from_secs(30);
const LOOK: Duration = Duration::from_millis(250);
/// Between looks at the disk.
const DISK_LOOK: Duration = Duration::from_secs(1);

/// The leader's loop: proposes marks by bytes and by time.
pub(super) async fn propose(core: &Core) {
    let mut marked = Instant::now();
    loop {
        sleep(LOOK).await;
        let changed = core.store.counters().overlay_records > 0;
        let due =
            core.store.active_bytes() >= MARK_BYTES || changed && marked.elapsed() >= MARK_EVERY;
        // With too many frozen the keeper is behind; another would stop apply.
        if due && !core.store.frozen_full() {
            core.propose_mark();
            marked = Instant::now();
        }
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

/// Every node's loop: a nearly full disk takes no work that fills it.
pub(super) async fn watch_disk(core: &Core) {
    loop {
        match core.store.space() {
            Ok(room) => {
                let was_low = core.disk_low.swap(room.low, Ordering::Relaxed);
                if room.low && !was_low {
                    let free = room.space.free;
                    tracing::warn!(
                        free,
                        "the disk is nearly full: new work is refused until there is room"
                    );
                }
            }
            Err(error) => tracing::warn!(%error, "the disk does not tell its room"),
        }
        sleep(DISK_LOOK).await;
    }
}
