//! The wait for a workflow's result.

use crate::client::error::{CallError, WorkflowError};
use crate::client::handle::WorkflowHandle;
use crate::client::raw::decode_history;
use crate::converter::Value;
use std::time::Duration;
use steadfast_proto::temporal::common::v1::{Payloads, WorkflowExecution};
use steadfast_proto::temporal::enums::v1::HistoryEventFilterType;
use steadfast_proto::temporal::history::v1::HistoryEvent;
use steadfast_proto::temporal::history::v1::history_event::Attributes;
use steadfast_proto::temporal::workflowservice::v1 as wire;
use tokio::time::sleep;
use tonic::Status;

/// The least time between two polls of a server that does not hold them.
const POLL_PAUSE: Duration = Duration::from_millis(100);

/// How one run ended.
enum Close {
    Result(Option<Payloads>),
    Error(WorkflowError),
}

impl<W, O: Value> WorkflowHandle<W, O> {
    /// Waits until the workflow ends, for as long as it takes, and gives its result. When a run
    /// goes on as another one (continue-as-new, a retry, cron) it waits for that one, and so on.
    ///
    /// To wait for a limited time, use `tokio::time::timeout`: nothing is lost when it is dropped.
    ///
    /// # Errors
    /// How the workflow ended when it gave no result; [`WorkflowError::Call`] when there is no
    /// such workflow, or when the cluster cannot be reached for as long as calls are tried again.
    pub async fn result(&self) -> Result<O, WorkflowError> {
        self.wait(true).await
    }

    /// As [`result`](Self::result), of the one run alone.
    ///
    /// # Errors
    /// As [`result`](Self::result), and [`WorkflowError::ContinuedAsNew`].
    pub async fn result_of_run(&self) -> Result<O, WorkflowError> {
        self.wait(false).await
    }

    async fn wait(&self, follow: bool) -> Result<O, WorkflowError> {
        let mut run_id = self.result_run_id.clone();
        // A run after the other: the server decides how many there are.
        loop {
            let attributes = self.closed(&run_id).await?.attributes;
            let attributes = attributes.ok_or_else(|| damaged("an event without attributes"))?;
            let (close, next) = self.close(attributes)?;
            match (follow, next.is_empty(), close) {
                (true, false, _) => run_id = next,
                (_, _, Close::Result(result)) => {
                    return Ok(self.client.calls.data.converter().from_result(result)?);
                }
                (_, _, Close::Error(error)) => return Err(error),
            }
        }
    }

    /// The last event of a run, once it is there.
    async fn closed(&self, run_id: &str) -> Result<HistoryEvent, WorkflowError> {
        let mut request = wire::GetWorkflowExecutionHistoryRequest {
            namespace: self.client.namespace().to_string(),
            execution: Some(WorkflowExecution {
                workflow_id: self.workflow_id.clone(),
                run_id: run_id.to_string(),
            }),
            wait_new_event: true,
            history_event_filter_type: HistoryEventFilterType::CloseEvent as i32,
            skip_archival: true,
            ..Default::default()
        };
        loop {
            let calls = &self.client.calls;
            let page = calls.history(request.clone()).await?;
            let last = decode_history(&page.history)
                .map_err(CallError::from)?
                .pop();
            if let Some(mut event) = last {
                calls
                    .data
                    .decode(&mut event)
                    .await
                    .map_err(CallError::from)?;
                return Ok(event);
            }
            if page.next_page_token.is_empty() {
                sleep(POLL_PAUSE).await;
            }
            request.next_page_token = page.next_page_token;
        }
    }

    /// How a run ended, and the run that goes on.
    fn close(&self, attributes: Attributes) -> Result<(Close, String), WorkflowError> {
        let data = &self.client.calls.data;
        Ok(match attributes {
            Attributes::WorkflowExecutionCompletedEventAttributes(completed) => (
                Close::Result(completed.result),
                completed.new_execution_run_id,
            ),
            Attributes::WorkflowExecutionFailedEventAttributes(failed) => {
                let failure = data.from_wire(failed.failure.unwrap_or_default());
                let error = WorkflowError::Failed(failure);
                (Close::Error(error), failed.new_execution_run_id)
            }
            Attributes::WorkflowExecutionTimedOutEventAttributes(timed_out) => (
                Close::Error(WorkflowError::TimedOut),
                timed_out.new_execution_run_id,
            ),
            Attributes::WorkflowExecutionCanceledEventAttributes(canceled) => {
                let details = canceled.details.unwrap_or_default().payloads;
                let error = WorkflowError::Canceled { details };
                (Close::Error(error), String::new())
            }
            Attributes::WorkflowExecutionTerminatedEventAttributes(terminated) => {
                let error = WorkflowError::Terminated {
                    reason: terminated.reason,
                    details: terminated.details.unwrap_or_default().payloads,
                };
                (Close::Error(error), String::new())
            }
            Attributes::WorkflowExecutionContinuedAsNewEventAttributes(continued) => {
                let run_id = continued.new_execution_run_id;
                let error = WorkflowError::ContinuedAsNew {
                    run_id: run_id.clone(),
                };
                (Close::Error(error), run_id)
            }
            _ => return Err(damaged("a close event that is none").into()),
        })
    }
}

fn damaged(what: &str) -> CallError {
    CallError::Rpc(Status::internal(format!("the server sent {what}")))
}
