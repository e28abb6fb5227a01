//! Links to events of a run, for answers.

use super::Execution;
use crate::tables::Namespace;
use steadfast_proto::temporal::common::v1::Link;
use steadfast_proto::temporal::common::v1::link::workflow_event::{
    EventReference, Reference, RequestIdReference,
};
use steadfast_proto::temporal::common::v1::link::{Variant, WorkflowEvent};
use steadfast_proto::temporal::enums::v1::EventType;

impl Execution<'_, '_> {
    /// A link to the run's started event.
    #[must_use]
    pub(crate) fn link_to_started(&self, namespace: &Namespace) -> Link {
        let event_type = EventType::WorkflowExecutionStarted.into();
        self.link(
            namespace,
            Reference::EventRef(EventReference {
                event_id: 1,
                event_type,
            }),
        )
    }

    /// A link to the event that a request made, which may have no id yet.
    #[must_use]
    pub(crate) fn link_to_request(
        &self,
        namespace: &Namespace,
        request_id: &str,
        made: EventType,
    ) -> Link {
        let (request_id, event_type) = (request_id.to_owned(), made.into());
        self.link(
            namespace,
            Reference::RequestIdRef(RequestIdReference {
                request_id,
                event_type,
            }),
        )
    }

    fn link(&self, namespace: &Namespace, reference: Reference) -> Link {
        Link {
            variant: Some(Variant::WorkflowEvent(WorkflowEvent {
                namespace: namespace.name.clone(),
                workflow_id: self.run.run.workflow_id.clone(),
                run_id: self.run.run_id.clone(),
                reference: Some(reference),
            })),
        }
    }
}
