//! What is known of task queues.

use super::status::{fault, invalid};
use super::{Api, Need, validate};
use crate::shard::View;
use std::collections::BTreeMap;
use steadfast_engine::id::{QueueKey, TaskKind};
use steadfast_engine::read::queue;
use steadfast_engine::tables::Limits;
use steadfast_proto::temporal::enums::v1::{DescribeTaskQueueMode, TaskQueueType};
use steadfast_proto::temporal::taskqueue::v1 as taskqueue;
use steadfast_proto::temporal::workflowservice::v1 as wire;
use tonic::{Request, Status};

/// A backlog is counted up to here.
const BACKLOG_MAX: usize = 10_000;

/// The priority of all tasks, as queues do not sort by priority yet.
const PRIORITY_KEY_DEFAULT: i32 = 3;

/// DescribeTaskQueue.
#[expect(deprecated, reason = "clients read the old fields")]
pub(crate) async fn describe_task_queue(
    api: &Api,
    request: Request<wire::DescribeTaskQueueRequest>,
) -> Result<wire::DescribeTaskQueueResponse, Status> {
    let request = request.into_inner();
    let namespace = api.namespace(&request.namespace, Need::Open).await?.number;
    let name = described(request.task_queue.as_ref(), &api.limits()?)?;
    let view = api.read().await?;
    let key = |kind| QueueKey {
        namespace,
        kind,
        name: name.to_owned(),
    };
    if request.api_mode == i32::from(DescribeTaskQueueMode::Enhanced) {
        return enhanced(api, &view, &request, key);
    }
    let versioning_info = || taskqueue::TaskQueueVersioningInfo {
        current_version: "__unversioned__".to_owned(),
        ..Default::default()
    };
    let Some(kind) = kind(request.task_queue_type) else {
        let nexus = request.task_queue_type == i32::from(TaskQueueType::Nexus);
        let versioning_info = nexus.then(versioning_info);
        return Ok(wire::DescribeTaskQueueResponse {
            versioning_info,
            ..Default::default()
        });
    };
    let stats = if request.report_stats || request.include_task_queue_status {
        Some(stats(&view, &key(kind))?)
    } else {
        None
    };
    let status = stats
        .as_ref()
        .filter(|_| request.include_task_queue_status)
        .map(|stats| taskqueue::TaskQueueStatus {
            backlog_count_hint: stats.approximate_backlog_count,
            ..Default::default()
        });
    Ok(wire::DescribeTaskQueueResponse {
        pollers: api.pollers(&key(kind)),
        stats_by_priority_key: stats
            .iter()
            .filter(|_| request.report_stats)
            .map(|stats| (PRIORITY_KEY_DEFAULT, *stats))
            .collect(),
        stats: stats.filter(|_| request.report_stats),
        versioning_info: Some(versioning_info()),
        task_queue_status: status,
        ..Default::default()
    })
}

/// The answer by type of queue; there is one version, the unnamed one.
#[expect(deprecated, reason = "clients ask for it")]
fn enhanced(
    api: &Api,
    view: &View,
    request: &wire::DescribeTaskQueueRequest,
    key: impl Fn(TaskKind) -> QueueKey,
) -> Result<wire::DescribeTaskQueueResponse, Status> {
    let mut types_info = BTreeMap::new();
    for wanted in &request.task_queue_types {
        let Some(kind) = kind(*wanted) else {
            continue;
        };
        let key = key(kind);
        let info = taskqueue::TaskQueueTypeInfo {
            pollers: if request.report_pollers {
                api.pollers(&key)
            } else {
                Vec::new()
            },
            stats: if request.report_stats {
                Some(stats(view, &key)?)
            } else {
                None
            },
        };
        types_info.insert(*wanted, info);
    }
    let version = taskqueue::TaskQueueVersionInfo {
        types_info,
        ..Default::default()
    };
    Ok(wire::DescribeTaskQueueResponse {
        versions_info: BTreeMap::from([(String::new(), version)]),
        ..Default::default()
    })
}

/// ListTaskQueuePartitions: each queue has one.
pub(crate) async fn list_task_queue_partitions(
    api: &Api,
    request: Request<wire::ListTaskQueuePartitionsRequest>,
) -> Result<wire::ListTaskQueuePartitionsResponse, Status> {
    let request = request.into_inner();
    api.namespace(&request.namespace, Need::Open).await?;
    let name = described(request.task_queue.as_ref(), &api.limits()?)?;
    let partition = || {
        vec![taskqueue::TaskQueuePartitionMetadata {
            key: name.to_owned(),
            owner_host_name: api.shard.leader_grpc_address().unwrap_or_default(),
        }]
    };
    Ok(wire::ListTaskQueuePartitionsResponse {
        activity_task_queue_partitions: partition(),
        workflow_task_queue_partitions: partition(),
    })
}

fn described<'queue>(
    queue: Option<&'queue taskqueue::TaskQueue>,
    limits: &Limits,
) -> Result<&'queue str, Status> {
    let Some(queue) = queue.filter(|queue| !queue.name.is_empty()) else {
        return Err(invalid("taskQueue is not set"));
    };
    if queue.name.starts_with("/_sys/") {
        return Err(invalid(format!(
            "invalid task queue partition name {}",
            queue.name
        )));
    }
    validate::task_queue_name(&queue.name, limits)?;
    Ok(&queue.name)
}

/// An unspecified type means workflow tasks; other numbers name nothing.
fn kind(task_queue_type: i32) -> Option<TaskKind> {
    match TaskQueueType::try_from(task_queue_type) {
        Ok(TaskQueueType::Unspecified | TaskQueueType::Workflow) => Some(TaskKind::Workflow),
        Ok(TaskQueueType::Activity) => Some(TaskKind::Activity),
        Ok(TaskQueueType::Nexus) | Err(_) => None,
    }
}

fn stats(
    tables: &dyn steadfast_engine::Tables,
    queue: &QueueKey,
) -> Result<taskqueue::TaskQueueStats, Status> {
    let backlog = queue::backlog(tables, queue, BACKLOG_MAX).map_err(|broken| fault(&broken))?;
    let now = steadfast_engine::read::namespace::meta(tables)
        .map_err(|broken| fault(&broken))?
        .applied_at;
    let age = backlog
        .oldest
        .map(|oldest| now.since(oldest).to_proto())
        .unwrap_or_default();
    Ok(taskqueue::TaskQueueStats {
        approximate_backlog_count: i64::try_from(backlog.count).unwrap_or(i64::MAX),
        approximate_backlog_age: Some(age),
        ..Default::default()
    })
}
