//! Links.

use crate::api::status::invalid;
use prost::Message;
use steadfast_proto::temporal::common::v1::{Link, link::Variant};
use tonic::Status;

/// `frontend.maxLinksPerRequest`.
const LINKS_MAX: usize = 10;
/// `frontend.linkMaxSize`, bytes.
const LINK_BYTES_MAX: usize = 4_000;

/// Checks the links of a request.
pub(super) fn links(links: &[Link]) -> Result<(), Status> {
    if links.len() > LINKS_MAX {
        return Err(invalid(format!(
            "cannot attach more than {LINKS_MAX} links per request, got {}",
            links.len()
        )));
    }
    for link in links {
        let bytes = link.encoded_len();
        if bytes > LINK_BYTES_MAX {
            return Err(invalid(format!(
                "link exceeds allowed size of {LINK_BYTES_MAX}, got {bytes}"
            )));
        }
        match &link.variant {
            Some(Variant::WorkflowEvent(event)) => {
                let field = |value: &str, name: &str| {
                    if value.is_empty() {
                        Err(invalid(format!(
                            "workflow event link must not have an empty {name} field"
                        )))
                    } else {
                        Ok(())
                    }
                };
                field(&event.namespace, "namespace")?;
                field(&event.workflow_id, "workflow ID")?;
                field(&event.run_id, "run ID")?;
            }
            Some(Variant::BatchJob(job)) if job.job_id.is_empty() => {
                return Err(invalid("batch job link must not have an empty job ID"));
            }
            Some(
                Variant::BatchJob(_)
                | Variant::Activity(_)
                | Variant::NexusOperation(_)
                | Variant::Workflow(_)
                | Variant::Callback(_),
            ) => {}
            None => return Err(invalid("unsupported link variant")),
        }
    }
    Ok(())
}
