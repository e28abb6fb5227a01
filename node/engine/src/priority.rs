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
