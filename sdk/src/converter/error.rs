//! Why a value and a payload do not go together.

/// An error of any type.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Why a value did not become a payload, or a payload no value.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConversionError {
    /// The value cannot be written.
    #[error("cannot write a `{rust_type}` as `{encoding}`: {source}")]
    Encode {
        /// The type of the value.
        rust_type: &'static str,
        /// The format that took it.
        encoding: String,
        /// What the format says.
        source: BoxError,
    },
    /// The payload cannot be read.
    #[error(
        "cannot read {} of encoding `{encoding}` as `{rust_type}`: {source}",
        place(*position)
    )]
    Decode {
        /// The type that was wanted.
        rust_type: &'static str,
        /// What the payload's metadata says; empty when it says nothing.
        encoding: String,
        /// Which argument it was, from 0; none for a single payload.
        position: Option<usize>,
        /// What the format says.
        source: BoxError,
    },
    /// There are fewer payloads than arguments, and this one cannot be left out.
    #[error("argument {position} is missing: a `{rust_type}`, and {count} came")]
    Missing {
        /// The type that was wanted.
        rust_type: &'static str,
        /// Which argument, from 0.
        position: usize,
        /// How many came.
        count: usize,
    },
}

impl ConversionError {
    /// The same, of the argument at this position.
    pub(super) fn at(mut self, argument: usize) -> Self {
        if let ConversionError::Decode { position, .. } = &mut self {
            *position = Some(argument);
        }
        self
    }
}

fn place(position: Option<usize>) -> String {
    match position {
        Some(position) => format!("argument {position}"),
        None => "a payload".to_string(),
    }
}
