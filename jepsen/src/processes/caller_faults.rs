//! Clients and workers of a run, some of which die, and one that asks and does not read.

use crate::workload::{self, Caller, Client, NAMESPACE};
use hyper_util::rt::TokioIo;
use std::pin::Pin;
use std::task::{Context, Poll};
use steadfast_proto::temporal::workflowservice::v1::ListWorkflowExecutionsRequest;
use steadfast_proto::temporal::workflowservice::v1::workflow_service_client::WorkflowServiceClient;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tonic::transport::Endpoint;

/// Connections of a slow consumer, and calls on each.
const CONNECTIONS: usize = 4;
const CALLS: usize = 100;
/// A slow consumer reads so much of each connection: enough to begin.
const READS: usize = 200;

/// All callers.
#[derive(Debug)]
pub(super) struct Callers {
    pub(super) caller: Caller,
    until: Instant,
    workers: Vec<[JoinHandle<()>; 2]>,
    clients: Vec<JoinHandle<()>>,
    /// Every caller has a number of its own.
    next: u64,
    slow: Vec<JoinHandle<()>>,
}

impl Callers {
    /// Starts so many of each; clients call until a moment.
    pub(super) fn start(caller: Caller, clients: u64, workers: u64, until: Instant) -> Callers {
        let mut callers = Callers {
            caller,
            until,
            workers: Vec::new(),
            clients: Vec::new(),
            next: 0,
            slow: Vec::new(),
        };
        for _ in 0..workers {
            callers.add_worker();
        }
        for _ in 0..clients {
            callers.add_client();
        }
        callers
    }

    fn add_worker(&mut self) {
        self.next += 1;
        self.workers.push(workload::pair(&self.caller, self.next));
    }

    fn add_client(&mut self) {
        self.next += 1;
        let client = Client::new(&self.caller, self.next);
        self.clients.push(tokio::spawn(client.run(self.until)));
    }

    /// How many clients there are.
    pub(super) fn clients(&self) -> usize {
        self.clients.len()
    }

    /// How many workers of each kind there are.
    pub(super) fn workers(&self) -> usize {
        self.workers.len()
    }

    /// The oldest die where they are; others begin.
    pub(super) fn kill_workers(&mut self, count: usize) {
        for pair in self.workers.drain(..count.min(self.workers.len())) {
            for worker in pair {
                worker.abort();
            }
        }
        for _ in 0..count {
            self.add_worker();
        }
    }

    /// The oldest die where they are; others begin.
    pub(super) fn kill_clients(&mut self, count: usize) {
        for client in self.clients.drain(..count.min(self.clients.len())) {
            client.abort();
        }
        for _ in 0..count {
            self.add_client();
        }
    }

    /// The clients, to wait for.
    pub(super) fn take_clients(&mut self) -> Vec<JoinHandle<()>> {
        std::mem::take(&mut self.clients)
    }

    /// Asks for lists, many at once, and reads next to nothing of the answers.
    pub(super) fn consume_slowly(&mut self, address: &str) {
        for _ in 0..CONNECTIONS {
            let address = address.to_owned();
            self.slow.push(tokio::spawn(ask_only(address)));
        }
    }

    /// Slow consumers end.
    pub(super) fn mend(&mut self) {
        for slow in self.slow.drain(..) {
            slow.abort();
        }
    }

    /// All end.
    pub(super) fn end(&mut self) {
        self.mend();
        for worker in self.workers.drain(..).flatten() {
            worker.abort();
        }
        for client in self.clients.drain(..) {
            client.abort();
        }
    }
}

async fn ask_only(address: String) {
    let Ok(endpoint) = Endpoint::from_shared(format!("http://{address}")) else {
        return;
    };
    let connector = tower::service_fn(move |_| {
        let address = address.clone();
        async move {
            let stream = TcpStream::connect(address).await?;
            let unread = Unread {
                stream,
                left: READS,
            };
            Ok::<_, std::io::Error>(TokioIo::new(unread))
        }
    });
    let client = WorkflowServiceClient::new(endpoint.connect_with_connector_lazy(connector));
    let calls = (0..CALLS).map(|_| {
        let mut client = client.clone();
        async move {
            let request = ListWorkflowExecutionsRequest {
                namespace: NAMESPACE.into(),
                page_size: 1_000,
                ..Default::default()
            };
            // No answer is the point.
            client.list_workflow_executions(request).await.ok();
        }
    });
    futures::future::join_all(calls).await;
}

/// A stream that is read a little and then never again.
struct Unread {
    stream: TcpStream,
    left: usize,
}

impl AsyncRead for Unread {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        if self.left == 0 {
            return Poll::Pending;
        }
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(context, buffer);
        let read = buffer.filled().len() - before;
        self.left = self.left.saturating_sub(read);
        polled
    }
}

impl AsyncWrite for Unread {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkers;
    use crate::evidence::{Evidence, FinalRun, Violation};
    use crate::operation::{Outcome, UNDER_WAY};
    use crate::simulation::{Cluster, Recording, Trace, told};
    use crate::workload::{Habits, Transport};
    use std::time::Duration;
    use tokio::time::sleep;

    /// Calls are under way most of the time, so that most callers die in one.
    const HABITS: Habits = Habits {
        delay: Duration::from_millis(200),
        answer_lost: 0.0,
        astray: 0.0,
        dies: 0.0,
        slow: 0.02,
        fails: 0.2,
        pause: Duration::from_millis(100),
    };

    async fn story(trace: Trace) -> Evidence {
        let cluster = Cluster::start(1, 3, &trace).await.expect("disks are empty");
        cluster.leader(None).await;
        let transport = Transport::Decoded(cluster.doors().clone());
        let caller = Caller::new(1, transport, HABITS, &trace);
        let lasts = Duration::from_secs(15);
        let mut callers = Callers::start(caller, 8, 4, Instant::now() + lasts);
        for _ in 0..20 {
            sleep(Duration::from_millis(600)).await;
            callers.kill_clients(6);
            callers.kill_workers(2);
        }
        for client in callers.take_clients() {
            client.await.expect("no client panics");
        }
        let caller = callers.caller.fork(0);
        caller.set_habits(HABITS.calm());
        let until = Instant::now() + Duration::from_secs(120);
        assert_eq!(workload::drain(&caller, until).await, Some(0));
        callers.end();
        let leader = cluster.doors().leader().expect("nothing is broken");
        let mut evidence = Evidence {
            lasted: lasts,
            ..Evidence::default()
        };
        for (run, status) in workload::all_rows(&caller).await.expect("there is a list") {
            let run = FinalRun::read(&leader.view(), &run.0, &run.1, status);
            evidence.runs.push(run.expect("it is in the list"));
        }
        evidence.journal = caller.journal().clone();
        cluster.stop().await;
        evidence
    }

    #[test]
    fn a_call_in_which_its_caller_died_may_have_been_done() {
        let (mut evidence, _) = told(1, Recording::Off, story);
        assert_eq!(checkers::check(&evidence), []);
        let operations = &mut evidence.journal.operations;
        let all = operations.len();
        operations.retain(|call| call.outcome != Outcome::Unknown(UNDER_WAY.into()));
        let open = all - operations.len();
        assert!(open >= 40, "{open} callers died in a call");
        // A journal without these calls accuses nodes that did what they were asked for.
        let accused: Vec<Violation> = checkers::check(&evidence);
        assert!(!accused.is_empty());
    }
}
