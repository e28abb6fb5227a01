//! A follower serves by handing calls to the leader; so it asks the leader whether it serves.

use crate::cli::http_get::HttpConnection;
use crate::http::{LeaderAnswer, OWN_ANSWER};
use std::io;
use std::time::Duration;
use tokio::sync::Mutex;

/// Longest wait for the leader's word; the page's own limit is shorter.
const LEADER_LIMIT: Duration = Duration::from_millis(500);

/// Asks the leader's HTTP address, on a connection that is kept.
#[derive(Debug, Default)]
pub struct LeaderProbe {
    kept: Mutex<Option<(String, HttpConnection)>>,
}

impl LeaderProbe {
    /// Whether the node at that HTTP address leads and serves linearizable reads.
    pub async fn serves(&self, http_address: &str) -> bool {
        let mut kept = self.kept.lock().await;
        // Taken out, so that a question that is given up leaves no half-read connection behind.
        let connection = kept.take().filter(|(to, _)| to == http_address);
        match ask(connection.map(|(_, connection)| connection), http_address).await {
            Ok((answer, connection)) => {
                *kept = Some((http_address.to_string(), connection));
                answer.leads && answer.ready
            }
            Err(_) => false,
        }
    }
}

async fn ask(
    connection: Option<HttpConnection>,
    address: &str,
) -> io::Result<(LeaderAnswer, HttpConnection)> {
    let mut connection = match connection {
        Some(connection) => connection,
        None => HttpConnection::connect(address, LEADER_LIMIT).await?,
    };
    let (_, body) = connection.get(OWN_ANSWER, LEADER_LIMIT).await?;
    let answer = serde_json::from_slice(&body).map_err(io::Error::other)?;
    Ok((answer, connection))
}
