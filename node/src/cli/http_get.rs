//! As much of an HTTP client as the probes of `dev` and `proxy` need: GET on one connection.

use std::io;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Longest body taken, in bytes; `/metrics` of a node is below 256 KiB.
const BODY_BYTES_MAX: usize = 4 << 20;
/// Longest head of an answer, in bytes.
const HEAD_BYTES_MAX: usize = 16 << 10;

/// A connection that is used for one request after the other.
#[derive(Debug)]
pub struct HttpConnection {
    stream: BufReader<TcpStream>,
    address: String,
}

impl HttpConnection {
    /// Connects to `HOST:PORT`.
    pub async fn connect(address: &str, limit: Duration) -> io::Result<HttpConnection> {
        let stream = timeout(limit, TcpStream::connect(address)).await??;
        stream.set_nodelay(true)?;
        Ok(HttpConnection {
            stream: BufReader::new(stream),
            address: address.to_string(),
        })
    }

    /// Status code and body of `GET path`. After an error the connection is of no more use.
    pub async fn get(&mut self, path: &str, limit: Duration) -> io::Result<(u16, Vec<u8>)> {
        timeout(limit, self.exchange(path)).await?
    }

    async fn exchange(&mut self, path: &str) -> io::Result<(u16, Vec<u8>)> {
        let request = format!("GET {path} HTTP/1.1\r\nHost: {}\r\n\r\n", self.address);
        self.stream.get_mut().write_all(request.as_bytes()).await?;
        let mut head = (&mut self.stream).take(HEAD_BYTES_MAX as u64);
        let mut line = String::new();
        head.read_line(&mut line).await?;
        let code = line
            .split(' ')
            .nth(1)
            .and_then(|code| code.parse().ok())
            .ok_or_else(bad)?;
        let mut length = 0;
        loop {
            line.clear();
            if head.read_line(&mut line).await? == 0 {
                return Err(bad());
            }
            if line.trim().is_empty() {
                break;
            }
            let Some((name, value)) = line.split_once(':') else {
                return Err(bad());
            };
            if name.eq_ignore_ascii_case("content-length") {
                length = value.trim().parse().map_err(|_| bad())?;
            }
        }
        if length > BODY_BYTES_MAX {
            return Err(bad());
        }
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body).await?;
        Ok((code, body))
    }
}

fn bad() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "not the answer of a node")
}

/// One request on a connection of its own.
pub async fn get(address: &str, path: &str, limit: Duration) -> io::Result<(u16, Vec<u8>)> {
    HttpConnection::connect(address, limit)
        .await?
        .get(path, limit)
        .await
}
