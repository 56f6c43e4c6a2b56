//! Connections to peers, for what this node has to say.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::mpsc::{TryRecvError, sync_channel};
use std::thread;
use std::time::Instant;

use raft_node::core::NodeId;
use raft_node::{Dialler, Outbound, PATIENCE, Peers, Reception, tune};
use rustix::event::PollFlags;
use tracing::warn;

use crate::wait::{Bell, Worker};

/// Keeps a connection to each peer, whoever that is at the time, until the thread shall end.
pub(crate) fn dial_all(id: NodeId, peers: &Peers, outbound: &Outbound, bell: &Arc<Bell>) {
    peers.on_change(bell.notifier());
    let mut links = BTreeMap::new();
    loop {
        let mut again = None;
        peers.update_links(&mut links, |peer, address| {
            let link = Bell::new().and_then(|bell| {
                let dialler = Dialler::new(peers, outbound, peer, address, bell.notifier());
                let name = format!("raft-{id}-to-{peer}");
                Worker::with_bell(name, bell, move |bell| dial(dialler, bell))
            });
            if let Err(error) = &link {
                warn!(%peer, %error, "can't start a thread for a peer");
                again = Some(Instant::now() + Reception::PAUSE);
            }
            link
        });
        links.retain(|_, (_, link)| link.is_ok());
        if bell.wait(None, again).is_err() {
            return;
        }
    }
}

/// Keeps a connection to one peer and sends what is queued for it, until the thread shall end.
fn dial(mut dialler: Dialler, bell: &Arc<Bell>) {
    loop {
        let error = match connect(&dialler, bell) {
            Ok(stream) => {
                dialler.opened();
                speak(&stream, &dialler, bell)
            }
            Err(error) => error,
        };
        if bell.is_stopped() || bell.sleep_until(Instant::now() + dialler.failed(&error)).is_err() {
            return;
        }
    }
}

fn connect(dialler: &Dialler, bell: &Arc<Bell>) -> io::Result<TcpStream> {
    let until = Instant::now() + PATIENCE;
    let mut link = dialler.begin();
    let stream = reach(dialler.address(), bell, until)?;
    tune(&stream)?;
    stream.set_nonblocking(true)?;
    // There is room for it in a new connection.
    (&stream).write_all(&link.hello())?;
    let mut bytes = [0; 64];
    loop {
        let read = |mut stream: &TcpStream| stream.read(&mut bytes);
        let count = bell.when_ready(&stream, PollFlags::IN, until, read)?;
        if count == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        if link.receive(&bytes[..count])? {
            return Ok(stream);
        }
    }
}

/// Makes a connection. Nothing ends a lookup of a name or an attempt to connect early, so they are
/// left to a thread that nobody has to wait for; it ends by itself.
fn reach(address: &str, bell: &Arc<Bell>, until: Instant) -> io::Result<TcpStream> {
    let (tell, told) = sync_channel(1);
    let (address, done) = (address.to_owned(), bell.clone());
    thread::Builder::new().name("raft-connect".into()).spawn(move || {
        // An error means that nobody waits for it any more.
        let _ = tell.send(reach_any(&address));
        done.ring();
    })?;
    loop {
        match told.try_recv() {
            Ok(reached) => return reached,
            Err(TryRecvError::Disconnected) => return Err(ErrorKind::BrokenPipe.into()),
            Err(TryRecvError::Empty) if until <= Instant::now() => {
                return Err(ErrorKind::TimedOut.into());
            }
            Err(TryRecvError::Empty) => drop(bell.wait(None, Some(until))?),
        }
    }
}

/// Tries all addresses that a name stands for.
fn reach_any(address: &str) -> io::Result<TcpStream> {
    let mut last = ErrorKind::AddrNotAvailable.into();
    for address in address.to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, PATIENCE) {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Sends what is queued until the connection fails; says why it did.
fn speak(stream: &TcpStream, dialler: &Dialler, bell: &Bell) -> io::Error {
    loop {
        let mut bytes = dialler.take();
        let nothing = bytes.is_empty();
        while !bytes.is_empty() {
            let write = |mut stream: &TcpStream| stream.write(&bytes);
            let until = Instant::now() + PATIENCE;
            match bell.when_ready(stream, PollFlags::OUT, until, write) {
                Ok(count) => bytes = bytes.slice(count..),
                Err(error) => return error,
            }
        }
        if !nothing {
            // While the socket was full the bell may have been heard for what waits now.
            continue;
        }
        match bell.wait(Some((stream.as_fd(), PollFlags::IN)), None) {
            Ok(ready) if ready.is_empty() => {}
            // The peer has nothing to say here: whatever can be read is the end.
            Ok(_) => {
                let read = (&mut &*stream).read(&mut [0]);
                return read.err().unwrap_or_else(|| ErrorKind::UnexpectedEof.into());
            }
            Err(error) => return error,
        }
    }
}
