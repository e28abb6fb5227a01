//! A long profile goes on where an earlier start ended.

use std::path::Path;
use std::process::Command;

/// One start with two of the profile's seeds; what it said.
fn start(folder: &Path) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_simulation"));
    command
        .args(["--profile", "nightly", "--ticks", "2", "--most", "2"])
        .args(["--jobs", "1", "--folder"])
        .arg(folder);
    let output = command.output().expect("the program was built");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}");
    text
}

#[test]
fn another_start_does_the_seeds_that_are_missing_and_tells_of_all() {
    let folder = tempfile::tempdir().unwrap();
    let first = start(folder.path());
    assert!(first.contains("seed 101: ") && first.contains("seed 102: "));
    assert!(first.contains("nightly: 2 of 10000 seeds, "), "{first}");
    let second = start(folder.path());
    assert!(!second.contains("seed 101: ") && !second.contains("seed 102: "));
    assert!(second.contains("seed 103: ") && second.contains("seed 104: "));
    assert!(second.contains("nightly: 4 of 10000 seeds, "), "{second}");
}
