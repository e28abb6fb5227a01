//! Dynamic configuration: from Temporal's keys and JSON values to the limits that the engine uses.
//!
//! Keys are compared without regard to case, as Temporal does. A key that the engine does not know
//! is kept and means nothing to it: it may mean something to the shell.

use crate::read::visibility::duration_nanoseconds;
use crate::tables::Limits;
use crate::time::{SPAN_MAX, Span};
use serde_json::Value;
use std::collections::BTreeMap;

/// What `history.maximumBufferedEventsBatch` can be at most, events: a buffer is flushed whole by
/// the mutation that ends the workflow task, and what one mutation writes is bounded.
pub const BUFFERED_EVENTS_MAX: u32 = 5_000;
/// What `history.maximumBufferedEventsSizeInBytes` can be at most, for the same reason: 64 MiB.
pub const BUFFERED_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// The limits that a configuration gives. A value that can't be used leaves the default: it was
/// refused at the border, so it can only come from an older version of the rules.
#[must_use]
pub fn limits_of(raw: &BTreeMap<String, String>) -> Limits {
    let mut limits = Limits::default();
    for (key, json) in raw {
        if let Ok(value) = serde_json::from_str(json) {
            let set = set_limit(&mut limits, &key.to_lowercase(), &value);
            debug_assert!(set.is_ok() || !json.is_empty());
        }
    }
    limits
}

/// Whether a value can be set under a key.
///
/// # Errors
/// A text that says what is wrong.
pub fn check_value(key: &str, json: &str) -> Result<(), String> {
    if key.is_empty() {
        return Err("the key of a dynamic configuration value is empty".to_owned());
    }
    let value = serde_json::from_str(json).map_err(|error| format!("{key}: not JSON: {error}"))?;
    set_limit(&mut Limits::default(), &key.to_lowercase(), &value)
        .map_err(|expected| format!("{key}: expected {expected}, got {json}"))
}

/// Sets one limit; the error names the type that the key needs.
fn set_limit(limits: &mut Limits, key: &str, value: &Value) -> Result<(), &'static str> {
    match key {
        "limit.blobsize.error" => limits.blob_bytes_max = count(value)?,
        "limit.memosize.error" => limits.memo_bytes_max = count(value)?,
        "limit.historycount.error" => limits.history_count_max = signed(value)?,
        "limit.historysize.error" => limits.history_bytes_max = signed(value)?,
        "limit.historycount.suggestcontinueasnew" => limits.history_count_suggest = signed(value)?,
        "limit.historysize.suggestcontinueasnew" => limits.history_bytes_suggest = signed(value)?,
        "limit.numpendingactivities.error" => limits.pending_activities_max = count(value)?,
        "limit.numpendingchildexecutions.error" => limits.pending_children_max = count(value)?,
        "limit.numpendingsignals.error" => limits.pending_signals_max = count(value)?,
        "limit.numpendingcancelrequests.error" => {
            limits.pending_cancel_requests_max = count(value)?
        }
        "system.enablecrossnamespacecommands" => limits.cross_namespace_commands = switch(value)?,
        "history.maximumsignalsperexecution" => limits.signals_max = signed(value)?,
        "history.maximumbufferedeventsbatch" => {
            limits.buffered_events_max = buffered_events(value)?
        }
        "history.maximumbufferedeventssizeinbytes" => {
            limits.buffered_bytes_max = buffered_bytes(value)?
        }
        "history.maxinflightupdates" => limits.open_updates_max = count(value)?,
        "history.maxinflightupdatepayloads" => limits.open_update_bytes_max = count(value)?,
        "history.maxtotalupdates" => limits.updates_max = count(value)?,
        "history.maxtotalupdates.suggestcontinueasnewthreshold" => {
            limits.updates_suggest_per_mille = per_mille(value)?
        }
        "history.discardspeculativeworkflowtaskmaximumeventscount" => {
            limits.discarded_events_max = signed(value)?
        }
        "limit.maxidlength" => limits.id_length_max = count(value)?,
        "history.workflowidreuseminimalinterval" => {
            limits.workflow_id_reuse_interval = span(value)?
        }
        "system.enableactivityeagerexecution" => limits.eager_activities = switch(value)?,
        "matching.backlognegligibleage" => limits.backlog_negligible_age = span(value)?,
        "system.enableeagerworkflowstart" => limits.eager_start = switch(value)?,
        _ => {}
    }
    Ok(())
}

fn signed(value: &Value) -> Result<i64, &'static str> {
    value
        .as_i64()
        .filter(|number| *number >= 0)
        .ok_or("a whole number, not negative")
}

fn count(value: &Value) -> Result<u64, &'static str> {
    value.as_u64().ok_or("a whole number, not negative")
}

fn buffered_events(value: &Value) -> Result<u64, &'static str> {
    let within = |number: &u64| *number <= u64::from(BUFFERED_EVENTS_MAX);
    let number = value.as_u64().filter(within);
    number.ok_or("a whole number from 0 to 5000")
}

fn buffered_bytes(value: &Value) -> Result<u64, &'static str> {
    let within = |number: &u64| *number <= BUFFERED_BYTES_MAX;
    let number = value.as_u64().filter(within);
    number.ok_or("a whole number from 0 to 67108864")
}

/// A fraction from 0 to 1, in thousandths.
fn per_mille(value: &Value) -> Result<u64, &'static str> {
    const EXPECTED: &str = "a number from 0 to 1";
    let fraction = value
        .as_f64()
        .filter(|fraction| (0.0..=1.0).contains(fraction))
        .ok_or(EXPECTED)?;
    (0..=1_000_u32)
        .find(|thousandths| f64::from(*thousandths) >= fraction * 1_000.0)
        .map(u64::from)
        .ok_or(EXPECTED)
}

fn switch(value: &Value) -> Result<bool, &'static str> {
    value.as_bool().ok_or("true or false")
}

/// A duration: Go's form ("1.5s"), or a number of seconds.
fn span(value: &Value) -> Result<Span, &'static str> {
    const EXPECTED: &str = "a duration like \"10s\", or seconds";
    let nanos = match value {
        Value::String(text) => duration_nanoseconds(text),
        Value::Number(number) => number
            .as_i64()
            .and_then(|seconds| seconds.checked_mul(1_000_000_000)),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    };
    nanos
        .filter(|nanos| (0..=SPAN_MAX.0).contains(nanos))
        .map(Span)
        .ok_or(EXPECTED)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_reach_the_limits() {
        let raw: BTreeMap<String, String> = [
            ("limit.historyCount.suggestContinueAsNew", "50"),
            ("history.workflowIdReuseMinimalInterval", "\"0s\""),
            ("system.enableActivityEagerExecution", "false"),
            ("frontend.somethingElse", "{\"any\": 1}"),
        ]
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect();
        let limits = limits_of(&raw);
        assert_eq!(limits.history_count_suggest, 50);
        assert_eq!(limits.workflow_id_reuse_interval, Span::ZERO);
        assert!(!limits.eager_activities && limits.eager_start);
    }

    #[test]
    fn a_value_of_another_type_is_refused() {
        assert!(check_value("limit.blobSize.error", "\"big\"").is_err());
        assert!(check_value("limit.blobSize.error", "-1").is_err());
        assert!(check_value("some.key", "{").is_err());
        assert!(check_value("some.key", "[1, 2]").is_ok());
    }

    #[test]
    fn a_buffer_that_one_mutation_cannot_flush_is_refused() {
        let key = "history.maximumBufferedEventsBatch";
        assert_eq!(check_value(key, &BUFFERED_EVENTS_MAX.to_string()), Ok(()));
        let refused = check_value(key, "5001").unwrap_err();
        let text = "a whole number from 0 to 5000, got 5001";
        assert_eq!(refused, format!("{key}: expected {text}"));
        let key = "history.maximumBufferedEventsSizeInBytes";
        assert_eq!(check_value(key, &BUFFERED_BYTES_MAX.to_string()), Ok(()));
        assert!(check_value(key, "67108865").is_err());
    }
}
