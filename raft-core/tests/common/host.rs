//! One node with a fake disk and a fake state machine.

use std::collections::VecDeque;

use raft_core::{
    Config, Entries, Entry, Event, HardState, Instant, LogIndex, NodeId, Notice, Output, Raft,
    Restored, StoredLog, Term, TermStart, Ticket, Write,
};

/// What survives a crash.
#[derive(Clone, Debug, Default)]
pub(crate) struct Disk {
    pub(crate) hard_state: HardState,
    pub(crate) log: Vec<Entry>,
}

impl Disk {
    /// Carries out a write as one atomic change.
    pub(crate) fn write(&mut self, write: &Write) {
        if let Some(hard_state) = write.hard_state {
            assert!(hard_state.term >= self.hard_state.term, "the term on the disk never falls");
            self.hard_state = hard_state;
        }
        if let Some(from) = write.truncate_from {
            self.log.retain(|entry| entry.index < from);
        }
        for entry in write.entries.iter() {
            assert_eq!(entry.index.get(), self.log.len() as u64 + 1, "the log has no gap");
            self.log.push(entry.clone());
        }
    }

    pub(crate) fn stored_log(&self) -> StoredLog {
        let mut terms: Vec<TermStart> = Vec::new();
        for entry in &self.log {
            if terms.last().is_none_or(|start| start.term < entry.term) {
                terms.push(TermStart { first: entry.index, term: entry.term });
            }
        }
        let last = self.log.last().map_or(LogIndex::ZERO, |entry| entry.index);
        StoredLog { hard_state: self.hard_state, terms, last }
    }

    /// Answers an [`Output::Load`].
    fn load(&self, (from, through, max_bytes): (LogIndex, LogIndex, usize)) -> Entries {
        let mut room = max_bytes;
        let wanted = self.log.iter().filter(|entry| from <= entry.index && entry.index <= through);
        let fits = |(n, entry): &(usize, &Entry)| {
            let fits = *n == 0 || entry.size() <= room;
            room = room.saturating_sub(entry.size());
            fits
        };
        let run = wanted.enumerate().take_while(fits).map(|(_, entry)| entry.clone()).collect();
        Entries::new(run).expect("a run of the log")
    }
}

/// Makes the settings of a node from the seed of one of its lives.
pub(crate) type Settings = Box<dyn Fn(u64) -> Config>;

/// A node and its surroundings.
pub(crate) struct Host {
    pub(crate) id: NodeId,
    settings: Settings,
    /// `None` while it is down.
    pub(crate) raft: Option<Raft>,
    pub(crate) clock: Instant,
    /// When an `Append` was last delivered to it.
    pub(crate) heard: Instant,
    pub(crate) disk: Disk,
    /// Writes that are not durable, oldest first.
    pub(crate) writes: VecDeque<Write>,
    pub(crate) applies: VecDeque<Entries>,
    pub(crate) loads: VecDeque<(LogIndex, LogIndex, usize)>,
    /// All that the state machine has got since it was last empty.
    pub(crate) machine: Vec<Entry>,
    /// Whether the state machine survives a crash.
    pub(crate) keeps_machine: bool,
    pub(crate) slow_disk: bool,
    pub(crate) slow_machine: bool,
    pub(crate) slow_loads: bool,
    pub(crate) notices: Vec<Notice>,
    pub(crate) loads_asked: usize,
    pub(crate) lives: u64,
}

impl Host {
    pub(crate) fn new(settings: Settings) -> Self {
        let mut host = Self {
            id: settings(0).id(),
            settings,
            raft: None,
            clock: Instant::ORIGIN,
            heard: Instant::ORIGIN,
            disk: Disk::default(),
            writes: VecDeque::new(),
            applies: VecDeque::new(),
            loads: VecDeque::new(),
            machine: Vec::new(),
            keeps_machine: false,
            slow_disk: false,
            slow_machine: false,
            slow_loads: false,
            notices: Vec::new(),
            loads_asked: 0,
            lives: 0,
        };
        host.start();
        host
    }

    /// Starts the node from its disk, with fresh randomness.
    pub(crate) fn start(&mut self) {
        self.lives += 1;
        let applied = self.machine.last().map_or(LogIndex::ZERO, |entry| entry.index);
        let restored = Restored { log: self.disk.stored_log(), applied };
        let config = (self.settings)(self.id.get() * 1000 + self.lives);
        self.raft = Some(Raft::new(config, restored, self.clock).expect("the disk is sound"));
    }

    /// Loses everything that is not durable.
    pub(crate) fn crash(&mut self) {
        self.raft = None;
        self.writes.clear();
        self.applies.clear();
        self.loads.clear();
        if !self.keeps_machine {
            self.machine.clear();
        }
    }

    /// Steps the node; the outputs are for the caller.
    pub(crate) fn step(&mut self, event: Event) -> Vec<Output> {
        let Some(raft) = &mut self.raft else {
            return Vec::new();
        };
        let outputs = raft.step(event.at(self.clock));
        assert_eq!(raft.check_invariants(), Ok(()));
        outputs
    }

    /// Makes the oldest `count` writes durable, and returns the newest of their tickets.
    pub(crate) fn write_out(&mut self, count: usize) -> Option<Ticket> {
        let mut ticket = None;
        for write in self.writes.drain(..count.min(self.writes.len())) {
            self.disk.write(&write);
            ticket = Some(write.ticket);
        }
        ticket
    }

    /// Applies the oldest run that waits.
    pub(crate) fn apply_run(&mut self) -> Option<LogIndex> {
        let run = self.applies.pop_front()?;
        self.machine.extend(run.iter().cloned());
        run.last().map(|entry| entry.index)
    }

    /// The answer to the oldest load that waits.
    pub(crate) fn load_run(&mut self) -> Option<Event> {
        let question = self.loads.pop_front()?;
        Some(Event::Loaded { from: question.0, entries: self.disk.load(question) })
    }

    /// What the surroundings, where they are not slow, have to tell the node next.
    pub(crate) fn next_completion(&mut self) -> Option<Event> {
        if !self.slow_disk
            && let Some(ticket) = self.write_out(usize::MAX)
        {
            return Some(Event::Persisted(ticket));
        }
        if !self.slow_machine
            && let Some(index) = self.apply_run()
        {
            return Some(Event::Applied(index));
        }
        if self.slow_loads { None } else { self.load_run() }
    }

    pub(crate) fn term_on_disk(&self) -> Term {
        self.disk.hard_state.term
    }
}
