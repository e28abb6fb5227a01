//! A cluster of one node on ports of the system's choice.

use steadfast::node::NodeOptions;

/// Its options, with its data below a folder.
pub(crate) fn options(dir: &std::path::Path) -> NodeOptions {
    NodeOptions {
        node_id: 1,
        cluster_name: "test".into(),
        data_dir: dir.into(),
        grpc_address: "127.0.0.1:0".into(),
        raft_address: "127.0.0.1:0".into(),
        http_address: "127.0.0.1:0".into(),
        initial_members: [(1, "127.0.0.1:1".to_owned())].into(),
        ..NodeOptions::default()
    }
}
