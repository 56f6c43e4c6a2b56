//! Connections to peers, for what this node has to say.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::time::Duration;

use raft_node::core::NodeId;
use raft_node::{Backoff, LinkError, Outbound, Outgoing, PeerQueue, Peers, tune};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time;
use tracing::{debug, info, warn};

/// A peer that does not answer, or takes nothing, for as long is dialled anew.
const PATIENCE: Duration = Duration::from_secs(5);
/// Bytes that may wait for one peer's socket.
const OUTBOUND_BYTES: usize = 16 << 20;

/// Keeps a connection to each peer, whoever that is at the time, until the task is aborted.
pub(crate) async fn dial_all(peers: Peers, outbound: Outbound) {
    let changed = Arc::new(Notify::new());
    peers.on_change(crate::node::notifier(&changed));
    let mut tasks = JoinSet::new();
    let mut dialled: BTreeMap<NodeId, (String, AbortHandle)> = BTreeMap::new();
    loop {
        let wanted = peers.to_dial();
        dialled.retain(|peer, (address, task)| {
            let keep = wanted.get(peer) == Some(address);
            if !keep {
                outbound.remove(*peer);
                task.abort();
            }
            keep
        });
        for (peer, address) in wanted {
            dialled.entry(peer).or_insert_with(|| {
                let ready = Arc::new(Notify::new());
                let notify = crate::node::notifier(&ready);
                let queue = Arc::new(PeerQueue::new(OUTBOUND_BYTES, notify));
                outbound.add(peer, queue.clone());
                let task = dial(peers.clone(), peer, address.clone(), queue, ready);
                (address, tasks.spawn(task))
            });
        }
        changed.notified().await;
        // Those that were aborted have ended.
        while tasks.try_join_next().is_some() {}
    }
}

/// Keeps a connection to one peer and sends what is queued for it, until the task is aborted.
async fn dial(
    peers: Peers,
    peer: NodeId,
    address: String,
    queue: Arc<PeerQueue>,
    ready: Arc<Notify>,
) {
    let mut backoff = Backoff::default();
    let mut refused = None;
    loop {
        match connect(&address, Outgoing::new(peers.clone(), peer)).await {
            Ok(stream) => {
                info!(%peer, %address, "connected");
                backoff = Backoff::default();
                refused = None;
                let error = speak(stream, &queue, &ready).await;
                info!(%peer, %address, %error, "connection lost");
            }
            Err(error) => {
                let why = LinkError::behind(&error);
                // A peer that refuses won't come round by itself: somebody has to look at the
                // settings, and needs to be told once.
                if why.is_some() && why != refused {
                    warn!(%peer, %address, %error, "refused by the peer");
                    refused = why;
                } else {
                    debug!(%peer, %address, %error, "can't connect");
                }
            }
        }
        time::sleep(backoff.next_wait()).await;
        // What was said while nobody listened is stale by now.
        drop(queue.take());
    }
}

async fn connect(address: &str, mut link: Outgoing) -> io::Result<TcpStream> {
    let greet = async {
        let mut stream = TcpStream::connect(address).await?;
        tune(&stream, PATIENCE)?;
        stream.write_all(&link.hello()).await?;
        let mut bytes = [0; 64];
        loop {
            let count = stream.read(&mut bytes).await?;
            if count == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
            if link.receive(&bytes[..count]).map_err(io::Error::other)? {
                return Ok(stream);
            }
        }
    };
    time::timeout(PATIENCE, greet).await?
}

/// Sends what is queued until the connection fails; says why it did.
async fn speak(mut stream: TcpStream, queue: &PeerQueue, ready: &Notify) -> io::Error {
    let mut nothing = [0];
    loop {
        let mut bytes = queue.take();
        while !bytes.is_empty() {
            match time::timeout(PATIENCE, stream.write_buf(&mut bytes)).await {
                Ok(Ok(_)) => {}
                Ok(Err(error)) => return error,
                Err(elapsed) => return elapsed.into(),
            }
        }
        tokio::select! {
            () = ready.notified() => {}
            // The peer has nothing to say here: whatever can be read is the end.
            read = stream.read(&mut nothing) => {
                return read.err().unwrap_or_else(|| ErrorKind::UnexpectedEof.into());
            }
        }
    }
}
