//! The shard's gauges.

use super::Core;
use crate::telemetry::Page;

pub(super) fn render(core: &Core, page: &mut Page) {
    core.telemetry.render(page);
    let (bytes, count) = core.admission.load();
    page.gauge("admission_bytes", bytes as u64);
    page.gauge("admission_count", count as u64);
    let (waiting, held) = core.matching.counts();
    page.gauge("polls_waiting", waiting as u64);
    page.gauge("polls_held", held as u64);
    page.gauge("queries_waiting", core.queries.count() as u64);
    page.gauge("applied_index", *core.applied.borrow());
    page.gauge("leader", u64::from(core.in_office()));
    page.gauge("states_differ", core.unsound());
    let state = core.store.counters();
    page.gauge("overlay_records", state.overlay_records);
    page.gauge("overlay_bytes", state.overlay_bytes);
    page.gauge("frozen_overlays", state.frozen);
    page.gauge("deltas", state.deltas);
    page.counter("index_puts_total", state.index_puts);
    page.counter("index_deletes_total", state.index_deletes);
    page.counter("index_batches_total", state.index_batches);
    page.counter("index_bytes_total", state.index_bytes);
    page.counter("deltas_written_total", state.deltas_written);
    page.counter("delta_bytes_total", state.delta_bytes);
    page.counter("merges_total", state.merges);
    page.counter("merge_bytes_total", state.merge_bytes);
    if let Some(raft) = core.raft() {
        let progress = raft.progress();
        page.gauge("last_log_index", progress.last_log.unwrap_or_default());
        page.gauge("committed_index", progress.committed.unwrap_or_default());
        page.gauge("purged_index", progress.purged.unwrap_or_default());
        page.gauge("term", raft.leadership().borrow().term);
    }
}
