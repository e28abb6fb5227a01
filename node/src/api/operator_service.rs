//! OperatorService: search attributes and clusters.

use super::status::{fault, invalid};
use super::visibility::system_search_attributes;
use super::{Api, Need};
use crate::shard::Class;
use steadfast_engine::Mutation;
use steadfast_engine::read::namespace;
use steadfast_proto::temporal::operatorservice::v1 as wire;
use tonic::{Request, Status};

/// AddSearchAttributes.
pub(crate) async fn add_search_attributes(
    api: &Api,
    request: Request<wire::AddSearchAttributesRequest>,
) -> Result<wire::AddSearchAttributesResponse, Status> {
    let request = request.into_inner();
    if request.search_attributes.is_empty() {
        return Err(invalid("SearchAttributes are not set on request."));
    }
    if request.namespace.is_empty() {
        return Err(invalid("Namespace is not set on request."));
    }
    api.namespace(&request.namespace, Need::Open).await?;
    let attributes = request.search_attributes.into_iter().collect();
    let mutation = Mutation::AddSearchAttributes {
        namespace: request.namespace,
        attributes,
    };
    api.propose(Class::Fills, mutation).await?;
    Ok(wire::AddSearchAttributesResponse {})
}

/// ListSearchAttributes.
pub(crate) async fn list_search_attributes(
    api: &Api,
    request: Request<wire::ListSearchAttributesRequest>,
) -> Result<wire::ListSearchAttributesResponse, Status> {
    let request = request.into_inner();
    if request.namespace.is_empty() {
        return Err(invalid("Namespace is not set on request."));
    }
    let number = api.namespace(&request.namespace, Need::Open).await?.number;
    let view = api.read().await?;
    let found = namespace::by_number(&view, number).map_err(|broken| fault(&broken))?;
    Ok(wire::ListSearchAttributesResponse {
        custom_attributes: found
            .map(|found| found.search_attributes.clone())
            .unwrap_or_default(),
        system_attributes: system_search_attributes(),
        ..Default::default()
    })
}

/// ListClusters: this one.
pub(crate) async fn list_clusters(
    api: &Api,
    _request: Request<wire::ListClustersRequest>,
) -> Result<wire::ListClustersResponse, Status> {
    let view = api.read().await?;
    let meta = namespace::meta(&view).map_err(|broken| fault(&broken))?;
    let own = wire::ClusterMetadata {
        cluster_name: super::namespace::CLUSTER_NAME.to_owned(),
        cluster_id: meta.cluster_id,
        history_shard_count: 1,
        initial_failover_version: 1,
        is_connection_enabled: true,
        ..Default::default()
    };
    Ok(wire::ListClustersResponse {
        clusters: vec![own],
        next_page_token: Vec::new().into(),
    })
}

/// AddOrUpdateRemoteCluster: there is no replication between clusters, so none can be reached.
pub(crate) async fn add_or_update_remote_cluster(
    _api: &Api,
    request: Request<wire::AddOrUpdateRemoteClusterRequest>,
) -> Result<wire::AddOrUpdateRemoteClusterResponse, Status> {
    let address = request.into_inner().frontend_address;
    Err(Status::unavailable(format!(
        "the cluster at {address:?} can't be connected: Steadfast does not replicate to other clusters"
    )))
}
