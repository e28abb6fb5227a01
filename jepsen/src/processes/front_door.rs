//! `steadfast proxy` before all places.

use super::host::Addresses;
use super::{Trouble, io};
use std::fs::File;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// The front door; it ends with its handle.
#[derive(Debug)]
pub(super) struct FrontDoor {
    pub(super) address: String,
    process: Child,
}

impl FrontDoor {
    pub(super) fn open(
        binary: &Path,
        logs: &Path,
        nodes: &[&Addresses],
    ) -> Result<FrontDoor, Trouble> {
        let free = TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr());
        let address = free.map_err(io("a free port"))?.to_string();
        let log = File::create(logs.join("proxy.log")).map_err(io("a log"))?;
        let nodes: Vec<String> = nodes
            .iter()
            .map(|node| format!("{}={}", node.grpc, node.http))
            .collect();
        let process = Command::new(binary)
            .args(["proxy", "--listen", &address, "--node", &nodes.join(",")])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .map_err(io("steadfast proxy"))?;
        Ok(FrontDoor { address, process })
    }
}

impl Drop for FrontDoor {
    fn drop(&mut self) {
        end(&mut self.process);
    }
}

/// Ends a process of ours.
pub(super) fn end(process: &mut Child) {
    // It may have ended by itself.
    process.kill().ok();
    process.wait().ok();
}
