//! Queries: answers from the workflow as it is now.

use super::{Run, TaskFailure};
use crate::converter::DataConverter;
use crate::failure::{Failure, Result};
use steadfast_proto::temporal::common::v1::{Payload, Payloads};
use steadfast_proto::temporal::enums::v1::QueryResultType;
use steadfast_proto::temporal::query::v1::{WorkflowQuery, WorkflowQueryResult};

impl Run {
    /// Answers one query; a failure of the handler is an answer, too.
    pub(super) fn answer(
        &mut self,
        query: &WorkflowQuery,
    ) -> Result<WorkflowQueryResult, TaskFailure> {
        let Some(handlers) = self.handlers.clone() else {
            return Err(TaskFailure::code(
                "a query came before the first task".into(),
            ));
        };
        let context = self.context()?;
        if let Some(answer) = self.answer_of_builtin(&query.query_type) {
            let result = answer.map(Some);
            return Ok(told(result, &self.setup.data));
        }
        let input = query.query_args.clone().unwrap_or_default().payloads;
        context.state.borrow_mut().read_only = Some("a query");
        let asked = self.guard(|_| handlers.query(&query.query_type, input, &context.converter));
        context.state.borrow_mut().read_only = None;
        let result = match asked {
            Ok(result) => result,
            Err(panicked) => Err(panicked.failure),
        };
        Ok(told(result, &context.data))
    }
}

fn told(result: Result<Option<Payload>>, converter: &DataConverter) -> WorkflowQueryResult {
    match result {
        Ok(payload) => WorkflowQueryResult {
            result_type: QueryResultType::Answered as i32,
            answer: Some(Payloads {
                payloads: payload.into_iter().collect(),
            }),
            ..Default::default()
        },
        Err(failure) => failed(&failure, converter),
    }
}

fn failed(failure: &Failure, converter: &DataConverter) -> WorkflowQueryResult {
    WorkflowQueryResult {
        result_type: QueryResultType::Failed as i32,
        error_message: failure.to_string(),
        failure: Some(converter.to_wire(failure)),
        ..Default::default()
    }
}
