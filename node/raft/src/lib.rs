//! Raft by openraft (design D3): replication, elections, membership, linearizable reads, and the
//! links between nodes. openraft is named only here; nothing of it is stored or sent.
//!
//! ```text
//! propose --> openraft --> log_store --> steadfast_storage::log
//!                |  \--> network --> link, append_session, snapshot_send --> transport --> peer
//!                \--> state_machine --> machine (implemented by node), on its own thread
//! peer --> transport --> inbound --> openraft
//! ```
//!
//! Everything here runs on one tokio runtime of its own, so that user traffic cannot starve
//! heartbeats. Time is tokio's (pausable), randomness comes from [`RaftOptions::seed`], the
//! network from [`Transport`]; a whole cluster runs on one thread from one seed.

mod append_session;
mod apply_thread;
mod bootstrap;
mod config;
mod encoding;
mod exchange;
mod handshake;
mod inbound;
mod leadership;
mod link;
mod log_store;
mod machine;
mod membership;
mod network;
mod node;
mod peer;
mod propose;
mod read_index;
mod restore;
mod snapshot_receive;
mod snapshot_send;
mod state_machine;
pub mod transport;
mod types;
mod wire;

pub use apply_thread::ApplyMode;
pub use bootstrap::{BootstrapError, Bootstrapped};
pub use config::{RaftOptions, Timing};
pub use exchange::{NoStatus, StatusExchange};
pub use inbound::Inbound;
pub use leadership::{Leader, Leadership};
pub use machine::{
    Committed, Content, Fault, MissingFile, SnapshotFiles, SnapshotSource, SnapshotStage,
    StateMachine,
};
pub use membership::{Members, MembershipError};
pub use node::{PeerProgress, Progress, RaftNode, StartError};
pub use peer::{NodeId, Peer};
pub use propose::{MAX_PROPOSAL_BYTES, ProposeError, Proposed};
pub use read_index::ReadError;
pub use restore::{RestoredLog, restored_log};
pub use steadfast_storage::log::Position;
pub use transport::{Lane, LinkError, Transport, Wire};

/// What openraft's own test suite needs to run on our log and state machine.
#[doc(hidden)]
pub mod suite {
    pub use crate::log_store::LogStore;
    pub use crate::state_machine::{Machine, SnapshotData};
    pub use crate::types::Types;
    use openraft_rt::AsyncRuntime;

    /// Runs a test of the suite with the seeded runtime.
    pub fn run<F: Future<Output = T>, T>(future: F) -> T {
        crate::types::Runtime::new(1).block_on(future)
    }
}
