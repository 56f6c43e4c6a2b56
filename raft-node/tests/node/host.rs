//! A host that is driven by hand, and a disk and a state machine that stop at gates.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant as RealInstant};

use bytes::Bytes;
use raft_node::core::{
    Append, AppendReply, AppendResult, Body, Config, Entries, Instant, LogIndex, Message, NodeId,
    Notice, RoleKind, StoredLog, Write,
};
use raft_node::{
    Client, LogStore, MemoryLog, Node, NodeError, NodeStatus, RequestError, StateMachine,
    StoreError, Threads, Turn, Wiring,
};

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

    fn pass(&self) {
        let mut state = self.0.0.lock().unwrap();
        while state.shut {
            state.waiting = true;
            self.0.1.notify_all();
            state = self.0.1.wait(state).unwrap();
        }
        state.waiting = false;
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DiskCall {
    /// An append of so many writes.
    Append(usize),
    Load(LogIndex),
}

/// A log in memory that waits at a gate before each call, writes the calls down, and fails or
/// panics when it is told to.
#[derive(Clone, Default)]
pub(crate) struct Disk {
    pub(crate) gate: Gate,
    pub(crate) log: MemoryLog,
    pub(crate) calls: Arc<Mutex<Vec<DiskCall>>>,
    pub(crate) trouble: Arc<Mutex<Option<Trouble>>>,
    pub(crate) trouble_with_loads: Arc<AtomicBool>,
}

#[derive(Clone, Copy)]
pub(crate) enum Trouble {
    Fails,
    Panics,
}

impl Disk {
    fn call(&self, call: DiskCall) -> Result<(), StoreError> {
        self.gate.pass();
        self.calls.lock().unwrap().push(call);
        let trouble = *self.trouble.lock().unwrap();
        match trouble {
            None => Ok(()),
            Some(Trouble::Fails) => Err(StoreError::Other("no such luck".into())),
            Some(Trouble::Panics) => panic!("the disk fell off"),
        }
    }
}

impl LogStore for Disk {
    fn restore(&mut self) -> Result<StoredLog, StoreError> {
        self.log.restore()
    }

    fn append(&mut self, writes: &[Write]) -> Result<(), StoreError> {
        self.call(DiskCall::Append(writes.len()))?;
        self.log.append(writes)
    }

    fn load(
        &mut self,
        from: LogIndex,
        through: LogIndex,
        max_bytes: usize,
    ) -> Result<Entries, StoreError> {
        self.call(DiskCall::Load(from))?;
        if self.trouble_with_loads.load(Ordering::Relaxed) {
            return Err(StoreError::Other("unreadable".into()));
        }
        self.log.load(from, through, max_bytes)
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

    fn applied(&self) -> LogIndex {
        let last = self.log.lock().unwrap().last().map(|(index, _)| *index);
        last.filter(|_| self.persistent).unwrap_or_default()
    }
}

/// A node with everything around it.
pub(crate) struct Host {
    pub(crate) node: Node,
    pub(crate) client: Client,
    pub(crate) now: Instant,
    pub(crate) sent: Receiver<Message>,
    pub(crate) notices: Receiver<Notice>,
    woken: Receiver<()>,
}

/// The settings of a node among voters 1 to `voters`.
pub(crate) fn config(voters: u64) -> Config {
    Config::new(ME, (1..=voters).map(NodeId::new), 0x5eed)
        .election_timeout(ELECTION)
        .heartbeat_interval(HEARTBEAT)
}

impl Host {
    pub(crate) fn start(config: Config, disk: &Disk, machine: &Machine) -> Self {
        Self::try_start(config, disk, machine).unwrap()
    }

    pub(crate) fn try_start(
        config: Config,
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
            observe: Box::new(move |notice| observe.send(notice).unwrap_or_default()),
        };
        let now = Instant::ORIGIN;
        let (node, client) = Node::new(config, disk.clone(), machine.clone(), wiring, now)?;
        Ok(Self { node, client, now, sent, notices, woken })
    }

    /// A cluster of one that leads and has nothing to do.
    pub(crate) fn alone(config: Config, disk: &Disk, machine: &Machine) -> Self {
        let mut host = Self::start(config, disk, machine);
        host.now = host.now.plus(2 * ELECTION);
        host.turn_until(|host| {
            let status = host.status();
            status.role == RoleKind::Leader && status.commit == status.last
        });
        host
    }

    /// The leader of three, thanks to a peer that says yes to everything until it falls silent.
    pub(crate) fn leader_of_three(disk: &Disk, machine: &Machine) -> Self {
        let mut host = Self::start(config(3), disk, machine);
        host.now = host.now.plus(2 * ELECTION);
        host.turn_until(|host| {
            host.peer_agrees();
            let status = host.status();
            status.role == RoleKind::Leader && status.commit == status.last
        });
        host
    }

    pub(crate) fn turn(&mut self) -> Turn {
        self.node.turn(self.now)
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
        loop {
            match self.turn() {
                Turn::Stopped(result) => return result,
                Turn::Continue { more: true, .. } => {}
                Turn::Continue { .. } => {
                    self.woken.recv_timeout(PATIENCE).expect("the node stops");
                }
            }
        }
    }

    /// Stops the node as an adapter would.
    pub(crate) fn stop(mut self) -> Threads {
        self.client.stop();
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

    /// A picture of the node; takes a turn, or more if the node is loaded.
    pub(crate) fn node_status(&mut self) -> NodeStatus {
        let (answer, answered) = channel();
        self.client.status(move |status| answer.send(status).unwrap_or_default());
        loop {
            self.go_on();
            if let Ok(status) = answered.try_recv() {
                return status;
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
                    Body::AppendReply(AppendReply { sequence: append.sequence, result })
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
