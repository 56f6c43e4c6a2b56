//! Properties under arbitrary inputs: whatever a node is told, it does not panic, keeps its
//! invariants and stays deterministic.

mod common;

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use bytes::Bytes;
use common::*;
use proptest::prelude::*;
use proptest::sample::Index;
use raft_core::{
    Append, AppendReply, AppendResult, Body, Config, Control, ControlResult, Entries, Entry, Event,
    HardState, Instant, LogIndex, LogPosition, Membership, Message, Output, Proposal, Raft,
    Refusal, RequestId, Restored, Snapshot, SnapshotChunk, SnapshotPiece, SnapshotReply, StoredLog,
    Term, TermStart, Ticket,
};

/// Mostly small numbers, so that they meet, and some at the ends of their range.
fn number(largest: u64) -> impl Strategy<Value = u64> {
    prop_oneof![12 => 0..12_u64, 1 => (0..3_u64).prop_map(move |n| largest - n), 1 => 0..=largest]
}

fn any_term() -> impl Strategy<Value = Term> {
    number(Term::MAX.get()).prop_map(term)
}

fn any_index() -> impl Strategy<Value = LogIndex> {
    number(LogIndex::MAX.get()).prop_map(index)
}

/// Also positions that no log has.
fn any_position() -> impl Strategy<Value = LogPosition> {
    (any_index(), any_term()).prop_map(|(index, term)| LogPosition { index, term })
}

/// Runs of small terms that begin anywhere.
fn any_entries() -> impl Strategy<Value = Entries> {
    let terms = prop::collection::vec(1..8_u64, 0..6);
    (any_index(), terms).prop_map(|(first, mut terms)| {
        terms.sort_unstable();
        let first = first.get().clamp(1, LogIndex::MAX.get() - 10);
        let items: Vec<(u64, &str)> = terms.into_iter().map(|term| (term, "c")).collect();
        entries(first, &items)
    })
}

/// An `Append` that is well-formed, or as odd as the types allow.
fn any_append() -> impl Strategy<Value = Append> {
    let sound = (0..8_u64, prop::collection::vec(1..6_u64, 0..4), 0..12_u64, 0..6_u64);
    let sound = sound.prop_map(|(prev, mut terms, commit, sequence)| {
        terms.sort_unstable();
        let prev_term =
            if prev == 0 { 0 } else { terms.first().map_or(1, |first| (*first).min(2)) };
        let content = |(n, term): (usize, &u64)| {
            let command = ["c", "c", "{1 2 3}", "{1 2 | 3 + 4}"][(n + prev as usize) % 4];
            (*term, command)
        };
        let items: Vec<(u64, &str)> = terms.iter().enumerate().map(content).collect();
        let entries = entries(prev + 1, &items);
        let commit = index(commit.min(prev + entries.len() as u64));
        Append { prev: at(prev, prev_term), entries, commit, sequence }
    });
    let odd = (any_position(), any_entries(), any_index(), any::<u64>());
    let odd = odd.prop_map(|(prev, entries, commit, sequence)| Append {
        prev,
        entries,
        commit,
        sequence,
    });
    prop_oneof![4 => sound, 1 => odd]
}

fn any_members() -> impl Strategy<Value = Membership> {
    prop::sample::select(vec![
        "{1 2 3 + 4}",
        "{1 2 3}",
        "{1 2 4}",
        "{1}",
        "{2 3}",
        "{1 2 | 3 + 4}",
        "{1 | 1 2}",
    ])
    .prop_map(members)
}

/// Mostly snapshots whose content is a number of times the same byte.
fn any_snapshot() -> impl Strategy<Value = Snapshot> {
    (any_position(), any_members(), 0..5_u64, prop::bool::weighted(0.8)).prop_map(
        |(position, members, size, sound)| {
            let checksum = crc32fast::hash(&SNAPSHOT[..size as usize]);
            let checksum = if sound { checksum } else { 0 };
            Snapshot { position, membership: Arc::new(members), size, checksum }
        },
    )
}

const SNAPSHOT: &[u8] = b"sssss";

fn any_chunk() -> impl Strategy<Value = Body> {
    (any_snapshot(), number(6), 0..4_usize, number(u64::MAX)).prop_map(
        |(snapshot, offset, len, sequence)| {
            let data = Bytes::from_static(&SNAPSHOT[..len]);
            Body::SnapshotChunk(Box::new(SnapshotChunk { snapshot, offset, data, sequence }))
        },
    )
}

fn any_control() -> impl Strategy<Value = Control> {
    let change =
        (any_members(), proptest::option::of(any_members())).prop_map(|(target, only_if)| {
            Control::ChangeMembership { target: target.into(), only_if: only_if.map(Into::into) }
        });
    let transfer = proptest::option::of(0..5_u64)
        .prop_map(|to| Control::TransferLeadership { to: to.map(id) });
    prop_oneof![change, transfer]
}

/// What is said about snapshots and members.
fn any_late_body() -> impl Strategy<Value = Body> {
    let batch = || (0..3_u64, number(u64::MAX)).prop_map(|(life, n)| batch(life, n));
    let reply = (any_snapshot(), [number(u64::MAX), number(6), number(6)], any::<bool>());
    let result = prop_oneof![
        any_position().prop_map(ControlResult::Committed),
        Just(ControlResult::Refused(Refusal::TransferFailed)),
        Just(ControlResult::Unknown),
    ];
    prop_oneof![
        3 => any_chunk(),
        2 => reply.prop_map(|(snapshot, [sequence, received, written], gap)| {
            let (position, checksum) = (snapshot.position, snapshot.checksum);
            Body::SnapshotReply(SnapshotReply {
                sequence, position, checksum, received, written, gap,
            })
        }),
        1 => Just(Body::TimeoutNow),
        1 => (batch(), any_control())
            .prop_map(|(batch, control)| Body::Control { batch, control }),
        1 => (batch(), result).prop_map(|(batch, result)| Body::ControlReply { batch, result }),
    ]
}

fn any_body() -> impl Strategy<Value = Body> {
    prop_oneof![3 => any_early_body(), 1 => any_late_body()]
}

fn any_early_body() -> impl Strategy<Value = Body> {
    let batch = || (0..3_u64, number(u64::MAX)).prop_map(|(life, n)| batch(life, n));
    let commands = prop::collection::vec(Just(Bytes::from_static(b"c")), 0..4);
    let accepted = (any_index(), any_index())
        .prop_map(|(last, durable)| AppendResult::Accepted { last, durable });
    let rejected = (any_index(), any_position())
        .prop_map(|(prev, hint)| AppendResult::Rejected { prev, hint });
    let result = prop_oneof![accepted, rejected];
    prop_oneof![
        any_position().prop_map(|last| Body::PreVote { last }),
        any::<bool>().prop_map(|granted| Body::PreVoteReply { granted }),
        (any_position(), any::<bool>()).prop_map(|(last, transfer)| Body::Vote { last, transfer }),
        any::<bool>().prop_map(|granted| Body::VoteReply { granted }),
        any_append().prop_map(Body::Append),
        (number(u64::MAX), result, proptest::option::weighted(0.1, any_index())).prop_map(
            |(sequence, result, needs_snapshot)| {
                Body::AppendReply(AppendReply { sequence, result, needs_snapshot })
            }
        ),
        (batch(), commands).prop_map(|(batch, commands)| Body::Propose { batch, commands }),
        (batch(), proptest::option::of(any_index())).prop_map(|(batch, first)| {
            Body::ProposeReply { batch, result: first.ok_or(Refusal::Overloaded) }
        }),
        number(u64::MAX).prop_map(|sequence| Body::ReadIndex { sequence }),
        (number(u64::MAX), any_index())
            .prop_map(|(sequence, index)| Body::ReadIndexReply { sequence, index }),
    ]
}

/// What may happen to a node in a test.
#[derive(Clone, Debug)]
enum Happening {
    Wake,
    /// A made-up message; in the node's own term if asked for, so that it is not just stale.
    Made {
        from: u64,
        to: u64,
        of_term: Option<Term>,
        body: Body,
    },
    /// A message that another node has really sent.
    Delivered {
        which: Index,
        keep: bool,
    },
    Persisted(Index),
    Applied(LogIndex),
    Loaded {
        from: LogIndex,
        entries: Entries,
    },
    /// A load that was asked for, answered from the disk.
    LoadAnswered(Index),
    Propose(usize),
    Read,
    Control(Control),
    ForgetLeader,
    /// A snapshot of the state machine as it is, or one that makes no sense.
    SnapshotTaken(Option<Snapshot>),
    /// The answer to something that the store of snapshots was asked for.
    SnapshotAnswered(Index),
    StateLost,
}

fn any_happening() -> impl Strategy<Value = Happening> {
    let made = (0..5_u64, 1..=3_u64, proptest::option::weighted(0.3, any_term()), any_body());
    prop_oneof![
        2 => Just(Happening::Wake),
        6 => made.prop_map(|(from, to, of_term, body)| Happening::Made { from, to, of_term, body }),
        8 => (any::<Index>(), prop::bool::weighted(0.2))
            .prop_map(|(which, keep)| Happening::Delivered { which, keep }),
        5 => any::<Index>().prop_map(Happening::Persisted),
        2 => any_index().prop_map(Happening::Applied),
        1 => (any_index(), any_entries())
            .prop_map(|(from, entries)| Happening::Loaded { from, entries }),
        2 => any::<Index>().prop_map(Happening::LoadAnswered),
        2 => (0..4_usize).prop_map(Happening::Propose),
        1 => Just(Happening::Read),
        2 => any_control().prop_map(Happening::Control),
        1 => Just(Happening::ForgetLeader),
        2 => proptest::option::weighted(0.2, any_snapshot()).prop_map(Happening::SnapshotTaken),
        4 => any::<Index>().prop_map(Happening::SnapshotAnswered),
        1 => prop::bool::weighted(0.2)
            .prop_map(|lost| if lost { Happening::StateLost } else { Happening::Wake }),
    ]
}

/// Who it happens to, and when, in milliseconds. Time may run backward.
type Step = (u64, u64, Happening);

fn any_steps(nodes: u64, len: usize) -> impl Strategy<Value = Vec<Step>> {
    let time = prop_oneof![3 => 0..400_u64, 1 => 0..20_000_u64];
    prop::collection::vec((1..=nodes, time, any_happening()), 0..len)
}

/// A node, and everything that it ever said.
struct Subject {
    raft: Raft,
    tickets: Vec<Ticket>,
    loads: Vec<LogIndex>,
    snapshot_answers: Vec<Event>,
    entries: Vec<Entry>,
    requests: u64,
}

impl Subject {
    fn new(node: u64, restored: Restored, tiny: bool) -> Option<Self> {
        let mut config = Config::new(id(node), node);
        if tiny {
            config = config
                .max_cached_bytes(0)
                .max_append_entries(1)
                .max_in_flight_messages(1)
                .max_applying_bytes(1)
                .max_pending_requests(3)
                .max_unpersisted_bytes(200)
                .max_snapshot_chunk_bytes(1)
                .max_in_flight_snapshot_bytes(1)
                .compaction_margin(0)
                .max_held_messages(3);
        }
        let raft = Raft::new(config, restored, Instant::ORIGIN).ok()?;
        let (tickets, loads, entries) = (vec![Ticket::default()], vec![index(1)], Vec::new());
        let snapshot_answers = vec![Event::Wake];
        Some(Self { raft, tickets, loads, snapshot_answers, entries, requests: 0 })
    }

    fn event(&mut self, happening: Happening, network: &mut Vec<Message>) -> Event {
        let me = self.raft.status().id;
        match happening {
            Happening::Wake => Event::Wake,
            Happening::Made { from, to, of_term, body } => {
                let to = if to == 1 { me } else { id(to) };
                let term = of_term.unwrap_or(self.raft.status().term);
                Event::Receive(Message { from: id(from), to, term, body })
            }
            Happening::Delivered { which, keep } => {
                let mine = |m: &(usize, &Message)| m.1.to == me;
                let at: Vec<usize> = network.iter().enumerate().filter(mine).map(|m| m.0).collect();
                if at.is_empty() {
                    return Event::Wake;
                }
                let at = at[which.index(at.len())];
                Event::Receive(if keep { network[at].clone() } else { network.swap_remove(at) })
            }
            Happening::Persisted(which) => {
                Event::Persisted(self.tickets[which.index(self.tickets.len())])
            }
            Happening::Applied(index) => Event::Applied(index),
            Happening::Loaded { from, entries } => Event::Loaded { from, entries },
            Happening::LoadAnswered(which) => {
                let from = self.loads[which.index(self.loads.len())];
                let run = self.entries.iter().filter(|e| e.index >= from).take(2).cloned();
                let entries = Entries::new(run.collect()).unwrap_or_else(Entries::empty);
                Event::Loaded { from, entries }
            }
            Happening::Propose(count) => {
                Event::Propose((0..count).map(|_| self.proposal()).collect())
            }
            Happening::Read => Event::Read(self.request()),
            Happening::Control(Control::ChangeMembership { target, only_if }) => {
                Event::ChangeMembership { request: self.request(), target, only_if }
            }
            Happening::Control(Control::TransferLeadership { to }) => {
                Event::TransferLeadership { request: self.request(), to }
            }
            Happening::ForgetLeader => Event::ForgetLeader,
            Happening::SnapshotTaken(Some(odd)) => Event::SnapshotTaken(odd),
            Happening::SnapshotTaken(None) => self.take_snapshot(),
            Happening::SnapshotAnswered(which) => {
                self.snapshot_answers[which.index(self.snapshot_answers.len())].clone()
            }
            Happening::StateLost => Event::StateLost,
        }
    }

    fn take_snapshot(&self) -> Event {
        let described = self.raft.describe_snapshot(self.raft.status().applied);
        let Some((position, membership)) = described else { return Event::Wake };
        let (size, checksum) = (5, crc32fast::hash(SNAPSHOT));
        Event::SnapshotTaken(Snapshot { position, membership, size, checksum })
    }

    fn request(&mut self) -> RequestId {
        self.requests += 1;
        RequestId::new(self.requests)
    }

    fn proposal(&mut self) -> Proposal {
        Proposal { request: self.request(), command: Bytes::from_static(b"c") }
    }

    fn note(&mut self, outputs: &[Output], network: &mut Vec<Message>) {
        for output in outputs {
            match output {
                Output::Persist(write) => {
                    self.tickets.push(write.ticket);
                    if let Some(from) = write.truncate_from {
                        self.entries.retain(|entry| entry.index < from);
                    }
                    self.entries.extend(write.entries.iter().cloned());
                }
                Output::Send(message) => network.push(message.clone()),
                Output::Load { from, .. } => self.loads.push(*from),
                Output::ReadSnapshot { snapshot, offset, max_bytes } => {
                    let rest = &SNAPSHOT[..snapshot.size as usize][*offset as usize..];
                    let data = Some(Bytes::from_static(&rest[..rest.len().min(*max_bytes)]));
                    let (snapshot, offset) = (snapshot.clone(), *offset);
                    self.snapshot_answers.push(Event::SnapshotRead { snapshot, offset, data });
                }
                Output::WriteSnapshot(piece) => {
                    let SnapshotPiece { snapshot, attempt, offset, data } = &**piece;
                    let through = offset + data.len() as u64;
                    let (snapshot, attempt) = (snapshot.clone(), *attempt);
                    self.snapshot_answers.push(Event::SnapshotWritten {
                        snapshot,
                        attempt,
                        through,
                    });
                }
                Output::Apply(_)
                | Output::Done { .. }
                | Output::Notice(_)
                | Output::Restore(_)
                | Output::DropSnapshot(_) => {}
            }
        }
    }
}

fn hash(raft: &Raft) -> u64 {
    let mut hasher = DefaultHasher::new();
    raft.hash(&mut hasher);
    hasher.finish()
}

/// Steps a node and its clone in the two ways there are, and compares them in every way there is.
fn step_twice(
    subject: &mut Subject,
    input: raft_core::Input,
) -> Result<Vec<Output>, TestCaseError> {
    let mut twin = subject.raft.clone();
    let outputs = subject.raft.step(input.clone());
    prop_assert_eq!(subject.raft.check_invariants(), Ok(()));
    let before = vec![Output::Apply(Entries::empty())];
    let mut buffer = before.clone();
    twin.step_into(input, &mut buffer);
    prop_assert_eq!(&buffer[..1], &before[..]);
    prop_assert_eq!(&buffer[1..], &outputs[..]);
    prop_assert_eq!(&twin, &subject.raft);
    prop_assert_eq!(hash(&twin), hash(&subject.raft));
    Ok(outputs)
}

/// Requests get one answer at most, and a step has one write and one `Append` for each peer.
fn check_outputs(outputs: &[Output], answered: &mut Vec<RequestId>) -> Result<(), TestCaseError> {
    let mut appends = Vec::new();
    let mut writes = 0;
    for output in outputs {
        match output {
            Output::Done { request, .. } => {
                prop_assert!(!answered.contains(request), "{request:?} is answered twice");
                answered.push(*request);
            }
            Output::Persist(_) => writes += 1,
            Output::Send(message) if is_append(message) => {
                prop_assert!(!appends.contains(&message.to), "two messages to {:?}", message.to);
                appends.push(message.to);
            }
            _ => {}
        }
    }
    prop_assert!(writes <= 1);
    Ok(())
}

fn founded() -> Option<Snapshot> {
    Some(Snapshot::initial(voters(&[1, 2, 3]).learner(id(4), "")))
}

fn any_restored() -> impl Strategy<Value = Restored> {
    let start = (any_index(), any_term()).prop_map(|(first, term)| TermStart { first, term });
    let odd = (any_term(), prop::collection::vec(start, 0..3), any_index(), any_index());
    let odd = odd.prop_map(|(term, terms, last, applied)| {
        let hard_state = HardState { term, vote: None };
        let log = StoredLog { hard_state, terms, last, ..StoredLog::default() };
        Restored { log, snapshot: founded(), applied }
    });
    let sound = (any_term(), 1..4_u64, 0..6_u64, any_index(), 0..3_u64);
    let sound = sound.prop_map(|(hard_term, first_term, second, last, applied)| {
        let mut terms = vec![TermStart { first: index(1), term: term(first_term) }];
        if second > 1 {
            terms.push(TermStart { first: index(second), term: term(first_term + 1) });
        }
        let hard_state = HardState { term: hard_term, vote: Some(id(2)) };
        let log = StoredLog { hard_state, terms, last, ..StoredLog::default() };
        Restored { log, snapshot: founded(), applied: index(applied) }
    });
    let blank = Restored { snapshot: founded(), ..Restored::default() };
    prop_oneof![2 => Just(blank), 2 => sound, 1 => odd]
}

fn run(nodes: Vec<Subject>, steps: Vec<Step>) -> Result<(), TestCaseError> {
    let mut nodes = nodes;
    let mut network = Vec::new();
    let mut answered = vec![Vec::new(); nodes.len()];
    let mut clock = 0_u64;
    for (n, (node, time, happening)) in steps.into_iter().enumerate() {
        let at_node = node as usize % nodes.len();
        let subject = &mut nodes[at_node];
        let event = subject.event(happening, &mut network);
        // Every fifth step the clock of the host jumps back to its start.
        clock += time;
        let at = if n % 5 == 4 { 0 } else { clock };
        let outputs = step_twice(subject, event.at(Instant::from_nanos(at * 1_000_000)))?;
        check_outputs(&outputs, &mut answered[at_node])?;
        subject.note(&outputs, &mut network);
    }
    Ok(())
}

proptest! {
    /// R018, R148, C90, C93: nonsense of any kind is survived.
    #[test]
    fn a_lone_node_survives_anything(
        restored in any_restored(),
        tiny in any::<bool>(),
        steps in any_steps(1, 80),
    ) {
        if let Some(subject) = Subject::new(1, restored, tiny) {
            run(vec![subject], steps)?;
        }
    }

    /// The same with peers that give sensible answers between the nonsense, so that there are
    /// elections and leaders.
    #[test]
    fn three_nodes_survive_anything(tiny in any::<bool>(), steps in any_steps(3, 150)) {
        let nodes = (1..=3).filter_map(|node| Subject::new(node, Restored { snapshot: founded(), ..Restored::default() }, tiny));
        run(nodes.collect(), steps)?;
    }

    /// A leader is the role with the most to get wrong.
    #[test]
    fn a_leader_survives_anything(
        tiny in any::<bool>(),
        answers in prop::collection::vec(any_happening(), 0..60),
    ) {
        let mut subject = Subject::new(1, Restored { snapshot: founded(), ..Restored::default() }, tiny).unwrap();
        let hears = |from, of_term, body| Event::Receive(message(from, 1, of_term, body));
        let timeout = subject.raft.deadline().unwrap();
        let opening = [Event::Wake, hears(2, 0, pre_vote_reply(true))];
        let mut network = Vec::new();
        for event in opening {
            let outputs = subject.raft.step(event.at(timeout));
            subject.note(&outputs, &mut network);
        }
        let vote = *subject.tickets.last().unwrap();
        for event in [Event::Persisted(vote), hears(2, 1, vote_reply(true))] {
            let outputs = subject.raft.step(event.at(timeout));
            subject.note(&outputs, &mut network);
        }
        prop_assert_eq!(subject.raft.status().role, raft_core::RoleKind::Leader);
        let steps = answers.into_iter().map(|happening| (1, 10, happening)).collect();
        run(vec![subject], steps)?;
    }
}
