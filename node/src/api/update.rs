//! Updates: asking for one, waiting for it, looking how far it is.

use super::call::Call;
use super::status::{self, fault, invalid, not_found, refused, unavailable, workflow_not_ready};
use super::{Api, Need, validate};
use crate::shard::{Class, Unavailable};
use crate::updates::{Waited, Waiter};
use steadfast_engine::effect::UpdateEnd;
use steadfast_engine::id::RunRef;
use steadfast_engine::read::resolve;
use steadfast_engine::read::update::{FoundUpdate, UpdateStage, find};
use steadfast_engine::{Mutation, Reply};
use steadfast_proto::temporal::common::v1::link::workflow_event::{Reference, RequestIdReference};
use steadfast_proto::temporal::common::v1::link::{Variant, Workflow, WorkflowEvent};
use steadfast_proto::temporal::common::v1::{Link, WorkflowExecution};
use steadfast_proto::temporal::enums::v1::EventType;
use steadfast_proto::temporal::enums::v1::UpdateWorkflowExecutionLifecycleStage as Stage;
use steadfast_proto::temporal::update::v1::outcome::Value;
use steadfast_proto::temporal::update::v1::{Outcome, UpdateRef, WaitPolicy};
use steadfast_proto::temporal::workflowservice::v1 as wire;
use tokio::time::Instant;
use tonic::{Request, Status};

/// Temporal's text for an update that its run did not take before it closed.
pub(super) const ABORTED_BY_CLOSING: &str = "workflow update was aborted by closing workflow";

/// UpdateWorkflowExecution.
pub(crate) async fn update_workflow_execution(
    api: &Api,
    request: Request<wire::UpdateWorkflowExecutionRequest>,
) -> Result<wire::UpdateWorkflowExecutionResponse, Status> {
    let call = Call::of(&request);
    let mut request = request.into_inner();
    let namespace = api.namespace(&request.namespace, Need::Open).await?.number;
    let target = validate::update(&mut request, &api.limits()?, || api.uuid())?;
    let asked = Asked::of(&request);
    let waiter = api
        .shard
        .updates()
        .wait_for(namespace, &target.workflow_id, &asked.update_id)
        .ok_or_else(|| unavailable(Unavailable::Overloaded))?;
    let mutation = Mutation::UpdateWorkflowExecution(request.into());
    let reply = api.propose(Class::Fills, mutation).await?;
    let waited = wait(api, &call, &waiter, &reply, asked.stage).await?;
    let ended = ended(waited)?;
    response(&asked, &reply, ended)
}

/// What a caller asks for, beyond the update itself.
#[derive(Debug, Clone)]
pub(super) struct Asked {
    namespace: String,
    /// The update's id.
    pub(super) update_id: String,
    /// The stage that it waits for.
    pub(super) stage: i32,
    request_id: String,
}

impl Asked {
    /// Of a request that was checked.
    pub(super) fn of(request: &wire::UpdateWorkflowExecutionRequest) -> Self {
        let update = request.request.clone().unwrap_or_default();
        Self {
            namespace: request.namespace.clone(),
            update_id: update.meta.unwrap_or_default().update_id,
            stage: match stage_of(request.wait_policy) {
                0 => Stage::Completed.into(),
                stage => stage,
            },
            request_id: update.request_id,
        }
    }
}

fn stage_of(policy: Option<WaitPolicy>) -> i32 {
    policy.map_or(0, |policy| policy.lifecycle_stage)
}

/// Waits for the update of a reply until it is as far as was asked, or the server's time is over.
pub(super) async fn wait(
    api: &Api,
    call: &Call,
    waiter: &Waiter,
    reply: &Reply,
    stage: i32,
) -> Result<Waited, Status> {
    let Reply::Updating { run, sequence, .. } = reply else {
        return Err(Api::unexpected(reply));
    };
    wait_for(api, call, waiter, (run, *sequence), stage).await
}

async fn wait_for(
    api: &Api,
    call: &Call,
    waiter: &Waiter,
    (run, sequence): (&RunRef, u64),
    stage: i32,
) -> Result<Waited, Status> {
    let (told_at, gone_at) = call.update_deadlines();
    let deadline = gone_at.map_or(told_at, |gone_at| gone_at.min(told_at));
    let reached = |found: &FoundUpdate| match Stage::try_from(stage) {
        Ok(Stage::Completed) => matches!(found.stage, UpdateStage::Completed(_)),
        Ok(Stage::Accepted) => !matches!(found.stage, UpdateStage::Admitted),
        Ok(Stage::Admitted | Stage::Unspecified) | Err(_) => true,
    };
    let waited = waiter
        .wait(&api.shard, run, sequence, reached, deadline)
        .await
        .map_err(unavailable)?;
    match &waited {
        Waited::Reached(found)
            if !reached(found) && gone_at.is_some_and(|gone_at| Instant::now() >= gone_at) =>
        {
            Err(unavailable(Unavailable::DeadlineExceeded))
        }
        Waited::Reached(_) | Waited::Ended(_) | Waited::Gone => Ok(waited),
    }
}

/// How far an update is, told to its caller, or why it will never be done.
pub(super) fn ended(waited: Waited) -> Result<FoundUpdate, Status> {
    match waited {
        Waited::Reached(found) => Ok(found),
        Waited::Ended(UpdateEnd::Rejected(failure)) => {
            let value = Some(Value::Failure(*failure));
            Ok(FoundUpdate {
                stage: UpdateStage::Completed(Box::new(Outcome { value })),
                sequence: 0,
                request_id: String::new(),
            })
        }
        Waited::Ended(UpdateEnd::WorkflowCompleted) => Err(not_found(ABORTED_BY_CLOSING)),
        Waited::Ended(UpdateEnd::WorkflowContinuing) => Err(status::workflow_closing()),
        Waited::Ended(UpdateEnd::WorkflowTaskFailed) => Err(workflow_not_ready(
            "Unable to perform workflow execution update due to unexpected workflow task failure.",
        )),
        Waited::Gone => Err(Status::unavailable("workflow update was aborted")),
    }
}

/// The answer to one who asked for an update.
pub(super) fn response(
    asked: &Asked,
    reply: &Reply,
    found: FoundUpdate,
) -> Result<wire::UpdateWorkflowExecutionResponse, Status> {
    let Reply::Updating { run, run_id, .. } = reply else {
        return Err(Api::unexpected(reply));
    };
    let (stage, outcome) = stage_and_outcome(found.stage);
    let link = link(asked, run, run_id, outcome.as_ref());
    Ok(wire::UpdateWorkflowExecutionResponse {
        update_ref: Some(update_ref(run, run_id, &asked.update_id)),
        outcome,
        stage,
        link: Some(link),
    })
}

fn stage_and_outcome(stage: UpdateStage) -> (i32, Option<Outcome>) {
    match stage {
        UpdateStage::Admitted => (Stage::Admitted.into(), None),
        UpdateStage::Accepted => (Stage::Accepted.into(), None),
        UpdateStage::Completed(outcome) => (Stage::Completed.into(), Some(*outcome)),
    }
}

fn update_ref(run: &RunRef, run_id: &str, update_id: &str) -> UpdateRef {
    UpdateRef {
        workflow_execution: Some(WorkflowExecution {
            workflow_id: run.workflow_id.clone(),
            run_id: run_id.to_owned(),
        }),
        update_id: update_id.to_owned(),
    }
}

/// A failed update links to its workflow, any other one to its accepted event.
fn link(asked: &Asked, run: &RunRef, run_id: &str, outcome: Option<&Outcome>) -> Link {
    let failed = matches!(
        outcome.and_then(|outcome| outcome.value.as_ref()),
        Some(Value::Failure(_))
    );
    let (namespace, workflow_id) = (asked.namespace.clone(), run.workflow_id.clone());
    let run_id = run_id.to_owned();
    let variant = if failed {
        Variant::Workflow(Workflow {
            namespace,
            workflow_id,
            run_id,
            reason: "Update rejected".to_owned(),
        })
    } else {
        Variant::WorkflowEvent(WorkflowEvent {
            namespace,
            workflow_id,
            run_id,
            reference: Some(Reference::RequestIdRef(RequestIdReference {
                request_id: asked.request_id.clone(),
                event_type: EventType::WorkflowExecutionUpdateAccepted.into(),
            })),
        })
    };
    Link {
        variant: Some(variant),
    }
}

/// PollWorkflowExecutionUpdate.
pub(crate) async fn poll_workflow_execution_update(
    api: &Api,
    request: Request<wire::PollWorkflowExecutionUpdateRequest>,
) -> Result<wire::PollWorkflowExecutionUpdateResponse, Status> {
    let call = Call::of(&request);
    let request = request.into_inner();
    let namespace = api.namespace(&request.namespace, Need::Open).await?.number;
    let Some(update_ref) = request.update_ref else {
        return Err(invalid("UpdateRef is not set on request."));
    };
    let execution = update_ref.workflow_execution.as_ref();
    let target = validate::execution(&request.namespace, execution)?;
    let update_id = update_ref.update_id;
    validate::id_length(&update_id, "UpdateId", &api.limits()?)?;
    let waiter = api
        .shard
        .updates()
        .wait_for(namespace, &target.workflow_id, &update_id)
        .ok_or_else(|| unavailable(Unavailable::Overloaded))?;
    let view = api.read().await?;
    let broken = |broken| fault(&broken);
    let run = resolve(&view, namespace, &target.workflow_id, &target.run_id)
        .map_err(broken)?
        .map_err(refused)?;
    let Some(found) = find(&view, &run, &update_id).map_err(broken)? else {
        return Err(not_found(format!("update {update_id:?} not found")));
    };
    let (run, run_id) = (run.run.clone(), run.run_id.clone());
    drop(view);
    let stage = stage_of(request.wait_policy);
    let waited = wait_for(api, &call, &waiter, (&run, found.sequence), stage).await?;
    let (stage, outcome) = stage_and_outcome(ended(waited)?.stage);
    Ok(wire::PollWorkflowExecutionUpdateResponse {
        outcome,
        stage,
        update_ref: Some(self::update_ref(&run, &run_id, &update_id)),
    })
}
