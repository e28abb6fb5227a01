//! What a call takes: nothing, one value, or several.

use super::{ConversionError, Converter, Value, null};
use std::any::{TypeId, type_name};
use steadfast_proto::temporal::common::v1::Payload;

/// What a workflow, an activity, a signal, a query or an update takes.
///
/// A value is one payload and `()` is none. Several payloads, as workflows of other languages take
/// them, are [`Args`] of a tuple.
pub trait Arguments: Sized + 'static {
    /// As payloads, one for each argument.
    ///
    /// # Errors
    /// [`ConversionError::Encode`] of the argument that cannot be written.
    fn to_payloads(&self, converter: &Converter) -> Result<Vec<Payload>, ConversionError>;

    /// From payloads. More than are wanted are left alone, so that a caller may be newer; one that
    /// is missing is `null` to a type that takes it.
    ///
    /// # Errors
    /// [`ConversionError::Decode`] or [`ConversionError::Missing`], with the position.
    fn from_payloads(
        converter: &Converter,
        payloads: Vec<Payload>,
    ) -> Result<Self, ConversionError>;
}

impl<T: Value> Arguments for T {
    fn to_payloads(&self, converter: &Converter) -> Result<Vec<Payload>, ConversionError> {
        if TypeId::of::<T>() == TypeId::of::<()>() {
            return Ok(Vec::new());
        }
        Ok(vec![converter.to_payload(self)?])
    }

    fn from_payloads(
        converter: &Converter,
        mut payloads: Vec<Payload>,
    ) -> Result<Self, ConversionError> {
        if TypeId::of::<T>() == TypeId::of::<()>() {
            payloads.clear();
        }
        one(converter, &payloads, 0)
    }
}

/// Several arguments, or payloads as they come.
///
/// ```
/// use steadfast_sdk::{Activity, Args};
///
/// const CHARGE: Activity<Args<(String, u64)>, String> = Activity::named("ChargeCard");
/// # assert_eq!(CHARGE.name(), "ChargeCard");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Args<T>(pub T);

/// For what has no types: each payload is one argument.
impl Arguments for Args<Vec<Payload>> {
    fn to_payloads(&self, _: &Converter) -> Result<Vec<Payload>, ConversionError> {
        Ok(self.0.clone())
    }

    fn from_payloads(_: &Converter, payloads: Vec<Payload>) -> Result<Self, ConversionError> {
        Ok(Args(payloads))
    }
}

macro_rules! arguments {
    ($($type:ident $position:tt),+) => {
        impl<$($type: Value),+> Arguments for Args<($($type,)+)> {
            fn to_payloads(&self, converter: &Converter) -> Result<Vec<Payload>, ConversionError> {
                Ok(vec![$(converter.to_payload(&self.0.$position)?),+])
            }

            fn from_payloads(
                converter: &Converter,
                payloads: Vec<Payload>,
            ) -> Result<Self, ConversionError> {
                Ok(Args(($(one::<$type>(converter, &payloads, $position)?,)+)))
            }
        }
    };
}

arguments!(A 0);
arguments!(A 0, B 1);
arguments!(A 0, B 1, C 2);
arguments!(A 0, B 1, C 2, D 3);
arguments!(A 0, B 1, C 2, D 3, E 4);
arguments!(A 0, B 1, C 2, D 3, E 4, F 5);

/// The argument at a position.
fn one<T: Value>(
    converter: &Converter,
    payloads: &[Payload],
    position: usize,
) -> Result<T, ConversionError> {
    match payloads.get(position) {
        Some(payload) => converter
            .from_payload(payload)
            .map_err(|error| error.at(position)),
        None => null().map_err(|_| ConversionError::Missing {
            rust_type: type_name::<T>(),
            position,
            count: payloads.len(),
        }),
    }
}
