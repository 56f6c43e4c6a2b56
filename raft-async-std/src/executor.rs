//! Where the tasks of a node run, and how they end.

use std::convert::Infallible;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use async_channel::{Receiver, Sender};
use futures_lite::future;

/// Where the tasks of a node run. Cheap to clone.
#[derive(Clone)]
pub struct Executor(Arc<dyn Fn(Work) + Send + Sync>);

type Work = Pin<Box<dyn Future<Output = ()> + Send>>;

impl Executor {
    /// async-std's.
    #[cfg(feature = "async-std")]
    #[must_use]
    pub fn async_std() -> Self {
        Self::new(|work| drop(async_std::task::spawn(work)))
    }

    /// smol's global executor, that of `smol::spawn`.
    #[cfg(feature = "smol")]
    #[must_use]
    pub fn smol() -> Self {
        Self::new(|work| smol::spawn(work).detach())
    }

    /// One of your own: `spawn` lets it run a task to its end, and must not block. Tasks that are
    /// dropped before are the end of the node.
    ///
    /// The tasks of a node hold `spawn` and what it holds. If that is all that keeps the executor,
    /// it is there until the node has stopped; a weak reference lets it go earlier.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use raft_async_std::Executor;
    /// let mine = Arc::new(smol::Executor::new());
    /// let spawner = mine.clone();
    /// let executor = Executor::new(move |task| spawner.spawn(task).detach());
    /// # drop((mine, executor));
    /// ```
    #[must_use]
    pub fn new(
        spawn: impl Fn(Pin<Box<dyn Future<Output = ()> + Send>>) + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(spawn))
    }

    pub(crate) fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        (self.0)(Box::pin(work));
    }
}

impl fmt::Debug for Executor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Executor").finish_non_exhaustive()
    }
}

/// Starts the tasks that a node's loop needs. Clones are for tasks that start others.
#[derive(Clone)]
pub(crate) struct Tasks {
    executor: Executor,
    alive: Sender<Infallible>,
}

impl Tasks {
    pub(crate) fn new(executor: Executor) -> (Self, Ended) {
        let (alive, ended) = async_channel::bounded(1);
        (Self { executor, alive }, Ended(ended))
    }

    /// Not all executors can cancel a task, so each looks by itself whether it is wanted.
    pub(crate) fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) -> Task {
        let (task, dropped) = async_channel::bounded(1);
        let alive = self.alive.clone();
        self.executor.spawn(async move {
            // Dropped after the work and its sockets.
            let _alive = alive;
            future::or(closed(&dropped), work).await;
        });
        Task(task)
    }
}

/// A task that ends soon after this is dropped.
pub(crate) struct Task(Sender<Infallible>);

impl Task {
    pub(crate) fn has_ended(&self) -> bool {
        self.0.is_closed()
    }
}

/// The end of all tasks.
pub(crate) struct Ended(Receiver<Infallible>);

impl Ended {
    /// Waits until no task is left, and no [`Tasks`] to start one.
    pub(crate) async fn wait(&self) {
        closed(&self.0).await;
    }
}

/// Waits until all senders are dropped; there is nothing that they could send.
async fn closed(channel: &Receiver<Infallible>) {
    let _ = channel.recv().await;
}
