//! Sets or removes one key of the dynamic configuration.

use crate::limits::{check_value, limits_of};
use crate::reply::{Refusal, Reply, Stop};
use crate::tables::{Config, Record, WriteSet, keys, wrong_record};
use std::collections::BTreeMap;

/// Keys that are set at most; each is read once per change.
const KEYS_MAX: usize = 1_000;

/// `None` removes the key.
pub(crate) fn apply(set: &mut WriteSet<'_>, key: &str, value: Option<&str>) -> Result<Reply, Stop> {
    let mut raw = match set.get(&keys::config_key())?.as_deref() {
        Some(Record::Config(config)) => config.raw.clone(),
        Some(other) => return Err(wrong_record(other).into()),
        None => BTreeMap::new(),
    };
    // Temporal's keys are one whatever their case.
    raw.retain(|known, _| !known.eq_ignore_ascii_case(key));
    if let Some(json) = value {
        check_value(key, json).map_err(Refusal::InvalidArgument)?;
        raw.insert(key.to_owned(), json.to_owned());
    }
    if raw.len() > KEYS_MAX {
        let text = format!("at most {KEYS_MAX} keys of dynamic configuration can be set");
        return Err(Refusal::InvalidArgument(text).into());
    }
    write_config(set, raw);
    Ok(Reply::Done)
}

/// Writes a configuration with the limits that follow from it.
pub(super) fn write_config(set: &mut WriteSet<'_>, raw: BTreeMap<String, String>) {
    let limits = limits_of(&raw);
    set.put(keys::config_key(), Record::Config(Config { raw, limits }));
}
