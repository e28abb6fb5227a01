//! A cluster grows, shrinks and hands over while it works, by the commands that an operator types.

use serde_json::Value;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use steadfast_proto::temporal::workflowservice::v1 as wire;
use steadfast_tests::Error;
use steadfast_tests::client::Client;
use steadfast_tests::cluster::Cluster;
use steadfast_tests::command::{Answer, steadfast};
use tokio::time::{Instant, sleep};

const LIMIT: Duration = Duration::from_secs(40);

/// `steadfast cluster …`, asked at one node.
async fn steadfast_cluster(cluster: &Cluster, at: u64, args: &[&str]) -> Result<Answer, Error> {
    let address = &cluster.addresses(at).grpc;
    let all = [&["cluster"], args, &["--address", address]].concat();
    steadfast(&all).await
}

/// Repeats a command until it succeeds: a change may meet another or an election.
async fn until_done(cluster: &Cluster, at: u64, args: &[&str]) -> Result<Answer, Error> {
    let deadline = Instant::now() + LIMIT;
    loop {
        let answer = steadfast_cluster(cluster, at, args).await?;
        if answer.code == Some(0) {
            return Ok(answer);
        }
        if Instant::now() > deadline {
            return Err(Error::TimedOut(format!("{args:?}: {answer:?}")));
        }
        sleep(Duration::from_millis(100)).await;
    }
}

/// The roles by id, as node `at` tells them.
async fn roles(cluster: &Cluster, at: u64) -> Result<Vec<(u64, String)>, Error> {
    let status = until_done(cluster, at, &["status", "--output", "json"]).await?;
    let status = status.json()?;
    let nodes = status["nodes"].as_array().cloned().unwrap_or_default();
    let role = |node: &Value| {
        (
            node["id"].as_u64().unwrap_or_default(),
            node["role"].as_str().unwrap_or_default().to_owned(),
        )
    };
    Ok(nodes.iter().map(role).collect())
}

async fn has_role(cluster: &Cluster, at: u64, id: u64, wanted: &[&str]) -> Result<(), Error> {
    let deadline = Instant::now() + LIMIT;
    loop {
        let roles = roles(cluster, at).await?;
        if roles
            .iter()
            .any(|(node, role)| *node == id && wanted.contains(&role.as_str()))
        {
            return Ok(());
        }
        if Instant::now() > deadline {
            return Err(Error::TimedOut(format!("{id} as {wanted:?}: {roles:?}")));
        }
        sleep(Duration::from_millis(100)).await;
    }
}

/// Starts workflows until told to stop; tells how many were acknowledged.
async fn load(client: Client, stop: Arc<AtomicBool>) -> Result<Vec<String>, Error> {
    let mut started = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let id = format!("load-{}", started.len());
        client.start("load", &id, "nobody", &[]).await?;
        started.push(id);
        sleep(Duration::from_millis(5)).await;
    }
    Ok(started)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_grows_shrinks_and_hands_over_under_load() -> Result<(), Error> {
    let mut cluster = Cluster::start(3).await?;
    let addresses: Vec<String> = (1..=3)
        .map(|id| cluster.addresses(id).grpc.clone())
        .collect();
    let all: Vec<&str> = addresses.iter().map(String::as_str).collect();
    let stop = Arc::new(AtomicBool::new(false));
    let loaded = tokio::spawn(load(Client::new(&all), stop.clone()));

    // Grow: a node that joins is a learner by itself; a person gives it the vote. It may ask any
    // member, so one asks a follower.
    let leader = cluster.leader().await?;
    let follower = leader % 3 + 1;
    for (id, at) in [(4, leader), (5, follower)] {
        cluster.join(id, at)?;
        cluster.wait_ready(id).await?;
        has_role(&cluster, 1, id, &["learner"]).await?;
        let member = id.to_string();
        let args = ["promote", "--member", &member, "--output", "json"];
        let promoted = until_done(&cluster, follower, &args).await?.json()?;
        assert_eq!(promoted, serde_json::json!({"id": id, "role": "voter"}));
        has_role(&cluster, id, id, &["follower", "leader"]).await?;
    }
    grown(&cluster).await?;

    // A leader that joined later: the others find its HTTP address, and are ready behind it.
    let to = until_done(&cluster, 1, &["transfer-leader", "--to", "4"]).await?;
    assert_eq!(to.out.trim(), "leadership was handed over");
    has_role(&cluster, 1, 4, &["leader"]).await?;
    for id in 1..=5 {
        cluster.wait_ready(id).await?;
    }

    // Shrink: the node that is out says so and ends.
    let removed = until_done(&cluster, 2, &["remove", "--member", "1"]).await?;
    assert!(removed.out.contains("no member any more"), "{removed:?}");
    let (code, words) = cluster.ended(1).await?;
    assert_eq!(code, Some(1), "{words}");
    assert!(
        words.contains("node 1 is no member of the cluster any more"),
        "{words}"
    );
    // And again when it is started again, from what its own log or its peers say.
    cluster.restart(1)?;
    let (code, words) = cluster.ended(1).await?;
    assert_eq!(code, Some(1), "{words}");
    assert!(
        words.contains("no member of the cluster any more"),
        "{words}"
    );

    stop.store(true, Ordering::Relaxed);
    let loaded = loaded
        .await
        .map_err(|error| Error::Program(error.to_string()))??;
    assert!(loaded.len() > 10, "the load never stood still");
    nothing_is_lost(&cluster, &loaded).await
}

/// Five voters, with all their addresses, in text and JSON.
async fn grown(cluster: &Cluster) -> Result<(), Error> {
    let members = until_done(cluster, 5, &["members", "--output", "json"]).await?;
    let members = members.json()?;
    for id in 1..=5_u64 {
        let own = members
            .as_array()
            .and_then(|all| all.iter().find(|member| member["id"] == id))
            .cloned()
            .unwrap_or_default();
        let there = cluster.addresses(id);
        assert_eq!(own["http"], there.http.as_str(), "{members}");
        assert_eq!(own["grpc"], there.grpc.as_str(), "{members}");
        assert_eq!(own["raft"], there.raft.as_str(), "{members}");
    }
    let text = until_done(cluster, 5, &["members"]).await?.out;
    assert_eq!(text.lines().count(), 5, "{text}");
    assert!(text.contains(&cluster.addresses(4).http), "{text}");
    let status = until_done(cluster, 5, &["status"]).await?.out;
    assert!(status.starts_with("cluster "), "{status}");
    assert_eq!(status.lines().count(), 7, "{status}");
    Ok(())
}

async fn nothing_is_lost(cluster: &Cluster, loaded: &[String]) -> Result<(), Error> {
    let client = Client::new(&[&cluster.addresses(5).grpc]);
    let request = wire::CountWorkflowExecutionsRequest {
        namespace: "default".into(),
        query: "WorkflowType = 'load'".into(),
    };
    let mut service = client.service().await?;
    let count = service.count_workflow_executions(request).await?;
    assert_eq!(
        count.into_inner().count,
        i64::try_from(loaded.len()).unwrap_or(-1)
    );
    let digest = until_done(cluster, 5, &["digest", "--output", "json"]).await?;
    digest.json()?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn senseless_changes_are_one_line() -> Result<(), Error> {
    let cluster = Cluster::start(1).await?;
    for (args, why) in [
        (&["promote", "--member", "9"][..], "node 9 is not a member"),
        (&["remove", "--member", "9"], "node 9 is not a member"),
        (&["remove", "--member", "1"], "node 1 is the only voter"),
        (
            &[
                "add",
                "--member",
                "9",
                "--member-raft-address",
                "127.0.0.1:1",
            ],
            "node 9 at 127.0.0.1:1: unreachable",
        ),
        (&["transfer-leader", "--to", "9"], "node 9 is no voter"),
    ] {
        let answer = steadfast_cluster(&cluster, 1, args).await?;
        assert_eq!(answer.code, Some(1), "{answer:?}");
        assert_eq!(answer.err.lines().count(), 1, "{answer:?}");
        assert!(answer.err.contains(why), "{answer:?}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_lost_its_disk_does_not_return_under_its_id() -> Result<(), Error> {
    let mut cluster = Cluster::start(3).await?;
    cluster.kill(2)?;
    let dir = cluster.data_dir(2);
    std::fs::rename(&dir, dir.with_extension("lost"))
        .map_err(|error| Error::Io("rename".into(), error))?;
    cluster.restart(2)?;
    let (code, words) = cluster.ended(2).await?;
    assert_eq!(code, Some(1), "{words}");
    assert!(words.contains("remove node 2 from the cluster"), "{words}");

    // Nor with --join.
    cluster.join(2, 1)?;
    let (code, words) = cluster.ended(2).await?;
    assert_eq!(code, Some(1), "{words}");
    assert!(words.contains("with a new id and --join"), "{words}");
    Ok(())
}
