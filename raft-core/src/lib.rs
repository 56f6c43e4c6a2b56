//! The Raft protocol as one pure function: inputs in, outputs out, and nothing else.
//!
//! [`Raft`] is a plain value. It owns no clock, no socket, no file, no thread and no hidden source
//! of randomness, so it runs in any program: on an async runtime, on threads, on a microcontroller,
//! in a simulator. What happens goes in as an [`Event`] with the time at which it happened; what is
//! to be done comes out as [`Output`]s. Whoever passes the one to the other is a *host*; the crates
//! `raft-node`, `raft-tokio`, `raft-async-std` and `raft-sync` are ready-made ones.
//!
//! ```text
//!             ┌──────────────────────────── a host ────────────────────────────┐
//!  clients ───┤  inbox ──► Raft::step(Input{at, event}) ──► Vec<Output>        │
//!             │    ▲                                           │ carried out   │
//!             │    │                                           ▼ by the host   │
//!             │    ├── Persisted ◄── disk ◄──────────── Persist(write)         │
//!             │    ├── Loaded    ◄── disk ◄──────────── Load{..}               │
//!             │    ├── Receive   ◄── network ◄───────── Send(message)          │
//!             │    ├── Applied   ◄── state machine ◄─── Apply(..), Restore(..) │
//!             │    ├── Snapshot… ◄── snapshots ◄─────── ReadSnapshot{..}, …    │
//!             │    └── Wake      ◄── timer  ◄────────── deadline()             │
//!             └────────────────────────────────────────────────────────────────┘
//! ```
//!
//! # What a host must do
//!
//! 1. Call [`step`](Raft::step) from one place at a time: one loop owns the node. A late or repeated
//!    message, completion or wake-up is harmless.
//! 2. Carry out every output. [`Output::Persist`]s are made durable in the order of their tickets,
//!    [`Output::Apply`]s and [`Output::Restore`]s reach the state machine in order, and
//!    [`Output::WriteSnapshot`]s and [`Output::DropSnapshot`]s the store in order; beyond these
//!    orders everything may run at once, and an [`Output::Send`] may be lost.
//! 3. Between steps wait for the next input or the [`deadline`](Raft::deadline), whichever comes
//!    first. Being early is harmless; being late costs availability, never safety.
//! 4. When a write fails, stop the node. There is no event for it: after a failed sync nobody knows
//!    what is on the disk. The same goes for a load that fails and for a state machine that can't
//!    apply.
//!
//! A host whose writes are durable when the call that makes them returns has less to do: with
//! [`step_durably`](Raft::step_durably) it never sees an [`Output::Persist`].
//!
//! And at the start: a fresh random seed, log and snapshot as the last life of the node left them,
//! and an id that nobody else ever had.
//!
//! # The life of a cluster
//!
//! A cluster is *founded* by some nodes that are all given the same [`Membership`], see
//! [`Restored::founding`]. From then on the members are in the log. A node that comes later starts
//! blank, with [`Restored::default`], and waits; [`Event::ChangeMembership`] at any node adds it.
//! The request names the members as they shall be, whatever the difference is: the leader brings
//! new voters up to date as learners, goes through a joint configuration, and answers when the
//! change is committed. [`Notice::Membership`] tells the host whom to connect to. A node that is
//! not a member any more finds itself missing there; stop it then. Members are named by ids that
//! are never used again: a node that has lost its disk comes back as a new member, because it has
//! forgotten its votes.
//!
//! [`Event::TransferLeadership`] lets another node lead, before a planned stop for instance.
//! [`Membership::prefer`] names nodes that shall lead if they can. A leader steps down by itself
//! when it hears of no majority, or when its own disk does not answer.
//!
//! # Snapshots
//!
//! A log that is never cut grows for ever. When the host finds that it is time, it
//!
//! 1. freezes the state of its state machine, which has applied some index,
//! 2. asks [`Raft::describe_snapshot`] what the log says of that index,
//! 3. writes the state to its disk, with the description, under a name that a crash can't leave
//!    half written, while everything else goes on,
//! 4. says [`Event::SnapshotTaken`].
//!
//! The core then drops entries, but for [`compaction_margin`](Config::compaction_margin), and when
//! a follower needs what is gone, it sends the snapshot by itself: it asks the host for pieces with
//! [`Output::ReadSnapshot`], and on the other side gives them to the host with
//! [`Output::WriteSnapshot`]. When the last piece is durable there, [`Output::Restore`] tells the
//! state machine to go on from it. There is nothing to report and nothing to time: losses, slow
//! disks, new leaders and newer snapshots are the core's business. [`Output::DropSnapshot`] says
//! when the space of a snapshot can be freed. In a cluster whose hosts keep no snapshots nobody
//! ever says that one was taken, and none of these four outputs ever comes.
//!
//! # What it gets in return
//!
//! - **Durable before visible.** A message that promises something (a vote, an acknowledgement, a
//!   newer term) comes out only after the [`Event::Persisted`] that makes the promise true, or the
//!   write within [`step_durably`](Raft::step_durably). No host can get this order wrong, because no
//!   host decides it.
//! - **One answer for every request**, and a true one: see [`Outcome`].
//! - **Reads that never lie**, on every node, without a write to the log: see [`Event::Read`].
//! - **Bounded memory.** Every queue has a limit in the [`Config`], and a request beyond a limit is
//!   refused. Of the log only a tail is in memory, and the rest is asked for with [`Output::Load`].
//! - **No panic**, whatever comes from the network, the disk or the caller. What makes no sense is
//!   dropped and counted in [`Dropped`].
//! - **Determinism.** The same configuration, seed and inputs give the same outputs. The whole
//!   state is `Clone + Eq + Hash`.
//!
//! # A host in thirty lines
//!
//! One node is a cluster too. This host has no disk worth the name and nobody to talk to, but its
//! loop is the loop of every host.
//!
//! ```
//! use std::collections::VecDeque;
//! use raft_core::{
//!     Config, Event, Instant, Membership, NodeId, Notice, Outcome, Output, Payload, Proposal, Raft,
//!     RequestId, Restored, RoleKind,
//! };
//!
//! let id = NodeId::new(1);
//! let seed = 0x5eed; // random, and another one at each start
//! let config = Config::new(id, seed);
//! let founders = Membership::of_voters([id]);
//! let mut raft = Raft::new(config, Restored::founding(founders), Instant::ORIGIN)?;
//!
//! let election = raft.deadline().expect("a follower waits for something");
//! let command = Proposal { request: RequestId::new(1), command: "x = 1".into() };
//! let mut inbox = VecDeque::from([Event::Wake.at(election)]);
//! let mut proposal = Some(command);
//! let mut machine = Vec::new();
//! while let Some(input) = inbox.pop_front() {
//!     let now = input.at;
//!     for output in raft.step(input) {
//!         match output {
//!             // Write and sync here, then say so.
//!             Output::Persist(write) => inbox.push_back(Event::Persisted(write.ticket).at(now)),
//!             Output::Apply(entries) => {
//!                 for entry in entries.iter() {
//!                     if let Payload::Command(command) = &entry.payload {
//!                         machine.push(command.clone());
//!                     }
//!                     inbox.push_back(Event::Applied(entry.index).at(now));
//!                 }
//!             }
//!             Output::Done { outcome, .. } => assert!(matches!(outcome, Outcome::Committed { .. })),
//!             Output::Notice(Notice::Leadership { role: RoleKind::Leader, .. }) => {
//!                 inbox.extend(proposal.take().map(|it| Event::Propose(vec![it]).at(now)));
//!             }
//!             Output::Notice(_) => {}
//!             _ => unreachable!("nobody to talk to, a short log, and no snapshots"),
//!         }
//!     }
//! }
//! assert_eq!(machine, ["x = 1"]);
//! # Ok::<(), raft_core::ConfigError>(())
//! ```
//!
//! # Features
//!
//! `serde` makes [`Config`], [`Restored`], [`Event`], [`Output`] and what they consist of
//! serializable, so that a host can record what goes into a node and give it to another core later;
//! `raft_node::recording` does. It needs atomic compare-and-swap.
//!
//! # Where things are
//!
//! [`Raft`] is the node, [`Config`] its settings, [`Event`] and [`Output`] what goes in and out,
//! [`Message`] what nodes say to each other and its encoding. Sections of "the paper" are those of
//! Ongaro and Ousterhout, *In search of an understandable consensus algorithm* (extended version,
//! 2014); "the dissertation" is Ongaro, *Consensus: bridging theory and practice* (2014).
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod append;
mod apply;
mod change;
mod compaction;
mod config;
mod control;
mod election;
mod entry;
mod event;
mod forward;
mod ids;
mod invariants;
mod lease;
mod log;
mod membership;
mod message;
mod outbox;
mod output;
mod progress;
mod raft;
mod random;
mod reads;
mod receiving;
mod replication;
mod requests;
mod restored;
mod role;
mod run;
mod sending;
#[cfg(feature = "serde")]
mod serialize;
mod shared;
mod snapshot;
mod status;
mod step;
mod time;
mod timers;
mod transfer;
mod wire;

pub use config::{Config, ConfigError, Inconsistency};
pub use entry::{Entries, Entry, HardState, LogPosition, Payload, TermStart, Write};
pub use event::{Event, Input, Proposal};
pub use ids::{LogIndex, NodeId, RequestId, Term, Ticket};
pub use membership::Membership;
pub use message::{
    Append, AppendReply, AppendResult, BatchId, Body, Control, ControlResult, Message,
    SnapshotChunk, SnapshotReply,
};
pub use output::{Notice, Outcome, Output, Refusal, RoleKind, SnapshotPiece};
pub use raft::Raft;
pub use restored::{Restored, StoredLog};
pub use shared::Arc;
pub use snapshot::Snapshot;
pub use status::{Dropped, PeerStatus, Status};
pub use time::Instant;
pub use wire::{DecodeError, WIRE_VERSION};
