//! What is true of all nodes together, checked as it happens.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use raft_core::{
    AppendReply, AppendResult, Body, Entry, Event, LogIndex, Message, NodeId, Outcome, Output,
    RequestId, RoleKind, Term,
};

use super::host::{Apply, Host, SnapshotJob};

/// The network, the requests, and the history.
#[derive(Default)]
pub(crate) struct World {
    /// Messages under way, in the order of sending.
    pub(crate) bag: VecDeque<Message>,
    /// Links that lose everything, as (from, to).
    pub(crate) cut: BTreeSet<(u64, u64)>,
    /// Each request with the node that it was made at, and its answer.
    pub(crate) requests: BTreeMap<RequestId, (u64, Option<Outcome>)>,
    leaders: BTreeMap<Term, NodeId>,
    committed: BTreeMap<LogIndex, Entry>,
    /// All `Append`s ever sent.
    pub(crate) appends: usize,
    /// All entries in them.
    pub(crate) entries: usize,
}

impl World {
    /// Takes the outputs of one step.
    pub(crate) fn take(&mut self, host: &mut Host, event: &Event, outputs: Vec<Output>) {
        let me = host.id;
        let mut appends: BTreeMap<NodeId, usize> = BTreeMap::new();
        let mut persists = 0;
        for output in outputs {
            match output {
                Output::Persist(write) => {
                    persists += 1;
                    host.writes.push_back(write);
                }
                Output::Send(message) => {
                    check_promises(host, &message);
                    check_encoding(&message);
                    if let Body::Append(append) = &message.body {
                        *appends.entry(message.to).or_default() += 1;
                        self.appends += 1;
                        self.entries += append.entries.len();
                    }
                    if !self.cut.contains(&(me.get(), message.to.get())) {
                        self.bag.push_back(message);
                    }
                }
                Output::Apply(run) => {
                    let next = run.first().map(|entry| entry.index.get());
                    assert_eq!(next, Some(host.handed_out + 1), "in order");
                    host.handed_out += run.len() as u64;
                    for entry in run.iter() {
                        let first = self.committed.entry(entry.index).or_insert(entry.clone());
                        assert_eq!(first, entry, "state machine safety");
                    }
                    host.applies.push_back(Apply::Run(run));
                }
                Output::Restore(snapshot) => {
                    host.handed_out = snapshot.position.index.get();
                    host.applies.push_back(Apply::Restore(snapshot));
                }
                Output::ReadSnapshot { snapshot, offset, max_bytes } => {
                    let job = SnapshotJob::Read { snapshot, offset, max_bytes };
                    host.snapshot_jobs.push_back(job);
                }
                Output::WriteSnapshot(piece) => {
                    host.snapshots_begun += usize::from(piece.offset == 0);
                    let job = SnapshotJob::Write(*piece);
                    host.snapshot_jobs.push_back(job);
                }
                Output::DropSnapshot(snapshot) => host.drop_snapshot(&snapshot),
                Output::Load { from, through, max_bytes } => {
                    host.loads_asked += 1;
                    host.loads.push_back((from, through, max_bytes));
                }
                Output::Done { request, outcome } => self.answer(request, outcome),
                Output::Notice(notice) => host.notices.push(notice),
            }
        }
        assert!(persists <= 1, "one write for each step");
        assert!(appends.values().all(|sent| *sent == 1), "one Append for each peer: {event:?}");
        self.note_leader(host);
    }

    fn answer(&mut self, request: RequestId, outcome: Outcome) {
        let slot = &mut self.requests.get_mut(&request).expect("a request that was made").1;
        assert_eq!(slot.replace(outcome), None, "{request:?} is answered twice");
    }

    fn note_leader(&mut self, host: &Host) {
        let Some(status) = host.raft.as_ref().map(raft_core::Raft::status) else {
            return;
        };
        if status.role == RoleKind::Leader {
            let leader = *self.leaders.entry(status.term).or_insert(status.id);
            assert_eq!(leader, status.id, "one leader for {}", status.term);
        }
    }

    /// The entries that any state machine was given.
    pub(crate) fn committed(&self) -> Vec<Entry> {
        self.committed.values().cloned().collect()
    }

    /// The requests of a node that has crashed get no answer.
    pub(crate) fn forget_requests_of(&mut self, node: u64) {
        self.requests.retain(|_, (at, answer)| *at != node || answer.is_some());
    }
}

/// What is sent can be read by others.
fn check_encoding(message: &Message) {
    let mut bytes = bytes::BytesMut::new();
    message.encode(&mut bytes);
    assert_eq!(Message::decode(bytes.freeze()).as_ref(), Ok(message), "encoded and decoded");
}

/// Nothing that a message promises may be lost by a crash (R005, R038).
fn check_promises(host: &Host, message: &Message) {
    let disk = &host.disk;
    assert_eq!(message.term, disk.hard_state.term, "the term is durable before it is visible");
    match &message.body {
        Body::Vote { last, .. } => {
            assert_eq!(disk.hard_state.vote, Some(message.from), "a candidate's own vote");
            assert!(disk.last() >= last.index.get(), "a candidate's log");
        }
        Body::VoteReply { granted: true } => {
            assert_eq!(disk.hard_state.vote, Some(message.to), "a vote");
        }
        Body::AppendReply(AppendReply {
            result: AppendResult::Accepted { durable, .. }, ..
        }) => {
            let covered = disk.newest_snapshot().map_or(0, |it| it.position.index.get());
            assert!(disk.last().max(covered) >= durable.get(), "acknowledged entries");
        }
        _ => {}
    }
}
