//! Histories as they are kept in files: JSON as the command line and the web page download it, and
//! protobuf.

use prost::Message;
use prost_reflect::{DeserializeOptions, DynamicMessage, FieldDescriptor, Kind, MessageDescriptor};
use serde_json::Value;
use steadfast_proto::temporal::history::v1::{History as Wire, HistoryEvent};

/// The message of a whole history.
const HISTORY: &str = "temporal.api.history.v1.History";

/// All events of one run of a workflow, from the first one on.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct History {
    /// In order, from the first one on.
    pub events: Vec<HistoryEvent>,
}

/// What is in a file is no history.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    /// It is no JSON, or JSON of something else.
    #[error("this is no history in JSON: {0}")]
    Json(#[from] serde_json::Error),
    /// It is not the message of a history.
    #[error("this is no history in protobuf: {0}")]
    Protobuf(#[from] prost::DecodeError),
    /// There is nothing in it.
    #[error("the history has no events")]
    Empty,
    /// It does not begin with the beginning.
    #[error("the history begins with event {0}: all events are needed, from the first one on")]
    Beheaded(i64),
}

impl History {
    /// Reads JSON as `temporal workflow show --output json`, the web page's download and all SDKs
    /// write it: an object with `events`, or the events alone. Names of enums may be of either kind
    /// (`EVENT_TYPE_TIMER_STARTED`, `TimerStarted`). Fields that are not known here are left out.
    ///
    /// # Errors
    /// [`HistoryError`], when it is anything else or does not begin with the first event.
    pub fn from_json(json: &str) -> Result<Self, HistoryError> {
        let mut value: Value = serde_json::from_str(json)?;
        if value.is_array() {
            value = serde_json::json!({ "events": value });
        }
        let descriptor = descriptor();
        modernize(&mut value, &descriptor);
        let options = DeserializeOptions::new().deny_unknown_fields(false);
        let message = DynamicMessage::deserialize_with_options(descriptor, value, &options)?;
        Self::from_protobuf(&message.encode_to_vec())
    }

    /// Reads the message `temporal.api.history.v1.History`.
    ///
    /// # Errors
    /// [`HistoryError`], when it is anything else or does not begin with the first event.
    pub fn from_protobuf(bytes: &[u8]) -> Result<Self, HistoryError> {
        Self::from_events(Wire::decode(bytes)?.events)
    }

    /// Of events that a client has read.
    ///
    /// # Errors
    /// [`HistoryError::Empty`] and [`HistoryError::Beheaded`].
    pub fn from_events(events: Vec<HistoryEvent>) -> Result<Self, HistoryError> {
        match events.first().map(|event| event.event_id) {
            None => Err(HistoryError::Empty),
            Some(1) => Ok(Self { events }),
            Some(first) => Err(HistoryError::Beheaded(first)),
        }
    }

    /// The history as JSON, as the command line writes it.
    ///
    /// # Errors
    /// [`HistoryError::Json`], when an event holds what JSON cannot, such as a time beyond the year
    /// 9999.
    pub fn to_json(&self) -> Result<String, HistoryError> {
        let bytes = self.to_protobuf();
        let message = DynamicMessage::decode(descriptor(), bytes.as_slice())?;
        Ok(serde_json::to_string_pretty(&message)?)
    }

    /// The message `temporal.api.history.v1.History`.
    #[must_use]
    pub fn to_protobuf(&self) -> Vec<u8> {
        let events = self.events.clone();
        Wire { events }.encode_to_vec()
    }
}

fn descriptor() -> MessageDescriptor {
    crate::converter::temporal_message(HISTORY).expect("the build wrote the descriptors")
}

/// Gives enums the names that protobuf has for them, all the way down.
fn modernize(value: &mut Value, message: &MessageDescriptor) {
    let Value::Object(fields) = value else { return };
    for (name, value) in fields {
        let field = message
            .get_field_by_json_name(name)
            .or_else(|| message.get_field_by_name(name));
        let Some(field) = field else { continue };
        match value {
            Value::Array(items) => items
                .iter_mut()
                .for_each(|item| modernize_one(item, &field)),
            Value::Object(entries) if field.is_map() => {
                let Kind::Message(entry) = field.kind() else {
                    continue;
                };
                let of = entry.map_entry_value_field();
                entries
                    .values_mut()
                    .for_each(|item| modernize_one(item, &of));
            }
            other => modernize_one(other, &field),
        }
    }
}

fn modernize_one(value: &mut Value, field: &FieldDescriptor) {
    match (field.kind(), &mut *value) {
        (Kind::Message(inner), _) => modernize(value, &inner),
        (Kind::Enum(of), Value::String(name)) if of.get_value_by_name(name).is_none() => {
            let matches = |full: &str| {
                let plain: String = full.split('_').map(str::to_ascii_lowercase).collect();
                plain.ends_with(&name.to_ascii_lowercase())
            };
            // The shortest that ends so: `Completed` is a part of others' names, too.
            let known = of.values().map(|value| value.name().to_owned());
            if let Some(full) = known.filter(|full| matches(full)).min_by_key(String::len) {
                *name = full;
            }
        }
        (_, _) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use steadfast_proto::temporal::enums::v1::EventType;
    use steadfast_proto::temporal::history::v1::history_event::Attributes as Event;

    const OLD: &str = r#"{"events": [
        {"eventId": "1", "eventTime": "2026-01-02T03:04:05.678Z", "eventType": "WorkflowExecutionStarted",
         "someFieldOfTomorrow": 5,
         "workflowExecutionStartedEventAttributes": {
            "workflowType": {"name": "order"}, "taskQueue": {"name": "orders", "kind": "Normal"},
            "input": {"payloads": [{"metadata": {"encoding": "anNvbi9wbGFpbg=="}, "data": "NQ=="}]},
            "workflowTaskTimeout": "10s"}},
        {"eventId": "2", "eventType": "EVENT_TYPE_WORKFLOW_TASK_SCHEDULED",
         "workflowTaskScheduledEventAttributes": {}}
    ]}"#;

    #[test]
    fn json_of_either_kind_is_read_and_written() {
        let history = History::from_json(OLD).expect("a history");
        let types: Vec<EventType> = history
            .events
            .iter()
            .map(HistoryEvent::event_type)
            .collect();
        assert_eq!(
            types,
            [
                EventType::WorkflowExecutionStarted,
                EventType::WorkflowTaskScheduled
            ]
        );
        let Some(Event::WorkflowExecutionStartedEventAttributes(started)) =
            &history.events[0].attributes
        else {
            panic!("{history:?}");
        };
        assert_eq!(started.task_queue.as_ref().expect("a queue").kind, 1);
        let payload = &started.input.as_ref().expect("an input").payloads[0];
        assert_eq!(payload.data.as_ref(), b"5");
        let written = history.to_json().expect("JSON");
        assert!(
            written.contains("\"EVENT_TYPE_WORKFLOW_EXECUTION_STARTED\""),
            "{written}"
        );
        assert_eq!(History::from_json(&written).expect("a history"), history);
        let events: Value = serde_json::from_str(&written).expect("JSON");
        let alone = events["events"].to_string();
        assert_eq!(History::from_json(&alone).expect("a history"), history);
        let protobuf = history.to_protobuf();
        assert_eq!(
            History::from_protobuf(&protobuf).expect("a history"),
            history
        );
    }

    #[test]
    fn what_is_no_history_is_told() {
        let told = |json: &str| History::from_json(json).expect_err(json).to_string();
        assert!(told("not json").contains("no history in JSON"));
        assert!(told(r#"{"events": [{"eventId": "one"}]}"#).contains("no history in JSON"));
        assert!(told("{}").contains("no events"));
        assert!(told(r#"[{"eventId": "7"}]"#).contains("begins with event 7"));
        let error = History::from_protobuf(&[0xff, 1, 2]).expect_err("no message");
        assert!(error.to_string().contains("protobuf"), "{error}");
    }
}
