//! Durations and times of Rust and of the wire.

use std::time::{Duration, SystemTime};

/// As the wire has it; what is too long for it is the longest it has.
pub(crate) fn to_wire(duration: Duration) -> prost_types::Duration {
    prost_types::Duration {
        seconds: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        // Always below a thousand million.
        nanos: duration.subsec_nanos().cast_signed(),
    }
}

/// From the wire; a negative one is none at all.
pub(crate) fn from_wire(duration: prost_types::Duration) -> Duration {
    Duration::try_from(duration).unwrap_or_default()
}

/// As [`from_wire`]; one that is not given is zero.
pub(crate) fn or_zero(given: Option<prost_types::Duration>) -> Duration {
    from_wire(given.unwrap_or_default())
}

/// As [`time`]; one that is not given, or out of range, is the beginning of time.
pub(crate) fn time_or_epoch(given: Option<prost_types::Timestamp>) -> SystemTime {
    time(given.unwrap_or_default()).unwrap_or(SystemTime::UNIX_EPOCH)
}

/// A time of the wire; nothing when it is out of range.
pub(crate) fn time(timestamp: prost_types::Timestamp) -> Option<SystemTime> {
    SystemTime::try_from(timestamp).ok()
}
