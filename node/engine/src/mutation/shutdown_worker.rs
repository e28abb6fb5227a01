//! ShutdownWorker: the tasks on the worker's sticky queue need not wait for its time-out.

use crate::execution::namespace_of;
use crate::id::{QueueKey, TaskKind};
use crate::reply::{Reply, Stop};
use crate::tables::WriteSet;

pub(crate) fn apply(
    set: &mut WriteSet<'_>,
    namespace: &str,
    sticky_task_queue: &str,
) -> Result<Reply, Stop> {
    let namespace = namespace_of(set, namespace)?.number;
    if sticky_task_queue.is_empty() {
        return Ok(Reply::Done);
    }
    let name = sticky_task_queue.to_owned();
    let queue = QueueKey {
        namespace,
        kind: TaskKind::Workflow,
        name,
    };
    super::abandon_sticky_queue::apply(set, &queue)
}
