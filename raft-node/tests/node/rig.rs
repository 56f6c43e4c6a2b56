//! A rig that is driven by hand, and a state machine that stops at a gate.

use std::io::{self, Read, Write as _};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant as RealInstant};

use bytes::{Buf, Bytes};
use raft_node::core::{
    Append, AppendReply, AppendResult, Body, Entries, Instant, LogIndex, Message, NodeId, Notice,
    RoleKind,
};
use raft_node::{
    Client, FrozenState, Host, NodeError, NodeStatus, RequestError, Settings, SnapshotPolicy,
    StateMachine, Threads, Turn, Wiring,
};

pub(crate) use crate::storage::{Broken, Disk, DiskCall, Trouble};

/// How long a test waits for a thread of the node before it fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
pub(crate) const ELECTION: Duration = Duration::from_millis(1000);
pub(crate) const HEARTBEAT: Duration = Duration::from_millis(100);

pub(crate) const ME: NodeId = NodeId::new(1);
pub(crate) const PEER: NodeId = NodeId::new(2);

pub(crate) type Answer = Receiver<Result<Bytes, RequestError>>;

/// Waits for the one answer of a request.
pub(crate) fn answer(answer: &Answer) -> Result<Bytes, RequestError> {
    answer.recv_timeout(PATIENCE).expect("every request is answered")
}

pub(crate) fn is_open(answer: &Answer) -> bool {
    answer.try_recv().is_err()
}

/// A door that the threads of a node wait at while it is shut.
#[derive(Clone, Default)]
pub(crate) struct Gate(Arc<(Mutex<State>, Condvar)>);

#[derive(Default)]
struct State {
    shut: bool,
    waiting: bool,
}

impl Gate {
    pub(crate) fn shut(&self) {
        self.0.0.lock().unwrap().shut = true;
    }

    pub(crate) fn open(&self) {
        self.0.0.lock().unwrap().shut = false;
        self.0.1.notify_all();
    }

    /// Returns when somebody waits at the shut door.
    pub(crate) fn wait_for_visitor(&self) {
        let state = self.0.0.lock().unwrap();
        let (_state, waited) =
            self.0.1.wait_timeout_while(state, PATIENCE, |state| !state.waiting).unwrap();
        assert!(!waited.timed_out(), "nobody came to the gate");
    }

    pub(crate) fn has_visitor(&self) -> bool {
        self.0.0.lock().unwrap().waiting
    }

    pub(crate) fn pass(&self) {
        let mut state = self.0.0.lock().unwrap();
        while state.shut {
            state.waiting = true;
            self.0.1.notify_all();
            state = self.0.1.wait(state).unwrap();
        }
        state.waiting = false;
    }
}

/// Notes every command, waits at a gate before each, and answers with the command; to "count" with
/// the number of commands. A clone is the same machine: it can outlive its node.
#[derive(Clone, Default)]
pub(crate) struct Machine {
    pub(crate) gate: Gate,
    pub(crate) log: Arc<Mutex<Vec<(LogIndex, Bytes)>>>,
    /// Whether its state survives the node.
    pub(crate) persistent: bool,
    /// Whether it makes no sense of any snapshot.
    pub(crate) puzzled: Arc<AtomicBool>,
    /// Whether its frozen states panic when they are written.
    pub(crate) panics_frozen: Arc<AtomicBool>,
    /// Whether its frozen states pay no heed to errors of the writer.
    pub(crate) careless: Arc<AtomicBool>,
}

impl Machine {
    /// The commands that were applied, in order.
    pub(crate) fn commands(&self) -> Vec<Bytes> {
        self.log.lock().unwrap().iter().map(|(_, command)| command.clone()).collect()
    }
}

impl StateMachine for Machine {
    fn apply(&mut self, index: LogIndex, command: Bytes) -> Bytes {
        self.gate.pass();
        assert!(!command.starts_with(b"panic"), "can't do {}", command.escape_ascii());
        self.log.lock().unwrap().push((index, command.clone()));
        command
    }

    fn query(&self, query: Bytes) -> Bytes {
        self.gate.pass();
        match query.as_ref() {
            b"count" => self.log.lock().unwrap().len().to_string().into(),
            _ => query,
        }
    }

    fn snapshot(&self) -> FrozenState {
        let log = self.log.lock().unwrap().clone();
        let (panics, careless) = (self.panics_frozen.clone(), self.careless.clone());
        Box::new(move |to| {
            assert!(!panics.load(Ordering::Relaxed), "frozen stiff");
            if careless.load(Ordering::Relaxed) {
                // Its buffer is written out when it is dropped, and the error goes nowhere.
                return io::BufWriter::new(to).write_all(b"half of it");
            }
            log.iter().try_for_each(|(index, command)| {
                to.write_all(&index.get().to_le_bytes())?;
                to.write_all(&(command.len() as u64).to_le_bytes())?;
                to.write_all(command)
            })
        })
    }

    fn restore(&mut self, _: LogIndex, state: &mut dyn Read) -> io::Result<()> {
        if self.puzzled.load(Ordering::Relaxed) {
            return Err(io::Error::other("this makes no sense"));
        }
        let mut bytes = Vec::new();
        state.read_to_end(&mut bytes)?;
        let (mut bytes, mut log) = (Bytes::from(bytes), Vec::new());
        while !bytes.is_empty() {
            let index = LogIndex::new(bytes.get_u64_le()).unwrap();
            let length = bytes.get_u64_le() as usize;
            log.push((index, bytes.split_to(length)));
        }
        *self.log.lock().unwrap() = log;
        Ok(())
    }

    fn applied(&self) -> LogIndex {
        let last = self.log.lock().unwrap().last().map(|(index, _)| *index);
        last.filter(|_| self.persistent).unwrap_or_default()
    }
}

/// A node with everything around it.
pub(crate) struct Rig {
    pub(crate) node: Host,
    pub(crate) client: Client,
    pub(crate) now: Instant,
    pub(crate) sent: Receiver<Message>,
    pub(crate) notices: Receiver<Notice>,
    woken: Receiver<()>,
}

/// The settings of a node among voters 1 to `voters`, who say something every [`HEARTBEAT`].
pub(crate) fn settings(voters: u64) -> Settings {
    let settings = Settings::new(ME).election_timeout(ELECTION).snapshots(SnapshotPolicy::NEVER);
    (1..=voters).fold(settings, |settings, id| settings.peer(NodeId::new(id), ""))
}

impl Rig {
    pub(crate) fn start(settings: Settings, disk: &Disk, machine: &Machine) -> Self {
        Self::try_start(&settings, disk, machine).unwrap()
    }

    pub(crate) fn try_start(
        settings: &Settings,
        disk: &Disk,
        machine: &Machine,
    ) -> Result<Self, NodeError> {
        let (wake, woken) = channel();
        let (send, sent) = channel();
        let (observe, notices) = channel();
        let wake: Arc<Mutex<Sender<()>>> = Arc::new(Mutex::new(wake));
        let wiring = Wiring {
            // The receivers may be gone when a test is over.
            notify: Arc::new(move || wake.lock().unwrap().send(()).unwrap_or_default()),
            send: Box::new(move |message| drop(send.send(message))),
            observe: Box::new(move |notice| observe.send(notice.clone()).unwrap_or_default()),
        };
        let now = Instant::ORIGIN;
        let (node, client) = Host::new(settings, disk.storage(), machine.clone(), wiring, now)?;
        Ok(Self { node, client, now, sent, notices, woken })
    }

    /// A cluster of one that leads and has nothing to do.
    pub(crate) fn alone(settings: Settings, disk: &Disk, machine: &Machine) -> Self {
        let mut rig = Self::start(settings, disk, machine);
        rig.now = rig.now.plus(2 * ELECTION);
        rig.turn_until(|rig| {
            let status = rig.status();
            status.role == RoleKind::Leader && status.commit == status.last
        });
        rig
    }

    /// The leader of three, thanks to a peer that says yes to everything until it falls silent.
    pub(crate) fn leader_of_three(disk: &Disk, machine: &Machine) -> Self {
        Self::leader_of(settings(3), disk, machine)
    }

    /// The same with settings of one's own.
    pub(crate) fn leader_of(settings: Settings, disk: &Disk, machine: &Machine) -> Self {
        let mut rig = Self::start(settings, disk, machine);
        rig.now = rig.now.plus(2 * ELECTION);
        rig.turn_until(|rig| {
            rig.peer_agrees();
            let status = rig.status();
            status.role == RoleKind::Leader && status.commit == status.last
        });
        rig
    }

    pub(crate) fn turn(&mut self) -> Turn {
        self.node.turn(|| self.now)
    }

    /// Turns, and says whether more is to do at once.
    pub(crate) fn go_on(&mut self) -> bool {
        match self.turn() {
            Turn::Continue { more, .. } => more,
            Turn::Stopped(result) => panic!("the node stopped: {result:?}"),
        }
    }

    /// Gives the node its turns, as an adapter would, until something is the case.
    pub(crate) fn turn_until(&mut self, mut done: impl FnMut(&mut Self) -> bool) {
        let give_up = RealInstant::now() + PATIENCE;
        loop {
            let more = self.go_on();
            if done(self) {
                return;
            }
            assert!(RealInstant::now() < give_up, "it does not come about: {:?}", self.node);
            if !more {
                // An answer of the state machine wakes nobody here, so look now and then.
                let _ = self.woken.recv_timeout(Duration::from_millis(5));
            }
        }
    }

    /// Gives the node its turns until it stops by itself.
    pub(crate) fn turn_until_stopped(&mut self) -> Result<(), NodeError> {
        self.turn_until_stopped_with(|_| ())
    }

    /// The same, and does something after each turn.
    pub(crate) fn turn_until_stopped_with(
        &mut self,
        mut between: impl FnMut(&mut Self),
    ) -> Result<(), NodeError> {
        let give_up = RealInstant::now() + PATIENCE;
        loop {
            if let Turn::Stopped(result) = self.turn() {
                return result;
            }
            assert!(RealInstant::now() < give_up, "the node does not stop: {:?}", self.node);
            between(self);
            let _ = self.woken.recv_timeout(Duration::from_millis(5));
        }
    }

    /// Stops the node at once, as an adapter would.
    pub(crate) fn stop(mut self) -> Threads {
        self.client.kill();
        assert!(matches!(self.turn(), Turn::Stopped(Ok(()))));
        self.node.close()
    }

    pub(crate) fn propose(&self, command: impl Into<Bytes>) -> Answer {
        let (answer, answered) = channel();
        self.client.propose(command.into(), move |result| answer.send(result).unwrap_or_default());
        answered
    }

    pub(crate) fn read(&self, query: impl Into<Bytes>) -> Answer {
        let (answer, answered) = channel();
        self.client.read(query.into(), move |result| answer.send(result).unwrap_or_default());
        answered
    }

    /// Asks for a snapshot.
    pub(crate) fn snapshot(&self) -> Answer {
        let (answer, answered) = channel();
        self.client.snapshot(move |result| {
            answer.send(result.map(|()| Bytes::new())).unwrap_or_default();
        });
        answered
    }

    /// A picture of the node; takes a turn, or more if the node is loaded.
    pub(crate) fn node_status(&mut self) -> NodeStatus {
        let (answer, answered) = channel();
        self.client.status(move |status| answer.send(status).unwrap_or_default());
        loop {
            self.go_on();
            if let Ok(status) = answered.try_recv() {
                return status.unwrap();
            }
        }
    }

    pub(crate) fn status(&mut self) -> raft_node::core::Status {
        self.node_status().raft
    }

    /// Lets the peer answer everything that it was sent.
    pub(crate) fn peer_agrees(&self) {
        self.peer_answers(self.sent.try_iter());
    }

    pub(crate) fn peer_answers(&self, messages: impl IntoIterator<Item = Message>) {
        for message in messages.into_iter().filter(|message| message.to == PEER) {
            let body = match message.body {
                Body::PreVote { .. } => Body::PreVoteReply { granted: true },
                Body::Vote { .. } => Body::VoteReply { granted: true },
                Body::Append(append) => {
                    let last = append.prev.index.plus(append.entries.len() as u64);
                    let result = AppendResult::Accepted { last, durable: last };
                    let sequence = append.sequence;
                    Body::AppendReply(AppendReply { sequence, result, needs_snapshot: None })
                }
                _ => continue,
            };
            self.client.deliver(Message { from: PEER, to: ME, term: message.term, body });
        }
    }
}

/// A message of a leader.
pub(crate) fn append(term: u64, sequence: u64, entries: Entries) -> Message {
    let append = Append {
        prev: raft_node::core::LogPosition::default(),
        entries,
        commit: LogIndex::ZERO,
        sequence,
    };
    let term = raft_node::core::Term::new(term).unwrap();
    Message { from: PEER, to: ME, term, body: Body::Append(append) }
}
