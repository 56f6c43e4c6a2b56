//! The links to the peers: `raft-node` speaks, and the channels of the serial line carry it.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, Ordering};
use core::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use raft_chip_parts::channels::{Decoder, Frame, MAX_DATA};
use raft_core::{Event, Instant, Message, NodeId};
use raft_node::{
    Backoff, Inbound, LinkError, Outbound, Outgoing, PATIENCE, PeerQueue, Peers, Received,
};

/// Connections from peers at a time: two for each, since a new one may come before the old one ends.
const CALLERS: usize = 8;
/// What may wait for one peer, in bytes.
const QUEUE_BYTES: usize = 32 << 10;
/// When so many bytes wait for the line, nothing is added to them.
const LINE_BYTES: usize = 4 << 10;
/// So many bytes at most are added for one peer before it is the turn of the next.
const PIECE_BYTES: usize = 2 << 10;
/// How often the gateway is told of the start, until it answers.
const AGAIN: Duration = Duration::from_millis(500);

/// All links, and the line.
pub(crate) struct Links {
    peers: Peers,
    max_frame: usize,
    outbound: Outbound,
    changed: Arc<AtomicBool>,
    links: BTreeMap<NodeId, (String, Link)>,
    callers: BTreeMap<u32, Caller>,
    next_channel: u32,
    decoder: Decoder,
    /// What is to be sent.
    line: BytesMut,
    /// Something waits until there is room on the line.
    holds_back: bool,
    /// The number of this beginning, and whether the gateway knows of it.
    beginning: u32,
    ready: bool,
    begin_at: Instant,
}

/// A connection to a peer.
struct Link {
    queue: Arc<PeerQueue>,
    /// What was taken from the queue and is not on the line yet.
    unsent: Bytes,
    backoff: Backoff,
    stage: Stage,
}

enum Stage {
    Rests { until: Instant },
    Greets { channel: u32, outgoing: Outgoing, until: Instant },
    Open { channel: u32 },
}

/// A connection from somebody.
struct Caller {
    inbound: Inbound,
    /// How long it may take to greet.
    until: Instant,
}

impl Links {
    /// The links to these peers. `beginning` is another number at each start.
    pub(crate) fn new(peers: Peers, max_frame: usize, beginning: u32) -> Self {
        let changed = Arc::new(AtomicBool::new(true));
        let flag = changed.clone();
        peers.on_change(Arc::new(move || flag.store(true, Ordering::Relaxed)));
        Self {
            peers,
            max_frame,
            outbound: Outbound::default(),
            changed,
            links: BTreeMap::new(),
            callers: BTreeMap::new(),
            next_channel: 0,
            decoder: Decoder::default(),
            line: BytesMut::new(),
            holds_back: false,
            beginning,
            ready: false,
            begin_at: Instant::ORIGIN,
        }
    }

    /// Puts a message into the queue of its peer.
    pub(crate) fn send(&self, message: &Message) {
        self.outbound.send(message);
    }

    /// What is to be sent over the line, to be taken off when it was.
    pub(crate) const fn line(&mut self) -> &mut BytesMut {
        &mut self.line
    }

    /// Takes in a byte that has come over the line. Messages become events.
    pub(crate) fn hear(&mut self, byte: u8, now: Instant, events: &mut Vec<Event>) {
        match self.decoder.take(byte) {
            Some(Frame::Restarted) => self.begin_anew(now),
            Some(Frame::Ready(number)) => self.ready |= number == self.beginning,
            // What was meant for the life before the reset.
            Some(_) if !self.ready => {}
            Some(Frame::Accepted(channel)) => self.accept(channel, now),
            Some(Frame::Opened(channel)) => self.greet(channel),
            Some(Frame::Data(channel, data)) => self.hear_data(channel, &data, now, events),
            Some(Frame::Close(channel)) => {
                self.callers.remove(&channel);
                self.fail(channel, now);
            }
            Some(Frame::Begin(_) | Frame::Dial(..)) | None => {}
        }
    }

    /// Does what is due. Returns when something is due again.
    pub(crate) fn advance(&mut self, now: Instant) -> Option<Instant> {
        if !self.ready {
            if self.begin_at <= now {
                self.begin_at = now.plus(AGAIN);
                // The zero ends what the life before this one may have begun.
                self.line.put_u8(0);
                Frame::Begin(self.beginning).encode(&mut self.line);
            }
            return Some(self.begin_at);
        }
        if self.changed.swap(false, Ordering::Relaxed) {
            self.update(now);
        }
        let silent = |caller: &Caller| caller.inbound.peer().is_none() && caller.until <= now;
        let strangers = self.callers.iter().filter(|(_, caller)| silent(caller));
        let strangers: Vec<u32> = strangers.map(|(channel, _)| *channel).collect();
        strangers.into_iter().for_each(|channel| self.hang_up(channel));
        self.dial(now);
        self.take_from_queues();
        let links = self.links.values().filter_map(|(_, link)| match link.stage {
            Stage::Rests { until } | Stage::Greets { until, .. } => Some(until),
            Stage::Open { .. } => None,
        });
        let callers = self.callers.values().filter(|caller| caller.inbound.peer().is_none());
        links.chain(callers.map(|caller| caller.until)).min()
    }

    fn begin_anew(&mut self, now: Instant) {
        self.ready = false;
        self.beginning = self.beginning.wrapping_add(1);
        self.begin_at = now;
        self.callers.clear();
        for (_, link) in self.links.values_mut() {
            link.stage = Stage::Rests { until: now };
        }
    }

    /// The channels of all links.
    fn channels(&self) -> Vec<u32> {
        let channel = |link: &Link| match link.stage {
            Stage::Greets { channel, .. } | Stage::Open { channel } => Some(channel),
            Stage::Rests { .. } => None,
        };
        self.links.values().filter_map(|(_, link)| channel(link)).collect()
    }

    fn update(&mut self, now: Instant) {
        let before = self.channels();
        let Self { peers, outbound, links, .. } = self;
        peers.update_links(links, |peer, _| {
            // The loop looks at all queues in each turn.
            let queue = Arc::new(PeerQueue::new(QUEUE_BYTES, Arc::new(|| {})));
            outbound.add(peer, queue.clone());
            let (unsent, backoff) = (Bytes::new(), Backoff::default());
            Link { queue, unsent, backoff, stage: Stage::Rests { until: now } }
        });
        let now = self.channels();
        for gone in before.into_iter().filter(|channel| !now.contains(channel)) {
            Frame::Close(gone).encode(&mut self.line);
        }
    }

    fn dial(&mut self, now: Instant) {
        for (peer, (address, link)) in &mut self.links {
            match &link.stage {
                Stage::Rests { until } if *until <= now => {
                    self.next_channel = self.next_channel.wrapping_add(2);
                    let channel = self.next_channel;
                    let outgoing = Outgoing::new(self.peers.clone(), *peer);
                    // What was said while nobody listened is stale by now.
                    link.unsent = Bytes::new();
                    drop(link.queue.take());
                    let address = Bytes::copy_from_slice(address.as_bytes());
                    Frame::Dial(channel, address).encode(&mut self.line);
                    link.stage = Stage::Greets { channel, outgoing, until: now.plus(PATIENCE) };
                }
                Stage::Greets { channel, until, .. } if *until <= now => {
                    Frame::Close(*channel).encode(&mut self.line);
                    link.stage = Stage::Rests { until: now.plus(link.backoff.next_wait()) };
                }
                _ => {}
            }
        }
    }

    fn take_from_queues(&mut self) {
        self.holds_back = false;
        for (_, link) in self.links.values_mut() {
            let Stage::Open { channel } = link.stage else { continue };
            if link.unsent.is_empty() {
                link.unsent = link.queue.take();
            }
            if self.line.len() < LINE_BYTES {
                let piece = link.unsent.split_to(link.unsent.len().min(PIECE_BYTES));
                put(&mut self.line, channel, &piece);
            }
            self.holds_back |= !link.unsent.is_empty();
        }
    }

    /// Whether something waits for a line that has room by now.
    pub(crate) fn can_go_on(&self) -> bool {
        self.holds_back && self.line.len() < LINE_BYTES
    }

    fn accept(&mut self, channel: u32, now: Instant) {
        if self.callers.len() >= CALLERS {
            return Frame::Close(channel).encode(&mut self.line);
        }
        let inbound = Inbound::new(self.peers.clone(), self.max_frame);
        self.callers.insert(channel, Caller { inbound, until: now.plus(PATIENCE) });
    }

    fn hang_up(&mut self, channel: u32) {
        self.callers.remove(&channel);
        Frame::Close(channel).encode(&mut self.line);
    }

    fn greet(&mut self, opened: u32) {
        for (_, link) in self.links.values() {
            if let Stage::Greets { channel, outgoing, .. } = &link.stage
                && *channel == opened
            {
                put(&mut self.line, opened, &outgoing.hello());
            }
        }
    }

    fn hear_data(&mut self, channel: u32, data: &[u8], now: Instant, events: &mut Vec<Event>) {
        if let Some(caller) = self.callers.get_mut(&channel) {
            caller.inbound.buffer().extend_from_slice(data);
            if self.hear_caller(channel, events).is_err() {
                self.hang_up(channel);
            }
            return;
        }
        let mut failed = false;
        for (_, link) in self.links.values_mut() {
            match &mut link.stage {
                Stage::Greets { channel: its, outgoing, .. } if *its == channel => {
                    match outgoing.receive(data) {
                        Ok(false) => {}
                        Ok(true) => {
                            link.backoff = Backoff::default();
                            link.stage = Stage::Open { channel };
                        }
                        Err(_) => failed = true,
                    }
                }
                // The peer has nothing to say there.
                Stage::Open { channel: its } if *its == channel => failed = true,
                _ => {}
            }
        }
        if failed {
            Frame::Close(channel).encode(&mut self.line);
            self.fail(channel, now);
        }
    }

    fn hear_caller(&mut self, channel: u32, events: &mut Vec<Event>) -> Result<(), LinkError> {
        while let Some(caller) = self.callers.get_mut(&channel) {
            match caller.inbound.receive()? {
                None => break,
                Some(Received::Message(message)) => events.push(Event::Receive(message)),
                Some(Received::Welcome(answer)) => {
                    let peer = caller.inbound.peer();
                    put(&mut self.line, channel, &answer);
                    // A new connection takes the place of the old.
                    let old = self
                        .callers
                        .iter()
                        .filter(|(other, it)| **other != channel && it.inbound.peer() == peer);
                    let old: Vec<u32> = old.map(|(channel, _)| *channel).collect();
                    old.into_iter().for_each(|channel| self.hang_up(channel));
                }
                Some(Received::Refused(answer, why)) => {
                    put(&mut self.line, channel, &answer);
                    return Err(why);
                }
            }
        }
        Ok(())
    }

    /// The connection of this channel to a peer has ended.
    fn fail(&mut self, ended: u32, now: Instant) {
        for (_, link) in self.links.values_mut() {
            let its = match link.stage {
                Stage::Greets { channel, .. } | Stage::Open { channel } => channel,
                Stage::Rests { .. } => continue,
            };
            if its == ended {
                link.stage = Stage::Rests { until: now.plus(link.backoff.next_wait()) };
            }
        }
    }
}

/// Puts bytes of a connection on the line.
fn put(line: &mut BytesMut, channel: u32, bytes: &[u8]) {
    for part in bytes.chunks(MAX_DATA) {
        Frame::Data(channel, Bytes::copy_from_slice(part)).encode(line);
    }
}
