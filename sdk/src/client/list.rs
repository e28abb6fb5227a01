//! Lists of workflows, and how many there are.

use crate::client::Client;
use crate::client::error::CallError;
use crate::client::info::WorkflowExecutionInfo;
use futures::stream::{self, Stream, StreamExt, TryStreamExt};
use prost::bytes::Bytes;
use std::future::Future;
use steadfast_proto::temporal::common::v1::Payload;
use steadfast_proto::temporal::workflowservice::v1 as wire;

/// How many workflows there are, whole and by group.
#[derive(Debug, Clone, Default)]
pub struct WorkflowCount {
    /// All.
    pub count: i64,
    /// Of each group, when the query has `GROUP BY`: the values it is grouped by, their number.
    pub groups: Vec<(Vec<Payload>, i64)>,
}

impl Client {
    /// The workflows that a query finds, in Temporal's language of lists; all for an empty one.
    /// The next page is asked for when the last one is used up.
    pub fn list(
        &self,
        query: impl Into<String>,
    ) -> impl Stream<Item = Result<WorkflowExecutionInfo, CallError>> + Send + 'static {
        let client = self.clone();
        let query = query.into();
        pages(move |next_page_token| {
            let client = client.clone();
            let request = wire::ListWorkflowExecutionsRequest {
                namespace: client.namespace().to_string(),
                query: query.clone(),
                next_page_token,
                ..Default::default()
            };
            async move {
                let page = client.calls.list(request).await?;
                let data = &client.calls.data;
                let infos = page.executions.into_iter();
                let infos = infos.map(|info| WorkflowExecutionInfo::new(info, data.clone()));
                Ok((infos.collect(), page.next_page_token))
            }
        })
    }

    /// How many workflows a query finds.
    ///
    /// # Errors
    /// [`CallError::Rpc`] when the query is not understood.
    pub async fn count(&self, query: impl Into<String>) -> Result<WorkflowCount, CallError> {
        let request = wire::CountWorkflowExecutionsRequest {
            namespace: self.namespace().to_string(),
            query: query.into(),
        };
        let answer = self.calls.count(request).await?;
        let groups = answer.groups.into_iter();
        Ok(WorkflowCount {
            count: answer.count,
            groups: groups
                .map(|group| (group.group_values, group.count))
                .collect(),
        })
    }
}

/// What pages hold, one after the other; it ends with the last page or the first error.
pub(super) fn pages<T: Send + 'static, F, Page>(
    ask: F,
) -> impl Stream<Item = Result<T, CallError>> + Send + 'static
where
    F: Fn(Bytes) -> Page + Send + 'static,
    Page: Future<Output = Result<(Vec<T>, Bytes), CallError>> + Send + 'static,
{
    // The token of the next page; none after the last.
    let first = Some(Bytes::new());
    stream::try_unfold((first, ask), |(token, ask)| async move {
        let Some(token) = token else {
            return Ok::<_, CallError>(None);
        };
        let (items, next) = ask(token).await?;
        let next = (!next.is_empty()).then_some(next);
        let items = stream::iter(items.into_iter().map(Ok));
        Ok(Some((items, (next, ask))))
    })
    .try_flatten()
    .boxed()
}
