//! How the loop waits: for a notifier, for sockets, for a time.

use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Instant;

use bytes::Bytes;
use mio::event::{Event, Source};
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token, Waker};
use raft_node::{Notifier, Reception};

/// All that one loop waits for.
pub(crate) struct Watch {
    poll: Poll,
    events: Events,
    waker: Arc<Waker>,
    /// A number for each socket, never used again: an event may be older than its socket's end.
    newest: Token,
    until: Option<Instant>,
}

impl Watch {
    pub(crate) fn new() -> io::Result<Self> {
        let (poll, newest) = (Poll::new()?, Token(0));
        let waker = Arc::new(Waker::new(poll.registry(), newest)?);
        Ok(Self { poll, events: Events::with_capacity(256), waker, newest, until: None })
    }

    /// Ends the wait, or the next one. Clients keep it for as long as they like, so it must not keep
    /// the loop's file for waking.
    pub(crate) fn notifier(&self) -> Notifier {
        let waker = Arc::downgrade(&self.waker);
        Arc::new(move || {
            if let Some(waker) = waker.upgrade() {
                // It has no error that it could not mend itself.
                let _ = waker.wake();
            }
        })
    }

    /// The same, and raises a flag: what has happened is seen to when it is looked at.
    pub(crate) fn flag(&self) -> (Arc<AtomicBool>, Notifier) {
        let (flag, wake) = (Arc::new(AtomicBool::new(false)), self.notifier());
        let raised = flag.clone();
        let notifier = Arc::new(move || {
            raised.store(true, Ordering::Release);
            wake();
        });
        (flag, notifier)
    }

    pub(crate) fn add<S: Source>(&mut self, mut source: S) -> io::Result<Socket<S>> {
        self.newest.0 += 1;
        let both = Interest::READABLE | Interest::WRITABLE;
        self.poll.registry().register(&mut source, self.newest, both)?;
        Ok(Socket { source, token: self.newest, readable: false, writable: false })
    }

    /// Lets the next wait last until then at most.
    pub(crate) fn wait_until(&mut self, until: Option<Instant>) {
        self.until = self.until.into_iter().chain(until).min();
    }

    /// Waits for anything. Returns whose sockets have news.
    pub(crate) fn wait(&mut self) -> impl Iterator<Item = Token> {
        let until = self.until.take();
        let timeout = until.map(|until| until.saturating_duration_since(Instant::now()));
        match self.poll.poll(&mut self.events, timeout) {
            Err(error) if error.kind() != ErrorKind::Interrupted => {
                // The system is out of memory, perhaps only for now.
                thread::sleep(Reception::PAUSE);
            }
            _ => {}
        }
        self.events.iter().map(Event::token)
    }
}

/// A socket, and whether it is worth a try. The system tells each piece of news once, so it is
/// remembered until a try has found nothing.
pub(crate) struct Socket<S> {
    source: S,
    token: Token,
    readable: bool,
    writable: bool,
}

impl<S> Socket<S> {
    /// Takes news in, if they are of this socket. Which news they are a try finds out.
    pub(crate) fn hear_of(&mut self, news: Token) {
        if self.token == news {
            (self.readable, self.writable) = (true, true);
        }
    }

    /// Whether there may be more to read.
    pub(crate) const fn is_readable(&self) -> bool {
        self.readable
    }
}

impl Socket<TcpListener> {
    pub(crate) fn accept(&mut self) -> io::Result<Option<(TcpStream, SocketAddr)>> {
        attempt(&mut self.readable, || self.source.accept())
    }
}

impl Socket<TcpStream> {
    /// Reads what can be read now: `None` if that is nothing, 0 at the end.
    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        attempt(&mut self.readable, || self.source.read(buffer))
    }

    /// Writes what can be written now, and takes it off the bytes. Says whether that was anything.
    pub(crate) fn write(&mut self, bytes: &mut Bytes) -> io::Result<bool> {
        let before = bytes.len();
        while !bytes.is_empty() {
            match attempt(&mut self.writable, || self.source.write(bytes))? {
                Some(count) => drop(bytes.split_to(count)),
                None => break,
            }
        }
        Ok(bytes.len() < before)
    }
}

fn attempt<T>(ready: &mut bool, mut act: impl FnMut() -> io::Result<T>) -> io::Result<Option<T>> {
    while *ready {
        match act() {
            Err(error) if error.kind() == ErrorKind::WouldBlock => *ready = false,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            done => return done.map(Some),
        }
    }
    Ok(None)
}
