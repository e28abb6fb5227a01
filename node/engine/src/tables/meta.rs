//! Counters, versions and configuration of the whole state.

use super::key::{Key, KeyWriter, SYSTEM};
use crate::time::{Span, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The one record of counters.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Meta {
    /// UUID of the cluster, set by the bootstrap.
    pub cluster_id: String,
    /// Rules by which entries are applied.
    pub engine_version: u32,
    /// The time that the last mutation used; never runs backwards.
    pub applied_at: Timestamp,
    /// The next run's number; starts at 1.
    pub next_run: u64,
    /// The next namespace's number; starts at 1.
    pub next_namespace: u32,
    /// The next queued task's sequence number.
    pub next_task: u64,
    /// The next message's sequence number in the outbox; starts at 0.
    pub next_message: u64,
}

/// Dynamic configuration: as set, and as the engine uses it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Config {
    /// Key and JSON value, as set.
    pub raw: BTreeMap<String, String>,
    /// What the engine uses.
    pub limits: Limits,
}

/// Limits and switches of the engine, under Temporal's dynamic-config names.
/// Sources and defaults: Temporal server 1.32.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Limits {
    /// `limit.blobSize.error`, bytes.
    pub blob_bytes_max: u64,
    /// `limit.memoSize.error`, bytes.
    pub memo_bytes_max: u64,
    /// `limit.historyCount.error`, events.
    pub history_count_max: i64,
    /// `limit.historySize.error`, bytes.
    pub history_bytes_max: i64,
    /// `limit.historyCount.suggestContinueAsNew`, events.
    pub history_count_suggest: i64,
    /// `limit.historySize.suggestContinueAsNew`, bytes.
    pub history_bytes_suggest: i64,
    /// `limit.numPendingActivities.error`.
    pub pending_activities_max: u64,
    /// `limit.numPendingChildExecutions.error`.
    pub pending_children_max: u64,
    /// `limit.numPendingSignals.error`, to other executions.
    pub pending_signals_max: u64,
    /// `limit.numPendingCancelRequests.error`, to other executions.
    pub pending_cancel_requests_max: u64,
    /// `system.enableCrossNamespaceCommands`.
    pub cross_namespace_commands: bool,
    /// `history.maximumSignalsPerExecution`.
    pub signals_max: i64,
    /// `history.maximumBufferedEventsBatch`, events.
    pub buffered_events_max: u64,
    /// `history.maximumBufferedEventsSizeInBytes`, bytes.
    pub buffered_bytes_max: u64,
    /// `history.maxInFlightUpdates`, per run.
    pub open_updates_max: u64,
    /// `history.maxInFlightUpdatePayloads`, bytes per run.
    pub open_update_bytes_max: u64,
    /// `history.maxTotalUpdates`, per run.
    pub updates_max: u64,
    /// `history.maxTotalUpdates.suggestContinueAsNewThreshold`, in thousandths of the maximum.
    pub updates_suggest_per_mille: u64,
    /// `history.discardSpeculativeWorkflowTaskMaximumEventsCount`: a speculative task that told of
    /// more events is written even when it only rejected updates.
    pub discarded_events_max: i64,
    /// `limit.maxIDLength`, bytes.
    pub id_length_max: u64,
    /// `history.workflowIdReuseMinimalInterval`.
    pub workflow_id_reuse_interval: Span,
    /// `system.enableActivityEagerExecution`.
    pub eager_activities: bool,
    /// `system.enableEagerWorkflowStart`.
    pub eager_start: bool,
    /// `matching.backlogNegligibleAge`: while the oldest task of a queue waits for less, a new task
    /// may go straight to a waiting poll.
    pub backlog_negligible_age: Span,
}

impl Limits {
    /// Whether a payload of this size is refused.
    #[must_use]
    pub fn exceeds_blob(&self, bytes: usize) -> bool {
        u64::try_from(bytes).unwrap_or(u64::MAX) > self.blob_bytes_max
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            blob_bytes_max: 2 * 1024 * 1024,
            memo_bytes_max: 2 * 1024 * 1024,
            history_count_max: 51_200,
            history_bytes_max: 50 * 1024 * 1024,
            history_count_suggest: 4_096,
            history_bytes_suggest: 4 * 1024 * 1024,
            pending_activities_max: 2_000,
            pending_children_max: 2_000,
            pending_signals_max: 2_000,
            pending_cancel_requests_max: 2_000,
            cross_namespace_commands: false,
            signals_max: 10_000,
            buffered_events_max: 100,
            buffered_bytes_max: 2 * 1024 * 1024,
            open_updates_max: 10,
            open_update_bytes_max: 20 * 1024 * 1024,
            updates_max: 2_000,
            updates_suggest_per_mille: 900,
            discarded_events_max: 10,
            id_length_max: 1_000,
            workflow_id_reuse_interval: Span::seconds(1),
            eager_activities: true,
            eager_start: true,
            backlog_negligible_age: Span::millis(200),
        }
    }
}

/// Key of the counters.
#[must_use]
pub fn meta_key() -> Key {
    KeyWriter::new(SYSTEM, 2).byte(0).done()
}

/// Key of the configuration.
#[must_use]
pub fn config_key() -> Key {
    KeyWriter::new(SYSTEM, 2).byte(1).done()
}
