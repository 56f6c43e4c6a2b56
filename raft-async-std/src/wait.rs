//! What the tasks of a node wait with.

use std::io::{self, ErrorKind};
use std::sync::Arc;

use async_channel::{Receiver, Sender};
use async_io::Timer;
use futures_lite::future;
use raft_node::{Notifier, PATIENCE};

/// Wakes one task. A signal that is given while nobody waits ends the next wait.
pub(crate) struct Signal {
    give: Sender<()>,
    given: Receiver<()>,
}

impl Signal {
    pub(crate) fn new() -> Self {
        let (give, given) = async_channel::bounded(1);
        Self { give, given }
    }

    pub(crate) fn notifier(&self) -> Notifier {
        let give = self.give.clone();
        Arc::new(move || {
            // If there is no room, it is given already.
            let _ = give.try_send(());
        })
    }

    /// Whether it was given since the last wait; takes it.
    pub(crate) fn take(&self) -> bool {
        self.given.try_recv().is_ok()
    }

    pub(crate) async fn wait(&self) {
        // An error means that nobody can give it any more, and this is somebody who can.
        let _ = self.given.recv().await;
    }
}

/// What takes longer than a peer may take fails.
pub(crate) async fn patiently<T>(work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    let late = async {
        Timer::after(PATIENCE).await;
        Err(ErrorKind::TimedOut.into())
    };
    future::or(work, late).await
}
