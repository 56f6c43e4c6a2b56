//! Connections to peers, for what this node has to say.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use bytes::Bytes;
use mio::Token;
use mio::net::TcpStream;
use raft_node::core::NodeId;
use raft_node::{Dialler, Outbound, Outgoing, PATIENCE, Peers, tune};

use crate::watch::{Socket, Watch};

/// A link to each peer, whoever that is at the time. Dropping it ends them.
pub(crate) struct Links {
    peers: Peers,
    outbound: Outbound,
    changed: Arc<AtomicBool>,
    links: BTreeMap<NodeId, (String, Link)>,
}

impl Links {
    pub(crate) fn new(peers: Peers, outbound: Outbound, watch: &Watch) -> Self {
        let (changed, notifier) = watch.flag();
        // The first look is due at once.
        notifier();
        peers.on_change(notifier);
        Self { peers, outbound, changed, links: BTreeMap::new() }
    }

    pub(crate) fn hear_of(&mut self, news: Token) {
        let connections = self.links.values_mut().filter_map(|(_, link)| link.connection.as_mut());
        connections.for_each(|connection| connection.socket.hear_of(news));
    }

    /// Sends what there is to send, as much of it as everybody takes.
    pub(crate) fn speak(&mut self, watch: &mut Watch) {
        let Self { peers, outbound, changed, links } = self;
        if changed.swap(false, Ordering::AcqRel) {
            peers.update_links(links, |peer, address| {
                // Only a turn fills the queue, and after each turn the loop looks at all queues.
                let dialler = Dialler::new(peers, outbound, peer, address, Arc::new(|| {}));
                Link { dialler, connection: None, until: Some(Instant::now()) }
            });
        }
        links.values_mut().for_each(|(_, link)| link.speak(watch));
    }
}

struct Link {
    dialler: Dialler,
    connection: Option<Connection>,
    /// Without a connection: when to try again. With one: when patience with it is over, `None` if
    /// nothing is asked of the peer.
    until: Option<Instant>,
}

struct Connection {
    socket: Socket<TcpStream>,
    /// `None` once the link is open.
    greeting: Option<Outgoing>,
    unsent: Bytes,
}

impl Link {
    fn speak(&mut self, watch: &mut Watch) {
        let now = Instant::now();
        if let Err(error) = self.advance(watch, now) {
            self.connection = None;
            self.until = Some(now + self.dialler.failed(&error));
        }
        watch.wait_until(self.until);
    }

    fn advance(&mut self, watch: &mut Watch, now: Instant) -> io::Result<()> {
        let over = self.until.is_some_and(|until| until <= now);
        let Some(connection) = &mut self.connection else {
            if over {
                self.connection = Some(Connection::begin(&self.dialler, watch)?);
                self.until = Some(now + PATIENCE);
            }
            return Ok(());
        };
        // What follows the welcome, be it the end, is looked at when the link is known to be open.
        while connection.greet()? {
            self.dialler.opened();
            self.until = None;
        }
        if connection.greeting.is_some() {
            return if over { Err(ErrorKind::TimedOut.into()) } else { Ok(()) };
        }
        let progress = connection.send(&self.dialler)?;
        self.until = match self.until {
            _ if connection.unsent.is_empty() => None,
            Some(until) if !progress && !over => Some(until),
            Some(_) if !progress => return Err(ErrorKind::TimedOut.into()),
            _ => Some(now + PATIENCE),
        };
        Ok(())
    }
}

impl Connection {
    /// Begins an attempt. Looking up a name would block, so an address has to be a number.
    fn begin(dialler: &Dialler, watch: &mut Watch) -> io::Result<Self> {
        let address: SocketAddr = dialler.address().parse().map_err(io::Error::other)?;
        let greeting = dialler.begin();
        let stream = TcpStream::connect(address)?;
        tune(&stream)?;
        let (socket, unsent) = (watch.add(stream)?, greeting.hello());
        Ok(Self { socket, greeting: Some(greeting), unsent })
    }

    /// Takes in what the peer has said, up to the welcome. Says whether the link has been opened by
    /// that.
    fn greet(&mut self) -> io::Result<bool> {
        if self.greeting.is_some() {
            // The hello, as soon as there is a connection.
            self.socket.write(&mut self.unsent)?;
        }
        let mut bytes = [0; 64];
        while let Some(count) = self.socket.read(&mut bytes)? {
            // Once it is open the peer has nothing to say: whatever can be read is the end.
            let greeting = self.greeting.as_mut().filter(|_| count > 0);
            if greeting.ok_or(ErrorKind::UnexpectedEof)?.receive(&bytes[..count])? {
                self.greeting = None;
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Sends what waits. Says whether the peer has taken anything.
    fn send(&mut self, dialler: &Dialler) -> io::Result<bool> {
        let mut progress = false;
        loop {
            if self.unsent.is_empty() {
                self.unsent = dialler.take();
            }
            if !self.socket.write(&mut self.unsent)? {
                return Ok(progress);
            }
            progress = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::thread;

    use conformance_tests::process::{self, Echo, free_address, settings};
    use raft_node::core::{Body, Message, Term};
    use raft_node::{Driver, Storage};

    use super::*;

    const PEER: NodeId = NodeId::new(2);

    /// Receives a dialler in the name of a node.
    fn receive(listener: &TcpListener, node: &Driver) -> std::net::TcpStream {
        let (mut stream, from) = listener.accept().unwrap();
        let mut caller = node.reception().accept(from, Arc::new(|| {})).unwrap();
        loop {
            let mut byte = [0];
            io::Read::read_exact(&mut stream, &mut byte).unwrap();
            caller.buffer().extend_from_slice(&byte);
            if let Some(answer) = caller.receive().unwrap() {
                io::Write::write_all(&mut stream, &answer).unwrap();
                return stream;
            }
        }
    }

    /// Lets the links work until the one to the peer is like this.
    fn drive(links: &mut Links, watch: &mut Watch, done: impl Fn(Option<&Connection>) -> bool) {
        let give_up = Instant::now() + process::PATIENCE;
        loop {
            links.speak(watch);
            let link = links.links.get(&PEER).map(|(_, link)| link);
            if done(link.and_then(|link| link.connection.as_ref())) {
                return;
            }
            assert!(Instant::now() < give_up);
            watch.wait_until(Some(give_up));
            watch.wait().for_each(|news| links.hear_of(news));
        }
    }

    #[test]
    fn an_open_link_is_cut_off_when_the_peer_takes_nothing_any_more() {
        let addresses = [free_address(), free_address()];
        let [one, two] = [1, 2].map(|id| {
            let (settings, storage) = (settings(id, &addresses), Storage::in_memory());
            Driver::start(&settings, storage, Echo, Arc::new(|| {}), drop).unwrap()
        });
        let listener = TcpListener::bind(&addresses[1]).unwrap();
        let peer = thread::spawn(move || receive(&listener, &two));
        let (mut watch, outbound) = (Watch::new().unwrap(), Outbound::default());
        let mut links = Links::new(one.peers().clone(), outbound.clone(), &watch);
        let is_open = |now: Option<&Connection>| now.is_some_and(|now| now.greeting.is_none());
        drive(&mut links, &mut watch, is_open);
        let _unread = peer.join().unwrap();
        let body = Body::PreVoteReply { granted: false };
        let message = Message { from: NodeId::new(1), to: PEER, term: Term::ZERO, body };
        let takes_all =
            |link: &Link| link.connection.as_ref().is_some_and(|now| now.unsent.is_empty());
        while takes_all(&links.links[&PEER].1) {
            (0..10_000).for_each(|_| outbound.send(&message));
            links.speak(&mut watch);
        }
        drive(&mut links, &mut watch, |now| !is_open(now));
    }
}
