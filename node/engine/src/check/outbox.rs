//! What is pending with others is on its way: a message tells of it, and each message is wanted.

use super::{Report, for_each};
use crate::id::RunRef;
use crate::reply::Fault;
use crate::tables::keys::{child_prefix, external_prefix, message_of_key, outbox_prefix};
use crate::tables::{Child, External, Message, MessageBody, Meta, Record, Run, Tables, keys};
use std::collections::BTreeSet;

/// What a message is about, as the run sees it that waits for its answer.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum About {
    ChildStart,
    ChildClose,
    External,
    CloseChildren,
}

pub(super) fn check(
    tables: &dyn Tables,
    runs: &[Box<Run>],
    meta: &Meta,
    report: &mut Report,
) -> Result<(), Fault> {
    let mut messages: BTreeSet<(RunRef, i64, About)> = BTreeSet::new();
    for_each(tables, &outbox_prefix(), |key, record| {
        let named = message_of_key(key);
        let Record::Message(message) = record else {
            return report.require(false, || format!("no message: {record:?}"));
        };
        let own = named.map(|named| keys::message_ref(&message.source, named.sequence));
        report.require(named.is_some() && own == named, || {
            format!("a message of {:?} lies elsewhere", message.source)
        });
        let sent = named.is_some_and(|named| named.sequence < meta.next_message);
        report.require(sent, || "a message is from the future".to_owned());
        if let Some((run, about)) = waits(message) {
            messages.insert((run.clone(), message.initiated_event_id, about));
        }
    })?;
    let has = |run: &RunRef, id: i64, about: About| messages.contains(&(run.clone(), id, about));
    for run in runs {
        let name = || format!("{}/{}", run.run.workflow_id, run.run.number);
        if !run.quarantined.is_empty() {
            continue;
        }
        let told = has(&run.run, 0, About::CloseChildren);
        report.require(told == run.closes_children, || {
            format!("{}: nothing tells its children of its end", name())
        });
        if run.close.is_some() {
            continue;
        }
        for child in children(tables, run)? {
            let id = child.initiated_event_id;
            // A child that a reset took over may have ended when nobody listened: as in Temporal.
            if run.shares(id) && !child.run_id.is_empty() {
                continue;
            }
            let stands = if child.run_id.is_empty() {
                has(&run.run, id, About::ChildStart)
            } else {
                has(&run.run, id, About::ChildClose) || goes_on(runs, run, &child)
            };
            report.require(stands, || format!("{}: nothing comes of {child:?}", name()));
        }
        for external in externals(tables, run)? {
            let id = external.initiated_event_id;
            report.require(has(&run.run, id, About::External), || {
                format!("{}: nothing comes of {external:?}", name())
            });
        }
    }
    Ok(())
}

/// Which run waits for what follows from a message.
fn waits(message: &Message) -> Option<(&RunRef, About)> {
    Some(match &message.body {
        MessageBody::StartChild(_) => (&message.source, About::ChildStart),
        MessageBody::ChildStarted { parent, .. } | MessageBody::StartChildFailed { parent, .. } => {
            (parent, About::ChildStart)
        }
        MessageBody::ChildClosed { parent, .. } => (parent, About::ChildClose),
        MessageBody::CloseChildren { .. } => (&message.source, About::CloseChildren),
        MessageBody::ParentClosed { .. } => return None,
        MessageBody::SignalExternal(_) | MessageBody::RequestCancelExternal(_) => {
            (&message.source, About::External)
        }
        MessageBody::ExternalResult { to, .. } => (to, About::External),
    })
}

/// Whether some run of the child's chain is open, or set aside.
fn goes_on(runs: &[Box<Run>], parent: &Run, child: &Child) -> bool {
    runs.iter().any(|run| {
        let chain = run.first_execution_run_id == child.run_id;
        let of_parent = run.parent.as_ref().map(|parent| &parent.run) == Some(&parent.run);
        chain && of_parent && (run.close.is_none() || !run.quarantined.is_empty())
    })
}

fn children(tables: &dyn Tables, run: &Run) -> Result<Vec<Child>, Fault> {
    let mut children = Vec::new();
    for_each(tables, &child_prefix(&run.run), |_, record| {
        if let Record::Child(child) = record {
            children.push((**child).clone());
        }
    })?;
    Ok(children)
}

fn externals(tables: &dyn Tables, run: &Run) -> Result<Vec<External>, Fault> {
    let mut externals = Vec::new();
    for_each(tables, &external_prefix(&run.run), |_, record| {
        if let Record::External(external) = record {
            externals.push((**external).clone());
        }
    })?;
    Ok(externals)
}
