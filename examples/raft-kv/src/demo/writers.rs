//! The clients: each writes as fast as it is answered, and goes to another node when one fails it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use redis_protocol::resp2::types::BytesFrame;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::cluster::Address;
use super::journal::{Journal, Write};
use crate::client::Client;

/// How long a client waits for a connection or an answer. The servers answer sooner, if only with
/// an error.
const PATIENCE: Duration = Duration::from_secs(6);

/// The pause before the next node is tried when one can't be reached.
const PAUSE: Duration = Duration::from_millis(10);

/// The running clients. When dropped, they end at once.
pub(super) struct Writers {
    clients: JoinSet<()>,
    stop: Arc<AtomicBool>,
}

impl Writers {
    /// Starts so many clients, spread over the nodes.
    pub(super) fn start(count: u32, nodes: &[Address], journal: &Journal) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let mut clients = JoinSet::new();
        for client in 0..count {
            let nodes = nodes.iter().map(|node| node.client.clone()).collect();
            clients.spawn(write(client, nodes, journal.clone(), stop.clone()));
        }
        Self { clients, stop }
    }

    /// Lets each client end its write, and ends them all.
    pub(super) async fn stop(mut self) {
        self.stop.store(true, Ordering::Relaxed);
        while self.clients.join_next().await.is_some() {}
    }
}

/// One client. Whatever becomes of a write, its key is not used again: a write whose outcome is
/// unknown may still be made, and a second one under the same key could not be told from it.
async fn write(client: u32, nodes: Vec<String>, journal: Journal, stop: Arc<AtomicBool>) {
    // Endless, so that there is always a next node.
    let mut targets = nodes.iter().cycle().skip(client as usize);
    let mut sequence = 0;
    while let Some(node) = targets.next()
        && !stop.load(Ordering::Relaxed)
    {
        let Ok(mut connection) = Client::connect(node, PATIENCE).await else {
            sleep(PAUSE).await;
            continue;
        };
        while !stop.load(Ordering::Relaxed) {
            sequence += 1;
            let write = Write { client, sequence };
            let begun = Instant::now();
            match connection.call(vec!["SET".into(), write.key(), write.value()]).await {
                Ok(BytesFrame::SimpleString(ok)) if ok == "OK" => journal.acknowledge(write, begun),
                Ok(BytesFrame::Error(text)) if !text.starts_with("UNKNOWN") => {
                    journal.refuse();
                    break;
                }
                _ => {
                    journal.doubt();
                    break;
                }
            }
        }
    }
}
