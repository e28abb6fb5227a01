//! Which queues a mutation may make tasks for (design D5). Hints: a wrong one costs a little.

use super::record::View;
use steadfast_engine::id::{NamespaceNumber, QueueKey, RunRef, TaskKind};
use steadfast_engine::mutation::{ActivityTarget, ExecutionTarget, TaskToken};
use steadfast_engine::read::{self, StoredRun, namespace, resolve, target};
use steadfast_engine::tables::keys::{message_key, prefix_end, queue_prefix};
use steadfast_engine::tables::{
    Due, DueKind, ExternalTarget, Message, MessageBody, Record, Run, Tables,
};
use steadfast_engine::{Fault, Mutation};
use steadfast_proto::temporal::command::v1::command::Attributes;
use steadfast_proto::temporal::common::v1::WorkflowExecution;
use steadfast_proto::temporal::workflowservice::v1::RespondWorkflowTaskCompletedRequest;

/// Reservations of one proposal.
const RESERVATIONS_MAX: usize = 16;

type Queues = Result<Vec<QueueKey>, Fault>;

/// The queues that a mutation may make tasks for, as far as this node's state tells.
#[expect(clippy::too_many_lines, reason = "one match, an arm for each mutation")]
pub(super) fn wanted(view: &View, mutation: &Mutation) -> Queues {
    match mutation {
        Mutation::StartWorkflowExecution(request) => {
            // An eager start needs no poller.
            let name = request
                .task_queue
                .as_ref()
                .filter(|_| !request.request_eager_execution);
            workflow_queue(view, &request.namespace, name.map(|queue| &*queue.name))
        }
        Mutation::SignalWithStartWorkflowExecution(request) => {
            let namespace = &request.namespace;
            let running = current(view, namespace, &request.workflow_id, "")?
                .filter(|run| run.close.is_none());
            match running {
                Some(run) => Ok(vec![next_queue(&run)]),
                None => workflow_queue(
                    view,
                    namespace,
                    request.task_queue.as_ref().map(|queue| &*queue.name),
                ),
            }
        }
        Mutation::ExecuteMultiOperation { start, .. } => {
            let running = current(view, &start.namespace, &start.workflow_id, "")?
                .filter(|run| run.close.is_none());
            let mut queues = unless_pending(running);
            let name = start.task_queue.as_ref().map(|queue| &*queue.name);
            queues.extend(workflow_queue(view, &start.namespace, name)?);
            Ok(queues)
        }
        Mutation::UpdateWorkflowExecution(request) => of_execution(
            view,
            &request.namespace,
            request.workflow_execution.as_ref(),
        ),
        Mutation::SignalWorkflowExecution(request) => of_execution(
            view,
            &request.namespace,
            request.workflow_execution.as_ref(),
        ),
        Mutation::RequestCancelWorkflowExecution(request) => of_execution(
            view,
            &request.namespace,
            request.workflow_execution.as_ref(),
        ),
        Mutation::ResetStickyTaskQueue(ExecutionTarget {
            namespace,
            workflow_id,
            run_id,
        }) => {
            let run = current(view, namespace, workflow_id, run_id)?;
            Ok(run.map(|run| normal_queue(&run)).into_iter().collect())
        }
        Mutation::RespondWorkflowTaskCompleted { token, request } => {
            completed(view, token, request)
        }
        Mutation::RespondWorkflowTaskFailed { token, .. } => Ok(read::run(view, &token.run)?
            .map(|run| normal_queue(&run))
            .into_iter()
            .collect()),
        Mutation::RespondActivityTaskCompleted { target, .. }
        | Mutation::RespondActivityTaskFailed { target, .. }
        | Mutation::RespondActivityTaskCanceled { target, .. } => of_activity(view, target),
        Mutation::ReturnTask(token) => returned(view, token),
        Mutation::FireDue(key) => match view.get(key)?.as_deref() {
            Some(Record::Due(due)) => of_due(view, due),
            Some(_) | None => Ok(Vec::new()),
        },
        Mutation::DeliverMessage(message) => match view.get(&message_key(*message))?.as_deref() {
            Some(Record::Message(message)) => delivered(view, message),
            Some(_) | None => Ok(Vec::new()),
        },
        Mutation::ResetWorkflowExecution(request) => {
            let named = request.workflow_execution.clone().unwrap_or_default();
            let run = current(view, &request.namespace, &named.workflow_id, "")?;
            Ok(run.map(|run| normal_queue(&run)).into_iter().collect())
        }
        Mutation::AbandonStickyQueue(queue) => abandoned(view, queue),
        Mutation::Bootstrap { .. }
        | Mutation::SetConfig { .. }
        | Mutation::RegisterNamespace { .. }
        | Mutation::UpdateNamespace(_)
        | Mutation::AddSearchAttributes { .. }
        | Mutation::TerminateWorkflowExecution(_)
        | Mutation::DeleteWorkflowExecution(_)
        | Mutation::DeleteSlice(_)
        | Mutation::ClaimTask(_)
        | Mutation::RecordActivityTaskHeartbeat { .. }
        | Mutation::ShutdownWorker { .. }
        | Mutation::QuarantineRun { .. }
        | Mutation::RaiseEngineVersion(_)
        | Mutation::PurgeNamespace(_) => Ok(Vec::new()),
    }
}

fn workflow_queue(view: &View, namespace: &str, name: Option<&str>) -> Queues {
    let (Some(name), Some(namespace)) = (name, namespace::by_name(view, namespace)?) else {
        return Ok(Vec::new());
    };
    Ok(vec![queue(namespace.number, TaskKind::Workflow, name)])
}

fn queue(namespace: NamespaceNumber, kind: TaskKind, name: &str) -> QueueKey {
    QueueKey {
        namespace,
        kind,
        name: name.to_owned(),
    }
}

fn normal_queue(run: &Run) -> QueueKey {
    queue(run.run.namespace, TaskKind::Workflow, &run.task_queue)
}

/// Where the run's next workflow task goes.
fn next_queue(run: &Run) -> QueueKey {
    let name = run
        .sticky
        .as_ref()
        .map_or(&run.task_queue, |sticky| &sticky.name);
    queue(run.run.namespace, TaskKind::Workflow, name)
}

fn current(
    view: &View,
    namespace: &str,
    workflow_id: &str,
    run_id: &str,
) -> Result<Option<StoredRun>, Fault> {
    let Some(namespace) = namespace::by_name(view, namespace)? else {
        return Ok(None);
    };
    Ok(resolve(view, namespace.number, workflow_id, run_id)?.ok())
}

/// Nothing is made while a workflow task is pending.
fn unless_pending(run: Option<StoredRun>) -> Vec<QueueKey> {
    let idle = run.filter(|run| run.workflow_task.is_none() && run.close.is_none());
    idle.map(|run| next_queue(&run)).into_iter().collect()
}

fn of_execution(view: &View, namespace: &str, execution: Option<&WorkflowExecution>) -> Queues {
    let Some(execution) = execution else {
        return Ok(Vec::new());
    };
    Ok(unless_pending(current(
        view,
        namespace,
        &execution.workflow_id,
        &execution.run_id,
    )?))
}

/// Where a message makes a workflow task.
fn delivered(view: &View, message: &Message) -> Queues {
    let target = match &message.body {
        MessageBody::StartChild(start) => {
            let name = start.initiated.task_queue.clone().unwrap_or_default().name;
            return Ok(vec![queue(start.namespace, TaskKind::Workflow, &name)]);
        }
        MessageBody::ChildStarted { parent, .. }
        | MessageBody::StartChildFailed { parent, .. }
        | MessageBody::ChildClosed { parent, .. } => read::run(view, parent)?,
        MessageBody::ExternalResult { to, .. } => read::run(view, to)?,
        MessageBody::ParentClosed {
            namespace,
            workflow_id,
            ..
        } => resolve(view, *namespace, workflow_id, "")?.ok(),
        MessageBody::SignalExternal(signal) => of_target(view, &signal.target)?,
        MessageBody::RequestCancelExternal(request) => of_target(view, &request.target)?,
        MessageBody::CloseChildren { .. } => None,
    };
    Ok(unless_pending(target))
}

fn of_target(view: &View, target: &ExternalTarget) -> Result<Option<StoredRun>, Fault> {
    let found = resolve(view, target.namespace, &target.workflow_id, &target.run_id)?;
    Ok(found.ok())
}

fn of_activity(view: &View, target: &ActivityTarget) -> Queues {
    let run = match target {
        ActivityTarget::Token(token) => read::run(view, &token.run)?,
        ActivityTarget::Id {
            namespace,
            workflow_id,
            run_id,
            ..
        } => current(view, namespace, workflow_id, run_id)?,
    };
    Ok(unless_pending(run))
}

fn completed(
    view: &View,
    token: &TaskToken,
    request: &RespondWorkflowTaskCompletedRequest,
) -> Queues {
    let namespace = token.run.namespace;
    let mut queues = Vec::new();
    let mut normal = None;
    for command in &request.commands {
        if queues.len() >= RESERVATIONS_MAX {
            break;
        }
        match &command.attributes {
            Some(Attributes::ScheduleActivityTaskCommandAttributes(schedule))
                if !schedule.request_eager_execution =>
            {
                let name = schedule.task_queue.as_ref().map_or("", |queue| &queue.name);
                queues.push(queue(namespace, TaskKind::Activity, name));
            }
            Some(Attributes::ContinueAsNewWorkflowExecutionCommandAttributes(next)) => {
                let name = next.task_queue.as_ref().map(|queue| queue.name.clone());
                normal = Some(name.filter(|name| !name.is_empty()));
            }
            Some(_) | None => {}
        }
    }
    if let Some(named) = normal {
        let name = match named {
            Some(name) => Some(name),
            None => read::run(view, &token.run)?.map(|run| run.task_queue.clone()),
        };
        queues.extend(name.map(|name| queue(namespace, TaskKind::Workflow, &name)));
    } else if !request.return_new_workflow_task
        && let Some(run) = read::run(view, &token.run)?
        && (request.force_create_new_workflow_task
            || run.buffered_count > 0
            || run.updates.open > 0)
    {
        let sticky = request
            .sticky_attributes
            .as_ref()
            .and_then(|sticky| sticky.worker_task_queue.as_ref());
        let name = sticky.map_or(&run.task_queue, |sticky| &sticky.name);
        queues.push(queue(namespace, TaskKind::Workflow, name));
    }
    Ok(queues)
}

fn returned(view: &View, token: &TaskToken) -> Queues {
    let name = match token.kind {
        TaskKind::Workflow => read::run(view, &token.run)?
            .and_then(|run| run.workflow_task.as_ref().map(|task| task.queue.clone())),
        TaskKind::Activity => activity_queue(view, &token.run, token.scheduled_event_id)?,
    };
    Ok(name
        .map(|name| queue(token.run.namespace, token.kind, &name))
        .into_iter()
        .collect())
}

fn activity_queue(
    view: &View,
    run: &RunRef,
    scheduled_event_id: i64,
) -> Result<Option<String>, Fault> {
    let activity = target::activity(view, run, scheduled_event_id)?;
    Ok(activity.and_then(|activity| {
        activity
            .scheduled
            .task_queue
            .as_ref()
            .map(|queue| queue.name.clone())
    }))
}

fn of_due(view: &View, due: &Due) -> Queues {
    match &due.kind {
        DueKind::ActivityRetry {
            scheduled_event_id, ..
        } => {
            let name = activity_queue(view, &due.run, *scheduled_event_id)?;
            Ok(name
                .map(|name| queue(due.run.namespace, TaskKind::Activity, &name))
                .into_iter()
                .collect())
        }
        DueKind::UserTimer { .. }
        | DueKind::ActivityScheduleToStart { .. }
        | DueKind::ActivityScheduleToClose { .. }
        | DueKind::ActivityStartToClose { .. }
        | DueKind::ActivityHeartbeat { .. } => Ok(unless_pending(read::run(view, &due.run)?)),
        DueKind::WorkflowTaskScheduleToStart { .. }
        | DueKind::WorkflowTaskStartToClose { .. }
        | DueKind::FirstWorkflowTask
        | DueKind::RunTimeout
        | DueKind::ExecutionTimeout => Ok(read::run(view, &due.run)?
            .map(|run| normal_queue(&run))
            .into_iter()
            .collect()),
        DueKind::Retention => Ok(Vec::new()),
    }
}

/// The head of a sticky queue goes to its run's normal queue.
fn abandoned(view: &View, queue: &QueueKey) -> Queues {
    Ok(head_run(view, queue)?
        .map(|run| normal_queue(&run))
        .into_iter()
        .collect())
}

/// The run whose task is at the head of a queue.
pub(super) fn head_run(view: &View, queue: &QueueKey) -> Result<Option<StoredRun>, Fault> {
    let prefix = queue_prefix(queue);
    match view
        .scan(&prefix, &prefix_end(&prefix), 1, false)?
        .first()
        .map(|(_, record)| &**record)
    {
        Some(Record::QueueTask(task)) => read::run(view, &task.run),
        Some(_) | None => Ok(None),
    }
}
