//! The thread that is told what goes into the core and what comes out of it.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::{self, JoinHandle};

use raft_core::{Config, Event, Instant, Output, Restored};
use tracing::warn;

use crate::NodeError;
use crate::error::guard;

/// So many steps may wait for a recorder.
const STEPS_WAITING: usize = 1024;

/// What the core of a node began with: everything that [`Raft::new`](raft_core::Raft::new) was
/// given.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "recording", derive(serde::Serialize, serde::Deserialize))]
pub struct Beginning {
    /// The configuration, with the seed of this life of the node.
    pub config: Config,
    /// What was on the disk.
    pub restored: Restored,
    /// The time at the node's clock.
    pub at: Instant,
}

/// One step of the core: everything that [`Raft::step_all`](raft_core::Raft::step_all) was given,
/// and what it answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// The time at the node's clock.
    pub at: Instant,
    /// What had happened.
    pub events: Vec<Event>,
    /// What was to be done about it.
    pub outputs: Vec<Output>,
}

/// Is told of every step of a node, in order. A core that is given the same
/// [`Beginning`] and the same events has the same outputs, so a recording shows again, anywhere,
/// what a node did. The module `recording`, with the feature of that name, has one that writes to
/// files and what reads them back.
///
/// It runs on a thread of its own and may block. It ends with the node, or before if it fails or if
/// 1,024 steps wait for it; the node goes on without it, and says so in the log of the program.
pub trait Recorder: Send {
    /// Takes in the next step.
    ///
    /// # Errors
    /// It can't go on. It is asked nothing more, and is dropped.
    fn record(&mut self, step: Step) -> io::Result<()>;
}

/// Begins a recording, see [`Settings::record`](crate::Settings::record).
pub(crate) type Record = Arc<dyn Fn(&Beginning) -> io::Result<Box<dyn Recorder>> + Send + Sync>;

/// Where a node tells of its steps.
#[derive(Default)]
pub(crate) struct Told(Option<SyncSender<Step>>);

impl Told {
    /// Copies the events, if somebody wants to be told of them.
    pub(crate) fn events(&self, events: &[Event]) -> Vec<Event> {
        self.0.as_ref().map(|_| events.to_vec()).unwrap_or_default()
    }

    pub(crate) fn step(&mut self, at: Instant, events: Vec<Event>, outputs: &[Output]) {
        let Some(thread) = &self.0 else { return };
        match thread.try_send(Step { at, events, outputs: outputs.to_vec() }) {
            Ok(()) => return,
            Err(TrySendError::Full(_)) => warn!("the recorder does not keep up; it is ended"),
            // The thread has said why it ended.
            Err(TrySendError::Disconnected(_)) => {}
        }
        self.0 = None;
    }
}

/// Starts the thread. It ends when what is returned is dropped.
pub(crate) fn spawn(
    name: String,
    record: &Record,
    beginning: &Beginning,
) -> Result<(Told, JoinHandle<()>), NodeError> {
    let panicked = |text| io::Error::other(format!("it panicked: {text}"));
    let mut recorder = guard(|| record(beginning), panicked).map_err(NodeError::Recorder)?;
    let (sender, steps) = sync_channel(STEPS_WAITING);
    let work = move || {
        if let Err(error) = guard(|| run(&mut *recorder, &steps), panicked) {
            warn!(%error, "the recorder failed; it is ended");
        }
    };
    let thread = thread::Builder::new().name(name).spawn(work).map_err(NodeError::Thread)?;
    Ok((Told(Some(sender)), thread))
}

fn run(recorder: &mut dyn Recorder, steps: &Receiver<Step>) -> io::Result<()> {
    steps.iter().try_for_each(|step| recorder.record(step))
}
