//! The nodes behind the front door, and what they last said of themselves.

use crate::cli::http_get::HttpConnection;
use crate::http::LeaderAnswer;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Between two questions to one node. With [`PROBE_LIMIT`] it keeps the promise that a node that
/// stopped serving is noticed within a second.
const PROBE_EVERY: Duration = Duration::from_millis(200);
/// Longest wait for an answer.
const PROBE_LIMIT: Duration = Duration::from_millis(500);
/// A node that answers "not ready" this often in a row, while another is ready, is cut off; once
/// may be the moment of an election.
const NOT_READY_MAX: u32 = 2;

/// Addresses of one node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backend {
    /// Where clients go.
    pub grpc: String,
    /// Where its health is asked, and where HTTP clients go.
    pub http: String,
}

/// What a front door leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lane {
    /// The nodes' gRPC addresses.
    Grpc,
    /// The nodes' HTTP addresses.
    Http,
}

/// What a node last said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Health {
    /// No answer.
    Down,
    /// It runs but cannot serve: no leader, or it is cut off.
    Waiting,
    /// It serves, through the leader.
    Serves,
    /// It is the leader and serves.
    Leads,
}

/// One node as the front door sees it.
#[derive(Debug)]
pub struct Node {
    backend: Backend,
    health: watch::Sender<Health>,
    /// Counts the times the node stopped serving; its connections end when this moves.
    cut: watch::Sender<u64>,
}

impl Node {
    /// The address for a lane.
    pub fn address(&self, lane: Lane) -> &str {
        match lane {
            Lane::Grpc => &self.backend.grpc,
            Lane::Http => &self.backend.http,
        }
    }

    /// Changes when the connections to this node must be reset.
    pub fn cut(&self) -> watch::Receiver<u64> {
        self.cut.subscribe()
    }
}

/// All nodes behind a front door.
#[derive(Debug, Clone)]
pub struct Backends {
    nodes: Arc<Vec<Node>>,
    turn: Arc<AtomicUsize>,
    /// Moves whenever a node's health does.
    changes: watch::Sender<u64>,
}

impl Backends {
    /// Begins to ask the nodes, until `stop`.
    pub fn watch(backends: Vec<Backend>, stop: CancellationToken) -> Backends {
        let nodes = backends.into_iter().map(|backend| Node {
            backend,
            health: watch::Sender::new(Health::Down),
            cut: watch::Sender::new(0),
        });
        let all = Backends {
            nodes: Arc::new(nodes.collect()),
            turn: Arc::default(),
            changes: watch::Sender::new(0),
        };
        for index in 0..all.nodes.len() {
            let all = all.clone();
            let stop = stop.clone();
            tokio::spawn(async move { stop.run_until_cancelled(all.probe(index)).await });
        }
        all
    }

    /// How many nodes there are.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Whether there is no node.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// The nodes to try for a new connection, best first: the leader, those that serve in turn,
    /// then those that wait (they wait out a missing leader for their callers).
    pub fn order(&self) -> Vec<usize> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let count = self.nodes.len();
        let mut order: Vec<(Health, usize)> = (0..count)
            .map(|offset| (turn.wrapping_add(offset)) % count)
            .map(|index| (*self.nodes[index].health.borrow(), index))
            .filter(|(health, _)| *health != Health::Down)
            .collect();
        order.sort_by_key(|(health, _)| std::cmp::Reverse(*health));
        order.into_iter().map(|(_, index)| index).collect()
    }

    /// A node by its place in [`Backends::order`].
    pub fn node(&self, index: usize) -> &Node {
        &self.nodes[index]
    }

    /// Changes when any node's health does.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    async fn probe(&self, index: usize) {
        let node = &self.nodes[index];
        let mut connection = None;
        let mut period = Period::default();
        let mut ticks = tokio::time::interval(PROBE_EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let health = match ask(&mut connection, &node.backend.http).await {
                Ok(LeaderAnswer { ready: false, .. }) => Health::Waiting,
                Ok(LeaderAnswer { leads: true, .. }) => Health::Leads,
                Ok(_) => Health::Serves,
                Err(_) => {
                    connection = None;
                    Health::Down
                }
            };
            let before = node.health.send_replace(health);
            if period.ends_connections(before, health, self.another_serves(index)) {
                node.cut.send_modify(|times| *times += 1);
            }
            if before != health {
                self.changes.send_modify(|times| *times += 1);
            }
        }
    }

    fn another_serves(&self, index: usize) -> bool {
        let others = self
            .nodes
            .iter()
            .enumerate()
            .filter(|(other, _)| *other != index);
        others
            .into_iter()
            .any(|(_, node)| *node.health.borrow() >= Health::Serves)
    }
}

/// How long a node has not been ready, and what was done about it.
#[derive(Debug, Default)]
struct Period {
    /// Answers "not ready" in a row.
    not_ready: u32,
    /// Its connections were reset, and none was made to it since for want of a better node.
    cut: bool,
}

impl Period {
    /// Whether the node's connections must be reset now: it went down, or it is not ready while
    /// another node serves, be that from the beginning or only after an election.
    fn ends_connections(&mut self, before: Health, now: Health, another_serves: bool) -> bool {
        match now {
            Health::Down => {
                *self = Self::default();
                before != Health::Down
            }
            Health::Serves | Health::Leads => {
                *self = Self::default();
                false
            }
            Health::Waiting => {
                self.not_ready = self.not_ready.saturating_add(1);
                let ends = another_serves && self.not_ready >= NOT_READY_MAX;
                let was_cut = std::mem::replace(&mut self.cut, ends);
                ends && !was_cut
            }
        }
    }
}

async fn ask(connection: &mut Option<HttpConnection>, address: &str) -> io::Result<LeaderAnswer> {
    if connection.is_none() {
        *connection = Some(HttpConnection::connect(address, PROBE_LIMIT).await?);
    }
    let Some(open) = connection.as_mut() else {
        return Err(io::ErrorKind::NotConnected.into());
    };
    let (_, body) = open.get("/leader", PROBE_LIMIT).await?;
    serde_json::from_slice(&body).map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What becomes of the connections to a node that led, answer by answer.
    fn cuts(answers: &[(Health, bool)]) -> Vec<bool> {
        let (mut period, mut before) = (Period::default(), Health::Leads);
        answers
            .iter()
            .map(|(now, another_serves)| {
                let ends = period.ends_connections(before, *now, *another_serves);
                before = *now;
                ends
            })
            .collect()
    }

    #[test]
    fn a_node_that_is_not_ready_is_cut_once_another_serves_even_if_that_takes_an_election() {
        use Health::Waiting;
        let at_once = [(Waiting, true), (Waiting, true), (Waiting, true)];
        assert_eq!(cuts(&at_once), [false, true, false]);
        // Its clients were stuck for ever: at the second answer nobody served yet.
        let after_election = [
            (Waiting, false),
            (Waiting, false),
            (Waiting, false),
            (Waiting, true),
            (Waiting, true),
        ];
        assert_eq!(cuts(&after_election), [false, false, false, true, false]);
        // Meanwhile connections may have been made to it: there was no better node.
        let again = [
            (Waiting, true),
            (Waiting, true),
            (Waiting, false),
            (Waiting, true),
        ];
        assert_eq!(cuts(&again), [false, true, false, true]);
    }

    #[test]
    fn a_node_that_goes_down_is_cut_and_one_that_serves_is_not() {
        use Health::{Down, Leads, Serves, Waiting};
        let answers = [(Down, false), (Down, true), (Waiting, true), (Serves, true)];
        assert_eq!(cuts(&answers), [true, false, false, false]);
        assert_eq!(cuts(&[(Serves, true), (Leads, false)]), [false, false]);
    }
}
