//! The worker: polls for tasks, runs workflows and activities, answers.

mod activity;
mod local_activity;
mod poller;
mod registry;
mod workflow_task;
mod workflow_thread;

pub use activity::{ActivityContext, ActivityInfo, CancelReason};
pub use registry::{Activities, ActivityFn, ActivityRegistry};

use crate::client::Client;
use crate::converter::{Arguments, Value};
use crate::definition::Activity;
use crate::failure::{Failure, Result};
use crate::workflow::definition::{AnyWorkflow, Registered, WorkflowImpl};
use registry::AnyActivity;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use steadfast_proto::temporal::command::v1::Command;
use steadfast_proto::temporal::command::v1::command::Attributes;
use steadfast_proto::temporal::deployment::v1::WorkerDeploymentOptions;
use steadfast_proto::temporal::enums::v1::WorkerVersioningMode;
use steadfast_proto::temporal::history::v1::HistoryEvent;
use steadfast_proto::temporal::taskqueue::v1::TaskQueue;
use steadfast_proto::temporal::workflowservice::v1 as wire;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use workflow_task::Locals;
use workflow_thread::WorkflowThreads;

/// What a worker may do at a time, and how it polls.
#[derive(Debug, Clone)]
pub struct WorkerOptions {
    /// Workflow tasks at a time.
    pub max_concurrent_workflow_tasks: usize,
    /// Activities at a time.
    pub max_concurrent_activities: usize,
    /// Local activities at a time.
    pub max_concurrent_local_activities: usize,
    /// Polls for workflow tasks at a time, on the normal and on the sticky queue together.
    pub max_concurrent_workflow_task_polls: usize,
    /// Polls for activities at a time.
    pub max_concurrent_activity_task_polls: usize,
    /// Runs that are kept ready; 0 keeps none, and every task replays its history.
    pub max_cached_workflows: usize,
    /// Threads that run workflow code.
    pub workflow_threads: usize,
    /// How long activities may go on when the worker is asked to end.
    pub graceful_shutdown_timeout: Duration,
    /// Activities a second that this worker begins; none for no bound.
    pub max_worker_activities_per_second: Option<f64>,
    /// Activities a second that the server gives out on the task queue; none for no bound.
    pub max_task_queue_activities_per_second: Option<f64>,
    /// The version of this worker, for routing of workflows to versions.
    pub deployment: Option<DeploymentVersion>,
    /// Activities may come with the answer that asks for them.
    pub eager_activities: bool,
}

/// A version of a deployment of workers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeploymentVersion {
    /// The deployment.
    pub deployment_name: String,
    /// Its build.
    pub build_id: String,
    /// Workflows are routed by version.
    pub use_versioning: bool,
}

impl Default for WorkerOptions {
    fn default() -> Self {
        Self {
            max_concurrent_workflow_tasks: 100,
            max_concurrent_activities: 100,
            max_concurrent_local_activities: 100,
            max_concurrent_workflow_task_polls: 5,
            max_concurrent_activity_task_polls: 5,
            max_cached_workflows: 1_000,
            workflow_threads: std::thread::available_parallelism().map_or(1, usize::from),
            graceful_shutdown_timeout: Duration::from_secs(10),
            max_worker_activities_per_second: None,
            max_task_queue_activities_per_second: None,
            deployment: None,
            eager_activities: true,
        }
    }
}

/// Why a worker cannot begin, or had to end.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// Neither a workflow nor an activity was given.
    #[error("the worker has neither workflows nor activities")]
    Empty,
    /// Two things have one name.
    #[error("`{0}` is registered twice")]
    Twice(String),
    /// An option that makes no sense.
    #[error("{0}")]
    Option(String),
    /// The server refuses what the worker asks, and would refuse it again.
    #[error("the server refuses this worker: {0}")]
    Refused(#[source] tonic::Status),
    /// Workflow code is stuck on too many threads.
    #[error("workflow code is stuck on too many threads: end this process and look at the code")]
    Stuck,
}

/// Builds a worker.
#[derive(Debug)]
pub struct WorkerBuilder {
    client: Client,
    task_queue: String,
    options: WorkerOptions,
    workflows: BTreeMap<String, Arc<dyn AnyWorkflow>>,
    activities: ActivityRegistry,
    twice: Option<String>,
}

impl WorkerBuilder {
    /// What it may do at a time, and how it polls.
    pub fn options(mut self, options: WorkerOptions) -> Self {
        self.options = options;
        self
    }

    /// Runs workflows of this type.
    pub fn workflow<W: WorkflowImpl>(mut self) -> Self {
        let workflow = Arc::new(Registered::<W>::default());
        let before = self.workflows.insert(W::NAME.to_string(), workflow);
        if before.is_some() {
            self.twice = Some(W::NAME.to_string());
        }
        self
    }

    /// Runs the activities of a state.
    pub fn activities<A: Activities>(mut self, state: A) -> Self {
        Arc::new(state).register(&mut self.activities);
        self
    }

    /// Runs an activity.
    pub fn activity<I, O, Form>(
        mut self,
        activity: Activity<I, O>,
        code: impl ActivityFn<I, O, Form>,
    ) -> Self
    where
        I: Arguments + Send,
        O: Value + Send,
    {
        self.activities.add(activity, code);
        self
    }

    /// The worker; it does nothing until it is run.
    ///
    /// # Errors
    /// When there is nothing to run, a name is given twice, or an option makes no sense.
    pub fn build(self) -> Result<Worker, WorkerError> {
        if self.workflows.is_empty() && self.activities.is_empty() {
            return Err(WorkerError::Empty);
        }
        if let Some(name) = self.twice.or_else(|| self.activities.twice().cloned()) {
            return Err(WorkerError::Twice(name));
        }
        let options = self.options;
        let bounds = [
            (
                "max_concurrent_workflow_tasks",
                options.max_concurrent_workflow_tasks,
            ),
            (
                "max_concurrent_activities",
                options.max_concurrent_activities,
            ),
            (
                "max_concurrent_local_activities",
                options.max_concurrent_local_activities,
            ),
            (
                "max_concurrent_workflow_task_polls",
                options.max_concurrent_workflow_task_polls,
            ),
            (
                "max_concurrent_activity_task_polls",
                options.max_concurrent_activity_task_polls,
            ),
        ];
        if let Some((name, _)) = bounds.iter().find(|(_, bound)| *bound == 0) {
            return Err(WorkerError::Option(format!(
                "`{name}` is 0: nothing would be done"
            )));
        }
        let identity = self.client.raw().identity();
        let sticky = (options.max_cached_workflows > 0)
            .then(|| format!("{identity}-{}", uuid::Uuid::new_v4()));
        let threads =
            WorkflowThreads::start(options.workflow_threads, options.max_cached_workflows);
        let inner = Inner {
            client: self.client,
            task_queue: self.task_queue,
            workflows: self.workflows,
            activities: self.activities,
            threads,
            sticky,
            activity_slots: Arc::new(Semaphore::new(options.max_concurrent_activities)),
            workflow_slots: Arc::new(Semaphore::new(options.max_concurrent_workflow_tasks)),
            local_slots: Arc::new(Semaphore::new(options.max_concurrent_local_activities)),
            locals: Locals::default(),
            running: Mutex::default(),
            task_timeouts: Mutex::default(),
            options,
            shutdown: CancellationToken::new(),
            tasks: tokio_util::task::TaskTracker::new(),
        };
        Ok(Worker {
            inner: Arc::new(inner),
        })
    }
}

/// A worker of one task queue.
#[derive(Debug)]
pub struct Worker {
    inner: Arc<Inner>,
}

/// Asks a worker to end. Clones ask the same one.
#[derive(Debug, Clone)]
pub struct ShutdownHandle(CancellationToken);

impl ShutdownHandle {
    /// No more tasks are taken; those under way may end.
    pub fn shutdown(&self) {
        self.0.cancel();
    }
}

impl Worker {
    /// A worker of a task queue, to be told what it runs.
    pub fn builder(client: &Client, task_queue: impl Into<String>) -> WorkerBuilder {
        WorkerBuilder {
            client: client.clone(),
            task_queue: task_queue.into(),
            options: WorkerOptions::default(),
            workflows: BTreeMap::new(),
            activities: ActivityRegistry::default(),
            twice: None,
        }
    }

    /// Asks it to end from elsewhere.
    pub fn shutdown_handle(&self) -> ShutdownHandle {
        ShutdownHandle(self.inner.shutdown.clone())
    }

    /// Runs until it is asked to end, and then until what is under way has ended.
    ///
    /// # Errors
    /// When the server refuses it, or workflow code is stuck.
    pub async fn run(self) -> Result<(), WorkerError> {
        poller::run(self.inner).await
    }
}

/// What all parts of a worker share.
#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) client: Client,
    pub(crate) task_queue: String,
    pub(crate) workflows: BTreeMap<String, Arc<dyn AnyWorkflow>>,
    pub(crate) activities: ActivityRegistry,
    pub(crate) threads: Arc<WorkflowThreads>,
    /// The queue of this worker's own; none when no runs are kept.
    pub(crate) sticky: Option<String>,
    pub(crate) activity_slots: Arc<Semaphore>,
    pub(crate) workflow_slots: Arc<Semaphore>,
    pub(crate) local_slots: Arc<Semaphore>,
    pub(crate) locals: Locals,
    /// Activities under way.
    running: Mutex<Vec<ActivityContext>>,
    task_timeouts: Mutex<HashMap<String, Duration>>,
    pub(crate) options: WorkerOptions,
    pub(crate) shutdown: CancellationToken,
    pub(crate) tasks: tokio_util::task::TaskTracker,
}

/// Of a run whose first event was not seen.
const TASK_TIMEOUT: Duration = Duration::from_secs(10);

impl Inner {
    /// The code of an activity; a failure when there is none.
    pub(crate) fn activity(&self, name: &str) -> Result<AnyActivity> {
        self.activities.get(name).ok_or_else(|| {
            let known = self.activities.names().join(", ");
            let message = format!(
                "activity type `{name}` is not registered with this worker; known: {known}"
            );
            Failure::application("NotFoundError", message)
        })
    }

    /// The activity is of this worker's own task queue.
    pub(crate) fn is_own_queue(&self, queue: Option<&TaskQueue>) -> bool {
        queue.is_some_and(|queue| queue.name == self.task_queue)
    }

    /// Room for activities that may come with the answer.
    pub(crate) fn eager_slots(&self, commands: &[Command]) -> Vec<OwnedSemaphorePermit> {
        let limited = self.options.max_worker_activities_per_second.is_some()
            || self.options.max_task_queue_activities_per_second.is_some();
        let mut slots = Vec::new();
        if !self.options.eager_activities || self.activities.is_empty() || limited {
            return slots;
        }
        for command in commands {
            if let Some(Attributes::ScheduleActivityTaskCommandAttributes(found)) =
                &command.attributes
                && found.request_eager_execution
                && self.is_own_queue(found.task_queue.as_ref())
                && slots.len() < EAGER_MAX
                && let Ok(slot) = Arc::clone(&self.activity_slots).try_acquire_owned()
            {
                slots.push(slot);
            }
        }
        slots
    }

    /// Runs the activities that came with an answer; room that is left over is free again.
    pub(crate) fn take_eager(
        self: &Arc<Self>,
        mut slots: Vec<OwnedSemaphorePermit>,
        tasks: Vec<wire::PollActivityTaskQueueResponse>,
    ) {
        for task in tasks {
            self.run_activity(task, slots.pop());
        }
    }

    /// Runs an activity in a slot.
    pub(crate) fn run_activity(
        self: &Arc<Self>,
        task: wire::PollActivityTaskQueueResponse,
        slot: Option<OwnedSemaphorePermit>,
    ) {
        let inner = Arc::clone(self);
        let info = activity::info_of(&task);
        let code = self.activity(&info.activity_type);
        let context = ActivityContext::new(info, Some(self.client.clone()));
        self.lock_running().push(context.clone());
        self.tasks.spawn(async move {
            activity::perform(inner.client.clone(), task, code, context.clone()).await;
            inner
                .lock_running()
                .retain(|running| !running.is_same(&context));
            drop(slot);
        });
    }

    fn lock_running(&self) -> std::sync::MutexGuard<'_, Vec<ActivityContext>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells all activities that the worker ends.
    pub(crate) fn cancel_activities(&self) {
        for context in self.lock_running().iter() {
            context.cancel(CancelReason::WorkerShutdown);
        }
    }

    /// The time that workflow tasks of a run have.
    pub(crate) fn task_timeout_of(&self, events: &[HistoryEvent], run_id: &str) -> Duration {
        let mut known = self
            .task_timeouts
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(timeout) = workflow_task::task_timeout(events) {
            // As many as runs that are kept; the usual time-out is not worth a place.
            if timeout != TASK_TIMEOUT && known.len() < self.options.max_cached_workflows {
                known.insert(run_id.to_string(), timeout);
            }
            return timeout;
        }
        known.get(run_id).copied().unwrap_or(TASK_TIMEOUT)
    }

    pub(crate) fn deployment_options(&self) -> Option<WorkerDeploymentOptions> {
        let version = self.options.deployment.as_ref()?;
        let mode = match version.use_versioning {
            true => WorkerVersioningMode::Versioned,
            false => WorkerVersioningMode::Unversioned,
        };
        Some(WorkerDeploymentOptions {
            deployment_name: version.deployment_name.clone(),
            build_id: version.build_id.clone(),
            worker_versioning_mode: mode as i32,
        })
    }
}

/// Activities that may come with one answer, as of all SDKs.
const EAGER_MAX: usize = 3;
