//! The last fault of a run: the cluster is backed up, all its nodes are killed, and a new one, made
//! of the backup, is in their place. Nothing is under way then, so everything that was ever
//! acknowledged is in it.

use super::{Event, Failure, Nemesis};
use crate::evidence::Violation;
use crate::processes::cluster::READY;
use crate::processes::fault::Fault;
use crate::processes::{Trouble, tool};
use std::path::Path;

fn failed(what: &str) -> impl FnOnce(Trouble) -> Failure {
    let what = what.to_owned();
    move |why| Violation::new("a_cluster_is_restored", format!("{what}: {why}")).into()
}

impl Nemesis {
    /// Brings it about and waits until the new cluster serves. `out` is for backup and data.
    pub(in crate::processes) async fn restore(
        &mut self,
        binary: &Path,
        out: &Path,
    ) -> Result<(), Failure> {
        let from = self.began.elapsed();
        let (binary, backup) = (binary.to_string_lossy(), out.join("backup"));
        let (backup, restored) = (backup.to_string_lossy(), out.join("restored"));
        let asked = self.follower().or(self.leader());
        let places = self.cluster.settled();
        let at = asked.or(places.first().copied()).unwrap_or_default();
        let address = self.cluster.hosts[at].addresses.grpc.clone();
        tool(&[&binary, "backup", "--address", &address, "--out", &backup])
            .map_err(failed("backup"))?;
        for at in &places {
            self.cluster.hosts[*at].may_end = true;
            self.cluster.hosts[*at].kill()?;
            self.cluster.hosts[*at].disk.wipe()?;
        }
        let members = self.make(&places, &binary, &backup, &restored)?;
        for at in &places {
            let node = self.cluster.hosts[*at].node.unwrap_or_default();
            self.cluster.start_node(*at, node)?;
        }
        for at in &places {
            if !self.cluster.ready(*at, READY).await? {
                let node = self.cluster.hosts[*at].node.unwrap_or_default();
                let words = self.cluster.last_words(node);
                return Err(Violation::new("nodes_start", format!("node {node}: {words}")).into());
            }
        }
        let fault = Fault::RestoredBackup.name();
        *self.happened.entry(fault.to_owned()).or_default() += 1;
        let event = Event {
            from,
            to: self.began.elapsed(),
            fault,
            what: format!("all were killed, and {members} made of a backup"),
        };
        crate::processes::run::told(&event);
        self.events.push(event);
        self.look()
    }

    /// Makes the new nodes' data out of the backup and puts it on their disks; the members.
    fn make(
        &mut self,
        places: &[usize],
        binary: &str,
        backup: &str,
        restored: &Path,
    ) -> Result<String, Failure> {
        let members = self.cluster.found_again();
        let of = |address: fn(&super::super::host::Addresses) -> &str| {
            let member = |at: &usize| {
                let host = &self.cluster.hosts[*at];
                let node = host.node.unwrap_or_default();
                format!("{node}={}", address(&host.addresses))
            };
            places.iter().map(member).collect::<Vec<_>>().join(",")
        };
        let version = self.cluster.hosts[places[0]].engine_version.to_string();
        let words = [
            binary,
            "restore",
            "--cluster-name",
            "jepsen",
            "--backup",
            backup,
            "--out",
            &restored.to_string_lossy(),
            "--initial-members",
            &members,
            "--member-grpc-addresses",
            &of(|addresses| &addresses.grpc),
            "--member-http-addresses",
            &of(|addresses| &addresses.http),
            "--test-engine-version",
            &version,
        ];
        tool(&words).map_err(failed("restore"))?;
        for at in places {
            let host = &self.cluster.hosts[*at];
            let made = restored.join(format!("node-{}", host.node.unwrap_or_default()));
            let (made, data) = (made.to_string_lossy(), host.disk.data_dir());
            tool(&["cp", "-a", &made, &data.to_string_lossy()])?;
        }
        Ok(members)
    }
}
