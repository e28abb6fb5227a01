//! The replayer: runs recorded histories against code, and says where they part.

use crate::converter::DataConverter;
use crate::executor::{Run, Setup, Task, TaskFailure};
use crate::history::History;
use crate::workflow::definition::{AnyWorkflow, Registered, WorkflowImpl};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use steadfast_proto::temporal::enums::v1::WorkflowTaskFailedCause;
use steadfast_proto::temporal::history::v1::WorkflowExecutionStartedEventAttributes as Started;
use steadfast_proto::temporal::history::v1::history_event::Attributes as Event;
use tokio::sync::oneshot;
use tokio::time::timeout;

/// Code may run so long without waiting for anything, as in a worker.
const STUCK_AFTER: Duration = Duration::from_secs(1);

/// Why a history could not be replayed to its end.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// Its first event does not say what it is.
    #[error("the history does not begin with WORKFLOW_EXECUTION_STARTED")]
    NotStarted,
    /// No code was given for its type.
    #[error("workflow type `{name}` is not registered with this replayer; known: {known}")]
    UnknownWorkflow {
        /// The history's.
        name: String,
        /// Those that are registered.
        known: String,
    },
    /// The codec does not understand a payload.
    #[error("event {event_id} cannot be decoded: {error}")]
    Codec {
        /// Where it is.
        event_id: i64,
        /// What is wrong.
        error: String,
    },
    /// The code does something else than the history says: which event, what it is, and what the
    /// code gives there.
    #[error("{0}")]
    Different(TaskFailure),
    /// The code panics, or cannot read its input.
    #[error("the code fails: {0}")]
    Code(TaskFailure),
    /// The code ran for a second without waiting for anything; its thread is left behind.
    #[error("the code ran for more than {STUCK_AFTER:?} without waiting for anything")]
    Stuck,
}

/// Replays histories. No server is asked, no activity is run.
///
/// ```no_run
/// # use steadfast_sdk::{History, Replayer, workflow::definition::WorkflowImpl};
/// # async fn test<Order: WorkflowImpl>() -> Result<(), Box<dyn std::error::Error>> {
/// let history = History::from_json(&std::fs::read_to_string("order.json")?)?;
/// Replayer::new().workflow::<Order>().replay(&history).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Default)]
pub struct Replayer {
    workflows: BTreeMap<String, Arc<dyn AnyWorkflow>>,
    data: DataConverter,
}

impl Replayer {
    /// One that knows no workflow yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Replays histories of this type.
    #[must_use]
    pub fn workflow<W: WorkflowImpl>(mut self) -> Self {
        let workflow = Arc::new(Registered::<W>::default());
        self.workflows.insert(W::NAME.to_string(), workflow);
        self
    }

    /// How values travel in the histories, as the worker's client has it.
    #[must_use]
    pub fn data_converter(mut self, data: DataConverter) -> Self {
        self.data = data;
        self
    }

    /// Goes through a history to its end. One that ends in the middle of a workflow task, or while
    /// the workflow waits, is replayed as far as it goes.
    ///
    /// # Errors
    /// [`ReplayError`]: the first difference, or why it does not come to that.
    pub async fn replay(&self, history: &History) -> Result<(), ReplayError> {
        let started = started(history).ok_or(ReplayError::NotStarted)?;
        let name = started.workflow_type.clone().unwrap_or_default().name;
        let workflow = self.workflows.get(&name).cloned();
        let workflow = workflow.ok_or_else(|| ReplayError::UnknownWorkflow {
            known: self.known(),
            name,
        })?;
        let mut task = Task {
            events: history.events.clone(),
            ..Task::default()
        };
        for event in &mut task.events {
            let event_id = event.event_id;
            let decoded = self.data.decode(event).await;
            decoded.map_err(|error| ReplayError::Codec {
                event_id,
                error: error.to_string(),
            })?;
        }
        let setup = Setup {
            data: self.data.clone(),
            namespace: String::new(),
            task_queue: started.task_queue.clone().unwrap_or_default().name,
            workflow_id: String::new(),
            run_id: String::new(),
        };
        watched(workflow, setup, task).await
    }

    fn known(&self) -> String {
        let known: Vec<&str> = self.workflows.keys().map(String::as_str).collect();
        known.join(", ")
    }
}

fn started(history: &History) -> Option<&Started> {
    match history.events.first()?.attributes.as_ref()? {
        Event::WorkflowExecutionStartedEventAttributes(started) => Some(started),
        _ => None,
    }
}

/// Replays on a thread of its own, for as long as that gets on.
async fn watched(
    workflow: Arc<dyn AnyWorkflow>,
    setup: Setup,
    task: Task,
) -> Result<(), ReplayError> {
    let pulse = Arc::new(AtomicU64::new(0));
    let (done, mut replayed) = oneshot::channel();
    let moves = Arc::clone(&pulse);
    std::thread::spawn(move || {
        let mut run = Run::new(workflow, setup).with_pulse(moves);
        let result = run.handle(&task).and_then(|()| run.is_replayed());
        drop(run);
        // Nobody waits any more when the receiver is gone.
        let _unheard = done.send(result);
    });
    loop {
        let before = pulse.load(Ordering::SeqCst);
        match timeout(STUCK_AFTER, &mut replayed).await {
            Ok(Ok(Ok(()))) => return Ok(()),
            Ok(Ok(Err(failure))) => return Err(told(failure)),
            // Workflow code's panics are caught: this is one of its drop.
            Ok(Err(_)) => {
                let failure = TaskFailure::code("the code panicked when it was dropped".into());
                return Err(ReplayError::Code(failure));
            }
            Err(_) if pulse.load(Ordering::SeqCst) == before => return Err(ReplayError::Stuck),
            Err(_) => {}
        }
    }
}

fn told(failure: TaskFailure) -> ReplayError {
    if failure.cause == WorkflowTaskFailedCause::NonDeterministicError {
        return ReplayError::Different(failure);
    }
    ReplayError::Code(failure)
}
