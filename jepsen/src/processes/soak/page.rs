//! The plots of a soak: one page without anything from elsewhere; and its table.

use super::judge::{self, RULES, SLED_RECORDS_MAX};
use super::moment::{Moment, Sample};
use std::fmt::Write;

/// Pixels of a plot, of what is drawn in it, and of the margins.
const WIDE: f64 = 900.0;
const HIGH: f64 = 170.0;
const LEFT: f64 = 70.0;
const TOP: f64 = 24.0;
const PLOT: f64 = 110.0;
/// Points of a line.
const POINTS_MAX: usize = 800;
const COLOURS: [&str; 5] = ["#4269d0", "#efb118", "#3ca951", "#a463f2", "#97bbf5"];
const MIB: f64 = 1_048_576.0;
/// Rows of the table.
const ROWS: usize = 6;

type Line = (String, Vec<(f64, f64)>);
/// A title and what is drawn.
type Figure = (&'static str, fn(&Sample) -> f64);

/// The page.
pub(super) fn draw(moments: &[Moment]) -> String {
    let mut plots: Vec<(String, Vec<Line>)> = vec![
        ("starts per second".into(), vec![starts(moments)]),
        (
            "StartWorkflowExecution, ms".into(),
            vec![
                clients(moments, "p50", |moment| moment.start_p50_ms),
                clients(moments, "p99", |moment| moment.start_p99_ms),
            ],
        ),
    ];
    for rule in &RULES {
        let title = format!("{} {}", rule.what, rule.unit);
        plots.push((title, of_nodes(moments, rule.of)));
    }
    plots.push((
        "cores busy".into(),
        rates(moments, |n| n.cpu_ms_total as f64 / 1_000.0),
    ));
    let written: [Figure; 4] = [
        ("written to disk, KiB/s", |n| {
            n.disk_written_bytes_total as f64 / 1_024.0
        }),
        ("written by sled, KiB/s", |n| {
            n.sled_written_bytes_total as f64 / 1_024.0
        }),
        ("records into sled, per second", |n| {
            n.sled_records_total as f64
        }),
        ("state in memory, MiB", |n| n.overlay_bytes as f64 / MIB),
    ];
    for (at, (title, of)) in written.into_iter().enumerate() {
        let lines = match at {
            3 => of_nodes(moments, of),
            _ => rates(moments, of),
        };
        plots.push((title.into(), lines));
    }
    let high = HIGH * plots.len() as f64;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDE:.0}\" height=\"{high:.0}\" \
         font-family=\"sans-serif\" font-size=\"11\">"
    );
    for (at, (title, lines)) in plots.iter().enumerate() {
        plot(&mut svg, title, lines, at as f64 * HIGH);
    }
    svg.push_str("</svg>");
    format!("<!DOCTYPE html><meta charset=\"utf-8\"><title>soak</title><body>{svg}</body>\n")
}

fn clients(moments: &[Moment], name: &str, of: fn(&Moment) -> f64) -> Line {
    let points = moments.iter().map(|moment| (moment.seconds, of(moment)));
    (name.into(), points.collect())
}

fn starts(moments: &[Moment]) -> Line {
    let (name, started) = clients(moments, "starts", |moment| moment.started as f64);
    (name, differences(&started))
}

fn of_nodes(moments: &[Moment], of: fn(&Sample) -> f64) -> Vec<Line> {
    let nodes = judge::nodes(moments).into_iter();
    let lines = nodes.map(|node| (format!("node {node}"), judge::series(moments, node, of)));
    lines.collect()
}

fn rates(moments: &[Moment], of: fn(&Sample) -> f64) -> Vec<Line> {
    let lines = of_nodes(moments, of).into_iter();
    lines
        .map(|(name, line)| (name, differences(&line)))
        .collect()
}

/// By how much a line rises in a second.
fn differences(line: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let pairs = line.windows(2).filter(|pair| pair[1].0 > pair[0].0);
    let risen = pairs.map(|pair| (pair[1].0, (pair[1].1 - pair[0].1) / (pair[1].0 - pair[0].0)));
    // A process that was started again counts from nothing.
    risen.map(|(x, y)| (x, y.max(0.0))).collect()
}

fn plot(svg: &mut String, title: &str, lines: &[Line], top: f64) {
    let points = || lines.iter().flat_map(|(_, line)| line);
    let highest = points().map(|point| point.1).fold(0.0, f64::max).max(1.0);
    let end = points().map(|point| point.0).fold(0.0, f64::max).max(1.0);
    let (base, wide) = (top + TOP + PLOT, WIDE - LEFT - 20.0);
    // A string takes all that is written to it.
    write!(
        svg,
        "<text x=\"{LEFT:.0}\" y=\"{:.0}\" font-weight=\"bold\">{title}</text>",
        top + 16.0
    )
    .ok();
    for part in [0.0, 0.5, 1.0] {
        let y = base - part * PLOT;
        write!(
            svg,
            "<text x=\"4\" y=\"{:.0}\">{:.1}</text><line x1=\"{LEFT}\" x2=\"{:.0}\" y1=\"{y:.0}\" \
             y2=\"{y:.0}\" stroke=\"#ccc\"/><text x=\"{:.0}\" y=\"{:.0}\">{:.0} s</text>",
            y + 4.0,
            highest * part,
            LEFT + wide,
            LEFT + wide * part - 12.0,
            base + 14.0,
            end * part
        )
        .ok();
    }
    for (at, (name, line)) in lines.iter().enumerate() {
        let colour = COLOURS[at % COLOURS.len()];
        let place = |(x, y): &(f64, f64)| {
            format!(
                "{:.1},{:.1}",
                LEFT + x / end * wide,
                base - y / highest * PLOT
            )
        };
        let drawn: Vec<String> = line
            .iter()
            .step_by(line.len() / POINTS_MAX + 1)
            .map(place)
            .collect();
        write!(
            svg,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\"/><text x=\"{:.0}\" \
             y=\"{:.0}\" fill=\"{colour}\">{name}</text>",
            drawn.join(" "),
            LEFT + 260.0 + 80.0 * at as f64,
            top + 16.0
        )
        .ok();
    }
}

/// The table: some moments of the whole, then what the second half came to.
pub(super) fn table(moments: &[Moment]) -> String {
    let mut text = String::from(
        "| minute | workflows started | deleted | start p50 / p99 ms | memory MiB | log MiB \
         | deltas and base MiB | sled MiB | open files | entries of the log |\n\
         |---|---|---|---|---|---|---|---|---|---|\n",
    );
    for row in 0..=ROWS {
        let Some(moment) = moments.get((moments.len().saturating_sub(1)) * row / ROWS) else {
            continue;
        };
        let cells = RULES.map(|rule| {
            let of = |node: &Sample| format!("{:.0}", (rule.of)(node));
            moment.nodes.iter().map(of).collect::<Vec<_>>().join(", ")
        });
        writeln!(
            text,
            "| {:.0} | {} | {} | {:.1} / {:.1} | {} |",
            moment.seconds / 60.0,
            moment.started,
            moment.deleted,
            moment.start_p50_ms,
            moment.start_p99_ms,
            cells.join(" | "),
        )
        .ok();
    }
    text.push_str(&second_half(judge::second_half(moments)));
    text
}

/// What the second half came to, node by node.
fn second_half(half: &[Moment]) -> String {
    let mut text = String::from(
        "\n| second half | node 1 | node 2 | node 3 | allowed |\n|---|---|---|---|---|\n",
    );
    let nodes = judge::nodes(half);
    let mut line = |what: &str, of: &dyn Fn(u64) -> String, allowed: &str| {
        let cells: Vec<String> = nodes.iter().map(|node| of(*node)).collect();
        writeln!(text, "| {what} | {} | {allowed} |", cells.join(" | ")).ok();
    };
    for rule in &RULES {
        let rises = |node| format!("{:+.0}", judge::rise(&judge::series(half, node, rule.of)));
        let what = format!("{} rises by {}", rule.what, rule.unit);
        line(&what, &rises, &format!("{:.0}", rule.rise));
    }
    let sled = |at: usize| {
        move |node| judge::sled_per_workflow(half, node).map_or(0.0, |counted| counted[at])
    };
    let records = |node| format!("{:.2}", sled(0)(node));
    let allowed = format!("{SLED_RECORDS_MAX:.0}");
    line("records into sled per workflow", &records, &allowed);
    let bytes = |node| format!("{:.1}", sled(1)(node) / 1_024.0);
    line("KiB written by sled per workflow", &bytes, "");
    let share = |node| {
        let sums = written(half, node);
        format!(
            "{:.0} %",
            100.0 * sums[0] / sums.iter().sum::<f64>().max(1.0)
        )
    };
    line(
        "sled's share of all that log, keeper and sled write",
        &share,
        "",
    );
    let cores = |node| {
        format!(
            "{:.2}",
            per_second(half, node, |n| n.cpu_ms_total) / 1_000.0
        )
    };
    line("cores busy", &cores, "");
    let disk = |node| {
        let bytes = per_second(half, node, |n| n.disk_written_bytes_total);
        format!("{:.0}", bytes / 1_024.0)
    };
    line("KiB a second given to the disk", &disk, "");
    text
}

/// What sled, the log and the keeper wrote in a second.
fn written(moments: &[Moment], node: u64) -> [f64; 3] {
    let of: [fn(&Sample) -> u64; 3] = [
        |node| node.sled_written_bytes_total,
        |node| node.log_written_bytes_total,
        |node| node.keeper_written_bytes_total,
    ];
    of.map(|of| per_second(moments, node, of))
}

fn per_second(moments: &[Moment], node: u64, of: fn(&Sample) -> u64) -> f64 {
    let mut known = moments.iter().filter_map(|moment| {
        let sample = moment.node(node)?;
        Some((moment.seconds, of(sample)))
    });
    match (known.next(), known.next_back()) {
        (Some((begin, first)), Some((end, last))) if end > begin => {
            last.saturating_sub(first) as f64 / (end - begin)
        }
        (None | Some(_), None | Some(_)) => 0.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moments() -> Vec<Moment> {
        let moment = |at: u64| Moment {
            seconds: at as f64 * 5.0,
            started: at * 100,
            nodes: vec![Sample {
                node: 1,
                rss_bytes: at << 20,
                started_total: at * 100,
                sled_records_total: at * 150,
                sled_written_bytes_total: at * 3_000,
                log_written_bytes_total: at * 6_000,
                ..Sample::default()
            }],
            ..Moment::default()
        };
        (0..=100).map(moment).collect()
    }

    #[test]
    fn the_page_needs_nothing_from_elsewhere() {
        let page = draw(&moments());
        assert!(page.contains("resident memory MiB") && page.contains("node 1"));
        assert!(
            !page.contains("<script") && !page.contains("href"),
            "{page}"
        );
        assert_eq!(page.matches("http").count(), 1, "the name of SVG");
        assert!(!draw(&[]).is_empty());
    }

    #[test]
    fn the_table_tells_the_second_half() {
        let table = table(&moments());
        assert!(
            table.contains("resident memory rises by MiB | +50 | 32"),
            "{table}"
        );
        assert!(
            table.contains("records into sled per workflow | 1.50 | 3"),
            "{table}"
        );
        assert!(table.contains("keeper and sled write | 33 %"), "{table}");
        assert!(table.contains("| 8 | 10000 |"), "{table}");
    }
}
