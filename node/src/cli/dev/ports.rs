//! The nodes' ports: fixed for a data directory, because its members' addresses are stored.

use crate::cli::dev::DevError;
use crate::cli::dev::file::write_atomically;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;

/// Node *i* listens on these plus *i*.
const GRPC_BASE: u16 = 7260;
const RAFT_BASE: u16 = 7270;
const HTTP_BASE: u16 = 8260;
/// Free ports are taken from below the kernel's own range for outgoing connections, so that no
/// client's connection sits on a node's port while the node is being started again.
const FREE_FIRST: u16 = 20_000;
const FREE_LAST: u16 = 31_999;
/// Where the ports are remembered.
const NAME: &str = "ports.json";

/// The ports of one node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct NodePorts {
    /// The node.
    pub id: u64,
    /// For workers and clients.
    pub grpc: u16,
    /// For the other nodes.
    pub raft: u16,
    /// For health and metrics.
    pub http: u16,
}

/// The ports of a data directory's nodes: those of its first run, else the usual ones, or free
/// ones when `free`. All of them can be listened on now.
pub fn settle(data_dir: &Path, nodes: u64, free: bool) -> Result<Vec<NodePorts>, DevError> {
    let path = data_dir.join(NAME);
    let failed = |why: String| DevError::File {
        path: path.clone(),
        why,
    };
    match std::fs::read_to_string(&path) {
        Ok(text) => {
            let ports: Vec<NodePorts> =
                serde_json::from_str(&text).map_err(|error| failed(error.to_string()))?;
            if ports.len() as u64 != nodes {
                return Err(DevError::OtherSize {
                    dir: data_dir.into(),
                    found: ports.len(),
                });
            }
            check(&ports)?;
            return Ok(ports);
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(failed(error.to_string())),
    }
    let ports = if free {
        free_ports(nodes)?
    } else {
        usual_ports(nodes)
    };
    check(&ports)?;
    let text = serde_json::to_string_pretty(&ports).map_err(|error| failed(error.to_string()))?;
    write_atomically(&path, &text).map_err(|error| failed(error.to_string()))?;
    Ok(ports)
}

fn usual_ports(nodes: u64) -> Vec<NodePorts> {
    let ids = 1..=u16::try_from(nodes).unwrap_or(5);
    ids.map(|i| NodePorts {
        id: u64::from(i),
        grpc: GRPC_BASE + i,
        raft: RAFT_BASE + i,
        http: HTTP_BASE + i,
    })
    .collect()
}

fn free_ports(nodes: u64) -> Result<Vec<NodePorts>, DevError> {
    // Two clusters that start at once begin to look in different places.
    let span = u32::from(FREE_LAST - FREE_FIRST + 1);
    let start = std::process::id().wrapping_mul(37) % span;
    let mut free = (0..span)
        .filter_map(|step| u16::try_from((start + step) % span).ok())
        .map(|offset| FREE_FIRST + offset)
        .filter(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok());
    let mut next = || {
        free.next()
            .ok_or(DevError::NoFreePort(FREE_FIRST, FREE_LAST))
    };
    (1..=nodes)
        .map(|id| {
            Ok(NodePorts {
                id,
                grpc: next()?,
                raft: next()?,
                http: next()?,
            })
        })
        .collect()
}

fn check(ports: &[NodePorts]) -> Result<(), DevError> {
    for node in ports {
        for (port, what) in [
            (node.grpc, "gRPC"),
            (node.raft, "Raft"),
            (node.http, "HTTP"),
        ] {
            if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_err() {
                return Err(DevError::PortInUse {
                    port,
                    what: format!("{what} of node {}", node.id),
                });
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_stay_with_the_directory() {
        let dir = tempfile::tempdir().unwrap();
        let first = settle(dir.path(), 3, true).unwrap();
        assert_eq!(settle(dir.path(), 3, false).unwrap(), first);
        let error = settle(dir.path(), 5, true).unwrap_err().to_string();
        assert!(error.contains("--nodes 3"), "{error}");

        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, first[1].raft)).unwrap();
        let error = settle(dir.path(), 3, true).unwrap_err().to_string();
        assert!(
            error.contains("Raft of node 2") && error.contains("--port 0"),
            "{error}"
        );
        drop(taken);
    }

    #[test]
    fn the_usual_ports() {
        let ports = usual_ports(3);
        assert_eq!(
            ports[0],
            NodePorts {
                id: 1,
                grpc: 7261,
                raft: 7271,
                http: 8261
            }
        );
    }
}
