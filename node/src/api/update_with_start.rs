//! ExecuteMultiOperation, of which there is one form: update-with-start.

use super::call::Call;
use super::status::{Operation, invalid, multi_operation, namespace_not_found, unavailable};
use super::update::{self, ABORTED_BY_CLOSING, Asked};
use super::{Api, Need, validate};
use crate::shard::{Class, Unavailable};
use crate::updates::Waited;
use steadfast_engine::effect::UpdateEnd;
use steadfast_engine::id::NamespaceNumber;
use steadfast_engine::read::update::UpdateStage;
use steadfast_engine::{Mutation, Reply};
use steadfast_proto::temporal::workflowservice::v1 as wire;
use steadfast_proto::temporal::workflowservice::v1::execute_multi_operation_request::operation::Operation as Asks;
use steadfast_proto::temporal::workflowservice::v1::execute_multi_operation_response::{
    Response, response::Response as Answers,
};
use tonic::{Code, Request, Status};

/// A running workflow that closes before it takes the update makes the server try this often.
const TRIES: u32 = 2;

/// ExecuteMultiOperation.
pub(crate) async fn execute_multi_operation(
    api: &Api,
    request: Request<wire::ExecuteMultiOperationRequest>,
) -> Result<wire::ExecuteMultiOperationResponse, Status> {
    let call = Call::of(&request);
    let request = request.into_inner();
    let namespace = api.namespace(&request.namespace, Need::Open).await?.number;
    let mut operations = request
        .operations
        .into_iter()
        .map(|operation| operation.operation);
    let (
        Some(Some(Asks::StartWorkflow(mut start))),
        Some(Some(Asks::UpdateWorkflow(mut update))),
        None,
    ) = (operations.next(), operations.next(), operations.next())
    else {
        return Err(invalid("Operations have to be exactly [Start, Update]."));
    };
    check(api, &request.namespace, &mut start, &mut update)?;
    if start.request_id.is_empty() {
        start.request_id = api.uuid();
    }
    let together = Together {
        api,
        call,
        namespace,
        start,
        update,
    };
    for _ in 1..TRIES {
        if let Some(answer) = together.try_once(false).await? {
            return Ok(answer);
        }
    }
    let last = together.try_once(true).await?;
    last.ok_or_else(|| Status::aborted(ABORTED_BY_CLOSING))
}

/// Checks both operations; each failure is told.
fn check(
    api: &Api,
    namespace: &str,
    start: &mut wire::StartWorkflowExecutionRequest,
    update: &mut wire::UpdateWorkflowExecutionRequest,
) -> Result<(), Status> {
    let started = check_start(api, namespace, start);
    let mut updated = check_update(api, namespace, update);
    let updated_id = update
        .workflow_execution
        .as_ref()
        .map_or("", |execution| &execution.workflow_id);
    if started.is_ok() && updated.is_ok() && start.workflow_id != updated_id {
        updated = Err(invalid(
            "WorkflowId is not consistent with previous operation(s).",
        ));
    }
    if started.is_ok() && updated.is_ok() {
        return Ok(());
    }
    let operation =
        |result: Result<(), Status>| result.map_or_else(Operation::Failed, |()| Operation::Aborted);
    Err(multi_operation(operation(started), operation(updated)))
}

fn check_start(
    api: &Api,
    namespace: &str,
    start: &wire::StartWorkflowExecutionRequest,
) -> Result<(), Status> {
    if start.namespace.is_empty() {
        return Err(namespace_not_found(""));
    }
    same_namespace(namespace, &start.namespace)?;
    validate::start(start, &api.limits()?)?;
    if !start.cron_schedule.is_empty() {
        return Err(invalid("CronSchedule is not allowed."));
    }
    if start.request_eager_execution {
        return Err(invalid("RequestEagerExecution is not supported."));
    }
    if start.workflow_start_delay.is_some() {
        return Err(invalid("WorkflowStartDelay is not supported."));
    }
    Ok(())
}

fn check_update(
    api: &Api,
    namespace: &str,
    update: &mut wire::UpdateWorkflowExecutionRequest,
) -> Result<(), Status> {
    if !update.namespace.is_empty() {
        same_namespace(namespace, &update.namespace)?;
    }
    namespace.clone_into(&mut update.namespace);
    validate::update(update, &api.limits()?, || api.uuid())?;
    if !update.first_execution_run_id.is_empty() {
        return Err(invalid("FirstExecutionRunId is not allowed."));
    }
    let execution = update.workflow_execution.as_ref();
    if execution.is_some_and(|execution| !execution.run_id.is_empty()) {
        return Err(invalid("RunId is not allowed."));
    }
    Ok(())
}

fn same_namespace(outer: &str, inner: &str) -> Result<(), Status> {
    if outer == inner {
        return Ok(());
    }
    Err(invalid(
        "Operation namespace did not match request's namespace.",
    ))
}

/// A start and an update that were checked.
struct Together<'api> {
    api: &'api Api,
    call: Call,
    namespace: NamespaceNumber,
    start: wire::StartWorkflowExecutionRequest,
    update: wire::UpdateWorkflowExecutionRequest,
}

impl Together<'_> {
    /// Both, once. `None` when a workflow that ran before closed before it took the update: then a
    /// second try may start a new one. The last try tells the caller to try again.
    async fn try_once(
        &self,
        last: bool,
    ) -> Result<Option<wire::ExecuteMultiOperationResponse>, Status> {
        let asked = Asked::of(&self.update);
        let waiter = self
            .api
            .shard
            .updates()
            .wait_for(self.namespace, &self.start.workflow_id, &asked.update_id)
            .ok_or_else(|| unavailable(Unavailable::Overloaded))?;
        let mutation = Mutation::ExecuteMultiOperation {
            start: self.start.clone().into(),
            update: self.update.clone().into(),
        };
        let reply = self.api.propose(Class::Fills, mutation).await?;
        let Reply::MultiOperation { start, update } = reply else {
            return Err(Api::unexpected(&reply));
        };
        let start = started(&start)?;
        let waited = update::wait(self.api, &self.call, &waiter, &update, asked.stage).await;
        let closed = matches!(waited, Ok(Waited::Ended(UpdateEnd::WorkflowCompleted)));
        if closed && !start.started && !last {
            return Ok(None);
        }
        let found = match waited.and_then(update::ended) {
            Ok(found) => found,
            Err(status) if status.code() == Code::DeadlineExceeded => return Err(status),
            Err(_) if closed && !start.started => {
                let status = Status::aborted(ABORTED_BY_CLOSING);
                return Err(multi_operation(
                    Operation::Aborted,
                    Operation::Failed(status),
                ));
            }
            Err(status) => {
                let operation = if start.started {
                    Operation::Done
                } else {
                    Operation::Aborted
                };
                return Err(multi_operation(operation, Operation::Failed(status)));
            }
        };
        // An outcome that was there before is answered without links.
        let was_completed =
            start.link.is_none() && matches!(found.stage, UpdateStage::Completed(_));
        let mut updated = update::response(&asked, &update, found)?;
        if was_completed {
            updated.link = None;
        }
        let responses = [
            Answers::StartWorkflow(start),
            Answers::UpdateWorkflow(updated),
        ]
        .map(|response| Response {
            response: Some(response),
        });
        Ok(Some(wire::ExecuteMultiOperationResponse {
            responses: responses.into(),
        }))
    }
}

fn started(reply: &Reply) -> Result<wire::StartWorkflowExecutionResponse, Status> {
    match reply {
        Reply::Started {
            run_id,
            first_execution_run_id,
            started,
            status,
            link,
            ..
        } => Ok(wire::StartWorkflowExecutionResponse {
            run_id: run_id.clone(),
            first_execution_run_id: first_execution_run_id.clone(),
            started: *started,
            status: *status,
            eager_workflow_task: None,
            link: link.clone(),
        }),
        other => Err(Api::unexpected(other)),
    }
}
