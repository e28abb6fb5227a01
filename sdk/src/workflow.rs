//! What workflow code is written with.
//!
//! Workflow code is ordinary `async` Rust that waits for nothing but what this module gives: timers,
//! activities, children, conditions, and joins and selects of them. It is run again from its history
//! whenever a worker needs it, so it must do the same each time: no clock, chance, threads or I/O but
//! those of this module and of activities.
//!
//! As always in Rust, a call does nothing until it is awaited, and what is dropped is cancelled: the
//! loser of a [`select!`](crate::workflow::select) does not go on in the dark.

pub mod activity;
pub mod child;
pub mod definition;
mod info;
pub mod scope;
mod waiting;

pub use crate::executor::{CancellationType, ChildCancellationType};
pub use crate::select;
pub use activity::{ActivityOptions, LocalActivityOptions, activity, local_activity};
pub use child::{ChildHandle, ChildOptions, child, external};
pub use definition::{Handlers, Shared, WorkflowImpl};
pub use futures::future::{join_all, try_join_all};
pub use futures::{join, try_join};
pub use info::Info;
pub use scope::{CancelHandle, canceled, cancellable, is_canceled, shielded, spawn, timeout};

use crate::converter::{Arguments, Value};
use crate::duration::to_wire;
use crate::executor::context::Context;
use crate::executor::operation::Kind;
use crate::executor::patch;
use crate::failure::{Failure, FailureKind, Result};
use rand::{Rng, RngCore};
use std::collections::BTreeMap;
use std::future::Future;
use std::time::{Duration, SystemTime};
use steadfast_proto::temporal::command::v1::command::Attributes;
use steadfast_proto::temporal::command::v1::{
    ContinueAsNewWorkflowExecutionCommandAttributes, ModifyWorkflowPropertiesCommandAttributes,
    StartTimerCommandAttributes, UpsertWorkflowSearchAttributesCommandAttributes,
};
use steadfast_proto::temporal::common::v1::{
    Memo, Payload, RetryPolicy, SearchAttributes, WorkflowType,
};
use steadfast_proto::temporal::taskqueue::v1::TaskQueue;
use waiting::{WaitCondition, Waiting};

/// Reads a result; `()` is read from nothing.
pub(crate) fn decode<O: Value>(payloads: Vec<Payload>) -> Result<O> {
    let context = Context::current();
    Ok(O::from_payloads(&context.converter, payloads)?)
}

fn start_timer(after: Duration, summary: Option<String>) -> Waiting {
    let context = Context::current();
    let timer_id = {
        let mut state = context.state.borrow_mut();
        state.counters.timer += 1;
        state.counters.timer.to_string()
    };
    let begun = context.begin(Kind::Timer {
        timer_id: timer_id.clone(),
    });
    if let Ok(id) = begun {
        let attributes = StartTimerCommandAttributes {
            timer_id,
            start_to_fire_timeout: Some(to_wire(after)),
        };
        let summary = summary.and_then(|text| context.converter.to_payload(&text).ok());
        let attributes = Attributes::StartTimerCommandAttributes(attributes);
        context.issue_with(Some(id), attributes, summary);
    }
    Waiting::new(context, begun)
}

/// Waits, if need be for years. Dropped before, the timer is cancelled.
///
/// # Errors
/// When the scope is cancelled first.
pub async fn sleep(duration: Duration) -> Result<()> {
    start_timer(duration, None).await.map(drop)
}

/// The same with a line for people.
///
/// # Errors
/// As [`sleep`].
pub async fn sleep_with_summary(duration: Duration, summary: impl Into<String>) -> Result<()> {
    start_timer(duration, Some(summary.into())).await.map(drop)
}

/// Waits until a condition is met. It is asked whenever something has happened, and must only look.
///
/// # Errors
/// When the scope is cancelled first.
pub fn wait_condition(is_met: impl FnMut() -> bool + 'static) -> impl Future<Output = Result<()>> {
    WaitCondition::new(Box::new(is_met))
}

/// The time of the current workflow task: the same when it is replayed.
pub fn now() -> SystemTime {
    Context::current().state.borrow().now
}

/// What the workflow can know of itself.
pub fn info() -> Info {
    Context::current().state.borrow().info.clone()
}

/// The history is being replayed: nothing that is seen outside of the workflow should be done now.
pub fn is_replaying() -> bool {
    Context::current().state.borrow().replaying
}

/// A random number: the same when it is replayed.
pub fn random<T>() -> T
where
    rand::distr::StandardUniform: rand::distr::Distribution<T>,
{
    Context::current().state.borrow_mut().random.random()
}

/// A random number of a range: the same when it is replayed.
pub fn random_range<T, R>(range: R) -> T
where
    T: rand::distr::uniform::SampleUniform,
    R: rand::distr::uniform::SampleRange<T>,
{
    let context = Context::current();
    context.state.borrow_mut().random.random_range(range)
}

/// A random UUID: the same when it is replayed.
pub fn uuid4() -> uuid::Uuid {
    let mut bytes = [0; 16];
    Context::current()
        .state
        .borrow_mut()
        .random
        .fill_bytes(&mut bytes);
    uuid::Builder::from_random_bytes(bytes).into_uuid()
}

/// Whether a change of the code is in force for this run: true for runs that reach this place for the
/// first time, false for those that went through it before the change.
pub fn patched(id: &str) -> bool {
    mark(id, false)
}

/// The same for a change that no open run is older than.
pub fn deprecate_patch(id: &str) {
    mark(id, true);
}

fn mark(id: &str, deprecated: bool) -> bool {
    let context = Context::current();
    let answer = {
        let mut state = context.state.borrow_mut();
        if let Some(answer) = state.patches.get(id) {
            return *answer;
        }
        let answer = deprecated || !state.replaying || state.patches_in_history.contains(id);
        state.patches.insert(id.to_string(), answer);
        answer
    };
    if answer {
        let marker = patch::marker(id, deprecated);
        context.issue(None, Attributes::RecordMarkerCommandAttributes(marker));
        if !deprecated {
            let listed = {
                let state = context.state.borrow();
                let given = state.patches.iter().filter(|(_, answer)| **answer);
                patch::listed(given.map(|(id, _)| id))
            };
            let fields = [(patch::SEARCH_ATTRIBUTE.to_string(), listed)].into();
            upsert(&context, fields);
        }
    }
    answer
}

fn upsert(context: &Context, indexed_fields: BTreeMap<String, Payload>) {
    let search_attributes = Some(SearchAttributes { indexed_fields });
    let attributes = UpsertWorkflowSearchAttributesCommandAttributes { search_attributes };
    let attributes = Attributes::UpsertWorkflowSearchAttributesCommandAttributes(attributes);
    context.issue(None, attributes);
}

/// Changes what lists find the workflow by. A payload without data removes an attribute.
pub fn upsert_search_attributes(changed: SearchAttributes) {
    let context = Context::current();
    {
        let mut state = context.state.borrow_mut();
        for (name, payload) in &changed.indexed_fields {
            let fields = &mut state.search_attributes.indexed_fields;
            fields.insert(name.clone(), payload.clone());
        }
    }
    upsert(&context, changed.indexed_fields);
}

/// What lists find the workflow by, as it is now.
pub fn search_attributes() -> SearchAttributes {
    Context::current().state.borrow().search_attributes.clone()
}

/// Adds a note that lists show, or replaces it.
///
/// # Errors
/// When the value cannot be converted.
pub fn upsert_memo<T: Value>(key: &str, value: &T) -> Result<()> {
    let context = Context::current();
    let payload = context.converter.to_payload(value)?;
    let mut state = context.state.borrow_mut();
    state.memo.insert(key.to_string(), payload.clone());
    drop(state);
    let fields = [(key.to_string(), payload)].into();
    let upserted_memo = Some(Memo { fields });
    let attributes = ModifyWorkflowPropertiesCommandAttributes { upserted_memo };
    let attributes = Attributes::ModifyWorkflowPropertiesCommandAttributes(attributes);
    context.issue(None, attributes);
    Ok(())
}

/// A note; nothing when there is none of this key.
///
/// # Errors
/// When it is of another type.
pub fn memo<T: Value>(key: &str) -> Result<Option<T>> {
    let context = Context::current();
    let payload = context.state.borrow().memo.get(key).cloned();
    let value = payload.map(|payload| context.converter.from_payload(&payload));
    Ok(value.transpose()?)
}

/// Why the workflow was asked to cancel; nothing when it was not.
pub fn cancel_reason() -> Option<String> {
    Context::current().state.borrow().cancel_reason.clone()
}

/// No handler of a signal or an update is on its way: a workflow should end only then.
pub fn all_handlers_finished() -> bool {
    Context::current().state.borrow().handlers == 0
}

/// How a workflow goes on as a new run.
#[derive(Debug, Clone, PartialEq)]
pub struct ContinueAsNew {
    /// As the server takes it.
    pub(crate) attributes: ContinueAsNewWorkflowExecutionCommandAttributes,
}

/// Options of the next run; those of this run where nothing is given.
#[derive(Debug, Clone, Default)]
pub struct ContinueAsNewOptions {
    /// Its type.
    pub workflow_type: Option<String>,
    /// Where its workflow tasks come from.
    pub task_queue: Option<String>,
    /// For the run.
    pub run_timeout: Option<Duration>,
    /// For one workflow task.
    pub task_timeout: Option<Duration>,
    /// How it is tried again.
    pub retry_policy: Option<RetryPolicy>,
}

/// Ends this run and goes on as a new one with an empty history: `return continue_as_new(&next)`.
///
/// # Errors
/// Always: the failure is the way out of the workflow's code.
pub fn continue_as_new<O, I: Arguments>(input: I) -> Result<O> {
    continue_as_new_with(input, ContinueAsNewOptions::default())
}

/// The same with other options than this run has.
///
/// # Errors
/// Always, as [`continue_as_new`].
#[allow(deprecated, reason = "the field is what the server reads")]
pub fn continue_as_new_with<O, I: Arguments>(input: I, options: ContinueAsNewOptions) -> Result<O> {
    let context = Context::current();
    let payloads = input.to_payloads(&context.converter)?;
    let state = context.state.borrow();
    let info = &state.info;
    let limit = |limit: Duration| (!limit.is_zero()).then(|| to_wire(limit));
    let memo = (!info.memo.is_empty()).then(|| Memo {
        fields: info.memo.clone(),
    });
    let found = &state.search_attributes;
    let search_attributes = (!found.indexed_fields.is_empty()).then(|| found.clone());
    let run_timeout = options.run_timeout.unwrap_or(info.run_timeout);
    let task_timeout = options.task_timeout.unwrap_or(info.task_timeout);
    let attributes = ContinueAsNewWorkflowExecutionCommandAttributes {
        workflow_type: Some(WorkflowType {
            name: options
                .workflow_type
                .unwrap_or_else(|| info.workflow_type.clone()),
        }),
        inherit_build_id: options.task_queue.is_none(),
        task_queue: Some(TaskQueue {
            name: options
                .task_queue
                .unwrap_or_else(|| info.task_queue.clone()),
            ..Default::default()
        }),
        input: activity::some(payloads),
        workflow_run_timeout: limit(run_timeout),
        workflow_task_timeout: limit(task_timeout),
        retry_policy: options.retry_policy,
        memo,
        search_attributes,
        ..Default::default()
    };
    let next = Box::new(ContinueAsNew { attributes });
    let kind = FailureKind::ContinueAsNew(next);
    Err(Failure::new("the workflow goes on as a new run", kind))
}

/// Waits for the first of several futures, as `tokio::select!`: asked in the order in which they are
/// written, so that a replay takes the same one. The others are dropped, and with them what they began
/// is cancelled.
#[macro_export]
macro_rules! select {
    ($($branches:tt)*) => {
        $crate::hidden::tokio::select! { biased; $($branches)* }
    };
}
