//! Nodes get a newer program one after the other, and then the cluster its rules. The newer rules
//! are those that builds of tests know: a request to cancel without a reason gets one.

use std::time::Duration;
use steadfast_proto::temporal::common::v1::WorkflowExecution;
use steadfast_proto::temporal::history::v1::history_event::Attributes;
use steadfast_proto::temporal::workflowservice::v1::RequestCancelWorkflowExecutionRequest;
use steadfast_tests::Error;
use steadfast_tests::client::Client;
use steadfast_tests::cluster::Cluster;
use steadfast_tests::command::{Answer, steadfast};
use tokio::time::{Instant, sleep};

const LIMIT: Duration = Duration::from_secs(30);

async fn raise(cluster: &Cluster, to: &[&str]) -> Result<Answer, Error> {
    let address = &cluster.addresses(1).grpc;
    let command = ["cluster", "raise-engine-version", "--address", address];
    steadfast(&[&command, to].concat()).await
}

/// The cause in the history of a new workflow that is canceled without a reason.
async fn cause(cluster: &Cluster, workflow_id: &str) -> Result<String, Error> {
    let client = Client::new(&[&cluster.addresses(2).grpc]);
    let run_id = client.start("w", workflow_id, "nobody", &[]).await?;
    let request = RequestCancelWorkflowExecutionRequest {
        namespace: "default".to_owned(),
        workflow_execution: Some(WorkflowExecution {
            workflow_id: workflow_id.to_owned(),
            run_id: run_id.clone(),
        }),
        request_id: "once".to_owned(),
        ..Default::default()
    };
    let mut service = client.service().await?;
    service.request_cancel_workflow_execution(request).await?;
    let events = client.history(workflow_id, &run_id).await?;
    let cause = events.into_iter().find_map(|event| match event.attributes {
        Some(Attributes::WorkflowExecutionCancelRequestedEventAttributes(asked)) => {
            Some(asked.cause)
        }
        Some(_) | None => None,
    });
    cause.ok_or_else(|| Error::Program("no cancel request in the history".to_owned()))
}

/// Repeats what is refused while a node was not heard of late.
async fn until_raised(cluster: &Cluster, to: &[&str]) -> Result<String, Error> {
    let deadline = Instant::now() + LIMIT;
    loop {
        let answer = raise(cluster, to).await?;
        if answer.code == Some(0) {
            return Ok(answer.out);
        }
        if Instant::now() > deadline {
            return Err(Error::TimedOut(format!("{answer:?}")));
        }
        sleep(Duration::from_millis(200)).await;
    }
}

/// Repeats until it is refused for this reason: what a node told counts for some seconds.
async fn refused(cluster: &Cluster, to: &[&str], why: &str) -> Result<(), Error> {
    let deadline = Instant::now() + LIMIT;
    loop {
        let answer = raise(cluster, to).await?;
        if answer.code != Some(0) && answer.err.contains(why) {
            return Ok(());
        }
        if Instant::now() > deadline {
            return Err(Error::TimedOut(format!("{answer:?}")));
        }
        sleep(Duration::from_millis(200)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_rules_change_for_all_at_once_when_every_node_knows_them() -> Result<(), Error> {
    let mut cluster = Cluster::start(3).await?;
    let newer = ["--test-engine-version", "2"];
    assert_eq!(
        until_raised(&cluster, &[]).await?,
        "the engine version is 1\n"
    );
    assert_eq!(cause(&cluster, "old").await?, "");
    for id in [1, 2] {
        cluster.stop(id).await?;
        cluster.set_options(id, &newer);
        cluster.restart(id)?;
        cluster.wait_ready(id).await?;
    }
    refused(
        &cluster,
        &["--to", "2"],
        "node 3 knows engine versions up to 1",
    )
    .await?;
    assert_eq!(
        until_raised(&cluster, &[]).await?,
        "the engine version is 1\n"
    );
    assert_eq!(cause(&cluster, "mixed").await?, "");

    // A node that is not there might come back with the old program.
    cluster.stop(3).await?;
    refused(&cluster, &[], "node 3 does not answer").await?;
    cluster.set_options(3, &newer);
    cluster.restart(3)?;
    cluster.wait_ready(3).await?;
    assert_eq!(
        until_raised(&cluster, &[]).await?,
        "the engine version is 2\n"
    );
    assert_eq!(cause(&cluster, "new").await?, "no reason was given");
    refused(&cluster, &["--to", "1"], "never goes down").await?;

    // The old program cannot go on with it, and says so.
    cluster.stop(3).await?;
    cluster.set_options(3, &[]);
    cluster.restart(3)?;
    let (code, words) = cluster.ended(3).await?;
    assert_eq!(code, Some(1), "{words}");
    assert!(words.contains("engine version"), "{words}");
    cluster.set_options(3, &newer);
    cluster.restart(3)?;
    cluster.wait_ready(3).await?;
    let address = &cluster.addresses(3).grpc;
    let status = [
        "cluster",
        "status",
        "--address",
        address,
        "--output",
        "json",
    ];
    let status = steadfast(&status).await?.succeeded()?.json()?;
    assert_eq!(status["engine_version"], 2);
    Ok(())
}
