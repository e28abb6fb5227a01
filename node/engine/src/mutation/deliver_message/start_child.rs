//! A child is started, or its parent hears why not.

use crate::execution::send;
use crate::id::RunRef;
use crate::mutation::id_policy::{self, Decision, Policies};
use crate::mutation::new_run::{NewRun, open_new_run};
use crate::reply::{Fault, Stop};
use crate::tables::{MessageBody, ParentRef, Run, StartChild, WriteSet};
use steadfast_proto::temporal::enums::v1::{
    NamespaceState, ParentClosePolicy, StartChildWorkflowExecutionFailedCause as Cause,
};

/// A parent that has closed since starts no child any more, but for one that it would have left
/// alone. (Once shards are split, this look at the parent belongs to the sender's side.)
pub(super) fn apply(
    set: &mut WriteSet<'_>,
    source: &RunRef,
    initiated_event_id: i64,
    start: &StartChild,
) -> Result<(), Stop> {
    let policy = start.initiated.parent_close_policy;
    let open = set.run(source)?.is_some_and(|run| run.close.is_none());
    if !open && policy != i32::from(ParentClosePolicy::Abandon) {
        return Ok(());
    }
    let parent = source.clone();
    match open_child(set, source, initiated_event_id, start)? {
        Ok((child, run_id)) => {
            let body = MessageBody::ChildStarted {
                parent,
                run_id,
                policy,
            };
            send(set, child, initiated_event_id, body);
        }
        Err(cause) => {
            let cause = cause.into();
            let nobody = RunRef {
                namespace: start.namespace,
                workflow_id: start.initiated.workflow_id.clone(),
                number: 0,
            };
            let body = MessageBody::StartChildFailed { parent, cause };
            send(set, nobody, initiated_event_id, body);
        }
    }
    Ok(())
}

/// What becomes of a running child that the base of a reset started: the one that this event asks
/// for is the new run's; one that was started after the point gives way.
fn of_base(
    set: &WriteSet<'_>,
    source: &RunRef,
    initiated_event_id: i64,
    existing: Option<&Run>,
) -> Result<Option<Decision>, Fault> {
    let Some(run) = existing.filter(|run| run.close.is_none()) else {
        return Ok(None);
    };
    let Some(parent) = &run.parent else {
        return Ok(None);
    };
    if parent.run == *source || !super::is_fork_of(set, source, &parent.run)? {
        return Ok(None);
    }
    let found = run.run.clone();
    let is_shared = set
        .run(source)?
        .is_some_and(|fork| fork.shares(initiated_event_id));
    Ok(Some(
        if is_shared && parent.initiated_event_id == initiated_event_id {
            Decision::UseExisting(found)
        } else {
            Decision::New {
                terminate: Some(found),
            }
        },
    ))
}

type Opened = Result<(RunRef, String), Cause>;

fn open_child(
    set: &mut WriteSet<'_>,
    source: &RunRef,
    initiated_event_id: i64,
    start: &StartChild,
) -> Result<Opened, Stop> {
    let registered = i32::from(NamespaceState::Registered);
    let namespace = set.namespace(start.namespace)?;
    let Some(namespace) = namespace.filter(|namespace| namespace.state == registered) else {
        return Ok(Err(Cause::NamespaceNotFound));
    };
    let workflow_id = &start.initiated.workflow_id;
    // A policy that can't be used refuses like a conflict; the command let it pass, as in Temporal.
    let Ok(policies) = Policies::of(start.initiated.workflow_id_reuse_policy, 0) else {
        return Ok(Err(Cause::Unspecified));
    };
    let existing = id_policy::current(set, &namespace, workflow_id)?;
    let decision = match of_base(set, source, initiated_event_id, existing.as_deref())? {
        Some(decision) => Ok(decision),
        None => id_policy::decide(existing.as_deref(), &start.request_id, policies),
    };
    drop(existing);
    let Ok(decision) = decision else {
        return Ok(Err(Cause::WorkflowAlreadyExists));
    };
    let terminate = match decision {
        Decision::SameRequest(run) | Decision::UseExisting(run) => {
            return match set.run(&run)? {
                Some(found) => Ok(Ok((run, found.first_execution_run_id))),
                None => Err(Fault::Decode("a current run is gone".to_owned()).into()),
            };
        }
        Decision::New { terminate } => terminate,
    };
    let parent = ParentRef {
        run: source.clone(),
        run_id: start.parent_run_id.clone(),
        initiated_event_id,
        root: start.root.clone(),
    };
    let new_run = match NewRun::of_child(set, &namespace, start, parent) {
        Ok(new_run) => new_run,
        Err(Stop::Refused(_) | Stop::RefusedWithChanges(_)) => return Ok(Err(Cause::Unspecified)),
        Err(Stop::Faulted(fault)) => return Err(fault.into()),
    };
    if let Some(run) = terminate {
        id_policy::terminate_existing(set, &run, &new_run.run_id)?;
    }
    let mut execution = open_new_run(set, new_run);
    execution.schedule_workflow_task()?;
    let opened = (execution.run.run.clone(), execution.run.run_id.clone());
    execution.finish()?;
    Ok(Ok(opened))
}
