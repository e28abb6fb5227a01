//! Properties over random mutations: two replicas agree, one of which gets each entry as bytes and
//! reads its whole state back from bytes now and then, as after a restart; the invariants hold; most
//! mutations are accepted. And properties of arithmetic and keys.

#![cfg(test)]

use proptest::prelude::*;
use std::collections::BTreeSet;
use steadfast_engine::id::{NamespaceNumber, QueueKey, TaskKind};
use steadfast_engine::retry;
use steadfast_engine::tables::keys;
use steadfast_engine::time::Span;
use steadfast_proto::temporal::common::v1::RetryPolicy;

#[path = "properties/history.rs"]
mod history;
#[path = "workflows/memory.rs"]
mod memory;
#[path = "properties/mutations.rs"]
mod mutations;

use history::History;

const SEEDS: u64 = 6;
const STEPS: u64 = 2_500;
/// Steps between two comparisons of the replicas.
const COMPARED_EVERY: u64 = 20;

#[test]
fn replicas_agree_whatever_happens() {
    let mut seen = BTreeSet::new();
    for seed in 0..SEEDS {
        let mut history = History::new(seed);
        while history.step < STEPS {
            let mutation = history.mutation();
            history.propose(mutation);
            if history.step.is_multiple_of(COMPARED_EVERY) {
                history.restart_and_compare(seed);
            }
        }
        let accepted: u64 = history.accepted.values().sum();
        assert!(
            accepted > history.refused,
            "seed {seed}: {accepted}, {}",
            history.refused
        );
        seen.extend(history.accepted.into_keys());
    }
    let names = [
        "StartWorkflowExecution",
        "ClaimTask",
        "ReturnTask",
        "RespondWorkflowTaskCompleted",
        "RespondActivityTaskCompleted",
        "RespondActivityTaskFailed",
        "RespondActivityTaskCanceled",
        "RecordActivityTaskHeartbeat",
        "FireDue",
        "DeliverMessage",
        "RegisterNamespace",
        "UpdateNamespace",
        "AddSearchAttributes",
        "SetConfig",
        "DeleteWorkflowExecution",
    ];
    for name in names {
        assert!(
            seen.contains(name),
            "{name} was accepted at least once: {seen:?}"
        );
    }
}

proptest! {
    /// The wait never shrinks, never exceeds the cap, and never overflows.
    #[test]
    fn retry_intervals_grow_to_their_cap(
        first in 1_i64..1_000_000_000_000,
        coefficient in 1.0_f64..100.0,
        cap_factor in 1_i64..10_000,
        attempt in 1_i32..i32::MAX - 1,
    ) {
        let cap = Span(first.saturating_mul(cap_factor));
        let policy = RetryPolicy {
            initial_interval: Some(Span(first).to_proto()),
            backoff_coefficient: coefficient,
            maximum_interval: Some(cap.to_proto()),
            ..RetryPolicy::default()
        };
        let (one, two) = (retry::interval(&policy, attempt), retry::interval(&policy, attempt + 1));
        prop_assert!(one <= two);
        prop_assert!(two <= cap);
        prop_assert!(one >= Span(first).min(cap));
    }

    /// A queue and its sequence number are found again in the key, whatever the name.
    #[test]
    fn queue_keys_are_read_back(
        namespace in 1_u32..,
        activity in any::<bool>(),
        name in ".{0,40}",
        sequence in any::<u64>(),
    ) {
        let kind = if activity { TaskKind::Activity } else { TaskKind::Workflow };
        let queue = QueueKey { namespace: NamespaceNumber(namespace), kind, name };
        let key = keys::queue_task_key(&queue, sequence);
        prop_assert_eq!(keys::queue_of_key(&key), Some((queue, sequence)));
    }

    /// Bytes that are no key are no key, and never a panic.
    #[test]
    fn foreign_bytes_are_no_queue_key(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
        if let Some((queue, sequence)) = keys::queue_of_key(&bytes) {
            // Kinds above 1 are read as activities.
            prop_assert_eq!(keys::queue_task_key(&queue, sequence).len(), bytes.len());
        }
    }
}

/// The checks are worth something only if they see damage.
#[test]
fn damage_is_seen() {
    let (mut seen, mut missed) = (BTreeSet::new(), BTreeSet::new());
    for seed in 0..4 {
        let mut history = History::new(seed);
        while history.step < 200 {
            let mutation = history.mutation();
            history.propose(mutation);
        }
        for (family, loss_is_seen) in history.loss_is_seen() {
            if loss_is_seen { &mut seen } else { &mut missed }.insert(family);
        }
    }
    assert!(missed.is_empty(), "{missed:?}");
    let families = [
        "Activity",
        "ActivityById",
        "Child",
        "Due",
        "HistoryBatch",
        "QueueTask",
        "Run",
        "Visibility",
    ];
    for family in families {
        assert!(seen.contains(family), "{family}: {seen:?}");
    }
}
