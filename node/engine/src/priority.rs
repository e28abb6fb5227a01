//! Priorities of workflows and activities.

use steadfast_proto::temporal::common::v1::Priority;

/// Bytes of a fairness key, at most.
const FAIRNESS_KEY_BYTES_MAX: usize = 64;

/// Whether a priority makes sense; large priority keys are accepted, as in Temporal.
///
/// # Errors
/// Temporal's text.
pub(crate) fn validate(priority: Option<&Priority>) -> Result<(), String> {
    let Some(priority) = priority else {
        return Ok(());
    };
    if priority.priority_key < 0 {
        return Err("priority key can't be negative".to_owned());
    }
    if priority.fairness_key.len() > FAIRNESS_KEY_BYTES_MAX {
        return Err("fairness key length exceeds limit".to_owned());
    }
    Ok(())
}

/// A child's priority: what it does not say is its parent's.
pub(crate) fn merged(own: Option<&Priority>, parent: Option<&Priority>) -> Option<Priority> {
    let (Some(own), Some(parent)) = (own, parent) else {
        return own.or(parent).cloned();
    };
    let mut merged = own.clone();
    if merged.priority_key == 0 {
        merged.priority_key = parent.priority_key;
    }
    if merged.fairness_key.is_empty() {
        merged.fairness_key.clone_from(&parent.fairness_key);
    }
    if merged.fairness_weight == 0.0 {
        merged.fairness_weight = parent.fairness_weight;
    }
    Some(merged)
}
