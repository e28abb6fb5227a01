//! A message of the outbox is applied at its target, and what it makes there is answered with
//! another message. The message goes in the same mutation, so it is applied exactly once; a
//! refusal leaves it where it is, to be delivered later.

mod child_reports;
mod external;
mod parent_closed;
mod start_child;

use crate::execution::Execution;
use crate::id::RunRef;
use crate::read::{self, StoredRun};
use crate::reply::{Fault, Refusal, Reply, Stop};
use crate::tables::{MessageBody, MessageRef, Record, WriteSet, keys, wrong_record};
use steadfast_planted::{Bug, planted};

/// Resets, one after the other, across which a child's parent is looked for.
const RESETS_FOLLOWED_MAX: usize = 100;

pub(crate) fn apply(set: &mut WriteSet<'_>, message: MessageRef) -> Result<Reply, Stop> {
    let key = keys::message_key(message);
    let message = match set.get(&key)?.as_deref() {
        Some(Record::Message(message)) => message.clone(),
        Some(other) => return Err(wrong_record(other).into()),
        None => return Err(Refusal::NotFound("the message was delivered".to_owned()).into()),
    };
    if !planted(Bug::MessageDeliveredTwice) || set.draw()[0].is_multiple_of(2) {
        set.delete(key);
    }
    if is_quarantined(set, &message.source)? {
        // Nothing is done with that run any more; it may be this message that it panics over.
        return Ok(Reply::Done);
    }
    let (source, initiated) = (message.source, message.initiated_event_id);
    match message.body {
        MessageBody::StartChild(start) => start_child::apply(set, &source, initiated, &start)?,
        MessageBody::ChildStarted {
            parent,
            run_id,
            policy,
        } => child_reports::started(set, &source, &parent, initiated, (&run_id, policy))?,
        MessageBody::StartChildFailed { parent, cause } => {
            child_reports::start_failed(set, &parent, initiated, cause)?;
        }
        MessageBody::ChildClosed { parent, event } => {
            child_reports::closed(set, &parent, initiated, event.0)?;
        }
        MessageBody::CloseChildren { after } => parent_closed::close_children(set, &source, after)?,
        MessageBody::ParentClosed {
            namespace,
            workflow_id,
            run_id,
            policy,
        } => {
            let child = (namespace, workflow_id.as_str(), run_id.as_str());
            parent_closed::apply(set, &source, child, policy)?;
        }
        MessageBody::SignalExternal(signal) => external::signal(set, &source, initiated, &signal)?,
        MessageBody::RequestCancelExternal(request) => {
            external::request_cancel(set, &source, initiated, &request)?;
        }
        MessageBody::ExternalResult { to, cause } => external::result(set, &to, initiated, cause)?,
    }
    Ok(Reply::Done)
}

fn is_quarantined(set: &WriteSet<'_>, run: &RunRef) -> Result<bool, Fault> {
    Ok(set.run(run)?.is_some_and(|run| !run.quarantined.is_empty()))
}

/// A run that may still hear of something: it is there, open, and not quarantined.
fn listening<'set, 'tables>(
    set: &'set mut WriteSet<'tables>,
    run: &RunRef,
) -> Result<Option<Execution<'set, 'tables>>, Fault> {
    let found = Execution::load(set, run)?;
    Ok(found.filter(|run| run.is_open() && run.run.quarantined.is_empty()))
}

/// The run that may hear of a child: the one that started it or, after resets, the run that took
/// the child over. A fork has those whose initiated event it shares.
fn listening_parent<'set, 'tables>(
    set: &'set mut WriteSet<'tables>,
    parent: &RunRef,
    initiated_event_id: i64,
) -> Result<Option<Execution<'set, 'tables>>, Fault> {
    let mut at = parent.clone();
    for _ in 0..RESETS_FOLLOWED_MAX {
        let Some(next) = forked_from(set, &at)? else {
            break;
        };
        if !next.shares(initiated_event_id) {
            return Ok(None);
        }
        at = next.run.clone();
    }
    listening(set, &at)
}

/// Whether one run is the other or came from it by resets.
fn is_fork_of(set: &WriteSet<'_>, run: &RunRef, base: &RunRef) -> Result<bool, Fault> {
    let mut at = base.clone();
    for _ in 0..RESETS_FOLLOWED_MAX {
        if at == *run {
            return Ok(true);
        }
        let Some(next) = forked_from(set, &at)? else {
            break;
        };
        at = next.run.clone();
    }
    Ok(false)
}

/// The run that the last reset of a run made, if that is there.
fn forked_from(set: &WriteSet<'_>, base: &RunRef) -> Result<Option<StoredRun>, Fault> {
    let Some(run) = set.run(base)?.filter(|run| !run.reset_run_id.is_empty()) else {
        return Ok(None);
    };
    let fork = read::resolve(set, base.namespace, &base.workflow_id, &run.reset_run_id)?;
    Ok(fork.ok())
}

/// Ends the change of a run that has something new to hear of.
fn wake(mut execution: Execution<'_, '_>) -> Result<(), Fault> {
    if !execution.has_started_workflow_task() {
        execution.schedule_workflow_task()?;
    }
    execution.finish()
}
