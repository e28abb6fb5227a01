//! The Rust SDK: durable workflows as plain async Rust, against Steadfast or Temporal.

pub mod client;
pub mod codec;
pub mod converter;
mod definition;
mod duration;
pub mod executor;
pub mod failure;
mod history;
mod replayer;
mod retry_policy;
mod search_attributes;
pub mod worker;
pub mod workflow;

pub use client::{
    Client, ClientError, ClientOptions, RawClient, RawWorker, StartOptions, WorkflowHandle,
};
pub use converter::{Args, DataConverter, Proto, RawPayload};
pub use definition::{Activity, Query, Signal, Update, Workflow};
pub use failure::{Failure, FailureKind, Result};
pub use history::{History, HistoryError};
pub use replayer::{ReplayError, Replayer};
pub use retry_policy::RetryPolicy;
pub use search_attributes::{SearchAttribute, SearchAttributes};
pub use steadfast_sdk_macros::{activities, activity, workflow};
pub use worker::{ActivityContext, Worker, WorkerOptions};

/// What servers know this SDK as.
pub(crate) const NAME: &str = "steadfast-rust";
/// The version of this SDK.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");

/// For macros of this crate.
#[doc(hidden)]
pub mod hidden {
    pub use tokio;
}

/// The tour of the README, so that its code is compiled and run.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
pub struct Tour;
