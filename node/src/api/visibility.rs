//! Listing and counting executions.

use super::status::{fault, invalid};
use super::token::{self, ListToken};
use super::{Api, Need};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::fmt::Write;
use steadfast_engine::Timestamp;
use steadfast_engine::read::namespace::StoredNamespace;
use steadfast_engine::read::visibility::{self, Filter, SLICE_ROWS, Statement};
use steadfast_engine::tables::Namespace;
use steadfast_proto::temporal::enums::v1::{IndexedValueType, WorkflowExecutionStatus};
use steadfast_proto::temporal::filter::v1::StartTimeFilter;
use steadfast_proto::temporal::workflow::v1::WorkflowExecutionInfo;
use steadfast_proto::temporal::workflowservice::v1 as wire;
use tonic::{Request, Status};

/// Entries on a page at most, and by default (`frontend.visibilityMaxPageSize`).
const PAGE_MAX: usize = 1_000;
/// Bytes of entries on a page: a page fits the 4 MiB that clients receive by default.
const PAGE_BYTES_MAX: usize = 7 * 512 * 1024;

struct Page {
    executions: Vec<WorkflowExecutionInfo>,
    next_page_token: Bytes,
}

/// ListWorkflowExecutions.
pub(crate) async fn list_workflow_executions(
    api: &Api,
    request: Request<wire::ListWorkflowExecutionsRequest>,
) -> Result<wire::ListWorkflowExecutionsResponse, Status> {
    let request = request.into_inner();
    let namespace = api.namespace(&request.namespace, Need::Open).await?;
    let page = list(
        api,
        namespace,
        &request.query,
        request.page_size,
        &request.next_page_token,
    )
    .await?;
    Ok(wire::ListWorkflowExecutionsResponse {
        executions: page.executions,
        next_page_token: page.next_page_token,
    })
}

/// ScanWorkflowExecutions: another name of the list.
pub(crate) async fn scan_workflow_executions(
    api: &Api,
    request: Request<wire::ScanWorkflowExecutionsRequest>,
) -> Result<wire::ScanWorkflowExecutionsResponse, Status> {
    let request = request.into_inner();
    let namespace = api.namespace(&request.namespace, Need::Open).await?;
    let page = list(
        api,
        namespace,
        &request.query,
        request.page_size,
        &request.next_page_token,
    )
    .await?;
    Ok(wire::ScanWorkflowExecutionsResponse {
        executions: page.executions,
        next_page_token: page.next_page_token,
    })
}

/// ListOpenWorkflowExecutions.
pub(crate) async fn list_open_workflow_executions(
    api: &Api,
    request: Request<wire::ListOpenWorkflowExecutionsRequest>,
) -> Result<wire::ListOpenWorkflowExecutionsResponse, Status> {
    use wire::list_open_workflow_executions_request::Filters;
    let request = request.into_inner();
    let namespace = api.namespace(&request.namespace, Need::Open).await?;
    let mut query = String::from("ExecutionStatus = 'Running'");
    between(&mut query, "StartTime", request.start_time_filter.as_ref())?;
    match &request.filters {
        Some(Filters::ExecutionFilter(filter)) => {
            and_equals(&mut query, "WorkflowId", &filter.workflow_id)
        }
        Some(Filters::TypeFilter(filter)) => and_equals(&mut query, "WorkflowType", &filter.name),
        None => {}
    }
    let page = list(
        api,
        namespace,
        &query,
        request.maximum_page_size,
        &request.next_page_token,
    )
    .await?;
    Ok(wire::ListOpenWorkflowExecutionsResponse {
        executions: page.executions,
        next_page_token: page.next_page_token,
    })
}

/// ListClosedWorkflowExecutions.
pub(crate) async fn list_closed_workflow_executions(
    api: &Api,
    request: Request<wire::ListClosedWorkflowExecutionsRequest>,
) -> Result<wire::ListClosedWorkflowExecutionsResponse, Status> {
    use wire::list_closed_workflow_executions_request::Filters;
    let request = request.into_inner();
    let namespace = api.namespace(&request.namespace, Need::Open).await?;
    let mut query = String::from("ExecutionStatus != 'Running'");
    between(&mut query, "CloseTime", request.start_time_filter.as_ref())?;
    match &request.filters {
        Some(Filters::ExecutionFilter(filter)) => {
            and_equals(&mut query, "WorkflowId", &filter.workflow_id)
        }
        Some(Filters::TypeFilter(filter)) => and_equals(&mut query, "WorkflowType", &filter.name),
        Some(Filters::StatusFilter(filter)) => {
            and_equals(&mut query, "ExecutionStatus", closed_status(filter.status)?)
        }
        None => {}
    }
    let page = list(
        api,
        namespace,
        &query,
        request.maximum_page_size,
        &request.next_page_token,
    )
    .await?;
    Ok(wire::ListClosedWorkflowExecutionsResponse {
        executions: page.executions,
        next_page_token: page.next_page_token,
    })
}

fn closed_status(status: i32) -> Result<&'static str, Status> {
    match WorkflowExecutionStatus::try_from(status) {
        Ok(WorkflowExecutionStatus::Unspecified | WorkflowExecutionStatus::Running) => Err(
            invalid("StatusFilter must be specified and must be not Running."),
        ),
        Ok(_) => Ok(visibility::status_name(status)),
        Err(_) => Err(invalid(format!(
            "invalid query: invalid expression: invalid ExecutionStatus value '{status}'"
        ))),
    }
}

fn between(
    query: &mut String,
    column: &str,
    filter: Option<&StartTimeFilter>,
) -> Result<(), Status> {
    let Some(filter) = filter else { return Ok(()) };
    let bound =
        |time: Option<&prost_types::Timestamp>| time.map(|time| Timestamp::from_proto(time).0);
    let (earliest, latest) = (
        bound(filter.earliest_time.as_ref()),
        bound(filter.latest_time.as_ref()),
    );
    if let (Some(earliest), Some(latest)) = (earliest, latest)
        && earliest > latest
    {
        return Err(invalid(
            "EarliestTime in StartTimeFilter should not be larger than LatestTime.",
        ));
    }
    for (operator, bound) in [(">=", earliest), ("<=", latest)] {
        if let Some(nanos) = bound {
            let written = write!(query, " AND {column} {operator} {nanos}");
            assert!(written.is_ok(), "writing to a String does not fail");
        }
    }
    Ok(())
}

fn and_equals(query: &mut String, column: &str, value: &str) {
    let quoted = value.replace('\\', "\\\\").replace('\'', "''");
    let written = write!(query, " AND {column} = '{quoted}'");
    assert!(written.is_ok(), "writing to a String does not fail");
}

fn filter(namespace: &Namespace, query: &str) -> Result<Filter, Status> {
    let statement = Statement::parse(query).map_err(|error| invalid(error.to_string()))?;
    Filter::new(namespace, &statement).map_err(|error| invalid(error.to_string()))
}

async fn list(
    api: &Api,
    namespace: StoredNamespace,
    query: &str,
    page_size: i32,
    page_token: &[u8],
) -> Result<Page, Status> {
    let filter = filter(&namespace, query)?;
    if filter.group_by.is_some() {
        return Err(invalid(
            "invalid query: operation is not supported: 'GROUP BY' clause",
        ));
    }
    let wanted = usize::try_from(page_size)
        .ok()
        .filter(|size| (1..=PAGE_MAX).contains(size))
        .unwrap_or(PAGE_MAX);
    let mut after = token::read_list(page_token)?.map(|token| token.after);
    let view = api.read().await?;
    let mut page = Page {
        executions: Vec::new(),
        next_page_token: Bytes::new(),
    };
    let mut bytes = 0;
    loop {
        let (looked_at, last) = {
            let broken = |broken| fault(&broken);
            let slice =
                visibility::slice(&view, namespace.number, after.as_ref()).map_err(broken)?;
            for candidate in &slice {
                if !filter.matches(candidate).map_err(broken)? {
                    continue;
                }
                // One more than the page holds tells that there is another page.
                if page.executions.len() == wanted || bytes > PAGE_BYTES_MAX {
                    let after = after.unwrap_or_default();
                    page.next_page_token = token::list(&ListToken { after });
                    return Ok(page);
                }
                if let Some(info) = candidate.info().map_err(broken)? {
                    bytes += prost::Message::encoded_len(&info);
                    page.executions.push(info);
                }
                after = Some(candidate.key().clone());
            }
            (
                slice.len(),
                slice.last().map(|candidate| candidate.key().clone()),
            )
        };
        if looked_at < SLICE_ROWS {
            return Ok(page);
        }
        after = last;
        tokio::task::yield_now().await;
    }
}

/// CountWorkflowExecutions.
pub(crate) async fn count_workflow_executions(
    api: &Api,
    request: Request<wire::CountWorkflowExecutionsRequest>,
) -> Result<wire::CountWorkflowExecutionsResponse, Status> {
    use wire::count_workflow_executions_response::AggregationGroup;
    let request = request.into_inner();
    let namespace = api.namespace(&request.namespace, Need::Open).await?;
    let filter = filter(&namespace, &request.query)?;
    let view = api.read().await?;
    let (mut count, mut by_status, mut after) = (0_i64, BTreeMap::<i32, i64>::new(), None);
    loop {
        let looked_at = {
            let broken = |broken| fault(&broken);
            let slice =
                visibility::slice(&view, namespace.number, after.as_ref()).map_err(broken)?;
            for candidate in &slice {
                if filter.matches(candidate).map_err(broken)? {
                    count += 1;
                    *by_status.entry(candidate.row().status).or_default() += 1;
                }
            }
            after = slice.last().map(|candidate| candidate.key().clone());
            slice.len()
        };
        if looked_at < SLICE_ROWS {
            break;
        }
        tokio::task::yield_now().await;
    }
    let groups = match &filter.group_by {
        Some(attribute) if attribute.is_status() => by_status
            .into_iter()
            .map(|(status, count)| AggregationGroup {
                group_values: vec![visibility::status_payload(status)],
                count,
            })
            .collect(),
        // Nothing is in a division yet: one group of the empty name.
        Some(_) if count > 0 => {
            vec![AggregationGroup {
                group_values: vec![visibility::keyword_payload("")],
                count,
            }]
        }
        Some(_) | None => Vec::new(),
    };
    Ok(wire::CountWorkflowExecutionsResponse { count, groups })
}

/// GetSearchAttributes: the system's and the predefined ones.
pub(crate) async fn get_search_attributes(
    _api: &Api,
    _request: Request<wire::GetSearchAttributesRequest>,
) -> Result<wire::GetSearchAttributesResponse, Status> {
    Ok(wire::GetSearchAttributesResponse {
        keys: system_search_attributes(),
    })
}

/// Name and type of all search attributes that every namespace has.
pub(crate) fn system_search_attributes() -> BTreeMap<String, i32> {
    let named = |(name, value_type): &(&'static str, IndexedValueType)| {
        ((*name).to_owned(), i32::from(*value_type))
    };
    visibility::SYSTEM
        .iter()
        .chain(visibility::PREDEFINED)
        .map(named)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_the_old_filters_are_quoted() {
        let mut query = "a = 'b'".to_owned();
        and_equals(&mut query, "WorkflowId", r"it's \'");
        assert_eq!(query, r"a = 'b' AND WorkflowId = 'it''s \\'''");
        assert!(Statement::parse(&query).is_ok());
        let time = |seconds| Some(prost_types::Timestamp { seconds, nanos: 0 });
        let backward = StartTimeFilter {
            earliest_time: time(2),
            latest_time: time(1),
        };
        assert!(between(&mut query, "StartTime", Some(&backward)).is_err());
        assert!(closed_status(1).is_err() && closed_status(99).is_err());
        assert_eq!(closed_status(7).unwrap(), "TimedOut");
    }
}
