//! Workflow id policies: what a start does when the workflow id is in use.

use crate::execution::{Execution, HISTORY_SERVICE};
use crate::id::RunRef;
use crate::read;
use crate::reply::{Fault, Refusal, Stop};
use crate::tables::{Namespace, Run, WriteSet};
use std::ops::Deref;
use steadfast_planted::{Bug, planted};
use steadfast_proto::temporal::common::v1::{Payload, Payloads};
use steadfast_proto::temporal::enums::v1::{
    NamespaceState, WorkflowExecutionStatus, WorkflowIdConflictPolicy as Conflict,
    WorkflowIdReusePolicy as Reuse,
};

/// The two policies with defaults filled in.
#[derive(Debug, Clone, Copy)]
pub(super) struct Policies {
    pub(super) reuse: Reuse,
    pub(super) conflict: Conflict,
}

impl Policies {
    /// Of a start. Unknown numbers count as the default, as in Temporal.
    pub(super) fn of(reuse: i32, conflict: i32) -> Result<Self, Refusal> {
        Self::with_default(reuse, conflict, Conflict::Fail)
    }

    /// With another default for running workflows.
    pub(super) fn with_default(
        reuse: i32,
        conflict: i32,
        default: Conflict,
    ) -> Result<Self, Refusal> {
        let reuse = Reuse::try_from(reuse).unwrap_or(Reuse::AllowDuplicate);
        let conflict = Conflict::try_from(conflict).unwrap_or(Conflict::Unspecified);
        let invalid = |text: &str| {
            Err(Refusal::InvalidArgument(format!(
                "Invalid WorkflowIDReusePolicy: {text}"
            )))
        };
        #[expect(deprecated, reason = "clients still send it")]
        let terminate_if_running = reuse == Reuse::TerminateIfRunning;
        if terminate_if_running {
            if conflict != Conflict::Unspecified {
                return invalid(
                    "WORKFLOW_ID_REUSE_POLICY_TERMINATE_IF_RUNNING cannot be used together with a WorkflowIDConflictPolicy",
                );
            }
            return Ok(Self {
                reuse: Reuse::AllowDuplicate,
                conflict: Conflict::TerminateExisting,
            });
        }
        if reuse == Reuse::RejectDuplicate && conflict == Conflict::TerminateExisting {
            return invalid(
                "WORKFLOW_ID_REUSE_POLICY_REJECT_DUPLICATE cannot be used together with WorkflowIdConflictPolicy WORKFLOW_ID_CONFLICT_POLICY_TERMINATE_EXISTING",
            );
        }
        let conflict = if conflict == Conflict::Unspecified {
            default
        } else {
            conflict
        };
        Ok(Self { reuse, conflict })
    }
}

/// What a start does.
#[derive(Debug)]
pub(super) enum Decision {
    /// The same request again: the answer of then.
    SameRequest(RunRef),
    /// The running workflow is used.
    UseExisting(RunRef),
    /// A new run, after terminating one.
    New {
        /// The run to terminate first.
        terminate: Option<RunRef>,
    },
}

/// Refuses starts in a namespace that is deprecated.
pub(super) fn require_registered(namespace: &Namespace) -> Result<(), Refusal> {
    if namespace.state == i32::from(NamespaceState::Deprecated) {
        let (name, state) = (namespace.name.clone(), namespace.state);
        return Err(Refusal::NamespaceInvalidState {
            namespace: name,
            state,
        });
    }
    Ok(())
}

/// The newest run of a workflow id.
pub(super) fn current(
    set: &WriteSet<'_>,
    namespace: &Namespace,
    workflow_id: &str,
) -> Result<Option<impl Deref<Target = Run> + use<>>, Fault> {
    read::target::current_run(set, namespace.number, workflow_id)
}

pub(super) fn decide(
    existing: Option<&Run>,
    request_id: &str,
    policies: Policies,
) -> Result<Decision, Refusal> {
    let Some(run) = existing else {
        return Ok(Decision::New { terminate: None });
    };
    let repeated = !request_id.is_empty() && run.start_request_id == request_id;
    if repeated && !planted(Bug::StartRequestIdIgnored) {
        return Ok(Decision::SameRequest(run.run.clone()));
    }
    let id = &run.run.workflow_id;
    if run.close.is_none() && !planted(Bug::StartIgnoresOpenRun) {
        return match policies.conflict {
            Conflict::Unspecified | Conflict::Fail => Err(already_started(
                run,
                format!(
                    "Workflow execution is already running. WorkflowId: {id}, RunId: {}.",
                    run.run_id
                ),
            )),
            Conflict::UseExisting => Ok(Decision::UseExisting(run.run.clone())),
            Conflict::TerminateExisting => Ok(Decision::New {
                terminate: Some(run.run.clone()),
            }),
        };
    }
    let failed = !matches!(
        WorkflowExecutionStatus::try_from(run.status),
        Ok(WorkflowExecutionStatus::Completed | WorkflowExecutionStatus::ContinuedAsNew)
    );
    match policies.reuse {
        Reuse::AllowDuplicateFailedOnly if !failed => Err(already_started(
            run,
            format!(
                "Workflow execution already finished successfully. WorkflowId: {id}, RunId: {}. Workflow Id reuse policy: allow duplicate workflow Id if last run failed.",
                run.run_id
            ),
        )),
        Reuse::RejectDuplicate => Err(already_started(
            run,
            format!(
                "Workflow execution already finished. WorkflowId: {id}, RunId: {}. Workflow Id reuse policy: reject duplicate workflow Id.",
                run.run_id
            ),
        )),
        _ => Ok(Decision::New { terminate: None }),
    }
}

fn already_started(run: &Run, message: String) -> Refusal {
    Refusal::WorkflowExecutionAlreadyStarted {
        message,
        start_request_id: run.start_request_id.clone(),
        run_id: run.run_id.clone(),
        first_execution_run_id: run.first_execution_run_id.clone(),
    }
}

/// Terminates the running workflow so that a new run takes its place.
pub(super) fn terminate_existing(
    set: &mut WriteSet<'_>,
    run: &RunRef,
    new_run_id: &str,
) -> Result<(), Stop> {
    let Some(mut execution) = Execution::load(set, run)? else {
        return Ok(());
    };
    let details = json_text(&format!("terminated by new runID: {new_run_id}"));
    let reason = "TerminateIfRunning WorkflowIdReusePolicy";
    execution.terminate(reason, Some(details), HISTORY_SERVICE, Vec::new())?;
    execution.finish()?;
    Ok(())
}

/// A text as a JSON payload, as Temporal's default data converter writes it.
fn json_text(text: &str) -> Payloads {
    let mut payload = Payload {
        data: format!("{text:?}").into(),
        ..Payload::default()
    };
    payload
        .metadata
        .insert("encoding".to_owned(), "json/plain".into());
    Payloads {
        payloads: vec![payload],
    }
}
