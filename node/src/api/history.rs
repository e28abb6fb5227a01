//! Reading histories: pages, long polls, the close event.

use super::answer::present;
use super::call::Call;
use super::status::{fault, invalid, refused, unavailable};
use super::token::{self, HistoryToken};
use super::{Api, Need, validate};
use crate::shard::View;
use bytes::Bytes;
use steadfast_engine::id::NamespaceNumber;
use steadfast_engine::mutation::ExecutionTarget;
use steadfast_engine::read::history::{self, HistoryPage, PAGE_BATCHES_MAX};
use steadfast_engine::read::{StoredRun, resolve, run};
use steadfast_proto::temporal::enums::v1::HistoryEventFilterType;
use steadfast_proto::temporal::workflowservice::v1 as wire;
use tokio::time::Instant;
use tonic::{Request, Status};

/// Clients that get no transient events: people would take them for written ones.
const WITHOUT_TAIL: &[&str] = &["temporal-cli", "temporal-ui"];

/// GetWorkflowExecutionHistory.
pub(crate) async fn get_workflow_execution_history(
    api: &Api,
    request: Request<wire::GetWorkflowExecutionHistoryRequest>,
) -> Result<wire::GetWorkflowExecutionHistoryResponse, Status> {
    let call = Call::of(&request);
    let request = request.into_inner();
    let namespace = api.namespace(&request.namespace, Need::Open).await?.number;
    let mut target = validate::execution(&request.namespace, request.execution.as_ref())?;
    let token = token::read_history(&request.next_page_token, false)?;
    pin(&mut target, token.as_ref())?;
    let view = api.read().await?;
    let run = find(&view, namespace, &target)?;
    let reading = Reading {
        api,
        run,
        deadline: call.history_poll_deadline(),
        waits: request.wait_new_event,
    };
    if request.history_event_filter_type == i32::from(HistoryEventFilterType::CloseEvent) {
        return reading.close_event(view).await;
    }
    let with_tail = !WITHOUT_TAIL.contains(&call.client_name.as_str());
    reading
        .page(view, token, batches(request.maximum_page_size), with_tail)
        .await
}

/// GetWorkflowExecutionHistoryReverse.
pub(crate) async fn get_workflow_execution_history_reverse(
    api: &Api,
    request: Request<wire::GetWorkflowExecutionHistoryReverseRequest>,
) -> Result<wire::GetWorkflowExecutionHistoryReverseResponse, Status> {
    let request = request.into_inner();
    let namespace = api.namespace(&request.namespace, Need::Open).await?.number;
    let mut target = validate::execution(&request.namespace, request.execution.as_ref())?;
    let token = token::read_history(&request.next_page_token, true)?;
    pin(&mut target, token.as_ref())?;
    let view = api.read().await?;
    let run = find(&view, namespace, &target)?;
    let from = token.map_or(run.next_event_id - 1, |token| token.next);
    let page = history::backward(&view, &run, from, batches(request.maximum_page_size))
        .map_err(|broken| fault(&broken))?;
    let next_page_token = page.next.map(|next| {
        token::history(&HistoryToken {
            run_id: run.run_id.clone(),
            next,
            until: 1,
            backward: true,
        })
    });
    Ok(wire::GetWorkflowExecutionHistoryReverseResponse {
        history: present(page.events),
        next_page_token: next_page_token.unwrap_or_default(),
    })
}

fn batches(maximum_page_size: i32) -> usize {
    usize::try_from(maximum_page_size)
        .ok()
        .filter(|size| (1..=PAGE_BATCHES_MAX).contains(size))
        .unwrap_or(PAGE_BATCHES_MAX)
}

/// A token is pinned to its run; another run in the request is refused.
fn pin(target: &mut ExecutionTarget, token: Option<&HistoryToken>) -> Result<(), Status> {
    let Some(token) = token else { return Ok(()) };
    if !target.run_id.is_empty() && target.run_id != token.run_id {
        return Err(invalid(
            "RunId in the request does not match the NextPageToken.",
        ));
    }
    target.run_id.clone_from(&token.run_id);
    Ok(())
}

fn find(
    view: &View,
    namespace: NamespaceNumber,
    target: &ExecutionTarget,
) -> Result<StoredRun, Status> {
    resolve(view, namespace, &target.workflow_id, &target.run_id)
        .map_err(|broken| fault(&broken))?
        .map_err(refused)
}

/// One read of one run's history.
struct Reading<'api> {
    api: &'api Api,
    run: StoredRun,
    deadline: Instant,
    waits: bool,
}

impl Reading<'_> {
    /// Waits until the run has an event after `past`, or closes, or the time is over.
    async fn wait(&mut self, past: i64) -> Result<View, Status> {
        let view = self
            .api
            .shard
            .run_changed(&self.run.run, past, self.deadline)
            .await
            .map_err(unavailable)?;
        match run(&view, &self.run.run).map_err(|broken| fault(&broken))? {
            Some(run) => self.run = run,
            None => {
                let (workflow_id, run_id) = (&self.run.run.workflow_id, &self.run.run_id);
                return Err(refused(steadfast_engine::read::target::run_not_found(
                    workflow_id,
                    run_id,
                )));
            }
        }
        Ok(view)
    }

    /// Only the close event; waits for it whether or not the caller asked to.
    async fn close_event(
        mut self,
        mut view: View,
    ) -> Result<wire::GetWorkflowExecutionHistoryResponse, Status> {
        // An event id that no run reaches: only the close wakes.
        const NO_EVENT: i64 = i64::MAX - 1;
        if self.run.close.is_none() {
            view = self.wait(NO_EVENT).await?;
        }
        let Some(close) = &self.run.close else {
            let next_page_token = if self.waits {
                self.rest(1, 0)
            } else {
                Bytes::new()
            };
            return Ok(response(Bytes::new(), next_page_token));
        };
        let event =
            history::event(&view, &self.run, close.event_id).map_err(|broken| fault(&broken))?;
        Ok(response(event, Bytes::new()))
    }

    async fn page(
        mut self,
        mut view: View,
        token: Option<HistoryToken>,
        batches_max: usize,
        with_tail: bool,
    ) -> Result<wire::GetWorkflowExecutionHistoryResponse, Status> {
        let from = token.as_ref().map_or(1, |token| token.next);
        let consumed = token.as_ref().is_some_and(|token| token.next > token.until);
        if consumed && self.waits && self.last() < from && self.run.close.is_none() {
            view = self.wait(from - 1).await?;
        }
        let until = match &token {
            // The end that the first page saw, so that the pages of one read fit together.
            Some(token) if !self.waits => token.until.min(self.last()),
            Some(_) | None => self.last(),
        };
        let page = if from > until {
            HistoryPage::default()
        } else {
            history::forward(&view, &self.run, from, until, batches_max)
                .map_err(|broken| fault(&broken))?
        };
        let running = self.run.close.is_none();
        if let Some(next) = page.next {
            return Ok(response(page.events, self.rest(next, until)));
        }
        if self.waits && running {
            let next = until.max(from - 1) + 1;
            return Ok(response(page.events, self.rest(next, next - 1)));
        }
        let events = if with_tail && running && until == self.last() {
            history::joined(page.events, &history::tail(&self.run))
        } else {
            page.events
        };
        Ok(response(events, Bytes::new()))
    }

    fn last(&self) -> i64 {
        self.run.next_event_id - 1
    }

    fn rest(&self, next: i64, until: i64) -> Bytes {
        token::history(&HistoryToken {
            run_id: self.run.run_id.clone(),
            next,
            until,
            backward: false,
        })
    }
}

fn response(history: Bytes, next_page_token: Bytes) -> wire::GetWorkflowExecutionHistoryResponse {
    wire::GetWorkflowExecutionHistoryResponse {
        history: present(history),
        next_page_token,
        ..Default::default()
    }
}
