//! Cron schedules of workflows: five fields, `@` names and `@every`, in UTC or in a time zone whose
//! rules are compiled in. Local times that a change of the clock skips don't tick; those that come
//! twice tick twice, as Temporal's library does it.

use crate::time::{Span, Timestamp};
use chrono::{DateTime, Offset, TimeZone};
use chrono_tz::Tz;

const NANOS: i64 = 1_000_000_000;
const DAY: i64 = 86_400;
/// A schedule that has no tick within this many days has none at all (29 February on a certain
/// weekday comes within 40 years, but Temporal, too, looks five years ahead only).
const DAYS_AHEAD: i64 = 5 * 366;

/// A parsed schedule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cron {
    /// A fixed delay, in whole seconds and at least one.
    Every(Span),
    /// Fields, as sets of bits, in UTC.
    Fields(Fields),
    /// Fields in a time zone.
    InZone(Fields, Tz),
}

/// The five fields; bit n is set when n matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fields {
    minutes: u64,
    hours: u64,
    days: u64,
    months: u64,
    weekdays: u64,
    /// Day or weekday is `*`: then both must match, otherwise one is enough.
    any_day: bool,
}

struct Range {
    low: u64,
    high: u64,
    names: &'static [&'static str],
}

const MINUTES: Range = Range {
    low: 0,
    high: 59,
    names: &[],
};
const HOURS: Range = Range {
    low: 0,
    high: 23,
    names: &[],
};
const DAYS: Range = Range {
    low: 1,
    high: 31,
    names: &[],
};
const MONTHS: Range = Range {
    low: 1,
    high: 12,
    names: &[
        "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
    ],
};
const WEEKDAYS: Range = Range {
    low: 0,
    high: 6,
    names: &["sun", "mon", "tue", "wed", "thu", "fri", "sat"],
};

/// Why a schedule is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CronError {
    /// It can't be read.
    #[error("invalid CronSchedule.")]
    Invalid,
    /// It never ticks.
    #[error("invalid CronSchedule, no time can be found to satisfy the schedule")]
    Never,
}

impl Cron {
    /// Reads a schedule.
    ///
    /// # Errors
    /// [`CronError::Invalid`]; also for an unknown time zone.
    pub fn parse(text: &str) -> Result<Self, CronError> {
        let (zone, text) = without_zone(text.trim())?;
        let cron = Self::parse_schedule(text)?;
        Ok(match (cron, zone) {
            (Self::Fields(fields), Some(zone)) => Self::InZone(fields, zone),
            (cron, _) => cron,
        })
    }

    fn parse_schedule(text: &str) -> Result<Self, CronError> {
        if let Some(name) = text.strip_prefix('@') {
            return named(name);
        }
        let parts: Vec<_> = text.split_whitespace().collect();
        let [minutes, hours, days, months, weekdays] = parts.as_slice() else {
            return Err(CronError::Invalid);
        };
        let (days, any_of_days) = field(days, &DAYS)?;
        let (weekdays, any_of_weekdays) = field(weekdays, &WEEKDAYS)?;
        Ok(Self::Fields(Fields {
            minutes: field(minutes, &MINUTES)?.0,
            hours: field(hours, &HOURS)?.0,
            days,
            months: field(months, &MONTHS)?.0,
            weekdays,
            any_day: any_of_days || any_of_weekdays,
        }))
    }

    /// The first tick after an instant; `None` when there is none for five years.
    #[must_use]
    pub fn next(&self, after: Timestamp) -> Option<Timestamp> {
        let second = after.0.div_euclid(NANOS);
        match self {
            Self::Every(delay) => Some(Timestamp(second * NANOS).after(*delay)),
            Self::Fields(fields) => fields
                .next_minute(second.div_euclid(60) + 1)
                .map(|minute| Timestamp(minute * 60 * NANOS)),
            Self::InZone(fields, zone) => fields
                .next_minute_in(*zone, second.div_euclid(60) + 1)
                .map(|minute| Timestamp(minute * 60 * NANOS)),
        }
    }

    /// How long a run that becomes due again waits: from `closed`, the first tick that is not
    /// before it, counted from `started`; in whole seconds, rounded up.
    #[must_use]
    pub fn backoff(&self, started: Timestamp, closed: Timestamp) -> Option<Span> {
        let mut tick = self.next(started)?;
        if tick < closed {
            tick = match self {
                Self::Every(delay) => {
                    let missed = (closed.0 - tick.0 + delay.0 - 1) / delay.0;
                    Timestamp(tick.0 + missed * delay.0)
                }
                Self::Fields(_) | Self::InZone(..) => self.next(Timestamp(closed.0 - 1))?,
            };
        }
        let wait = tick.since(closed);
        Some(Span((wait.0 + NANOS - 1) / NANOS * NANOS))
    }
}

/// Reads a schedule and checks that it ticks at all.
///
/// # Errors
/// Temporal's texts.
pub fn validate(text: &str) -> Result<(), CronError> {
    let cron = Cron::parse(text)?;
    cron.next(Timestamp(0)).map(|_| ()).ok_or(CronError::Never)
}

/// The time zone that a schedule names, and the rest; none is UTC.
fn without_zone(text: &str) -> Result<(Option<Tz>, &str), CronError> {
    let Some(rest) = text
        .strip_prefix("CRON_TZ=")
        .or_else(|| text.strip_prefix("TZ="))
    else {
        return Ok((None, text));
    };
    let (zone, schedule) = rest.split_once(' ').ok_or(CronError::Invalid)?;
    let zone = match zone {
        "" | "Local" | "UTC" => None,
        name => Some(name.parse().map_err(|_| CronError::Invalid)?),
    };
    Ok((zone, schedule.trim()))
}

fn named(name: &str) -> Result<Cron, CronError> {
    let fields = match name {
        "yearly" | "annually" => "0 0 1 1 *",
        "monthly" => "0 0 1 * *",
        "weekly" => "0 0 * * 0",
        "daily" | "midnight" => "0 0 * * *",
        "hourly" => "0 * * * *",
        _ => {
            let text = name.strip_prefix("every ").ok_or(CronError::Invalid)?;
            let nanos = go_duration(text.trim()).ok_or(CronError::Invalid)?;
            let whole = nanos / NANOS * NANOS;
            return Ok(Cron::Every(Span(whole.max(NANOS))));
        }
    };
    Cron::parse_schedule(fields)
}

/// A duration as Go writes it: `1h30m`, `500ms`, `-1s`; nanoseconds.
fn go_duration(text: &str) -> Option<i64> {
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Some(0);
    }
    if rest.is_empty() {
        return None;
    }
    let mut total: i64 = 0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, tail) = rest.split_at(digits);
        let unit_end = tail
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(tail.len());
        let (unit, next) = tail.split_at(unit_end);
        let scale: i64 = match unit {
            "ns" => 1,
            "us" | "µs" | "μs" => 1_000,
            "ms" => 1_000_000,
            "s" => NANOS,
            "m" => 60 * NANOS,
            "h" => 3_600 * NANOS,
            _ => return None,
        };
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if whole.is_empty() && fraction.is_empty() {
            return None;
        }
        let whole: i64 = if whole.is_empty() {
            0
        } else {
            whole.parse().ok()?
        };
        total = total.checked_add(whole.checked_mul(scale)?)?;
        let mut digit_scale = scale;
        for digit in fraction.bytes() {
            digit_scale /= 10;
            total = total.checked_add(i64::from(digit.checked_sub(b'0')?) * digit_scale)?;
        }
        rest = next;
    }
    Some(if negative { -total } else { total })
}

/// One field: its bits, and whether it is a plain `*`.
fn field(text: &str, range: &Range) -> Result<(u64, bool), CronError> {
    let (mut bits, mut any) = (0, false);
    for part in text.split(',').filter(|part| !part.is_empty()) {
        let (part_bits, part_any) = part_of_field(part, range)?;
        bits |= part_bits;
        any |= part_any;
    }
    if bits == 0 {
        Err(CronError::Invalid)
    } else {
        Ok((bits, any))
    }
}

fn part_of_field(text: &str, range: &Range) -> Result<(u64, bool), CronError> {
    let (span, step) = match text.split_once('/') {
        Some((span, step)) => (span, Some(number(step)?)),
        None => (text, None),
    };
    let star = matches!(span, "*" | "?");
    let (low, high) = if star {
        (range.low, range.high)
    } else if let Some((low, high)) = span.split_once('-') {
        (value(low, range)?, value(high, range)?)
    } else {
        let low = value(span, range)?;
        (low, if step.is_some() { range.high } else { low })
    };
    let step_by = step.unwrap_or(1);
    if low < range.low || high > range.high || low > high || step_by == 0 {
        return Err(CronError::Invalid);
    }
    let mut bits = 0;
    let mut at = low;
    while at <= high {
        bits |= 1_u64 << at;
        at = at.saturating_add(step_by);
    }
    Ok((bits, star && step_by == 1))
}

fn value(text: &str, range: &Range) -> Result<u64, CronError> {
    let lower = text.to_ascii_lowercase();
    match range.names.iter().position(|name| *name == lower) {
        Some(position) => Ok(range.low + u64::try_from(position).unwrap_or_default()),
        None => number(text),
    }
}

fn number(text: &str) -> Result<u64, CronError> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(CronError::Invalid);
    }
    text.parse().map_err(|_| CronError::Invalid)
}

impl Fields {
    /// The first matching minute (since 1970) at or after `from`.
    fn next_minute(&self, from: i64) -> Option<i64> {
        let first_day = from.div_euclid(DAY / 60);
        let first_minute = from.rem_euclid(DAY / 60);
        for day in first_day..first_day + DAYS_AHEAD {
            if !self.matches_day(day) {
                continue;
            }
            let begin = if day == first_day { first_minute } else { 0 };
            for minute in begin..DAY / 60 {
                if bit(self.hours, minute / 60) && bit(self.minutes, minute % 60) {
                    return Some(day * (DAY / 60) + minute);
                }
            }
        }
        None
    }

    /// As [`Fields::next_minute`], by the clock of a time zone.
    fn next_minute_in(&self, zone: Tz, from: i64) -> Option<i64> {
        /// Clocks are set by less than this.
        const CHANGE: i64 = 120;
        let mut minute = from;
        while minute < from + DAYS_AHEAD * (DAY / 60) {
            let local = minute + offset_minutes(zone, minute)?;
            let (day, of_day) = (local.div_euclid(DAY / 60), local.rem_euclid(DAY / 60));
            let rest_of_day = DAY / 60 - of_day;
            minute += if self.matches_day(day) {
                if bit(self.hours, of_day / 60) && bit(self.minutes, of_day % 60) {
                    return Some(minute);
                }
                1
            } else if self.matches_day(day + 1) {
                (rest_of_day - CHANGE).max(1)
            } else {
                rest_of_day
            };
        }
        None
    }

    fn matches_day(&self, day: i64) -> bool {
        let (month, day_of_month) = month_and_day(day);
        if !bit(self.months, month) {
            return false;
        }
        let weekday = (day + 4).rem_euclid(7);
        let (by_day, by_weekday) = (bit(self.days, day_of_month), bit(self.weekdays, weekday));
        if self.any_day {
            by_day && by_weekday
        } else {
            by_day || by_weekday
        }
    }
}

/// Minutes that a zone's clock is ahead of UTC at a minute since 1970.
fn offset_minutes(zone: Tz, minute: i64) -> Option<i64> {
    let instant = DateTime::from_timestamp(minute * 60, 0)?.naive_utc();
    let seconds = zone
        .offset_from_utc_datetime(&instant)
        .fix()
        .local_minus_utc();
    Some(i64::from(seconds).div_euclid(60))
}

fn bit(bits: u64, position: i64) -> bool {
    bits >> position & 1 == 1
}

/// Month (1-12) and day (1-31) of a day counted from 1970-01-01, by the Gregorian calendar.
fn month_and_day(day: i64) -> (i64, i64) {
    let shifted = day + 719_468;
    let era_day = shifted.rem_euclid(146_097);
    let year = (era_day - era_day / 1_460 + era_day / 36_524 - era_day / 146_096) / 365;
    let year_day = era_day - (365 * year + year / 4 - year / 100);
    let shifted_month = (5 * year_day + 2) / 153;
    let day_of_month = year_day - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 {
        shifted_month + 3
    } else {
        shifted_month - 9
    };
    (month, day_of_month)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp(seconds * NANOS)
    }

    // 2024-02-28T23:59:30Z
    const LEAP_EVE: i64 = 1_709_164_770;

    #[test]
    fn ticks_are_found() {
        let next = |text: &str| {
            Cron::parse(text)
                .unwrap()
                .next(at(LEAP_EVE))
                .map(|tick| tick.0 / NANOS)
        };
        assert_eq!(next("* * * * *"), Some(1_709_164_800));
        assert_eq!(next("0 12 29 2 *"), Some(1_709_208_000));
        assert_eq!(next("0 0 * * MON"), Some(1_709_510_400));
        assert_eq!(next("@every 90s"), Some(LEAP_EVE + 90));
        assert_eq!(next("0 0 30 2 *"), None);
    }

    #[test]
    fn bad_schedules_are_refused() {
        for text in [
            "",
            "* * * *",
            "60 * * * *",
            "* 24 * * *",
            "* * * * 7",
            "5-3 * * * *",
            "@reboot",
            "* * L * *",
            "* * * * 1#2",
            "*/0 * * * *",
            "* * * * * *",
        ] {
            assert_eq!(Cron::parse(text), Err(CronError::Invalid), "{text}");
        }
        assert_eq!(validate("0 0 30 2 *"), Err(CronError::Never));
    }

    #[test]
    fn time_zones_have_their_clocks() {
        // 2024-03-09T12:00:00Z: on the 10th New York goes from 2:00 to 3:00.
        let before = at(1_709_985_600);
        let ticks = |text: &str, from: Timestamp| {
            let cron = Cron::parse(text).unwrap();
            let mut ticks = vec![from];
            for _ in 0..3 {
                ticks.push(cron.next(ticks[ticks.len() - 1]).unwrap());
            }
            ticks[1..]
                .iter()
                .map(|tick| tick.since(from).0 / NANOS / 60)
                .collect::<Vec<_>>()
        };
        let new_york = |schedule: &str| format!("CRON_TZ=America/New_York {schedule}");
        // 9:00 there is 14:00 UTC, from the 10th on 13:00.
        assert_eq!(ticks(&new_york("0 9 * * *"), before), [120, 1_500, 2_940]);
        // 2:30 is skipped on the 10th.
        assert_eq!(
            ticks(&new_york("30 2 * * *"), before),
            [2_550, 3_990, 5_430]
        );
        // 2024-11-02T12:00:00Z: on the 3rd 1:30 comes twice.
        let autumn = at(1_730_548_800);
        assert_eq!(
            ticks(&new_york("30 1 * * *"), autumn),
            [1_050, 1_110, 2_550]
        );
        assert_eq!(
            ticks("TZ=Asia/Kolkata 0 0 * * 0", autumn),
            [390, 10_470, 20_550]
        );
        assert_eq!(
            Cron::parse("TZ=Nowhere/City * * * * *"),
            Err(CronError::Invalid)
        );
        assert_eq!(
            validate("TZ=Europe/Berlin 0 0 30 2 *"),
            Err(CronError::Never)
        );
        assert!(matches!(
            Cron::parse("TZ=Europe/Berlin @daily"),
            Ok(Cron::InZone(..))
        ));
    }

    #[test]
    fn missed_ticks_are_skipped() {
        let every = Cron::parse("@every 10s").unwrap();
        assert_eq!(every.backoff(at(100), at(103)), Some(Span::seconds(7)));
        assert_eq!(every.backoff(at(100), at(137)), Some(Span::seconds(3)));
        let minutes = Cron::parse("*/5 * * * *").unwrap();
        assert_eq!(minutes.backoff(at(0), at(299)), Some(Span::seconds(1)));
        assert_eq!(minutes.backoff(at(0), at(300)), Some(Span::ZERO));
    }
}
