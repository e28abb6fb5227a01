//! What a command writes into a document: between two lines; the text around them stays.

use crate::{root, target_dir};
use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

/// Replaces what a command wrote into a document.
pub(crate) fn replace(document: &str, command: &str, text: &str) -> Result<(), String> {
    let path = root().join(document);
    let failed = |error: std::io::Error| format!("{}: {error}", path.display());
    let old = std::fs::read_to_string(&path).map_err(failed)?;
    let [begin, end] = lines(command);
    let new = replaced(&old, command, text).ok_or_else(|| {
        format!(
            "{}: the lines `{begin}` and `{end}` are missing",
            path.display()
        )
    })?;
    std::fs::write(Path::new(&path), new).map_err(failed)
}

fn lines(command: &str) -> [String; 2] {
    ["begin", "end"].map(|word| format!("<!-- {word}: cargo xtask {command} -->"))
}

fn replaced(old: &str, command: &str, text: &str) -> Option<String> {
    let [begin, end] = lines(command);
    let (before, rest) = old.split_once(&begin)?;
    let (_, after) = rest.split_once(&end)?;
    Some(format!(
        "{before}{begin}\n{}\n{end}{after}",
        text.trim_end()
    ))
}

/// Commit, machine, load, file system; a line each.
pub(crate) fn machine() -> String {
    let first = |program: &str, args: &[&str]| {
        let output = Command::new(program)
            .args(args)
            .current_dir(root())
            .output();
        let text = output.map(|output| output.stdout).unwrap_or_default();
        String::from_utf8_lossy(&text)
            .lines()
            .next()
            .unwrap_or("unknown")
            .trim()
            .to_string()
    };
    let cpu_info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu_info
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(':'))
        .map_or("unknown", |(_, model)| model.trim());
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let target = target_dir();
    let target = target.to_string_lossy();
    let mut text = String::new();
    // Writing to a string cannot fail.
    writeln!(
        text,
        "Commit {}.",
        first("git", &["rev-parse", "--short=12", "HEAD"])
    )
    .ok();
    writeln!(
        text,
        "Machine: {model}, {cores} cores, Linux {}; the driver runs on it too.",
        first("uname", &["-r"])
    )
    .ok();
    write!(
        text,
        "File system: {}.",
        first("findmnt", &["-n", "-o", "FSTYPE", "-T", &target])
    )
    .ok();
    text
}

/// How many programs wanted a core, on average of the last minute.
pub(crate) fn load_average() -> f64 {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let first = text.split_whitespace().next();
    first.and_then(|first| first.parse().ok()).unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_around_the_table_stays() {
        let [begin, end] = lines("bench");
        let old = format!("a\n{begin}\nold\n{end}\nb\n");
        assert_eq!(
            replaced(&old, "bench", "new\n").unwrap(),
            format!("a\n{begin}\nnew\n{end}\nb\n")
        );
        assert!(replaced("nothing", "bench", "new").is_none());
        assert!(replaced(&old, "bench --failover", "new").is_none());
    }
}
