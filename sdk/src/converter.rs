//! Values of Rust to payloads and back, in the formats of all of Temporal's SDKs.

mod arguments;
mod data;
mod error;
mod format;
mod proto;

pub use arguments::{Args, Arguments};
pub use data::DataConverter;
pub use error::{BoxError, ConversionError};
pub use format::{Encodable, PayloadConverter, Place};
pub use prost_reflect::DescriptorPool;
pub use proto::Proto;
pub(crate) use proto::temporal_message;

use bytes::Bytes;
use format::Slot;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::any::{Any, type_name};
use std::fmt;
use std::sync::Arc;
use steadfast_proto::temporal::common::v1::{Payload, Payloads};

/// The key of a payload's metadata that names its format.
pub const ENCODING: &str = "encoding";
const NULL: &str = "binary/null";
const PLAIN: &str = "binary/plain";
const JSON: &str = "json/plain";

/// What can travel as one payload: anything that serde writes and reads.
pub trait Value: Serialize + DeserializeOwned + 'static {}

impl<T: Serialize + DeserializeOwned + 'static> Value for T {}

/// A payload as it is: neither written nor read by the converter. It stands alone, not inside of
/// other values.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct RawPayload(pub Payload);

impl Serialize for RawPayload {
    fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        Err(serde::ser::Error::custom("a raw payload stands alone"))
    }
}

impl<'de> serde::Deserialize<'de> for RawPayload {
    fn deserialize<D: serde::Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
        Err(serde::de::Error::custom("a raw payload stands alone"))
    }
}

/// Converts between values and payloads. Pure: the same value always gives the same payload, so
/// workflow code may use it. Clones share everything.
///
/// | value | encoding |
/// |---|---|
/// | what serializes as `null`: `None`, `()` | `binary/null` |
/// | `Vec<u8>`, [`Bytes`] | `binary/plain` |
/// | [`Proto`] | `json/protobuf`; `binary/protobuf` is read too |
/// | [`RawPayload`] | its own |
/// | all else | `json/plain` |
#[derive(Clone, Default)]
pub struct Converter {
    formats: Arc<[Arc<dyn PayloadConverter>]>,
    descriptors: Option<DescriptorPool>,
}

impl Converter {
    /// The same with a further format, tried after those added before and before the built-in
    /// ones; payloads with its encoding are always read by it.
    pub fn with_format(mut self, format: impl PayloadConverter) -> Self {
        let last: Arc<dyn PayloadConverter> = Arc::new(format);
        self.formats = self.formats.iter().cloned().chain([last]).collect();
        self
    }

    /// The same with the descriptors of protobuf messages for [`Proto`]; Temporal's own and
    /// Google's are known without.
    pub fn with_descriptors(mut self, descriptors: DescriptorPool) -> Self {
        self.descriptors = Some(descriptors);
        self
    }

    /// A value as payload.
    ///
    /// # Errors
    /// [`ConversionError::Encode`] when serde cannot write the value, as a map whose keys are no
    /// strings, or when the descriptor of a protobuf message is not known.
    pub fn to_payload<T: Value>(&self, value: &T) -> Result<Payload, ConversionError> {
        let failed = |encoding: &str, source: BoxError| ConversionError::Encode {
            rust_type: type_name::<T>(),
            encoding: encoding.to_string(),
            source,
        };
        for format in self.formats.iter() {
            match format.to_payload(value) {
                Ok(Some(payload)) => return Ok(payload),
                Ok(None) => {}
                Err(source) => return Err(failed(format.encoding(), source)),
            }
        }
        if let Some(payload) = as_it_is(value) {
            return Ok(payload);
        }
        if let Some(message) = proto::capture(value) {
            let message = message.map_err(|source| failed(proto::JSON, source))?;
            return proto::to_payload(&message, self.descriptors.as_ref())
                .map_err(|source| failed(proto::JSON, source));
        }
        let json = serde_json::to_vec(value).map_err(|source| failed(JSON, source.into()))?;
        Ok(match json.as_slice() {
            b"null" => payload(NULL, Bytes::new()),
            _ => payload(JSON, json.into()),
        })
    }

    /// The value of a payload.
    ///
    /// # Errors
    /// [`ConversionError::Decode`] when the payload has no encoding, one that is not known, or
    /// does not hold a `T`.
    pub fn from_payload<T: Value>(&self, payload: &Payload) -> Result<T, ConversionError> {
        let encoding = payload.metadata.get(ENCODING).map_or("", |bytes| {
            std::str::from_utf8(bytes).unwrap_or("not UTF-8")
        });
        self.read(encoding, payload)
            .map_err(|source| ConversionError::Decode {
                rust_type: type_name::<T>(),
                encoding: encoding.to_string(),
                position: None,
                source,
            })
    }

    /// The value of what a workflow, an activity or a query gave: its only payload. Without one
    /// it is `null`; to `()` everything is good.
    ///
    /// # Errors
    /// As [`from_payload`](Self::from_payload), or [`ConversionError::Missing`].
    pub fn from_result<T: Value>(&self, payloads: Option<Payloads>) -> Result<T, ConversionError> {
        T::from_payloads(self, payloads.unwrap_or_default().payloads)
    }

    fn read<T: Value>(&self, encoding: &str, payload: &Payload) -> Result<T, BoxError> {
        let mut slot = Slot::<T>::default();
        let known = self.formats.iter().find(|one| one.encoding() == encoding);
        if let Some(format) = known {
            format.from_payload(payload, &mut slot)?;
            return slot.value.ok_or_else(|| "the format gave no value".into());
        }
        if slot.put(RawPayload(payload.clone())) {
            return slot.value.ok_or_else(|| "nothing was put".into());
        }
        match encoding {
            JSON => Ok(serde_json::from_slice(&payload.data)?),
            NULL => Ok(null()?),
            PLAIN if slot.put_bytes(&payload.data) => {
                slot.value.ok_or_else(|| "nothing was put".into())
            }
            PLAIN => Err("plain bytes are read as `Vec<u8>` or `Bytes` only".into()),
            proto::JSON | proto::BINARY => {
                proto::from_payload(encoding, payload, self.descriptors.as_ref())
            }
            "" => Err("its metadata names no encoding".into()),
            _ => Err("this encoding is not known".into()),
        }
    }
}

impl fmt::Debug for Converter {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let added = self.formats.iter().map(|one| one.encoding().to_string());
        let added: Vec<String> = added.collect();
        formatter
            .debug_struct("Converter")
            .field("formats", &added)
            .field("descriptors", &self.descriptors.is_some())
            .finish()
    }
}

/// What `null` means to a type that has a meaning for it.
fn null<T: Value>() -> Result<T, serde_json::Error> {
    serde_json::from_slice(b"null")
}

/// JSON as it is.
pub(crate) fn json_payload(json: &serde_json::Value) -> Payload {
    payload(JSON, json.to_string().into_bytes().into())
}

/// A payload of this encoding.
fn payload(encoding: &str, data: Bytes) -> Payload {
    Payload {
        metadata: [(ENCODING.to_string(), encoding.as_bytes().to_vec().into())].into(),
        data,
        ..Payload::default()
    }
}

/// Values that serde would write as lists of numbers, or that are payloads already.
fn as_it_is(value: &dyn Any) -> Option<Payload> {
    fn plain(bytes: &[u8]) -> Payload {
        payload(PLAIN, Bytes::copy_from_slice(bytes))
    }
    fn shared(bytes: &Bytes) -> Payload {
        payload(PLAIN, bytes.clone())
    }
    if let Some(raw) = value.downcast_ref::<RawPayload>() {
        return Some(raw.0.clone());
    }
    if let Some(Some(raw)) = value.downcast_ref::<Option<RawPayload>>() {
        return Some(raw.0.clone());
    }
    if let Some(bytes) = value.downcast_ref::<Vec<u8>>() {
        return Some(plain(bytes));
    }
    if let Some(bytes) = value.downcast_ref::<Bytes>() {
        return Some(shared(bytes));
    }
    if let Some(Some(bytes)) = value.downcast_ref::<Option<Vec<u8>>>() {
        return Some(plain(bytes));
    }
    if let Some(Some(bytes)) = value.downcast_ref::<Option<Bytes>>() {
        return Some(shared(bytes));
    }
    None
}

#[cfg(test)]
mod tests;
