//! `steadfast proxy`: one address for clients that know only one.
//!
//! It hands each TCP connection to the leader if it can, else to a node that serves, and resets
//! the connections of a node that stopped serving, so that clients try again at once instead of
//! waiting for a time-out. It reads nothing of what it carries.

pub mod backend;
pub mod front;

use crate::cli::{Failure, asked_to_end, one_thread_runtime, say};
use crate::config;
use backend::{Backend, Backends, Lane};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// Options of `steadfast proxy`.
#[derive(Debug, Clone, clap::Args)]
pub struct ProxyArgs {
    /// Where clients connect
    #[arg(
        long,
        env = "STEADFAST_LISTEN",
        default_value = "127.0.0.1:7233",
        value_name = "HOST:PORT"
    )]
    pub listen: String,
    /// A node's gRPC and HTTP address; repeatable
    #[arg(long, env = "STEADFAST_NODE", value_delimiter = ',', required = true,
          value_name = "GRPC-HOST:PORT=HTTP-HOST:PORT", value_parser = backend)]
    pub node: Vec<Backend>,
    /// Connections carried at once; further ones are reset
    #[arg(long, env = "STEADFAST_MAX_CONNECTIONS", default_value_t = front::CONNECTIONS_MAX,
          value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub max_connections: u32,
}

fn backend(text: &str) -> Result<Backend, String> {
    let (grpc, http) = text
        .split_once('=')
        .ok_or("write GRPC-HOST:PORT=HTTP-HOST:PORT")?;
    Ok(Backend {
        grpc: config::peer_address(grpc)?,
        http: config::peer_address(http)?,
    })
}

/// Carries connections until SIGTERM or Ctrl-C.
pub fn run(args: ProxyArgs) -> Result<(), Failure> {
    one_thread_runtime()?.block_on(async {
        let listener = TcpListener::bind(&args.listen).await.map_err(|error| {
            Failure::failed(format!(
                "cannot listen on {}: {error}; stop what uses it or choose another --listen",
                args.listen
            ))
        })?;
        let stop = CancellationToken::new();
        let backends = Backends::watch(args.node, stop.clone());
        let address = listener.local_addr().map_err(Failure::failed)?;
        say(&format!(
            "steadfast proxy: {address} leads to {} nodes",
            backends.len()
        ));
        let front = front::Front {
            lane: Lane::Grpc,
            backends,
            connections: args.max_connections,
        };
        tokio::select! {
            ended = asked_to_end() => ended.map_err(Failure::failed)?,
            () = front.serve(listener, stop.clone()) => {}
        }
        stop.cancel();
        Ok(())
    })
}
