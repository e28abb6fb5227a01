//! Finding the activity that a worker or a client means, and fencing late answers off.

use super::{load, scheduled_event_id};
use crate::execution::Execution;
use crate::id::TaskKind;
use crate::mutation::{ActivityTarget, ExecutionTarget, TaskToken};
use crate::read::target::run_not_found;
use crate::reply::{Refusal, Stop};
use crate::tables::{Activity, ActivityState, WriteSet};
use steadfast_planted::{Bug, planted};

/// What a late or foreign answer gets; clients match the text.
const NOT_FOUND: &str =
    "invalid activityID or activity already timed out or invoking workflow is completed";

/// An activity of an open run.
#[derive(Debug)]
pub(crate) struct Found<'set, 'tables> {
    pub(crate) execution: Execution<'set, 'tables>,
    pub(crate) activity: Box<Activity>,
}

/// The pending activity that a call names. By token it is the very claim that the token is of; by
/// id it is whatever state it has.
///
/// # Errors
/// NOT_FOUND with Temporal's texts.
pub(crate) fn find<'set, 'tables>(
    set: &'set mut WriteSet<'tables>,
    target: &ActivityTarget,
) -> Result<Found<'set, 'tables>, Stop> {
    match target {
        ActivityTarget::Token(token) => by_token(set, token),
        ActivityTarget::Id {
            namespace,
            workflow_id,
            run_id,
            activity_id,
        } => {
            if workflow_id.is_empty() {
                let text = format!("activity not found for ID: {activity_id}");
                return Err(Refusal::NotFound(text).into());
            }
            let target = ExecutionTarget {
                namespace: namespace.clone(),
                workflow_id: workflow_id.clone(),
                run_id: run_id.clone(),
            };
            by_id(Execution::find(set, &target)?, activity_id)
        }
    }
}

fn by_token<'set, 'tables>(
    set: &'set mut WriteSet<'tables>,
    token: &TaskToken,
) -> Result<Found<'set, 'tables>, Stop> {
    if token.kind != TaskKind::Activity {
        return Err(not_found().into());
    }
    let execution = Execution::load(set, &token.run)?
        .filter(|execution| execution.run.run_id == token.run_id)
        .ok_or_else(|| run_not_found(&token.run.workflow_id, &token.run_id))?;
    execution.check_quarantine()?;
    execution.check_open()?;
    let activity = load(&execution, token.scheduled_event_id)?.filter(|activity| {
        activity.attempt == token.attempt && activity.claim == token.claim
            || planted(Bug::CompletionWithoutFencing)
    });
    let activity = activity.ok_or_else(not_found)?;
    require_started(&activity)?;
    Ok(Found {
        execution,
        activity,
    })
}

fn by_id<'set, 'tables>(
    execution: Execution<'set, 'tables>,
    activity_id: &str,
) -> Result<Found<'set, 'tables>, Stop> {
    execution.check_open()?;
    let activity = match scheduled_event_id(&execution, activity_id)? {
        Some(scheduled_event_id) => load(&execution, scheduled_event_id)?,
        None => None,
    };
    let activity = activity.ok_or_else(|| {
        Refusal::NotFound(format!(
            "cannot find pending activity with ActivityID {activity_id}, check workflow execution \
             history for more details"
        ))
    })?;
    Ok(Found {
        execution,
        activity,
    })
}

/// Refuses an activity that no worker has: all but a completion by id need one.
///
/// # Errors
/// NOT_FOUND with Temporal's text.
pub(crate) fn require_started(activity: &Activity) -> Result<(), Refusal> {
    match activity.state {
        ActivityState::Started { .. } => Ok(()),
        ActivityState::Queued { .. } | ActivityState::Backoff { .. } => Err(not_found()),
    }
}

fn not_found() -> Refusal {
    Refusal::NotFound(NOT_FOUND.to_owned())
}
