//! Three members and what lies between them. The members keep what they have to keep; their log is
//! thought to be in flash, so this host keeps nothing of it.

use alloc::collections::VecDeque;
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;
use core::hint::black_box;

use bytes::{Bytes, BytesMut};
use raft_core::{
    Config, ConfigError, Entries, Event, Instant, LogIndex, Membership, Message, NodeId, Outcome,
    Output, Proposal, Raft, RequestId, Restored, RoleKind, Snapshot,
};

const MEMBERS: u64 = 3;
const SMALL_COMMAND: usize = 64;
const LARGEST_COMMAND: usize = 256;
const SNAPSHOT_BYTES: u64 = 1000;

/// Limits for a node with little memory.
fn config(id: NodeId) -> Config {
    Config::new(id, id.get())
        .read_leases(1000)
        .compaction_margin(4)
        .max_snapshot_chunk_bytes(512)
        .max_in_flight_snapshot_bytes(1024)
        .max_append_bytes(512)
        .max_append_entries(8)
        .max_in_flight_messages(4)
        .max_in_flight_bytes(1024)
        .max_command_bytes(LARGEST_COMMAND)
        .max_uncommitted_bytes(2048)
        .max_unpersisted_bytes(2048)
        .max_cached_bytes(1024)
        .max_applying_bytes(1024)
        .max_pending_requests(16)
        .max_held_messages(8)
}

pub(crate) struct Group {
    members: Vec<Raft>,
    inbox: VecDeque<(usize, Event)>,
    now: Instant,
    /// Nothing that is sent arrives.
    cut: bool,
    /// No state machine ever finishes.
    machines_hang: bool,
    /// No disk ever finishes.
    disks_hang: bool,
    requests: u64,
    refused: bool,
}

impl Group {
    pub(crate) fn found() -> Result<Self, ConfigError> {
        let ids = || (1..=MEMBERS).map(NodeId::new);
        let start = |id| {
            let restored = Restored::founding(Membership::of_voters(ids()));
            Raft::new(black_box(config(id)), black_box(restored), Instant::ORIGIN)
        };
        Ok(Self {
            members: ids().map(start).collect::<Result<_, _>>()?,
            inbox: VecDeque::new(),
            now: Instant::ORIGIN,
            cut: false,
            machines_hang: false,
            disks_hang: false,
            requests: 0,
            refused: false,
        })
    }

    /// Lets time pass until somebody leads.
    pub(crate) fn elect(&mut self) {
        while self.leader().is_none() {
            self.wait();
        }
    }

    /// Lets some heartbeats pass.
    pub(crate) fn rest(&mut self) {
        (0..50).for_each(|_| self.wait());
    }

    /// Commits so many commands.
    pub(crate) fn commit(&mut self, commands: usize) {
        for _ in 0..commands {
            self.propose(self.leader().unwrap_or_default(), SMALL_COMMAND);
        }
    }

    /// Fills all that waits in the leader or in a follower, until it takes no more.
    pub(crate) fn fill(&mut self, leads: bool) {
        self.machines_hang = true;
        self.commit(32);
        self.disks_hang = true;
        self.until_refused(self.leader().unwrap_or_default(), |group, node| {
            group.propose(node, LARGEST_COMMAND);
        });
        self.cut = true;
        let full = self.one(leads);
        self.until_refused(full, |group, node| group.propose(node, LARGEST_COMMAND));
        self.until_refused(full, |group, node| {
            let request = group.request();
            group.happen(node, Event::Read(request));
        });
    }

    /// Has every part of the core do something, for the sake of the stack.
    pub(crate) fn use_everything(mut self) {
        self.elect();
        self.commit(32);
        self.take_snapshot();
        let (leader, follower) = (self.one(true), self.one(false));
        self.happen(follower, Event::StateLost);
        self.rest();
        let request = self.request();
        self.happen(follower, Event::Read(request));
        let request = self.request();
        self.happen(leader, Event::TransferLeadership { request, to: None });
        self.rest();
        let request = self.request();
        let target = Membership::of_voters([1, 2].map(NodeId::new));
        let event = Event::ChangeMembership { request, target: Arc::new(target), only_if: None };
        self.happen(self.one(true), event);
        self.rest();
        self.happen(self.one(false), Event::ForgetLeader);
        self.rest();
        black_box(self.members.iter().map(Raft::status).collect::<Vec<_>>());
    }

    /// What is left when the others are gone.
    pub(crate) fn into_one(mut self, leads: bool) -> Raft {
        let one = self.one(leads);
        self.members.swap_remove(one)
    }

    fn leader(&self) -> Option<usize> {
        self.members.iter().position(|it| it.status().role == RoleKind::Leader)
    }

    /// The leader, or a follower.
    fn one(&self, leads: bool) -> usize {
        let leader = self.leader().unwrap_or_default();
        if leads { leader } else { (leader + 1) % self.members.len() }
    }

    fn request(&mut self) -> RequestId {
        self.requests += 1;
        RequestId::new(self.requests)
    }

    fn propose(&mut self, node: usize, bytes: usize) {
        let command = Bytes::from(vec![0x5a; bytes]);
        let proposal = Proposal { request: self.request(), command };
        self.happen(node, Event::Propose(vec![proposal]));
    }

    fn until_refused(&mut self, node: usize, mut ask: impl FnMut(&mut Self, usize)) {
        self.refused = false;
        while !self.refused {
            ask(self, node);
        }
    }

    fn take_snapshot(&mut self) {
        for node in 0..self.members.len() {
            let applied = self.members[node].status().applied;
            if let Some((position, membership)) = self.members[node].describe_snapshot(applied) {
                let (size, checksum) = (SNAPSHOT_BYTES, 0);
                let snapshot = Snapshot { position, membership, size, checksum };
                self.happen(node, Event::SnapshotTaken(snapshot));
            }
        }
    }

    /// The next deadline comes.
    fn wait(&mut self) {
        let deadlines = self.members.iter().enumerate();
        let next = deadlines.filter_map(|(node, it)| Some((it.deadline()?, node))).min();
        if let Some((deadline, node)) = next {
            self.now = self.now.max(deadline);
            self.happen(node, Event::Wake);
        }
    }

    /// Something happens, and everything that follows from it.
    fn happen(&mut self, node: usize, event: Event) {
        self.inbox.push_back((node, event));
        while let Some((node, event)) = self.inbox.pop_front() {
            // The compiler must not know which events there are, or it leaves the others out.
            let outputs = self.members[node].step(black_box(event).at(self.now));
            for output in outputs {
                self.carry_out(node, output);
            }
        }
    }

    fn carry_out(&mut self, node: usize, output: Output) {
        let answer = match output {
            Output::Send(message) => return self.send(&message),
            Output::Persist(_) if self.disks_hang => return,
            Output::Apply(_) if self.machines_hang => return,
            Output::Persist(write) => Event::Persisted(write.ticket),
            Output::Apply(entries) => {
                Event::Applied(entries.last().map_or(LogIndex::ZERO, |entry| entry.index))
            }
            Output::Restore(snapshot) => Event::Applied(snapshot.position.index),
            Output::Load { from, .. } => Event::Loaded { from, entries: Entries::empty() },
            Output::ReadSnapshot { snapshot, offset, max_bytes } => {
                let left = snapshot.size.saturating_sub(offset) as usize;
                let data = Some(Bytes::from(vec![0; left.min(max_bytes)]));
                Event::SnapshotRead { snapshot, offset, data }
            }
            Output::WriteSnapshot(piece) => {
                let through = piece.offset + piece.data.len() as u64;
                let (snapshot, attempt) = (piece.snapshot, piece.attempt);
                Event::SnapshotWritten { snapshot, attempt, through }
            }
            Output::Done { outcome: Outcome::Refused { .. }, .. } => {
                self.refused = true;
                return;
            }
            Output::Done { .. } | Output::DropSnapshot(_) | Output::Notice(_) => return,
        };
        self.inbox.push_back((node, answer));
    }

    fn send(&mut self, message: &Message) {
        if self.cut {
            return;
        }
        let mut bytes = BytesMut::new();
        message.encode(&mut bytes);
        let to = (message.to.get() - 1) as usize;
        if let Ok(message) = Message::decode(black_box(bytes.freeze()))
            && to < self.members.len()
        {
            self.inbox.push_back((to, Event::Receive(message)));
        }
    }
}
