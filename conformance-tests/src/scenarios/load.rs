//! Clients with sessions: each has one call open at a time, and tries it again, at one node after
//! another, until it is answered. What they see must be linearizable, and every command must be
//! applied exactly once.

use alloc::format;
use alloc::vec;
use alloc::vec::Vec;

use bytes::Bytes;
use raft_node::core::Instant;
use raft_node::session::{self, Session};

use crate::cluster::{CallId, Cluster};
use crate::lab::Lab;
use crate::registers::{Call, Registers, Request};

/// A client rests for so many steps after each answer.
const REST: u64 = 4;
/// The length of a step, in election timeouts.
const STEP: f64 = 0.02;
/// When nothing is wrong any more, every call is answered within so many election timeouts.
const PATIENCE: f64 = 30.0;

/// Which registers clients use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Keys {
    /// Each client one of its own.
    Own,
    /// All clients the same few.
    Shared(u64),
}

/// Some clients, and all that they did.
pub(super) struct Load {
    registers: Registers,
    keys: Keys,
    clients: Vec<Client>,
    /// Every command that was made, by client, in the order of each client.
    commands: Vec<(usize, Bytes)>,
}

struct Client {
    session: Option<Session>,
    open: Option<Attempt>,
    /// The node that was asked last.
    node: usize,
    rest: u64,
    answers: u64,
}

struct Attempt {
    task: Task,
    /// `None` if it has to be tried again.
    call: Option<CallId>,
}

enum Task {
    Open,
    Command(Call, session::Request),
    Read(Call, Bytes),
}

impl Load {
    pub(super) fn new(clients: usize, keys: Keys) -> Self {
        let client = |node| Client { session: None, open: None, node, rest: 0, answers: 0 };
        Self {
            registers: Registers::default(),
            keys,
            clients: (0..clients).map(client).collect(),
            commands: Vec::new(),
        }
    }

    /// Lets the clients work for so many election timeouts.
    pub(super) fn run<C: Cluster>(&mut self, lab: &mut Lab<C>, timeouts: f64) {
        for _ in 0..(timeouts / STEP) as u64 {
            self.step(lab, true);
            lab.sleep(STEP);
        }
    }

    /// Lets the clients work until `holds`, at most so many timeouts; says whether it came to hold.
    pub(super) fn until<C: Cluster>(
        &mut self,
        lab: &mut Lab<C>,
        timeouts: f64,
        mut holds: impl FnMut(&mut Lab<C>) -> bool,
    ) -> bool {
        lab.until(timeouts, |lab| {
            self.step(lab, true);
            holds(lab)
        })
    }

    /// Lets the clients work until each has so many more answers.
    #[track_caller]
    pub(super) fn makes_progress<C: Cluster>(&mut self, lab: &mut Lab<C>, answers: u64) {
        let goals: Vec<u64> = self.clients.iter().map(|it| it.answers + answers).collect();
        let done = lab.until(PATIENCE, |lab| {
            self.step(lab, true);
            self.clients.iter().zip(&goals).all(|(client, goal)| client.answers >= *goal)
        });
        lab.demand(done, || "a client was not answered".into());
    }

    /// Waits for all answers, and checks all that the clients have seen so far.
    #[track_caller]
    pub(super) fn settle<C: Cluster>(&mut self, lab: &mut Lab<C>) {
        let answered = lab.until(PATIENCE, |lab| {
            self.step(lab, false);
            self.clients.iter().all(|client| client.open.is_none())
        });
        lab.demand(answered, || "a client was never answered".into());
        let verdict = self.registers.verdict();
        lab.demand(verdict.is_ok(), || verdict.err().unwrap_or_default());
        self.exactly_once(lab);
    }

    /// Each command was applied once, and those of one client in its order.
    fn exactly_once<C: Cluster>(&self, lab: &mut Lab<C>) {
        let mut last = vec![0; self.clients.len()];
        for (client, command) in &self.commands {
            let first = lab.cluster.oracle(|oracle| oracle.ordinal_of(command, 0));
            lab.demand(first.is_some(), || "a command was answered and never applied".into());
            let place = first.unwrap_or_default();
            let again = lab.cluster.oracle(|oracle| oracle.ordinal_of(command, place));
            lab.demand(again.is_none(), || {
                format!("a command was applied as number {place} and again as {again:?}")
            });
            lab.demand(last[*client] < place, || {
                format!("client {client} was overtaken by itself: {} then {place}", last[*client])
            });
            last[*client] = place;
        }
    }

    /// One look at every client.
    fn step<C: Cluster>(&mut self, lab: &mut Lab<C>, more: bool) {
        for number in 0..self.clients.len() {
            match self.clients[number].open.take() {
                None if more => self.begin(lab, number),
                None => {}
                Some(Attempt { task, call: None }) => self.try_at_next_node(lab, number, task),
                Some(Attempt { task, call: Some(call) }) => match lab.cluster.answer(call) {
                    None => {
                        self.clients[number].open = Some(Attempt { task, call: Some(call) });
                    }
                    Some(Ok(answer)) => self.answered(lab, number, task, answer),
                    Some(Err(error)) => {
                        lab.demand(session::may_retry(error), || format!("{error}"));
                        self.clients[number].open = Some(Attempt { task, call: None });
                    }
                },
            }
        }
    }

    fn begin<C: Cluster>(&mut self, lab: &mut Lab<C>, number: usize) {
        let client = &mut self.clients[number];
        if client.rest > 0 {
            client.rest -= 1;
            return;
        }
        let Some(session) = &mut client.session else {
            return self.try_at_next_node(lab, number, Task::Open);
        };
        let key = match self.keys {
            Keys::Own => number as u64,
            Keys::Shared(count) => lab.cluster.random(count),
        };
        let (at, dice) = (lab.cluster.tick(), lab.cluster.random(10));
        let (call, request) = self.registers.begin(number as u64, at, key, dice);
        let task = match request {
            Request::Read(query) => Task::Read(call, query),
            Request::Propose(command) => {
                // As if no time passed: sessions are not to expire here.
                let request = session.command(&command, Instant::ORIGIN);
                lab.demand(request.is_ok(), || format!("no number for a command: {request:?}"));
                let Ok(request) = request else { return };
                self.commands.push((number, command));
                Task::Command(call, request)
            }
        };
        self.try_at_next_node(lab, number, task);
    }

    fn try_at_next_node<C: Cluster>(&mut self, lab: &mut Lab<C>, number: usize, task: Task) {
        let client = &mut self.clients[number];
        let after = client.node;
        let running = (1..=lab.size())
            .map(|steps| lab.after(after, steps))
            .find(|node| lab.cluster.is_running(*node));
        let call = running.map(|node| {
            client.node = node;
            match &task {
                Task::Open => lab.cluster.propose(node, session::open()),
                Task::Command(_, request) => lab.cluster.propose(node, request.envelope()),
                Task::Read(_, query) => lab.cluster.read(node, query.clone()),
            }
        });
        client.open = Some(Attempt { task, call });
    }

    fn answered<C: Cluster>(&mut self, lab: &mut Lab<C>, number: usize, task: Task, answer: Bytes) {
        let at = lab.cluster.tick();
        let client = &mut self.clients[number];
        // A node that answered is asked again.
        client.node = lab.after(client.node, lab.size() - 1);
        client.rest = REST;
        client.answers += 1;
        let (call, answer) = match (task, &mut client.session) {
            (Task::Open, session) => {
                let opened = Session::new(answer, Instant::ORIGIN);
                lab.demand(opened.is_ok(), || format!("no session: {opened:?}"));
                *session = opened.ok();
                return;
            }
            (Task::Command(call, request), Some(session)) => {
                let answer = session.answered(&request, answer);
                lab.demand(answer.is_ok(), || format!("the session failed: {answer:?}"));
                (call, answer.unwrap_or_default())
            }
            (Task::Command(call, _) | Task::Read(call, _), _) => (call, answer),
        };
        let recorded = self.registers.end(call, at, Ok(answer));
        lab.demand(recorded.is_ok(), || format!("the history is broken: {recorded:?}"));
    }
}
