//! A picture of a run: faults, leaders, and how long operations took.

use super::nemesis::Event;
use super::watch::Leadership;
use crate::evidence::Evidence;
use crate::operation::Outcome;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::time::Duration;

/// Pixels of a second, of a row, of the part for latencies, and of the left margin.
const SECOND: f64 = 14.0;
const ROW: f64 = 16.0;
const LATENCIES: f64 = 320.0;
const LEFT: f64 = 150.0;
/// Operations that are drawn; of more, each so-many-th is.
const POINTS_MAX: usize = 20_000;
const COLOURS: [&str; 5] = ["#4269d0", "#efb118", "#3ca951", "#a463f2", "#97bbf5"];

type Leaderships = BTreeMap<Leadership, Duration>;

fn x(at: Duration) -> f64 {
    LEFT + at.as_secs_f64() * SECOND
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('"', "&quot;")
}

/// One self-contained page.
pub(super) fn draw(evidence: &Evidence, events: &[Event], leaderships: &Leaderships) -> String {
    let operations = &evidence.journal.operations;
    let ends = operations.iter().map(|operation| operation.returned);
    let end = ends
        .chain(events.iter().map(|event| event.to))
        .max()
        .unwrap_or_default();
    let kinds: BTreeSet<&str> = events.iter().map(|event| event.fault).collect();
    let below_faults = (kinds.len() as f64 + 3.0) * ROW;
    let (width, height) = (x(end) + 20.0, below_faults + LATENCIES + 3.0 * ROW);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width:.0}\" height=\"{height:.0}\" \
         font-family=\"sans-serif\" font-size=\"11\">"
    );
    faults(&mut svg, &kinds, events, below_faults + LATENCIES);
    leaders(&mut svg, leaderships, end, below_faults - 1.5 * ROW);
    latencies(&mut svg, evidence, end, below_faults);
    svg.push_str("</svg>");
    format!("<!DOCTYPE html><meta charset=\"utf-8\"><title>timeline</title><body>{svg}</body>\n")
}

fn faults(svg: &mut String, kinds: &BTreeSet<&str>, events: &[Event], bottom: f64) {
    for (row, kind) in kinds.iter().enumerate() {
        let top = (row as f64 + 1.0) * ROW;
        // A string takes all that is written to it.
        write!(svg, "<text x=\"4\" y=\"{:.0}\">{kind}</text>", top + 11.0).ok();
        for event in events.iter().filter(|event| event.fault == *kind) {
            let (left, wide) = (x(event.from), (x(event.to) - x(event.from)).max(2.0));
            let what = escaped(&event.what);
            write!(
                svg,
                "<rect x=\"{left:.1}\" y=\"0\" width=\"{wide:.1}\" height=\"{bottom:.0}\" \
                 fill=\"#d33\" opacity=\"0.06\"/>\
                 <rect x=\"{left:.1}\" y=\"{top:.0}\" width=\"{wide:.1}\" height=\"12\" \
                 fill=\"#d33\"><title>{what}</title></rect>"
            )
            .ok();
        }
    }
}

fn leaders(svg: &mut String, leaderships: &Leaderships, end: Duration, top: f64) {
    write!(svg, "<text x=\"4\" y=\"{:.0}\">leader</text>", top + 11.0).ok();
    let mut next: Vec<Duration> = leaderships.values().skip(1).copied().collect();
    next.push(end);
    for (((term, node), at), until) in leaderships.iter().zip(next) {
        let colour = COLOURS[(*node as usize) % COLOURS.len()];
        let (left, wide) = (x(*at), (x(until) - x(*at)).max(1.0));
        write!(
            svg,
            "<rect x=\"{left:.1}\" y=\"{top:.0}\" width=\"{wide:.1}\" height=\"13\" \
             fill=\"{colour}\"><title>term {term}: node {node}</title></rect>\
             <text x=\"{:.1}\" y=\"{:.0}\" fill=\"#fff\">{node}</text>",
            left + 2.0,
            top + 10.0
        )
        .ok();
    }
}

/// From 1 ms at the bottom to 10 s at the top, by powers of ten.
fn latencies(svg: &mut String, evidence: &Evidence, end: Duration, top: f64) {
    let y = |took: Duration| {
        let millis = (took.as_secs_f64() * 1_000.0).clamp(1.0, 10_000.0);
        top + LATENCIES - millis.log10() / 4.0 * LATENCIES
    };
    for (label, millis) in [
        ("1 ms", 1),
        ("10 ms", 10),
        ("100 ms", 100),
        ("1 s", 1_000),
        ("10 s", 10_000),
    ] {
        let at = y(Duration::from_millis(millis));
        write!(
            svg,
            "<text x=\"4\" y=\"{:.0}\">{label}</text>\
             <line x1=\"{LEFT}\" x2=\"{:.0}\" y1=\"{at:.0}\" y2=\"{at:.0}\" stroke=\"#ccc\"/>",
            at + 4.0,
            x(end)
        )
        .ok();
    }
    let operations = &evidence.journal.operations;
    for operation in operations.iter().step_by(operations.len() / POINTS_MAX + 1) {
        let colour = match operation.outcome {
            Outcome::Acknowledged(_) => "#3a3",
            Outcome::Refused(_) => "#999",
            Outcome::Unknown(_) => "#e60",
        };
        let took = operation.returned.saturating_sub(operation.invoked);
        write!(
            svg,
            "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"1.6\" fill=\"{colour}\"/>",
            x(operation.invoked),
            y(took)
        )
        .ok();
    }
    for second in (0..=end.as_secs()).step_by(10) {
        let at = x(Duration::from_secs(second));
        write!(
            svg,
            "<text x=\"{at:.0}\" y=\"{:.0}\">{second} s</text>",
            top + LATENCIES + ROW
        )
        .ok();
    }
}
