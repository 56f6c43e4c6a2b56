//! Any sequence of events on one node: it does not panic, its invariants hold, and its clone does
//! the same.
#![no_main]

use std::sync::Arc;

use arbitrary::Arbitrary;
use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use raft_core::{
    Append, AppendReply, AppendResult, BatchId, Body, Config, Control, ControlResult, Entries,
    Entry, Event, Instant, LogIndex, LogPosition, Membership, Message, NodeId, Output, Payload,
    Proposal, Raft, Refusal, RequestId, Restored, Snapshot, SnapshotChunk, SnapshotPiece,
    SnapshotReply, Term, Ticket,
};

/// What happens, and how many milliseconds after the last time.
#[derive(Arbitrary, Debug)]
struct Step {
    millis: u16,
    what: What,
}

#[derive(Arbitrary, Debug)]
enum What {
    Wake,
    /// Of the tickets so far, counted from the newest.
    Persisted(u8),
    Applied(u8),
    Loaded {
        from: u8,
        terms: Vec<u8>,
    },
    Propose(u8),
    Read,
    Ask(Asked),
    ForgetLeader,
    StateLost,
    TakeSnapshot,
    /// Of what the store of snapshots was asked so far, counted from the newest.
    SnapshotAnswered(u8),
    /// Relative to the node's own term, so that many messages are neither stale nor too far ahead.
    Receive {
        from: u8,
        ahead: i8,
        said: Said,
    },
    ReceiveBytes(Vec<u8>),
}

#[derive(Arbitrary, Debug)]
enum Said {
    PreVote(u8, u8),
    PreVoteReply(bool),
    Vote(u8, u8, bool),
    VoteReply(bool),
    Append { prev: (u8, u8), terms: Vec<u8>, commit: u8, sequence: u8 },
    Accepted { sequence: u8, last: u8, durable: u8 },
    Rejected { sequence: u8, prev: u8, hint: (u8, u8) },
    Propose { incarnation: u8, sequence: u8, commands: u8 },
    ProposeReply { incarnation: u8, sequence: u8, first: Option<u8> },
    ReadIndex(u8),
    ReadIndexReply(u64, u8),
    SnapshotChunk { snapshot: Content, offset: u8, bytes: u8, sequence: u8 },
    SnapshotReply { snapshot: Content, received: u8, written: u8, sequence: u8, gap: bool },
    TimeoutNow,
    Control(Asked),
    ControlReply(u8, bool),
}

/// A snapshot whose content is so many times the same byte.
#[derive(Arbitrary, Debug)]
struct Content {
    last: (u8, u8),
    voters: Vec<u8>,
    size: u8,
    sound: bool,
}

#[derive(Arbitrary, Debug)]
enum Asked {
    Change(Vec<u8>, Vec<u8>, bool),
    Transfer(Option<u8>),
}

fn index(number: u8) -> LogIndex {
    LogIndex::ZERO.plus(number.into())
}

fn term(number: u64) -> Term {
    Term::new(number).unwrap_or(Term::MAX)
}

fn position((at, of_term): (u8, u8)) -> LogPosition {
    LogPosition { index: index(at), term: term(of_term.into()) }
}

fn entries(first: LogIndex, mut terms: Vec<u8>) -> Entries {
    terms.sort_unstable();
    let entry = |(n, of_term): (u64, u8)| Entry {
        term: term(of_term.into()),
        index: first.plus(n),
        payload: Payload::Command(Bytes::from_static(b"command")),
    };
    Entries::new((0..).zip(terms).map(entry).collect()).unwrap_or_else(Entries::empty)
}

fn body(said: Said) -> Body {
    let batch = |incarnation: u8, sequence: u8| BatchId {
        incarnation: incarnation.into(),
        sequence: sequence.into(),
    };
    let reply = |sequence: u8, result| {
        Body::AppendReply(AppendReply { sequence: sequence.into(), result, needs_snapshot: None })
    };
    match said {
        Said::PreVote(at, of_term) => Body::PreVote { last: position((at, of_term)) },
        Said::PreVoteReply(granted) => Body::PreVoteReply { granted },
        Said::Vote(at, of_term, transfer) => Body::Vote { last: position((at, of_term)), transfer },
        Said::VoteReply(granted) => Body::VoteReply { granted },
        Said::Append { prev, terms, commit, sequence } => {
            let prev = position(prev);
            let entries = entries(prev.index.next(), terms);
            Body::Append(Append { prev, entries, commit: index(commit), sequence: sequence.into() })
        }
        Said::Accepted { sequence, last, durable } => {
            reply(sequence, AppendResult::Accepted { last: index(last), durable: index(durable) })
        }
        Said::Rejected { sequence, prev, hint } => {
            reply(sequence, AppendResult::Rejected { prev: index(prev), hint: position(hint) })
        }
        Said::Propose { incarnation, sequence, commands } => Body::Propose {
            batch: batch(incarnation, sequence),
            commands: vec![Bytes::from_static(b"command"); commands.into()],
        },
        Said::ProposeReply { incarnation, sequence, first } => Body::ProposeReply {
            batch: batch(incarnation, sequence),
            result: first.map(index).ok_or(Refusal::Overloaded),
        },
        Said::ReadIndex(sequence) => Body::ReadIndex { sequence: sequence.into() },
        Said::ReadIndexReply(sequence, at) => Body::ReadIndexReply { sequence, index: index(at) },
        Said::SnapshotChunk { snapshot, offset, bytes, sequence } => {
            Body::SnapshotChunk(Box::new(SnapshotChunk {
                snapshot: described(snapshot),
                offset: offset.into(),
                data: vec![BYTE; bytes.into()].into(),
                sequence: sequence.into(),
            }))
        }
        Said::SnapshotReply { snapshot, received, written, sequence, gap } => {
            let snapshot = described(snapshot);
            Body::SnapshotReply(SnapshotReply {
                sequence: sequence.into(),
                position: snapshot.position,
                checksum: snapshot.checksum,
                received: received.into(),
                written: written.into(),
                gap,
            })
        }
        Said::TimeoutNow => Body::TimeoutNow,
        Said::Control(asked) => Body::Control { batch: batch(1, 1), control: control(asked) },
        Said::ControlReply(sequence, unknown) => Body::ControlReply {
            batch: batch(0, sequence),
            result: if unknown {
                ControlResult::Unknown
            } else {
                ControlResult::Refused(Refusal::TransferFailed)
            },
        },
    }
}

const BYTE: u8 = 7;

fn members(voters: Vec<u8>, learners: Vec<u8>) -> Membership {
    let voters = Membership::of_voters(voters.into_iter().map(|id| NodeId::new(id.into())));
    learners.into_iter().fold(voters, |members, id| members.learner(NodeId::new(id.into()), ""))
}

fn described(content: Content) -> Snapshot {
    let bytes = vec![BYTE; content.size.into()];
    Snapshot {
        position: position(content.last),
        membership: Arc::new(members(content.voters, Vec::new())),
        size: content.size.into(),
        checksum: if content.sound { crc32fast::hash(&bytes) } else { 0 },
    }
}

fn control(asked: Asked) -> Control {
    match asked {
        Asked::Change(voters, learners, conditional) => {
            let target = members(voters, learners);
            let only_if = conditional.then(|| target.clone());
            Control::ChangeMembership { target: target.into(), only_if: only_if.map(Into::into) }
        }
        Asked::Transfer(to) => {
            Control::TransferLeadership { to: to.map(|id| NodeId::new(id.into())) }
        }
    }
}

/// A node and what a host has to remember for it.
struct Subject {
    raft: Raft,
    tickets: Vec<Ticket>,
    /// What the store of snapshots has to say.
    answers: Vec<Event>,
    requests: u64,
}

impl Subject {
    fn event(&mut self, what: What) -> Option<Event> {
        Some(match what {
            What::Wake => Event::Wake,
            What::Persisted(back) => {
                let newest = self.tickets.len().checked_sub(1 + usize::from(back))?;
                Event::Persisted(*self.tickets.get(newest)?)
            }
            What::Applied(at) => Event::Applied(index(at)),
            What::Loaded { from, terms } => {
                Event::Loaded { from: index(from), entries: entries(index(from), terms) }
            }
            What::Propose(count) => {
                let proposals = (0..count).map(|_| Proposal {
                    request: self.request(),
                    command: Bytes::from_static(b"command"),
                });
                Event::Propose(proposals.collect())
            }
            What::Read => Event::Read(self.request()),
            What::Ask(asked) => {
                let request = self.request();
                match control(asked) {
                    Control::ChangeMembership { target, only_if } => {
                        Event::ChangeMembership { request, target, only_if }
                    }
                    Control::TransferLeadership { to } => Event::TransferLeadership { request, to },
                }
            }
            What::ForgetLeader => Event::ForgetLeader,
            What::StateLost => Event::StateLost,
            What::TakeSnapshot => {
                let applied = self.raft.status().applied;
                let (position, membership) = self.raft.describe_snapshot(applied)?;
                let bytes = [BYTE; 9];
                let (size, checksum) = (9, crc32fast::hash(&bytes));
                Event::SnapshotTaken(Snapshot { position, membership, size, checksum })
            }
            What::SnapshotAnswered(back) => {
                let newest = self.answers.len().checked_sub(1 + usize::from(back))?;
                self.answers.get(newest)?.clone()
            }
            What::Receive { from, ahead, said } => {
                let own = self.raft.status().term.get();
                Event::Receive(Message {
                    from: NodeId::new(from.into()),
                    to: NodeId::new(1),
                    term: term(own.saturating_add_signed(ahead.into())),
                    body: body(said),
                })
            }
            What::ReceiveBytes(bytes) => Event::Receive(Message::decode(bytes.into()).ok()?),
        })
    }

    fn note(&mut self, output: Output) {
        match output {
            Output::Persist(write) => self.tickets.push(write.ticket),
            Output::ReadSnapshot { snapshot, offset, max_bytes } => {
                let rest = snapshot.size.saturating_sub(offset).min(max_bytes as u64);
                let data = Some(vec![BYTE; rest as usize].into());
                self.answers.push(Event::SnapshotRead { snapshot, offset, data });
            }
            Output::WriteSnapshot(piece) => {
                let SnapshotPiece { snapshot, attempt, offset, data } = *piece;
                let through = offset + data.len() as u64;
                self.answers.push(Event::SnapshotWritten { snapshot, attempt, through });
            }
            _ => {}
        }
    }

    fn request(&mut self) -> RequestId {
        self.requests += 1;
        RequestId::new(self.requests)
    }
}

fuzz_target!(|steps: Vec<Step>| {
    let config = Config::new(NodeId::new(1), 1).compaction_margin(1);
    let founders = Membership::of_voters((1..=3).map(NodeId::new));
    let restored = Restored::founding(founders);
    let raft = Raft::new(config, restored, Instant::ORIGIN).expect("sound settings");
    let mut subject = Subject { raft, tickets: Vec::new(), answers: Vec::new(), requests: 0 };
    let mut clock = 0;
    for Step { millis, what } in steps {
        let Some(event) = subject.event(what) else {
            continue;
        };
        clock += u64::from(millis) * 1_000_000;
        let input = event.at(Instant::from_nanos(clock));
        let mut twin = subject.raft.clone();
        let outputs = subject.raft.step(input.clone());
        assert_eq!(outputs, twin.step(input));
        assert_eq!(subject.raft, twin);
        assert_eq!(subject.raft.check_invariants(), Ok(()));
        for output in outputs {
            subject.note(output);
        }
    }
});
