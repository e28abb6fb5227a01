//! Finding the run that a caller means.

use crate::id::{NamespaceNumber, RunRef, run_number};
use crate::reply::{Fault, Refusal};
use crate::tables::keys::{
    activity_by_id_key, activity_key, execution_prefix, prefix_end, run_key, run_number_of_key,
};
use crate::tables::{Activity, Record, Run, Tables, run_prefix};
use std::ops::Deref;
use std::sync::Arc;

/// Runs that a search for the current run steps over at most: those whose record is gone while
/// slices of their history are still being deleted.
const HALF_DELETED_RUNS: usize = 1_000;

/// A run's record, shared with the state: reading it copies nothing.
#[derive(Debug, Clone)]
pub struct StoredRun(Arc<Record>);

impl StoredRun {
    fn new(record: Arc<Record>) -> Result<Self, Fault> {
        match &*record {
            Record::Run(_) => Ok(Self(record)),
            other => Err(Fault::Decode(format!("a run's key holds {other:?}"))),
        }
    }
}

impl Deref for StoredRun {
    type Target = Run;
    fn deref(&self) -> &Run {
        let Record::Run(run) = &*self.0 else {
            unreachable!("checked when it was made")
        };
        run
    }
}

/// A pending activity's record, shared with the state.
#[derive(Debug, Clone)]
pub struct StoredActivity(Arc<Record>);

impl Deref for StoredActivity {
    type Target = Activity;
    fn deref(&self) -> &Activity {
        let Record::Activity(activity) = &*self.0 else {
            unreachable!("checked when it was made")
        };
        activity
    }
}

impl StoredActivity {
    pub(super) fn new(record: Arc<Record>) -> Result<Self, Fault> {
        match &*record {
            Record::Activity(_) => Ok(Self(record)),
            other => Err(Fault::Decode(format!("an activity's key holds {other:?}"))),
        }
    }
}

/// The run with this reference.
///
/// # Errors
/// [`Fault`] when storage is broken.
pub fn run(tables: &dyn Tables, run: &RunRef) -> Result<Option<StoredRun>, Fault> {
    tables.get(&run_key(run))?.map(StoredRun::new).transpose()
}

/// The pending activity with this scheduled event id.
///
/// # Errors
/// [`Fault`] when storage is broken.
pub fn activity(
    tables: &dyn Tables,
    run: &RunRef,
    scheduled_event_id: i64,
) -> Result<Option<StoredActivity>, Fault> {
    tables
        .get(&activity_key(run, scheduled_event_id))?
        .map(StoredActivity::new)
        .transpose()
}

/// The pending activity with this activity id.
///
/// # Errors
/// [`Fault`] when storage is broken.
pub fn activity_by_id(
    tables: &dyn Tables,
    run: &RunRef,
    activity_id: &str,
) -> Result<Option<StoredActivity>, Fault> {
    match tables
        .get(&activity_by_id_key(run, activity_id))?
        .as_deref()
    {
        Some(Record::ActivityById(scheduled_event_id)) => {
            activity(tables, run, *scheduled_event_id)
        }
        Some(other) => Err(Fault::Decode(format!(
            "an activity id's key holds {other:?}"
        ))),
        None => Ok(None),
    }
}

/// The run that a caller names: by id, or the newest one when `run_id` is empty.
///
/// # Errors
/// [`Fault`] when storage is broken. The inner refusal is NOT_FOUND with Temporal's text.
pub fn resolve(
    tables: &dyn Tables,
    namespace: NamespaceNumber,
    workflow_id: &str,
    run_id: &str,
) -> Result<Result<StoredRun, Refusal>, Fault> {
    if run_id.is_empty() {
        let current = current_run(tables, namespace, workflow_id)?;
        return Ok(current.ok_or_else(|| workflow_not_found(workflow_id)));
    }
    let found = match run_number(run_id) {
        Some(number) => {
            let workflow_id = workflow_id.to_owned();
            run(
                tables,
                &RunRef {
                    namespace,
                    workflow_id,
                    number,
                },
            )?
        }
        None => None,
    };
    Ok(found
        .filter(|run| run.run_id.eq_ignore_ascii_case(run_id))
        .ok_or_else(|| run_not_found(workflow_id, run_id)))
}

/// The newest run of a workflow id.
///
/// # Errors
/// [`Fault`] when storage is broken.
pub fn current_run(
    tables: &dyn Tables,
    namespace: NamespaceNumber,
    workflow_id: &str,
) -> Result<Option<StoredRun>, Fault> {
    if workflow_id.len() > usize::from(u16::MAX) {
        return Ok(None);
    }
    let prefix = execution_prefix(namespace, workflow_id);
    let mut end = prefix_end(&prefix);
    for _ in 0..HALF_DELETED_RUNS {
        let Some((key, _)) = tables.scan(&prefix, &end, 1, true)?.pop() else {
            return Ok(None);
        };
        let Some(number) = run_number_of_key(&key, workflow_id) else {
            return Err(Fault::Decode("a run's key is too short".to_owned()));
        };
        let reference = RunRef {
            namespace,
            workflow_id: workflow_id.to_owned(),
            number,
        };
        if let Some(found) = run(tables, &reference)? {
            return Ok(Some(found));
        }
        end = run_prefix(&reference);
    }
    Ok(None)
}

/// What Temporal answers when a workflow id has no run.
#[must_use]
pub fn workflow_not_found(workflow_id: &str) -> Refusal {
    Refusal::NotFound(format!("workflow not found for ID: {workflow_id}"))
}

/// What Temporal answers when a run id is not one of the workflow id's.
#[must_use]
pub fn run_not_found(workflow_id: &str, run_id: &str) -> Refusal {
    Refusal::NotFound(format!(
        "workflow execution not found for workflow ID \"{workflow_id}\" and run ID \"{run_id}\""
    ))
}
