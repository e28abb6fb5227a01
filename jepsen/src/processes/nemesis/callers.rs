//! Faults of clients and workers.

use super::{Fault, Nemesis};
use rand::Rng;

impl Nemesis {
    pub(super) fn bring_to_callers(&mut self, fault: Fault) -> Option<String> {
        match fault {
            Fault::KillWorkers => {
                let count = self.chance.random_range(1..=self.callers.workers());
                self.callers.kill_workers(count);
                Some(format!("{count} workers of each kind"))
            }
            Fault::KillClients => {
                let count = self.chance.random_range(1..=self.callers.clients());
                self.callers.kill_clients(count);
                Some(format!("{count} clients"))
            }
            Fault::SlowConsumer => {
                let at = self.leader()?;
                let address = self.cluster.hosts[at].addresses.grpc.clone();
                self.callers.consume_slowly(&address);
                self.told("a client does not read from", &[at])
            }
            _ => None,
        }
    }
}
