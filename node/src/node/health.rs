//! What the HTTP pages show of a node.

use crate::http::{Health, LeaderProbe};
use crate::shard::Shard;
use crate::telemetry::Page;
use std::pin::Pin;
use steadfast_storage::log::Log;

#[derive(Debug)]
pub(super) struct NodeHealth {
    node_id: u64,
    shard: Shard,
    log: Log,
    probe: LeaderProbe,
}

impl NodeHealth {
    pub(super) fn new(node_id: u64, shard: Shard, log: Log) -> Self {
        Self {
            node_id,
            shard,
            log,
            probe: LeaderProbe::default(),
        }
    }
}

impl Health for NodeHealth {
    fn node_id(&self) -> u64 {
        self.node_id
    }

    fn leads(&self) -> bool {
        self.shard.is_leader()
    }

    fn leader_grpc(&self) -> Option<String> {
        self.shard.leading_grpc_address()
    }

    fn reads(&self, through_leader: bool) -> Pin<Box<dyn Future<Output = bool> + Send + '_>> {
        Box::pin(async move {
            if !self.shard.is_sound() {
                return false;
            }
            if self.shard.is_leader() {
                return self.shard.read().await.is_ok();
            }
            match self.shard.leader_http_address() {
                Some(address) if through_leader => self.probe.serves(&address).await,
                Some(_) | None => false,
            }
        })
    }

    fn metrics(&self) -> String {
        let mut page = Page::default();
        self.shard.render(&mut page);
        let log = self.log.counters();
        page.counter("log_appends_total", log.appends);
        page.counter("log_entries_total", log.entries);
        page.counter("log_bytes_total", log.bytes);
        page.counter("log_batches_total", log.batches);
        page.counter("log_fsyncs_total", log.syncs);
        page.gauge("log_segments", log.segments);
        page.gauge("log_queued_bytes", log.queued_bytes);
        page.gauge("log_cached_bytes", log.cached_bytes);
        page.counter("log_disk_reads_total", log.disk_reads);
        page.done()
    }
}
