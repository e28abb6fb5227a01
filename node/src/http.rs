//! The HTTP address of a node: health, metrics, and who leads.

mod leader_probe;

pub use leader_probe::LeaderProbe;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use std::fmt::Debug;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// A node that cannot serve a linearizable read within this time is not ready. The front door
/// waits for two such answers, and promises to notice within a second.
const READY_LIMIT: Duration = Duration::from_millis(200);

/// Where a node answers for itself alone: a follower asks its leader there whether it serves.
pub const OWN_ANSWER: &str = "/leader/own";

/// The answer of `/leader`, for the front door.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct LeaderAnswer {
    /// The node that answers.
    pub node_id: u64,
    /// It is the leader.
    pub leads: bool,
    /// It serves linearizable reads.
    pub ready: bool,
    /// The leader's gRPC address, when known.
    pub leader_grpc: Option<String>,
}

/// What the pages show.
pub trait Health: Send + Sync + Debug + 'static {
    /// This node's number.
    fn node_id(&self) -> u64;
    /// Whether it leads.
    fn leads(&self) -> bool;
    /// The leader's gRPC address.
    fn leader_grpc(&self) -> Option<String>;
    /// Resolves when a linearizable read was served: true, or false when it cannot be. A follower
    /// asks its leader, if it may.
    fn reads(&self, through_leader: bool) -> Pin<Box<dyn Future<Output = bool> + Send + '_>>;
    /// All metrics in Prometheus' text format.
    fn metrics(&self) -> String;
}

/// Serves the pages until `stop`.
pub async fn serve(
    listener: TcpListener,
    health: Arc<dyn Health>,
    stop: CancellationToken,
) -> io::Result<()> {
    let pages = Router::new()
        .route("/health/live", get(|| async { "live\n" }))
        .route("/health/ready", get(ready))
        .route("/leader", get(leader))
        .route(OWN_ANSWER, get(own))
        .route("/metrics", get(metrics))
        .with_state(health);
    // Probes keep their connections open; they must not hold up the node's end.
    let served = axum::serve(listener, pages).into_future();
    stop.run_until_cancelled(served).await.unwrap_or(Ok(()))
}

async fn is_ready(health: &Arc<dyn Health>, through_leader: bool) -> bool {
    timeout(READY_LIMIT, health.reads(through_leader))
        .await
        .unwrap_or(false)
}

async fn ready(State(health): State<Arc<dyn Health>>) -> (StatusCode, &'static str) {
    if is_ready(&health, true).await {
        (StatusCode::OK, "ready\n")
    } else {
        (
            StatusCode::SERVICE_UNAVAILABLE,
            "not ready: no linearizable reads now\n",
        )
    }
}

async fn leader(State(health): State<Arc<dyn Health>>) -> Response {
    answer(&health, true).await
}

async fn own(State(health): State<Arc<dyn Health>>) -> Response {
    answer(&health, false).await
}

async fn answer(health: &Arc<dyn Health>, through_leader: bool) -> Response {
    let answer = LeaderAnswer {
        node_id: health.node_id(),
        ready: is_ready(health, through_leader).await,
        leads: health.leads(),
        leader_grpc: health.leader_grpc(),
    };
    match serde_json::to_string(&answer) {
        Ok(text) => ([(header::CONTENT_TYPE, "application/json")], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

async fn metrics(State(health): State<Arc<dyn Health>>) -> impl IntoResponse {
    (
        [(header::CONTENT_TYPE, "text/plain; version=0.0.4")],
        health.metrics(),
    )
}
