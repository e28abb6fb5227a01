//! Workers as processes.

use super::{Api, Need};
use crate::shard::Class;
use steadfast_engine::Mutation;
use steadfast_proto::temporal::workflowservice::v1 as wire;
use tonic::{Request, Status};

/// ShutdownWorker: tasks on the worker's sticky queue go to their normal queues at once.
pub(crate) async fn shutdown_worker(
    api: &Api,
    request: Request<wire::ShutdownWorkerRequest>,
) -> Result<wire::ShutdownWorkerResponse, Status> {
    let request = request.into_inner();
    api.namespace(&request.namespace, Need::Open).await?;
    let longest = api.limits()?.id_length_max;
    let named = !request.sticky_task_queue.is_empty()
        && u64::try_from(request.sticky_task_queue.len()).is_ok_and(|length| length <= longest);
    if named {
        let mutation = Mutation::ShutdownWorker {
            namespace: request.namespace,
            sticky_task_queue: request.sticky_task_queue,
        };
        api.propose(Class::Drains, mutation).await?;
    }
    Ok(wire::ShutdownWorkerResponse {})
}
