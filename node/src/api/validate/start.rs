//! StartWorkflowExecution and SignalWithStartWorkflowExecution.

use super::cron::cron_schedule;
use super::link::links;
use super::retry_policy::retry_policy;
use super::{blob, duration, id_length, task_queue};
use crate::api::status::invalid;
use prost::Message;
use steadfast_engine::tables::Limits;
use steadfast_proto::temporal::common::v1 as common;
use steadfast_proto::temporal::enums::v1::{WorkflowIdConflictPolicy, WorkflowIdReusePolicy};
use steadfast_proto::temporal::taskqueue::v1::TaskQueue;
use steadfast_proto::temporal::workflow::v1::{
    VersioningOverride,
    versioning_override::{Override, PinnedOverrideBehavior},
};
use steadfast_proto::temporal::workflowservice::v1 as wire;
use tonic::Status;

/// `matching.maxFairnessKeyLength`, bytes.
const FAIRNESS_KEY_BYTES_MAX: usize = 64;

/// The fields that both ways to start share.
struct Start<'request> {
    workflow_type: Option<&'request common::WorkflowType>,
    task_queue: Option<&'request TaskQueue>,
    execution_timeout: Option<&'request prost_types::Duration>,
    run_timeout: Option<&'request prost_types::Duration>,
    task_timeout: Option<&'request prost_types::Duration>,
    start_delay: Option<&'request prost_types::Duration>,
    request_id: &'request str,
    retry_policy: Option<&'request common::RetryPolicy>,
    cron_schedule: &'request str,
    input: Option<&'request common::Payloads>,
    memo: Option<&'request common::Memo>,
    links: &'request [common::Link],
    versioning_override: Option<&'request VersioningOverride>,
    priority: Option<&'request common::Priority>,
}

/// Checks a start, and fills in what Temporal's front end fills in.
pub(crate) fn start(
    request: &wire::StartWorkflowExecutionRequest,
    limits: &Limits,
) -> Result<(), Status> {
    if request.workflow_id.is_empty() {
        return Err(invalid("WorkflowId is not set on request."));
    }
    short(&request.workflow_id, "WorkflowId", limits)?;
    Start {
        workflow_type: request.workflow_type.as_ref(),
        task_queue: request.task_queue.as_ref(),
        execution_timeout: request.workflow_execution_timeout.as_ref(),
        run_timeout: request.workflow_run_timeout.as_ref(),
        task_timeout: request.workflow_task_timeout.as_ref(),
        start_delay: request.workflow_start_delay.as_ref(),
        request_id: &request.request_id,
        retry_policy: request.retry_policy.as_ref(),
        cron_schedule: &request.cron_schedule,
        input: request.input.as_ref(),
        memo: request.memo.as_ref(),
        links: &request.links,
        versioning_override: request.versioning_override.as_ref(),
        priority: request.priority.as_ref(),
    }
    .check(limits)?;
    policies(
        request.workflow_id_reuse_policy,
        request.workflow_id_conflict_policy,
    )?;
    blob(request.last_completion_result.as_ref(), limits)?;
    blob(request.continued_failure.as_ref(), limits)?;
    let attaches_callbacks = request
        .on_conflict_options
        .as_ref()
        .is_some_and(|options| options.attach_completion_callbacks && !options.attach_request_id);
    if attaches_callbacks {
        return Err(invalid(
            "attaching request ID is required for attaching completion callbacks",
        ));
    }
    if !request.completion_callbacks.is_empty() {
        return Err(Status::unimplemented(
            "completion callbacks are not implemented",
        ));
    }
    time_skipping(request.time_skipping_config.as_ref())
}

/// Checks a signal-with-start.
pub(crate) fn signal_with_start(
    request: &wire::SignalWithStartWorkflowExecutionRequest,
    limits: &Limits,
) -> Result<(), Status> {
    if request.workflow_id.is_empty() {
        return Err(invalid("WorkflowId is not set on request."));
    }
    short(&request.workflow_id, "WorkflowId", limits)?;
    if request.signal_name.is_empty() {
        return Err(invalid("signal not set"));
    }
    short(&request.signal_name, "signal name", limits)?;
    Start {
        workflow_type: request.workflow_type.as_ref(),
        task_queue: request.task_queue.as_ref(),
        execution_timeout: request.workflow_execution_timeout.as_ref(),
        run_timeout: request.workflow_run_timeout.as_ref(),
        task_timeout: request.workflow_task_timeout.as_ref(),
        start_delay: request.workflow_start_delay.as_ref(),
        request_id: &request.request_id,
        retry_policy: request.retry_policy.as_ref(),
        cron_schedule: &request.cron_schedule,
        input: request.input.as_ref(),
        memo: request.memo.as_ref(),
        links: &request.links,
        versioning_override: request.versioning_override.as_ref(),
        priority: request.priority.as_ref(),
    }
    .check(limits)?;
    if request.workflow_id_conflict_policy == i32::from(WorkflowIdConflictPolicy::Fail) {
        return Err(invalid(
            "Invalid WorkflowIDConflictPolicy: WORKFLOW_ID_CONFLICT_POLICY_FAIL is not supported for this operation.",
        ));
    }
    policies(
        request.workflow_id_reuse_policy,
        request.workflow_id_conflict_policy,
    )?;
    blob(request.signal_input.as_ref(), limits)?;
    time_skipping(request.time_skipping_config.as_ref())
}

impl Start<'_> {
    fn check(&self, limits: &Limits) -> Result<(), Status> {
        retry_policy(self.retry_policy)?;
        negative(self.start_delay, "WorkflowStartDelaySeconds")?;
        let delayed = self
            .start_delay
            .is_some_and(|delay| delay.seconds > 0 || delay.nanos > 0);
        if delayed && !self.cron_schedule.is_empty() {
            return Err(invalid(
                "CronSchedule and WorkflowStartDelay may not be used together.",
            ));
        }
        cron_schedule(self.cron_schedule)?;
        let Some(workflow_type) = self
            .workflow_type
            .filter(|workflow_type| !workflow_type.name.is_empty())
        else {
            return Err(invalid("WorkflowType is not set on request."));
        };
        id_length(&workflow_type.name, "WorkflowType", limits)?;
        task_queue(self.task_queue, limits)?;
        negative(self.execution_timeout, "WorkflowExecutionTimeoutSeconds")?;
        negative(self.run_timeout, "WorkflowRunTimeoutSeconds")?;
        negative(self.task_timeout, "WorkflowTaskTimeoutSeconds")?;
        id_length(self.request_id, "RequestId", limits)?;
        versioning_override(self.versioning_override, self.task_queue)?;
        priority(self.priority)?;
        links(self.links)?;
        blob(self.input, limits)?;
        let memo_bytes = self.memo.map_or(0, Message::encoded_len);
        if u64::try_from(memo_bytes).unwrap_or(u64::MAX) > limits.memo_bytes_max {
            return Err(invalid("Memo size exceeds limit."));
        }
        Ok(())
    }
}

fn short(text: &str, what: &str, limits: &Limits) -> Result<(), Status> {
    let (length, limit) = (text.len(), limits.id_length_max);
    if u64::try_from(length).is_ok_and(|length| length <= limit) {
        return Ok(());
    }
    Err(invalid(format!(
        "{what} exceeds maximum allowed length ({length}/{limit})"
    )))
}

fn negative(value: Option<&prost_types::Duration>, what: &str) -> Result<(), Status> {
    duration(value).map_err(|cause| {
        invalid(format!(
            "An invalid {what} is set on request. cause: {cause}"
        ))
    })
}

fn policies(reuse: i32, conflict: i32) -> Result<(), Status> {
    if reuse == i32::from(WorkflowIdReusePolicy::RejectDuplicate)
        && conflict == i32::from(WorkflowIdConflictPolicy::TerminateExisting)
    {
        return Err(invalid(
            "Invalid WorkflowIDReusePolicy: WORKFLOW_ID_REUSE_POLICY_REJECT_DUPLICATE cannot be used together with \
             WorkflowIdConflictPolicy WORKFLOW_ID_CONFLICT_POLICY_TERMINATE_EXISTING",
        ));
    }
    #[expect(deprecated, reason = "old clients send it")]
    let terminate_if_running = i32::from(WorkflowIdReusePolicy::TerminateIfRunning);
    if reuse == terminate_if_running && conflict != i32::from(WorkflowIdConflictPolicy::Unspecified)
    {
        return Err(invalid(
            "Invalid WorkflowIDReusePolicy: WORKFLOW_ID_REUSE_POLICY_TERMINATE_IF_RUNNING cannot be used together with \
             a WorkflowIDConflictPolicy",
        ));
    }
    Ok(())
}

/// Overrides are checked as Temporal does; there are no deployments to pin to yet.
#[expect(deprecated, reason = "old clients send the old fields")]
fn versioning_override(
    given: Option<&VersioningOverride>,
    queue: Option<&TaskQueue>,
) -> Result<(), Status> {
    const OLD_PINNED: i32 = 1;
    const OLD_AUTO_UPGRADE: i32 = 2;
    let Some(given) = given else { return Ok(()) };
    let absent = |version: &str| {
        let queue = queue.map(|queue| queue.name.as_str()).unwrap_or_default();
        Status::failed_precondition(format!(
            "Pinned version '{version}' is not present in task queue '{queue}' of type 'Workflow'"
        ))
    };
    match &given.r#override {
        Some(Override::Pinned(pinned)) => {
            let Some(version) = &pinned.version else {
                return Err(invalid("must provide version if override is pinned."));
            };
            if pinned.behavior == i32::from(PinnedOverrideBehavior::Unspecified) {
                return Err(invalid(
                    "must specify pinned override behavior if override is pinned.",
                ));
            }
            Err(absent(&format!(
                "{}:{}",
                version.deployment_name, version.build_id
            )))
        }
        Some(Override::AutoUpgrade(true)) => Ok(()),
        Some(Override::AutoUpgrade(false)) => Err(invalid("auto-upgrade override must be true")),
        Some(Override::OneTime(_)) => Err(Status::unimplemented(
            "one-time overrides are not implemented",
        )),
        None => match given.behavior {
            OLD_AUTO_UPGRADE => Ok(()),
            OLD_PINNED if given.deployment.is_none() && given.pinned_version.is_empty() => {
                Err(invalid(
                    "must provide deployment (deprecated) or pinned version if behavior is 'PINNED'",
                ))
            }
            OLD_PINNED => Err(absent(&given.pinned_version)),
            _ => Err(invalid("override behavior is required")),
        },
    }
}

fn priority(priority: Option<&common::Priority>) -> Result<(), Status> {
    let Some(priority) = priority else {
        return Ok(());
    };
    if priority.priority_key < 0 {
        return Err(invalid("priority key can't be negative"));
    }
    if priority.fairness_key.len() > FAIRNESS_KEY_BYTES_MAX {
        return Err(invalid("fairness key length exceeds limit"));
    }
    if priority.fairness_weight < 0.0 || priority.fairness_weight.is_nan() {
        return Err(invalid("must be greater than zero"));
    }
    Ok(())
}

fn time_skipping(config: Option<&common::TimeSkippingConfig>) -> Result<(), Status> {
    match config {
        Some(_) => Err(Status::unimplemented(
            "The Time-Skipping feature is not enabled for namespace.",
        )),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use prost_types::Duration;

    fn good() -> wire::StartWorkflowExecutionRequest {
        wire::StartWorkflowExecutionRequest {
            namespace: "default".to_owned(),
            workflow_id: "w".to_owned(),
            workflow_type: Some(common::WorkflowType {
                name: "t".to_owned(),
            }),
            task_queue: Some(TaskQueue {
                name: "q".to_owned(),
                ..Default::default()
            }),
            ..Default::default()
        }
    }

    fn text(change: impl FnOnce(&mut wire::StartWorkflowExecutionRequest)) -> String {
        let mut request = good();
        change(&mut request);
        start(&request, &Limits::default())
            .err()
            .map(|status| status.message().to_owned())
            .unwrap_or_default()
    }

    #[test]
    fn starts_are_refused_with_temporals_texts() {
        assert_eq!(text(|_| {}), "");
        assert_eq!(
            text(|request| request.workflow_id.clear()),
            "WorkflowId is not set on request."
        );
        assert_eq!(
            text(|request| request.workflow_id = "x".repeat(1_001)),
            "WorkflowId exceeds maximum allowed length (1001/1000)"
        );
        assert_eq!(text(|request| request.workflow_id = "é".repeat(500)), "");
        assert_eq!(
            text(|request| request.workflow_type = None),
            "WorkflowType is not set on request."
        );
        assert_eq!(
            text(|request| request.task_queue = None),
            "taskQueue is not set"
        );
        assert_eq!(text(|request| request.identity = "x".repeat(1_001)), "");
        assert_eq!(
            text(|request| request.request_id = "x".repeat(1_001)),
            "RequestId length exceeds limit."
        );
        assert_eq!(
            text(|request| request.workflow_run_timeout = Some(Duration {
                seconds: -1,
                nanos: 0
            })),
            "An invalid WorkflowRunTimeoutSeconds is set on request. cause: negative duration"
        );
        assert_eq!(text(|request| request.workflow_id_reuse_policy = 9), "");
        assert!(
            text(|request| {
                request.workflow_id_reuse_policy = 4;
                request.workflow_id_conflict_policy = 2;
            })
            .contains("TERMINATE_IF_RUNNING cannot be used together")
        );
        assert_eq!(
            text(|request| request.priority = Some(common::Priority {
                priority_key: -1,
                ..Default::default()
            })),
            "priority key can't be negative"
        );
        assert_eq!(
            text(|request| request.links = vec![common::Link { variant: None }]),
            "unsupported link variant"
        );
        assert_eq!(
            text(|request| request.versioning_override = Some(VersioningOverride::default())),
            "override behavior is required"
        );
        assert_eq!(
            text(|request| request.memo = Some(big_memo())),
            "Memo size exceeds limit."
        );
        assert_eq!(
            text(|request| {
                request.workflow_start_delay = Some(Duration {
                    seconds: 5,
                    nanos: 0,
                });
                request.cron_schedule = "* * * * *".to_owned();
            }),
            "CronSchedule and WorkflowStartDelay may not be used together."
        );
    }

    fn big_memo() -> common::Memo {
        let payload = common::Payload {
            data: vec![0; 2 * 1024 * 1024 + 1].into(),
            ..Default::default()
        };
        common::Memo {
            fields: [("k".to_owned(), payload)].into(),
        }
    }
}
