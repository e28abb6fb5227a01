//! Messages of protobuf as payloads: `json/protobuf` as other SDKs write it, `binary/protobuf` too
//! when it is read.

use super::{BoxError, Value};
use prost::{Message, Name};
use prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor};
use serde::de::{DeserializeOwned, Visitor};
use serde::ser::Impossible;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::marker::PhantomData;
use std::sync::LazyLock;
use steadfast_proto::TEMPORAL_DESCRIPTORS;
use steadfast_proto::temporal::common::v1::Payload;

pub(super) const JSON: &str = "json/protobuf";
pub(super) const BINARY: &str = "binary/protobuf";
/// The key of the metadata that names the message's type.
const MESSAGE_TYPE: &str = "messageType";
/// How a message passes through serde: by this name the converter knows it.
const TOKEN: &str = "$steadfast_sdk::Proto";

/// Temporal's own messages and Google's.
static TEMPORAL: LazyLock<DescriptorPool> = LazyLock::new(|| {
    DescriptorPool::decode(TEMPORAL_DESCRIPTORS).expect("the build wrote the descriptors")
});

/// A message of protobuf as a value of workflows and activities. It stands alone, not inside of
/// other values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Proto<M>(pub M);

impl<M: Message + Name> Serialize for Proto<M> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            return Err(serde::ser::Error::custom(
                "a message of protobuf stands alone, not inside of other values",
            ));
        }
        let mut bytes = M::full_name().into_bytes();
        bytes.push(0);
        self.0
            .encode(&mut bytes)
            .map_err(serde::ser::Error::custom)?;
        serializer.serialize_newtype_struct(TOKEN, &Captured(bytes))
    }
}

impl<'de, M: Message + Default> Deserialize<'de> for Proto<M> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Decode<M>(PhantomData<fn() -> M>);
        impl<M: Message + Default> Visitor<'_> for Decode<M> {
            type Value = Proto<M>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a message of protobuf")
            }

            fn visit_bytes<E: serde::de::Error>(self, bytes: &[u8]) -> Result<Proto<M>, E> {
                M::decode(bytes).map(Proto).map_err(E::custom)
            }
        }
        deserializer.deserialize_newtype_struct(TOKEN, Decode(PhantomData))
    }
}

/// The name of a message's type, a zero, the message.
struct Captured(Vec<u8>);

impl Serialize for Captured {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

/// A message as it came through serde.
pub(super) struct Captures {
    name: String,
    message: Vec<u8>,
}

/// The message in a value that is a [`Proto`]; nothing for all other values, at the first thing
/// that serde says of them.
pub(super) fn capture<T: Value>(value: &T) -> Option<Result<Captures, BoxError>> {
    let bytes = value.serialize(Probe { inside: false }).ok()?;
    let zero = bytes.iter().position(|byte| *byte == 0)?;
    let name = match std::str::from_utf8(&bytes[..zero]) {
        Ok(name) => name.to_string(),
        Err(error) => return Some(Err(error.into())),
    };
    let message = bytes[zero + 1..].to_vec();
    Some(Ok(Captures { name, message }))
}

/// A message as payload.
pub(super) fn to_payload(
    captured: &Captures,
    known: Option<&DescriptorPool>,
) -> Result<Payload, BoxError> {
    let descriptor = descriptor(&captured.name, known)?;
    let message = DynamicMessage::decode(descriptor, captured.message.as_slice())?;
    let mut payload = super::payload(JSON, serde_json::to_vec(&message)?.into());
    let name = captured.name.clone().into_bytes().into();
    payload.metadata.insert(MESSAGE_TYPE.to_string(), name);
    Ok(payload)
}

/// The value of a payload of one of the two encodings.
pub(super) fn from_payload<T: DeserializeOwned>(
    encoding: &str,
    payload: &Payload,
    known: Option<&DescriptorPool>,
) -> Result<T, BoxError> {
    if encoding == BINARY {
        return Ok(T::deserialize(Encoded(&payload.data))?);
    }
    let name = payload
        .metadata
        .get(MESSAGE_TYPE)
        .ok_or("its metadata names no messageType")?;
    let descriptor = descriptor(std::str::from_utf8(name)?, known)?;
    let mut json = serde_json::Deserializer::from_slice(&payload.data);
    let message = DynamicMessage::deserialize(descriptor, &mut json)?;
    json.end()?;
    Ok(T::deserialize(Encoded(&message.encode_to_vec()))?)
}

/// One of Temporal's own messages.
pub(crate) fn temporal_message(name: &str) -> Option<MessageDescriptor> {
    TEMPORAL.get_message_by_name(name)
}

fn descriptor(name: &str, known: Option<&DescriptorPool>) -> Result<MessageDescriptor, BoxError> {
    known
        .and_then(|pool| pool.get_message_by_name(name))
        .or_else(|| TEMPORAL.get_message_by_name(name))
        .ok_or_else(|| {
            format!("the message {name} is not known: see Converter::with_descriptors").into()
        })
}

/// What a value of another kind gets.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Other(String);

impl serde::ser::Error for Other {
    fn custom<T: fmt::Display>(_: T) -> Self {
        // The probe drops it: no need to write it out.
        Other(String::new())
    }
}

impl serde::de::Error for Other {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Other(message.to_string())
    }
}

/// Takes a [`Proto`] and refuses all else.
struct Probe {
    inside: bool,
}

macro_rules! refuse {
    ($($method:ident($($type:ty),*) -> $answer:ty;)+) => {
        $(fn $method(self, $(_: $type),*) -> Result<$answer, Other> {
            Err(Other(String::new()))
        })+
    };
}

impl Serializer for Probe {
    type Ok = Vec<u8>;
    type Error = Other;
    type SerializeSeq = Impossible<Vec<u8>, Other>;
    type SerializeTuple = Impossible<Vec<u8>, Other>;
    type SerializeTupleStruct = Impossible<Vec<u8>, Other>;
    type SerializeTupleVariant = Impossible<Vec<u8>, Other>;
    type SerializeMap = Impossible<Vec<u8>, Other>;
    type SerializeStruct = Impossible<Vec<u8>, Other>;
    type SerializeStructVariant = Impossible<Vec<u8>, Other>;

    fn is_human_readable(&self) -> bool {
        false
    }

    fn serialize_bytes(self, bytes: &[u8]) -> Result<Vec<u8>, Other> {
        match self.inside {
            true => Ok(bytes.to_vec()),
            false => Err(Other(String::new())),
        }
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        value: &T,
    ) -> Result<Vec<u8>, Other> {
        match name == TOKEN {
            true => value.serialize(Probe { inside: true }),
            false => Err(Other(String::new())),
        }
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<Vec<u8>, Other> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: &T,
    ) -> Result<Vec<u8>, Other> {
        Err(Other(String::new()))
    }

    refuse! {
        serialize_bool(bool) -> Vec<u8>;
        serialize_i8(i8) -> Vec<u8>;
        serialize_i16(i16) -> Vec<u8>;
        serialize_i32(i32) -> Vec<u8>;
        serialize_i64(i64) -> Vec<u8>;
        serialize_u8(u8) -> Vec<u8>;
        serialize_u16(u16) -> Vec<u8>;
        serialize_u32(u32) -> Vec<u8>;
        serialize_u64(u64) -> Vec<u8>;
        serialize_f32(f32) -> Vec<u8>;
        serialize_f64(f64) -> Vec<u8>;
        serialize_char(char) -> Vec<u8>;
        serialize_str(&str) -> Vec<u8>;
        serialize_none() -> Vec<u8>;
        serialize_unit() -> Vec<u8>;
        serialize_unit_struct(&'static str) -> Vec<u8>;
        serialize_unit_variant(&'static str, u32, &'static str) -> Vec<u8>;
        serialize_seq(Option<usize>) -> Self::SerializeSeq;
        serialize_tuple(usize) -> Self::SerializeTuple;
        serialize_tuple_struct(&'static str, usize) -> Self::SerializeTupleStruct;
        serialize_tuple_variant(&'static str, u32, &'static str, usize)
            -> Self::SerializeTupleVariant;
        serialize_map(Option<usize>) -> Self::SerializeMap;
        serialize_struct(&'static str, usize) -> Self::SerializeStruct;
        serialize_struct_variant(&'static str, u32, &'static str, usize)
            -> Self::SerializeStructVariant;
    }
}

/// A message's bytes, for a [`Proto`] alone.
struct Encoded<'a>(&'a [u8]);

impl<'de> Deserializer<'de> for Encoded<'_> {
    type Error = Other;

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Other> {
        match name == TOKEN {
            true => visitor.visit_bytes(self.0),
            false => self.deserialize_any(visitor),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Other> {
        visitor.visit_some(self)
    }

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Other> {
        Err(Other(
            "messages of protobuf are read as `Proto` only".to_string(),
        ))
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit
        unit_struct seq tuple tuple_struct map struct enum identifier ignored_any
    }
}
