//! The kinds that a model check has to come by, taken from the enums themselves: who adds one sees
//! the check fail until the walk reaches it.

use serde::de::{Deserialize, Deserializer, Visitor};
use std::fmt;
use steadfast_engine::{Mutation, Refusal};
use steadfast_proto::temporal::enums::v1::{CommandType, EventType};

/// Numbers of protobuf enums that are asked for; Temporal's lie below.
const ENUM_NUMBERS: std::ops::Range<i32> = 1..200;

/// All mutations, in the order of their encoding.
pub(crate) fn mutations() -> &'static [&'static str] {
    variants::<Mutation>()
}

/// All refusals.
pub(crate) fn refusals() -> &'static [&'static str] {
    variants::<Refusal>()
}

/// All commands.
pub(crate) fn commands() -> Vec<&'static str> {
    let known = ENUM_NUMBERS.filter_map(|number| CommandType::try_from(number).ok());
    known.map(|kind| kind.as_str_name()).collect()
}

/// All events.
pub(crate) fn events() -> Vec<&'static str> {
    let known = ENUM_NUMBERS.filter_map(|number| EventType::try_from(number).ok());
    known.map(|kind| kind.as_str_name()).collect()
}

/// The variants that serde knows of an enum.
fn variants<'de, T: Deserialize<'de>>() -> &'static [&'static str] {
    let mut found: &'static [&'static str] = &[];
    // It always ends with `Seen`.
    T::deserialize(Names(&mut found)).map(drop).unwrap_err();
    assert!(!found.is_empty(), "not an enum");
    found
}

/// Takes the names that a derived implementation offers, and stops.
struct Names<'a>(&'a mut &'static [&'static str]);

/// Enough was seen.
#[derive(Debug)]
struct Seen;

impl fmt::Display for Seen {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("seen")
    }
}

impl std::error::Error for Seen {}

impl serde::de::Error for Seen {
    fn custom<T: fmt::Display>(_: T) -> Self {
        Self
    }
}

impl<'de> Deserializer<'de> for Names<'_> {
    type Error = Seen;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Seen> {
        Err(Seen)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, Seen> {
        *self.0 = variants;
        Err(Seen)
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option
        unit unit_struct newtype_struct seq tuple tuple_struct map struct identifier ignored_any
    }
}
