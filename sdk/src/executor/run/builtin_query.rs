//! Queries that every run answers, by the names that Temporal's web page and command line know:
//! `__stack_trace` says what code waits for, `__temporal_workflow_metadata` what it can be asked and
//! told.

use super::Run;
use crate::converter::Proto;
use crate::executor::operation::{Kind, Operation};
use crate::failure::Result;
use std::fmt::Write;
use steadfast_proto::temporal::common::v1::Payload;
use steadfast_proto::temporal::sdk::v1::{
    WorkflowDefinition, WorkflowInteractionDefinition, WorkflowMetadata,
};

const STACK_TRACE: &str = "__stack_trace";
const METADATA: &str = "__temporal_workflow_metadata";

impl Run {
    /// The answer of a query of this name, when it is one of these.
    pub(super) fn answer_of_builtin(&self, name: &str) -> Option<Result<Payload>> {
        let converter = self.setup.data.converter();
        let answer = match name {
            STACK_TRACE => converter.to_payload(&self.waits_for()),
            METADATA => converter.to_payload(&Proto(self.metadata())),
            _ => return None,
        };
        Some(answer.map_err(Into::into))
    }

    /// What code waits for, a line each. Futures of Rust have no stack: what they wait for is what can
    /// be said of them.
    fn waits_for(&self) -> String {
        let Some(context) = &self.context else {
            return String::new();
        };
        let state = context.state.borrow();
        let mut told = String::new();
        let open = state.operations.values();
        for operation in open.filter(|operation| !operation.is_over() && !operation.abandoned) {
            line(&mut told, &words(operation));
        }
        match state.conditions.len() {
            0 => {}
            1 => line(&mut told, "a condition"),
            count => line(&mut told, &format!("{count} conditions")),
        }
        match state.handlers {
            0 => {}
            1 => line(
                &mut told,
                "a handler of a signal or update that has not ended",
            ),
            count => line(
                &mut told,
                &format!("{count} handlers of signals or updates that have not ended"),
            ),
        }
        match told.is_empty() {
            true => "the workflow waits for nothing".to_owned(),
            false => format!("the workflow waits for\n{told}"),
        }
    }

    fn metadata(&self) -> WorkflowMetadata {
        let names = self
            .handlers
            .as_ref()
            .map(|handlers| handlers.names())
            .unwrap_or_default();
        let list = |names: Vec<&'static str>| {
            let definition = |name: &str| WorkflowInteractionDefinition {
                name: name.to_owned(),
                ..WorkflowInteractionDefinition::default()
            };
            names.into_iter().map(definition).collect()
        };
        WorkflowMetadata {
            definition: Some(WorkflowDefinition {
                r#type: self.workflow.name().to_owned(),
                query_definitions: list(names.queries),
                signal_definitions: list(names.signals),
                update_definitions: list(names.updates),
            }),
            current_details: String::new(),
        }
    }
}

fn line(told: &mut String, words: &str) {
    // Into a string it cannot fail.
    let _written = writeln!(told, "  {words}");
}

fn words(operation: &Operation) -> String {
    let what = match &operation.kind {
        Kind::Timer { timer_id } => format!("timer {timer_id}"),
        Kind::Activity {
            activity_id,
            activity_type,
            ..
        } => format!("activity {activity_id} `{activity_type}`"),
        Kind::LocalActivity {
            seq, activity_type, ..
        } => format!("local activity {seq} `{activity_type}`"),
        Kind::Child(child) => {
            let (workflow_type, id) = (&child.workflow_type, &child.workflow_id);
            format!("the end of child `{workflow_type}` {id}")
        }
        Kind::ChildStart { child } => format!("the start of child {child}"),
        Kind::SignalExternal => "a signal to another workflow".to_owned(),
        Kind::CancelExternal => "the cancellation of another workflow".to_owned(),
    };
    match operation.canceled {
        true => format!("{what} (cancellation was asked for)"),
        false => what,
    }
}
