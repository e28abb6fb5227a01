//! Nodes that come and go for good.

use super::{Brought, Failure, Nemesis};
use crate::evidence::Violation;
use crate::processes::cluster::{Change, READY};
use rand::seq::IndexedRandom;
use std::time::{Duration, Instant};
use tokio::time::sleep;

impl Nemesis {
    pub(super) async fn lose_disk(&mut self) -> Brought {
        let Some(at) = self.anyone() else {
            return Ok(None);
        };
        let node = self.cluster.hosts[at].node.unwrap_or_default();
        let new = self.replace(at).await?;
        Ok(Some(format!("node {node} lost its disk, node {new} came")))
    }

    pub(super) async fn change_members(&mut self) -> Brought {
        let spare = (0..self.cluster.hosts.len()).find(|at| self.cluster.hosts[*at].node.is_none());
        let Some(spare) = spare else {
            return Ok(None);
        };
        let new = self.come(spare).await?;
        let others: Vec<usize> = self
            .cluster
            .settled()
            .into_iter()
            .filter(|at| *at != spare)
            .collect();
        let Some(leaves) = others.choose(&mut self.chance).copied() else {
            return Ok(None);
        };
        let node = self.cluster.hosts[leaves].node.unwrap_or_default();
        self.leave(leaves).await?;
        Ok(Some(format!("node {new} came, node {node} left")))
    }

    /// A node that lost its data is removed, and one of a new number takes its place.
    pub(super) async fn replace(&mut self, at: usize) -> Result<u64, Failure> {
        let node = self.cluster.hosts[at].node.unwrap_or_default();
        self.cluster.forget(at)?;
        self.cluster.change(Change::Remove(node)).await?;
        self.come(at).await
    }

    /// A new node joins on a place and gets the vote.
    async fn come(&mut self, at: usize) -> Result<u64, Failure> {
        let asks = self.cluster.running();
        let asks = asks.choose(&mut self.chance).copied().unwrap_or_default();
        let node = self.cluster.join(at, asks)?;
        if !self.cluster.ready(at, READY).await? {
            let what = format!("node {node}: {}", self.cluster.last_words(node));
            return Err(Violation::new("new_nodes_join", what).into());
        }
        self.cluster.change(Change::Promote(node)).await?;
        Ok(node)
    }

    /// A node is removed; its process ends by itself.
    async fn leave(&mut self, at: usize) -> Result<(), Failure> {
        let node = self.cluster.hosts[at].node.unwrap_or_default();
        self.cluster.hosts[at].may_end = true;
        self.cluster.change(Change::Remove(node)).await?;
        let until = Instant::now() + Duration::from_secs(30);
        while self.cluster.hosts[at].ended().is_none() {
            if Instant::now() > until {
                let what = format!("node {node} does not end");
                return Err(Violation::new("removed_nodes_end", what).into());
            }
            sleep(Duration::from_millis(50)).await;
        }
        self.cluster.forget(at)?;
        Ok(())
    }
}
