//! A node with its clock and its news: what is left to an adapter is to wait.

use std::time::Duration;

use raft_core::{Instant, Message};

use crate::news::{End, News};
use crate::watched::Watched;
use crate::{
    Client, Clock, Handle, Host, NodeError, Notifier, Peers, Reception, Settings, StateMachine,
    Storage, Threads, Turn, Wiring, blocking,
};

/// A [`Host`] for the loop of an adapter: [`turn`](Driver::turn) it until it stops, then
/// [`close`](Driver::close) it, end the tasks of its links, and [`join`](Ending::join) what is left
/// where blocking is allowed. Those who wait for the end are told then.
///
/// If it is only dropped, because its task is cancelled or panics, they are told
/// [`NodeError::ThreadGone`].
#[derive(Debug)]
pub struct Driver {
    host: Host,
    clock: Clock,
    client: Client,
    news: Watched<News>,
    reception: Reception,
    // Dropped last: the node has stopped when it is told.
    end: End,
}

/// What the loop of an adapter does after a turn.
#[derive(Debug)]
pub enum Next {
    /// Let others have their turn, and take the next at once.
    Again,
    /// Wait until the notifier is called, or for as long as this, whichever is shorter. `None` is
    /// for as long as it takes.
    Wait(Option<Duration>),
    /// Close the node: it has stopped, because it was asked to or because something failed.
    Stopped(Result<(), NodeError>),
}

impl Driver {
    /// Starts a node, see [`Host::new`]: this blocks. `notify` wakes the loop, and `send` passes a
    /// message on to the peer that it names, or drops it; see [`Wiring`].
    ///
    /// # Errors
    /// Those of [`Host::new`].
    pub fn start(
        settings: &Settings,
        storage: Storage,
        machine: impl StateMachine,
        notify: Notifier,
        send: impl FnMut(Message) + Send + 'static,
    ) -> Result<Self, NodeError> {
        let max_frame = settings.config()?.max_message_bytes();
        let news = Watched::new(News::default());
        let told = news.clone();
        let wiring = Wiring {
            notify,
            send: Box::new(send),
            observe: Box::new(move |notice| told.update(|news| news.take_in(notice))),
        };
        let clock = Clock::start();
        let (host, client) = Host::new(settings, storage, machine, wiring, clock.now())?;
        let reception = Reception::new(host.peers().clone(), client.clone(), max_frame);
        let end = End::of(news.clone());
        Ok(Self { host, clock, client, news, reception, end })
    }

    /// What clients hold, for tasks.
    #[must_use]
    pub fn handle(&self) -> Handle {
        Handle::new(self.client.clone(), self.news.clone())
    }

    /// What clients hold, for threads.
    #[must_use]
    pub fn blocking_handle(&self) -> blocking::Handle {
        blocking::Handle::new(self.client.clone(), self.news.clone())
    }

    /// Whom to dial.
    #[must_use]
    pub const fn peers(&self) -> &Peers {
        self.host.peers()
    }

    /// For those who dial this node.
    #[must_use]
    pub fn reception(&self) -> Reception {
        self.reception.clone()
    }

    /// Gives the node a turn, see [`Host::turn`].
    pub fn turn(&mut self) -> Next {
        let clock = self.clock;
        match self.host.turn(|| clock.now()) {
            Turn::Continue { more: true, .. } => Next::Again,
            Turn::Continue { deadline, .. } => {
                Next::Wait(deadline.map(|deadline: Instant| clock.until(deadline)))
            }
            Turn::Stopped(result) => Next::Stopped(result),
        }
    }

    /// Ends the node: everybody who waits for an answer has one. `result` is what the last turn has
    /// said.
    pub fn close(self, result: Result<(), NodeError>) -> Ending {
        let threads = self.host.close();
        self.end.begin();
        Ending { result, threads, end: self.end }
    }
}

/// What is left of a node whose loop has ended.
#[derive(Debug)]
#[must_use = "those who wait for the end are told when it is joined"]
pub struct Ending {
    result: Result<(), NodeError>,
    threads: Threads,
    end: End,
}

impl Ending {
    /// Waits for the node's threads and tells everybody that it has stopped, and why. Blocks for as
    /// long as a write or an `apply` that is under way takes.
    pub fn join(self) {
        self.threads.join();
        self.end.tell(self.result.map_err(std::sync::Arc::new));
    }
}
