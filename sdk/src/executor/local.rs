//! Local activities: run by the worker while it has the workflow task, written down as markers.

use crate::converter::DataConverter;
use crate::failure::{Failure, Result};
use prost::bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::time::{Duration, SystemTime};
use steadfast_proto::temporal::command::v1::RecordMarkerCommandAttributes;
use steadfast_proto::temporal::common::v1::{Payload, Payloads, RetryPolicy};
use steadfast_proto::temporal::history::v1::MarkerRecordedEventAttributes;

/// The name of the markers, as of all SDKs with Temporal's core.
pub(crate) const MARKER: &str = "core_local_activity";

/// Asks the worker to run an activity.
#[derive(Debug, Clone, PartialEq)]
pub struct LocalActivityRequest {
    /// Names it within its run.
    pub seq: u32,
    /// Names it for people.
    pub activity_id: String,
    /// Which activity.
    pub activity_type: String,
    /// What it takes.
    pub input: Vec<Payload>,
    /// Over all attempts; zero for none.
    pub schedule_to_close_timeout: Duration,
    /// From the request to the start of the first attempt; zero for none.
    pub schedule_to_start_timeout: Duration,
    /// For one attempt; zero for none.
    pub start_to_close_timeout: Duration,
    /// When to try again.
    pub retry_policy: Option<RetryPolicy>,
    /// A longer wait for the next attempt is a timer of the workflow instead.
    pub local_retry_threshold: Duration,
    /// The first attempt has 1.
    pub attempt: u32,
    /// When the first attempt was asked for.
    pub original_schedule_time: SystemTime,
}

/// How a local activity ended.
#[derive(Debug, Clone)]
pub struct LocalActivityEnd {
    /// As it was asked for.
    pub seq: u32,
    /// The last attempt.
    pub attempt: u32,
    /// Its result, or why there is none.
    pub result: Result<Option<Payload>>,
    /// When it ended.
    pub complete_time: SystemTime,
    /// The workflow should wait so long and ask again.
    pub backoff: Option<Duration>,
}

/// A wait before the next attempt that is longer than a worker should hold a task for.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Backoff {
    pub(crate) attempt: u32,
    pub(crate) delay: Duration,
    pub(crate) original_schedule_time: SystemTime,
}

/// What a marker says besides the result.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct MarkerData {
    pub(crate) seq: u32,
    pub(crate) attempt: u32,
    pub(crate) activity_id: String,
    pub(crate) activity_type: String,
    #[serde(default)]
    pub(crate) complete_time: Option<Stamp>,
    #[serde(default)]
    pub(crate) backoff: Option<Stamp>,
    #[serde(default)]
    pub(crate) original_schedule_time: Option<Stamp>,
}

/// A time or a span, as markers have them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Stamp {
    pub(crate) seconds: i64,
    pub(crate) nanos: i32,
}

impl Stamp {
    pub(crate) fn of_time(time: SystemTime) -> Self {
        let time = prost_types::Timestamp::from(time);
        let (seconds, nanos) = (time.seconds, time.nanos);
        Self { seconds, nanos }
    }

    fn of_span(span: Duration) -> Self {
        Self {
            seconds: i64::try_from(span.as_secs()).unwrap_or(i64::MAX),
            nanos: i32::try_from(span.subsec_nanos()).unwrap_or_default(),
        }
    }

    pub(crate) fn time(self) -> Option<SystemTime> {
        let (seconds, nanos) = (self.seconds, self.nanos);
        SystemTime::try_from(prost_types::Timestamp { seconds, nanos }).ok()
    }

    fn span(self) -> Duration {
        let seconds = u64::try_from(self.seconds).unwrap_or_default();
        Duration::new(seconds, u32::try_from(self.nanos).unwrap_or_default())
    }
}

/// A marker as it was read.
#[derive(Debug, Clone)]
pub(crate) struct Marked {
    pub(crate) data: MarkerData,
    pub(crate) end: LocalActivityEnd,
}

fn plain(data: Vec<u8>) -> Payload {
    Payload {
        metadata: [("encoding".to_string(), Bytes::from_static(b"json/plain"))].into(),
        data: data.into(),
        ..Default::default()
    }
}

/// The command that writes a marker.
pub(crate) fn marker(
    request: &LocalActivityRequest,
    end: &LocalActivityEnd,
    converter: &DataConverter,
) -> RecordMarkerCommandAttributes {
    let data = MarkerData {
        seq: request.seq,
        attempt: end.attempt,
        activity_id: request.activity_id.clone(),
        activity_type: request.activity_type.clone(),
        complete_time: Some(Stamp::of_time(end.complete_time)),
        backoff: end.backoff.map(Stamp::of_span),
        original_schedule_time: Some(Stamp::of_time(request.original_schedule_time)),
    };
    let data = serde_json::to_vec(&data).expect("numbers and names are JSON");
    let mut details = std::collections::BTreeMap::new();
    details.insert(
        "data".to_string(),
        Payloads {
            payloads: vec![plain(data)],
        },
    );
    let failure = match &end.result {
        Ok(result) => {
            let payloads = result.iter().cloned().collect();
            details.insert("result".to_string(), Payloads { payloads });
            None
        }
        Err(failure) => Some(converter.to_wire(failure)),
    };
    RecordMarkerCommandAttributes {
        marker_name: MARKER.to_string(),
        details,
        header: None,
        failure,
    }
}

/// Reads a marker; nothing when it is another one, or not readable.
pub(crate) fn read_marker(
    marker: &MarkerRecordedEventAttributes,
    converter: &DataConverter,
) -> Option<Marked> {
    if marker.marker_name != MARKER {
        return None;
    }
    let data = marker.details.get("data")?.payloads.first()?;
    let data: MarkerData = serde_json::from_slice(&data.data).ok()?;
    let result = match &marker.failure {
        Some(failure) => Err(converter.from_wire(failure.clone())),
        None => Ok(marker
            .details
            .get("result")
            .and_then(|result| result.payloads.first().cloned())),
    };
    let end = LocalActivityEnd {
        seq: data.seq,
        attempt: data.attempt,
        result,
        complete_time: data
            .complete_time
            .and_then(Stamp::time)
            .unwrap_or(SystemTime::UNIX_EPOCH),
        backoff: data.backoff.map(Stamp::span),
    };
    Some(Marked { data, end })
}

/// The failure that code sees, with the activity that it is of.
pub(crate) fn seen_failure(request: &LocalActivityRequest, cause: Failure) -> Failure {
    use crate::failure::{ActivityFailure, FailureKind};
    use steadfast_proto::temporal::enums::v1::RetryState;
    let retry_state = match cause.is_canceled() {
        true => RetryState::CancelRequested,
        false => RetryState::NonRetryableFailure,
    };
    let kind = FailureKind::Activity(ActivityFailure {
        activity_id: request.activity_id.clone(),
        activity_type: request.activity_type.clone(),
        scheduled_event_id: 0,
        started_event_id: 0,
        identity: String::new(),
        retry_state,
    });
    Failure::new("Local Activity failed", kind).with_cause(cause)
}
