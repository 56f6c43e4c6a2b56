//! Connections from peers, for what they have to say.

use std::io::{self, ErrorKind};

use async_io::Timer;
use async_net::{TcpListener, TcpStream};
use futures_lite::{AsyncReadExt, AsyncWriteExt, future};
use raft_node::{Caller, NodeError, Reception, Settings, tune};
use tracing::warn;

use crate::executor::{Task, Tasks};
use crate::wait::{Signal, patiently};

const READ_BYTES: usize = 64 * 1024;

pub(crate) async fn bind(settings: &Settings) -> Result<TcpListener, NodeError> {
    let address = settings.listen_address()?.to_owned();
    let socket = TcpListener::bind(&address).await;
    socket.map_err(|source| NodeError::Listen { address, source })
}

/// Accepts connections until the task ends, and then ends them with it.
pub(crate) async fn listen(socket: TcpListener, reception: Reception, tasks: Tasks) {
    let mut connections = Vec::new();
    loop {
        let accepted = socket.accept().await;
        connections.retain(|connection: &Task| !connection.has_ended());
        match accepted {
            Ok((stream, from)) => {
                let superseded = Signal::new();
                if let Some(caller) = reception.accept(from, superseded.notifier()) {
                    connections.push(tasks.spawn(hear(stream, caller, superseded)));
                }
                // A crowd that always has one more lets no other task of the thread run.
                future::yield_now().await;
            }
            Err(error) => {
                warn!(%error, "can't accept a connection");
                Timer::after(Reception::PAUSE).await;
            }
        }
    }
}

/// Takes in what comes over one connection, until it ends or is superseded.
async fn hear(stream: TcpStream, mut caller: Caller, superseded: Signal) {
    let end = async {
        superseded.wait().await;
        Ok(())
    };
    let ended = future::or(end, receive(stream, &mut caller)).await;
    caller.ended(ended);
}

async fn receive(mut stream: TcpStream, caller: &mut Caller) -> io::Result<()> {
    tune(&stream)?;
    let mut buffer = vec![0; READ_BYTES];
    patiently(greet(&mut stream, caller, &mut buffer)).await?;
    loop {
        caller.receive()?;
        if read(&mut stream, caller, &mut buffer).await? == 0 {
            return Ok(());
        }
    }
}

/// Waits for the hello and answers it.
async fn greet(stream: &mut TcpStream, caller: &mut Caller, buffer: &mut [u8]) -> io::Result<()> {
    while !caller.is_open()? {
        if read(stream, caller, buffer).await? == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        if let Some(answer) = caller.receive()? {
            stream.write_all(&answer).await?;
        }
    }
    Ok(())
}

/// Nothing appends to a buffer that is not filled, so the bytes take a detour.
async fn read(stream: &mut TcpStream, caller: &mut Caller, buffer: &mut [u8]) -> io::Result<usize> {
    // A peer that always has something to say lets no other task of the thread run.
    future::yield_now().await;
    let count = stream.read(buffer).await?;
    caller.buffer().extend_from_slice(&buffer[..count]);
    Ok(count)
}
