//! Connections to peers, for what this node has to say.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::sync::Arc;

use raft_node::{Dialler, Outbound, PATIENCE, Peers, tune};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time;

use crate::node::{Alive, notifier, while_alive};

/// Keeps a connection to each peer, whoever that is at the time, until the task is aborted.
pub(crate) async fn dial_all(peers: Peers, outbound: Outbound, alive: Alive) {
    let changed = Arc::new(Notify::new());
    peers.on_change(notifier(&changed));
    let mut links = BTreeMap::new();
    loop {
        peers.update_links(&mut links, |peer, address| {
            let ready = Arc::new(Notify::new());
            let dialler = Dialler::new(&peers, &outbound, peer, address, notifier(&ready));
            // A set of one, since a set that is dropped aborts its tasks.
            let mut task = JoinSet::new();
            task.spawn(while_alive(alive.clone(), dial(dialler, ready)));
            task
        });
        changed.notified().await;
    }
}

/// Keeps a connection to one peer and sends what is queued for it, until the task is aborted.
async fn dial(mut dialler: Dialler, ready: Arc<Notify>) {
    loop {
        let error = match connect(&dialler).await {
            Ok(stream) => {
                dialler.opened();
                speak(stream, &dialler, &ready).await
            }
            Err(error) => error,
        };
        time::sleep(dialler.failed(&error)).await;
    }
}

async fn connect(dialler: &Dialler) -> io::Result<TcpStream> {
    let mut link = dialler.begin();
    let greet = async {
        let mut stream = TcpStream::connect(dialler.address()).await?;
        tune(&stream)?;
        stream.write_all(&link.hello()).await?;
        let mut bytes = [0; 64];
        loop {
            let count = stream.read(&mut bytes).await?;
            if count == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
            if link.receive(&bytes[..count])? {
                return Ok(stream);
            }
        }
    };
    time::timeout(PATIENCE, greet).await?
}

/// Sends what is queued until the connection fails; says why it did.
async fn speak(mut stream: TcpStream, dialler: &Dialler, ready: &Notify) -> io::Error {
    let mut nothing = [0];
    loop {
        let mut bytes = dialler.take();
        while !bytes.is_empty() {
            match time::timeout(PATIENCE, stream.write_buf(&mut bytes)).await {
                Ok(Ok(_)) => {}
                Ok(Err(error)) => return error,
                Err(elapsed) => return elapsed.into(),
            }
        }
        tokio::select! {
            () = ready.notified() => {}
            // The peer has nothing to say here: whatever can be read is the end.
            read = stream.read(&mut nothing) => {
                return read.err().unwrap_or_else(|| ErrorKind::UnexpectedEof.into());
            }
        }
    }
}
