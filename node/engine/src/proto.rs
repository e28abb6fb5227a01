//! Protobuf messages inside serde records: as their bytes.

use bytes::Bytes;
use prost::Message;
use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::ops::{Deref, DerefMut};

/// A protobuf message that serde writes as its encoded bytes. Decoding copies the bytes once, so
/// nothing in long-lived state pins a receive buffer.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Proto<M>(pub M);

impl<M: Message + Default> Proto<M> {
    /// A copy that shares no bytes with its source, for long-lived records: a 40-byte memo must not
    /// keep a whole request in memory.
    #[must_use]
    pub fn detached(message: &M) -> Self {
        let copy = M::decode(Bytes::from(message.encode_to_vec()));
        assert!(copy.is_ok(), "what was just encoded can be decoded");
        Self(copy.unwrap_or_default())
    }
}

impl<M> Deref for Proto<M> {
    type Target = M;
    fn deref(&self) -> &M {
        &self.0
    }
}

impl<M> DerefMut for Proto<M> {
    fn deref_mut(&mut self) -> &mut M {
        &mut self.0
    }
}

impl<M> From<M> for Proto<M> {
    fn from(message: M) -> Self {
        Self(message)
    }
}

impl<M: Message> Serialize for Proto<M> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0.encode_to_vec())
    }
}

impl<'de, M: Message + Default> Deserialize<'de> for Proto<M> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct BytesVisitor;
        impl Visitor<'_> for BytesVisitor {
            type Value = Bytes;
            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("protobuf bytes")
            }
            fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Bytes, E> {
                Ok(Bytes::copy_from_slice(bytes))
            }
        }
        let bytes = deserializer.deserialize_bytes(BytesVisitor)?;
        M::decode(bytes).map(Self).map_err(D::Error::custom)
    }
}
