//! The rows of the sheet.

use super::State;
use super::load::Measured;

/// What begins the table.
pub(super) const HEAD: &str = "\
| what is wrong | ok/s | of the baseline | start p50 / p99 ms | end to end p50 / p99 ms | calls made again | workflows lost | |
|---|---|---|---|---|---|---|---|";

/// One state.
#[derive(Debug, Clone)]
pub struct Row {
    state: State,
    measured: Result<Measured, String>,
    happened: String,
}

impl Row {
    pub(super) fn of(state: State, measured: Measured, happened: String, leaders: usize) -> Row {
        let mut told: Vec<String> = Vec::new();
        if !happened.is_empty() {
            told.push(happened);
        }
        match leaders {
            0 => {}
            1 => told.push("one other leader".into()),
            more => told.push(format!("{more} other leaders")),
        }
        if measured.errors > 0 {
            told.push(format!("last error: {}", measured.last_error));
        }
        Row {
            state,
            measured: Ok(measured),
            happened: told.join("; "),
        }
    }

    pub(super) fn not_here(state: State, why: String) -> Row {
        Row {
            state,
            measured: Err(format!("not possible on this machine: {why}")),
            happened: String::new(),
        }
    }

    pub(super) fn failed(state: State, what: String) -> Row {
        Row {
            state,
            measured: Err(format!("FAILED: {what}")),
            happened: String::new(),
        }
    }

    /// Whether clients got what they may expect: nothing was lost, the load ended.
    #[must_use]
    pub fn is_good(&self) -> bool {
        match &self.measured {
            Ok(measured) => measured.failed == 0 && measured.completed > 0,
            Err(why) => !why.starts_with("FAILED"),
        }
    }

    /// A row of the table; the first row is the one to compare with.
    #[must_use]
    pub fn line(&self, baseline: Option<&Row>) -> String {
        let what = self.state.what();
        let measured = match &self.measured {
            Ok(measured) => measured,
            Err(why) => return format!("| {what} | | | | | | | {} |", plain(why)),
        };
        let base = baseline.unwrap_or(self).measured.as_ref();
        let base = base.map_or(measured.per_second, |base| base.per_second);
        let part = 100.0 * measured.per_second / base.max(f64::MIN_POSITIVE);
        let [start_p50, start_p99] = measured.start;
        let [end_p50, end_p99] = measured.end_to_end;
        format!(
            "| {what} | {:.1} | {part:.0} % | {start_p50:.1} / {start_p99:.1} \
             | {end_p50:.1} / {end_p99:.1} | {} | {} | {} |",
            measured.per_second,
            measured.errors,
            measured.failed,
            plain(&self.happened)
        )
    }

    /// The whole table.
    #[must_use]
    pub fn table(rows: &[Row]) -> String {
        let lines = rows.iter().map(|row| row.line(rows.first()));
        std::iter::once(HEAD.to_owned())
            .chain(lines)
            .collect::<Vec<_>>()
            .join("\n")
    }
}

/// Text that fits into a cell.
fn plain(text: &str) -> String {
    text.replace(['|', '\n'], " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lost_workflow_and_a_broken_node_make_a_row_bad() {
        let row = |failed| {
            let measured = Measured {
                completed: 9,
                failed,
                per_second: 30.0,
                ..Measured::default()
            };
            Row::of(State::FollowerDown, measured, String::new(), 1)
        };
        assert!(row(0).is_good());
        assert!(!row(1).is_good());
        assert!(!Row::failed(State::FullDisk, "a | b".into()).is_good());
        assert!(Row::not_here(State::SlowLeader, "no group".into()).is_good());
        let table = Row::table(&[row(0), Row::failed(State::FullDisk, "a | b".into())]);
        assert!(table.contains("| 30.0 | 100 % |"), "{table}");
        let cells = |line: &str| line.matches('|').count();
        assert!(
            table
                .lines()
                .all(|line| cells(line) == cells(HEAD.lines().next().unwrap_or("")))
        );
    }
}
