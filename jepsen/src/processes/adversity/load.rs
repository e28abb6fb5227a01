//! The load: `steadfast bench` at a rate, through `steadfast proxy`.

use super::{Order, State};
use crate::processes::front_door::{FrontDoor, end};
use crate::processes::{Trouble, io};
use std::fs::File;
use std::process::{Child, Command, Stdio};

/// More than start within an outage.
const IN_FLIGHT: u64 = 400;
const POLLERS: u32 = 64;
/// Of each input and result while the cluster is filled, and how many of these workflows at once.
const FILL_PAYLOAD_BYTES: u64 = 250_000;
const FILL_IN_FLIGHT: u64 = 8;

/// What clients saw.
#[derive(Debug, Clone, Default)]
pub(super) struct Measured {
    pub(super) completed: u64,
    /// Workflows that were given up.
    pub(super) failed: u64,
    /// Calls that failed and were made again.
    pub(super) errors: u64,
    pub(super) last_error: String,
    pub(super) per_second: f64,
    /// Milliseconds, p50 and p99.
    pub(super) start: [f64; 2],
    pub(super) end_to_end: [f64; 2],
}

/// One load, as it runs.
#[derive(Debug)]
pub(super) struct Load {
    process: Child,
    ended: bool,
    output: std::path::PathBuf,
}

impl Load {
    pub(super) fn start(door: &FrontDoor, order: &Order, state: State) -> Result<Load, Trouble> {
        let workflows = u64::from(order.rate) * order.lasts.as_secs().max(1);
        let options = [
            ("--rate", u64::from(order.rate)),
            ("--workflows", workflows),
            ("--in-flight", IN_FLIGHT),
            ("--payload-bytes", state.payload_bytes().into()),
        ];
        Load::spawn(door, order, state.name(), &options)
    }

    /// Large workflows without an activity, as fast as they go, until there is so much state.
    pub(super) fn fill(door: &FrontDoor, order: &Order) -> Result<Load, Trouble> {
        let options = [
            ("--activities", 0),
            // Each has an input and a result.
            (
                "--workflows",
                order.fill_bytes.div_ceil(2 * FILL_PAYLOAD_BYTES),
            ),
            ("--in-flight", FILL_IN_FLIGHT),
            ("--payload-bytes", FILL_PAYLOAD_BYTES),
        ];
        Load::spawn(door, order, "fill", &options)
    }

    fn spawn(
        door: &FrontDoor,
        order: &Order,
        name: &str,
        options: &[(&str, u64)],
    ) -> Result<Load, Trouble> {
        let output = order.out.join(format!("load-{name}.json"));
        let written = File::create(&output).map_err(io(output.display().to_string()))?;
        let words = order.out.join(format!("load-{name}.log"));
        let words = File::create(&words).map_err(io(words.display().to_string()))?;
        let options = options
            .iter()
            .flat_map(|(option, number)| [(*option).to_owned(), number.to_string()]);
        let process = Command::new(&order.binary)
            .args(["bench", "--output", "json", "--warmup", "0"])
            .args(["--address", &door.address])
            .args(["--pollers", &POLLERS.to_string()])
            .args(options)
            .stdin(Stdio::null())
            .stdout(written)
            .stderr(words)
            .spawn()
            .map_err(io("steadfast bench"))?;
        Ok(Load {
            process,
            ended: false,
            output,
        })
    }

    pub(super) fn runs(&mut self) -> Result<bool, Trouble> {
        let status = self.process.try_wait().map_err(io("the load"))?;
        self.ended = status.is_some();
        Ok(!self.ended)
    }

    /// What it measured; `None` when it did not end, or not well.
    pub(super) fn ended(&mut self) -> Result<Option<Measured>, Trouble> {
        if self.runs()? {
            return Ok(None);
        }
        let text = std::fs::read_to_string(&self.output);
        let text = text.map_err(io(self.output.display().to_string()))?;
        Ok(measured(&text))
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        end(&mut self.process);
    }
}

fn measured(text: &str) -> Option<Measured> {
    let report: serde_json::Value = serde_json::from_str(text.trim()).ok()?;
    let number = |name: &str| report[name].as_f64();
    Some(Measured {
        completed: report["completed"].as_u64()?,
        failed: report["failed"].as_u64()?,
        errors: report["errors"].as_u64()?,
        last_error: report["last_error"].as_str()?.to_owned(),
        per_second: number("per_second")?,
        start: [number("start_p50")?, number("start_p99")?],
        end_to_end: [number("end_to_end_p50")?, number("end_to_end_p99")?],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_bench_prints_is_read() {
        let text = r#"{"activities":1,"completed":10,"failed":1,"errors":2,"last_error":"x",
            "per_second":5.5,"start_p50":1.0,"start_p99":2.0,"end_to_end_p50":3.0,
            "end_to_end_p99":4.0,"driver_cpu":0.1,"servers":null}"#;
        let read = measured(text).unwrap_or_default();
        assert_eq!((read.completed, read.failed, read.errors), (10, 1, 2));
        assert!(read.end_to_end[1] > read.start[1]);
        assert!(measured("killed").is_none());
    }
}
