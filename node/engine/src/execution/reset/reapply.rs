//! What came after the point of a reset and is applied to the new run again: from outside, not
//! from the workflow's code. Runs that the base continued as count, too.

use super::super::{Execution, updates_to_reapply};
use super::{decoded, too_much};
use crate::event::{Attributes, NewEvent};
use crate::read::{self, history};
use crate::reply::{Fault, Stop};
use crate::tables::Run;
use std::collections::BTreeSet;
use steadfast_proto::temporal::enums::v1::{
    EventType, ResetReapplyExcludeType as Exclude, ResetReapplyType,
};
use steadfast_proto::temporal::history::v1::HistoryEvent;

/// Which kinds of events are left out.
#[derive(Debug, Clone, Default)]
pub(crate) struct Reapply {
    excluded: BTreeSet<i32>,
}

impl Reapply {
    /// As a request says: what to leave out, or by the older field what to take. Unknown numbers
    /// exclude nothing.
    pub(crate) fn of(excluded: &[i32], reapply_type: i32) -> Self {
        let mut excluded: BTreeSet<i32> = excluded.iter().copied().collect();
        match ResetReapplyType::try_from(reapply_type) {
            Ok(ResetReapplyType::Signal) => {
                excluded.insert(Exclude::Update.into());
            }
            Ok(ResetReapplyType::None) => {
                excluded.extend([i32::from(Exclude::Signal), i32::from(Exclude::Update)]);
            }
            Ok(ResetReapplyType::Unspecified | ResetReapplyType::AllEligible) | Err(_) => {}
        }
        Self { excluded }
    }

    fn leaves_out(&self, kind: Exclude) -> bool {
        self.excluded.contains(&kind.into())
    }

    fn leaves_out_all(&self) -> bool {
        #[expect(deprecated, reason = "it still counts among all")]
        let cancel = Exclude::CancelRequest;
        let kinds = [Exclude::Signal, Exclude::Update, Exclude::Nexus, cancel];
        kinds.into_iter().all(|kind| self.leaves_out(kind))
    }
}

impl Execution<'_, '_> {
    /// Applies the base's events after the point again, then those of the runs that it continued
    /// as.
    ///
    /// # Errors
    /// Refused when that is more than one mutation may write.
    pub(crate) fn reapply(
        &mut self,
        base: &Run,
        last_event_id: i64,
        reapply: &Reapply,
    ) -> Result<(), Stop> {
        if reapply.leaves_out_all() {
            return Ok(());
        }
        let mut next = self.reapply_run(base, last_event_id + 1, reapply)?;
        while let Some(run_id) = next.take() {
            let (namespace, workflow_id) = (base.run.namespace, &base.run.workflow_id);
            // A run of the chain may be gone by its retention; what came after it is not known.
            if let Ok(run) = read::resolve(&*self.set, namespace, workflow_id, &run_id)? {
                next = self.reapply_run(&run, 1, reapply)?;
            }
        }
        Ok(())
    }

    /// Applies a run's events from an id on again, and answers which run it continued as.
    fn reapply_run(
        &mut self,
        run: &Run,
        from: i64,
        reapply: &Reapply,
    ) -> Result<Option<String>, Stop> {
        // Only the base's event ids mean what they mean here.
        let of_base = from > 1;
        let (until, most) = (run.next_event_id - 1, history::PAGE_BATCHES_MAX);
        let mut continued_as = None;
        let mut next = (from <= until).then_some(from);
        while let Some(from) = next {
            let page = history::forward(self.set, run, from, until, most)?;
            next = page.next;
            for event in decoded(page.events)? {
                if self.set.is_full() {
                    return Err(too_much());
                }
                continued_as = match &event.attributes {
                    Some(Attributes::WorkflowExecutionContinuedAsNewEventAttributes(end)) => {
                        Some(end.new_execution_run_id.clone())
                    }
                    Some(_) | None => None,
                };
                self.reapply_event(event, reapply, of_base)?;
            }
        }
        Ok(continued_as)
    }

    /// The one place that decides what of an event is applied again.
    fn reapply_event(
        &mut self,
        event: HistoryEvent,
        reapply: &Reapply,
        of_base: bool,
    ) -> Result<(), Fault> {
        if !reapply.leaves_out(Exclude::Update) {
            for update in updates_to_reapply(std::slice::from_ref(&event)) {
                self.reapply_update(update)?;
            }
        }
        match event.attributes {
            Some(Attributes::WorkflowExecutionSignaledEventAttributes(signal))
                if !reapply.leaves_out(Exclude::Signal) =>
            {
                // A call that was made again after the run had continued as new is in both runs.
                if self.request(&signal.request_id)?.is_some() {
                    return Ok(());
                }
                let (made, request_id) = (
                    EventType::WorkflowExecutionSignaled,
                    signal.request_id.clone(),
                );
                let attributes = Attributes::WorkflowExecutionSignaledEventAttributes(signal);
                let event_id = self.add_event(NewEvent::from(attributes).with_links(event.links));
                self.remember_request(&request_id, made, event_id);
                self.run.signal_count += 1;
            }
            Some(Attributes::WorkflowExecutionOptionsUpdatedEventAttributes(updated)) => {
                let (made, request_id) = (
                    EventType::WorkflowExecutionOptionsUpdated,
                    updated.attached_request_id.clone(),
                );
                let attributes =
                    Attributes::WorkflowExecutionOptionsUpdatedEventAttributes(updated);
                let mut again = NewEvent::from(attributes).with_links(event.links);
                again.worker_may_ignore = true;
                let event_id = self.add_event(again);
                self.remember_request(&request_id, made, event_id);
            }
            Some(other) if of_base => self.reapply_child_event(other)?,
            Some(_) | None => {}
        }
        Ok(())
    }
}
