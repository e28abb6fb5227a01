//! Faults of processes: kill, stop, pause, and leadership that never rests.

use super::{Brought, Failure, Nemesis};
use crate::evidence::Violation;
use crate::processes::cluster::{Change, READY};
use crate::processes::machine::NEXT_VERSION;

impl Nemesis {
    pub(super) fn kill_these(&mut self, places: impl IntoIterator<Item = usize>) -> Brought {
        let places: Vec<usize> = places.into_iter().collect();
        for at in &places {
            self.cluster.hosts[*at].may_end = true;
            self.cluster.hosts[*at].kill()?;
        }
        Ok(self.told("killed", &places))
    }

    pub(super) fn kill_several(&mut self, count: usize) -> Brought {
        let places = self.several(count);
        self.kill_these(places)
    }

    pub(super) fn pause_these(
        &mut self,
        places: impl IntoIterator<Item = usize>,
    ) -> Option<String> {
        let places: Vec<usize> = places.into_iter().collect();
        for at in &places {
            self.cluster.hosts[*at].pause();
        }
        self.told("paused", &places)
    }

    pub(super) fn begin_storm(&mut self) -> Option<String> {
        self.storm = true;
        Some("leadership goes round".into())
    }

    pub(super) async fn stop_leader(&mut self) -> Brought {
        match self.leader() {
            Some(at) => self.stop(at).await,
            None => Ok(None),
        }
    }

    fn names(&self, places: &[usize]) -> String {
        let names = places
            .iter()
            .map(|at| self.cluster.hosts[*at].node.unwrap_or_default().to_string());
        names.collect::<Vec<_>>().join(", ")
    }

    /// What is told of a fault of some places; nothing when there are none.
    pub(super) fn told(&self, what: &str, places: &[usize]) -> Option<String> {
        (!places.is_empty()).then(|| format!("{what} {}", self.names(places)))
    }

    async fn stop(&mut self, at: usize) -> Brought {
        let node = self.cluster.hosts[at].node.unwrap_or_default();
        self.cluster.hosts[at].may_end = true;
        match self.cluster.hosts[at].stop().await? {
            Some(status) if status.success() => Ok(Some(format!("stopped {node}"))),
            Some(status) => {
                let what = format!("node {node}: {status}: {}", self.cluster.last_words(node));
                Err(Violation::new("nodes_stop_in_order", what).into())
            }
            None => {
                let what = format!("node {node} did not end after SIGTERM");
                Err(Violation::new("nodes_stop_in_order", what).into())
            }
        }
    }

    pub(super) async fn restart_all(&mut self) -> Brought {
        for at in self.cluster.settled() {
            self.restart(at).await?;
        }
        Ok(Some("each was stopped and started".into()))
    }

    /// One node after the other gets a newer program while the others go on with the old; then the
    /// cluster goes on by its rules. Once in a run.
    pub(super) async fn upgrade_all(&mut self) -> Brought {
        if self
            .cluster
            .hosts
            .iter()
            .all(|host| host.engine_version == NEXT_VERSION)
        {
            return Ok(None);
        }
        for at in self.cluster.settled() {
            self.cluster.hosts[at].engine_version = NEXT_VERSION;
            self.restart(at).await?;
            let mixed = self.millis(200, 1_500);
            self.hold(mixed).await?;
        }
        for host in &mut self.cluster.hosts {
            host.engine_version = NEXT_VERSION;
        }
        self.cluster.change(Change::Raise(NEXT_VERSION)).await?;
        Ok(Some(format!(
            "each was upgraded, then engine version {NEXT_VERSION}"
        )))
    }

    async fn restart(&mut self, at: usize) -> Result<(), Failure> {
        let node = self.cluster.hosts[at].node.unwrap_or_default();
        self.stop(at).await?;
        self.cluster.start_node(at, node)?;
        if !self.cluster.ready(at, READY).await? {
            let what = format!("node {node}: {}", self.cluster.last_words(node));
            return Err(Violation::new("nodes_start", what).into());
        }
        Ok(())
    }

    /// A follower misses what the leader commits before it is killed, and then has the vote.
    pub(super) async fn pause_kill(&mut self) -> Brought {
        let (Some(follower), Some(leader)) = (self.follower(), self.leader()) else {
            return Ok(None);
        };
        self.cluster.hosts[follower].pause();
        let missed = self.millis(500, 3_000);
        self.hold(missed).await?;
        self.kill_these([leader])?;
        self.cluster.hosts[follower].go_on();
        Ok(self.told("paused, then killed:", &[follower, leader]))
    }
}
