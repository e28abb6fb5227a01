//! Schedules: workflows that the cluster starts at the times of a specification.

mod handle;
mod options;

pub use handle::{Backfill, ScheduleDescription, ScheduleHandle, ScheduleListEntry};
pub use options::{ScheduleOptions, ScheduleSpec};
pub use steadfast_proto::temporal::enums::v1::ScheduleOverlapPolicy;
pub use steadfast_proto::temporal::schedule::v1::{Schedule, StructuredCalendarSpec};

use crate::client::Client;
use crate::client::error::{CallError, CreateScheduleError};
use crate::client::list::pages;
use crate::client::options::StartOptions;
use crate::converter::Arguments;
use crate::definition::Workflow;
use futures::stream::Stream;
use steadfast_proto::temporal::schedule::v1 as schedule;
use steadfast_proto::temporal::workflowservice::v1 as wire;
use tonic::Code;
use uuid::Uuid;

impl Client {
    /// Creates a schedule that starts this workflow with this input. The workflow id of the start
    /// options gets the time of each start appended; their policies about ids, cron and delay do
    /// not count.
    ///
    /// # Errors
    /// [`CreateScheduleError::AlreadyExists`] when there is one of this id;
    /// [`CreateScheduleError::Call`] when the input cannot be written or the call fails.
    pub async fn create_schedule<W, I: Arguments, O>(
        &self,
        schedule_id: impl Into<String>,
        workflow: Workflow<W, I, O>,
        input: I,
        start: StartOptions,
        options: ScheduleOptions,
    ) -> Result<ScheduleHandle, CreateScheduleError> {
        let schedule_id = schedule_id.into();
        let new = self.new_workflow(workflow.name(), &input, &start)?;
        drop(input);
        let memo = match &options.memo {
            Some(memo) => memo.to_wire(self.data_converter().converter())?,
            None => None,
        };
        let action = schedule::schedule_action::Action::StartWorkflow(new);
        let request = wire::CreateScheduleRequest {
            namespace: self.namespace().to_string(),
            schedule_id: schedule_id.clone(),
            schedule: Some(schedule::Schedule {
                spec: Some(options.spec.to_wire()),
                action: Some(schedule::ScheduleAction {
                    action: Some(action),
                }),
                policies: Some(options.policies()),
                state: Some(options.state()),
            }),
            initial_patch: options.initial_patch(),
            identity: self.identity().to_string(),
            request_id: Uuid::new_v4().to_string(),
            memo,
            search_attributes: options.search_attributes.to_wire(),
        };
        match self.calls.create_schedule(request).await {
            Ok(_) => Ok(self.schedule(schedule_id)),
            Err(CallError::Rpc(status)) if status.code() == Code::AlreadyExists => {
                Err(CreateScheduleError::AlreadyExists { schedule_id })
            }
            Err(error) => Err(error.into()),
        }
    }

    /// The schedule of this id.
    pub fn schedule(&self, schedule_id: impl Into<String>) -> ScheduleHandle {
        ScheduleHandle::new(self.clone(), schedule_id.into())
    }

    /// The schedules that a query finds, in Temporal's language of lists; all for an empty one.
    pub fn list_schedules(
        &self,
        query: impl Into<String>,
    ) -> impl Stream<Item = Result<ScheduleListEntry, CallError>> + Send + 'static {
        let client = self.clone();
        let query = query.into();
        pages(move |next_page_token| {
            let client = client.clone();
            let request = wire::ListSchedulesRequest {
                namespace: client.namespace().to_string(),
                query: query.clone(),
                next_page_token,
                ..Default::default()
            };
            async move {
                let page = client.calls.list_schedules(request).await?;
                let data = client.data_converter();
                let entries = page.schedules.into_iter();
                let entries = entries.map(|entry| ScheduleListEntry::new(entry, data.clone()));
                Ok((entries.collect(), page.next_page_token))
            }
        })
    }
}
