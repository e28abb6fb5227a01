//! Faults of clients and workers.

use super::Nemesis;
use rand::Rng;

impl Nemesis {
    pub(super) fn kill_workers(&mut self) -> Option<String> {
        let count = self.chance.random_range(1..=self.callers.workers());
        self.callers.kill_workers(count);
        Some(format!("{count} workers of each kind"))
    }

    pub(super) fn kill_clients(&mut self) -> Option<String> {
        let count = self.chance.random_range(1..=self.callers.clients());
        self.callers.kill_clients(count);
        Some(format!("{count} clients"))
    }

    pub(super) fn slow_consumer(&mut self) -> Option<String> {
        let at = self.leader()?;
        let address = self.cluster.hosts[at].addresses.grpc.clone();
        self.callers.consume_slowly(&address);
        self.told("a client does not read from", &[at])
    }
}
