//! What users do to payloads between the converter and the wire: encryption, compression, storage
//! elsewhere.

mod holders;

use crate::converter::BoxError;
use futures::future::BoxFuture;
use prost::Message;
use prost_types::Any;
use std::collections::BTreeMap;
use steadfast_proto::temporal::common::v1::Payload;
use steadfast_proto::temporal::update::v1 as update;

/// Changes payloads on their way to the server, and back on their way from it.
///
/// It sees all payloads of values, failures, memos, markers, summaries and details; headers and
/// search attributes it never sees. It may wait and may fail: a workflow task is then tried again.
pub trait PayloadCodec: Send + Sync + 'static {
    /// For the server. A single payload, as one of a memo, must stay a single one.
    fn encode(&self, payloads: Vec<Payload>) -> BoxFuture<'_, Result<Vec<Payload>, CodecError>>;

    /// From the server. Payloads that are not its own must be left as they are.
    fn decode(&self, payloads: Vec<Payload>) -> BoxFuture<'_, Result<Vec<Payload>, CodecError>>;
}

/// Why payloads could not be encoded or decoded.
#[derive(Debug, thiserror::Error)]
#[error("the payload codec failed: {0}")]
pub struct CodecError(BoxError);

impl CodecError {
    /// Because of this error or text.
    pub fn new(reason: impl Into<BoxError>) -> Self {
        Self(reason.into())
    }
}

/// A message, or a part of one, that holds payloads for the codec.
pub trait HoldsPayloads {
    /// Tells where they are.
    fn payloads<'a>(&'a mut self, found: &mut Found<'a>);
}

/// The places of a message's payloads, in the order of its fields.
#[derive(Debug, Default)]
pub struct Found<'a>(Vec<Slot<'a>>);

#[derive(Debug)]
enum Slot<'a> {
    One(&'a mut Payload),
    Many(&'a mut Vec<Payload>),
    /// The body of a message to or from a workflow; its payloads are encoded in it.
    Body(&'a mut Any),
}

#[derive(Clone, Copy)]
enum Way {
    Encode,
    Decode,
}

/// Encodes all payloads of a message in place.
pub(crate) async fn encode(
    codec: &dyn PayloadCodec,
    message: &mut (impl HoldsPayloads + Send),
) -> Result<(), CodecError> {
    apply(codec, Way::Encode, message).await
}

/// Decodes all payloads of a message in place.
pub(crate) async fn decode(
    codec: &dyn PayloadCodec,
    message: &mut (impl HoldsPayloads + Send),
) -> Result<(), CodecError> {
    apply(codec, Way::Decode, message).await
}

async fn apply(
    codec: &dyn PayloadCodec,
    way: Way,
    message: &mut (impl HoldsPayloads + Send),
) -> Result<(), CodecError> {
    let mut found = Found::default();
    message.payloads(&mut found);
    for slot in found.0 {
        match slot {
            Slot::One(payload) => *payload = one(codec, way, std::mem::take(payload)).await?,
            Slot::Many(payloads) => *payloads = many(codec, way, std::mem::take(payloads)).await?,
            Slot::Body(body) => apply_to_body(codec, way, body).await?,
        }
    }
    Ok(())
}

async fn one(codec: &dyn PayloadCodec, way: Way, payload: Payload) -> Result<Payload, CodecError> {
    let mut changed = many(codec, way, vec![payload]).await?;
    match (changed.pop(), changed.len()) {
        (Some(payload), 0) => Ok(payload),
        _ => Err(CodecError::new("a single payload must stay a single one")),
    }
}

async fn many(
    codec: &dyn PayloadCodec,
    way: Way,
    payloads: Vec<Payload>,
) -> Result<Vec<Payload>, CodecError> {
    match way {
        Way::Encode => codec.encode(payloads).await,
        Way::Decode => codec.decode(payloads).await,
    }
}

/// Decodes a body of the update protocol, applies the codec, encodes it again.
async fn apply_to_body(
    codec: &dyn PayloadCodec,
    way: Way,
    body: &mut Any,
) -> Result<(), CodecError> {
    let name = body.type_url.rsplit('/').next().unwrap_or_default();
    match name {
        "temporal.api.update.v1.Request" => retype::<update::Request>(codec, way, body).await,
        "temporal.api.update.v1.Acceptance" => retype::<update::Acceptance>(codec, way, body).await,
        "temporal.api.update.v1.Rejection" => retype::<update::Rejection>(codec, way, body).await,
        "temporal.api.update.v1.Response" => retype::<update::Response>(codec, way, body).await,
        _ => Ok(()),
    }
}

async fn retype<M: Message + Default + HoldsPayloads>(
    codec: &dyn PayloadCodec,
    way: Way,
    body: &mut Any,
) -> Result<(), CodecError> {
    let mut message = M::decode(body.value.as_slice()).map_err(CodecError::new)?;
    // A body holds no bodies, so this goes one level deep.
    Box::pin(apply(codec, way, &mut message)).await?;
    body.value = message.encode_to_vec();
    Ok(())
}

impl HoldsPayloads for Payload {
    fn payloads<'a>(&'a mut self, found: &mut Found<'a>) {
        found.0.push(Slot::One(self));
    }
}

impl HoldsPayloads for Any {
    fn payloads<'a>(&'a mut self, found: &mut Found<'a>) {
        found.0.push(Slot::Body(self));
    }
}

impl<T: HoldsPayloads> HoldsPayloads for Option<T> {
    fn payloads<'a>(&'a mut self, found: &mut Found<'a>) {
        if let Some(content) = self {
            content.payloads(found);
        }
    }
}

impl<T: HoldsPayloads> HoldsPayloads for Box<T> {
    fn payloads<'a>(&'a mut self, found: &mut Found<'a>) {
        self.as_mut().payloads(found);
    }
}

impl<T: HoldsPayloads> HoldsPayloads for Vec<T> {
    fn payloads<'a>(&'a mut self, found: &mut Found<'a>) {
        for content in self {
            content.payloads(found);
        }
    }
}

impl<T: HoldsPayloads> HoldsPayloads for BTreeMap<String, T> {
    fn payloads<'a>(&'a mut self, found: &mut Found<'a>) {
        for content in self.values_mut() {
            content.payloads(found);
        }
    }
}

#[cfg(test)]
mod tests;
