//! `steadfast proxy` before a cluster: one address, as official SDKs know only one.

use crate::Error;
use crate::cluster::{Cluster, binary, free_ports};
use crate::program::Program;
use std::process::Command;
use std::time::Duration;

/// A running front door.
#[derive(Debug)]
pub struct FrontDoor {
    /// Where clients go.
    pub address: String,
    _program: Program,
}

impl FrontDoor {
    /// Opens one before all nodes of a cluster.
    ///
    /// # Errors
    /// [`Error`] when it does not listen within 10 s.
    pub async fn open(cluster: &Cluster) -> Result<Self, Error> {
        let address = format!("127.0.0.1:{}", free_ports(1)?[0]);
        let mut command = Command::new(binary()?);
        command.args(["proxy", "--listen", &address]);
        for id in cluster.ids() {
            let node = cluster.addresses(id);
            command.args(["--node", &format!("{}={}", node.grpc, node.http)]);
        }
        let mut program = Program::start("front door", &mut command)?;
        program
            .wait_for_line("steadfast proxy:", Duration::from_secs(10))
            .await?;
        Ok(Self {
            address,
            _program: program,
        })
    }
}
