//! Child workflows, and messages to other workflows.

use crate::converter::{Arguments, Value};
use crate::definition::{Signal, Workflow};
use crate::duration::to_wire;
use crate::executor::context::Context;
use crate::executor::operation::{Child, ChildCancellationType, Kind, OperationId};
use crate::failure::Result;
use crate::workflow::activity::some;
use crate::workflow::{decode, uuid4, waiting::Waiting};
use std::collections::BTreeMap;
use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{self, Poll};
use std::time::Duration;
use steadfast_proto::temporal::command::v1::command::Attributes;
use steadfast_proto::temporal::command::v1::{
    RequestCancelExternalWorkflowExecutionCommandAttributes,
    SignalExternalWorkflowExecutionCommandAttributes, StartChildWorkflowExecutionCommandAttributes,
};
use steadfast_proto::temporal::common::v1::{
    Memo, Payload, Priority, RetryPolicy, SearchAttributes, WorkflowExecution, WorkflowType,
};
use steadfast_proto::temporal::enums::v1::{ParentClosePolicy, WorkflowIdReusePolicy};
use steadfast_proto::temporal::taskqueue::v1::TaskQueue;

/// How a child is started.
#[derive(Debug, Clone)]
pub struct ChildOptions {
    /// Its workflow id; a random one when not given.
    pub workflow_id: Option<String>,
    /// Where its workflow tasks go; where its parent's come from when not given.
    pub task_queue: Option<String>,
    /// For all runs of its chain.
    pub execution_timeout: Option<Duration>,
    /// For one run.
    pub run_timeout: Option<Duration>,
    /// For one workflow task.
    pub task_timeout: Option<Duration>,
    /// How it is tried again.
    pub retry_policy: Option<RetryPolicy>,
    /// What becomes of it when its parent ends.
    pub parent_close_policy: ParentClosePolicy,
    /// Whether its id may have been used.
    pub id_reuse_policy: WorkflowIdReusePolicy,
    /// What a cancellation waits for.
    pub cancellation_type: ChildCancellationType,
    /// When it is run again.
    pub cron_schedule: String,
    /// Notes that lists show.
    pub memo: BTreeMap<String, Payload>,
    /// What lists find it by.
    pub search_attributes: Option<SearchAttributes>,
    /// Which task comes first.
    pub priority: Option<Priority>,
    /// A line for people.
    pub summary: Option<String>,
}

impl Default for ChildOptions {
    fn default() -> Self {
        Self {
            workflow_id: None,
            task_queue: None,
            execution_timeout: None,
            run_timeout: None,
            task_timeout: None,
            retry_policy: None,
            parent_close_policy: ParentClosePolicy::Terminate,
            id_reuse_policy: WorkflowIdReusePolicy::AllowDuplicate,
            cancellation_type: ChildCancellationType::default(),
            cron_schedule: String::new(),
            memo: BTreeMap::new(),
            search_attributes: None,
            priority: None,
            summary: None,
        }
    }
}

/// Starts a child when it is first polled, and gives its result. Dropped before its end, the child is
/// asked to cancel; [`ChildCall::start`] gives a handle that can leave it alone.
///
/// # Errors
/// A [`crate::Failure`] of kind `ChildWorkflow` whose cause says why.
#[must_use = "nothing is started until it is awaited"]
pub struct ChildCall<W, I, O> {
    workflow_type: String,
    input: Option<I>,
    options: ChildOptions,
    begun: Option<(String, Waiting, Waiting)>,
    output: PhantomData<fn() -> (W, O)>,
}

impl<W, I, O> std::fmt::Debug for ChildCall<W, I, O> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("ChildCall")
            .field("workflow_type", &self.workflow_type)
            .finish_non_exhaustive()
    }
}

/// Calls a child workflow.
pub fn child<W, I: Arguments, O: Value>(
    workflow: Workflow<W, I, O>,
    input: I,
) -> ChildCall<W, I, O> {
    ChildCall {
        workflow_type: workflow.name().to_string(),
        input: Some(input),
        options: ChildOptions::default(),
        begun: None,
        output: PhantomData,
    }
}

impl<W, I: Arguments, O: Value> ChildCall<W, I, O> {
    /// All options at once.
    pub fn options(mut self, options: ChildOptions) -> Self {
        self.options = options;
        self
    }

    /// Its workflow id.
    pub fn id(mut self, workflow_id: impl Into<String>) -> Self {
        self.options.workflow_id = Some(workflow_id.into());
        self
    }

    /// Where its workflow tasks go.
    pub fn task_queue(mut self, task_queue: impl Into<String>) -> Self {
        self.options.task_queue = Some(task_queue.into());
        self
    }

    /// What becomes of it when its parent ends.
    pub fn parent_close_policy(mut self, policy: ParentClosePolicy) -> Self {
        self.options.parent_close_policy = policy;
        self
    }

    /// What a cancellation waits for.
    pub fn cancellation(mut self, cancellation_type: ChildCancellationType) -> Self {
        self.options.cancellation_type = cancellation_type;
        self
    }

    /// How it is tried again.
    pub fn retry(mut self, policy: impl Into<RetryPolicy>) -> Self {
        self.options.retry_policy = Some(policy.into());
        self
    }

    /// Starts it and waits until it runs.
    ///
    /// # Errors
    /// When it cannot be started: a workflow of its id runs, or the scope is cancelled.
    pub async fn start(mut self) -> Result<ChildHandle<W, O>> {
        self.begin();
        let (workflow_id, started, ended) = self.begun.take().expect("it has just begun");
        let id = ended.id();
        started.await?;
        let context = Context::current();
        let run_id = id
            .and_then(|id| {
                let state = context.state.borrow();
                match state.operations.get(&id).map(|found| &found.kind) {
                    Some(Kind::Child(child)) => child.run_id.clone(),
                    _ => None,
                }
            })
            .unwrap_or_default();
        Ok(ChildHandle {
            workflow_id,
            run_id,
            ended,
            output: PhantomData,
        })
    }

    fn begin(&mut self) {
        let Some(input) = self.input.take() else {
            return;
        };
        let context = Context::current();
        let workflow_id = match &self.options.workflow_id {
            Some(workflow_id) => workflow_id.clone(),
            None => uuid4().to_string(),
        };
        let payloads = match input.to_payloads(&context.converter) {
            Ok(payloads) => payloads,
            Err(error) => {
                let failure = crate::Failure::from(error);
                let started = Waiting::new(context.clone(), Err(failure.clone()));
                let ended = Waiting::new(context, Err(failure));
                self.begun = Some((workflow_id, started, ended));
                return;
            }
        };
        let namespace = context.state.borrow().info.namespace.clone();
        let begun = context.begin(Kind::Child(Child {
            namespace,
            workflow_id: workflow_id.clone(),
            workflow_type: self.workflow_type.clone(),
            initiated_event_id: 0,
            started_event_id: 0,
            run_id: None,
            cancellation: self.options.cancellation_type,
            start: 0,
        }));
        let started = match &begun {
            Ok(id) => self.issue(&context, *id, &workflow_id, payloads),
            Err(failure) => Err(failure.clone()),
        };
        let started = Waiting::new(context.clone(), started);
        let ended = Waiting::new(context, begun);
        self.begun = Some((workflow_id, started, ended));
    }

    #[allow(deprecated, reason = "the fields are what the server reads")]
    fn issue(
        &self,
        context: &Context,
        child: OperationId,
        workflow_id: &str,
        payloads: Vec<Payload>,
    ) -> Result<OperationId> {
        let start = context.begin(Kind::ChildStart { child })?;
        if let Some(operation) = context.state.borrow_mut().operations.get_mut(&child)
            && let Kind::Child(child) = &mut operation.kind
        {
            child.start = start;
        }
        let options = &self.options;
        let (namespace, queue) = {
            let state = context.state.borrow();
            (state.info.namespace.clone(), state.info.task_queue.clone())
        };
        let memo = (!options.memo.is_empty()).then(|| Memo {
            fields: options.memo.clone(),
        });
        let attributes = StartChildWorkflowExecutionCommandAttributes {
            namespace,
            workflow_id: workflow_id.to_string(),
            workflow_type: Some(WorkflowType {
                name: self.workflow_type.clone(),
            }),
            inherit_build_id: options.task_queue.is_none(),
            task_queue: Some(TaskQueue {
                name: options.task_queue.clone().unwrap_or(queue),
                ..Default::default()
            }),
            input: some(payloads),
            workflow_execution_timeout: options.execution_timeout.map(to_wire),
            workflow_run_timeout: options.run_timeout.map(to_wire),
            workflow_task_timeout: options.task_timeout.map(to_wire),
            parent_close_policy: options.parent_close_policy as i32,
            workflow_id_reuse_policy: options.id_reuse_policy as i32,
            retry_policy: options.retry_policy.clone(),
            cron_schedule: options.cron_schedule.clone(),
            memo,
            search_attributes: options.search_attributes.clone(),
            priority: options.priority.clone(),
            ..Default::default()
        };
        let summary = options.summary.as_ref();
        let summary = summary.and_then(|text| context.converter.to_payload(text).ok());
        let attributes = Attributes::StartChildWorkflowExecutionCommandAttributes(attributes);
        context.issue_with(Some(child), attributes, summary);
        Ok(start)
    }
}

impl<W, I: Arguments + Unpin, O: Value> Future for ChildCall<W, I, O> {
    type Output = Result<O>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<Result<O>> {
        self.begin();
        let Some((_, started, ended)) = &mut self.begun else {
            return Poll::Pending;
        };
        // Its start is not looked at: the end says the same when there is none.
        started.detach();
        Pin::new(ended).poll(cx).map(|result| decode(result?))
    }
}

/// A child that runs. Awaited, it gives the child's result; dropped, it asks the child to cancel.
#[derive(Debug)]
pub struct ChildHandle<W, O> {
    workflow_id: String,
    run_id: String,
    ended: Waiting,
    output: PhantomData<fn() -> (W, O)>,
}

impl<W, O: Value> ChildHandle<W, O> {
    /// Its workflow id.
    pub fn workflow_id(&self) -> &str {
        &self.workflow_id
    }

    /// Its first run.
    pub fn run_id(&self) -> &str {
        &self.run_id
    }

    /// Asks it to cancel. Awaiting it goes on.
    pub fn cancel(&self) {
        self.ended.cancel();
    }

    /// Signals it.
    ///
    /// # Errors
    /// When it does not run any more.
    pub async fn signal<I: Arguments>(&self, signal: Signal<W, I>, input: I) -> Result<()> {
        let target = Target {
            workflow_id: self.workflow_id.clone(),
            run_id: String::new(),
            child_workflow_only: true,
        };
        send(target, signal.name(), input).await
    }

    /// Leaves it alone: it is not asked to cancel when this is dropped.
    pub fn detach(mut self) {
        self.ended.detach();
    }
}

impl<W, O: Value> Future for ChildHandle<W, O> {
    type Output = Result<O>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut task::Context<'_>) -> Poll<Result<O>> {
        Pin::new(&mut self.ended)
            .poll(cx)
            .map(|result| decode(result?))
    }
}

/// Another workflow of the namespace.
#[derive(Debug, Clone)]
pub struct ExternalWorkflow<W> {
    workflow_id: String,
    run_id: String,
    workflow: PhantomData<fn() -> W>,
}

/// Another workflow of the namespace, whichever run is the current one.
pub fn external<W>(workflow_id: impl Into<String>) -> ExternalWorkflow<W> {
    ExternalWorkflow {
        workflow_id: workflow_id.into(),
        run_id: String::new(),
        workflow: PhantomData,
    }
}

struct Target {
    workflow_id: String,
    run_id: String,
    child_workflow_only: bool,
}

#[allow(deprecated, reason = "the field `namespace` is what the server reads")]
async fn send<I: Arguments>(target: Target, signal_name: &str, input: I) -> Result<()> {
    let context = Context::current();
    let payloads = input.to_payloads(&context.converter)?;
    let id = context.begin(Kind::SignalExternal)?;
    let namespace = context.state.borrow().info.namespace.clone();
    let attributes = SignalExternalWorkflowExecutionCommandAttributes {
        namespace,
        execution: Some(WorkflowExecution {
            workflow_id: target.workflow_id,
            run_id: target.run_id,
        }),
        signal_name: signal_name.to_string(),
        input: some(payloads),
        child_workflow_only: target.child_workflow_only,
        ..Default::default()
    };
    let attributes = Attributes::SignalExternalWorkflowExecutionCommandAttributes(attributes);
    context.issue(Some(id), attributes);
    Waiting::new(context, Ok(id)).await.map(drop)
}

impl<W> ExternalWorkflow<W> {
    /// This run of it only.
    pub fn run_id(mut self, run_id: impl Into<String>) -> Self {
        self.run_id = run_id.into();
        self
    }

    /// Signals it.
    ///
    /// # Errors
    /// When it does not run.
    pub async fn signal<I: Arguments>(&self, signal: Signal<W, I>, input: I) -> Result<()> {
        let target = Target {
            workflow_id: self.workflow_id.clone(),
            run_id: self.run_id.clone(),
            child_workflow_only: false,
        };
        send(target, signal.name(), input).await
    }

    /// Asks it to cancel.
    ///
    /// # Errors
    /// When it does not run.
    #[allow(deprecated, reason = "the field `namespace` is what the server reads")]
    pub async fn cancel(&self, reason: &str) -> Result<()> {
        let context = Context::current();
        let id = context.begin(Kind::CancelExternal)?;
        let namespace = context.state.borrow().info.namespace.clone();
        let attributes = RequestCancelExternalWorkflowExecutionCommandAttributes {
            namespace,
            workflow_id: self.workflow_id.clone(),
            run_id: self.run_id.clone(),
            reason: reason.to_string(),
            ..Default::default()
        };
        context.issue(
            Some(id),
            Attributes::RequestCancelExternalWorkflowExecutionCommandAttributes(attributes),
        );
        Waiting::new(context, Ok(id)).await.map(drop)
    }
}
