//! A client: starts orders and bothers them.

use super::caller::{Caller, Failed, timed};
use super::script::repeated;
use super::{NAMESPACE, execution, hash_of, order, payload, queue, seconds, text};
use crate::evidence::Violation;
use crate::operation::{Answer, Asked, Outcome};
use prost::Message;
use rand::Rng;
use std::collections::BTreeMap;
use std::time::Duration;
use steadfast_proto::temporal::common::v1::WorkflowExecution;
use steadfast_proto::temporal::enums::v1::{
    UpdateWorkflowExecutionLifecycleStage as Stage, WorkflowExecutionStatus,
    WorkflowIdConflictPolicy, WorkflowIdReusePolicy,
};
use steadfast_proto::temporal::history::v1::history_event::Attributes as Event;
use steadfast_proto::temporal::history::v1::{History, HistoryEvent};
use steadfast_proto::temporal::query::v1::WorkflowQuery;
use steadfast_proto::temporal::update::v1::outcome::Value;
use steadfast_proto::temporal::update::v1::{Input, Meta, Request as UpdateRequest, WaitPolicy};
use steadfast_proto::temporal::workflowservice::v1 as wire;
use tokio::time::{Instant, sleep};

const ANSWER: Duration = Duration::from_secs(3);
const QUERY: Duration = Duration::from_secs(5);
const UPDATE: Duration = Duration::from_secs(8);
const TRIES: u32 = 4;
const PAUSE: Duration = Duration::from_millis(100);
const PAGE: i32 = 200;
/// Of the runs that have a time-out.
const RUN_TIMEOUT_SECONDS: i64 = 6;
/// Of the last workflows of a client, so many are bothered.
const KNOWN: usize = 8;

/// One client.
#[derive(Debug)]
pub struct Client {
    caller: Caller,
    number: u64,
    serial: u64,
    /// Workflows of late, the newest last, with the run if it is known.
    known: Vec<(String, String)>,
}

impl Client {
    /// The client of a number.
    #[must_use]
    pub fn new(caller: &Caller, number: u64) -> Client {
        Client {
            caller: caller.fork(number),
            number,
            serial: 0,
            known: Vec::new(),
        }
    }

    /// Calls until a moment.
    pub async fn run(mut self, until: Instant) {
        while Instant::now() < until {
            let pause = self.caller.around(self.caller.habits().pause);
            sleep(pause).await;
            let what = self.caller.chance().random_range(0..100);
            match what {
                _ if self.known.is_empty() => self.start(false).await,
                0..18 => self.start(false).await,
                18..24 => self.start(true).await,
                24..48 => self.signal().await,
                48..52 => self.cancel().await,
                52..55 => self.terminate().await,
                55..58 => self.reset().await,
                58..68 => self.update().await,
                68..76 => self.query().await,
                76..84 => self.describe().await,
                84..94 => self.history().await,
                _ => list(&self.caller).await,
            }
        }
    }

    fn next(&mut self, what: &str) -> String {
        self.serial += 1;
        format!("{what}-{}-{}", self.number, self.serial)
    }

    fn one(&self) -> (String, String) {
        let at = self.caller.chance().random_range(0..self.known.len());
        self.known[at].clone()
    }

    fn script(&self) -> String {
        const SCRIPTS: [&str; 10] = [
            "a1",
            "a2 a1",
            "a1 t1500 a1",
            "t800",
            "t4000 a1",
            "s1 a1",
            "x a1",
            "c a1",
            "a1 n a2",
            "a3 s2 t300",
        ];
        let at = self.caller.chance().random_range(0..SCRIPTS.len() + 2);
        match (SCRIPTS.get(at), self.known.last()) {
            (Some(script), _) => (*script).to_owned(),
            (None, Some((workflow_id, _))) => format!("e:{workflow_id} a1"),
            (None, None) => "a1 f".to_owned(),
        }
    }

    async fn start(&mut self, with_signal: bool) {
        let reused = !self.known.is_empty() && self.caller.happens(0.2);
        let workflow_id = match reused {
            true => self.one().0,
            false => self.next("order"),
        };
        let request_id = self.next("start");
        let signal = with_signal.then(|| self.next("signal"));
        let conflict = match self.caller.chance().random_range(0..4) {
            0 if !with_signal => WorkflowIdConflictPolicy::Fail,
            1 => WorkflowIdConflictPolicy::TerminateExisting,
            _ => WorkflowIdConflictPolicy::UseExisting,
        };
        let mut script = self.script();
        let run_timeout = self.caller.happens(0.1).then_some(RUN_TIMEOUT_SECONDS);
        // A retry of what was acknowledged changes nothing, until another run is the newest.
        let alone = !reused && !script.contains(" n");
        let mut repeats = self.caller.happens(0.15) && alone;
        for _ in 0..TRIES {
            let call = self.caller.asks(Asked::Start {
                workflow_id: workflow_id.clone(),
                request_id: request_id.clone(),
                signal: signal.clone(),
            });
            let answer = match &signal {
                None => {
                    let ids = [workflow_id.as_str(), &request_id];
                    self.start_once(ids, conflict, &script, run_timeout).await
                }
                Some(signal) => {
                    self.signal_with_start_once(&workflow_id, &request_id, signal, &script)
                        .await
                }
            };
            let again = match &answer {
                Ok(_) => std::mem::take(&mut repeats),
                Err(failed) => matches!(failed, Failed::Unknown(_)),
            };
            if let Ok(run_id) = &answer {
                // From now on the request stands: another body changes nothing.
                script = repeated(&script);
                self.known.push((workflow_id.clone(), run_id.clone()));
                self.known.drain(..self.known.len().saturating_sub(KNOWN));
            }
            self.caller.answered(call, answer.map(Answer::Run).into());
            if !again {
                return;
            }
            sleep(PAUSE).await;
        }
    }

    async fn start_once(
        &self,
        [workflow_id, request_id]: [&str; 2],
        conflict: WorkflowIdConflictPolicy,
        script: &str,
        run_timeout: Option<i64>,
    ) -> Result<String, Failed> {
        let request = wire::StartWorkflowExecutionRequest {
            namespace: NAMESPACE.into(),
            workflow_id: workflow_id.into(),
            workflow_type: order(),
            task_queue: queue(),
            input: payload(script),
            workflow_run_timeout: run_timeout.and_then(seconds),
            workflow_task_timeout: seconds(3),
            request_id: request_id.into(),
            workflow_id_reuse_policy: WorkflowIdReusePolicy::AllowDuplicate.into(),
            workflow_id_conflict_policy: conflict.into(),
            ..Default::default()
        };
        let started = self.caller.call(ANSWER, |node| async move {
            let request = timed(request, ANSWER);
            node.start_workflow_execution(request).await
        });
        Ok(started.await?.run_id)
    }

    async fn signal_with_start_once(
        &self,
        workflow_id: &str,
        request_id: &str,
        signal: &str,
        script: &str,
    ) -> Result<String, Failed> {
        let request = wire::SignalWithStartWorkflowExecutionRequest {
            namespace: NAMESPACE.into(),
            workflow_id: workflow_id.into(),
            workflow_type: order(),
            task_queue: queue(),
            input: payload(script),
            workflow_task_timeout: seconds(3),
            request_id: request_id.into(),
            signal_name: signal.into(),
            ..Default::default()
        };
        let started = self.caller.call(ANSWER, |node| async move {
            let request = timed(request, ANSWER);
            node.signal_with_start_workflow_execution(request).await
        });
        Ok(started.await?.run_id)
    }

    async fn signal(&mut self) {
        let (workflow_id, _) = self.one();
        let signal = self.next("signal");
        signal_until_known(&self.caller, &workflow_id, &signal).await;
        // A retry of what was acknowledged changes nothing.
        if self.caller.happens(0.1) {
            signal_until_known(&self.caller, &workflow_id, &signal).await;
        }
    }

    async fn cancel(&mut self) {
        let (workflow_id, _) = self.one();
        let call = self.caller.asks(Asked::Cancel {
            workflow_id: workflow_id.clone(),
        });
        let request = wire::RequestCancelWorkflowExecutionRequest {
            namespace: NAMESPACE.into(),
            workflow_execution: execution(&workflow_id, ""),
            request_id: self.next("cancel"),
            ..Default::default()
        };
        let answer = self.caller.call(ANSWER, |node| async move {
            let request = timed(request, ANSWER);
            node.request_cancel_workflow_execution(request).await
        });
        let outcome = answer.await.map(|_| Answer::Done).into();
        self.caller.answered(call, outcome);
    }

    async fn terminate(&mut self) {
        let (workflow_id, run_id) = self.one();
        let call = self.caller.asks(Asked::Terminate {
            workflow_id: workflow_id.clone(),
            run_id: run_id.clone(),
        });
        let request = wire::TerminateWorkflowExecutionRequest {
            namespace: NAMESPACE.into(),
            workflow_execution: execution(&workflow_id, &run_id),
            ..Default::default()
        };
        let answer = self.caller.call(ANSWER, |node| async move {
            let request = timed(request, ANSWER);
            node.terminate_workflow_execution(request).await
        });
        let outcome = answer.await.map(|_| Answer::Done).into();
        self.caller.answered(call, outcome);
    }

    async fn reset(&mut self) {
        let (workflow_id, run_id) = self.one();
        let request_id = self.next("reset");
        for _ in 0..TRIES {
            let call = self.caller.asks(Asked::Reset {
                workflow_id: workflow_id.clone(),
                run_id: run_id.clone(),
                request_id: request_id.clone(),
            });
            let request = wire::ResetWorkflowExecutionRequest {
                namespace: NAMESPACE.into(),
                workflow_execution: execution(&workflow_id, &run_id),
                reason: "by chance".into(),
                // The first workflow task: scheduled 2, started 3, completed 4.
                workflow_task_finish_event_id: 4,
                request_id: request_id.clone(),
                ..Default::default()
            };
            let answer = self.caller.call(ANSWER, |node| async move {
                let request = timed(request, ANSWER);
                node.reset_workflow_execution(request).await
            });
            let answer = answer.await;
            let again = matches!(answer, Err(Failed::Unknown(_)));
            let outcome = answer.map(|reset| Answer::Run(reset.run_id)).into();
            self.caller.answered(call, outcome);
            if !again {
                return;
            }
            sleep(PAUSE).await;
        }
    }

    async fn update(&mut self) {
        let (workflow_id, _) = self.one();
        let update_id = self.next("update");
        for _ in 0..2 {
            let call = self.caller.asks(Asked::Update {
                workflow_id: workflow_id.clone(),
                update_id: update_id.clone(),
            });
            let request = update_request(&workflow_id, &update_id);
            let answer = self.caller.call(UPDATE, |node| async move {
                let request = timed(request, UPDATE);
                node.update_workflow_execution(request).await
            });
            let answer = answer.await;
            let again = matches!(answer, Err(Failed::Unknown(_)));
            self.caller.answered(call, answer.map(updated).into());
            if !again {
                return;
            }
            sleep(PAUSE).await;
        }
    }

    async fn query(&mut self) {
        let (workflow_id, _) = self.one();
        let call = self.caller.asks(Asked::Query {
            workflow_id: workflow_id.clone(),
        });
        let request = wire::QueryWorkflowRequest {
            namespace: NAMESPACE.into(),
            execution: execution(&workflow_id, ""),
            query: Some(WorkflowQuery {
                query_type: "seen".into(),
                ..WorkflowQuery::default()
            }),
            ..Default::default()
        };
        let answer = self.caller.call(QUERY, |node| async move {
            let request = timed(request, QUERY);
            node.query_workflow(request).await
        });
        let signals = |answer: wire::QueryWorkflowResponse| {
            let answer = text(answer.query_result.as_ref());
            let mut words = answer.split('|').map(str::to_owned);
            Answer::Signals {
                run_id: words.next().unwrap_or_default(),
                signals: words.filter(|word| !word.is_empty()).collect(),
            }
        };
        let outcome = answer.await.map(signals).into();
        self.caller.answered(call, outcome);
    }

    /// Reads the beginning of a history, at any node.
    async fn history(&mut self) {
        let (workflow_id, run_id) = self.one();
        let call = self.caller.asks(Asked::History {
            workflow_id: workflow_id.clone(),
            run_id: run_id.clone(),
        });
        let request = wire::GetWorkflowExecutionHistoryRequest {
            namespace: NAMESPACE.into(),
            execution: execution(&workflow_id, &run_id),
            ..Default::default()
        };
        let answer = self.caller.call(ANSWER, |node| async move {
            let request = timed(request, ANSWER);
            node.get_workflow_execution_history(request).await
        });
        let read = |page: wire::GetWorkflowExecutionHistoryResponse| {
            let mut events = History::decode(page.history).unwrap_or_default().events;
            // A task that is under way is shown, and leaves no trace when it comes to nothing.
            while events.last().is_some_and(is_of_task) {
                events.pop();
            }
            Answer::Events {
                run_id: run_id.clone(),
                events: events.len(),
                history: hash_of(&events),
            }
        };
        let outcome = answer.await.map(read).into();
        self.caller.answered(call, outcome);
    }

    async fn describe(&mut self) {
        let (workflow_id, _) = self.one();
        let call = self.caller.asks(Asked::Describe {
            workflow_id: workflow_id.clone(),
        });
        let request = wire::DescribeWorkflowExecutionRequest {
            namespace: NAMESPACE.into(),
            execution: execution(&workflow_id, ""),
        };
        let answer = self.caller.call(ANSWER, |node| async move {
            let request = timed(request, ANSWER);
            node.describe_workflow_execution(request).await
        });
        let status = |described: wire::DescribeWorkflowExecutionResponse| {
            let info = described.workflow_execution_info.unwrap_or_default();
            Answer::Status {
                run_id: info.execution.unwrap_or_default().run_id,
                status: info.status,
            }
        };
        let outcome = answer.await.map(status).into();
        self.caller.answered(call, outcome);
    }
}

fn is_of_task(event: &HistoryEvent) -> bool {
    matches!(
        event.attributes,
        Some(
            Event::WorkflowTaskScheduledEventAttributes(_)
                | Event::WorkflowTaskStartedEventAttributes(_)
        )
    )
}

fn update_request(workflow_id: &str, update_id: &str) -> wire::UpdateWorkflowExecutionRequest {
    wire::UpdateWorkflowExecutionRequest {
        namespace: NAMESPACE.into(),
        workflow_execution: execution(workflow_id, ""),
        wait_policy: Some(WaitPolicy {
            lifecycle_stage: Stage::Completed.into(),
        }),
        request: Some(UpdateRequest {
            meta: Some(Meta {
                update_id: update_id.into(),
                identity: "client".into(),
            }),
            input: Some(Input {
                name: "set".into(),
                ..Input::default()
            }),
            ..UpdateRequest::default()
        }),
        ..Default::default()
    }
}

fn updated(response: wire::UpdateWorkflowExecutionResponse) -> Answer {
    let run = response.update_ref.and_then(|it| it.workflow_execution);
    let completed = response.stage == i32::from(Stage::Completed);
    let failed = response.outcome.and_then(|outcome| outcome.value);
    let failed = matches!(failed, Some(Value::Failure(_)));
    Answer::Updated {
        run_id: run.unwrap_or_default().run_id,
        accepted: response.stage >= i32::from(Stage::Accepted) && !failed,
        completed: completed && !failed,
    }
}

async fn signal_until_known(caller: &Caller, workflow_id: &str, signal: &str) {
    for _ in 0..TRIES {
        let call = caller.asks(Asked::Signal {
            workflow_id: workflow_id.to_owned(),
            signal: signal.to_owned(),
        });
        let request = wire::SignalWorkflowExecutionRequest {
            namespace: NAMESPACE.into(),
            workflow_execution: execution(workflow_id, ""),
            signal_name: signal.into(),
            request_id: signal.into(),
            ..Default::default()
        };
        let answer = caller.call(ANSWER, |node| async move {
            let request = timed(request, ANSWER);
            node.signal_workflow_execution(request).await
        });
        let answer = answer.await;
        let again = matches!(answer, Err(Failed::Unknown(_)));
        caller.answered(call, answer.map(|_| Answer::Done).into());
        if !again {
            return;
        }
        sleep(PAUSE).await;
    }
}

/// All runs, or those that a query selects; `None` when a page did not come.
async fn rows(caller: &Caller, query: &str) -> Result<Vec<(WorkflowExecution, i32)>, Failed> {
    let mut rows = Vec::new();
    let mut next = prost::bytes::Bytes::new();
    loop {
        let request = wire::ListWorkflowExecutionsRequest {
            namespace: NAMESPACE.into(),
            page_size: PAGE,
            next_page_token: next,
            query: query.into(),
        };
        let page = caller.call(ANSWER, |node| async move {
            let request = timed(request, ANSWER);
            node.list_workflow_executions(request).await
        });
        let page = page.await?;
        for info in page.executions {
            rows.push((info.execution.unwrap_or_default(), info.status));
        }
        next = page.next_page_token;
        if next.is_empty() {
            return Ok(rows);
        }
    }
}

async fn list(caller: &Caller) {
    let call = caller.asks(Asked::List);
    let by_run = |rows: Vec<(WorkflowExecution, i32)>| {
        let rows = rows.into_iter().map(|(run, status)| (run.run_id, status));
        Answer::Rows(rows.collect::<BTreeMap<_, _>>())
    };
    let outcome: Outcome = rows(caller, "").await.map(by_run).into();
    caller.answered(call, outcome);
}

/// Signals whatever is still open until nothing is, or until a moment; how many are open then.
/// `None`: nobody could tell.
pub async fn drain(caller: &Caller, until: Instant) -> Option<usize> {
    let mut open = None;
    let mut serial = 0;
    while Instant::now() < until {
        if let Ok(rows) = rows(caller, "").await {
            let running = i32::from(WorkflowExecutionStatus::Running);
            let running = rows.iter().filter(|(_, status)| *status == running);
            let running: Vec<_> = running.map(|(run, _)| run.workflow_id.clone()).collect();
            open = Some(running.len());
            if running.is_empty() {
                return open;
            }
            for workflow_id in running {
                serial += 1;
                signal_until_known(caller, &workflow_id, &format!("drain-{serial}")).await;
            }
        }
        sleep(Duration::from_secs(2)).await;
    }
    open
}

/// A run as the list shows it: workflow id, run id, status.
pub type Row = ((String, String), i32);

/// All runs, asked for until they are listed; for ten seconds and as many calls at most.
///
/// # Errors
/// When no list was answered.
pub async fn all_rows(caller: &Caller) -> Result<Vec<Row>, Violation> {
    for _ in 0..20 {
        if let Ok(rows) = rows(caller, "").await {
            let row =
                |(run, status): (WorkflowExecution, i32)| ((run.workflow_id, run.run_id), status);
            return Ok(rows.into_iter().map(row).collect());
        }
        sleep(Duration::from_millis(500)).await;
    }
    Err(Violation::new("work_ends", "no list at the end"))
}
