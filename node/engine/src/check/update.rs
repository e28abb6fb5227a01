//! The updates of one run: records, order of admission and counts agree, and none waits for ever.

use super::{Report, for_each};
use crate::reply::Fault;
use crate::tables::{Record, Run, Tables, Update, UpdateState, keys};
use prost::Message;
use std::collections::BTreeMap;

pub(super) fn check(tables: &dyn Tables, run: &Run, report: &mut Report) -> Result<(), Fault> {
    let name = || format!("{}/{}", run.run.workflow_id, run.run.number);
    let mut open: BTreeMap<String, u64> = BTreeMap::new();
    let prefix = keys::open_update_prefix(&run.run);
    for_each(tables, &prefix, |key, record| {
        if let Record::OpenUpdate(update_id) = record {
            let sequence: Option<[u8; 8]> = key
                .get(prefix.len()..)
                .and_then(|rest| rest.try_into().ok());
            open.insert(update_id.clone(), sequence.map_or(0, u64::from_be_bytes));
        }
    })?;
    let mut updates: BTreeMap<String, Update> = BTreeMap::new();
    let prefix = keys::update_prefix(&run.run);
    for_each(tables, &prefix, |key, record| {
        if let Record::Update(update) = record {
            // The id follows its two-byte length.
            let id = key.get(prefix.len() + 2..).unwrap_or_default();
            updates.insert(String::from_utf8_lossy(id).into_owned(), (**update).clone());
        }
    })?;
    let counts = run.updates;
    let counted = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
    let is_completed = |update: &Update| matches!(update.state, UpdateState::Completed { .. });
    let completed = updates
        .values()
        .filter(|update| is_completed(update))
        .count();
    report.require(
        counts.open == counted(open.len()) && counts.completed == counted(completed),
        || {
            format!(
                "{}: {counts:?}, but {} are open and {completed} completed",
                name(),
                open.len()
            )
        },
    );
    let bytes: usize = updates
        .values()
        .filter_map(|update| update.request.as_ref())
        .map(|request| request.encoded_len())
        .sum();
    report.require(counts.request_bytes == counted(bytes), || {
        format!(
            "{}: {bytes} bytes of updates wait, {} are counted",
            name(),
            counts.request_bytes
        )
    });
    report.require(run.close.is_none() || open.is_empty(), || {
        format!("{}: a closed run has open updates", name())
    });
    let has_task = run.workflow_task.is_some() || run.first_task_pending;
    for (update_id, update) in &updates {
        let name = || format!("{}: update {update_id}", name());
        let should_be_open = run.close.is_none() && !is_completed(update);
        let expected = should_be_open.then_some(update.sequence);
        report.require(open.get(update_id).copied() == expected, || {
            format!("{} has the wrong place among the open ones", name())
        });
        report.require(!update.state.is_unanswered() || has_task, || {
            format!("{} waits, and no workflow task will carry it", name())
        });
        check_state(run, update, &name, report);
    }
    let known = open.keys().all(|update_id| updates.contains_key(update_id));
    report.require(known, || {
        format!("{}: an open update has no record", name())
    });
    Ok(())
}

fn check_state(run: &Run, update: &Update, name: &impl Fn() -> String, report: &mut Report) {
    let fits = match update.state {
        UpdateState::Admitted => true,
        UpdateState::Sent { task } => task < run.next_workflow_task,
        UpdateState::Accepted { event_id } => {
            event_id < run.next_event_id && update.request.is_none()
        }
        UpdateState::Completed {
            accepted_event_id,
            event_id,
        } => {
            accepted_event_id < event_id && event_id < run.next_event_id && update.request.is_none()
        }
    };
    report.require(fits, || format!("{} cannot be {:?}", name(), update.state));
    report.require(update.sequence <= run.updates.admitted, || {
        format!("{} has a number that was never given", name())
    });
}
