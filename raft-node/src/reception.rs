//! Connections from peers: what an adapter does with the bytes that come in.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use raft_core::NodeId;
use tracing::{debug, warn};

use crate::link::{Inbound, LinkError, Received};
use crate::{Client, Notifier, Peers};

/// Connections at a time, strangers included.
const CALLERS: usize = 256;

/// Receives those who dial a node. Cheap to clone.
#[derive(Clone)]
pub struct Reception(Arc<Shared>);

struct Shared {
    peers: Peers,
    client: Client,
    max_frame: usize,
    callers: AtomicUsize,
    /// How to end the connection of each peer: a new one takes the place of the old, which may be
    /// dead without knowing it.
    current: Mutex<BTreeMap<NodeId, Notifier>>,
    refusals: Mutex<Refusals>,
}

/// Why the last connection from each host was refused. Whoever is refused dials again and again,
/// and the log need not say so each time.
#[derive(Default)]
struct Refusals(BTreeMap<IpAddr, LinkError>);

impl Refusals {
    /// Whether a connection was refused for another reason than the last one from there.
    fn are_news(&mut self, from: IpAddr, refused: Option<LinkError>) -> bool {
        let Some(why) = refused else {
            self.0.remove(&from);
            return false;
        };
        if self.0.len() >= CALLERS {
            self.0.clear();
        }
        self.0.insert(from, why) != Some(why)
    }
}

impl Reception {
    /// When a connection can't be accepted the system is out of something, such as file
    /// descriptors: wait so long for it to recover.
    pub const PAUSE: Duration = Duration::from_millis(50);

    pub(crate) fn new(peers: Peers, client: Client, max_frame: usize) -> Self {
        Self(Arc::new(Shared {
            peers,
            client,
            max_frame,
            callers: AtomicUsize::new(0),
            current: Mutex::default(),
            refusals: Mutex::default(),
        }))
    }

    fn current(&self) -> MutexGuard<'_, BTreeMap<NodeId, Notifier>> {
        self.0.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A connection that was just accepted; `None` if there are too many: close it. End it when
    /// `superseded`, which must not block, is called: the peer has another one by now.
    #[must_use]
    pub fn accept(&self, from: SocketAddr, superseded: Notifier) -> Option<Caller> {
        let one_more = |callers| (callers < CALLERS).then_some(callers + 1);
        let relaxed = Ordering::Relaxed;
        let room = self.0.callers.fetch_update(relaxed, relaxed, one_more).is_ok();
        if !room {
            warn!(%from, "too many incoming connections");
            return None;
        }
        let inbound = Inbound::new(self.0.peers.clone(), self.0.max_frame);
        Some(Caller { reception: self.clone(), from, inbound, superseded, refused: None })
    }
}

impl fmt::Debug for Reception {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let callers = self.0.callers.load(Ordering::Relaxed);
        f.debug_struct("Reception").field("callers", &callers).finish_non_exhaustive()
    }
}

/// A connection from somebody who says that it is a peer: bytes in, messages to the node. Until it
/// [is open](Caller::is_open) it may take no longer than [`PATIENCE`](crate::PATIENCE). Drop it when
/// the connection has ended, or say [how](Caller::ended).
pub struct Caller {
    reception: Reception,
    from: SocketAddr,
    inbound: Inbound,
    superseded: Notifier,
    refused: Option<LinkError>,
}

impl Caller {
    /// Where to put the bytes that arrive: append to it, then call [`receive`](Caller::receive).
    /// There is room for some bytes.
    pub fn buffer(&mut self) -> &mut BytesMut {
        self.inbound.buffer()
    }

    /// Takes in the bytes that have arrived and passes messages on to the node. If there is
    /// something to send back, it is returned: send it, then call this again, for more may have
    /// arrived.
    ///
    /// # Errors
    /// The connection can't go on: close it.
    pub fn receive(&mut self) -> Result<Option<Bytes>, LinkError> {
        while let Some(received) = self.inbound.receive()? {
            match received {
                Received::Message(message) => self.reception.0.client.deliver(message),
                Received::Welcome(answer) => {
                    self.take_place();
                    return Ok(Some(answer));
                }
                Received::Refused(answer, why) => {
                    self.refused = Some(why);
                    return Ok(Some(answer));
                }
            }
        }
        Ok(None)
    }

    /// The place is taken before the peer knows that it is welcome, so that a connection that it
    /// makes later finds this one there, and not the other way round.
    fn take_place(&self) {
        let Some(peer) = self.inbound.peer() else { return };
        let before = self.reception.current().insert(peer, self.superseded.clone());
        if let Some(end) = before {
            end();
        }
    }

    /// Whether the peer has greeted and is welcome.
    ///
    /// # Errors
    /// It was refused: close the connection.
    pub fn is_open(&self) -> Result<bool, LinkError> {
        match self.refused {
            Some(why) => Err(why),
            None => Ok(self.inbound.peer().is_some()),
        }
    }

    /// The connection has ended like this, for the log.
    pub fn ended(self, result: io::Result<()>) {
        let refused = result.as_ref().err().and_then(LinkError::behind);
        let mut refusals = self.reception.0.refusals.lock().unwrap_or_else(PoisonError::into_inner);
        let news = refusals.are_news(self.from.ip(), refused);
        drop(refusals);
        match (news, result) {
            (true, Err(error)) => warn!(from = %self.from, %error, "incoming connection refused"),
            (_, ended) => debug!(from = %self.from, ?ended, "incoming connection ended"),
        }
    }
}

impl Drop for Caller {
    fn drop(&mut self) {
        if let Some(peer) = self.inbound.peer() {
            let mut current = self.reception.current();
            if current.get(&peer).is_some_and(|end| Arc::ptr_eq(end, &self.superseded)) {
                current.remove(&peer);
            }
        }
        self.reception.0.callers.fetch_sub(1, Ordering::Relaxed);
    }
}

impl fmt::Debug for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let peer = self.inbound.peer();
        f.debug_struct("Caller")
            .field("from", &self.from)
            .field("peer", &peer)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_news_once_until_the_reason_changes_or_the_host_is_welcome() {
        let mut refusals = Refusals::default();
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
        assert!(refusals.0.len() <= CALLERS);
    }
}
