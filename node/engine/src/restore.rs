//! What a backup's state becomes before a new cluster begins with it: the cluster has an id of its
//! own, and no worker has a task any more.
//!
//! This is not a mutation: it is done once to the files, before there is a log, and all founding
//! members get the same files. Time goes on from the last stamp in the state.

use crate::execution::{Execution, activity};
use crate::id::{NamespaceNumber, RunRef};
use crate::read::{namespace, visibility};
use crate::reply::Fault;
use crate::tables::keys::{activity_prefix, prefix_end};
use crate::tables::{
    ActivityState, Changes, Key, Record, Tables, WorkflowTaskPhase, WriteSet, wrong_record,
};
use crate::time::Timestamp;

/// Activities whose claims one write set takes back: each touches a few records.
const ACTIVITIES: usize = 500;

/// The changes that give the state to a new cluster with this id.
///
/// # Errors
/// [`Fault`] when storage is broken, or holds no cluster's state.
pub fn new_cluster(tables: &dyn Tables, cluster_id: &str) -> Result<Changes, Fault> {
    let mut set = WriteSet::new(tables, Timestamp::default(), [0; 16], Vec::new())?;
    if set.meta.cluster_id.is_empty() {
        return Err(Fault::Decode("the state is of no cluster".to_owned()));
    }
    cluster_id.clone_into(&mut set.meta.cluster_id);
    Ok(set.finish().0)
}

/// Goes through the open runs of all namespaces.
#[derive(Debug, Clone, Default)]
pub struct OpenRuns {
    namespace: Option<NamespaceNumber>,
    /// The row that was told last.
    row: Option<Key>,
}

impl OpenRuns {
    /// The next open runs, at most a slice of the list; empty when there are no more.
    ///
    /// # Errors
    /// [`Fault`] when storage is broken.
    pub fn next(&mut self, tables: &dyn Tables) -> Result<Vec<RunRef>, Fault> {
        loop {
            let Some(namespace) = self.namespace else {
                match self.next_namespace(tables, NamespaceNumber(0))? {
                    true => continue,
                    false => return Ok(Vec::new()),
                }
            };
            let slice = visibility::slice(tables, namespace, self.row.as_ref())?;
            let runs: Vec<RunRef> = slice
                .iter()
                .map(visibility::Candidate::row)
                // Running ones are listed first.
                .take_while(|row| row.closed_at.is_none())
                .map(|row| row.run.clone())
                .collect();
            if let Some(last) = runs.len().checked_sub(1) {
                self.row = slice.get(last).map(|candidate| candidate.key().clone());
                return Ok(runs);
            }
            if !self.next_namespace(tables, namespace)? {
                return Ok(Vec::new());
            }
        }
    }

    fn next_namespace(
        &mut self,
        tables: &dyn Tables,
        after: NamespaceNumber,
    ) -> Result<bool, Fault> {
        let next = namespace::page(tables, after, 1)?;
        let next = next.first().map(|namespace| namespace.number);
        // The last one stays, so that there is nothing after it for ever.
        self.namespace = next.or(self.namespace);
        self.row = None;
        Ok(next.is_some())
    }
}

/// The changes that make the claims of a run's workflow task void: it waits in its normal queue as
/// it is, and the run is not sticky to a worker that may know a later history of it. None when
/// there is nothing to change.
///
/// # Errors
/// [`Fault`] when storage is broken.
pub fn void_workflow_task(tables: &dyn Tables, run: &RunRef) -> Result<Option<Changes>, Fault> {
    let mut set = WriteSet::new(tables, Timestamp::default(), [0; 16], Vec::new())?;
    let Some(mut execution) = open(&mut set, run)? else {
        return Ok(None);
    };
    execution.leave_no_trace();
    let was_sticky = execution.run.sticky.take().is_some();
    let moved = execution.move_to_normal_queue()?;
    let normal = execution.run.task_queue.clone();
    let started = execution.run.workflow_task.as_mut().and_then(|task| {
        let WorkflowTaskPhase::Started { claim, .. } = task.phase else {
            return None;
        };
        task.queue = normal;
        task.sticky = false;
        Some(claim)
    });
    let returned = started.is_some_and(|claim| execution.return_workflow_task(claim));
    if !(was_sticky || moved || returned) {
        return Ok(None);
    }
    execution.finish()?;
    Ok(Some(set.finish().0))
}

/// The changes that make the claims of some activities of a run void: they wait in their queues
/// with the same attempt. Looks at a bounded number of activities after `from`, which moves on;
/// none when there are no more.
///
/// # Errors
/// [`Fault`] when storage is broken.
pub fn void_activities(
    tables: &dyn Tables,
    run: &RunRef,
    from: &mut Option<Key>,
) -> Result<Option<Changes>, Fault> {
    let mut set = WriteSet::new(tables, Timestamp::default(), [0; 16], Vec::new())?;
    let prefix = activity_prefix(run);
    let first = match from.as_ref() {
        Some(key) => Key::from([key, &[0_u8][..]].concat()),
        None => prefix.clone(),
    };
    let found = tables.scan(&first, &prefix_end(&prefix), ACTIVITIES, false)?;
    let Some((last, _)) = found.last() else {
        return Ok(None);
    };
    *from = Some(last.clone());
    let is_started = |record: &Record| {
        matches!(record, Record::Activity(activity)
            if matches!(activity.state, ActivityState::Started { .. }))
    };
    if !found.iter().any(|(_, record)| is_started(record)) {
        return Ok(Some(Changes::new()));
    }
    let Some(mut execution) = open(&mut set, run)? else {
        return Ok(None);
    };
    execution.leave_no_trace();
    for (_, record) in &found {
        let Record::Activity(activity) = &**record else {
            return Err(wrong_record(record));
        };
        match activity.state {
            ActivityState::Started { .. } => activity::put_back(&mut execution, activity.clone())?,
            ActivityState::Queued { .. } | ActivityState::Backoff { .. } => {}
        }
    }
    execution.finish()?;
    Ok(Some(set.finish().0))
}

/// A run that goes on; one that is set aside stays as it is.
fn open<'set, 'tables>(
    set: &'set mut WriteSet<'tables>,
    run: &RunRef,
) -> Result<Option<Execution<'set, 'tables>>, Fault> {
    let execution = Execution::load(set, run)?;
    Ok(execution.filter(|execution| execution.is_open() && execution.run.quarantined.is_empty()))
}
