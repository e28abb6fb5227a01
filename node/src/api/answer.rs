//! Polls' answers, built from the state and an assigned task.

use super::status::fault;
use super::token::{self, ClusterDigest, HistoryToken, QueryToken};
use crate::matching::Matching;
use bytes::Bytes;
use std::collections::BTreeMap;
use steadfast_engine::Tables;
use steadfast_engine::effect::{AssignedActivityTask, AssignedWorkflowTask};
use steadfast_engine::id::{QueueKey, RunRef, TaskKind};
use steadfast_engine::read::history::{self, PAGE_BATCHES_MAX};
use steadfast_engine::read::{StoredRun, namespace, queue, run, target};
use steadfast_proto::temporal::common::v1 as common;
use steadfast_proto::temporal::enums::v1::TaskQueueKind;
use steadfast_proto::temporal::query::v1::WorkflowQuery;
use steadfast_proto::temporal::taskqueue::v1::TaskQueue;
use steadfast_proto::temporal::workflowservice::v1 as wire;
use tonic::Status;

/// A poll's answer counts the backlog up to here: it is only a hint.
const BACKLOG_HINT_MAX: usize = 20;

/// An encoded `History` with no event that is present on the wire all the same: a field of an
/// unknown number. Go's SDK does not survive an answer without a `history` field.
const EMPTY_HISTORY: Bytes = Bytes::from_static(&[0xf8, 0x7f, 0x00]);

/// How much of the history goes with a workflow task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Events {
    /// All of it: the worker may know nothing.
    All,
    /// What came after the previous started event: the worker has the rest in its cache.
    New,
}

/// A `History` field that is there even when there are no events.
pub(crate) fn present(history: Bytes) -> Bytes {
    if history.is_empty() {
        EMPTY_HISTORY
    } else {
        history
    }
}

/// The answer that carries a workflow task; `None` when its run is gone meanwhile.
pub(crate) fn workflow_task(
    tables: &dyn Tables,
    task: &AssignedWorkflowTask,
    events: Events,
    queries: BTreeMap<String, WorkflowQuery>,
    matching: &Matching,
) -> Result<Option<wire::PollWorkflowTaskQueueResponse>, Status> {
    let Some(run) = run(tables, &task.token.run).map_err(|broken| fault(&broken))? else {
        return Ok(None);
    };
    let from = match events {
        Events::All => 1,
        Events::New => task.previous_started_event_id + 1,
    };
    let page = history::forward(tables, &run, from, task.stored_until, PAGE_BATCHES_MAX)
        .map_err(|broken| fault(&broken))?;
    let (history, next_page_token) = match page.next {
        Some(next) => (
            page.events,
            token::history(&HistoryToken {
                run_id: run.run_id.clone(),
                next,
                until: task.stored_until,
                backward: false,
            }),
        ),
        None => (history::joined(page.events, &task.tail), Bytes::new()),
    };
    let backlog_count_hint = backlog_hint(tables, &run, matching)?;
    let cluster = ClusterDigest::of(tables).map_err(|broken| fault(&broken))?;
    Ok(Some(wire::PollWorkflowTaskQueueResponse {
        task_token: token::task(&task.token, cluster),
        workflow_execution: Some(execution(&run)),
        workflow_type: Some(common::WorkflowType {
            name: task.workflow_type.clone(),
        }),
        previous_started_event_id: task.previous_started_event_id,
        started_event_id: task.token.started_event_id,
        attempt: task.token.attempt,
        backlog_count_hint,
        history: present(history),
        next_page_token,
        workflow_execution_task_queue: Some(normal_queue(&task.normal_queue)),
        scheduled_time: Some(task.scheduled_at.to_proto()),
        started_time: Some(task.started_at.to_proto()),
        queries,
        messages: task.messages.clone(),
        ..Default::default()
    }))
}

/// What waits in the queue that the run's task came from, without what is on its way to other
/// polls. Go's SDK leaves its normal queue alone while the answer to a sticky poll says more than
/// zero, so a count of another queue, or of tasks that are gone when the answer arrives, would
/// starve the normal queue. Only the leader knows; zero is always harmless.
fn backlog_hint(tables: &dyn Tables, run: &StoredRun, matching: &Matching) -> Result<i64, Status> {
    let Some(task) = &run.workflow_task else {
        return Ok(0);
    };
    let key = QueueKey {
        namespace: run.run.namespace,
        kind: TaskKind::Workflow,
        name: task.queue.clone(),
    };
    let Some(claims) = matching.claims(&key) else {
        return Ok(0);
    };
    let backlog =
        queue::backlog(tables, &key, BACKLOG_HINT_MAX).map_err(|broken| fault(&broken))?;
    let unclaimed = backlog.count.saturating_sub(claims);
    Ok(i64::try_from(unclaimed).unwrap_or(i64::MAX))
}

/// The answer that carries a query on its own; `None` when its run is gone meanwhile.
pub(crate) fn query_task(
    tables: &dyn Tables,
    reference: &RunRef,
    events: Events,
    query_token: &QueryToken,
    query: WorkflowQuery,
) -> Result<Option<wire::PollWorkflowTaskQueueResponse>, Status> {
    let Some(run) = run(tables, reference).map_err(|broken| fault(&broken))? else {
        return Ok(None);
    };
    let from = match events {
        Events::All => 1,
        Events::New => run.last_completed_started_event_id + 1,
    };
    let until = run.next_event_id - 1;
    // A worker with a cache already has all events but for those of a close.
    let from = if events == Events::New && run.close.is_none() {
        until + 1
    } else {
        from
    };
    let page = history::forward(tables, &run, from, until, PAGE_BATCHES_MAX)
        .map_err(|broken| fault(&broken))?;
    let next_page_token = page.next.map(|next| {
        let run_id = run.run_id.clone();
        token::history(&HistoryToken {
            run_id,
            next,
            until,
            backward: false,
        })
    });
    Ok(Some(wire::PollWorkflowTaskQueueResponse {
        task_token: token::query(query_token),
        workflow_execution: Some(execution(&run)),
        workflow_type: Some(common::WorkflowType {
            name: run.workflow_type.clone(),
        }),
        previous_started_event_id: run.last_completed_started_event_id,
        attempt: 1,
        history: present(page.events),
        next_page_token: next_page_token.unwrap_or_default(),
        query: Some(query),
        workflow_execution_task_queue: Some(normal_queue(&run.task_queue)),
        ..Default::default()
    }))
}

/// The answer that carries an activity task; `None` when the activity is gone meanwhile.
pub(crate) fn activity_task(
    tables: &dyn Tables,
    task: &AssignedActivityTask,
    merge_priority: bool,
) -> Result<Option<wire::PollActivityTaskQueueResponse>, Status> {
    let reference = &task.token.run;
    let broken = |broken| fault(&broken);
    let Some(run) = run(tables, reference).map_err(broken)? else {
        return Ok(None);
    };
    let found =
        target::activity(tables, reference, task.token.scheduled_event_id).map_err(broken)?;
    let Some(activity) = found else {
        return Ok(None);
    };
    let Some(namespace) = namespace::by_number(tables, reference.namespace).map_err(broken)? else {
        return Ok(None);
    };
    let cluster = ClusterDigest::of(tables).map_err(broken)?;
    let scheduled = &activity.scheduled;
    let workflow_priority = run
        .priority
        .as_ref()
        .map(|priority| &priority.0)
        .filter(|_| merge_priority);
    Ok(Some(wire::PollActivityTaskQueueResponse {
        task_token: token::task(&task.token, cluster),
        workflow_namespace: namespace.name.clone(),
        workflow_type: Some(common::WorkflowType {
            name: run.workflow_type.clone(),
        }),
        workflow_execution: Some(execution(&run)),
        activity_type: scheduled.activity_type.clone(),
        activity_id: scheduled.activity_id.clone(),
        header: scheduled.header.clone(),
        input: scheduled.input.clone(),
        heartbeat_details: activity
            .heartbeat_details
            .as_ref()
            .map(|details| details.0.clone()),
        scheduled_time: Some(task.scheduled_at.to_proto()),
        current_attempt_scheduled_time: Some(task.attempt_scheduled_at.to_proto()),
        started_time: Some(task.started_at.to_proto()),
        attempt: task.token.attempt,
        schedule_to_close_timeout: Some(activity.schedule_to_close.to_proto()),
        start_to_close_timeout: Some(activity.start_to_close.to_proto()),
        heartbeat_timeout: Some(task.heartbeat_timeout.to_proto()),
        retry_policy: scheduled.retry_policy.clone(),
        priority: merged(scheduled.priority.as_ref(), workflow_priority),
        ..Default::default()
    }))
}

fn execution(run: &StoredRun) -> common::WorkflowExecution {
    common::WorkflowExecution {
        workflow_id: run.run.workflow_id.clone(),
        run_id: run.run_id.clone(),
    }
}

fn normal_queue(name: &str) -> TaskQueue {
    TaskQueue {
        name: name.to_owned(),
        kind: TaskQueueKind::Normal.into(),
        normal_name: String::new(),
    }
}

/// The activity's priority, its unset fields taken from the workflow's.
fn merged(
    own: Option<&common::Priority>,
    workflow: Option<&common::Priority>,
) -> Option<common::Priority> {
    let (Some(own), Some(workflow)) = (own, workflow) else {
        return own.or(workflow).cloned();
    };
    let mut merged = own.clone();
    if merged.priority_key == 0 {
        merged.priority_key = workflow.priority_key;
    }
    if merged.fairness_key.is_empty() {
        merged.fairness_key.clone_from(&workflow.fairness_key);
    }
    if merged.fairness_weight == 0.0 {
        merged.fairness_weight = workflow.fairness_weight;
    }
    Some(merged)
}

#[cfg(test)]
mod tests {
    use super::*;
    use prost::Message;
    use steadfast_proto::temporal::history::v1::History;

    #[test]
    fn an_empty_history_is_there_and_empty() {
        let response = wire::PollWorkflowTaskQueueResponse {
            history: present(Bytes::new()),
            ..Default::default()
        };
        assert!(response.encoded_len() > 0);
        assert_eq!(
            History::decode(response.history).unwrap(),
            History::default()
        );
    }

    #[test]
    fn priorities_merge_field_by_field() {
        let own = common::Priority {
            fairness_key: "k".to_owned(),
            ..Default::default()
        };
        let workflow = common::Priority {
            priority_key: 3,
            fairness_key: "w".to_owned(),
            fairness_weight: 2.0,
        };
        let expected = common::Priority {
            priority_key: 3,
            fairness_key: "k".to_owned(),
            fairness_weight: 2.0,
        };
        assert_eq!(merged(Some(&own), Some(&workflow)), Some(expected));
        assert_eq!(merged(None, None), None);
    }
}
