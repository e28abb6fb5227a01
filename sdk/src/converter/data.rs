//! All that stands between values and the wire: converter, failures, codec.

use super::Converter;
use crate::codec::{CodecError, HoldsPayloads, PayloadCodec, decode, encode};
use crate::failure::Failure;
use crate::failure::wire::{DefaultFailureConverter, FailureConverter};
use std::fmt;
use std::sync::Arc;
use steadfast_proto::temporal::failure::v1 as wire;

/// How values and failures travel. Client, worker and replayer of one program share one. Clones
/// share everything.
#[derive(Clone)]
pub struct DataConverter {
    converter: Converter,
    failures: Arc<dyn FailureConverter>,
    codec: Option<Arc<dyn PayloadCodec>>,
}

impl Default for DataConverter {
    fn default() -> Self {
        Self {
            converter: Converter::default(),
            failures: Arc::new(DefaultFailureConverter::default()),
            codec: None,
        }
    }
}

impl DataConverter {
    /// The same with this converter of values.
    pub fn with_converter(mut self, converter: Converter) -> Self {
        self.converter = converter;
        self
    }

    /// The same with this converter of failures.
    pub fn with_failures(mut self, failures: impl FailureConverter) -> Self {
        self.failures = Arc::new(failures);
        self
    }

    /// The same with this codec.
    pub fn with_codec(mut self, codec: impl PayloadCodec) -> Self {
        self.codec = Some(Arc::new(codec));
        self
    }

    /// The converter of values.
    pub fn converter(&self) -> &Converter {
        &self.converter
    }

    /// A failure as others understand it.
    pub fn to_wire(&self, failure: &Failure) -> wire::Failure {
        self.failures.to_wire(failure, &self.converter)
    }

    /// A failure of any SDK or of the server.
    pub fn from_wire(&self, failure: wire::Failure) -> Failure {
        self.failures.from_wire(failure, &self.converter)
    }

    /// The codec's encoding of all payloads in a message; nothing without a codec.
    ///
    /// # Errors
    /// What the codec says; the message is half encoded then.
    pub async fn encode(
        &self,
        message: &mut (impl HoldsPayloads + Send),
    ) -> Result<(), CodecError> {
        match &self.codec {
            Some(codec) => encode(codec.as_ref(), message).await,
            None => Ok(()),
        }
    }

    /// The reverse of [`encode`](Self::encode).
    ///
    /// # Errors
    /// What the codec says; the message is half decoded then.
    pub async fn decode(
        &self,
        message: &mut (impl HoldsPayloads + Send),
    ) -> Result<(), CodecError> {
        match &self.codec {
            Some(codec) => decode(codec.as_ref(), message).await,
            None => Ok(()),
        }
    }
}

impl fmt::Debug for DataConverter {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("DataConverter")
            .field("converter", &self.converter)
            .field("codec", &self.codec.is_some())
            .finish_non_exhaustive()
    }
}
