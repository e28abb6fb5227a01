//! Accepts connections and carries their bytes.

use crate::cli::proxy::backend::{Backends, Lane};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::copy_bidirectional_with_sizes;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

/// Connections carried at once: each needs two descriptors and two buffers of [`COPY_BYTES`], so
/// this many stay below 64 MiB and below the usual limit of descriptors raised by service managers.
pub const CONNECTIONS_MAX: u32 = 1_024;
/// A gRPC message of this project's hot calls fits whole.
const COPY_BYTES: usize = 16 << 10;
/// A new connection waits this long for a node that serves; as long as an election may take twice.
const NODE_WAIT: Duration = Duration::from_secs(5);
/// Longest time for connecting to one node.
const CONNECT_LIMIT: Duration = Duration::from_millis(500);

/// A front door for one lane.
#[derive(Debug)]
pub struct Front {
    /// What it leads to.
    pub lane: Lane,
    /// The nodes.
    pub backends: Backends,
    /// Connections carried at once.
    pub connections: u32,
}

impl Front {
    /// Accepts until `stop`; the connections it carries are reset then.
    pub async fn serve(self, listener: TcpListener, stop: CancellationToken) {
        let room = Arc::new(Semaphore::new(self.connections as usize));
        let front = Arc::new(self);
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = stop.cancelled() => return,
            };
            let Ok((client, _)) = accepted else {
                // Out of descriptors, most likely: some are given back as connections end.
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            };
            let Ok(permit) = room.clone().try_acquire_owned() else {
                reset(&client);
                continue;
            };
            let front = front.clone();
            let stop = stop.clone();
            tokio::spawn(async move {
                tokio::select! {
                    () = front.carry(client) => {}
                    () = stop.cancelled() => {}
                }
                drop(permit);
            });
        }
    }

    async fn carry(&self, mut client: TcpStream) {
        let Some((mut node, mut cut)) = self.connect().await else {
            return reset(&client);
        };
        // A missing no-delay costs 40 ms here and there, never correctness.
        client.set_nodelay(true).ok();
        node.set_nodelay(true).ok();
        let copied = tokio::select! {
            copied = copy_bidirectional_with_sizes(&mut client, &mut node, COPY_BYTES, COPY_BYTES) => copied.is_ok(),
            _ = cut.changed() => false,
        };
        if !copied {
            reset(&client);
            reset(&node);
        }
    }

    /// A connection to the best node there is, and the signal that it stopped serving.
    async fn connect(&self) -> Option<(TcpStream, tokio::sync::watch::Receiver<u64>)> {
        let deadline = Instant::now() + NODE_WAIT;
        let mut changes = self.backends.changes();
        loop {
            changes.mark_unchanged();
            for index in self.backends.order() {
                let node = self.backends.node(index);
                let cut = node.cut();
                let connecting = TcpStream::connect(node.address(self.lane));
                if let Ok(Ok(stream)) = timeout(CONNECT_LIMIT, connecting).await {
                    return Some((stream, cut));
                }
            }
            // A probe that says the same as before is no change; ask again now and then.
            let again = deadline.min(Instant::now() + CONNECT_LIMIT);
            timeout_at(again, changes.changed()).await.ok();
            if Instant::now() >= deadline {
                return None;
            }
        }
    }
}

/// Makes the end of a connection a reset: the other side learns at once that its calls are lost.
fn reset(stream: &TcpStream) {
    // On failure the connection ends in the ordinary way, which callers bear too.
    stream.set_zero_linger().ok();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::proxy::backend::Backend;
    use std::sync::Mutex;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    /// A node that answers `/leader` with a text and greets on its other port.
    async fn node(name: &'static str, answer: Arc<Mutex<&'static str>>) -> Backend {
        let grpc = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let http = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let backend = Backend {
            grpc: grpc.local_addr().unwrap().to_string(),
            http: http.local_addr().unwrap().to_string(),
        };
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = grpc.accept().await.unwrap();
                tokio::spawn(async move {
                    stream.write_all(name.as_bytes()).await.unwrap();
                    stream.read_to_end(&mut Vec::new()).await.ok();
                });
            }
        });
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = http.accept().await.unwrap();
                let answer = answer.clone();
                tokio::spawn(async move {
                    let mut request = [0; 1024];
                    while stream.read(&mut request).await.is_ok_and(|read| read > 0) {
                        let body = *answer.lock().unwrap();
                        let text = format!(
                            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}",
                            body.len()
                        );
                        stream.write_all(text.as_bytes()).await.unwrap();
                    }
                });
            }
        });
        backend
    }

    const LEADS: &str = r#"{"node_id":1,"leads":true,"ready":true,"leader_grpc":null}"#;
    const SERVES: &str = r#"{"node_id":2,"leads":false,"ready":true,"leader_grpc":null}"#;
    const WAITS: &str = r#"{"node_id":1,"leads":false,"ready":false,"leader_grpc":null}"#;

    async fn greeting(stream: &mut TcpStream) -> String {
        let mut text = [0; 3];
        stream.read_exact(&mut text).await.unwrap();
        String::from_utf8_lossy(&text).to_string()
    }

    #[tokio::test]
    async fn connections_follow_the_leader_and_leave_a_node_that_stopped() {
        let said = [Arc::new(Mutex::new(LEADS)), Arc::new(Mutex::new(SERVES))];
        let nodes = vec![
            node("one", said[0].clone()).await,
            node("two", said[1].clone()).await,
        ];
        let stop = CancellationToken::new();
        let backends = Backends::watch(nodes, stop.clone());
        let mut changes = backends.changes();
        while backends.order().len() < 2 {
            changes.changed().await.unwrap();
        }
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let front = Front {
            lane: Lane::Grpc,
            backends,
            connections: 2,
        };
        tokio::spawn(front.serve(listener, stop.clone()));

        let mut first = TcpStream::connect(address).await.unwrap();
        assert_eq!(greeting(&mut first).await, "one");

        // Node 1 loses its leader while node 2 serves: within a second the connection is reset.
        *said[0].lock().unwrap() = WAITS;
        *said[1].lock().unwrap() = LEADS;
        let end = timeout(Duration::from_secs(1), first.read(&mut [0; 8])).await;
        assert!(
            matches!(end, Ok(Err(_))),
            "no reset within a second: {end:?}"
        );

        let mut second = TcpStream::connect(address).await.unwrap();
        assert_eq!(greeting(&mut second).await, "two");
        let mut third = TcpStream::connect(address).await.unwrap();
        assert_eq!(greeting(&mut third).await, "two");
        // The bound: the third at once is reset.
        let mut fourth = TcpStream::connect(address).await.unwrap();
        assert!(fourth.read_exact(&mut [0; 3]).await.is_err());
        stop.cancel();
    }
}
