//! One node of the model: the real core, and a disk that may lose what it was not asked to keep.

use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use raft_core::{
    Config, Entries, Entry, Event, HardState, Instant, LogIndex, Membership, Message, NodeId,
    Outcome, Output, Payload, Raft, RequestId, Restored, RoleKind, StoredLog, Term, TermStart,
    Write,
};

/// A node, with everything that a crash takes and everything that it leaves.
#[derive(Clone)]
pub(crate) struct Node {
    raft: Raft,
    disk: Disk,
    /// Writes that were not synced.
    pending: VecDeque<Write>,
    now: Instant,
    life: u64,
    /// Writes are durable at once.
    prompt: bool,
    /// What the rest tells, kept because it is asked so often.
    role: (RoleKind, Term),
    commit: LogIndex,
    log: Vec<Entry>,
}

impl Hash for Node {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (&self.raft, &self.disk, &self.pending, self.now, self.life).hash(state);
    }
}

/// What is durable.
#[derive(Clone, Debug, Default, Hash)]
struct Disk {
    hard_state: HardState,
    entries: Vec<Entry>,
}

/// What the rest of the world gets to know of a step.
#[derive(Default)]
pub(crate) struct Effects {
    pub(crate) sent: Vec<Message>,
    pub(crate) applied: Vec<Entry>,
    pub(crate) done: Vec<(RequestId, Outcome)>,
    /// Whether the log has changed, and which entries were cut from it.
    pub(crate) wrote: bool,
    pub(crate) cut: Vec<Entry>,
    /// The last entry that is committed because this leader has counted who holds it, and the
    /// members among whom it has counted.
    pub(crate) counted: Option<(LogIndex, Membership)>,
}

/// Time passes only when a timer is to run out, and then by a nanosecond or two, so that the clocks
/// add next to nothing to the number of states.
const PATIENCE: Duration = Duration::from_nanos(2);

impl Disk {
    fn carry_out(&mut self, write: &Write) {
        if let Some(hard_state) = write.hard_state {
            self.hard_state = hard_state;
        }
        if let Some(from) = write.truncate_from {
            self.entries.retain(|entry| entry.index < from);
        }
        self.entries.extend(write.entries.iter().cloned());
    }

    fn restore(&self) -> StoredLog {
        let mut terms: Vec<TermStart> = Vec::new();
        let mut memberships = Vec::new();
        for entry in &self.entries {
            if terms.last().is_none_or(|start| start.term < entry.term) {
                terms.push(TermStart { first: entry.index, term: entry.term });
            }
            if let Payload::Membership(membership) = &entry.payload {
                memberships.push((entry.index, membership.clone()));
            }
        }
        StoredLog {
            hard_state: self.hard_state,
            terms,
            last: self.entries.last().map_or(LogIndex::ZERO, |entry| entry.index),
            memberships,
            ..StoredLog::default()
        }
    }
}

impl Node {
    pub(crate) fn new(
        id: u64,
        founders: &Membership,
        adjust: fn(Config) -> Config,
        prompt: bool,
    ) -> Self {
        Self {
            raft: start(id, 0, founders, adjust, &Disk::default(), Instant::ORIGIN),
            disk: Disk::default(),
            pending: VecDeque::new(),
            now: Instant::ORIGIN,
            life: 0,
            prompt,
            role: (RoleKind::Follower, Term::ZERO),
            commit: LogIndex::ZERO,
            log: Vec::new(),
        }
    }

    /// What tells this node's state from others.
    pub(crate) fn fingerprint(&self) -> u64 {
        hash_of(self)
    }

    pub(crate) fn step(&mut self, event: Event, effects: &mut Effects) {
        let (role, commit) = (self.role, self.commit);
        let leads = role.0 == RoleKind::Leader;
        let members = if leads { self.members().clone() } else { Membership::new() };
        let mut events = vec![event];
        self.turn(&mut events, effects);
        while self.prompt
            && let Some(write) = self.pending.pop_front()
        {
            self.disk.carry_out(&write);
            events.push(Event::Persisted(write.ticket));
            self.turn(&mut events, effects);
        }
        self.raft.take_dropped();
        self.note_status();
        let still = leads && self.role == role;
        effects.counted = (still && self.commit > commit).then_some((self.commit, members));
    }

    fn note_status(&mut self) {
        let status = self.raft.status();
        self.role = (status.role, status.term);
        self.commit = status.commit;
    }

    fn turn(&mut self, events: &mut Vec<Event>, effects: &mut Effects) {
        loop {
            let mut outputs = Vec::new();
            self.raft.step_all(self.now, events.drain(..), &mut outputs);
            for output in outputs {
                self.carry_out(output, events, effects);
            }
            // More to do at once is done at once.
            let more = self.raft.deadline().is_some_and(|deadline| deadline <= self.now);
            if events.is_empty() && !more {
                break;
            }
        }
    }

    fn carry_out(&mut self, output: Output, events: &mut Vec<Event>, effects: &mut Effects) {
        match output {
            Output::Persist(write) => {
                let kept = write.truncate_from.map_or(usize::MAX, place_of);
                effects.cut.extend(self.log.drain(kept.min(self.log.len())..));
                self.log.extend(write.entries.iter().cloned());
                effects.wrote = true;
                self.pending.push_back(write);
            }
            Output::Send(message) => effects.sent.push(message),
            Output::Apply(entries) => {
                effects.applied.extend(entries.iter().cloned());
                events.extend(entries.last().map(|entry| Event::Applied(entry.index)));
            }
            Output::Done { request, outcome } => effects.done.push((request, outcome)),
            Output::Notice(_) => {}
            Output::Load { from, through, .. } => {
                let range = place_of(from)..place_of(through.next()).min(self.log.len());
                let entries = self.log.get(range).unwrap_or_default().to_vec();
                let entries = Entries::new(entries).unwrap_or_else(Entries::empty);
                events.push(Event::Loaded { from, entries });
            }
            Output::Restore(_)
            | Output::ReadSnapshot { .. }
            | Output::WriteSnapshot(_)
            | Output::DropSnapshot(_) => unreachable!("there are no snapshots"),
        }
    }

    /// A timer runs out, if one is set.
    pub(crate) fn time_out(&mut self, effects: &mut Effects) -> bool {
        let Some(deadline) = self.raft.deadline() else { return false };
        self.now = self.now.max(deadline);
        self.step(Event::Wake, effects);
        true
    }

    /// The disk completes its oldest write.
    pub(crate) fn sync(&mut self, effects: &mut Effects) -> bool {
        let Some(write) = self.pending.pop_front() else { return false };
        self.disk.carry_out(&write);
        self.step(Event::Persisted(write.ticket), effects);
        true
    }

    pub(crate) fn unsynced(&self) -> usize {
        self.pending.len()
    }

    /// Loses everything but what is durable and the first of the other writes, and starts again.
    pub(crate) fn crash(
        &mut self,
        survivors: usize,
        founders: &Membership,
        adjust: fn(Config) -> Config,
    ) {
        for write in self.pending.drain(..).take(survivors) {
            self.disk.carry_out(&write);
        }
        self.pending.clear();
        self.life += 1;
        let id = self.raft.status().id.get();
        self.raft = start(id, self.life, founders, adjust, &self.disk, self.now);
        self.log.clone_from(&self.disk.entries);
        self.note_status();
    }

    pub(crate) const fn role(&self) -> (RoleKind, Term) {
        self.role
    }

    /// What it knows to be committed.
    pub(crate) const fn commit(&self) -> LogIndex {
        self.commit
    }

    /// The members as this node knows them.
    pub(crate) fn members(&self) -> &Membership {
        self.raft.membership()
    }

    /// The log as the disk and the pending writes make it.
    pub(crate) fn log(&self) -> &[Entry] {
        &self.log
    }

    /// Whether this very entry is durable here.
    pub(crate) fn has_durable(&self, entry: &Entry) -> bool {
        self.disk.entries.iter().any(|it| it == entry)
    }
}

/// Where the entry with this index lies in a log.
fn place_of(index: LogIndex) -> usize {
    usize::try_from(index.get()).unwrap_or(usize::MAX).saturating_sub(1)
}

fn start(
    id: u64,
    life: u64,
    founders: &Membership,
    adjust: fn(Config) -> Config,
    disk: &Disk,
    now: Instant,
) -> Raft {
    let config = Config::new(NodeId::new(id), id << 8 | life)
        .election_timeout(PATIENCE)
        .heartbeat_interval(PATIENCE / 2)
        .pre_vote(false)
        .check_quorum(false);
    let founding = founders.contains(NodeId::new(id));
    let restored =
        if founding { Restored::founding(founders.clone()) } else { Restored::default() };
    let restored = Restored { log: disk.restore(), ..restored };
    Raft::new(adjust(config), restored, now).expect("the model's disks are sound")
}

pub(crate) fn hash_of(value: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}
