//! Options come from flags, the environment and a file, in this order; wrong ones are one line.

#![expect(clippy::unwrap_used, reason = "a failing step of a test ends it")]

use std::process::{Command, Output};

fn steadfast(args: &[&str], env: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_steadfast"));
    command.args(args);
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("STEADFAST_")) {
        command.env_remove(name);
    }
    command.envs(env.iter().copied()).output().unwrap()
}

/// The one line on standard error, and the exit code.
fn refused(args: &[&str], env: &[(&str, &str)]) -> (String, i32) {
    let output = steadfast(args, env);
    let line = String::from_utf8(output.stderr).unwrap();
    assert_eq!(line.lines().count(), 1, "one line: {line}");
    assert!(output.stdout.is_empty());
    (line, output.status.code().unwrap())
}

#[test]
fn a_flag_wins_over_the_environment_and_that_over_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("steadfast.toml");
    std::fs::write(&file, "node-id = 1\ngrpc-address = \"file\"\n").unwrap();
    let file = file.to_str().unwrap();
    let env = [
        ("STEADFAST_CONFIG", file),
        ("STEADFAST_GRPC_ADDRESS", "environment"),
    ];

    // Each source gives a value that is no address, and the complaint names the one that counted.
    let (line, code) = refused(&["server", "--grpc-address", "flag"], &env);
    assert!(line.contains("'flag'") && code == 2, "{line}");
    let (line, code) = refused(&["server"], &env);
    assert!(line.contains("'environment'") && code == 2, "{line}");
    let (line, code) = refused(&["server"], &env[..1]);
    assert!(line.contains("'file'") && code == 2, "{line}");
    let (line, code) = refused(&["server", "--config", file], &[]);
    assert!(line.contains("'file'") && code == 2, "{line}");
}

#[test]
fn wrong_usage_is_one_line_and_exit_code_2() {
    let (line, code) = refused(&["server"], &[]);
    assert!(line.contains("--node-id") && code == 2, "{line}");
    let (line, code) = refused(&["dev", "--nodes", "2"], &[]);
    assert!(line.contains("1, 3 or 5 nodes") && code == 2, "{line}");
    let (line, code) = refused(&["server", "--node-id", "1", "--initial-members", "x"], &[]);
    assert!(line.contains("1=HOST:PORT") && code == 2, "{line}");
    let (line, code) = refused(&["dev", "--config", "/no/such/file"], &[]);
    assert!(
        line.contains("cannot read the configuration file") && code == 2,
        "{line}"
    );
}

#[test]
fn version_is_our_own() {
    let output = steadfast(&["--version"], &[]);
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(
        text.trim(),
        format!("steadfast {}", env!("CARGO_PKG_VERSION"))
    );
}

#[test]
fn nobody_there_is_one_line_and_exit_code_1() {
    // Port 1 is refused on every machine that has no service there.
    let (line, code) = refused(&["cluster", "status", "--address", "127.0.0.1:1"], &[]);
    assert!(
        line.contains("cannot connect to 127.0.0.1:1") && code == 1,
        "{line}"
    );
}
