//! A client of a cluster: starts workflows, talks to them, waits for their results.
//!
//! [`Client`] has types and failures; below it, [`RawClient`] and [`RawWorker`] speak Temporal's
//! messages.

mod activity;
mod calls;
pub mod command;
mod error;
mod handle;
mod info;
mod interceptor;
mod list;
mod options;
mod query;
mod raw;
mod result;
mod retry;
pub mod schedule;
mod start;
mod update;
mod worker;

pub use activity::{ActivityHandle, HeartbeatAnswer};
pub use calls::ClientInterceptor;
pub use error::{
    CallError, CreateScheduleError, QueryError, StartError, UpdateError, UpdateWithStartError,
    WorkflowError,
};
pub use handle::WorkflowHandle;
pub use info::{WorkflowDescription, WorkflowExecutionInfo};
pub use interceptor::{Answer, Next};
pub use list::WorkflowCount;
pub use options::{Memo, Priority, StartOptions, VersioningOverride};
pub use raw::{
    ClientError, RawClient, Service, decode_history, execution, payloads, wait_for_close,
};
pub use retry::{RetryOptions, may_retry};
pub use start::{EagerSlot, EagerWorker};
pub use update::{UpdateHandle, UpdateOptions};
pub use worker::{ActivityTask, RawWorker, WorkflowTask};

use crate::converter::DataConverter;
use calls::Calls;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// How long [`Client::connect`] waits for the first answer.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);

/// A client of one namespace of a cluster. Clones share everything.
///
/// Calls fail over among the addresses and are tried again as [`RetryOptions`] say; each may be
/// repeated without harm, because the server knows it by its request id.
#[derive(Debug, Clone)]
pub struct Client {
    calls: Arc<Calls>,
    eager: Arc<OnceLock<Arc<dyn EagerWorker>>>,
}

/// How a client is made.
#[derive(Clone, Default)]
pub struct ClientOptions {
    data: DataConverter,
    retry: RetryOptions,
    interceptors: Vec<Arc<dyn ClientInterceptor>>,
}

impl std::fmt::Debug for ClientOptions {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("ClientOptions")
            .field("data", &self.data)
            .field("retry", &self.retry)
            .field("interceptors", &self.interceptors.len())
            .finish()
    }
}

impl ClientOptions {
    /// The usual ones.
    pub fn new() -> Self {
        Self::default()
    }

    /// How values and failures travel.
    pub fn data_converter(mut self, data: DataConverter) -> Self {
        self.data = data;
        self
    }

    /// How calls are tried again.
    pub fn retry(mut self, retry: RetryOptions) -> Self {
        self.retry = retry;
        self
    }

    /// A further interceptor, nearer to the wire than those before.
    pub fn interceptor(mut self, interceptor: impl ClientInterceptor) -> Self {
        self.interceptors.push(Arc::new(interceptor));
        self
    }
}

impl Client {
    /// A client of the cluster at these addresses (`HOST:PORT`), with the usual options.
    ///
    /// # Errors
    /// [`ClientError`] when an address is none, or when none of them answers within 10 s.
    pub async fn connect(addresses: &[String], namespace: &str) -> Result<Client, ClientError> {
        let raw = RawClient::connect(addresses, namespace, CONNECT_LIMIT).await?;
        Ok(Client::new(raw, ClientOptions::default()))
    }

    /// A client over a raw one.
    pub fn new(raw: RawClient, options: ClientOptions) -> Client {
        let ClientOptions {
            data,
            retry,
            interceptors,
        } = options;
        Client {
            calls: Arc::new(Calls {
                raw,
                data,
                retry,
                interceptors,
            }),
            eager: Arc::default(),
        }
    }

    /// The client below: Temporal's messages as they are.
    pub fn raw(&self) -> &RawClient {
        &self.calls.raw
    }

    /// How values and failures travel.
    pub fn data_converter(&self) -> &DataConverter {
        &self.calls.data
    }

    /// The namespace of all calls.
    pub fn namespace(&self) -> &str {
        self.calls.raw.namespace()
    }

    /// What the server is told of who calls.
    pub fn identity(&self) -> &str {
        self.calls.raw.identity()
    }

    /// Lets eager starts bring their first workflow task to this worker. Only the first worker
    /// counts; gives whether it was this one.
    pub fn register_eager_worker(&self, worker: Arc<dyn EagerWorker>) -> bool {
        self.eager.set(worker).is_ok()
    }
}
