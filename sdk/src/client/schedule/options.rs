//! When a schedule starts its workflow, and how.

use crate::client::options::Memo;
use crate::client::schedule::handle::Backfill;
use crate::duration::to_wire;
use crate::search_attributes::SearchAttributes;
use std::time::{Duration, SystemTime};
use steadfast_proto::temporal::enums::v1::ScheduleOverlapPolicy;
use steadfast_proto::temporal::schedule::v1 as wire;

/// The times of a schedule: all that any of its parts names, but for those that are skipped.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ScheduleSpec(wire::ScheduleSpec);

impl ScheduleSpec {
    /// No times yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// The same and each time of this cron expression.
    pub fn cron(mut self, expression: impl Into<String>) -> Self {
        self.0.cron_string.push(expression.into());
        self
    }

    /// The same and each multiple of this interval, counted from 1970.
    pub fn every(self, interval: Duration) -> Self {
        self.every_at(interval, Duration::ZERO)
    }

    /// The same and each multiple of this interval, this much later.
    pub fn every_at(mut self, interval: Duration, offset: Duration) -> Self {
        self.0.interval.push(wire::IntervalSpec {
            interval: Some(to_wire(interval)),
            phase: Some(to_wire(offset)),
        });
        self
    }

    /// The same and the times that match a calendar.
    pub fn calendar(mut self, calendar: wire::StructuredCalendarSpec) -> Self {
        self.0.structured_calendar.push(calendar);
        self
    }

    /// The same without the times that match a calendar.
    pub fn skip(mut self, calendar: wire::StructuredCalendarSpec) -> Self {
        self.0.exclude_structured_calendar.push(calendar);
        self
    }

    /// The same from this time on.
    pub fn start_at(mut self, time: SystemTime) -> Self {
        self.0.start_time = Some(time.into());
        self
    }

    /// The same up to this time.
    pub fn end_at(mut self, time: SystemTime) -> Self {
        self.0.end_time = Some(time.into());
        self
    }

    /// Each time is late by chance, up to this much.
    pub fn jitter(mut self, jitter: Duration) -> Self {
        self.0.jitter = Some(to_wire(jitter));
        self
    }

    /// The time zone of cron expressions and calendars, as `Europe/Berlin`; UTC when it is not
    /// set.
    pub fn time_zone(mut self, name: impl Into<String>) -> Self {
        self.0.timezone_name = name.into();
        self
    }

    /// As schedules on the wire have it.
    pub fn to_wire(&self) -> wire::ScheduleSpec {
        self.0.clone()
    }
}

/// How a schedule is created.
#[derive(Debug, Clone, Default)]
pub struct ScheduleOptions {
    pub(super) spec: ScheduleSpec,
    overlap: ScheduleOverlapPolicy,
    catchup_window: Option<Duration>,
    pause_on_failure: bool,
    paused: bool,
    note: String,
    remaining_actions: Option<u32>,
    trigger_immediately: bool,
    backfill: Vec<Backfill>,
    pub(super) memo: Option<Memo>,
    pub(super) search_attributes: SearchAttributes,
}

impl ScheduleOptions {
    /// At these times.
    pub fn new(spec: ScheduleSpec) -> Self {
        Self {
            spec,
            ..Self::default()
        }
    }

    /// What happens when the last workflow still runs; the new one is skipped when it is not set.
    pub fn overlap(mut self, overlap: ScheduleOverlapPolicy) -> Self {
        self.overlap = overlap;
        self
    }

    /// How late a start may be made up for after an outage; a year when it is not set.
    pub fn catchup_window(mut self, window: Duration) -> Self {
        self.catchup_window = Some(window);
        self
    }

    /// Pauses the schedule when a workflow fails or times out.
    pub fn pause_on_failure(mut self, pause: bool) -> Self {
        self.pause_on_failure = pause;
        self
    }

    /// Creates it paused.
    pub fn paused(mut self, paused: bool) -> Self {
        self.paused = paused;
        self
    }

    /// A note for people, as why it is paused.
    pub fn note(mut self, note: impl Into<String>) -> Self {
        self.note = note.into();
        self
    }

    /// How many workflows it starts before it rests; any number when it is not set.
    pub fn remaining_actions(mut self, count: u32) -> Self {
        self.remaining_actions = Some(count);
        self
    }

    /// Starts a workflow at once.
    pub fn trigger_immediately(mut self, trigger: bool) -> Self {
        self.trigger_immediately = trigger;
        self
    }

    /// Starts what it would have started in a time that is past.
    pub fn backfill(mut self, backfill: Backfill) -> Self {
        self.backfill.push(backfill);
        self
    }

    /// Values for who lists schedules.
    pub fn memo(mut self, memo: Memo) -> Self {
        self.memo = Some(memo);
        self
    }

    /// What the schedule is found by.
    pub fn search_attributes(mut self, attributes: SearchAttributes) -> Self {
        self.search_attributes = attributes;
        self
    }

    pub(super) fn policies(&self) -> wire::SchedulePolicies {
        wire::SchedulePolicies {
            overlap_policy: self.overlap as i32,
            catchup_window: self.catchup_window.map(to_wire),
            pause_on_failure: self.pause_on_failure,
            ..Default::default()
        }
    }

    pub(super) fn state(&self) -> wire::ScheduleState {
        wire::ScheduleState {
            notes: self.note.clone(),
            paused: self.paused,
            limited_actions: self.remaining_actions.is_some(),
            remaining_actions: self.remaining_actions.map_or(0, i64::from),
        }
    }

    pub(super) fn initial_patch(&self) -> Option<wire::SchedulePatch> {
        let backfill = self.backfill.iter().map(Backfill::to_wire);
        let trigger = wire::TriggerImmediatelyRequest {
            overlap_policy: self.overlap as i32,
            ..Default::default()
        };
        let any = self.trigger_immediately || !self.backfill.is_empty();
        any.then_some(wire::SchedulePatch {
            trigger_immediately: self.trigger_immediately.then_some(trigger),
            backfill_request: backfill.collect(),
            ..Default::default()
        })
    }
}
