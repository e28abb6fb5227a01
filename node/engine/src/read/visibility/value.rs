//! Values of columns and literals: types, parsing and comparing.

use crate::time::Timestamp;
use std::cmp::Ordering;
use steadfast_proto::temporal::enums::v1::IndexedValueType;

/// A value; Datetimes and durations are nanoseconds.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    Keyword(String),
    Int(i64),
    Double(f64),
    Bool(bool),
    List(Vec<String>),
}

impl Value {
    /// Order within one type; numbers compare across Int and Double.
    pub(super) fn order(&self, other: &Self) -> Option<Ordering> {
        match (self, other) {
            (Self::Keyword(one), Self::Keyword(two)) => Some(one.cmp(two)),
            (Self::Int(one), Self::Int(two)) => Some(one.cmp(two)),
            (Self::Bool(one), Self::Bool(two)) => Some(one.cmp(two)),
            (Self::Double(one), Self::Double(two)) => one.partial_cmp(two),
            (Self::Int(one), Self::Double(two)) => as_double(*one).partial_cmp(two),
            (Self::Double(one), Self::Int(two)) => one.partial_cmp(&as_double(*two)),
            (
                Self::Keyword(_) | Self::Int(_) | Self::Double(_) | Self::Bool(_) | Self::List(_),
                _,
            ) => None,
        }
    }

    /// A search attribute's payload (JSON) as a value of its type; `None` for null, an empty list
    /// and what does not fit (which the border refuses).
    pub(super) fn from_json(data: &[u8], value_type: IndexedValueType) -> Option<Self> {
        let mut values = json_values(std::str::from_utf8(data).ok()?)?;
        if value_type == IndexedValueType::KeywordList {
            let words = values.into_iter().map(|value| match value {
                Json::Text(text) => Some(text),
                Json::Bare(_) => None,
            });
            return words
                .collect::<Option<Vec<_>>>()
                .filter(|words| !words.is_empty())
                .map(Self::List);
        }
        match (value_type, values.pop()?) {
            (IndexedValueType::Datetime, Json::Text(text)) => nanoseconds(&text).map(Self::Int),
            (IndexedValueType::Keyword | IndexedValueType::Text, Json::Text(text)) => {
                Some(Self::Keyword(text))
            }
            (IndexedValueType::Int, Json::Bare(word)) => word.parse().ok().map(Self::Int),
            (IndexedValueType::Double, Json::Bare(word)) => word.parse().ok().map(Self::Double),
            (IndexedValueType::Bool, Json::Bare(word)) => word.parse().ok().map(Self::Bool),
            (_, Json::Text(_) | Json::Bare(_)) => None,
        }
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "comparing an Int with a Double is inexact by nature"
)]
fn as_double(value: i64) -> f64 {
    value as f64
}

/// A JSON string, or any other scalar as written.
enum Json {
    Text(String),
    Bare(String),
}

/// The scalars of a JSON scalar or of a flat JSON list.
fn json_values(text: &str) -> Option<Vec<Json>> {
    let text = text.trim();
    let inner = text
        .strip_prefix('[')
        .and_then(|text| text.strip_suffix(']'))
        .unwrap_or(text);
    let mut values = Vec::new();
    let mut rest = inner.trim();
    while !rest.is_empty() {
        if let Some(quoted) = rest.strip_prefix('"') {
            let (value, used) = json_string(quoted)?;
            values.push(Json::Text(value));
            rest = &quoted[used..];
        } else {
            let end = rest.find(',').unwrap_or(rest.len());
            let word = rest[..end].trim();
            if word != "null" {
                values.push(Json::Bare(word.to_owned()));
            }
            rest = &rest[end..];
        }
        rest = rest.trim_start();
        rest = rest.strip_prefix(',').unwrap_or(rest).trim_start();
    }
    Some(values)
}

/// A JSON string after its opening quote, and how many bytes it took with its closing one.
fn json_string(text: &str) -> Option<(String, usize)> {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((offset, character)) = characters.next() {
        match character {
            '"' => return Some((value, offset + 1)),
            '\\' => match characters.next()?.1 {
                'n' => value.push('\n'),
                't' => value.push('\t'),
                'r' => value.push('\r'),
                'b' => value.push('\u{8}'),
                'f' => value.push('\u{c}'),
                'u' => {
                    let mut code = 0;
                    for _ in 0..4 {
                        code = code * 16 + characters.next()?.1.to_digit(16)?;
                    }
                    value.push(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER));
                }
                other => value.push(other),
            },
            other => value.push(other),
        }
    }
    None
}

/// An RFC 3339 time as nanoseconds since 1970; `None` when it is none.
pub(crate) fn nanoseconds(text: &str) -> Option<i64> {
    let separated = text
        .as_bytes()
        .get(10)
        .is_some_and(|byte| matches!(byte, b'T' | b't'));
    let zoned =
        text.ends_with(['Z', 'z']) || text.get(19..).is_some_and(|rest| rest.contains(['+', '-']));
    if !separated || !zoned {
        return None;
    }
    let parsed: prost_types::Timestamp = text.parse().ok()?;
    Some(Timestamp::from_proto(&parsed).0)
}

/// A duration as nanoseconds: Go's form ("1h2m3.5s"), "hh:mm:ss", or nanoseconds.
pub(crate) fn duration_nanoseconds(text: &str) -> Option<i64> {
    if let Ok(nanos) = text.parse() {
        return Some(nanos);
    }
    let parts: Vec<&str> = text.split(':').collect();
    if let [hours, minutes, seconds] = parts[..] {
        let (hours, minutes, seconds): (i64, i64, i64) = (
            hours.parse().ok()?,
            minutes.parse().ok()?,
            seconds.parse().ok()?,
        );
        return (hours
            .checked_mul(3_600)?
            .checked_add(minutes.checked_mul(60)?)?
            .checked_add(seconds)?)
        .checked_mul(1_000_000_000);
    }
    go_duration(text)
}

fn go_duration(text: &str) -> Option<i64> {
    const UNITS: &[(&str, f64)] = &[
        ("ns", 1.0),
        ("us", 1e3),
        ("µs", 1e3),
        ("ms", 1e6),
        ("s", 1e9),
        ("m", 60e9),
        ("h", 3_600e9),
    ];
    let (mut rest, sign) = match text.strip_prefix('-') {
        Some(rest) => (rest, -1.0),
        None => (text, 1.0),
    };
    if rest.is_empty() {
        return None;
    }
    let mut total = 0.0;
    while !rest.is_empty() {
        let digits = rest.find(|next: char| !(next.is_ascii_digit() || next == '.'))?;
        let amount: f64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let unit_end = rest
            .find(|next: char| next.is_ascii_digit() || next == '.')
            .unwrap_or(rest.len());
        let (_, factor) = UNITS.iter().find(|(unit, _)| *unit == &rest[..unit_end])?;
        total += amount * factor;
        rest = &rest[unit_end..];
    }
    let total = sign * total;
    #[expect(
        clippy::cast_possible_truncation,
        reason = "saturates, and no run lasts that long"
    )]
    Some(total as i64)
}
