//! Hello-world with the official SDKs: gzip, sticky cache on and off, a thousand workflows.

use std::time::Duration;
use steadfast_tests::cluster::Cluster;
use steadfast_tests::program::Program;
use steadfast_tests::{Error, sdk};

const LIMIT: Duration = Duration::from_secs(180);

#[tokio::test]
async fn python_hello_world() -> Result<(), Error> {
    let cluster = Cluster::start(3).await?;
    let runs: [(&str, &str, &[&str]); 3] = [
        ("sticky", "1000", &[]),
        ("no-sticky", "200", &["--no-sticky"]),
        ("no-gzip", "100", &["--no-gzip"]),
    ];
    for (node, (queue, count, more)) in (1..).zip(runs) {
        let mut command = sdk::python("hello.py")?;
        command.args(["--address", &cluster.addresses(node).grpc]);
        command
            .args(["--task-queue", queue, "--count", count])
            .args(more);
        let mut hello = Program::start(queue, &mut command)?;
        hello.wait_for_line(&format!("DONE {count}"), LIMIT).await?;
    }
    Ok(())
}

#[tokio::test]
async fn typescript_hello_world() -> Result<(), Error> {
    let cluster = Cluster::start(3).await?;
    for (node, (queue, count, cached)) in
        (1..).zip([("sticky", "1000", None), ("no-sticky", "100", Some("0"))])
    {
        let mut command = sdk::typescript("hello.js")?;
        command.env("ADDRESS", &cluster.addresses(node).grpc);
        command.env("TASK_QUEUE", queue).env("COUNT", count);
        if let Some(cached) = cached {
            command.env("MAX_CACHED", cached);
        }
        let mut hello = Program::start(queue, &mut command)?;
        hello.wait_for_line(&format!("DONE {count}"), LIMIT).await?;
    }
    Ok(())
}
