//! The Rust SDK: definitions with types, values and failures as all of Temporal's SDKs write them,
//! a client, and a worker driven by hand, which our tests and the load driver use.

pub mod client;
pub mod codec;
pub mod converter;
mod definition;
mod duration;
pub mod failure;
mod retry_policy;
mod search_attributes;
pub mod workflow {
    //! Workflow code.

    /// The workflow goes on as another run.
    #[derive(Debug, Clone, PartialEq)]
    pub struct ContinueAsNew {}
}

pub use client::{
    Client, ClientError, ClientOptions, RawClient, RawWorker, StartOptions, WorkflowHandle,
};
pub use converter::{Args, DataConverter, Proto, RawPayload};
pub use definition::{Activity, Query, Signal, Update, Workflow};
pub use failure::{Failure, Result};
pub use retry_policy::RetryPolicy;
pub use search_attributes::{SearchAttribute, SearchAttributes};
