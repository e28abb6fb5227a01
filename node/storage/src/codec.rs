//! The one encoding of our own structs at rest: bincode with fixed-size integers behind a version
//! byte, bounded, and strict about trailing bytes.

use bincode::Options;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// The version byte in front of what [`encode`] writes. Fields and variants of encoded types are
/// never reordered, removed or inserted before others; a change that needs it gets a new version.
pub const VERSION: u8 = 1;

/// A value could not be encoded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// It is larger than the place it is for allows.
    #[error("the encoded value would be larger than {limit} bytes")]
    TooLarge {
        /// Bytes allowed.
        limit: u64,
    },
    /// serde cannot express it in bincode.
    #[error("the value cannot be encoded: {0}")]
    Unsupported(String),
}

/// Bytes are not what [`encode`] writes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// No bytes at all, not even a version.
    #[error("no bytes where an encoded value should be")]
    Empty,
    /// Written by a newer or a broken program.
    #[error("version {found} of the encoding is unknown, {VERSION} is known")]
    UnknownVersion {
        /// The version byte.
        found: u8,
    },
    /// It is larger than the place it is for allows.
    #[error("the encoded value of {bytes} bytes is larger than {limit} bytes")]
    TooLarge {
        /// Bytes found.
        bytes: u64,
        /// Bytes allowed.
        limit: u64,
    },
    /// The bytes after the version do not decode, or are too many.
    #[error("the bytes do not decode: {0}")]
    Malformed(String),
}

fn options(limit: u64) -> impl Options {
    bincode::options()
        .with_fixint_encoding()
        .with_limit(limit)
        .reject_trailing_bytes()
}

/// Encodes a value into a version byte and at most `limit` further bytes.
///
/// # Errors
/// When it is too large, or its type cannot be expressed.
pub fn encode<T: Serialize>(value: &T, limit: u64) -> Result<Vec<u8>, EncodeError> {
    let mut bytes = vec![VERSION];
    options(limit)
        .serialize_into(&mut bytes, value)
        .map_err(|error| match *error {
            bincode::ErrorKind::SizeLimit => EncodeError::TooLarge { limit },
            other => EncodeError::Unsupported(other.to_string()),
        })?;
    Ok(bytes)
}

/// Decodes what [`encode`] wrote.
///
/// # Errors
/// On an unknown version, more than `limit` bytes after it, trailing bytes, or garbage; never
/// panics, and never allocates more than `limit` asks for.
pub fn decode<T: DeserializeOwned>(bytes: &[u8], limit: u64) -> Result<T, DecodeError> {
    let (version, rest) = bytes.split_first().ok_or(DecodeError::Empty)?;
    if *version != VERSION {
        return Err(DecodeError::UnknownVersion { found: *version });
    }
    if rest.len() as u64 > limit {
        return Err(DecodeError::TooLarge {
            bytes: rest.len() as u64,
            limit,
        });
    }
    options(limit)
        .deserialize(rest)
        .map_err(|error| DecodeError::Malformed(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
    struct Sample {
        name: String,
        number: Option<u64>,
    }

    fn sample() -> Sample {
        Sample {
            name: "order".into(),
            number: Some(7),
        }
    }

    #[test]
    fn values_come_back_in_the_fixed_layout() {
        let bytes = encode(&sample(), 100).unwrap();
        let layout = [
            &[1u8, 5, 0, 0, 0, 0, 0, 0, 0][..],
            b"order",
            &[1, 7, 0, 0, 0, 0, 0, 0, 0],
        ];
        assert_eq!(bytes, layout.concat());
        assert_eq!(decode::<Sample>(&bytes, 100).unwrap(), sample());
    }

    #[test]
    fn limits_versions_and_trailing_bytes_are_enforced() {
        assert_eq!(
            encode(&sample(), 21).unwrap_err(),
            EncodeError::TooLarge { limit: 21 }
        );
        let mut bytes = encode(&sample(), 22).unwrap();
        let too_large = DecodeError::TooLarge {
            bytes: 22,
            limit: 21,
        };
        assert_eq!(decode::<Sample>(&bytes, 21).unwrap_err(), too_large);
        bytes.push(0);
        assert!(matches!(
            decode::<Sample>(&bytes, 100),
            Err(DecodeError::Malformed(_))
        ));
        bytes[0] = 9;
        let unknown = DecodeError::UnknownVersion { found: 9 };
        assert_eq!(decode::<Sample>(&bytes, 100).unwrap_err(), unknown);
        assert_eq!(decode::<Sample>(&[], 100).unwrap_err(), DecodeError::Empty);
    }

    #[test]
    fn a_corrupt_length_is_an_error_and_allocates_nothing() {
        let mut bytes = encode(&sample(), 100).unwrap();
        bytes[1..9].copy_from_slice(&u64::MAX.to_le_bytes());
        assert!(matches!(
            decode::<Sample>(&bytes, 100),
            Err(DecodeError::Malformed(_))
        ));
    }
}
