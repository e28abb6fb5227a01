//! Formats of payloads that users add.

use super::{BoxError, Value};
use bytes::Bytes;
use std::any::{Any, type_name};
use steadfast_proto::temporal::common::v1::Payload;

/// A format of payloads: add it with [`Converter::with_format`](super::Converter::with_format).
///
/// It must be pure: the same value always gives the same payload.
pub trait PayloadConverter: Send + Sync + 'static {
    /// The `encoding` in the metadata of its payloads. Payloads with it are read by this format.
    fn encoding(&self) -> &str;

    /// The value as payload, with the encoding in its metadata; nothing when the value is not for
    /// this format.
    ///
    /// # Errors
    /// When the value is for this format and cannot be written.
    fn to_payload(&self, value: &dyn Encodable) -> Result<Option<Payload>, BoxError>;

    /// Reads a payload into its place.
    ///
    /// # Errors
    /// When the payload does not hold a value of the wanted type.
    #[expect(
        clippy::wrong_self_convention,
        reason = "the converter reads, the value is what comes of it"
    )]
    fn from_payload(&self, payload: &Payload, place: &mut dyn Place) -> Result<(), BoxError>;
}

/// A value to write: by serde, or by its own type.
pub trait Encodable: erased_serde::Serialize {
    /// To ask for its type.
    fn as_any(&self) -> &dyn Any;

    /// The name of its type, for errors.
    fn type_name(&self) -> &'static str;
}

impl<T: Value> Encodable for T {
    fn as_any(&self) -> &dyn Any {
        self
    }

    fn type_name(&self) -> &'static str {
        type_name::<T>()
    }
}

erased_serde::serialize_trait_object!(Encodable);

/// Where a value is wanted.
pub trait Place {
    /// Reads the value with serde.
    ///
    /// # Errors
    /// What the deserializer says.
    fn read(
        &mut self,
        deserializer: &mut dyn erased_serde::Deserializer<'_>,
    ) -> Result<(), BoxError>;

    /// The place as `Option<T>` of the wanted type `T`, to put a value of a known type.
    fn as_any(&mut self) -> &mut dyn Any;

    /// The name of the wanted type, for errors.
    fn type_name(&self) -> &'static str;
}

/// The place of one `T`.
pub(super) struct Slot<T> {
    pub(super) value: Option<T>,
}

impl<T> Default for Slot<T> {
    fn default() -> Self {
        Self { value: None }
    }
}

impl<T: Value> Slot<T> {
    /// Puts a value whose type is `T` or the content of the option `T`; false when it is neither.
    pub(super) fn put<V: 'static>(&mut self, value: V) -> bool {
        let place: &mut dyn Any = &mut self.value;
        if let Some(place) = place.downcast_mut::<Option<V>>() {
            *place = Some(value);
            return true;
        }
        match place.downcast_mut::<Option<Option<V>>>() {
            Some(place) => {
                *place = Some(Some(value));
                true
            }
            None => false,
        }
    }

    /// Puts bytes when `T` is one of the types of bytes.
    pub(super) fn put_bytes(&mut self, bytes: &Bytes) -> bool {
        self.put(bytes.clone()) || self.put(bytes.to_vec())
    }
}

impl<T: Value> Place for Slot<T> {
    fn read(
        &mut self,
        deserializer: &mut dyn erased_serde::Deserializer<'_>,
    ) -> Result<(), BoxError> {
        self.value = Some(erased_serde::deserialize(deserializer)?);
        Ok(())
    }

    fn as_any(&mut self) -> &mut dyn Any {
        &mut self.value
    }

    fn type_name(&self) -> &'static str {
        type_name::<T>()
    }
}
