//! Search attributes: what workflows are found by.

use std::collections::BTreeMap;
use std::time::SystemTime;
use steadfast_proto::temporal::common::v1 as wire;
use steadfast_proto::temporal::enums::v1::IndexedValueType;

/// The key of the metadata that names the type.
const TYPE: &str = "type";

/// A search attribute's value. The name decides its type: the server knows it.
#[derive(Debug, Clone, PartialEq)]
pub enum SearchAttribute {
    /// Found by its words.
    Text(String),
    /// Found as a whole.
    Keyword(String),
    /// A whole number.
    Int(i64),
    /// A number.
    Double(f64),
    /// Yes or no.
    Bool(bool),
    /// A point of time, in RFC 3339.
    Datetime(String),
    /// Found by each of them.
    KeywordList(Vec<String>),
}

/// Search attributes by name. They are never seen by the payload codec: the server reads them.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct SearchAttributes(BTreeMap<String, SearchAttribute>);

impl SearchAttributes {
    /// None yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// The same with a keyword.
    pub fn keyword(self, name: &str, value: impl Into<String>) -> Self {
        self.with(name, SearchAttribute::Keyword(value.into()))
    }

    /// The same with a text.
    pub fn text(self, name: &str, value: impl Into<String>) -> Self {
        self.with(name, SearchAttribute::Text(value.into()))
    }

    /// The same with a whole number.
    pub fn int(self, name: &str, value: i64) -> Self {
        self.with(name, SearchAttribute::Int(value))
    }

    /// The same with a number.
    pub fn double(self, name: &str, value: f64) -> Self {
        self.with(name, SearchAttribute::Double(value))
    }

    /// The same with yes or no.
    pub fn bool(self, name: &str, value: bool) -> Self {
        self.with(name, SearchAttribute::Bool(value))
    }

    /// The same with a point of time.
    pub fn datetime(self, name: &str, value: SystemTime) -> Self {
        let text = prost_types::Timestamp::from(value).to_string();
        self.with(name, SearchAttribute::Datetime(text))
    }

    /// The same with several keywords.
    pub fn keyword_list(self, name: &str, values: Vec<String>) -> Self {
        self.with(name, SearchAttribute::KeywordList(values))
    }

    /// The same with this value.
    pub fn with(mut self, name: &str, value: SearchAttribute) -> Self {
        self.0.insert(name.to_string(), value);
        self
    }

    /// The value of this name.
    pub fn get(&self, name: &str) -> Option<&SearchAttribute> {
        self.0.get(name)
    }

    /// All of them, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &SearchAttribute)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value))
    }

    /// There are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn to_wire(&self) -> Option<wire::SearchAttributes> {
        let fields = self.0.iter();
        let indexed_fields: BTreeMap<String, wire::Payload> = fields
            .map(|(name, value)| (name.clone(), value.to_payload()))
            .collect();
        (!indexed_fields.is_empty()).then_some(wire::SearchAttributes { indexed_fields })
    }

    /// From the server; a value that it could not have made is left out.
    pub(crate) fn from_wire(attributes: Option<wire::SearchAttributes>) -> Self {
        let fields = attributes.unwrap_or_default().indexed_fields.into_iter();
        let known = fields.filter_map(|(name, payload)| {
            SearchAttribute::from_payload(&payload).map(|value| (name, value))
        });
        Self(known.collect())
    }
}

impl SearchAttribute {
    fn to_payload(&self) -> wire::Payload {
        let (type_name, json) = match self {
            SearchAttribute::Text(value) => ("Text", serde_json::json!(value)),
            SearchAttribute::Keyword(value) => ("Keyword", serde_json::json!(value)),
            SearchAttribute::Int(value) => ("Int", serde_json::json!(value)),
            SearchAttribute::Double(value) => ("Double", serde_json::json!(value)),
            SearchAttribute::Bool(value) => ("Bool", serde_json::json!(value)),
            SearchAttribute::Datetime(value) => ("Datetime", serde_json::json!(value)),
            SearchAttribute::KeywordList(values) => ("KeywordList", serde_json::json!(values)),
        };
        let mut payload = crate::converter::json_payload(&json);
        let type_name = type_name.as_bytes().to_vec().into();
        payload.metadata.insert(TYPE.to_string(), type_name);
        payload
    }

    fn from_payload(payload: &wire::Payload) -> Option<Self> {
        let type_name = std::str::from_utf8(payload.metadata.get(TYPE)?).ok()?;
        let data = &payload.data;
        // Servers write the types as `Keyword` or as `INDEXED_VALUE_TYPE_KEYWORD`.
        let known = IndexedValueType::from_str_name(type_name);
        let value = match (type_name, known) {
            ("Text", _) | (_, Some(IndexedValueType::Text)) => {
                SearchAttribute::Text(serde_json::from_slice(data).ok()?)
            }
            ("Keyword", _) | (_, Some(IndexedValueType::Keyword)) => {
                SearchAttribute::Keyword(serde_json::from_slice(data).ok()?)
            }
            ("Int", _) | (_, Some(IndexedValueType::Int)) => {
                SearchAttribute::Int(serde_json::from_slice(data).ok()?)
            }
            ("Double", _) | (_, Some(IndexedValueType::Double)) => {
                SearchAttribute::Double(serde_json::from_slice(data).ok()?)
            }
            ("Bool", _) | (_, Some(IndexedValueType::Bool)) => {
                SearchAttribute::Bool(serde_json::from_slice(data).ok()?)
            }
            ("Datetime", _) | (_, Some(IndexedValueType::Datetime)) => {
                SearchAttribute::Datetime(serde_json::from_slice(data).ok()?)
            }
            ("KeywordList", _) | (_, Some(IndexedValueType::KeywordList)) => {
                SearchAttribute::KeywordList(serde_json::from_slice(data).ok()?)
            }
            _ => return None,
        };
        Some(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_come_back_with_their_types() {
        let attributes = SearchAttributes::new()
            .keyword("Customer", "c7")
            .text("Note", "two words")
            .int("Count", -3)
            .double("Price", 2.5)
            .bool("Paid", true)
            .datetime("Due", SystemTime::UNIX_EPOCH)
            .keyword_list("Tags", vec!["a".to_string(), "b".to_string()]);
        let written = attributes.to_wire().unwrap();
        let due = &written.indexed_fields["Due"];
        assert_eq!(due.data, "\"1970-01-01T00:00:00Z\"".as_bytes());
        assert_eq!(due.metadata["type"], "Datetime".as_bytes());
        assert_eq!(SearchAttributes::from_wire(Some(written)), attributes);
        assert_eq!(SearchAttributes::new().to_wire(), None);
    }
}
