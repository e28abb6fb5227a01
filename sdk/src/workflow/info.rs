//! What a workflow can know of itself.

use crate::duration::{or_zero, time_or_epoch};
use crate::executor::Setup;
use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};
use steadfast_proto::temporal::common::v1::{
    Payload, Priority, RetryPolicy, SearchAttributes, WorkflowExecution,
};
use steadfast_proto::temporal::failure::v1::Failure;
use steadfast_proto::temporal::history::v1::HistoryEvent;
use steadfast_proto::temporal::history::v1::history_event::Attributes as Event;

/// What a workflow can know of itself. Times are the server's.
#[derive(Debug, Clone, PartialEq)]
pub struct Info {
    /// Where it lives.
    pub namespace: String,
    /// Its workflow id.
    pub workflow_id: String,
    /// This run.
    pub run_id: String,
    /// The run whose history this one began with; differs from `run_id` after a reset.
    pub original_run_id: String,
    /// The first run of its chain.
    pub first_run_id: String,
    /// The run that went on as this one.
    pub continued_run_id: Option<String>,
    /// Its type.
    pub workflow_type: String,
    /// Where its workflow tasks come from.
    pub task_queue: String,
    /// The first attempt has 1; more by a retry policy.
    pub attempt: i32,
    /// Its cron schedule; empty without one.
    pub cron_schedule: String,
    /// When the run was started.
    pub start_time: SystemTime,
    /// The workflow that started it as its child.
    pub parent: Option<WorkflowExecution>,
    /// The workflow at the top of its tree.
    pub root: Option<WorkflowExecution>,
    /// For all runs of its chain; zero for none.
    pub execution_timeout: Duration,
    /// For this run; zero for none.
    pub run_timeout: Duration,
    /// For one workflow task.
    pub task_timeout: Duration,
    /// How it is tried again.
    pub retry_policy: Option<RetryPolicy>,
    /// As it was started; [`crate::workflow::memo`] has it as it is.
    pub memo: BTreeMap<String, Payload>,
    /// As it was started; [`crate::workflow::search_attributes`] has them as they are.
    pub search_attributes: SearchAttributes,
    /// What came with its start.
    pub headers: BTreeMap<String, Payload>,
    /// Of its tasks.
    pub priority: Option<Priority>,
    /// What the run before it gave, of a cron schedule.
    pub last_completion_result: Vec<Payload>,
    /// Why the run before it failed.
    pub last_failure: Option<Failure>,
    /// Events up to this task.
    pub history_length: i64,
    /// Bytes up to this task.
    pub history_size_bytes: i64,
    /// The server thinks that it should go on as a new run.
    pub suggests_continue_as_new: bool,
}

impl Info {
    /// From the first event of a history.
    pub(crate) fn of_started(setup: &Setup, event: &HistoryEvent) -> Self {
        let found = match &event.attributes {
            Some(Event::WorkflowExecutionStartedEventAttributes(found)) => found.clone(),
            _ => Default::default(),
        };
        let or = |given: &str, found: String| match given.is_empty() {
            true => found,
            false => given.to_string(),
        };
        let some = |text: String| (!text.is_empty()).then_some(text);
        let queue = found.task_queue.unwrap_or_default().name;
        Self {
            namespace: setup.namespace.clone(),
            workflow_id: or(&setup.workflow_id, found.workflow_id),
            run_id: or(&setup.run_id, found.original_execution_run_id.clone()),
            original_run_id: found.original_execution_run_id,
            first_run_id: found.first_execution_run_id,
            continued_run_id: some(found.continued_execution_run_id),
            workflow_type: found.workflow_type.unwrap_or_default().name,
            task_queue: or(&queue, setup.task_queue.clone()),
            attempt: found.attempt,
            cron_schedule: found.cron_schedule,
            start_time: time_or_epoch(event.event_time),
            parent: found.parent_workflow_execution,
            root: found.root_workflow_execution,
            execution_timeout: or_zero(found.workflow_execution_timeout),
            run_timeout: or_zero(found.workflow_run_timeout),
            task_timeout: or_zero(found.workflow_task_timeout),
            retry_policy: found.retry_policy,
            memo: found.memo.unwrap_or_default().fields,
            search_attributes: found.search_attributes.unwrap_or_default(),
            headers: found.header.unwrap_or_default().fields,
            priority: found.priority,
            last_completion_result: found.last_completion_result.unwrap_or_default().payloads,
            last_failure: found.continued_failure,
            history_length: 0,
            history_size_bytes: 0,
            suggests_continue_as_new: false,
        }
    }
}
