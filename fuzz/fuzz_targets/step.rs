//! Any sequence of events on one node: it does not panic, its invariants hold, and its clone does
//! the same.
#![no_main]

use arbitrary::Arbitrary;
use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use raft_core::{
    Append, AppendReply, AppendResult, BatchId, Body, Config, Entries, Entry, Event, Instant,
    LogIndex, LogPosition, Message, NodeId, Output, Payload, Proposal, Raft, RequestId, Restored,
    Term, Ticket,
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
    Vote(u8, u8),
    VoteReply(bool),
    Append {
        prev: (u8, u8),
        terms: Vec<u8>,
        commit: u8,
        sequence: u8,
    },
    Accepted {
        sequence: u8,
        last: u8,
        durable: u8,
    },
    Rejected {
        sequence: u8,
        prev: u8,
        hint: (u8, u8),
    },
    Propose {
        incarnation: u8,
        sequence: u8,
        commands: u8,
    },
    ProposeReply {
        incarnation: u8,
        sequence: u8,
        first: Option<u8>,
    },
    ReadIndex(u8),
    ReadIndexReply(u64, u8),
}

fn index(number: u8) -> LogIndex {
    LogIndex::ZERO.plus(number.into())
}

fn term(number: u64) -> Term {
    Term::new(number).unwrap_or(Term::MAX)
}

fn position((at, of_term): (u8, u8)) -> LogPosition {
    LogPosition {
        index: index(at),
        term: term(of_term.into()),
    }
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
        Body::AppendReply(AppendReply {
            sequence: sequence.into(),
            result,
        })
    };
    match said {
        Said::PreVote(at, of_term) => Body::PreVote {
            last: position((at, of_term)),
        },
        Said::PreVoteReply(granted) => Body::PreVoteReply { granted },
        Said::Vote(at, of_term) => Body::Vote {
            last: position((at, of_term)),
        },
        Said::VoteReply(granted) => Body::VoteReply { granted },
        Said::Append {
            prev,
            terms,
            commit,
            sequence,
        } => {
            let prev = position(prev);
            let entries = entries(prev.index.next(), terms);
            Body::Append(Append {
                prev,
                entries,
                commit: index(commit),
                sequence: sequence.into(),
            })
        }
        Said::Accepted {
            sequence,
            last,
            durable,
        } => reply(
            sequence,
            AppendResult::Accepted {
                last: index(last),
                durable: index(durable),
            },
        ),
        Said::Rejected {
            sequence,
            prev,
            hint,
        } => reply(
            sequence,
            AppendResult::Rejected {
                prev: index(prev),
                hint: position(hint),
            },
        ),
        Said::Propose {
            incarnation,
            sequence,
            commands,
        } => Body::Propose {
            batch: batch(incarnation, sequence),
            commands: vec![Bytes::from_static(b"command"); commands.into()],
        },
        Said::ProposeReply {
            incarnation,
            sequence,
            first,
        } => Body::ProposeReply {
            batch: batch(incarnation, sequence),
            first: first.map(index),
        },
        Said::ReadIndex(sequence) => Body::ReadIndex {
            sequence: sequence.into(),
        },
        Said::ReadIndexReply(sequence, at) => Body::ReadIndexReply {
            sequence,
            index: index(at),
        },
    }
}

/// A node and what a host has to remember for it.
struct Subject {
    raft: Raft,
    tickets: Vec<Ticket>,
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
            What::Loaded { from, terms } => Event::Loaded {
                from: index(from),
                entries: entries(index(from), terms),
            },
            What::Propose(count) => {
                let proposals = (0..count).map(|_| Proposal {
                    request: self.request(),
                    command: Bytes::from_static(b"command"),
                });
                Event::Propose(proposals.collect())
            }
            What::Read => Event::Read(self.request()),
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

    fn request(&mut self) -> RequestId {
        self.requests += 1;
        RequestId::new(self.requests)
    }
}

fuzz_target!(|steps: Vec<Step>| {
    let config = Config::new(NodeId::new(1), (1..=3).map(NodeId::new), 1);
    let raft = Raft::new(config, Restored::default(), Instant::ORIGIN).expect("sound settings");
    let mut subject = Subject {
        raft,
        tickets: Vec::new(),
        requests: 0,
    };
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
        subject
            .tickets
            .extend(outputs.iter().filter_map(|output| match output {
                Output::Persist(write) => Some(write.ticket),
                _ => None,
            }));
    }
});
