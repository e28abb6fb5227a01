//! Bugs on purpose, for tests of the tests: is a mistake that engineers make found by the simulator?
//!
//! A hook is one line, `planted(Bug::…)`, where the mistake would be. All bugs are in one build and
//! one of them is chosen by name for the whole process ([`plant`]); nothing chooses one but the
//! simulator. Without the feature `planted-bugs` every hook is `false` when it is compiled, and a
//! build without debug assertions (a release) refuses the feature.

#[cfg(all(feature = "planted-bugs", not(debug_assertions)))]
compile_error!("planted bugs are for tests: a build without debug assertions must not have them");

/// The engine knows the rules of one version more than it begins clusters with. Only the feature
/// `next-engine-version` of jepsen's builds makes it true.
pub const NEXT_ENGINE_VERSION: bool = cfg!(feature = "next-engine-version");

macro_rules! bugs {
    ($($bug:ident $name:literal $room:literal $what:literal;)*) => {
        /// A mistake that can be planted.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum Bug {
            $(#[doc = $what] $bug,)*
        }

        /// All of them, in the order of the rooms.
        pub const ALL: &[Bug] = &[$(Bug::$bug),*];

        impl Bug {
            /// Its name, as it is chosen.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Bug::$bug => $name,)*
                }
            }

            /// The room that has its hook.
            #[must_use]
            pub const fn room(self) -> &'static str {
                match self {
                    $(Bug::$bug => $room,)*
                }
            }

            /// What goes wrong.
            #[must_use]
            pub const fn what(self) -> &'static str {
                match self {
                    $(Bug::$bug => $what,)*
                }
            }
        }
    };
}

bugs! {
    AcknowledgeBeforeFsync "acknowledge_before_fsync" "node/storage"
        "The log calls entries durable that it has only written.";
    FailedFsyncIgnored "failed_fsync_ignored" "node/storage"
        "The log goes on after a failed sync as if it had succeeded.";
    TruncationNotWritten "truncation_not_written" "node/storage"
        "Conflicting entries are removed in memory, but not in the file.";
    ChecksumNotCompared "checksum_not_compared" "node/storage"
        "A torn record at the end of the log passes for a whole one.";
    DamageTakenForTornTail "damage_taken_for_torn_tail" "node/storage"
        "Damage in the middle of the log is taken for a write that a crash interrupted, and cut off.";
    DeltaNotSynced "delta_not_synced" "node/storage"
        "The manifest names a delta file that was not synced.";
    RecordDroppedAtMark "record_dropped_at_mark" "node/storage"
        "A delta lacks the last record of each piece that it is written in.";
    NewestFileSkippedAtStart "newest_file_skipped_at_start" "node/storage"
        "At a start, the newest state file counts as read although it was not.";
    VoteNotPersisted "vote_not_persisted" "node/raft"
        "Only the first vote is kept; later ones are forgotten at the next start.";
    ReadWithoutReadIndex "read_without_read_index" "node"
        "A leader answers reads without asking a majority whether it still leads.";
    SignalAcknowledgedBeforeCommit "signal_acknowledged_before_commit" "node"
        "A signal is acknowledged when it is proposed.";
    EffectsBeforeCommit "effects_before_commit" "node"
        "A worker gets a task while its entry is still on its way.";
    ApplyReadsOwnClock "apply_reads_own_clock" "node"
        "Apply takes the time from the node's own clock, not from the entry.";
    ApplyDrawsOwnChance "apply_draws_own_chance" "node"
        "Apply draws its random bits itself, instead of taking the entry's.";
    TimerFiresByWallClock "timer_fires_by_wall_clock" "node"
        "Cluster time follows the leader's own wall clock.";
    TimersLostWithLeader "timers_lost_with_leader" "node"
        "What fell due while nobody led is never fired.";
    OutboxLostWithLeader "outbox_lost_with_leader" "node"
        "Messages that were sent under a former leader are not delivered.";
    RequestIdsNotInFiles "request_ids_not_in_files" "node"
        "Request ids of runs are not found any more once a mark has put them into files.";
    ClaimByReadThenWrite "claim_by_read_then_write" "node/engine"
        "Two claims of one attempt of an activity both win.";
    CompletionWithoutFencing "completion_without_fencing" "node/engine"
        "A completion of an earlier attempt is accepted.";
    SignalRequestIdIgnored "signal_request_id_ignored" "node/engine"
        "A repeated signal counts again.";
    StartRequestIdIgnored "start_request_id_ignored" "node/engine"
        "A repeated start is a new one.";
    StartIgnoresOpenRun "start_ignores_open_run" "node/engine"
        "A workflow id gets a second run while the first is open.";
    SignalAfterClose "signal_after_close" "node/engine"
        "A closed run takes signals.";
    EventIdSkippedAfterBuffer "event_id_skipped_after_buffer" "node/engine"
        "After buffered events were written, an event id is left out.";
    RetryWithoutTimeout "retry_without_timeout" "node/engine"
        "The time-outs of an activity are armed for its first attempt only.";
    MessageDeliveredTwice "message_delivered_twice" "node/engine"
        "A message sometimes stays in the outbox although it was delivered, and the receiver does not notice.";
    ClosedRunStaysListed "closed_run_stays_listed" "node/engine"
        "A run that closes keeps the row of an open one.";
}

impl Bug {
    /// The bug of a name.
    #[must_use]
    pub fn named(name: &str) -> Option<Bug> {
        ALL.iter().copied().find(|bug| bug.name() == name)
    }
}

/// This build has no bugs to choose from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoneHere;

#[cfg(feature = "planted-bugs")]
mod chosen {
    use super::{ALL, Bug, NoneHere};
    use std::sync::atomic::{AtomicU8, Ordering};

    const NONE: u8 = u8::MAX;
    static CHOSEN: AtomicU8 = AtomicU8::new(NONE);
    const _: () = assert!(ALL.len() < NONE as usize);

    /// Whether this bug was chosen.
    #[must_use]
    pub fn planted(bug: Bug) -> bool {
        CHOSEN.load(Ordering::Relaxed) == bug as u8
    }

    /// Chooses one bug for the whole process, or none.
    ///
    /// # Errors
    /// Never in a build that has the bugs.
    pub fn plant(bug: Option<Bug>) -> Result<(), NoneHere> {
        CHOSEN.store(bug.map_or(NONE, |bug| bug as u8), Ordering::Relaxed);
        Ok(())
    }
}

#[cfg(not(feature = "planted-bugs"))]
mod chosen {
    use super::{Bug, NoneHere};

    /// Whether this bug was chosen: never in this build.
    #[must_use]
    #[inline(always)]
    pub const fn planted(_bug: Bug) -> bool {
        false
    }

    /// Chooses a bug for the whole process, or none.
    ///
    /// # Errors
    /// [`NoneHere`] when one is chosen: this build was made without.
    pub const fn plant(bug: Option<Bug>) -> Result<(), NoneHere> {
        match bug {
            None => Ok(()),
            Some(_) => Err(NoneHere),
        }
    }
}

pub use chosen::{plant, planted};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bug_has_a_name_of_its_own_and_only_the_chosen_one_is_there() {
        for bug in ALL {
            assert_eq!(Bug::named(bug.name()), Some(*bug));
            assert!(!planted(*bug), "nothing was chosen");
        }
        let chosen = plant(Some(Bug::VoteNotPersisted));
        assert_eq!(chosen.is_ok(), cfg!(feature = "planted-bugs"));
        for bug in ALL {
            let is_it = chosen.is_ok() && *bug == Bug::VoteNotPersisted;
            assert_eq!(planted(*bug), is_it);
        }
        assert_eq!(plant(None), Ok(()));
        assert!(!planted(Bug::VoteNotPersisted));
    }
}
