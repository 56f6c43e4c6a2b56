//! Connections from peers, for what they have to say.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Instant;

use raft_node::core::NodeId;
use raft_node::{Caller, NodeError, Notifier, PATIENCE, Reception, Settings, tune};
use rustix::event::PollFlags;
use tracing::warn;

use crate::wait::{Bell, Worker};

const READ_BYTES: usize = 64 * 1024;

pub(crate) fn bind(settings: &Settings) -> Result<TcpListener, NodeError> {
    let address = settings.listen_address()?.to_owned();
    let socket = TcpListener::bind(&address).and_then(|socket| {
        socket.set_nonblocking(true)?;
        Ok(socket)
    });
    socket.map_err(|source| NodeError::Listen { address, source })
}

/// Accepts connections until the thread shall end, and then ends them with it.
pub(crate) fn listen(id: NodeId, socket: &TcpListener, reception: &Reception, bell: &Bell) {
    let mut connections = Vec::new();
    loop {
        connections.retain(|connection: &Worker| !connection.has_ended());
        let accepted =
            socket.accept().and_then(|(stream, from)| begin(id, stream, from, reception));
        let waited = match accepted {
            Ok(connection) => {
                connections.extend(connection);
                continue;
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                bell.wait(Some((socket.as_fd(), PollFlags::IN)), None).map(|_| ())
            }
            Err(error) => {
                warn!(%error, "can't accept a connection");
                bell.sleep_until(Instant::now() + Reception::PAUSE)
            }
        };
        if waited.is_err() {
            return;
        }
    }
}

/// Begins with a connection that was just accepted, unless there are too many.
fn begin(
    id: NodeId,
    stream: TcpStream,
    from: SocketAddr,
    reception: &Reception,
) -> io::Result<Option<Worker>> {
    // On some systems it takes after the listener.
    stream.set_nonblocking(false)?;
    let stream = Arc::new(stream);
    let weak = Arc::downgrade(&stream);
    // Whoever reads from it then finds its end.
    let shut: Notifier = Arc::new(move || {
        if let Some(stream) = weak.upgrade() {
            // An error means that the peer has ended it.
            let _ = stream.shutdown(Shutdown::Both);
        }
    });
    let Some(caller) = reception.accept(from, shut.clone()) else { return Ok(None) };
    Worker::spawn(format!("raft-{id}-hear"), shut, move || hear(&stream, caller)).map(Some)
}

/// Takes in what comes over one connection, until it ends or is superseded.
fn hear(stream: &TcpStream, mut caller: Caller) {
    let ended = receive(stream, &mut caller);
    caller.ended(ended);
}

fn receive(stream: &TcpStream, caller: &mut Caller) -> io::Result<()> {
    tune(stream)?;
    let mut buffer = vec![0; READ_BYTES];
    greet(stream, caller, &mut buffer)?;
    stream.set_read_timeout(None)?;
    loop {
        caller.receive()?;
        if read(stream, caller, &mut buffer)? == 0 {
            return Ok(());
        }
    }
}

/// Waits for the hello and answers it.
fn greet(mut stream: &TcpStream, caller: &mut Caller, buffer: &mut [u8]) -> io::Result<()> {
    let latest = Instant::now() + PATIENCE;
    stream.set_write_timeout(Some(PATIENCE))?;
    while !caller.is_open()? {
        let left = latest.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(ErrorKind::TimedOut.into());
        }
        stream.set_read_timeout(Some(left))?;
        if read(stream, caller, buffer)? == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        if let Some(answer) = caller.receive()? {
            stream.write_all(&answer)?;
        }
    }
    Ok(())
}

/// Std can't append to a buffer that is not filled, so the bytes take a detour.
fn read(mut stream: &TcpStream, caller: &mut Caller, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        match stream.read(buffer) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            read => {
                let count = read?;
                caller.buffer().extend_from_slice(&buffer[..count]);
                return Ok(count);
            }
        }
    }
}
