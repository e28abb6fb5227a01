//! The namespace that a command to another execution names.

use super::{CommandError, Completion};
use crate::execution::{Execution, namespace_of};
use crate::tables::Namespace;
use steadfast_proto::temporal::enums::v1::WorkflowTaskFailedCause;

/// The named namespace, or the run's own. An unknown one refuses the call, and the task stays
/// started; another one fails the task unless commands may cross namespaces.
pub(super) fn target_namespace(
    execution: &Execution<'_, '_>,
    completion: &Completion<'_>,
    name: &str,
    cause: WorkflowTaskFailedCause,
) -> Result<Namespace, CommandError> {
    if name.is_empty() || name == completion.namespace.name {
        return Ok(completion.namespace.clone());
    }
    let target = namespace_of(execution.set, name)?;
    if !execution.set.limits().cross_namespace_commands {
        let text = "cross namespace commands are not allowed";
        return Err(CommandError::bad(cause, text));
    }
    Ok(target)
}
