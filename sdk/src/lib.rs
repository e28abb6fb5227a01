//! The Rust SDK. For now its lowest layer: a client that knows several addresses, and a worker
//! driven by hand, which our tests and the load driver use.

pub mod client;

pub use client::{Client, ClientError, RawWorker};
