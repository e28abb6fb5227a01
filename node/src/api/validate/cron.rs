//! Cron schedules: the five-field form and the descriptors that Temporal's library takes.

use crate::api::status::invalid;
use tonic::Status;

const MONTHS: &[&str] = &[
    "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
];
const WEEKDAYS: &[&str] = &["sun", "mon", "tue", "wed", "thu", "fri", "sat"];
const DESCRIPTORS: &[&str] = &[
    "@yearly",
    "@annually",
    "@monthly",
    "@weekly",
    "@daily",
    "@midnight",
    "@hourly",
];
/// Days of each month in a leap year.
const DAYS: [u32; 12] = [31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];

/// Checks a schedule; an empty one is none.
pub(super) fn cron_schedule(schedule: &str) -> Result<(), Status> {
    if schedule.is_empty() {
        return Ok(());
    }
    let bad = || invalid("invalid CronSchedule.");
    let schedule = without_zone(schedule).ok_or_else(bad)?.trim();
    if let Some(every) = schedule.strip_prefix("@every ") {
        return if is_duration(every) {
            Ok(())
        } else {
            Err(bad())
        };
    }
    if schedule.starts_with('@') {
        return if DESCRIPTORS.contains(&schedule) {
            Ok(())
        } else {
            Err(bad())
        };
    }
    let fields: Vec<&str> = schedule.split_whitespace().collect();
    let [minute, hour, day, month, weekday] = fields[..] else {
        return Err(bad());
    };
    let minutes = field(minute, 0, 59, &[], 0);
    let hours = field(hour, 0, 23, &[], 0);
    let (Some(_), Some(_), Some(days), Some(months), Some(_)) = (
        minutes,
        hours,
        field(day, 1, 31, &[], 0),
        field(month, 1, 12, MONTHS, 1),
        field(weekday, 0, 6, WEEKDAYS, 0),
    ) else {
        return Err(bad());
    };
    let any_weekday = weekday.starts_with(['*', '?']);
    let possible = (1..=12_u32).zip(DAYS).any(|(month, last)| {
        months & (1 << month) != 0 && (1..=last).any(|day| days & (1 << day) != 0)
    });
    if any_weekday && !possible {
        return Err(invalid(
            "invalid CronSchedule, no time can be found to satisfy the schedule",
        ));
    }
    Ok(())
}

/// The schedule behind a `TZ=` or `CRON_TZ=`. Zones are not looked up here.
fn without_zone(schedule: &str) -> Option<&str> {
    let zoned = schedule
        .strip_prefix("TZ=")
        .or_else(|| schedule.strip_prefix("CRON_TZ="));
    let Some(zoned) = zoned else {
        return Some(schedule);
    };
    let (zone, rest) = zoned.split_once(' ')?;
    let plausible = zone
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'_' | b'-' | b'+'));
    plausible.then_some(rest)
}

/// The values of a field as bits.
fn field(text: &str, least: u32, most: u32, names: &[&str], first_name: u32) -> Option<u64> {
    let mut bits = 0_u64;
    for part in text.split(',') {
        let (range, step) = match part.split_once('/') {
            Some((range, step)) => (
                range,
                Some(step.parse::<u32>().ok().filter(|step| *step > 0)?),
            ),
            None => (part, None),
        };
        let number = |text: &str| {
            let named = names
                .iter()
                .zip(first_name..)
                .find(|(name, _)| name.eq_ignore_ascii_case(text));
            named
                .map(|(_, number)| number)
                .or_else(|| text.parse().ok())
        };
        let (low, high) = match (range, range.split_once('-')) {
            ("*" | "?", _) => (least, most),
            (_, Some((low, high))) => (number(low)?, number(high)?),
            (single, None) => {
                let low = number(single)?;
                (low, if step.is_some() { most } else { low })
            }
        };
        if low < least || high > most || low > high {
            return None;
        }
        for value in (low..=high).step_by(usize::try_from(step.unwrap_or(1)).ok()?) {
            bits |= 1 << value;
        }
    }
    Some(bits)
}

/// Go's form of a duration: amounts with units.
fn is_duration(text: &str) -> bool {
    let mut rest = text.trim().trim_start_matches(['-', '+']);
    if rest.is_empty() {
        return false;
    }
    while !rest.is_empty() {
        let digits = rest
            .find(|next: char| !(next.is_ascii_digit() || next == '.'))
            .unwrap_or(0);
        if digits == 0 || rest[..digits].parse::<f64>().is_err() {
            return false;
        }
        rest = &rest[digits..];
        let Some(unit) = ["ns", "us", "µs", "ms", "s", "m", "h"].iter().find(|unit| {
            rest.strip_prefix(**unit)
                .is_some_and(|after| !after.starts_with(|next: char| next.is_alphabetic()))
        }) else {
            return false;
        };
        rest = &rest[unit.len()..];
    }
    true
}

#[cfg(test)]
mod tests {
    use super::cron_schedule;

    #[test]
    fn schedules_are_taken_or_refused_as_temporal_does() {
        for good in [
            "* * * * *",
            "0 0 * JAN MON",
            "@every 1h",
            "@every 0s",
            "@every 500ms",
            "@hourly",
            "@annually",
            "CRON_TZ=Europe/Berlin 0 0 * * *",
            "TZ=UTC 0 0 * * *",
            "*/15 * * * *",
            "1-5 * * * *",
            "1,2,3 * * * *",
            "0 0 ? * *",
            "  0 0 * * *  ",
            "0 0 30 2 1",
            "",
        ] {
            assert!(cron_schedule(good).is_ok(), "{good}");
        }
        for bad in [
            "not a cron",
            "* * * *",
            "* * * * * *",
            "60 * * * *",
            "0 24 * * *",
            "0 0 32 * *",
            "0 0 1 13 *",
            "0 0 * * 7",
            "0 0 * * 8",
            "@every abc",
            "@reboot",
            "@fortnightly",
            "*/0 * * * *",
            "5-1 * * * *",
            "0 0 L * *",
            "0 0 * * 1#2",
            " ",
            "@every 5x",
            "é",
            "0 0 99999999999 * *",
            "TZ=UTC",
        ] {
            assert_eq!(
                cron_schedule(bad).unwrap_err().message(),
                "invalid CronSchedule.",
                "{bad}"
            );
        }
        let never = cron_schedule("0 0 30 2 *").unwrap_err();
        assert!(never.message().contains("no time can be found"));
    }
}
