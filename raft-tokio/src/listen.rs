//! Connections from peers, for what they have to say.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use raft_node::core::NodeId;
use raft_node::{Inbound, LinkError, NodeError, Peers, Received, Settings, tune};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time;
use tracing::{debug, warn};

use crate::Handle;

/// A stranger that has not greeted by then is cut off.
const PATIENCE: Duration = Duration::from_secs(5);
/// Connections at a time, strangers included.
const CONNECTIONS: usize = 256;
/// The system is out of something, such as file descriptors: wait for it to recover.
const AFTER_FAILURE: Duration = Duration::from_millis(50);

/// A bound port.
pub(crate) struct Listener {
    socket: TcpListener,
    max_frame: usize,
}

/// The connection of each peer, for as long as its sender is here: a new one takes the place of
/// the old, which may be dead without knowing it.
type Current = Arc<Mutex<BTreeMap<NodeId, oneshot::Sender<()>>>>;

/// Why the last connection from each host was refused. Whoever is refused dials again and again,
/// and the log need not say so each time.
#[derive(Clone, Default)]
struct Refusals(Arc<Mutex<BTreeMap<IpAddr, LinkError>>>);

impl Refusals {
    /// Whether a connection was refused for another reason than the last one from there.
    fn are_news(&self, from: IpAddr, refused: Option<LinkError>) -> bool {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(why) = refused else {
            last.remove(&from);
            return false;
        };
        if last.len() >= CONNECTIONS {
            last.clear();
        }
        last.insert(from, why) != Some(why)
    }
}

impl Listener {
    pub(crate) async fn bind(settings: &Settings) -> Result<Self, NodeError> {
        let address = settings.listen_address()?.to_owned();
        let socket = TcpListener::bind(&address).await;
        Ok(Self {
            socket: socket.map_err(|source| NodeError::Listen { address, source })?,
            max_frame: settings.config()?.max_message_bytes(),
        })
    }

    /// Accepts connections until the task is aborted, and then ends them with it. The last of them
    /// has ended when all clones of `alive` are gone.
    pub(crate) async fn run(self, handle: Handle, peers: Peers, alive: mpsc::Sender<()>) {
        let (current, refusals) = (Current::default(), Refusals::default());
        let mut connections: JoinSet<()> = JoinSet::new();
        loop {
            let accepted = tokio::select! {
                accepted = self.socket.accept() => accepted,
                Some(_) = connections.join_next() => continue,
            };
            match accepted {
                Ok((stream, from)) if connections.len() < CONNECTIONS => {
                    let inbound = Inbound::new(peers.clone(), self.max_frame);
                    let (handle, current, alive) = (handle.clone(), current.clone(), alive.clone());
                    let refusals = refusals.clone();
                    connections.spawn(async move {
                        let ended = hear(stream, inbound, &handle, &current).await;
                        let refused = ended.as_ref().err().and_then(LinkError::behind);
                        match (refusals.are_news(from.ip(), refused), ended) {
                            (true, Err(error)) => {
                                warn!(%from, %error, "incoming connection refused");
                            }
                            (_, ended) => debug!(%from, ?ended, "incoming connection ended"),
                        }
                        drop(alive);
                    });
                }
                Ok(_) => warn!("too many incoming connections"),
                Err(error) => {
                    warn!(%error, "can't accept a connection");
                    time::sleep(AFTER_FAILURE).await;
                }
            }
        }
    }
}

/// Passes the messages of one connection on, until it ends or is superseded.
async fn hear(
    mut stream: TcpStream,
    mut inbound: Inbound,
    handle: &Handle,
    current: &Current,
) -> io::Result<()> {
    tune(&stream, PATIENCE)?;
    let greeted = time::timeout(PATIENCE, greet(&mut stream, &mut inbound, current));
    let mut superseded = greeted.await??;
    loop {
        while let Some(received) = inbound.receive().map_err(io::Error::other)? {
            if let Received::Message(message) = received {
                handle.deliver(message);
            }
        }
        let count = tokio::select! {
            count = stream.read_buf(inbound.buffer()) => count?,
            _ = &mut superseded => return Ok(()),
        };
        if count == 0 {
            return Ok(());
        }
    }
}

/// Waits for the hello and answers it. What it returns ends when another connection of the same
/// peer takes the place of this one.
async fn greet(
    stream: &mut TcpStream,
    inbound: &mut Inbound,
    current: &Current,
) -> io::Result<oneshot::Receiver<()>> {
    loop {
        match inbound.receive().map_err(io::Error::other)? {
            Some(Received::Welcome(answer)) => {
                // The place is taken before the peer knows that it is welcome, so that a connection
                // that it makes later finds this one there, and not the other way round.
                let (place, superseded) = oneshot::channel();
                if let Some(peer) = inbound.peer() {
                    current.lock().unwrap_or_else(PoisonError::into_inner).insert(peer, place);
                }
                stream.write_all(&answer).await?;
                return Ok(superseded);
            }
            Some(Received::Refused(answer, error)) => {
                stream.write_all(&answer).await?;
                return Err(io::Error::other(error));
            }
            Some(Received::Message(_)) | None => {}
        }
        if stream.read_buf(inbound.buffer()).await? == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_news_once_until_the_reason_changes_or_the_host_is_welcome() {
        let refusals = Refusals::default();
        let (one, two) = (IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2]));
        assert!(refusals.are_news(one, Some(LinkError::NotAMember)));
        assert!(!refusals.are_news(one, Some(LinkError::NotAMember)));
        assert!(refusals.are_news(two, Some(LinkError::NotAMember)));
        assert!(!refusals.are_news(one, Some(LinkError::NotAMember)));
        assert!(refusals.are_news(one, Some(LinkError::OtherStorage)));
        assert!(!refusals.are_news(one, None));
        assert!(refusals.are_news(one, Some(LinkError::OtherStorage)));
        for host in 0..1000_u32 {
            assert!(refusals.are_news(IpAddr::from(host.to_be_bytes()), Some(LinkError::NotRaft)));
        }
        assert!(refusals.0.lock().unwrap().len() <= CONNECTIONS);
    }
}
