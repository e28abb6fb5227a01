//! Points in time and spans, as the engine sees them: cluster time, in nanoseconds.

use serde::{Deserialize, Serialize};

/// Nanoseconds since 1970-01-01 UTC, by cluster time.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Timestamp(pub i64);

/// A span of time in nanoseconds, never negative; 0 often means "none" or "infinite" as in Temporal.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Span(pub i64);

const NANOS: i64 = 1_000_000_000;
/// Durations are capped at 100 years, as Temporal does.
pub const SPAN_MAX: Span = Span(100 * 365 * 24 * 3600 * NANOS);

impl Timestamp {
    /// This instant and a span later; saturates.
    #[must_use]
    pub fn after(self, span: Span) -> Self {
        Self(self.0.saturating_add(span.0))
    }

    /// The span from `earlier` to this instant; 0 when that lies in the future.
    #[must_use]
    pub fn since(self, earlier: Self) -> Span {
        Span(self.0.saturating_sub(earlier.0).max(0))
    }

    /// As protobuf.
    #[must_use]
    pub fn to_proto(self) -> prost_types::Timestamp {
        let nanos = i32::try_from(self.0.rem_euclid(NANOS)).unwrap_or_default();
        prost_types::Timestamp {
            seconds: self.0.div_euclid(NANOS),
            nanos,
        }
    }

    /// From protobuf; saturates.
    #[must_use]
    pub fn from_proto(proto: &prost_types::Timestamp) -> Self {
        Self(
            proto
                .seconds
                .saturating_mul(NANOS)
                .saturating_add(i64::from(proto.nanos)),
        )
    }
}

impl Span {
    /// No time at all.
    pub const ZERO: Self = Self(0);

    /// Whole seconds.
    #[must_use]
    pub const fn seconds(seconds: i64) -> Self {
        Self(seconds * NANOS)
    }

    /// Whole milliseconds.
    #[must_use]
    pub const fn millis(millis: i64) -> Self {
        Self(millis * 1_000_000)
    }

    /// Whether the span is zero.
    #[must_use]
    pub const fn is_zero(self) -> bool {
        self.0 == 0
    }

    /// As protobuf.
    #[must_use]
    pub fn to_proto(self) -> prost_types::Duration {
        let nanos = i32::try_from(self.0 % NANOS).unwrap_or_default();
        prost_types::Duration {
            seconds: self.0 / NANOS,
            nanos,
        }
    }

    /// As protobuf, absent when zero.
    #[must_use]
    pub fn to_proto_if_set(self) -> Option<prost_types::Duration> {
        (!self.is_zero()).then(|| self.to_proto())
    }

    /// From protobuf: absent is zero, more than 100 years is 100 years. Negative spans are refused
    /// at the border and count as zero here.
    #[must_use]
    pub fn from_proto(proto: Option<&prost_types::Duration>) -> Self {
        let Some(proto) = proto else {
            return Self::ZERO;
        };
        let nanos = proto
            .seconds
            .saturating_mul(NANOS)
            .saturating_add(i64::from(proto.nanos));
        Self(nanos.clamp(0, SPAN_MAX.0))
    }
}
