//! Clients with sessions: they try again after any error, or when they lose patience, at any node,
//! and what they ask for is done exactly once.

use bytes::Bytes;
use raft_node::RequestError;
use raft_node::core::Instant;
use raft_node::session::{self, Request, Session, SessionError};

use crate::cluster::CallId;
use crate::machine::Command;
use crate::sim::World;
use crate::sim::network::MS;
use crate::sim::random::within;

/// The clients, and what became of their commands.
#[derive(Default)]
pub(crate) struct Retries {
    clients: Vec<Client>,
    commands: Vec<Ended>,
    closing: bool,
}

/// A command that its client has stopped asking for.
struct Ended {
    command: Bytes,
    /// It was answered, so it was applied. Otherwise nobody knows.
    answered: bool,
}

#[derive(Default)]
struct Client {
    /// The register that only this client writes, and what it holds.
    key: u64,
    value: Option<u64>,
    session: Option<Session>,
    asks: Option<Asks>,
    /// Tries of what was answered already, with the answer.
    strays: Vec<(CallId, Request, Bytes)>,
}

/// Something that a client wants to know.
struct Asks {
    /// What is asked in the session; the session itself if there is none.
    what: Option<(Request, Bytes, u64)>,
    tries: Vec<CallId>,
    again: u64,
}

/// A client does not ask more often than this at once.
const TRIES: usize = 4;

/// The registers of the clients are beyond those of the others.
const FIRST_KEY: u64 = 1 << 32;

/// Checking that a command was applied once takes a look at all that were.
const COMMANDS: usize = 150;

impl Retries {
    pub(crate) fn new(clients: usize) -> Self {
        let key = |client: usize| FIRST_KEY + ((client as u64) << 16);
        let client = |number| Client { key: key(number), ..Client::default() };
        Self { clients: (0..clients).map(client).collect(), ..Self::default() }
    }

    /// From now on clients ask for nothing new.
    pub(crate) const fn close_down(&mut self) {
        self.closing = true;
    }

    /// How many commands wait for their answer.
    pub(crate) fn open(&self) -> usize {
        self.clients.iter().filter(|it| it.asks.is_some() || !it.strays.is_empty()).count()
    }

    /// Takes in answers, tries again, and asks for something new.
    pub(crate) fn go_on(&mut self, world: &mut World) -> Result<(), String> {
        for client in &mut self.clients {
            client.check_strays(world)?;
            client.take_answers(world, &mut self.commands)?;
            if client.asks.is_none() && !self.closing && self.commands.len() < COMMANDS {
                client.ask(world)?;
            }
            client.try_again(world);
        }
        Ok(())
    }

    /// Every command that was answered was applied once, and none twice.
    pub(crate) fn verdict(&self, world: &World) -> Result<(), String> {
        let oracle = world.oracle.lock();
        for Ended { command, answered } in &self.commands {
            let first = oracle.ordinal_of(command, 0);
            let twice = first.is_some_and(|first| oracle.ordinal_of(command, first).is_some());
            if twice || (*answered && first.is_none()) {
                return Err(format!(
                    "I15: {command:?} of a session (answered: {answered}) is command {first:?}, \
                     twice: {twice}"
                ));
            }
        }
        Ok(())
    }
}

impl Client {
    fn ask(&mut self, world: &World) -> Result<(), String> {
        let Some(session) = &mut self.session else {
            self.asks = Some(Asks { what: None, tries: Vec::new(), again: 0 });
            return Ok(());
        };
        let value = self.value.unwrap_or_default() + 1;
        let command = Command::Swap { key: self.key, expected: self.value, value }.encode();
        let request = session.command(&command, Instant::from_nanos(world.now));
        let request = request.map_err(|error| format!("a session with one command: {error}"))?;
        let what = Some((request, command, value));
        self.asks = Some(Asks { what, tries: Vec::new(), again: 0 });
        Ok(())
    }

    fn try_again(&mut self, world: &mut World) {
        let Some(asks) = &mut self.asks else { return };
        if world.now < asks.again || asks.tries.len() >= TRIES {
            return;
        }
        asks.again = world.now + within(&mut world.rng, &(50 * MS..1500 * MS));
        let envelope = match &asks.what {
            Some((request, ..)) => request.envelope(),
            None => session::open(),
        };
        let node = world.rng.usize(0..world.nodes.len());
        asks.tries.push(world.propose(node, envelope));
    }

    fn take_answers(&mut self, world: &World, ended: &mut Vec<Ended>) -> Result<(), String> {
        let Some(asks) = &mut self.asks else { return Ok(()) };
        let answered: Vec<_> =
            asks.tries.iter().filter_map(|call| Some((*call, world.answer(*call)?))).collect();
        for (call, answer) in answered {
            asks.tries.retain(|it| *it != call);
            match answer {
                Ok(answer) => return self.take_answer(world, answer, ended),
                Err(error) if session::may_retry(error) => {}
                Err(error) => {
                    return Err(format!("call {} may not be tried again: {error}", call.0));
                }
            }
            // It failed: another try soon.
            asks.again = asks.again.min(world.now + 100 * MS);
        }
        Ok(())
    }

    fn take_answer(
        &mut self,
        world: &World,
        answer: Bytes,
        ended: &mut Vec<Ended>,
    ) -> Result<(), String> {
        let Some(Asks { what, tries, .. }) = self.asks.take() else { return Ok(()) };
        let Some((request, command, value)) = what else {
            let session = Session::new(answer, Instant::from_nanos(world.now));
            self.session = Some(session.map_err(|error| format!("opening a session: {error}"))?);
            return Ok(());
        };
        let Some(session) = &mut self.session else { return Ok(()) };
        let raw = answer.clone();
        let answered = match session.answered(&request, answer) {
            Ok(swapped) if *swapped == [1] => true,
            // It was applied once, and the answer was forgotten to save room.
            Err(SessionError::AnswerGone) => true,
            Err(SessionError::Expired) => {
                // What became of it nobody knows, so another register takes its place.
                self.session = None;
                self.key += 1;
                false
            }
            other => return Err(format!("I15: {command:?} of a session is answered {other:?}")),
        };
        if answered {
            self.value = Some(value);
            self.strays.extend(tries.into_iter().map(|it| (it, request.clone(), raw.clone())));
        } else {
            self.value = None;
        }
        ended.push(Ended { command, answered });
        Ok(())
    }

    /// Whatever comes later says the same, or that it is forgotten.
    fn check_strays(&mut self, world: &World) -> Result<(), String> {
        let mut wrong = None;
        self.strays.retain(|(call, request, first)| {
            let Some(answer) = world.answer(*call) else { return true };
            match answer.map(|answer| (session::decode(answer.clone()), answer)) {
                Ok((Err(SessionError::AnswerGone | SessionError::Expired), _))
                | Err(RequestError::Lost)
                | Err(_) => {}
                Ok((_, answer)) if answer == *first => {}
                // The first answer was that it is forgotten, of which another node knew more.
                Ok((Ok(swapped), _)) if *swapped == [1] => {}
                Ok((other, _)) => wrong = Some(format!("{request:?} is answered {other:?} later")),
            }
            false
        });
        wrong.map_or(Ok(()), |wrong| Err(format!("I15: {wrong}")))
    }
}
