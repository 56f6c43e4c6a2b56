//! Connections from peers, for what they have to say.

use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use bytes::Bytes;
use mio::Token;
use mio::net::{TcpListener, TcpStream};
use raft_node::{Caller, NodeError, PATIENCE, Reception, Settings, tune};
use tracing::warn;

use crate::watch::{Socket, Watch};

const READ_BYTES: usize = 64 * 1024;
/// Nobody may hold up the loop for longer than so many calls of the system take.
const SHARE: usize = 16;

pub(crate) fn bind(settings: &Settings) -> Result<TcpListener, NodeError> {
    let address = settings.listen_address()?.to_owned();
    let socket = std::net::TcpListener::bind(&address).and_then(|socket| {
        socket.set_nonblocking(true)?;
        Ok(TcpListener::from_std(socket))
    });
    socket.map_err(|source| NodeError::Listen { address, source })
}

/// The listener, and the connections that it has accepted. Dropping it ends them.
pub(crate) struct Listener {
    socket: Socket<TcpListener>,
    reception: Reception,
    connections: Vec<Connection>,
    /// After an error.
    resting_until: Option<Instant>,
    buffer: Vec<u8>,
}

impl Listener {
    pub(crate) fn new(
        socket: TcpListener,
        reception: Reception,
        watch: &mut Watch,
    ) -> io::Result<Self> {
        let (socket, buffer) = (watch.add(socket)?, vec![0; READ_BYTES]);
        Ok(Self { socket, reception, connections: Vec::new(), resting_until: None, buffer })
    }

    pub(crate) fn hear_of(&mut self, news: Token) {
        self.socket.hear_of(news);
        self.connections.iter_mut().for_each(|connection| connection.socket.hear_of(news));
    }

    /// Takes in what has arrived, a share of it from everybody.
    pub(crate) fn hear(&mut self, watch: &mut Watch) {
        let now = Instant::now();
        self.resting_until = self.resting_until.filter(|until| now < *until);
        if self.resting_until.is_none()
            && let Err(error) = self.accept(watch)
        {
            warn!(%error, "can't accept a connection");
            self.resting_until = Some(now + Reception::PAUSE);
        }
        if self.socket.is_readable() {
            watch.wait_until(self.resting_until.or(Some(now)));
        }
        let mut index = 0;
        while let Some(connection) = self.connections.get_mut(index) {
            match connection.hear(&mut self.buffer, watch) {
                Ok(true) => index += 1,
                ended => self.connections.swap_remove(index).caller.ended(ended.map(drop)),
            }
        }
    }

    fn accept(&mut self, watch: &mut Watch) -> io::Result<()> {
        for _ in 0..SHARE {
            let Some((stream, from)) = self.socket.accept()? else { break };
            let (superseded, notifier) = watch.flag();
            let Some(caller) = self.reception.accept(from, notifier) else { continue };
            if let Err(error) = tune(&stream) {
                caller.ended(Err(error));
            } else {
                let (socket, answer) = (watch.add(stream)?, Bytes::new());
                let greeting = Some(Instant::now() + PATIENCE);
                self.connections.push(Connection { socket, caller, answer, superseded, greeting });
            }
        }
        Ok(())
    }
}

struct Connection {
    socket: Socket<TcpStream>,
    caller: Caller,
    answer: Bytes,
    superseded: Arc<AtomicBool>,
    /// How long the peer may take to greet and to be answered; `None` once it was.
    greeting: Option<Instant>,
}

impl Connection {
    /// Takes in what has arrived. Says whether the connection goes on.
    fn hear(&mut self, buffer: &mut [u8], watch: &mut Watch) -> io::Result<bool> {
        if self.superseded.load(Ordering::Acquire) {
            return Ok(false);
        }
        for _ in 0..SHARE {
            self.socket.write(&mut self.answer)?;
            if !self.answer.is_empty() {
                break;
            }
            // One that was refused has had its answer.
            if self.caller.is_open()? {
                self.greeting = None;
            }
            if let Some(answer) = self.caller.receive()? {
                self.answer = answer;
                continue;
            }
            match self.socket.read(buffer)? {
                Some(0) if self.greeting.is_none() => return Ok(false),
                Some(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Some(count) => self.caller.buffer().extend_from_slice(&buffer[..count]),
                None => break,
            }
        }
        let now = Instant::now();
        if self.greeting.is_some_and(|until| until <= now) {
            return Err(ErrorKind::TimedOut.into());
        }
        watch.wait_until(if self.socket.is_readable() { Some(now) } else { self.greeting });
        Ok(true)
    }
}
