//! UpdateWorkflowExecution.

use super::{ID_BYTES_EVER, execution, id_length, link::links};
use crate::api::status::{invalid, permission_denied};
use steadfast_engine::mutation::ExecutionTarget;
use steadfast_engine::tables::Limits;
use steadfast_proto::temporal::enums::v1::UpdateWorkflowExecutionLifecycleStage as Stage;
use steadfast_proto::temporal::update::v1::Meta;
use steadfast_proto::temporal::workflowservice::v1::UpdateWorkflowExecutionRequest;
use tonic::Status;

/// Checks an update, and fills in its id when it has none.
pub(crate) fn update(
    request: &mut UpdateWorkflowExecutionRequest,
    limits: &Limits,
    made_up_id: impl FnOnce() -> String,
) -> Result<ExecutionTarget, Status> {
    let target = execution(&request.namespace, request.workflow_execution.as_ref())?;
    let update = request.request.get_or_insert_default();
    let Some(Meta { update_id, .. }) = &mut update.meta else {
        return Err(invalid("Update meta is not set on request."));
    };
    id_length(update_id, "UpdateId", limits)?;
    if update_id.len() > ID_BYTES_EVER {
        return Err(invalid("UpdateId length exceeds limit."));
    }
    let Some(input) = &update.input else {
        return Err(invalid("Update input is not set on request."));
    };
    if input.name.is_empty() {
        return Err(invalid("Update name is not set on request."));
    }
    let stage = request
        .wait_policy
        .as_ref()
        .map_or(0, |policy| policy.lifecycle_stage);
    if stage == i32::from(Stage::Admitted) {
        return Err(permission_denied(
            "UpdateWorkflowExecution issued asynchronously and waiting on update admitted is not supported.",
        ));
    }
    if !update.completion_callbacks.is_empty() {
        return Err(Status::unimplemented(
            "completion callbacks of updates are not implemented",
        ));
    }
    id_length(&update.request_id, "RequestId", limits)?;
    links(&update.links)?;
    if update_id.is_empty() {
        *update_id = made_up_id();
    }
    Ok(target)
}
