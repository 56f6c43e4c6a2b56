//! Client sessions: a command that is tried again is applied once (dissertation, section 6.3).
//!
//! A client whose command has no answer, because a leader crashed or a connection broke, can't know
//! whether the command was applied. If it tries again, the command may be applied twice, which
//! [`RequestError::Unknown`](crate::RequestError::Unknown) warns of. With a session it may: each
//! command has a number, the replicas remember the answers, and a number that they have seen gets
//! the same answer again, from any node, after any change of leader, from a snapshot, after
//! restarts. Together with the order of the log that makes commands linearizable.
//!
//! # How to use it
//!
//! On the nodes, wrap the [`StateMachine`](crate::StateMachine) in a [`Sessions`]. Decide on it
//! before the first entry of the log: from then on every command is an envelope. On the client,
//! propose [`open`], make a [`Session`] of the answer, and let it number the commands. Each of its
//! requests may be proposed as often as [`may_retry`] says, at any node.
//!
//! ```
//! use std::io::{self, Read};
//!
//! use bytes::Bytes;
//! use raft_node::core::LogIndex;
//! use raft_node::session::{self, Session, SessionError, SessionLimits, Sessions};
//! use raft_node::{Clock, FrozenState, StateMachine};
//!
//! /// Counts its commands.
//! #[derive(Default)]
//! struct Counter(u64);
//!
//! impl StateMachine for Counter {
//!     fn apply(&mut self, _: LogIndex, _: Bytes) -> Bytes {
//!         self.0 += 1;
//!         self.0.to_string().into()
//!     }
//!     fn query(&self, _: Bytes) -> Bytes {
//!         self.0.to_string().into()
//!     }
//!     fn snapshot(&self) -> FrozenState {
//!         let count = self.0.to_le_bytes();
//!         Box::new(move |to| to.write_all(&count))
//!     }
//!     fn restore(&mut self, _: LogIndex, state: &mut dyn Read) -> io::Result<()> {
//!         let mut count = [0; 8];
//!         state.read_exact(&mut count)?;
//!         self.0 = u64::from_le_bytes(count);
//!         Ok(())
//!     }
//! }
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // This is what each node is given.
//! let mut machine = Sessions::new(Counter::default(), SessionLimits::default())?;
//!
//! // In place of a cluster: whatever is proposed is committed.
//! let mut index = LogIndex::ZERO;
//! let mut propose = |envelope: Bytes| {
//!     index = index.next();
//!     machine.apply(index, envelope)
//! };
//!
//! // The client.
//! let clock = Clock::start();
//! let mut session = Session::new(propose(session::open()), clock.now())?;
//! let request = session.command(b"count", clock.now())?;
//! let lost = propose(request.envelope());
//! # drop(lost);
//! let answer = propose(request.envelope());
//! assert_eq!(session.answered(&request, answer)?, "1");
//!
//! // A command for which twice does no harm needs no session, and is not remembered.
//! assert_eq!(session::decode(propose(session::plain(b"count")))?, "2");
//!
//! // The end.
//! session::decode(propose(session.close()))?;
//! assert_eq!(session::decode(propose(request.envelope())), Err(SessionError::Expired));
//! # Ok(())
//! # }
//! ```
//!
//! # What is promised
//!
//! - A command of a session is applied at most once, whatever is retried, duplicated, delayed or
//!   reordered. Once it is answered, it was applied exactly once.
//! - Every try has the same answer, as long as it is remembered: until the client acknowledges it,
//!   which [`Session`] does by itself with its next command, or until the limits are exceeded. Then
//!   the answer is a [`SessionError`], and the command is still not applied again.
//! - A session that is gone never comes back, since its id is the index of an entry. Its commands
//!   are not applied; what became of those that had no answer is for the client to find out.
//! - Commands of one session that are under way at once may take effect in any order. A client that
//!   needs an order waits for the answer in between, and across clients the log decides.
//! - Every replica remembers and forgets the same, at the same entry: [`SessionLimits`] travel in the
//!   log and in snapshots, and time does as well.
//!
//! What is *not* promised: a client that forgets its session, by a crash say, and opens another
//! has commands of unknown outcome. And sessions guard against mistakes, not against malice:
//! who may propose may also open so many sessions that all others are evicted.
//!
//! # When sessions end
//!
//! When they are closed; when they were not used for [`ttl`](SessionLimits::ttl); when there
//! are too many, and they were not used for the longest. A session is used by every command and
//! every [`keep_alive`](Session::keep_alive), new or repeated.
//!
//! The state machine must not look at a clock, so time comes out of the log. The dissertation lets
//! the leader stamp entries; here nothing but the client's envelope is at hand, and the date of
//! some client is always wrong. So no dates are used. A client says how long ago, by its own
//! monotonic clock, it got the answer that opened its session. The replicas add it to what the
//! log's clock showed when they opened it, and the log's clock is the largest sum that it has seen.
//!
//! - *No session expires early.* A client that opens its session after the entry was applied, and
//!   whose clock is not fast, claims at most what has really passed since. By induction over the
//!   log, its clock never gains on real time. Neither wrong dates nor slow networks nor late or
//!   repeated entries change that.
//! - *One wrong clock does little.* An entry moves the log's clock by a sixteenth of the `ttl` at
//!   most. What it claims beyond that is subtracted from all later claims of its session, so a
//!   clock that leaps once, however far, costs the others a sixteenth of their `ttl` once.
//! - *Sessions may live longer than the `ttl`*: when all clients were silent for long, when they live
//!   shorter than their pauses, or when only one is left, since a session never expires by what it
//!   says itself. That costs memory, which has a limit of its own.
//!
//! # What it costs
//!
//! An envelope adds about ten bytes to a command ([`MAX_OVERHEAD`] at most), one byte without a
//! session; an answer is copied once. A snapshot begins with a copy of a map of pointers, one for
//! each session, and while it writes the sessions, those that are used are copied once each. The
//! table is in memory and comes back from the snapshot and the log, so only machines that do the
//! same can be wrapped ([`KeepsItsState`]).
//!
//! # Upgrades
//!
//! A kind of envelope that a replica does not know is answered with
//! [`Unsupported`](SessionError::Unsupported) and changes nothing. Replicas that know it would go
//! another way, so all nodes are upgraded before the first client uses something new.

mod answer;
mod client;
mod envelope;
mod limits;
mod machine;
mod request;
mod retry;
mod table;
#[cfg(test)]
mod tests;
mod varint;

pub use answer::{SessionError, decode};
pub use client::Session;
pub use envelope::{MAX_OVERHEAD, limits, open, plain};
pub use limits::SessionLimits;
pub use machine::{KeepsItsState, Sessions};
pub use request::Request;
pub use retry::may_retry;
