//! Namespaces.

use super::status::{fault, invalid, namespace_not_found};
use super::token;
use super::{Api, Need};
use crate::shard::Class;
use prost::Message;
use steadfast_engine::id::NamespaceNumber;
use steadfast_engine::read::{describe, namespace};
use steadfast_engine::tables::{Limits, Namespace};
use steadfast_engine::{Mutation, Tables};
use steadfast_proto::temporal::enums::v1::{NamespaceState, ReplicationState};
use steadfast_proto::temporal::namespace::v1 as namespace_wire;
use steadfast_proto::temporal::replication::v1 as replication;
use steadfast_proto::temporal::workflowservice::v1 as wire;
use tonic::{Code, Request, Status};

/// The one cluster's name in replication settings.
pub(crate) const CLUSTER_NAME: &str = "active";
/// The server's own namespace, in Temporal; nobody else may have its name.
const SYSTEM_NAMESPACE: &str = "temporal-system";
/// Namespaces on a page, by default and at most.
const PAGE_DEFAULT: usize = 100;
const PAGE_MAX: usize = 1_000;
/// `limit.blobSize.error` for a whole completion, as Temporal tells it.
const COMPLETION_BYTES_MAX: i64 = 40 * 1024 * 1024;

/// RegisterNamespace.
pub(crate) async fn register_namespace(
    api: &Api,
    request: Request<wire::RegisterNamespaceRequest>,
) -> Result<wire::RegisterNamespaceResponse, Status> {
    let request = request.into_inner();
    named(&request.namespace, &api.limits()?)?;
    if request.namespace == SYSTEM_NAMESPACE {
        let message = format!("Namespace \"{SYSTEM_NAMESPACE}\" already exists");
        let detail = steadfast_proto::temporal::errordetails::v1::NamespaceAlreadyExistsFailure {};
        return Err(super::status::with(Code::AlreadyExists, message, &detail));
    }
    let id = api.uuid();
    api.propose(
        Class::Fills,
        Mutation::RegisterNamespace {
            request: request.into(),
            id,
        },
    )
    .await?;
    Ok(wire::RegisterNamespaceResponse {})
}

/// DescribeNamespace, by name or by id.
pub(crate) async fn describe_namespace(
    api: &Api,
    request: Request<wire::DescribeNamespaceRequest>,
) -> Result<wire::DescribeNamespaceResponse, Status> {
    let request = request.into_inner();
    if !request.namespace.is_empty() && !request.id.is_empty() {
        return Err(invalid(
            "GetNamespace operation failed.  Both ID and Name specified in request.",
        ));
    }
    let limits = api.limits()?;
    if request.id.is_empty() {
        named(&request.namespace, &limits)?;
    }
    let view = api.read().await?;
    let (found, asked) = if request.id.is_empty() {
        (
            namespace::by_name(&view, &request.namespace),
            request.namespace,
        )
    } else {
        (namespace::by_id(&view, &request.id), request.id)
    };
    let found = found
        .map_err(|broken| fault(&broken))?
        .ok_or_else(|| namespace_not_found(&asked))?;
    description(&found, &limits)
}

/// ListNamespaces.
pub(crate) async fn list_namespaces(
    api: &Api,
    request: Request<wire::ListNamespacesRequest>,
) -> Result<wire::ListNamespacesResponse, Status> {
    let request = request.into_inner();
    let limits = api.limits()?;
    let size = usize::try_from(request.page_size)
        .ok()
        .filter(|size| *size > 0)
        .map_or(PAGE_DEFAULT, |size| size.min(PAGE_MAX));
    let mut after = token::read_namespaces(&request.next_page_token)?.unwrap_or(NamespaceNumber(0));
    let include_deleted = request
        .namespace_filter
        .is_some_and(|filter| filter.include_deleted);
    let view = api.read().await?;
    let mut namespaces = Vec::new();
    loop {
        let slice = namespace::page(&view, after, PAGE_MAX).map_err(|broken| fault(&broken))?;
        let ends = slice.len() < PAGE_MAX;
        for found in &slice {
            if found.state == i32::from(NamespaceState::Deleted) && !include_deleted {
                continue;
            }
            if namespaces.len() == size {
                return Ok(wire::ListNamespacesResponse {
                    namespaces,
                    next_page_token: token::namespaces(after),
                });
            }
            namespaces.push(description(found, &limits)?);
            after = found.number;
        }
        if ends {
            return Ok(wire::ListNamespacesResponse {
                namespaces,
                next_page_token: bytes::Bytes::new(),
            });
        }
        after = slice.last().map_or(after, |last| last.number);
    }
}

/// UpdateNamespace; the answer is read after the change.
pub(crate) async fn update_namespace(
    api: &Api,
    request: Request<wire::UpdateNamespaceRequest>,
) -> Result<wire::UpdateNamespaceResponse, Status> {
    let request = request.into_inner();
    let limits = api.limits()?;
    named(&request.namespace, &limits)?;
    let number = api.namespace(&request.namespace, Need::Open).await?.number;
    api.propose(Class::Fills, Mutation::UpdateNamespace(request.into()))
        .await?;
    let found = by_number(&api.shard.view(), number)?;
    let described = description(&found, &limits)?;
    let info = described
        .namespace_info
        .map(|info| namespace_wire::NamespaceInfo {
            capabilities: None,
            limits: None,
            ..info
        });
    Ok(wire::UpdateNamespaceResponse {
        namespace_info: info,
        config: described.config,
        replication_config: described.replication_config,
        ..Default::default()
    })
}

fn by_number(
    tables: &dyn Tables,
    number: NamespaceNumber,
) -> Result<namespace::StoredNamespace, Status> {
    namespace::by_number(tables, number)
        .map_err(|broken| fault(&broken))?
        .ok_or_else(|| Status::internal("the namespace is gone"))
}

fn named(name: &str, limits: &Limits) -> Result<(), Status> {
    if name.is_empty() {
        return Err(invalid("Namespace not set on request."));
    }
    super::validate::id_length(name, "Namespace", limits)
}

fn description(
    namespace: &Namespace,
    limits: &Limits,
) -> Result<wire::DescribeNamespaceResponse, Status> {
    let mut config = namespace_wire::NamespaceConfig::decode(&*namespace.config)
        .map_err(|error| fault(&steadfast_engine::Fault::Decode(error.to_string())))?;
    config.workflow_execution_retention_ttl = Some(namespace.retention.to_proto());
    let mut info = describe::namespace_info(namespace);
    info.capabilities = Some(capabilities());
    info.limits = Some(namespace_wire::namespace_info::Limits {
        blob_size_limit_error: i64::try_from(limits.blob_bytes_max).unwrap_or(i64::MAX),
        memo_size_limit_error: i64::try_from(limits.memo_bytes_max).unwrap_or(i64::MAX),
        workflow_task_completion_size_limit_error: COMPLETION_BYTES_MAX,
    });
    Ok(wire::DescribeNamespaceResponse {
        namespace_info: Some(info),
        config: Some(config),
        replication_config: Some(replication::NamespaceReplicationConfig {
            active_cluster_name: CLUSTER_NAME.to_owned(),
            clusters: vec![replication::ClusterReplicationConfig {
                cluster_name: CLUSTER_NAME.to_owned(),
                ..Default::default()
            }],
            state: ReplicationState::Normal.into(),
        }),
        ..Default::default()
    })
}

/// What works in every namespace; SDKs use nothing that is false here.
fn capabilities() -> namespace_wire::namespace_info::Capabilities {
    namespace_wire::namespace_info::Capabilities {
        eager_workflow_start: true,
        sync_update: true,
        async_update: true,
        ..Default::default()
    }
}
