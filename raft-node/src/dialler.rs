//! Connections to peers: what an adapter sends over them, and when it tries again.

use std::fmt;
use std::io;
use std::mem;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use raft_core::NodeId;
use tracing::{debug, info, warn};

use crate::backoff::Backoff;
use crate::link::{LinkError, Outgoing};
use crate::{Notifier, Outbound, PeerQueue, Peers};

/// Bytes that may wait for one peer's socket.
const OUTBOUND_BYTES: usize = 16 << 20;

/// Keeps up the connection to one peer, for as long as it is there: dropping it is the end of what
/// waits for that peer.
///
/// An adapter [begins](Dialler::begin) an attempt, says when the link is [open](Dialler::opened),
/// sends what it [takes](Dialler::take) each time that the notifier is called, and tells when and
/// how it [failed](Dialler::failed).
pub struct Dialler {
    peers: Peers,
    outbound: Outbound,
    peer: NodeId,
    address: String,
    queue: Arc<PeerQueue>,
    backoff: Backoff,
    stage: Stage,
    refused: Option<LinkError>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    New,
    Open,
    Failed,
}

impl Dialler {
    /// For the peer at this address. From now on what is sent to it waits here, and `notify`, which
    /// must not block, is called when there is something.
    #[must_use]
    pub fn new(
        peers: &Peers,
        outbound: &Outbound,
        peer: NodeId,
        address: &str,
        notify: Notifier,
    ) -> Self {
        let queue = Arc::new(PeerQueue::new(OUTBOUND_BYTES, notify));
        outbound.add(peer, queue.clone());
        Self {
            peers: peers.clone(),
            outbound: outbound.clone(),
            peer,
            address: address.to_owned(),
            queue,
            backoff: Backoff::default(),
            stage: Stage::New,
            refused: None,
        }
    }

    /// Where to dial: a host, by name or number, and a port.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Begins an attempt to connect. Until the link is open it may take no longer than
    /// [`PATIENCE`](crate::PATIENCE).
    #[must_use]
    pub fn begin(&self) -> Outgoing {
        if self.stage == Stage::Failed {
            // What was said while nobody listened is stale by now.
            drop(self.queue.take());
        }
        Outgoing::new(self.peers.clone(), self.peer)
    }

    /// The link is open.
    pub fn opened(&mut self) {
        info!(peer = %self.peer, address = self.address, "connected");
        self.backoff = Backoff::default();
        self.stage = Stage::Open;
        self.refused = None;
    }

    /// Everything that is to be sent now. A peer that takes nothing of it for
    /// [`PATIENCE`](crate::PATIENCE) has failed, and so has one that closes or says something: it
    /// has nothing to say on this connection.
    #[must_use]
    pub fn take(&self) -> Bytes {
        self.queue.take()
    }

    /// The attempt, or the open link, failed. Returns how long to wait before the next attempt.
    pub fn failed(&mut self, error: &io::Error) -> Duration {
        let (peer, address) = (self.peer, &self.address);
        let why = LinkError::behind(error);
        if mem::replace(&mut self.stage, Stage::Failed) == Stage::Open {
            info!(%peer, address, %error, "connection lost");
        } else if why.is_some() && why != self.refused {
            // A peer that refuses won't come round by itself: somebody has to look at the settings,
            // and needs to be told once.
            warn!(%peer, address, %error, "refused by the peer");
            self.refused = why;
        } else {
            debug!(%peer, address, %error, "can't connect");
        }
        self.backoff.next_wait()
    }
}

impl Drop for Dialler {
    fn drop(&mut self) {
        self.outbound.remove(self.peer, &self.queue);
    }
}

impl fmt::Debug for Dialler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("Dialler");
        debug.field("peer", &self.peer).field("address", &self.address).finish_non_exhaustive()
    }
}
