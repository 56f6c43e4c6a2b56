//! Connections to peers, for what this node has to say.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};

use async_io::Timer;
use async_net::TcpStream;
use futures_lite::{AsyncReadExt, AsyncWriteExt, future};
use raft_node::{Dialler, Outbound, Peers, tune};

use crate::executor::Tasks;
use crate::wait::{Signal, patiently};

/// Keeps a connection to each peer, whoever that is at the time, until the task ends.
pub(crate) async fn dial_all(peers: Peers, outbound: Outbound, tasks: Tasks) {
    let changed = Signal::new();
    peers.on_change(changed.notifier());
    let mut links = BTreeMap::new();
    loop {
        peers.update_links(&mut links, |peer, address| {
            let ready = Signal::new();
            let dialler = Dialler::new(&peers, &outbound, peer, address, ready.notifier());
            tasks.spawn(dial(dialler, ready))
        });
        changed.wait().await;
    }
}

/// Keeps a connection to one peer and sends what is queued for it, until the task ends.
async fn dial(mut dialler: Dialler, ready: Signal) {
    loop {
        let error = match connect(&dialler).await {
            Ok(stream) => {
                dialler.opened();
                speak(stream, &dialler, &ready).await
            }
            Err(error) => error,
        };
        Timer::after(dialler.failed(&error)).await;
    }
}

async fn connect(dialler: &Dialler) -> io::Result<TcpStream> {
    let mut link = dialler.begin();
    patiently(async {
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
    })
    .await
}

/// Sends what is queued until the connection fails; says why it did.
async fn speak(mut stream: TcpStream, dialler: &Dialler, ready: &Signal) -> io::Error {
    loop {
        let mut bytes = dialler.take();
        while !bytes.is_empty() {
            match patiently(stream.write(&bytes)).await {
                Ok(count) => bytes = bytes.slice(count..),
                Err(error) => return error,
            }
            // A peer that takes everything at once lets no other task of the thread run.
            future::yield_now().await;
        }
        let more = async {
            ready.wait().await;
            Ok(())
        };
        // The peer has nothing to say here: whatever can be read is the end.
        let end = async {
            let _ = stream.read(&mut [0]).await?;
            Err(ErrorKind::UnexpectedEof.into())
        };
        if let Err(error) = future::or(more, end).await {
            return error;
        }
    }
}
