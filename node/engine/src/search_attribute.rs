//! Search attributes of runs: which names exist, which values fit, and their `type` metadata.

use crate::read::visibility::{PREDEFINED, SYSTEM, nanoseconds};
use crate::tables::Namespace;
use serde_json::Value;
use std::collections::BTreeMap;
use steadfast_proto::temporal::common::v1::Payload;
use steadfast_proto::temporal::enums::v1::IndexedValueType;

/// Attributes of one request, at most (`limit.searchAttributes.number`).
const NUMBER_MAX: usize = 100;
/// Bytes of one value, at most.
const VALUE_BYTES_MAX: usize = 2 * 1024;
/// Bytes of all names and values of one request, at most.
const TOTAL_BYTES_MAX: usize = 40 * 1024;

/// Why search attributes are refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SearchAttributeError {
    /// A name or value does not fit; Temporal's text.
    #[error("{0}")]
    Invalid(String),
    /// Over a size limit: a command with this terminates its workflow; Temporal's text.
    #[error("{0}")]
    TooLarge(String),
}

/// Checks attributes and gives each value its `type` metadata, as Temporal writes them into
/// events. Values that unset (see [`unsets`]) stay in the answer.
pub(crate) fn normalise(
    namespace: &Namespace,
    fields: &BTreeMap<String, Payload>,
) -> Result<BTreeMap<String, Payload>, SearchAttributeError> {
    if fields.len() > NUMBER_MAX {
        let text = format!(
            "number of search attributes {} exceeds limit {NUMBER_MAX}",
            fields.len()
        );
        return Err(SearchAttributeError::Invalid(text));
    }
    let mut typed = BTreeMap::new();
    for (name, payload) in fields {
        let value_type = type_of(namespace, name).map_err(SearchAttributeError::Invalid)?;
        check_value(name, value_type, payload).map_err(SearchAttributeError::Invalid)?;
        let mut payload = payload.clone();
        let type_name = format!("{value_type:?}");
        payload
            .metadata
            .insert("type".to_owned(), type_name.into_bytes().into());
        typed.insert(name.clone(), payload);
    }
    check_sizes(fields).map_err(SearchAttributeError::TooLarge)?;
    Ok(typed)
}

/// As [`normalise`], without the values that unset: what a new run starts with.
pub(crate) fn of_new_run(
    namespace: &Namespace,
    fields: &BTreeMap<String, Payload>,
) -> Result<BTreeMap<String, Payload>, SearchAttributeError> {
    let mut typed = normalise(namespace, fields)?;
    typed.retain(|_, payload| !unsets(payload));
    Ok(typed)
}

/// Whether a value removes its attribute: null, or an empty list.
#[must_use]
pub(crate) fn unsets(payload: &Payload) -> bool {
    let encoding = payload
        .metadata
        .get("encoding")
        .map(|encoding| &encoding[..]);
    if encoding == Some(b"binary/null".as_slice()) || payload.data.is_empty() {
        return true;
    }
    match serde_json::from_slice(&payload.data) {
        Ok(Value::Null) => true,
        Ok(Value::Array(values)) => values.is_empty(),
        Ok(Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_)) | Err(_) => {
            false
        }
    }
}

fn type_of(namespace: &Namespace, name: &str) -> Result<IndexedValueType, String> {
    if let Some(value_type) = namespace.search_attributes.get(name) {
        return Ok(IndexedValueType::try_from(*value_type).unwrap_or(IndexedValueType::Keyword));
    }
    if SYSTEM.iter().any(|(known, _)| *known == name) {
        return Err(format!("{name} attribute can't be set in SearchAttributes"));
    }
    let predefined = PREDEFINED.iter().find(|(known, _)| *known == name);
    predefined
        .map(|(_, value_type)| *value_type)
        .ok_or_else(|| {
            let namespace = &namespace.name;
            format!("Namespace {namespace} has no mapping defined for search attribute {name}")
        })
}

fn check_value(name: &str, value_type: IndexedValueType, payload: &Payload) -> Result<(), String> {
    let invalid = |shown: String| {
        Err(format!(
            "invalid value for search attribute {name} of type {value_type:?}: {shown}"
        ))
    };
    let encoding = payload
        .metadata
        .get("encoding")
        .map(|encoding| &encoding[..]);
    if encoding == Some(b"binary/null".as_slice()) {
        return Ok(());
    }
    let value = match encoding {
        Some(b"json/plain") => serde_json::from_slice::<Value>(&payload.data).ok(),
        Some(_) | None => None,
    };
    let Some(value) = value else {
        return invalid(format!("value from <{}>", payload_text(payload)));
    };
    let fits = match &value {
        Value::Null => true,
        Value::Array(values) if value_type == IndexedValueType::KeywordList => {
            values.iter().all(Value::is_string)
        }
        Value::Array(values) => {
            values.len() <= 1 && values.iter().all(|value| fits_scalar(value, value_type))
        }
        scalar => fits_scalar(scalar, value_type),
    };
    if fits {
        Ok(())
    } else {
        invalid(go_text(&value))
    }
}

fn fits_scalar(value: &Value, value_type: IndexedValueType) -> bool {
    match (value_type, value) {
        (
            IndexedValueType::Text | IndexedValueType::Keyword | IndexedValueType::KeywordList,
            Value::String(_),
        )
        | (IndexedValueType::Bool, Value::Bool(_))
        | (IndexedValueType::Double, Value::Number(_)) => true,
        (IndexedValueType::Int, Value::Number(number)) => number.is_i64(),
        (IndexedValueType::Datetime, Value::String(text)) => nanoseconds(text).is_some(),
        _ => false,
    }
}

fn check_sizes(fields: &BTreeMap<String, Payload>) -> Result<(), String> {
    let mut total = 0_usize;
    for (name, payload) in fields {
        let size = payload.data.len();
        if size > VALUE_BYTES_MAX {
            return Err(format!(
                "search attribute {name} value size {size} exceeds size limit {VALUE_BYTES_MAX}"
            ));
        }
        total = total.saturating_add(name.len()).saturating_add(size);
    }
    if total > TOTAL_BYTES_MAX {
        return Err(format!(
            "total size of search attributes {total} exceeds size limit {TOTAL_BYTES_MAX}"
        ));
    }
    Ok(())
}

/// A payload as Go's protobuf prints it.
fn payload_text(payload: &Payload) -> String {
    let mut text = String::new();
    for (key, value) in &payload.metadata {
        let value = String::from_utf8_lossy(value);
        push_field(
            &mut text,
            &format!("metadata:{{key:{key:?} value:{value:?}}}"),
        );
    }
    if !payload.data.is_empty() {
        push_field(
            &mut text,
            &format!("data:{:?}", String::from_utf8_lossy(&payload.data)),
        );
    }
    text
}

fn push_field(text: &mut String, field: &str) {
    if !text.is_empty() {
        text.push(' ');
    }
    text.push_str(field);
}

/// A JSON value as Go's `%v` prints it, since people read it in Temporal's messages.
fn go_text(value: &Value) -> String {
    match value {
        Value::Null => "<nil>".to_owned(),
        Value::Bool(value) => value.to_string(),
        Value::Number(number) => go_number(number.as_f64().unwrap_or_default()),
        Value::String(text) => text.clone(),
        Value::Array(values) => {
            let values: Vec<String> = values.iter().map(go_text).collect();
            format!("[{}]", values.join(" "))
        }
        Value::Object(fields) => {
            let fields: BTreeMap<&String, &Value> = fields.iter().collect();
            let shown = fields
                .iter()
                .map(|(key, value)| format!("{key}:{}", go_text(value)));
            format!("map[{}]", shown.collect::<Vec<_>>().join(" "))
        }
    }
}

/// The shortest form; with an exponent of two digits when it is below -4 or above 5.
fn go_number(number: f64) -> String {
    let scientific = format!("{number:e}");
    let Some((digits, exponent)) = scientific.split_once('e') else {
        return scientific;
    };
    let exponent: i32 = exponent.parse().unwrap_or_default();
    if (-4..6).contains(&exponent) {
        return format!("{number}");
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{digits}e{sign}{:02}", exponent.abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn namespace() -> Namespace {
        let mut namespace = crate::namespace::plain("shop", String::new());
        let attributes = [
            ("Count", IndexedValueType::Int),
            ("Tags", IndexedValueType::KeywordList),
        ];
        for (name, value_type) in attributes {
            namespace
                .search_attributes
                .insert(name.to_owned(), value_type as i32);
        }
        namespace
    }

    fn one(name: &str, json: &str) -> BTreeMap<String, Payload> {
        let mut payload = Payload {
            data: json.to_owned().into(),
            ..Payload::default()
        };
        payload
            .metadata
            .insert("encoding".to_owned(), "json/plain".into());
        BTreeMap::from([(name.to_owned(), payload)])
    }

    fn text(name: &str, json: &str) -> String {
        match normalise(&namespace(), &one(name, json)) {
            Ok(typed) => String::from_utf8_lossy(&typed[name].metadata["type"]).into_owned(),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn values_get_their_type_or_temporals_text() {
        assert_eq!(text("Count", "5"), "Int");
        assert_eq!(text("Count", "[5]"), "Int");
        assert_eq!(text("Count", "null"), "Int");
        assert_eq!(text("Tags", "\"a\""), "KeywordList");
        let invalid = "invalid value for search attribute Count of type Int: ";
        assert_eq!(text("Count", "[5,6]"), format!("{invalid}[5 6]"));
        assert_eq!(text("Count", "{\"a\":1}"), format!("{invalid}map[a:1]"));
        assert_eq!(
            text("CloseTime", "1"),
            "CloseTime attribute can't be set in SearchAttributes"
        );
        assert_eq!(
            text("Other", "1"),
            "Namespace shop has no mapping defined for search attribute Other"
        );
    }

    #[test]
    fn a_value_that_is_not_json_is_shown_whole() {
        let shown = text("Count", "{oops");
        assert!(shown.ends_with(
            "value from <metadata:{key:\"encoding\" value:\"json/plain\"} data:\"{oops\">"
        ));
    }

    #[test]
    fn numbers_are_shown_as_go_does() {
        assert_eq!(go_number(1.704_164_645e18), "1.704164645e+18");
        assert_eq!(go_number(1.5), "1.5");
        assert_eq!(go_number(100_000.0), "100000");
        assert_eq!(go_number(0.000_01), "1e-05");
    }

    #[test]
    fn null_and_empty_lists_unset() {
        for json in ["null", "[]"] {
            assert!(
                of_new_run(&namespace(), &one("Tags", json))
                    .unwrap()
                    .is_empty()
            );
        }
    }
}
