//! What the server is: version, capabilities, cluster.

use super::{Api, SERVER_VERSION};
use steadfast_engine::read::namespace;
use steadfast_proto::temporal::version::v1::{ReleaseInfo, VersionInfo};
use steadfast_proto::temporal::workflowservice::v1 as wire;
use tonic::{Request, Status};

/// Clients with a version range that the server accepts; others are not looked at.
pub(crate) const SUPPORTED_CLIENTS: &[(&str, &str)] = &[
    ("temporal-cli", "<2.0.0"),
    ("temporal-go", "<2.0.0"),
    ("temporal-java", "<2.0.0"),
    ("temporal-php", "<2.0.0"),
    ("temporal-server", "<2.0.0"),
    ("temporal-typescript", "<2.0.0"),
    ("temporal-ui", "<3.0.0"),
];

/// GetSystemInfo; a capability is true only when the thing works.
pub(crate) async fn get_system_info(
    _api: &Api,
    _request: Request<wire::GetSystemInfoRequest>,
) -> Result<wire::GetSystemInfoResponse, Status> {
    Ok(wire::GetSystemInfoResponse {
        server_version: SERVER_VERSION.to_owned(),
        capabilities: Some(wire::get_system_info_response::Capabilities {
            signal_and_query_header: true,
            internal_error_differentiation: true,
            activity_failure_include_heartbeat: true,
            supports_schedules: false,
            encoded_failure_attributes: true,
            build_id_based_versioning: false,
            upsert_memo: true,
            eager_workflow_start: true,
            sdk_metadata: true,
            count_group_by_execution_status: true,
            nexus: false,
            server_scaled_deployments: false,
            server_scaled_provider_cloud_run: false,
        }),
    })
}

/// GetClusterInfo.
pub(crate) async fn get_cluster_info(
    api: &Api,
    _request: Request<wire::GetClusterInfoRequest>,
) -> Result<wire::GetClusterInfoResponse, Status> {
    let meta =
        namespace::meta(&api.shard.view()).map_err(|broken| super::status::fault(&broken))?;
    let current = ReleaseInfo {
        version: SERVER_VERSION.to_owned(),
        ..Default::default()
    };
    Ok(wire::GetClusterInfoResponse {
        supported_clients: SUPPORTED_CLIENTS
            .iter()
            .map(|(name, range)| ((*name).to_owned(), (*range).to_owned()))
            .collect(),
        server_version: SERVER_VERSION.to_owned(),
        cluster_id: meta.cluster_id,
        version_info: Some(VersionInfo {
            current: Some(current),
            ..Default::default()
        }),
        cluster_name: super::namespace::CLUSTER_NAME.to_owned(),
        history_shard_count: 1,
        persistence_store: "steadfast".to_owned(),
        visibility_store: "steadfast".to_owned(),
        initial_failover_version: 1,
        failover_version_increment: 10,
    })
}
