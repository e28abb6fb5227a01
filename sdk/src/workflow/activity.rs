//! Activities, as workflow code calls them.

use crate::converter::{Arguments, Value};
use crate::definition::Activity;
use crate::duration::to_wire;
use crate::executor::context::Context;
use crate::executor::local::LocalActivityRequest;
use crate::executor::operation::{CancellationType, Kind};
use crate::failure::Result;
use crate::workflow::{decode, waiting::Waiting};
use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{self, Poll};
use std::time::Duration;
use steadfast_proto::temporal::command::v1::ScheduleActivityTaskCommandAttributes;
use steadfast_proto::temporal::command::v1::command::Attributes;
use steadfast_proto::temporal::common::v1::{
    ActivityType, Payload, Payloads, Priority, RetryPolicy,
};
use steadfast_proto::temporal::taskqueue::v1::TaskQueue;

/// How an activity is to be run.
#[derive(Debug, Clone, Default)]
pub struct ActivityOptions {
    /// Names it; a number when not given.
    pub activity_id: Option<String>,
    /// Where it is run; where the workflow is when not given.
    pub task_queue: Option<String>,
    /// Over all attempts, from its request on.
    pub schedule_to_close_timeout: Option<Duration>,
    /// Until a worker has taken it.
    pub schedule_to_start_timeout: Option<Duration>,
    /// For one attempt.
    pub start_to_close_timeout: Option<Duration>,
    /// Between two heartbeats.
    pub heartbeat_timeout: Option<Duration>,
    /// How it is tried again; the server's own policy when not given.
    pub retry_policy: Option<RetryPolicy>,
    /// What a cancellation waits for.
    pub cancellation_type: CancellationType,
    /// Which task comes first.
    pub priority: Option<Priority>,
    /// A line for people.
    pub summary: Option<String>,
    /// Never handed to this worker with the answer of its request.
    pub disable_eager_execution: bool,
}

/// Asks for an activity when it is first polled. Needs a start-to-close or a schedule-to-close
/// time-out. Dropped before its end, the activity is cancelled.
///
/// # Errors
/// A [`crate::Failure`] of kind `Activity` whose cause says why: `Application`, `Timeout`, `Canceled`.
#[must_use = "nothing is asked for until it is awaited"]
pub struct ActivityCall<I, O> {
    name: String,
    input: Option<I>,
    options: ActivityOptions,
    waiting: Option<Waiting>,
    output: PhantomData<fn() -> O>,
}

impl<I, O> std::fmt::Debug for ActivityCall<I, O> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("ActivityCall")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// Calls an activity.
pub fn activity<I: Arguments, O: Value>(activity: Activity<I, O>, input: I) -> ActivityCall<I, O> {
    ActivityCall {
        name: activity.name().to_string(),
        input: Some(input),
        options: ActivityOptions::default(),
        waiting: None,
        output: PhantomData,
    }
}

impl<I: Arguments, O: Value> ActivityCall<I, O> {
    /// All options at once.
    pub fn options(mut self, options: ActivityOptions) -> Self {
        self.options = options;
        self
    }

    /// For one attempt.
    pub fn start_to_close(mut self, timeout: Duration) -> Self {
        self.options.start_to_close_timeout = Some(timeout);
        self
    }

    /// Over all attempts, from its request on.
    pub fn schedule_to_close(mut self, timeout: Duration) -> Self {
        self.options.schedule_to_close_timeout = Some(timeout);
        self
    }

    /// Until a worker has taken it.
    pub fn schedule_to_start(mut self, timeout: Duration) -> Self {
        self.options.schedule_to_start_timeout = Some(timeout);
        self
    }

    /// Between two heartbeats.
    pub fn heartbeat(mut self, timeout: Duration) -> Self {
        self.options.heartbeat_timeout = Some(timeout);
        self
    }

    /// How it is tried again.
    pub fn retry(mut self, policy: impl Into<RetryPolicy>) -> Self {
        self.options.retry_policy = Some(policy.into());
        self
    }

    /// Where it is run.
    pub fn task_queue(mut self, task_queue: impl Into<String>) -> Self {
        self.options.task_queue = Some(task_queue.into());
        self
    }

    /// Names it.
    pub fn id(mut self, activity_id: impl Into<String>) -> Self {
        self.options.activity_id = Some(activity_id.into());
        self
    }

    /// What a cancellation waits for.
    pub fn cancellation(mut self, cancellation_type: CancellationType) -> Self {
        self.options.cancellation_type = cancellation_type;
        self
    }

    /// A line for people.
    pub fn summary(mut self, summary: impl Into<String>) -> Self {
        self.options.summary = Some(summary.into());
        self
    }

    /// Asks for it now; the answer is awaited later.
    pub fn start(mut self) -> Self {
        self.begin();
        self
    }

    /// Asks it to end. Awaiting it goes on.
    pub fn cancel(&self) {
        if let Some(waiting) = &self.waiting {
            waiting.cancel();
        }
    }

    fn begin(&mut self) {
        let Some(input) = self.input.take() else {
            return;
        };
        let context = Context::current();
        let options = &self.options;
        let seq = {
            let mut state = context.state.borrow_mut();
            state.counters.activity += 1;
            state.counters.activity
        };
        let activity_id = options
            .activity_id
            .clone()
            .unwrap_or_else(|| seq.to_string());
        let payloads = match input.to_payloads(&context.converter) {
            Ok(payloads) => payloads,
            Err(error) => {
                self.waiting = Some(Waiting::new(context, Err(error.into())));
                return;
            }
        };
        let begun = context.begin(Kind::Activity {
            activity_id: activity_id.clone(),
            activity_type: self.name.clone(),
            scheduled_event_id: 0,
            cancellation: options.cancellation_type,
        });
        if let Ok(id) = begun {
            let summary = options.summary.as_ref();
            let summary = summary.and_then(|text| context.converter.to_payload(text).ok());
            let name = match &options.task_queue {
                Some(name) => name.clone(),
                None => context.state.borrow().info.task_queue.clone(),
            };
            let attributes = ScheduleActivityTaskCommandAttributes {
                activity_id,
                activity_type: Some(ActivityType {
                    name: self.name.clone(),
                }),
                use_workflow_build_id: options.task_queue.is_none(),
                task_queue: Some(TaskQueue {
                    name,
                    ..Default::default()
                }),
                header: None,
                input: some(payloads),
                schedule_to_close_timeout: options.schedule_to_close_timeout.map(to_wire),
                schedule_to_start_timeout: options.schedule_to_start_timeout.map(to_wire),
                start_to_close_timeout: options.start_to_close_timeout.map(to_wire),
                heartbeat_timeout: options.heartbeat_timeout.map(to_wire),
                retry_policy: options.retry_policy.clone(),
                request_eager_execution: !options.disable_eager_execution,
                priority: options.priority.clone(),
            };
            let attributes = Attributes::ScheduleActivityTaskCommandAttributes(attributes);
            context.issue_with(Some(id), attributes, summary);
        }
        self.waiting = Some(Waiting::new(context, begun));
    }
}

/// Payloads as messages have them: absent when there are none.
pub(crate) fn some(payloads: Vec<Payload>) -> Option<Payloads> {
    (!payloads.is_empty()).then_some(Payloads { payloads })
}

impl<I: Arguments + Unpin, O: Value> Future for ActivityCall<I, O> {
    type Output = Result<O>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<Result<O>> {
        self.begin();
        let Some(waiting) = &mut self.waiting else {
            return Poll::Pending;
        };
        Pin::new(waiting).poll(cx).map(|result| decode(result?))
    }
}

/// How a local activity is to be run.
#[derive(Debug, Clone, Default)]
pub struct LocalActivityOptions {
    /// Over all attempts, from its request on.
    pub schedule_to_close_timeout: Option<Duration>,
    /// Until it is begun.
    pub schedule_to_start_timeout: Option<Duration>,
    /// For one attempt.
    pub start_to_close_timeout: Option<Duration>,
    /// How it is tried again.
    pub retry_policy: Option<RetryPolicy>,
    /// A longer wait for the next attempt is a timer of the workflow; a minute when not given.
    pub local_retry_threshold: Option<Duration>,
    /// What a cancellation waits for.
    pub cancellation_type: CancellationType,
}

/// Runs a short activity in this worker, without a task of its own: quicker, but its attempts are not
/// in the history, and a lost worker runs it again.
#[must_use = "nothing is run until it is awaited"]
pub struct LocalActivityCall<I, O> {
    name: String,
    input: Option<I>,
    options: LocalActivityOptions,
    request: Option<LocalActivityRequest>,
    waiting: Option<Waiting>,
    /// Until the next attempt.
    backoff: Option<Waiting>,
    output: PhantomData<fn() -> O>,
}

impl<I, O> std::fmt::Debug for LocalActivityCall<I, O> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("LocalActivityCall")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// Calls an activity in this worker.
pub fn local_activity<I: Arguments, O: Value>(
    activity: Activity<I, O>,
    input: I,
) -> LocalActivityCall<I, O> {
    LocalActivityCall {
        name: activity.name().to_string(),
        input: Some(input),
        options: LocalActivityOptions::default(),
        request: None,
        waiting: None,
        backoff: None,
        output: PhantomData,
    }
}

/// The longest wait for the next attempt that a worker holds a workflow task for.
const LOCAL_RETRY_THRESHOLD: Duration = Duration::from_secs(60);

impl<I: Arguments, O: Value> LocalActivityCall<I, O> {
    /// All options at once.
    pub fn options(mut self, options: LocalActivityOptions) -> Self {
        self.options = options;
        self
    }

    /// For one attempt.
    pub fn start_to_close(mut self, timeout: Duration) -> Self {
        self.options.start_to_close_timeout = Some(timeout);
        self
    }

    /// Over all attempts, from its request on.
    pub fn schedule_to_close(mut self, timeout: Duration) -> Self {
        self.options.schedule_to_close_timeout = Some(timeout);
        self
    }

    /// How it is tried again.
    pub fn retry(mut self, policy: impl Into<RetryPolicy>) -> Self {
        self.options.retry_policy = Some(policy.into());
        self
    }

    fn begin(&mut self) {
        let Some(input) = self.input.take() else {
            return;
        };
        let context = Context::current();
        let payloads = match input.to_payloads(&context.converter) {
            Ok(payloads) => payloads,
            Err(error) => {
                self.waiting = Some(Waiting::new(context, Err(error.into())));
                return;
            }
        };
        let options = &self.options;
        let threshold = options.local_retry_threshold;
        let request = LocalActivityRequest {
            seq: 0,
            activity_id: String::new(),
            activity_type: self.name.clone(),
            input: payloads,
            schedule_to_close_timeout: options.schedule_to_close_timeout.unwrap_or_default(),
            schedule_to_start_timeout: options.schedule_to_start_timeout.unwrap_or_default(),
            start_to_close_timeout: options.start_to_close_timeout.unwrap_or_default(),
            retry_policy: options.retry_policy.clone(),
            local_retry_threshold: threshold.unwrap_or(LOCAL_RETRY_THRESHOLD),
            attempt: 1,
            original_schedule_time: context.state.borrow().now,
        };
        self.ask(request);
    }

    fn ask(&mut self, mut request: LocalActivityRequest) {
        let context = Context::current();
        request.seq = {
            let mut state = context.state.borrow_mut();
            state.counters.activity += 1;
            state.counters.activity
        };
        if request.activity_id.is_empty() {
            request.activity_id = request.seq.to_string();
        }
        let begun = context.begin(Kind::LocalActivity {
            seq: request.seq,
            activity_type: self.name.clone(),
            cancellation: self.options.cancellation_type,
        });
        if let Ok(id) = begun {
            let mut state = context.state.borrow_mut();
            state.local_requests.push((id, request.clone()));
        }
        self.request = Some(request);
        self.waiting = Some(Waiting::new(context, begun));
    }
}

impl<I: Arguments + Unpin, O: Value> Future for LocalActivityCall<I, O> {
    type Output = Result<O>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<Result<O>> {
        self.begin();
        loop {
            if let Some(backoff) = &mut self.backoff {
                match Pin::new(backoff).poll(cx) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(Err(canceled)) => return Poll::Ready(Err(canceled)),
                    Poll::Ready(Ok(_)) => {
                        self.backoff = None;
                        let request = self.request.clone().expect("it was asked for");
                        self.ask(request);
                    }
                }
            }
            let Some(waiting) = &mut self.waiting else {
                return Poll::Pending;
            };
            let id = waiting.id();
            let Poll::Ready(result) = Pin::new(waiting).poll(cx) else {
                return Poll::Pending;
            };
            let context = Context::current();
            let backoff = id.and_then(|id| context.state.borrow_mut().backoffs.remove(&id));
            let Some(backoff) = backoff else {
                return Poll::Ready(result.and_then(decode));
            };
            if let Some(request) = &mut self.request {
                request.attempt = backoff.attempt;
                request.original_schedule_time = backoff.original_schedule_time;
            }
            self.backoff = Some(crate::workflow::start_timer(backoff.delay, None));
        }
    }
}
