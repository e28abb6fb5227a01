//! What the server knows of workflows.

use crate::converter::{ConversionError, DataConverter, Value};
use crate::duration::time;
use crate::search_attributes::SearchAttributes;
use std::ops::Deref;
use std::time::SystemTime;
use steadfast_proto::temporal::enums::v1::WorkflowExecutionStatus;
use steadfast_proto::temporal::sdk::v1::UserMetadata;
use steadfast_proto::temporal::workflow::v1 as workflow;
use steadfast_proto::temporal::workflowservice::v1 as wire;

/// A run of a workflow, as lists and descriptions have it.
#[derive(Debug, Clone)]
pub struct WorkflowExecutionInfo {
    raw: workflow::WorkflowExecutionInfo,
    data: DataConverter,
}

impl WorkflowExecutionInfo {
    pub(super) fn new(raw: workflow::WorkflowExecutionInfo, data: DataConverter) -> Self {
        Self { raw, data }
    }

    /// All that the server said.
    pub fn raw(&self) -> &workflow::WorkflowExecutionInfo {
        &self.raw
    }

    /// The workflow id.
    pub fn workflow_id(&self) -> &str {
        let execution = self.raw.execution.as_ref();
        execution.map_or("", |execution| &execution.workflow_id)
    }

    /// The run id.
    pub fn run_id(&self) -> &str {
        let execution = self.raw.execution.as_ref();
        execution.map_or("", |execution| &execution.run_id)
    }

    /// The name of the workflow's type.
    pub fn workflow_type(&self) -> &str {
        self.raw.r#type.as_ref().map_or("", |of| &of.name)
    }

    /// The task queue.
    pub fn task_queue(&self) -> &str {
        &self.raw.task_queue
    }

    /// Whether it runs, and how it ended otherwise.
    pub fn status(&self) -> WorkflowExecutionStatus {
        WorkflowExecutionStatus::try_from(self.raw.status).unwrap_or_default()
    }

    /// When it was started.
    pub fn start_time(&self) -> Option<SystemTime> {
        self.raw.start_time.and_then(time)
    }

    /// When it ended; none while it runs.
    pub fn close_time(&self) -> Option<SystemTime> {
        self.raw.close_time.and_then(time)
    }

    /// How many events it has.
    pub fn history_length(&self) -> i64 {
        self.raw.history_length
    }

    /// A value of the memo; none when there is none of this name.
    ///
    /// # Errors
    /// [`ConversionError::Decode`] when it is not a `T`.
    pub fn memo<T: Value>(&self, name: &str) -> Result<Option<T>, ConversionError> {
        let fields = self.raw.memo.as_ref().map(|memo| &memo.fields);
        let payload = fields.and_then(|fields| fields.get(name));
        payload
            .map(|payload| self.data.converter().from_payload(payload))
            .transpose()
    }

    /// What it is found by.
    pub fn search_attributes(&self) -> SearchAttributes {
        SearchAttributes::from_wire(self.raw.search_attributes.clone())
    }
}

/// A workflow, with what it waits for.
#[derive(Debug, Clone)]
pub struct WorkflowDescription {
    raw: wire::DescribeWorkflowExecutionResponse,
    info: WorkflowExecutionInfo,
}

impl WorkflowDescription {
    pub(super) fn new(
        mut raw: wire::DescribeWorkflowExecutionResponse,
        data: DataConverter,
    ) -> Self {
        let info = raw.workflow_execution_info.take().unwrap_or_default();
        Self {
            raw,
            info: WorkflowExecutionInfo::new(info, data),
        }
    }

    /// All that the server said, but for what `WorkflowExecutionInfo` has of it: what is pending,
    /// time-outs, callbacks.
    pub fn details(&self) -> &wire::DescribeWorkflowExecutionResponse {
        &self.raw
    }

    /// One line about it, given when it was started.
    pub fn static_summary(&self) -> Option<String> {
        self.text(|metadata| metadata.summary.as_ref())
    }

    /// More about it, given when it was started.
    pub fn static_details(&self) -> Option<String> {
        self.text(|metadata| metadata.details.as_ref())
    }

    fn text(
        &self,
        part: impl Fn(&UserMetadata) -> Option<&steadfast_proto::temporal::common::v1::Payload>,
    ) -> Option<String> {
        let config = self.raw.execution_config.as_ref()?;
        let payload = part(config.user_metadata.as_ref()?)?;
        // Text for people: what cannot be read is not shown.
        self.info.data.converter().from_payload(payload).ok()
    }
}

impl Deref for WorkflowDescription {
    type Target = WorkflowExecutionInfo;

    fn deref(&self) -> &WorkflowExecutionInfo {
        &self.info
    }
}
