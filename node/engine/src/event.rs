//! History events before they have an id: what is written, and the rules of the buffer.

use crate::time::Timestamp;
use steadfast_proto::temporal::common::v1::Link;
use steadfast_proto::temporal::enums::v1::EventType;
use steadfast_proto::temporal::history::v1::HistoryEvent;
use steadfast_proto::temporal::sdk::v1::{EventGroupMarker, UserMetadata};

pub use steadfast_proto::temporal::history::v1::history_event::Attributes;

/// An event that has no id yet.
#[derive(Debug, Clone, PartialEq)]
pub struct NewEvent {
    /// What happened.
    pub attributes: Attributes,
    /// Summary and details, of the command or the request.
    pub user_metadata: Option<UserMetadata>,
    /// Links of the request.
    pub links: Vec<Link>,
    /// Markers of the command.
    pub event_group_markers: Vec<EventGroupMarker>,
    /// Whether an SDK that does not know the type may skip it.
    pub worker_may_ignore: bool,
}

impl From<Attributes> for NewEvent {
    fn from(attributes: Attributes) -> Self {
        Self {
            attributes,
            user_metadata: None,
            links: Vec::new(),
            event_group_markers: Vec::new(),
            worker_may_ignore: false,
        }
    }
}

impl NewEvent {
    /// With a summary and details.
    #[must_use]
    pub fn with_metadata(mut self, metadata: Option<UserMetadata>) -> Self {
        self.user_metadata = metadata;
        self
    }

    /// With the links of a request.
    #[must_use]
    pub fn with_links(mut self, links: Vec<Link>) -> Self {
        self.links = links;
        self
    }

    /// As the wire's message. The id is 0 while the event is buffered.
    #[must_use]
    pub fn into_event(self, event_id: i64, at: Timestamp) -> HistoryEvent {
        HistoryEvent {
            event_id,
            event_time: Some(at.to_proto()),
            event_type: event_type(&self.attributes).into(),
            version: 0,
            task_id: event_id,
            worker_may_ignore: self.worker_may_ignore,
            user_metadata: self.user_metadata,
            links: self.links,
            principal: None,
            event_group_markers: self.event_group_markers,
            attributes: Some(self.attributes),
        }
    }
}

/// The type that belongs to attributes.
#[must_use]
#[expect(
    clippy::too_many_lines,
    reason = "one match, an arm for each event type"
)]
pub fn event_type(attributes: &Attributes) -> EventType {
    match attributes {
        Attributes::WorkflowExecutionStartedEventAttributes(_) => {
            EventType::WorkflowExecutionStarted
        }
        Attributes::WorkflowExecutionCompletedEventAttributes(_) => {
            EventType::WorkflowExecutionCompleted
        }
        Attributes::WorkflowExecutionFailedEventAttributes(_) => EventType::WorkflowExecutionFailed,
        Attributes::WorkflowExecutionTimedOutEventAttributes(_) => {
            EventType::WorkflowExecutionTimedOut
        }
        Attributes::WorkflowTaskScheduledEventAttributes(_) => EventType::WorkflowTaskScheduled,
        Attributes::WorkflowTaskStartedEventAttributes(_) => EventType::WorkflowTaskStarted,
        Attributes::WorkflowTaskCompletedEventAttributes(_) => EventType::WorkflowTaskCompleted,
        Attributes::WorkflowTaskTimedOutEventAttributes(_) => EventType::WorkflowTaskTimedOut,
        Attributes::WorkflowTaskFailedEventAttributes(_) => EventType::WorkflowTaskFailed,
        Attributes::ActivityTaskScheduledEventAttributes(_) => EventType::ActivityTaskScheduled,
        Attributes::ActivityTaskStartedEventAttributes(_) => EventType::ActivityTaskStarted,
        Attributes::ActivityTaskCompletedEventAttributes(_) => EventType::ActivityTaskCompleted,
        Attributes::ActivityTaskFailedEventAttributes(_) => EventType::ActivityTaskFailed,
        Attributes::ActivityTaskTimedOutEventAttributes(_) => EventType::ActivityTaskTimedOut,
        Attributes::TimerStartedEventAttributes(_) => EventType::TimerStarted,
        Attributes::TimerFiredEventAttributes(_) => EventType::TimerFired,
        Attributes::ActivityTaskCancelRequestedEventAttributes(_) => {
            EventType::ActivityTaskCancelRequested
        }
        Attributes::ActivityTaskCanceledEventAttributes(_) => EventType::ActivityTaskCanceled,
        Attributes::TimerCanceledEventAttributes(_) => EventType::TimerCanceled,
        Attributes::MarkerRecordedEventAttributes(_) => EventType::MarkerRecorded,
        Attributes::WorkflowExecutionSignaledEventAttributes(_) => {
            EventType::WorkflowExecutionSignaled
        }
        Attributes::WorkflowExecutionTerminatedEventAttributes(_) => {
            EventType::WorkflowExecutionTerminated
        }
        Attributes::WorkflowExecutionCancelRequestedEventAttributes(_) => {
            EventType::WorkflowExecutionCancelRequested
        }
        Attributes::WorkflowExecutionCanceledEventAttributes(_) => {
            EventType::WorkflowExecutionCanceled
        }
        Attributes::RequestCancelExternalWorkflowExecutionInitiatedEventAttributes(_) => {
            EventType::RequestCancelExternalWorkflowExecutionInitiated
        }
        Attributes::RequestCancelExternalWorkflowExecutionFailedEventAttributes(_) => {
            EventType::RequestCancelExternalWorkflowExecutionFailed
        }
        Attributes::ExternalWorkflowExecutionCancelRequestedEventAttributes(_) => {
            EventType::ExternalWorkflowExecutionCancelRequested
        }
        Attributes::WorkflowExecutionContinuedAsNewEventAttributes(_) => {
            EventType::WorkflowExecutionContinuedAsNew
        }
        Attributes::StartChildWorkflowExecutionInitiatedEventAttributes(_) => {
            EventType::StartChildWorkflowExecutionInitiated
        }
        Attributes::StartChildWorkflowExecutionFailedEventAttributes(_) => {
            EventType::StartChildWorkflowExecutionFailed
        }
        Attributes::ChildWorkflowExecutionStartedEventAttributes(_) => {
            EventType::ChildWorkflowExecutionStarted
        }
        Attributes::ChildWorkflowExecutionCompletedEventAttributes(_) => {
            EventType::ChildWorkflowExecutionCompleted
        }
        Attributes::ChildWorkflowExecutionFailedEventAttributes(_) => {
            EventType::ChildWorkflowExecutionFailed
        }
        Attributes::ChildWorkflowExecutionCanceledEventAttributes(_) => {
            EventType::ChildWorkflowExecutionCanceled
        }
        Attributes::ChildWorkflowExecutionTimedOutEventAttributes(_) => {
            EventType::ChildWorkflowExecutionTimedOut
        }
        Attributes::ChildWorkflowExecutionTerminatedEventAttributes(_) => {
            EventType::ChildWorkflowExecutionTerminated
        }
        Attributes::SignalExternalWorkflowExecutionInitiatedEventAttributes(_) => {
            EventType::SignalExternalWorkflowExecutionInitiated
        }
        Attributes::SignalExternalWorkflowExecutionFailedEventAttributes(_) => {
            EventType::SignalExternalWorkflowExecutionFailed
        }
        Attributes::ExternalWorkflowExecutionSignaledEventAttributes(_) => {
            EventType::ExternalWorkflowExecutionSignaled
        }
        Attributes::UpsertWorkflowSearchAttributesEventAttributes(_) => {
            EventType::UpsertWorkflowSearchAttributes
        }
        Attributes::WorkflowExecutionUpdateAcceptedEventAttributes(_) => {
            EventType::WorkflowExecutionUpdateAccepted
        }
        Attributes::WorkflowExecutionUpdateRejectedEventAttributes(_) => {
            EventType::WorkflowExecutionUpdateRejected
        }
        Attributes::WorkflowExecutionUpdateCompletedEventAttributes(_) => {
            EventType::WorkflowExecutionUpdateCompleted
        }
        Attributes::WorkflowPropertiesModifiedExternallyEventAttributes(_) => {
            EventType::WorkflowPropertiesModifiedExternally
        }
        Attributes::ActivityPropertiesModifiedExternallyEventAttributes(_) => {
            EventType::ActivityPropertiesModifiedExternally
        }
        Attributes::WorkflowPropertiesModifiedEventAttributes(_) => {
            EventType::WorkflowPropertiesModified
        }
        Attributes::WorkflowExecutionUpdateAdmittedEventAttributes(_) => {
            EventType::WorkflowExecutionUpdateAdmitted
        }
        Attributes::NexusOperationScheduledEventAttributes(_) => EventType::NexusOperationScheduled,
        Attributes::NexusOperationStartedEventAttributes(_) => EventType::NexusOperationStarted,
        Attributes::NexusOperationCompletedEventAttributes(_) => EventType::NexusOperationCompleted,
        Attributes::NexusOperationFailedEventAttributes(_) => EventType::NexusOperationFailed,
        Attributes::NexusOperationCanceledEventAttributes(_) => EventType::NexusOperationCanceled,
        Attributes::NexusOperationTimedOutEventAttributes(_) => EventType::NexusOperationTimedOut,
        Attributes::NexusOperationCancelRequestedEventAttributes(_) => {
            EventType::NexusOperationCancelRequested
        }
        Attributes::WorkflowExecutionOptionsUpdatedEventAttributes(_) => {
            EventType::WorkflowExecutionOptionsUpdated
        }
        Attributes::NexusOperationCancelRequestCompletedEventAttributes(_) => {
            EventType::NexusOperationCancelRequestCompleted
        }
        Attributes::NexusOperationCancelRequestFailedEventAttributes(_) => {
            EventType::NexusOperationCancelRequestFailed
        }
        Attributes::WorkflowExecutionPausedEventAttributes(_) => EventType::WorkflowExecutionPaused,
        Attributes::WorkflowExecutionUnpausedEventAttributes(_) => {
            EventType::WorkflowExecutionUnpaused
        }
        Attributes::WorkflowExecutionTimeSkippingTransitionedEventAttributes(_) => {
            EventType::WorkflowExecutionTimeSkippingTransitioned
        }
    }
}
