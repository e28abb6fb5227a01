//! Temporal's wire types and services, generated from the descriptor set of `temporalio-protos`,
//! and the messages between our own nodes and tools.
//!
//! Without the feature `services` there are messages only; the engine is built that way and cannot
//! see tonic. Three `history` fields of hot responses are `bytes` here (see `build.rs`): the same
//! wire form, served as stored.

/// Temporal's packages, as modules: `temporal::api::workflowservice::v1` and so on.
#[allow(
    missing_docs,
    clippy::all,
    clippy::allow_attributes_without_reason,
    clippy::too_many_lines,
    dead_code,
    unreachable_pub,
    reason = "generated code"
)]
mod generated {
    include!(concat!(env!("OUT_DIR"), "/temporal.rs"));
}

/// Our own packages: `steadfast::raft::v1` and so on.
#[allow(
    missing_docs,
    clippy::all,
    clippy::allow_attributes_without_reason,
    clippy::too_many_lines,
    dead_code,
    unreachable_pub,
    reason = "generated code"
)]
mod ours {
    include!(concat!(env!("OUT_DIR"), "/internal.rs"));
}

/// The encoded `FileDescriptorSet` of Temporal's API as it is served, for gRPC reflection.
#[cfg(feature = "services")]
pub const TEMPORAL_DESCRIPTORS: &[u8] =
    include_bytes!(concat!(env!("OUT_DIR"), "/temporal_descriptors.bin"));

pub use generated::google;
pub use generated::temporal::api as temporal;
pub use ours::steadfast as internal;
