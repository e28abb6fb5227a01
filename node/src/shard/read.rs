//! Linearizable reads: Raft's read index (batched there), then wait until it is applied here.

use super::{Core, LEADER_WAIT, Unavailable, View};
use std::time::Duration;
use steadfast_planted::{Bug, planted};
use steadfast_raft::ReadError;
use tokio::time::{Instant, sleep, timeout_at};

/// Pause before a majority is asked again.
const RETRY: Duration = Duration::from_millis(20);

impl Core {
    pub(super) async fn read(&self) -> Result<View, Unavailable> {
        let until = Instant::now() + LEADER_WAIT;
        loop {
            self.wait_for_office().await?;
            if planted(Bug::ReadWithoutReadIndex) {
                return Ok(self.view());
            }
            let Some(raft) = self.raft() else {
                return Err(Unavailable::NoLeader);
            };
            match timeout_at(until, raft.read_index()).await {
                Ok(Ok(index)) => return self.applied_to(index, until).await,
                // Leadership may be changing: whoever knows better ends the wait above.
                Ok(Err(ReadError::NotLeader { .. } | ReadError::NoQuorum)) => {}
                Ok(Err(ReadError::Full)) => return Err(Unavailable::Overloaded),
                Ok(Err(ReadError::Stopped)) => return Err(Unavailable::Stopping),
                Err(_) => return Err(Unavailable::NoLeader),
            }
            if Instant::now() + RETRY >= until {
                return Err(Unavailable::NoLeader);
            }
            sleep(RETRY).await;
        }
    }

    async fn applied_to(&self, index: u64, until: Instant) -> Result<View, Unavailable> {
        let mut applied = self.applied.subscribe();
        match timeout_at(until, applied.wait_for(|applied| *applied >= index)).await {
            Ok(Ok(_)) => {
                self.telemetry.reads.add(1);
                Ok(self.view())
            }
            Ok(Err(_)) => Err(Unavailable::Stopping),
            Err(_) => Err(Unavailable::NoLeader),
        }
    }
}
