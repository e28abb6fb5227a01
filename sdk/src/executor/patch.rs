//! Changes of code that old runs must not see.

use prost::bytes::Bytes;
use serde::{Deserialize, Serialize};
use steadfast_proto::temporal::command::v1::RecordMarkerCommandAttributes;
use steadfast_proto::temporal::common::v1::{Payload, Payloads};
use steadfast_proto::temporal::history::v1::MarkerRecordedEventAttributes;

/// The name of the markers, as of all SDKs with Temporal's core.
pub(crate) const MARKER: &str = "core_patch";
/// The search attribute that lists the patches of a run.
pub(crate) const SEARCH_ATTRIBUTE: &str = "TemporalChangeVersion";

/// What a marker says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct MarkerData {
    pub(crate) id: String,
    pub(crate) deprecated: bool,
}

pub(crate) fn marker(id: &str, deprecated: bool) -> RecordMarkerCommandAttributes {
    let id = id.to_string();
    let data = serde_json::to_vec(&MarkerData { id, deprecated }).expect("a name is JSON");
    let payload = Payload {
        metadata: [("encoding".to_string(), Bytes::from_static(b"json/plain"))].into(),
        data: data.into(),
        ..Default::default()
    };
    let payloads = vec![payload];
    RecordMarkerCommandAttributes {
        marker_name: MARKER.to_string(),
        details: [("patch-data".to_string(), Payloads { payloads })].into(),
        header: None,
        failure: None,
    }
}

/// Reads a marker; nothing when it is another one, or not readable.
pub(crate) fn read_marker(marker: &MarkerRecordedEventAttributes) -> Option<MarkerData> {
    if marker.marker_name != MARKER {
        return None;
    }
    let data = marker.details.get("patch-data")?.payloads.first()?;
    serde_json::from_slice(&data.data).ok()
}

/// The list of all patches of a run, as a search attribute.
pub(crate) fn listed<'a>(ids: impl Iterator<Item = &'a String>) -> Payload {
    let ids: Vec<&String> = ids.collect();
    let data = serde_json::to_vec(&ids).expect("names are JSON");
    Payload {
        metadata: [
            ("encoding".to_string(), Bytes::from_static(b"json/plain")),
            ("type".to_string(), Bytes::from_static(b"KeywordList")),
        ]
        .into(),
        data: data.into(),
        ..Default::default()
    }
}
