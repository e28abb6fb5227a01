//! UpdateNamespace: what is set in the request replaces or merges, the rest stays.

use crate::execution::namespace_of;
use crate::namespace;
use crate::reply::{Refusal, Reply, Stop};
use crate::tables::{Namespace, WriteSet};
use steadfast_proto::temporal::enums::v1::NamespaceState;
use steadfast_proto::temporal::namespace::v1::{NamespaceConfig, UpdateNamespaceInfo};
use steadfast_proto::temporal::workflowservice::v1::UpdateNamespaceRequest;

/// The shell reads the namespace for its answer afterwards.
pub(crate) fn apply(
    set: &mut WriteSet<'_>,
    request: &UpdateNamespaceRequest,
) -> Result<Reply, Stop> {
    let mut namespace = namespace_of(set, &request.namespace)?;
    if let Some(info) = &request.update_info {
        update_info(&mut namespace, info)?;
    }
    if let Some(config) = &request.config {
        update_config(&mut namespace, config)?;
    }
    if let Some(replication) = &request.replication_config {
        namespace::check_clusters(&replication.active_cluster_name, &replication.clusters)?;
    }
    if !request.delete_bad_binary.is_empty() {
        let mut config = namespace::stored_config(&namespace)?;
        let binaries = &mut config.bad_binaries.get_or_insert_default().binaries;
        if binaries.remove(&request.delete_bad_binary).is_none() {
            let text = format!(
                "Bad binary checksum {} doesn't exists.",
                request.delete_bad_binary
            );
            return Err(Refusal::InvalidArgument(text).into());
        }
        namespace.config = namespace::config_bytes(&config);
    }
    namespace::write(set, namespace);
    Ok(Reply::Done)
}

fn update_info(namespace: &mut Namespace, info: &UpdateNamespaceInfo) -> Result<(), Stop> {
    if info.state != NamespaceState::Unspecified as i32 {
        namespace::check_state_change(namespace.state, info.state)?;
        namespace.state = info.state;
    }
    if !info.description.is_empty() {
        namespace.description.clone_from(&info.description);
    }
    if !info.owner_email.is_empty() {
        namespace.owner_email.clone_from(&info.owner_email);
    }
    let data = info
        .data
        .iter()
        .map(|(key, value)| (key.clone(), value.clone()));
    namespace.data.extend(data);
    Ok(())
}

fn update_config(namespace: &mut Namespace, config: &NamespaceConfig) -> Result<(), Stop> {
    if let Some(retention) = &config.workflow_execution_retention_ttl {
        namespace.retention = namespace::retention(Some(retention))?;
    }
    let mut stored = namespace::stored_config(namespace)?;
    if let Some(added) = &config.bad_binaries {
        let binaries = &mut stored.bad_binaries.get_or_insert_default().binaries;
        let added = added
            .binaries
            .iter()
            .map(|(sum, info)| (sum.clone(), info.clone()));
        binaries.extend(added);
    }
    let aliases = config.custom_search_attribute_aliases.iter();
    let aliases = aliases.map(|(field, alias)| (field.clone(), alias.clone()));
    stored.custom_search_attribute_aliases.extend(aliases);
    namespace.config = namespace::config_bytes(&stored);
    Ok(())
}
