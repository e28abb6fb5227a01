//! Lanes in memory: several nodes in one process without sockets, with links that can be cut.

use super::{LANE_FRAMES, Lane, LinkError, Transport, Wire};
use crate::inbound::Inbound;
use futures::future::BoxFuture;
use futures::{Stream, StreamExt};
use std::collections::{BTreeMap, BTreeSet};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use steadfast_proto::internal::raft::v1 as proto;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::{ReceiverStream, WatchStream};

/// The nodes of one process, by address.
#[derive(Debug, Clone, Default)]
pub struct MemoryNetwork {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    nodes: BTreeMap<String, Inbound>,
    /// Directed pairs that cannot talk.
    cut: BTreeSet<(String, String)>,
    /// Counts changes of `cut`: lanes that exist look again.
    changes: watch::Sender<u64>,
}

impl MemoryNetwork {
    /// The transport of the node at `address`.
    pub fn transport(&self, address: &str) -> Arc<dyn Transport> {
        Arc::new(MemoryTransport {
            network: self.clone(),
            from: address.to_owned(),
        })
    }

    /// Lets others reach the node at `address`.
    pub fn listen(&self, address: &str, inbound: Inbound) {
        self.change(|state| {
            state.nodes.insert(address.to_owned(), inbound);
        });
    }

    /// Takes a node away; its lanes break.
    pub fn remove(&self, address: &str) {
        self.change(|state| {
            state.nodes.remove(address);
        });
    }

    /// Cuts all lanes between two nodes, in both directions.
    pub fn cut(&self, a: &str, b: &str) {
        self.change(|state| {
            state.cut.insert((a.to_owned(), b.to_owned()));
            state.cut.insert((b.to_owned(), a.to_owned()));
        });
    }

    /// Mends every link.
    pub fn heal(&self) {
        self.change(|state| state.cut.clear());
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut state);
        state.changes.send_modify(|changes| *changes += 1);
    }

    fn connected(&self, from: &str, to: &str) -> bool {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.nodes.contains_key(to) && !state.cut.contains(&(from.to_owned(), to.to_owned()))
    }
}

#[derive(Debug)]
struct MemoryTransport {
    network: MemoryNetwork,
    from: String,
}

impl Transport for MemoryTransport {
    fn connect(&self, address: &str, _lane: Lane) -> BoxFuture<'static, Result<Wire, LinkError>> {
        let (network, from, to) = (self.network.clone(), self.from.clone(), address.to_owned());
        Box::pin(async move {
            if !network.connected(&from, &to) {
                return Err(LinkError::Unreachable(format!("{from} and {to} are cut")));
            }
            let (inbound, changes) = {
                let state = network.state.lock().unwrap_or_else(PoisonError::into_inner);
                (state.nodes.get(&to).cloned(), state.changes.subscribe())
            };
            let inbound = inbound.ok_or_else(|| LinkError::Unreachable(format!("no {to}")))?;
            let (out, out_frames) = mpsc::channel(LANE_FRAMES);
            let (back, back_frames) = mpsc::channel(LANE_FRAMES);
            let ends = (from, to);
            let there = while_connected(out_frames, &network, ends.clone(), changes.clone());
            let here = while_connected(back_frames, &network, ends, changes);
            inbound.accept(Wire {
                sender: back,
                receiver: there,
            });
            Ok(Wire {
                sender: out,
                receiver: here,
            })
        })
    }
}

fn while_connected(
    frames: mpsc::Receiver<proto::Frame>,
    network: &MemoryNetwork,
    (from, to): (String, String),
    changes: watch::Receiver<u64>,
) -> Pin<Box<dyn Stream<Item = proto::Frame> + Send>> {
    let network = network.clone();
    let broken = WatchStream::new(changes)
        .filter(move |_| std::future::ready(!network.connected(&from, &to)))
        .into_future();
    Box::pin(ReceiverStream::new(frames).take_until(broken))
}
