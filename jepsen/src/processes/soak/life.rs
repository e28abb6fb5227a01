//! The workflow of the load: an activity, a timer, a signal, the end.

use steadfast_proto::temporal::history::v1::HistoryEvent;
use steadfast_proto::temporal::history::v1::history_event::Attributes;

/// What a run's events have shown so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Life {
    last_event: i64,
    scheduled: bool,
    done: bool,
    timer_started: bool,
    timer_fired: bool,
    signalled: bool,
}

/// What workflow code decides next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    Activity,
    Timer,
    End,
}

impl Life {
    /// Takes in what a workflow task brought. False when events between are missing.
    pub(super) fn sees(&mut self, events: &[HistoryEvent]) -> bool {
        if let Some(first) = events.first()
            && first.event_id > self.last_event + 1
        {
            return false;
        }
        for event in events.iter().filter(|e| e.event_id > self.last_event) {
            match &event.attributes {
                Some(Attributes::ActivityTaskScheduledEventAttributes(_)) => self.scheduled = true,
                Some(Attributes::ActivityTaskCompletedEventAttributes(_)) => self.done = true,
                Some(Attributes::TimerStartedEventAttributes(_)) => self.timer_started = true,
                Some(Attributes::TimerFiredEventAttributes(_)) => self.timer_fired = true,
                Some(Attributes::WorkflowExecutionSignaledEventAttributes(_)) => {
                    self.signalled = true;
                }
                _ => {}
            }
        }
        let last = events.last().map_or(0, |event| event.event_id);
        self.last_event = self.last_event.max(last);
        true
    }

    /// What is to be done now; nothing while something is awaited.
    pub(super) fn next(self) -> Option<Step> {
        if !self.scheduled {
            return Some(Step::Activity);
        }
        if self.done && !self.timer_started {
            return Some(Step::Timer);
        }
        (self.timer_fired && self.signalled).then_some(Step::End)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use steadfast_proto::temporal::history::v1 as wire;

    fn event(event_id: i64, attributes: Attributes) -> HistoryEvent {
        HistoryEvent {
            event_id,
            attributes: Some(attributes),
            ..HistoryEvent::default()
        }
    }

    fn scheduled() -> Attributes {
        let scheduled = wire::ActivityTaskScheduledEventAttributes::default();
        Attributes::ActivityTaskScheduledEventAttributes(scheduled)
    }

    fn done() -> Attributes {
        let done = wire::ActivityTaskCompletedEventAttributes::default();
        Attributes::ActivityTaskCompletedEventAttributes(done)
    }

    #[test]
    fn a_life_has_an_activity_then_a_timer_and_ends_after_its_signal_only() {
        let mut life = Life::default();
        assert_eq!(life.next(), Some(Step::Activity));
        assert!(life.sees(&[event(1, scheduled())]));
        assert_eq!(life.next(), None);
        assert!(life.sees(&[event(1, scheduled()), event(2, done())]));
        assert_eq!(life.next(), Some(Step::Timer));
        let timer = wire::TimerStartedEventAttributes::default();
        assert!(life.sees(&[event(3, Attributes::TimerStartedEventAttributes(timer))]));
        let fired = wire::TimerFiredEventAttributes::default();
        assert!(life.sees(&[event(4, Attributes::TimerFiredEventAttributes(fired))]));
        assert_eq!(life.next(), None, "the signal is awaited");
        let signal = wire::WorkflowExecutionSignaledEventAttributes::default();
        let signal = Attributes::WorkflowExecutionSignaledEventAttributes(signal);
        assert!(life.sees(&[event(5, signal)]));
        assert_eq!(life.next(), Some(Step::End));
    }

    #[test]
    fn a_task_that_begins_beyond_what_was_seen_is_not_believed() {
        let mut life = Life::default();
        assert!(!life.sees(&[event(5, done())]));
        assert_eq!(life, Life::default());
    }
}
