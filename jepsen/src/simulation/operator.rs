//! What an operator does: takes new nodes in, and lets old ones go, as the books say.

use super::Doors;
use std::time::Duration;
use steadfast_raft::MembershipError;
use tokio::time::{sleep, timeout};

/// Between looks at the members.
const LOOK: Duration = Duration::from_millis(200);
/// A change that has no answer by then is looked for among the members.
const ANSWER: Duration = Duration::from_secs(5);

/// A change of the membership: first one more voter, then one less.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Change {
    /// A node that joins by itself and is to vote.
    pub(super) add: Option<u64>,
    /// A node that is to be no member any more.
    pub(super) remove: Option<u64>,
}

impl Change {
    /// Goes on until the leader shows it done, through all that happens to leaders meanwhile.
    pub(super) async fn carry_out(self, doors: Doors) {
        loop {
            sleep(LOOK).await;
            let Some(door) = doors.leading() else {
                continue;
            };
            let step = async {
                door.moves().await;
                // Who is cut off may believe that it leads: its members are not the newest.
                if door.shard.read().await.is_err() {
                    return false;
                }
                let members = door.raft.members();
                let missing = self.add.filter(|add| !members.voters.contains(add));
                let left = self
                    .remove
                    .filter(|remove| members.peers.contains_key(remove));
                match (missing, left) {
                    (Some(add), _) if members.peers.contains_key(&add) => {
                        tried(door.raft.promote(add).await);
                    }
                    (Some(_), _) => {}
                    (None, Some(remove)) => tried(door.raft.remove(remove).await),
                    (None, None) => return !members.joint,
                }
                false
            };
            let done = door.life.run_until_cancelled(timeout(ANSWER, step)).await;
            if matches!(done, Some(Ok(true))) {
                return;
            }
        }
    }
}

/// Whatever came of it: the members tell.
fn tried(result: Result<(), MembershipError>) {
    if let Err(error) = result {
        tracing::debug!(%error, "the operator tries again");
    }
}
