//! Timing and limits, and what a node is started with.

use crate::apply_thread::ApplyMode;
use crate::membership::LAG_MAX;
use crate::peer::{NodeId, Peer};
use openraft::{Config, SnapshotPolicy};
use std::time::Duration;

/// Raft's clocks. A follower campaigns after the lease (= `election_max`) plus a random time of
/// `election_min..election_max` without a leader, later when its log is behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// Between heartbeats.
    pub heartbeat: Duration,
    /// Least random part of the election timeout.
    pub election_min: Duration,
    /// Greatest random part, and the lease.
    pub election_max: Duration,
}

impl Default for Timing {
    /// Detection in 0.6 to 0.8 s; a disk that stalls for 200 ms elects nobody.
    fn default() -> Self {
        Timing {
            heartbeat: Duration::from_millis(75),
            election_min: Duration::from_millis(200),
            election_max: Duration::from_millis(400),
        }
    }
}

/// What a node is started with.
#[derive(Debug, Clone)]
pub struct RaftOptions {
    /// This node.
    pub node_id: NodeId,
    /// This node's addresses and the identity of its data directory.
    pub peer: Peer,
    /// What people call the cluster: lanes of another one are refused. At most 128 bytes.
    pub cluster_name: String,
    /// The shard; one today.
    pub group: u64,
    /// Raft's clocks.
    pub timing: Timing,
    /// Where the state machine runs.
    pub apply: ApplyMode,
    /// Seed of every random number here: election timeouts. From the system's entropy, or from a
    /// simulation's seed.
    pub seed: u64,
    /// Applied entries kept in the log behind the newest durable mark, for followers that were
    /// away for a restart: below that a snapshot is sent.
    pub keep_entries: u64,
    /// Bytes per second of a snapshot that is sent.
    pub snapshot_rate: u64,
}

impl RaftOptions {
    /// Options with the defaults of the design.
    pub fn new(node_id: NodeId, peer: Peer, cluster_name: impl Into<String>, seed: u64) -> Self {
        RaftOptions {
            node_id,
            peer,
            cluster_name: cluster_name.into(),
            group: 0,
            timing: Timing::default(),
            apply: ApplyMode::Thread,
            seed,
            keep_entries: 20_000,
            snapshot_rate: 64 << 20,
        }
    }

    pub(crate) fn config(&self) -> Config {
        let heartbeat = millis(self.timing.heartbeat);
        Config {
            cluster_name: self.cluster_name.clone(),
            heartbeat_interval: heartbeat,
            // Replication's answers are as good as a heartbeat's.
            heartbeat_min_interval: Some(heartbeat),
            election_timeout_min: millis(self.timing.election_min),
            election_timeout_max: millis(self.timing.election_max),
            enable_pre_vote: Some(true),
            max_payload_entries: 1024,
            api_batch_capacity: 4096,
            api_batch_linger_ms: 0,
            max_append_entries: Some(4096),
            // Back-pressure before memory: the node admits 4,096 mutations at most.
            api_channel_size: Some(8192),
            // Node triggers when a delta file is durable; counting entries says nothing.
            snapshot_policy: SnapshotPolicy::Never,
            max_in_snapshot_log_to_keep: self.keep_entries,
            purge_batch_size: 1024,
            replication_lag_threshold: LAG_MAX,
            install_snapshot_timeout: 120_000,
            // The state may be older than the log after a restart: replay before leading.
            enable_leader_restore: Some(false),
            // A log that went back has lost its promises: never silently again.
            allow_log_reversion: None,
            backoff: "50ms 100ms 200ms 500ms 1s".to_owned(),
            ..Config::default()
        }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn openraft_accepts_the_timing_and_safety_settings_hold() {
        let config = RaftOptions::new(1, Peer::default(), "c", 1)
            .config()
            .validate()
            .unwrap();
        assert_eq!(config.enable_pre_vote, Some(true));
        assert_eq!(config.enable_leader_restore, Some(false));
        assert_eq!(config.allow_log_reversion, None);
        assert!(config.election_timeout_min > 2 * config.heartbeat_interval);
    }
}
