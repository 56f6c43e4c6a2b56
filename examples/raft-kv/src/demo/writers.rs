//! The clients: each writes as fast as it is answered, and goes to another node when one fails it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use raft_node::Clock;
use raft_node::session::{self, Session};
use redis_protocol::resp2::types::BytesFrame;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::journal::{Journal, Write};
use crate::client::Client;
use crate::local::{Address, PATIENCE};
use crate::store::{self, Reply};

/// How long a client waits for a connection or an answer. The servers answer sooner, if only with
/// an error.
const ANSWER: Duration = Duration::from_secs(6);

/// The pause before the next node is tried when one can't be reached.
const PAUSE: Duration = Duration::from_millis(10);

/// The running clients. When dropped, they end at once.
pub(super) struct Writers {
    clients: JoinSet<Option<()>>,
    stop: Arc<AtomicBool>,
    nodes: watch::Sender<Vec<String>>,
}

impl Writers {
    /// Starts so many clients, spread over the nodes.
    pub(super) fn start(count: u32, nodes: &[Address], journal: &Journal) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (sender, nodes) = watch::channel(addresses(nodes));
        let mut clients = JoinSet::new();
        for client in 0..count {
            let way = Way { nodes: nodes.clone(), next: client as usize, connection: None };
            let writer = Writer { client, way, journal: journal.clone(), stop: stop.clone() };
            clients.spawn(writer.run());
        }
        Self { clients, stop, nodes: sender }
    }

    /// From now on these are the nodes. Clients notice when one fails them.
    pub(super) fn tell(&self, nodes: &[Address]) {
        self.nodes.send_replace(addresses(nodes));
    }

    /// Lets each client end its write, ends them all, and returns how many had given up before.
    pub(super) async fn stop(mut self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        let mut gave_up = 0;
        while let Some(ended) = self.clients.join_next().await {
            gave_up += u64::from(!matches!(ended, Ok(Some(()))));
        }
        gave_up
    }
}

fn addresses(nodes: &[Address]) -> Vec<String> {
    nodes.iter().map(|node| node.client.clone()).collect()
}

/// One client. Each of its writes is tried until there is an answer, at one node after the other.
/// That is safe because of its session: however often a write arrives, it is applied once.
struct Writer {
    client: u32,
    way: Way,
    journal: Journal,
    stop: Arc<AtomicBool>,
}

impl Writer {
    /// Writes until it is told to stop. Nothing if it gives up, because there is no answer for very
    /// long, or no session any more: without one nothing can be promised.
    async fn run(mut self) -> Option<()> {
        let clock = Clock::start();
        let opened = self.insist(session::open()).await?;
        let mut session = Session::new(opened, clock.now()).ok()?;
        for sequence in 1.. {
            if self.stop.load(Ordering::Relaxed) {
                break;
            }
            let write = Write { client: self.client, sequence };
            let begun = Instant::now();
            let request = session.command(&write.command(), clock.now()).ok()?;
            let answer = self.insist(request.envelope()).await;
            let answer = answer.and_then(|answer| session.answered(&request, answer).ok());
            match answer.and_then(|answer| store::decode::<Reply>(&answer)) {
                Some(replies) if replies.first() == Some(&Reply::Ok) => {
                    self.journal.acknowledge(write, begun);
                }
                _ => {
                    self.journal.doubt(self.client);
                    return None;
                }
            }
        }
        Some(())
    }

    /// Proposes until there is an answer. Nothing if there is none for very long.
    async fn insist(&mut self, envelope: Bytes) -> Option<Bytes> {
        let started = Instant::now();
        while started.elapsed() < PATIENCE {
            match self.way.propose(envelope.clone()).await {
                Ok(answer) => return Some(answer),
                Err(Miss::NotSent) => sleep(PAUSE).await,
                Err(Miss::Refused) => self.journal.refuse(),
                Err(Miss::Unknown) => self.journal.wonder(),
            }
        }
        None
    }
}

/// A try that brought no answer.
enum Miss {
    NotSent,
    Refused,
    Unknown,
}

/// The way to the cluster: a connection to one of its nodes.
struct Way {
    nodes: watch::Receiver<Vec<String>>,
    next: usize,
    connection: Option<Client>,
}

impl Way {
    async fn propose(&mut self, envelope: Bytes) -> Result<Bytes, Miss> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.connect().await.ok_or(Miss::NotSent)?,
        };
        match connection.call(vec!["RAFT.PROPOSE".into(), envelope]).await {
            Ok(BytesFrame::BulkString(answer)) => {
                self.connection = Some(connection);
                Ok(answer)
            }
            Ok(BytesFrame::Error(text)) if !text.starts_with("UNKNOWN") => Err(Miss::Refused),
            _ => Err(Miss::Unknown),
        }
    }

    async fn connect(&mut self) -> Option<Client> {
        let node = {
            let nodes = self.nodes.borrow();
            nodes.get(self.next.checked_rem(nodes.len())?)?.clone()
        };
        self.next = self.next.wrapping_add(1);
        Client::connect(&node, ANSWER).await.ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::scripted;
    use crate::node::Runtime;

    #[tokio::test]
    async fn a_client_that_has_no_session_gives_up_and_is_counted() {
        let no_session = "$8\r\nnonsense\r\n".to_owned();
        let (client, asked) = scripted::server(vec![no_session]).await;
        let node = Address { id: 1, client, peer: String::new(), runtime: Runtime::Tokio };
        let writers = Writers::start(1, &[node], &Journal::new());
        asked.await.unwrap();
        assert_eq!(writers.stop().await, 1);
    }
}
