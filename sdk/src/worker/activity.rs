//! Activities as a worker runs them: heartbeats, cancellation, answers.

use crate::client::{Client, may_retry};
use crate::converter::{Arguments, Value};
use crate::duration::{or_zero, time_or_epoch};
use crate::failure::{Failure, FailureKind, Result};
use crate::worker::registry::AnyActivity;
use prost::bytes::Bytes;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};
use steadfast_proto::temporal::common::v1::{
    Payload, Payloads, Priority, RetryPolicy, WorkflowExecution,
};
use steadfast_proto::temporal::workflowservice::v1 as wire;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tonic::Code;

/// The longest pause between heartbeats that are sent, as of all SDKs.
const HEARTBEAT_LONGEST: Duration = Duration::from_secs(60);
/// The pause where the activity has no heartbeat time-out.
const HEARTBEAT_USUAL: Duration = Duration::from_secs(30);
/// How long an answer is tried for when the server cannot be reached.
const ANSWER_LIMIT: Duration = Duration::from_secs(300);

/// What an activity can know of itself.
#[derive(Debug, Clone)]
pub struct ActivityInfo {
    /// Where its workflow lives.
    pub namespace: String,
    /// Its workflow.
    pub workflow_execution: WorkflowExecution,
    /// The type of its workflow.
    pub workflow_type: String,
    /// Names it in its workflow.
    pub activity_id: String,
    /// Its type.
    pub activity_type: String,
    /// The first attempt has 1.
    pub attempt: i32,
    /// When it was asked for.
    pub scheduled_time: SystemTime,
    /// When this attempt began.
    pub started_time: SystemTime,
    /// Over all attempts; zero for none.
    pub schedule_to_close_timeout: Duration,
    /// For this attempt; zero for none.
    pub start_to_close_timeout: Duration,
    /// Between two heartbeats; zero for none.
    pub heartbeat_timeout: Duration,
    /// What the last attempt reported.
    pub heartbeat_details: Vec<Payload>,
    /// How it is tried again.
    pub retry_policy: Option<RetryPolicy>,
    /// Which task comes first.
    pub priority: Option<Priority>,
    /// Runs without a task of its own.
    pub is_local: bool,
    /// What others complete it by; empty for a local one.
    pub task_token: Bytes,
}

/// What an activity talks to its worker with. Clones are the same.
#[derive(Debug, Clone)]
pub struct ActivityContext {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    info: ActivityInfo,
    client: Option<Client>,
    canceled: CancellationToken,
    reason: Mutex<Option<CancelReason>>,
    /// What was reported last and not sent yet.
    details: Mutex<Option<Vec<Payload>>>,
    reported: Notify,
    completes_later: AtomicBool,
}

/// Why an activity should end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CancelReason {
    /// Its workflow asked for it.
    Requested,
    /// The server does not know it any more: it timed out, or its workflow has ended.
    NotFound,
    /// An operator paused it.
    Paused,
    /// An operator reset it.
    Reset,
    /// The worker ends.
    WorkerShutdown,
    /// It took longer than it may.
    TimedOut,
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl ActivityContext {
    pub(crate) fn new(info: ActivityInfo, client: Option<Client>) -> Self {
        let shared = Shared {
            info,
            client,
            canceled: CancellationToken::new(),
            reason: Mutex::new(None),
            details: Mutex::new(None),
            reported: Notify::new(),
            completes_later: AtomicBool::new(false),
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    /// What the activity can know of itself.
    pub fn info(&self) -> &ActivityInfo {
        &self.shared.info
    }

    /// The worker's client.
    pub fn client(&self) -> Option<&Client> {
        self.shared.client.as_ref()
    }

    /// Reports that it is alive, and how far it has come. What is reported too often is not sent;
    /// the last of it is, before the next pause ends.
    ///
    /// # Errors
    /// When the details cannot be converted.
    pub fn heartbeat<T: Arguments>(&self, details: T) -> Result<()> {
        let converter = match &self.shared.client {
            Some(client) => client.data_converter().converter().clone(),
            None => crate::converter::Converter::default(),
        };
        *lock(&self.shared.details) = Some(details.to_payloads(&converter)?);
        self.shared.reported.notify_one();
        Ok(())
    }

    /// What the last attempt reported; nothing when it reported nothing.
    ///
    /// # Errors
    /// When it is of another type.
    pub fn heartbeat_details<T: Value>(&self) -> Result<Option<T>> {
        let Some(payload) = self.shared.info.heartbeat_details.first() else {
            return Ok(None);
        };
        let converter = match &self.shared.client {
            Some(client) => client.data_converter().converter().clone(),
            None => crate::converter::Converter::default(),
        };
        Ok(Some(converter.from_payload(payload)?))
    }

    /// Waits until it should end. Only an activity that reports hears of it, as everywhere with
    /// Temporal; the end of the worker is heard by all.
    pub async fn canceled(&self) -> CancelReason {
        self.shared.canceled.cancelled().await;
        self.cancel_reason().unwrap_or(CancelReason::Requested)
    }

    /// It should end.
    pub fn is_canceled(&self) -> bool {
        self.shared.canceled.is_cancelled()
    }

    /// Why it should end; nothing while it should not.
    pub fn cancel_reason(&self) -> Option<CancelReason> {
        *lock(&self.shared.reason)
    }

    /// What the activity gives is not its answer: somebody else completes it, by this token.
    pub fn complete_later(&self) -> Bytes {
        self.shared.completes_later.store(true, Ordering::SeqCst);
        self.shared.info.task_token.clone()
    }

    pub(crate) fn cancel(&self, reason: CancelReason) {
        lock(&self.shared.reason).get_or_insert(reason);
        self.shared.canceled.cancel();
    }

    pub(crate) fn is_same(&self, other: &ActivityContext) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared)
    }

    fn completes_later(&self) -> bool {
        self.shared.completes_later.load(Ordering::SeqCst)
    }
}

pub(crate) fn info_of(task: &wire::PollActivityTaskQueueResponse) -> ActivityInfo {
    ActivityInfo {
        namespace: task.workflow_namespace.clone(),
        workflow_execution: task.workflow_execution.clone().unwrap_or_default(),
        workflow_type: task.workflow_type.clone().unwrap_or_default().name,
        activity_id: task.activity_id.clone(),
        activity_type: task.activity_type.clone().unwrap_or_default().name,
        attempt: task.attempt,
        scheduled_time: time_or_epoch(task.scheduled_time),
        started_time: time_or_epoch(task.started_time),
        schedule_to_close_timeout: or_zero(task.schedule_to_close_timeout),
        start_to_close_timeout: or_zero(task.start_to_close_timeout),
        heartbeat_timeout: or_zero(task.heartbeat_timeout),
        heartbeat_details: task.heartbeat_details.clone().unwrap_or_default().payloads,
        retry_policy: task.retry_policy.clone(),
        priority: task.priority.clone(),
        is_local: false,
        task_token: task.task_token.clone(),
    }
}

/// Runs the code of an activity; a panic is a failure that may be tried again.
pub(crate) async fn run(
    code: AnyActivity,
    context: ActivityContext,
    input: Vec<Payload>,
    data: crate::DataConverter,
) -> Result<Option<Payload>> {
    let running = tokio::spawn(code(context, input, data));
    match running.await {
        Ok(result) => result,
        Err(error) if error.is_panic() => {
            let panic = error.into_panic();
            let words = panic
                .downcast_ref::<String>()
                .cloned()
                .or_else(|| {
                    panic
                        .downcast_ref::<&str>()
                        .map(|words| (*words).to_string())
                })
                .unwrap_or_else(|| "without words".to_string());
            Err(Failure::application(
                "Panic",
                format!("the activity panicked: {words}"),
            ))
        }
        Err(_) => Err(Failure::canceled("the activity was ended with its worker")),
    }
}

/// Runs a task and answers it. The answer is tried until the activity's time is over.
pub(crate) async fn perform(
    client: Client,
    mut task: wire::PollActivityTaskQueueResponse,
    code: Result<AnyActivity, Failure>,
    context: ActivityContext,
) {
    let data = client.data_converter().clone();
    if let Err(error) = data.decode(&mut task).await {
        let failure = Failure::application("CodecError", error.to_string());
        return answer(&client, &context, Err(failure)).await;
    }
    let code = match code {
        Ok(code) => code,
        Err(failure) => return answer(&client, &context, Err(failure)).await,
    };
    let input = task.input.clone().unwrap_or_default().payloads;
    let beating = tokio::spawn(heartbeats(client.clone(), context.clone()));
    let limit = context.info().start_to_close_timeout;
    let watching = tokio::spawn(time_out(context.clone(), limit));
    let result = run(code, context.clone(), input, data).await;
    beating.abort();
    watching.abort();
    if context.completes_later() && result.is_ok() {
        return;
    }
    answer(&client, &context, result).await;
}

/// Tells the activity when its time is over: the server has given it up then.
async fn time_out(context: ActivityContext, limit: Duration) {
    if !limit.is_zero() {
        tokio::time::sleep(limit).await;
        context.cancel(CancelReason::TimedOut);
    }
}

/// Sends what is reported, at most once in a pause, and hears of cancellation.
async fn heartbeats(client: Client, context: ActivityContext) {
    let timeout = context.info().heartbeat_timeout;
    let pause = match timeout.is_zero() {
        true => HEARTBEAT_USUAL,
        false => timeout.mul_f64(0.8).min(HEARTBEAT_LONGEST),
    };
    loop {
        context.shared.reported.notified().await;
        let details = lock(&context.shared.details).take();
        let Some(payloads) = details else {
            continue;
        };
        let mut request = wire::RecordActivityTaskHeartbeatRequest {
            task_token: context.info().task_token.clone(),
            details: Some(Payloads { payloads }),
            identity: client.raw().identity().to_string(),
            namespace: client.raw().namespace().to_string(),
            ..Default::default()
        };
        if let Err(error) = client.data_converter().encode(&mut request).await {
            tracing::warn!(%error, "a heartbeat cannot be encoded");
            continue;
        }
        let limit = pause.max(Duration::from_secs(1));
        let sent = client.raw().call(limit, |mut service| {
            let request = request.clone();
            async move { service.record_activity_task_heartbeat(request).await }
        });
        match sent.await {
            Ok(answer) if answer.cancel_requested => context.cancel(CancelReason::Requested),
            Ok(answer) if answer.activity_paused => context.cancel(CancelReason::Paused),
            Ok(answer) if answer.activity_reset => context.cancel(CancelReason::Reset),
            Ok(_) => {}
            Err(status) if status.code() == Code::NotFound => {
                context.cancel(CancelReason::NotFound);
            }
            Err(status) => tracing::debug!(%status, "a heartbeat was not taken"),
        }
        tokio::time::sleep(pause).await;
    }
}

/// Answers a task. One that the server does not know any more is over.
async fn answer(client: &Client, context: &ActivityContext, result: Result<Option<Payload>>) {
    let limit = match context.info().start_to_close_timeout {
        Duration::ZERO => ANSWER_LIMIT,
        limit => limit.min(ANSWER_LIMIT),
    };
    let sent = match result {
        Ok(result) => completed(client, context, result, limit).await,
        Err(failure) if is_cancellation(context, &failure) => {
            canceled(client, context, &failure, limit).await
        }
        Err(failure) => failed(client, context, &failure, limit).await,
    };
    let info = context.info();
    match sent {
        Ok(()) => {}
        Err(status) if status.code() == Code::NotFound => {
            tracing::debug!(
                activity_type = info.activity_type,
                "the answer came too late"
            );
        }
        Err(status) if may_retry(&status) => tracing::warn!(
            activity_type = info.activity_type, %status,
            "the server did not take the answer in time; it will give the activity out again"
        ),
        Err(status) => tracing::warn!(
            activity_type = info.activity_type, %status, "the server refused the answer"
        ),
    }
}

fn is_cancellation(context: &ActivityContext, failure: &Failure) -> bool {
    let asked = context.cancel_reason() == Some(CancelReason::Requested);
    asked && matches!(failure.kind(), FailureKind::Canceled { .. })
}

async fn completed(
    client: &Client,
    context: &ActivityContext,
    result: Option<Payload>,
    limit: Duration,
) -> std::result::Result<(), tonic::Status> {
    let mut request = wire::RespondActivityTaskCompletedRequest {
        task_token: context.info().task_token.clone(),
        result: result.map(|payload| Payloads {
            payloads: vec![payload],
        }),
        identity: client.raw().identity().to_string(),
        namespace: client.raw().namespace().to_string(),
        ..Default::default()
    };
    if let Err(error) = client.data_converter().encode(&mut request).await {
        let failure = Failure::application("CodecError", error.to_string());
        return failed(client, context, &failure, limit).await;
    }
    let sent = client.raw().call(limit, |mut service| {
        let request = request.clone();
        async move { service.respond_activity_task_completed(request).await }
    });
    sent.await.map(drop)
}

async fn failed(
    client: &Client,
    context: &ActivityContext,
    failure: &Failure,
    limit: Duration,
) -> std::result::Result<(), tonic::Status> {
    let data = client.data_converter();
    let last = lock(&context.shared.details).take();
    let mut request = wire::RespondActivityTaskFailedRequest {
        task_token: context.info().task_token.clone(),
        failure: Some(data.to_wire(failure)),
        identity: client.raw().identity().to_string(),
        namespace: client.raw().namespace().to_string(),
        last_heartbeat_details: last.map(|payloads| Payloads { payloads }),
        ..Default::default()
    };
    if let Err(error) = data.encode(&mut request).await {
        // The failure itself is what counts.
        tracing::warn!(%error, "a failure cannot be encoded; its details are left out");
        let bare = Failure::application(failure.error_type().unwrap_or_default(), "");
        request.failure = Some(data.to_wire(&bare));
        request.last_heartbeat_details = None;
    }
    let sent = client.raw().call(limit, |mut service| {
        let request = request.clone();
        async move { service.respond_activity_task_failed(request).await }
    });
    sent.await.map(drop)
}

async fn canceled(
    client: &Client,
    context: &ActivityContext,
    failure: &Failure,
    limit: Duration,
) -> std::result::Result<(), tonic::Status> {
    let details = match failure.kind() {
        FailureKind::Canceled { details } if !details.is_empty() => Some(Payloads {
            payloads: details.clone(),
        }),
        _ => None,
    };
    let mut request = wire::RespondActivityTaskCanceledRequest {
        task_token: context.info().task_token.clone(),
        details,
        identity: client.raw().identity().to_string(),
        namespace: client.raw().namespace().to_string(),
        ..Default::default()
    };
    if client.data_converter().encode(&mut request).await.is_err() {
        request.details = None;
    }
    let sent = client.raw().call(limit, |mut service| {
        let request = request.clone();
        async move { service.respond_activity_task_canceled(request).await }
    });
    sent.await.map(drop)
}
