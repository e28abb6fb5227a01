//! The form of requests: what can be told without the state, in Temporal's order and words.

mod cron;
mod link;
mod retry_policy;
mod start;
mod update;

pub(crate) use start::{signal_with_start, start};
pub(crate) use update::update;

use super::status::invalid;
use prost::Message;
use steadfast_engine::id::{WorkerVersion, uuid_bytes};
use steadfast_engine::mutation::ExecutionTarget;
use steadfast_engine::tables::Limits;
use steadfast_proto::temporal::common::v1 as common;
use steadfast_proto::temporal::deployment::v1::WorkerDeploymentOptions;
use steadfast_proto::temporal::enums::v1::WorkerVersioningMode;
use steadfast_proto::temporal::taskqueue::v1::TaskQueue;
use steadfast_proto::temporal::workflowservice::v1 as wire;
use tonic::Status;

/// Queue names that the server keeps for itself.
const RESERVED_QUEUES: &str = "/_sys/";
/// Executions and runs by id carry at most this many bytes into keys; longer ids name nothing.
const ID_BYTES_EVER: usize = 60_000;

/// Which run a request means.
pub(crate) fn execution(
    namespace: &str,
    execution: Option<&common::WorkflowExecution>,
) -> Result<ExecutionTarget, Status> {
    let Some(execution) = execution else {
        return Err(invalid("Execution is not set on request."));
    };
    if execution.workflow_id.is_empty() {
        return Err(invalid("WorkflowId is not set on request."));
    }
    if !execution.run_id.is_empty() && uuid_bytes(&execution.run_id).is_none() {
        return Err(invalid("Invalid RunId."));
    }
    if execution.workflow_id.len() > ID_BYTES_EVER {
        // No workflow has such an id: the border refuses to start one.
        return Err(super::status::not_found(format!(
            "workflow not found for ID: {}",
            execution.workflow_id
        )));
    }
    Ok(ExecutionTarget {
        namespace: namespace.to_owned(),
        workflow_id: execution.workflow_id.clone(),
        run_id: execution.run_id.to_ascii_lowercase(),
    })
}

/// A text of at most the configured length.
pub(crate) fn id_length(text: &str, what: &str, limits: &Limits) -> Result<(), Status> {
    if u64::try_from(text.len()).is_ok_and(|length| length <= limits.id_length_max) {
        Ok(())
    } else {
        Err(invalid(format!("{what} length exceeds limit.")))
    }
}

/// A time-out or delay that may be absent but not negative or malformed.
pub(crate) fn duration(duration: Option<&prost_types::Duration>) -> Result<(), &'static str> {
    let Some(duration) = duration else {
        return Ok(());
    };
    if duration.seconds < 0 || duration.nanos < 0 {
        return Err(if duration.seconds > 0 {
            "mismatched signs of seconds and nanos"
        } else {
            "negative duration"
        });
    }
    if duration.nanos > 999_999_999 {
        Err("nanos out of range")
    } else {
        Ok(())
    }
}

/// A blob below the configured limit.
pub(crate) fn blob<M: Message>(blob: Option<&M>, limits: &Limits) -> Result<(), Status> {
    if is_blob_over(blob, limits) {
        Err(invalid("Blob data size exceeds limit."))
    } else {
        Ok(())
    }
}

/// Whether a blob is over the configured limit.
pub(crate) fn is_blob_over<M: Message>(blob: Option<&M>, limits: &Limits) -> bool {
    let bytes = blob.map_or(0, Message::encoded_len);
    u64::try_from(bytes).unwrap_or(u64::MAX) > limits.blob_bytes_max
}

/// A task queue that work is put on.
pub(crate) fn task_queue(queue: Option<&TaskQueue>, limits: &Limits) -> Result<(), Status> {
    let Some(queue) = queue.filter(|queue| !queue.name.is_empty()) else {
        return Err(invalid("taskQueue is not set"));
    };
    task_queue_name(&queue.name, limits)
}

/// A task queue that is polled.
pub(crate) fn polled_task_queue<'queue>(
    queue: Option<&'queue TaskQueue>,
    limits: &Limits,
) -> Result<&'queue TaskQueue, Status> {
    let Some(queue) = queue else {
        return Err(invalid("taskQueue is not set"));
    };
    if queue.name.is_empty() {
        return Err(invalid("missing task queue name"));
    }
    task_queue_name(&queue.name, limits)?;
    Ok(queue)
}

/// A task queue's name.
pub(crate) fn task_queue_name(name: &str, limits: &Limits) -> Result<(), Status> {
    if u64::try_from(name.len()).is_ok_and(|length| length > limits.id_length_max) {
        return Err(invalid("taskQueue length exceeds limit"));
    }
    if name.starts_with(RESERVED_QUEUES) {
        return Err(invalid(
            "task queue name cannot start with reserved prefix /_sys/",
        ));
    }
    Ok(())
}

/// What a polling worker says of its version.
pub(crate) fn worker_version(
    capabilities: Option<&common::WorkerVersionCapabilities>,
    deployment: Option<&WorkerDeploymentOptions>,
) -> Result<WorkerVersion, Status> {
    if let Some(options) = deployment {
        let named = !options.deployment_name.is_empty();
        if named == options.build_id.is_empty() {
            return Err(invalid(
                "Deployment name and build id must be set together.",
            ));
        }
        if named {
            return Ok(WorkerVersion {
                build_id: options.build_id.clone(),
                use_versioning: options.worker_versioning_mode
                    == i32::from(WorkerVersioningMode::Versioned),
                deployment_name: options.deployment_name.clone(),
            });
        }
    }
    let Some(capabilities) = capabilities else {
        return Ok(WorkerVersion::default());
    };
    if capabilities.use_versioning && capabilities.build_id.is_empty() {
        return Err(invalid(
            "WorkerVersionStamp must be present if UseVersioning is true.",
        ));
    }
    Ok(WorkerVersion {
        build_id: capabilities.build_id.clone(),
        use_versioning: capabilities.use_versioning,
        deployment_name: capabilities.deployment_series_name.clone(),
    })
}

/// SignalWorkflowExecution.
pub(crate) fn signal(
    request: &wire::SignalWorkflowExecutionRequest,
    limits: &Limits,
) -> Result<(), Status> {
    execution(&request.namespace, request.workflow_execution.as_ref())?;
    if request.signal_name.is_empty() {
        return Err(invalid("SignalName is not set on request."));
    }
    id_length(&request.signal_name, "SignalName", limits)?;
    id_length(&request.request_id, "RequestId", limits)?;
    link::links(&request.links)?;
    blob(request.input.as_ref(), limits)
}

/// RequestCancelWorkflowExecution.
pub(crate) fn request_cancel(
    request: &wire::RequestCancelWorkflowExecutionRequest,
) -> Result<(), Status> {
    execution(&request.namespace, request.workflow_execution.as_ref())?;
    link::links(&request.links)
}

/// TerminateWorkflowExecution.
pub(crate) fn terminate(
    request: &wire::TerminateWorkflowExecutionRequest,
    limits: &Limits,
) -> Result<(), Status> {
    execution(&request.namespace, request.workflow_execution.as_ref())?;
    link::links(&request.links)?;
    blob(request.details.as_ref(), limits)
}

/// ResetWorkflowExecution.
pub(crate) fn reset(
    request: &wire::ResetWorkflowExecutionRequest,
    limits: &Limits,
) -> Result<(), Status> {
    if request.request_id.is_empty() {
        return Err(invalid("RequestId is not set on request."));
    }
    id_length(&request.request_id, "RequestId", limits)?;
    execution(&request.namespace, request.workflow_execution.as_ref()).map(|_| ())
}

/// QueryWorkflow.
pub(crate) fn query(
    request: &wire::QueryWorkflowRequest,
    limits: &Limits,
) -> Result<ExecutionTarget, Status> {
    let target = execution(&request.namespace, request.execution.as_ref())?;
    let Some(query) = &request.query else {
        return Err(invalid("Query is not set on request."));
    };
    if query.query_type.is_empty() {
        return Err(invalid("QueryType is not set on request."));
    }
    blob(query.query_args.as_ref(), limits)?;
    Ok(target)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn executions_are_checked_in_order() {
        let execution = |workflow_id: &str, run_id: &str| common::WorkflowExecution {
            workflow_id: workflow_id.to_owned(),
            run_id: run_id.to_owned(),
        };
        let text = |given: Option<&common::WorkflowExecution>| {
            super::execution("n", given)
                .unwrap_err()
                .message()
                .to_owned()
        };
        assert_eq!(text(None), "Execution is not set on request.");
        assert_eq!(
            text(Some(&execution("", "abc"))),
            "WorkflowId is not set on request."
        );
        assert_eq!(text(Some(&execution("w", "abc"))), "Invalid RunId.");
        let run_id = "00000000-0000-0000-0000-00000000000A";
        assert_eq!(
            super::execution("n", Some(&execution("w", run_id)))
                .unwrap()
                .run_id,
            run_id.to_lowercase()
        );
    }

    #[test]
    fn durations_may_not_be_negative() {
        let of = |seconds, nanos| duration(Some(&prost_types::Duration { seconds, nanos }));
        assert_eq!(duration(None), Ok(()));
        assert_eq!(of(i64::MAX, 0), Ok(()));
        assert_eq!(of(-1, 0), Err("negative duration"));
        assert_eq!(of(0, -1), Err("negative duration"));
        assert_eq!(of(1, -1), Err("mismatched signs of seconds and nanos"));
        assert_eq!(of(1, i32::MAX), Err("nanos out of range"));
    }

    #[test]
    fn queues_and_versions_are_checked() {
        let limits = Limits::default();
        let queue = |name: &str| TaskQueue {
            name: name.to_owned(),
            ..Default::default()
        };
        let polled = |queue: Option<&TaskQueue>| {
            polled_task_queue(queue, &limits)
                .unwrap_err()
                .message()
                .to_owned()
        };
        assert_eq!(polled(None), "taskQueue is not set");
        assert_eq!(polled(Some(&queue(""))), "missing task queue name");
        assert_eq!(
            polled(Some(&queue("/_sys/a"))),
            "task queue name cannot start with reserved prefix /_sys/"
        );
        assert_eq!(
            polled(Some(&queue(&"x".repeat(1_001)))),
            "taskQueue length exceeds limit"
        );
        assert!(task_queue(Some(&queue("q")), &limits).is_ok());
        let options = |name: &str, build: &str| WorkerDeploymentOptions {
            deployment_name: name.to_owned(),
            build_id: build.to_owned(),
            ..Default::default()
        };
        assert!(worker_version(None, Some(&options("d", ""))).is_err());
        assert!(worker_version(None, Some(&options("", "b"))).is_err());
        assert_eq!(
            worker_version(None, Some(&options("", ""))).unwrap(),
            WorkerVersion::default()
        );
        assert_eq!(
            worker_version(None, Some(&options("d", "b")))
                .unwrap()
                .build_id,
            "b"
        );
    }
}
