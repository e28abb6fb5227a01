//! RegisterNamespace.

use crate::namespace;
use crate::reply::{Refusal, Reply, Stop};
use crate::tables::WriteSet;
use steadfast_proto::temporal::namespace::v1::NamespaceConfig;
use steadfast_proto::temporal::workflowservice::v1::RegisterNamespaceRequest;

/// The id was drawn by the proposer.
pub(crate) fn apply(
    set: &mut WriteSet<'_>,
    request: &RegisterNamespaceRequest,
    id: &str,
) -> Result<Reply, Stop> {
    if request.is_global_namespace {
        let text = "Cannot register global namespace when not enabled";
        return Err(Refusal::InvalidArgument(text.to_owned()).into());
    }
    let retention = namespace::retention(request.workflow_execution_retention_period.as_ref())?;
    namespace::check_clusters(&request.active_cluster_name, &request.clusters)?;
    let mut new = namespace::plain(&request.namespace, id.to_owned());
    new.description.clone_from(&request.description);
    new.owner_email.clone_from(&request.owner_email);
    new.data.clone_from(&request.data);
    new.retention = retention;
    new.config = namespace::config_bytes(&NamespaceConfig::default());
    namespace::insert(set, new)?;
    Ok(Reply::NamespaceRegistered { id: id.to_owned() })
}
