//! What users put between the client's methods and the wire.

use crate::client::error::CallError;
use futures::future::BoxFuture;
use std::fmt;

/// What a call gives, later.
pub type Answer<'a, A> = BoxFuture<'a, Result<A, CallError>>;

/// The rest of the way: further interceptors, the payload codec, the call with its retries.
pub struct Next<'a, Q, A>(pub(super) Box<dyn FnOnce(Q) -> Answer<'a, A> + Send + 'a>);

impl<'a, Q, A> Next<'a, Q, A> {
    /// Goes on with this request.
    pub fn run(self, request: Q) -> Answer<'a, A> {
        (self.0)(request)
    }
}

impl<Q, A> fmt::Debug for Next<'_, Q, A> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Next")
    }
}
