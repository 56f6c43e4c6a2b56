//! Replicas, their log, and clients with clocks of their own.

use std::io::{self, Read};
use std::time::Duration;

use bytes::Bytes;
use raft_node::core::{Instant, LogIndex};
use raft_node::session::{self, Request, Session, SessionError, SessionLimits, Sessions};
use raft_node::{FrozenState, StateMachine};

/// Keeps all commands in order. The answer to one tells how many came before, so a command that is
/// applied twice is noticed twice.
#[derive(Debug, Default)]
pub(crate) struct Journal(Vec<u8>);

impl StateMachine for Journal {
    fn apply(&mut self, _: LogIndex, command: Bytes) -> Bytes {
        self.0.extend_from_slice(&command);
        self.0.push(b'\n');
        let count = self.0.iter().filter(|byte| **byte == b'\n').count();
        let mut answer = format!("{count}:").into_bytes();
        answer.extend_from_slice(&command);
        answer.into()
    }

    fn query(&self, _: Bytes) -> Bytes {
        Bytes::copy_from_slice(&self.0)
    }

    fn snapshot(&self) -> FrozenState {
        let state = self.0.clone();
        Box::new(move |to| to.write_all(&state))
    }

    fn restore(&mut self, _: LogIndex, state: &mut dyn Read) -> io::Result<()> {
        self.0.clear();
        state.read_to_end(&mut self.0).map(drop)
    }
}

pub(crate) type Replica = Sessions<Journal>;

pub(crate) fn replica(limits: SessionLimits) -> Replica {
    Sessions::new(Journal::default(), limits).unwrap()
}

pub(crate) fn index(index: u64) -> LogIndex {
    LogIndex::new(index).unwrap()
}

pub(crate) fn at(millis: u64) -> Instant {
    Instant::ORIGIN.plus(Duration::from_millis(millis))
}

/// Limits that are far away, and a ttl of 1600 ms, so that an entry moves the log's clock by 100 ms
/// at most.
pub(crate) fn roomy() -> SessionLimits {
    SessionLimits::default().ttl(Duration::from_millis(1600))
}

pub(crate) fn snapshot(replica: &Replica) -> Vec<u8> {
    let mut bytes = Vec::new();
    replica.snapshot()(&mut bytes).unwrap();
    bytes
}

/// Two replicas of one log, which are compared after each entry.
pub(crate) struct World {
    limits: SessionLimits,
    log: Vec<Bytes>,
    replicas: [Replica; 2],
}

impl World {
    pub(crate) fn new(limits: SessionLimits) -> Self {
        Self { limits, log: Vec::new(), replicas: [replica(limits), replica(limits)] }
    }

    pub(crate) fn propose(&mut self, envelope: Bytes) -> Bytes {
        self.log.push(envelope.clone());
        let at = self.last();
        let [one, other] = &mut self.replicas;
        let answer = one.apply(at, envelope.clone());
        assert_eq!(other.apply(at, envelope), answer);
        assert_eq!(snapshot(one), snapshot(other));
        answer
    }

    pub(crate) fn last(&self) -> LogIndex {
        index(self.log.len() as u64)
    }

    pub(crate) fn open(&mut self, now: Instant) -> Session {
        Session::new(self.propose(session::open()), now).unwrap()
    }

    /// Proposes a request once more, and has the answer lost on its way to the client's session.
    pub(crate) fn ask(&mut self, request: &Request) -> Result<Bytes, SessionError> {
        session::decode(self.propose(request.envelope()))
    }

    /// A command from its making to its answer.
    pub(crate) fn run(
        &mut self,
        session: &mut Session,
        command: &str,
        now: Instant,
    ) -> Result<Bytes, SessionError> {
        let request = session.command(command.as_bytes(), now)?;
        let answer = self.propose(request.envelope());
        session.answered(&request, answer)
    }

    pub(crate) fn snapshot(&self) -> Vec<u8> {
        snapshot(&self.replicas[0])
    }

    /// What was applied, in order.
    pub(crate) fn journal(&self) -> String {
        String::from_utf8(self.replicas[0].query(Bytes::new()).to_vec()).unwrap()
    }

    /// One replica is restarted and replays the whole log.
    pub(crate) fn replay(&mut self) {
        let mut again = replica(self.limits);
        for (entry, place) in self.log.iter().zip(1..) {
            again.apply(index(place), entry.clone());
        }
        self.replicas[1] = again;
    }

    /// One replica is replaced by one that gets a snapshot, with limits that were not agreed on.
    pub(crate) fn install(&mut self) {
        let mut again = replica(SessionLimits::default().sessions(1).answers(1).bytes(1));
        again.restore(self.last(), &mut self.snapshot().as_slice()).unwrap();
        self.replicas[1] = again;
    }
}
