//! The SDK's client on a real node: what a program that starts workflows and talks to them relies
//! on. The workflows are driven by hand, so that the client alone is tested.

#![expect(clippy::unwrap_used, reason = "a failing step of a test ends it")]

#[path = "sdk_client/promises.rs"]
mod promises;
#[path = "sdk_client/worker.rs"]
mod worker;

use steadfast_tests::cluster::Cluster;

/// A node that knows one search attribute, and its address.
async fn node() -> (Cluster, String) {
    let options = ["--search-attribute", "Customer=Keyword"];
    let cluster = Cluster::start_with(1, &options).await.unwrap();
    let address = cluster.addresses(1).grpc.clone();
    (cluster, address)
}

macro_rules! promises {
    ($($name:ident)+) => {
        $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $name() {
            let (_cluster, address) = node().await;
            promises::$name(&address).await;
        })+
    };
}

promises! {
    results_come_with_types_and_failures_with_causes
    results_follow_the_runs_of_a_workflow
    an_id_that_is_taken_names_the_run_in_the_way
    signals_queries_and_updates_reach_the_workflow
    a_start_brings_its_signal_or_update_along
    cancelled_and_terminated_workflows_say_so
    lists_have_memo_and_search_attributes
    activities_are_completed_from_outside
    the_codec_and_the_interceptors_see_every_call
    a_dead_address_is_passed_over
}
