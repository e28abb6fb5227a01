//! Polls: how tasks come.

use super::{Inner, WorkerError};
use crate::client::{Service, may_retry};
use crate::worker::workflow_task;
use std::sync::Arc;
use std::time::Duration;
use steadfast_proto::temporal::enums::v1::TaskQueueKind;
use steadfast_proto::temporal::taskqueue::v1::{TaskQueue, TaskQueueMetadata};
use steadfast_proto::temporal::workflowservice::v1 as wire;
use tonic::{Code, Request, Status};

/// The client's side of a long poll; a server answers within 60 s.
const POLL_LIMIT: Duration = Duration::from_secs(70);
/// First and longest pause after a poll that failed.
const PAUSE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(5));
/// How long the server may take to hear that the worker ends.
const GOODBYE: Duration = Duration::from_secs(2);

/// Polls until the worker is asked to end.
pub(crate) async fn run(inner: Arc<Inner>) -> Result<(), WorkerError> {
    let mut polls = tokio::task::JoinSet::new();
    if !inner.workflows.is_empty() {
        let all = inner.options.max_concurrent_workflow_task_polls;
        let sticky = match inner.sticky {
            Some(_) => all / 2,
            None => 0,
        };
        for index in 0..all.max(sticky + 1) {
            polls.spawn(workflow_polls(
                Arc::clone(&inner),
                index,
                index < sticky.max(1) && inner.sticky.is_some(),
            ));
        }
        // One poll serves both queues in turn when there may be no more.
        if all == 1 && inner.sticky.is_some() {
            polls.spawn(workflow_polls(Arc::clone(&inner), 1, false));
        }
    }
    if !inner.activities.is_empty() {
        for index in 0..inner.options.max_concurrent_activity_task_polls {
            polls.spawn(activity_polls(Arc::clone(&inner), index));
        }
    }
    let mut outcome = Ok(());
    while let Some(ended) = polls.join_next().await {
        match ended {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                inner.shutdown.cancel();
                outcome = Err(error);
            }
            Err(error) => tracing::error!(%error, "a poll ended by itself"),
        }
    }
    say_goodbye(&inner).await;
    let grace = inner.options.graceful_shutdown_timeout;
    inner.tasks.close();
    if tokio::time::timeout(grace, inner.tasks.wait())
        .await
        .is_err()
    {
        inner.cancel_activities();
        inner.tasks.wait().await;
    }
    inner.threads.close();
    outcome
}

/// Tells the server that the sticky queue has nobody any more.
async fn say_goodbye(inner: &Inner) {
    let Some(sticky_task_queue) = inner.sticky.clone() else {
        return;
    };
    let client = inner.client.raw();
    let request = wire::ShutdownWorkerRequest {
        namespace: client.namespace().to_string(),
        sticky_task_queue,
        identity: client.identity().to_string(),
        reason: "graceful shutdown".to_string(),
        ..Default::default()
    };
    let sent = client.call(GOODBYE, |mut service| {
        let request = request.clone();
        async move { service.shutdown_worker(request).await }
    });
    if let Err(status) = sent.await {
        tracing::debug!(%status, "the server does not know that the worker ended");
    }
}

/// One line of polls, which moves on to another address when its own does not answer.
struct Line {
    service: Service,
    index: usize,
    pause: Duration,
}

impl Line {
    fn new(inner: &Inner, index: usize) -> Self {
        Self {
            service: inner.client.raw().service(index),
            index,
            pause: PAUSE.0,
        }
    }

    /// What a poll said; waits after one that failed.
    async fn taken<T>(
        &mut self,
        inner: &Inner,
        answer: Result<tonic::Response<T>, Status>,
    ) -> Result<Option<T>, WorkerError> {
        let status = match answer {
            Ok(answer) => {
                self.pause = PAUSE.0;
                return Ok(Some(answer.into_inner()));
            }
            Err(status) => status,
        };
        let for_good = matches!(
            status.code(),
            Code::InvalidArgument | Code::NotFound | Code::PermissionDenied | Code::Unauthenticated
        );
        if for_good {
            return Err(WorkerError::Refused(status));
        }
        if may_retry(&status) {
            self.index = self.index.wrapping_add(1);
            self.service = inner.client.raw().service(self.index);
        }
        if status.code() != Code::DeadlineExceeded {
            tracing::debug!(%status, "a poll failed");
            tokio::select! {
                () = inner.shutdown.cancelled() => {}
                () = tokio::time::sleep(self.pause) => {}
            }
            self.pause = (self.pause * 2).min(PAUSE.1);
        }
        Ok(None)
    }
}

async fn workflow_polls(inner: Arc<Inner>, index: usize, sticky: bool) -> Result<(), WorkerError> {
    let mut line = Line::new(&inner, index);
    let task_queue = match (&inner.sticky, sticky) {
        (Some(name), true) => TaskQueue {
            name: name.clone(),
            kind: TaskQueueKind::Sticky as i32,
            normal_name: inner.task_queue.clone(),
        },
        _ => TaskQueue {
            name: inner.task_queue.clone(),
            kind: TaskQueueKind::Normal as i32,
            ..Default::default()
        },
    };
    loop {
        let slots = Arc::clone(&inner.workflow_slots);
        let slot = tokio::select! {
            biased;
            () = inner.shutdown.cancelled() => return Ok(()),
            slot = slots.acquire_owned() => slot,
        };
        let Ok(slot) = slot else {
            return Ok(());
        };
        if inner.threads.too_many_stuck() {
            return Err(WorkerError::Stuck);
        }
        let mut request = Request::new(wire::PollWorkflowTaskQueueRequest {
            namespace: inner.client.raw().namespace().to_string(),
            task_queue: Some(task_queue.clone()),
            identity: inner.client.raw().identity().to_string(),
            deployment_options: inner.deployment_options(),
            ..Default::default()
        });
        request.set_timeout(POLL_LIMIT);
        let answer = tokio::select! {
            biased;
            () = inner.shutdown.cancelled() => return Ok(()),
            answer = line.service.poll_workflow_task_queue(request) => answer,
        };
        let task = line.taken(&inner, answer).await?;
        if let Some(task) = task.filter(|task| !task.task_token.is_empty()) {
            let inner = Arc::clone(&inner);
            inner.tasks.clone().spawn(async move {
                workflow_task::perform(inner, task).await;
                drop(slot);
            });
        }
    }
}

async fn activity_polls(inner: Arc<Inner>, index: usize) -> Result<(), WorkerError> {
    let mut line = Line::new(&inner, index);
    let mut earliest = tokio::time::Instant::now();
    let polls = inner.options.max_concurrent_activity_task_polls;
    // Each line has its part of the rate.
    let apart = inner.options.max_worker_activities_per_second.map(|rate| {
        let polls = u32::try_from(polls).unwrap_or(u32::MAX);
        Duration::try_from_secs_f64(f64::from(polls) / rate.max(f64::MIN_POSITIVE))
            .unwrap_or(Duration::MAX)
    });
    loop {
        let slots = Arc::clone(&inner.activity_slots);
        let slot = tokio::select! {
            biased;
            () = inner.shutdown.cancelled() => return Ok(()),
            slot = async {
                tokio::time::sleep_until(earliest).await;
                slots.acquire_owned().await
            } => slot,
        };
        let Ok(slot) = slot else {
            return Ok(());
        };
        let rate = inner.options.max_task_queue_activities_per_second;
        let mut request = Request::new(wire::PollActivityTaskQueueRequest {
            namespace: inner.client.raw().namespace().to_string(),
            task_queue: Some(TaskQueue {
                name: inner.task_queue.clone(),
                kind: TaskQueueKind::Normal as i32,
                ..Default::default()
            }),
            identity: inner.client.raw().identity().to_string(),
            task_queue_metadata: rate.map(|rate| TaskQueueMetadata {
                max_tasks_per_second: Some(rate),
            }),
            deployment_options: inner.deployment_options(),
            ..Default::default()
        });
        request.set_timeout(POLL_LIMIT);
        let answer = tokio::select! {
            biased;
            () = inner.shutdown.cancelled() => return Ok(()),
            answer = line.service.poll_activity_task_queue(request) => answer,
        };
        let task = line.taken(&inner, answer).await?;
        if let Some(task) = task.filter(|task| !task.task_token.is_empty()) {
            if let Some(apart) = apart {
                earliest = tokio::time::Instant::now() + apart;
            }
            inner.run_activity(task, Some(slot));
        }
    }
}
