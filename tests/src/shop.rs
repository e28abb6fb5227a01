//! What the seed's questions share: a shop of three nodes and a payments server.

use crate::Error;
use crate::client::Client;
use crate::cluster::Cluster;
use crate::payments::Payments;
use crate::program::Program;
use crate::sdk::{OrderWorker, order_worker};
use std::time::Duration;
use steadfast_proto::temporal::enums::v1::{EventType, RetryState};
use steadfast_proto::temporal::history::v1::HistoryEvent;
use steadfast_proto::temporal::history::v1::history_event::Attributes;

/// The queue of the seed's worker.
pub const QUEUE: &str = "orders";

/// Three nodes and a payments server.
#[derive(Debug)]
pub struct Shop {
    /// The nodes.
    pub cluster: Cluster,
    /// Where the charges go.
    pub payments: Payments,
    variant: &'static str,
}

/// A started order.
#[derive(Debug)]
pub struct Order {
    /// Its workflow id.
    pub workflow_id: String,
    /// Its run id.
    pub run_id: String,
}

impl Shop {
    /// Opens it with a variant of the seed's workflow: `verbatim` or `retry`.
    ///
    /// # Errors
    /// [`Error`] when the nodes do not come up.
    pub async fn open(variant: &'static str) -> Result<Self, Error> {
        let cluster = Cluster::start(3).await?;
        Ok(Self {
            cluster,
            payments: Payments::start().await?,
            variant,
        })
    }

    /// An order worker that talks to one node.
    ///
    /// # Errors
    /// [`Error`] when it does not get ready.
    pub async fn worker(&self, node: u64, identity: &str) -> Result<Program, Error> {
        order_worker(&OrderWorker {
            address: &self.cluster.addresses(node).grpc,
            task_queue: QUEUE,
            identity,
            payments_url: self.payments.url(),
            variant: self.variant,
        })
        .await
    }

    /// A client of all nodes.
    #[must_use]
    pub fn client(&self) -> Client {
        let ids = self.cluster.ids();
        let addresses: Vec<&str> = ids
            .iter()
            .map(|id| self.cluster.addresses(*id).grpc.as_str())
            .collect();
        Client::new(&addresses)
    }

    /// Starts an order.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn order(&self, id: &str) -> Result<Order, Error> {
        start(&self.client(), id).await
    }

    /// Starts an order through one node.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn order_at(&self, node: u64, id: &str) -> Result<Order, Error> {
        start(&Client::new(&[&self.cluster.addresses(node).grpc]), id).await
    }

    /// Waits for an order's end, two minutes at most; its history.
    ///
    /// # Errors
    /// [`Error::TimedOut`].
    pub async fn closed(&self, order: &Order) -> Result<Vec<HistoryEvent>, Error> {
        let limit = Duration::from_secs(120);
        self.client()
            .closed_history(&order.workflow_id, &order.run_id, limit)
            .await
    }

    /// All nodes but one.
    #[must_use]
    pub fn others(&self, but: u64) -> Vec<u64> {
        self.cluster
            .ids()
            .into_iter()
            .filter(|id| *id != but)
            .collect()
    }
}

async fn start(client: &Client, id: &str) -> Result<Order, Error> {
    let arguments = [serde_json::json!(42), serde_json::json!(id)];
    let run_id = client
        .start("orderProcessingWorkflow", id, QUEUE, &arguments)
        .await?;
    Ok(Order {
        workflow_id: id.to_owned(),
        run_id,
    })
}

/// The events' types.
#[must_use]
pub fn event_types(history: &[HistoryEvent]) -> Vec<EventType> {
    history.iter().map(HistoryEvent::event_type).collect()
}

/// The result of a completed workflow, as JSON text.
#[must_use]
pub fn result(history: &[HistoryEvent]) -> String {
    match history.last().and_then(|event| event.attributes.as_ref()) {
        Some(Attributes::WorkflowExecutionCompletedEventAttributes(completed)) => {
            let payloads = completed.result.clone().unwrap_or_default().payloads;
            String::from_utf8_lossy(&payloads[0].data).into_owned()
        }
        other => format!("not completed: {other:?}"),
    }
}

/// The attempt in each activity's started event, in order.
#[must_use]
pub fn started_attempts(history: &[HistoryEvent]) -> Vec<i32> {
    let attempt = |event: &HistoryEvent| match event.attributes.as_ref() {
        Some(Attributes::ActivityTaskStartedEventAttributes(started)) => Some(started.attempt),
        _ => None,
    };
    history.iter().filter_map(attempt).collect()
}

/// Identities in the started events of workflow tasks, in order.
#[must_use]
pub fn workflow_task_identities(history: &[HistoryEvent]) -> Vec<String> {
    let identity = |event: &HistoryEvent| match event.attributes.as_ref() {
        Some(Attributes::WorkflowTaskStartedEventAttributes(started)) => {
            Some(started.identity.clone())
        }
        _ => None,
    };
    history.iter().filter_map(identity).collect()
}

/// Whether an activity failed because its attempts were used up.
#[must_use]
pub fn failed_with_maximum_attempts(history: &[HistoryEvent]) -> bool {
    history.iter().any(|event| match event.attributes.as_ref() {
        Some(Attributes::ActivityTaskFailedEventAttributes(failed)) => {
            failed.retry_state() == RetryState::MaximumAttemptsReached
        }
        _ => false,
    })
}
