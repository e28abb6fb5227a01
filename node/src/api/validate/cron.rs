//! Cron schedules, as the engine reads them.

use crate::api::status::invalid;
use tonic::Status;

/// Checks a schedule; an empty one is none.
pub(super) fn cron_schedule(schedule: &str) -> Result<(), Status> {
    if schedule.is_empty() {
        return Ok(());
    }
    steadfast_engine::cron::validate(schedule).map_err(|error| invalid(error.to_string()))
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
            "TZ=Nowhere/City 0 0 * * *",
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
