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

/// A time of the wire; nothing when it is out of range.
pub(crate) fn time(timestamp: prost_types::Timestamp) -> Option<SystemTime> {
    SystemTime::try_from(timestamp).ok()
}
