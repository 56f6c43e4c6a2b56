//! Connections from peers, for what they have to say.

use std::io::{self, ErrorKind};
use std::sync::Arc;

use raft_node::{Caller, NodeError, PATIENCE, Reception, Settings, tune};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time;
use tracing::warn;

use crate::node::{Alive, notifier, while_alive};

pub(crate) async fn bind(settings: &Settings) -> Result<TcpListener, NodeError> {
    let address = settings.listen_address()?.to_owned();
    let socket = TcpListener::bind(&address).await;
    socket.map_err(|source| NodeError::Listen { address, source })
}

/// Accepts connections until the task is aborted, and then ends them with it.
pub(crate) async fn listen(socket: TcpListener, reception: Reception, alive: Alive) {
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = socket.accept() => accepted,
            Some(_) = connections.join_next() => continue,
        };
        match accepted {
            Ok((stream, from)) => {
                let superseded = Arc::new(Notify::new());
                if let Some(caller) = reception.accept(from, notifier(&superseded)) {
                    connections.spawn(while_alive(alive.clone(), hear(stream, caller, superseded)));
                }
            }
            Err(error) => {
                warn!(%error, "can't accept a connection");
                time::sleep(Reception::PAUSE).await;
            }
        }
    }
}

/// Takes in what comes over one connection, until it ends or is superseded.
async fn hear(stream: TcpStream, mut caller: Caller, superseded: Arc<Notify>) {
    let ended = tokio::select! {
        ended = receive(stream, &mut caller) => ended,
        () = superseded.notified() => Ok(()),
    };
    caller.ended(ended);
}

async fn receive(mut stream: TcpStream, caller: &mut Caller) -> io::Result<()> {
    tune(&stream)?;
    time::timeout(PATIENCE, greet(&mut stream, caller)).await??;
    loop {
        caller.receive()?;
        if stream.read_buf(caller.buffer()).await? == 0 {
            return Ok(());
        }
    }
}

/// Waits for the hello and answers it.
async fn greet(stream: &mut TcpStream, caller: &mut Caller) -> io::Result<()> {
    while !caller.is_open()? {
        if stream.read_buf(caller.buffer()).await? == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        if let Some(answer) = caller.receive()? {
            stream.write_all(&answer).await?;
        }
    }
    Ok(())
}
