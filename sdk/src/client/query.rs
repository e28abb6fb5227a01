//! Queries of workflows.

use crate::client::error::{CallError, QueryError, detail};
use crate::client::handle::WorkflowHandle;
use crate::client::start::input;
use crate::converter::{Arguments, Value};
use crate::definition::Query;
use crate::failure::{Failure, FailureKind};
use steadfast_proto::temporal::enums::v1::{QueryRejectCondition, WorkflowExecutionStatus};
use steadfast_proto::temporal::errordetails::v1::QueryFailedFailure;
use steadfast_proto::temporal::query::v1::WorkflowQuery;
use steadfast_proto::temporal::workflowservice::v1 as wire;
use tonic::Code;

impl<W, R> WorkflowHandle<W, R> {
    /// Asks the workflow's code, which runs on a worker; closed workflows answer too.
    ///
    /// # Errors
    /// [`QueryError::Failed`] when the code says no or knows no such query;
    /// [`QueryError::Call`] when there is no such workflow, or no worker answers in time.
    pub async fn query<I: Arguments, O: Value>(
        &self,
        query: Query<W, I, O>,
        input: I,
    ) -> Result<O, QueryError> {
        self.query_unless(query, input, QueryRejectCondition::None)
            .await
    }

    /// As [`query`](Self::query), and not at all in the states that the condition excludes.
    ///
    /// # Errors
    /// As [`query`](Self::query), and [`QueryError::Rejected`].
    pub async fn query_unless<I: Arguments, O: Value>(
        &self,
        query: Query<W, I, O>,
        input: I,
        condition: QueryRejectCondition,
    ) -> Result<O, QueryError> {
        let calls = &self.client.calls;
        let payloads = input.to_payloads(calls.data.converter())?;
        drop(input);
        let request = wire::QueryWorkflowRequest {
            namespace: self.client.namespace().to_string(),
            execution: Some(self.execution()),
            query: Some(WorkflowQuery {
                query_type: query.name().to_string(),
                query_args: self::input(payloads),
                header: None,
            }),
            query_reject_condition: condition as i32,
        };
        let answer = match calls.query(request).await {
            Ok(answer) => answer,
            Err(error) => return Err(self.query_error(error).await),
        };
        if let Some(rejected) = answer.query_rejected {
            let status = WorkflowExecutionStatus::try_from(rejected.status).unwrap_or_default();
            return Err(QueryError::Rejected { status });
        }
        Ok(calls.data.converter().from_result(answer.query_result)?)
    }

    async fn query_error(&self, error: CallError) -> QueryError {
        let CallError::Rpc(status) = &error else {
            return QueryError::Call(error);
        };
        let detail = detail::<QueryFailedFailure>(status);
        if status.code() != Code::InvalidArgument || detail.is_none() {
            return QueryError::Call(error);
        }
        let data = &self.client.calls.data;
        match detail.and_then(|detail| detail.failure) {
            Some(mut failure) => match data.decode(&mut failure).await {
                Ok(()) => QueryError::Failed(data.from_wire(failure)),
                Err(error) => QueryError::Call(error.into()),
            },
            // Workers of old SDKs say no more than this.
            None => QueryError::Failed(Failure::new(status.message(), FailureKind::Other)),
        }
    }
}
