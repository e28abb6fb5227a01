//! The form of a list of commands: known types, and nothing after a closing one.

use crate::reply::Refusal;
use steadfast_proto::temporal::command::v1::Command;
use steadfast_proto::temporal::enums::v1::CommandType;

/// A command type as Temporal's texts name it; a number when it is unknown.
pub(super) fn command_name(command_type: i32) -> String {
    match CommandType::try_from(command_type) {
        Ok(known) => format!("{known:?}"),
        Err(_) => command_type.to_string(),
    }
}

fn closes(command_type: i32) -> bool {
    matches!(
        CommandType::try_from(command_type),
        Ok(CommandType::CompleteWorkflowExecution
            | CommandType::FailWorkflowExecution
            | CommandType::CancelWorkflowExecution
            | CommandType::ContinueAsNewWorkflowExecution)
    )
}

/// Refuses a list that has a command after a closing one; the task stays started.
pub(crate) fn check_sequence(commands: &[Command]) -> Result<(), Refusal> {
    let Some(closing) = commands
        .iter()
        .position(|command| closes(command.command_type))
    else {
        return Ok(());
    };
    if closing + 1 == commands.len() {
        return Ok(());
    }
    let names: Vec<_> = commands
        .iter()
        .map(|command| command_name(command.command_type))
        .collect();
    Err(Refusal::InvalidArgument(format!(
        "invalid command sequence: [{}], command {} must be the last command.",
        names.join(", "),
        names[closing],
    )))
}
