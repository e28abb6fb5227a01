//! Rare situations: what many seeds together must have met, or they prove less than they seem to.

use crate::operation::{ANSWER_LOST, Asked, DeliveredTask, Journal, Outcome};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// A situation that was met.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Situation {
    /// A mark became durable on some node.
    Mark,
    /// Files were merged.
    Merge,
    /// The beginning of a log was purged.
    Purge,
    /// A node took another's files as its state.
    SnapshotInstall,
    /// Something was due while nobody led.
    DueWithoutLeader,
    /// Two nodes believed that they led.
    TwoLeaders,
    /// A membership change was half done.
    JointMembership,
    /// A member was added, or removed.
    MembershipChange,
    /// What was done and whose answer was lost was asked again.
    RetryOfDone,
    /// A worker answered for an attempt after a later one was handed out.
    AnswerForSuperseded,
    /// A node refused to go on with a damaged disk.
    DamageFound,
    /// New work was refused since a disk was nearly full.
    DiskLow,
    /// The cluster went on by the rules of a newer engine version.
    EngineVersionRaised,
}

/// All of them.
pub const SITUATIONS: [Situation; 13] = [
    Situation::Mark,
    Situation::Merge,
    Situation::Purge,
    Situation::SnapshotInstall,
    Situation::DueWithoutLeader,
    Situation::TwoLeaders,
    Situation::JointMembership,
    Situation::MembershipChange,
    Situation::RetryOfDone,
    Situation::AnswerForSuperseded,
    Situation::DamageFound,
    Situation::DiskLow,
    Situation::EngineVersionRaised,
];

/// How often each was met.
pub type Met = BTreeMap<Situation, u32>;

/// What clients and workers noted of rare situations.
pub(super) fn noted(journal: &Journal, met: &mut Met) {
    let mut done: BTreeSet<String> = BTreeSet::new();
    let mut handed_out: BTreeMap<(&str, &str), (i32, Duration)> = BTreeMap::new();
    for delivery in &journal.deliveries {
        if let DeliveredTask::Activity { activity_id } = &delivery.task {
            let newest = handed_out
                .entry((&delivery.run_id, activity_id))
                .or_default();
            *newest = (*newest).max((delivery.attempt, delivery.at));
        }
    }
    let mut meet = |situation| *met.entry(situation).or_default() += 1;
    for operation in &journal.operations {
        let asked = format!("{:?}", operation.asked);
        match &operation.outcome {
            Outcome::Unknown(why) if why == ANSWER_LOST => {
                done.insert(asked);
            }
            Outcome::Unknown(_) => {}
            Outcome::Refused(why) if why.contains("disk is nearly full") => {
                meet(Situation::DiskLow);
            }
            Outcome::Acknowledged(_) | Outcome::Refused(_) => {
                if done.contains(&asked) {
                    meet(Situation::RetryOfDone);
                }
            }
        }
        if let Asked::CompleteActivity {
            run_id,
            activity_id,
            attempt,
        } = &operation.asked
            && let Some((newest, at)) = handed_out.get(&(run_id.as_str(), activity_id.as_str()))
            && newest > attempt
            && *at < operation.invoked
        {
            meet(Situation::AnswerForSuperseded);
        }
    }
}
