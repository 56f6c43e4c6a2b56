//! The way of committed entries to the state machine.

use alloc::collections::VecDeque;

use crate::entry::Entries;
use crate::ids::LogIndex;
use crate::outbox::Outbox;
use crate::output::Outcome;
use crate::raft::Raft;
use crate::role::Role;
use crate::run::Run;
use crate::snapshot::Snapshot;

/// How far the state machine is, and what is under way to it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Applier {
    applied: LogIndex,
    handed_out: LogIndex,
    in_flight: VecDeque<(LogIndex, usize)>,
    in_flight_bytes: usize,
    loading: bool,
    /// The state machine is to be restored from this before anything else.
    owed: Option<Snapshot>,
    /// The snapshots that it is being restored from.
    restoring: VecDeque<Snapshot>,
    /// The host has lost its state and waits for a snapshot.
    lost: bool,
}

impl Applier {
    /// A state machine that has applied so much, or needs to be restored first.
    pub(crate) fn new(applied: LogIndex, snapshot: Option<&Snapshot>) -> Self {
        let mut applier = Self {
            applied,
            handed_out: applied,
            in_flight: VecDeque::new(),
            in_flight_bytes: 0,
            loading: false,
            owed: None,
            restoring: VecDeque::new(),
            lost: false,
        };
        if let Some(snapshot) = snapshot.filter(|it| it.position.index > applied) {
            applier.restore(snapshot.clone());
        }
        applier
    }

    /// Everything goes on from this snapshot.
    pub(crate) fn restore(&mut self, snapshot: Snapshot) {
        self.handed_out = snapshot.position.index;
        self.in_flight.clear();
        self.in_flight_bytes = 0;
        self.loading = false;
        self.lost = false;
        self.owed = Some(snapshot);
    }

    /// Nothing is applied any more until a snapshot comes.
    pub(crate) fn lose(&mut self) {
        self.applied = LogIndex::ZERO;
        self.handed_out = LogIndex::ZERO;
        self.in_flight.clear();
        self.in_flight_bytes = 0;
        self.loading = false;
        self.owed = None;
        self.restoring.clear();
        self.lost = true;
    }

    pub(crate) const fn is_lost(&self) -> bool {
        self.lost
    }

    /// Whether there is something to hand out that no event will bring about.
    pub(crate) const fn is_owed(&self) -> bool {
        self.owed.is_some()
    }

    pub(crate) fn is_restoring(&self, snapshot: &Snapshot) -> bool {
        self.owed.as_ref() == Some(snapshot) || self.restoring.contains(snapshot)
    }

    pub(crate) const fn applied(&self) -> LogIndex {
        self.applied
    }

    fn hand_out(&mut self, run: Run, out: &mut Outbox<'_>) {
        self.in_flight.push_back((run.last(), run.bytes()));
        self.in_flight_bytes += run.bytes();
        self.handed_out = run.last();
        out.apply(run.into_entries());
    }

    pub(crate) fn check(&self, commit: LogIndex) -> Result<(), &'static str> {
        if self.applied > self.handed_out || self.handed_out > commit {
            return Err("applied <= handed out <= commit");
        }
        if self.in_flight_bytes != self.in_flight.iter().map(|(_, bytes)| bytes).sum::<usize>() {
            return Err("bytes with the state machine equal their recomputation");
        }
        Ok(())
    }
}

impl Raft {
    /// Raises the commit index, never lowers it, and answers the proposals that this decides.
    pub(crate) fn set_commit(&mut self, commit: LogIndex, out: &mut Outbox<'_>) {
        if commit <= self.commit {
            return;
        }
        self.commit = commit;
        let term = self.hard_state.term;
        if let Role::Leader(leader) = &mut self.role {
            while let Some(pending) = leader.pending.front()
                && pending.index <= commit
            {
                let index = pending.index;
                leader.uncommitted_bytes -= pending.bytes;
                if let Some(request) = pending.request {
                    out.done(request, Outcome::Committed { term, index });
                }
                leader.pending.pop_front();
            }
        }
        while let Some((index, term, request)) = self.awaiting.take_decided(commit) {
            out.done(request, self.decided(index, term));
        }
    }

    /// What became of a proposal whose place is committed.
    pub(crate) fn decided(&self, index: LogIndex, term: crate::Term) -> Outcome {
        match self.log.term_at(index) {
            Some(there) if there == term => Outcome::Committed { term, index },
            Some(_) => Outcome::Lost,
            None => Outcome::Unknown,
        }
    }

    /// The last entry that may be applied here. What is not on this node's own disk is not, even if
    /// it is committed: a state machine that outlives a crash must not be ahead of its log.
    fn applicable(&self) -> LogIndex {
        self.commit.min(self.log.durable())
    }

    /// Hands committed entries to the state machine, in order, as far as the limit allows.
    pub(crate) fn hand_out(&mut self, out: &mut Outbox<'_>) {
        if let Some(snapshot) = self.applier.owed.take() {
            self.applier.restoring.push_back(snapshot.clone());
            out.restore(snapshot);
        }
        if self.applier.lost {
            return;
        }
        let limit = self.config.max_applying_bytes;
        let through = self.applicable();
        while self.applier.handed_out < through
            && self.applier.in_flight_bytes < limit
            && !self.applier.loading
        {
            let from = self.applier.handed_out.next();
            let room = limit - self.applier.in_flight_bytes;
            match self.log.run_at(from..=through, room, usize::MAX) {
                Some(run) => self.applier.hand_out(run, out),
                None => {
                    self.applier.loading = true;
                    out.load(from, through, limit);
                }
            }
        }
    }

    pub(crate) fn on_applied(&mut self, index: LogIndex, out: &mut Outbox<'_>) {
        let applier = &mut self.applier;
        // What was applied before a restoration counts for nothing.
        let restored = applier.owed.is_none()
            && applier.restoring.back().is_none_or(|it| it.position.index <= index);
        if index <= applier.applied || index > applier.handed_out || !restored {
            self.dropped.stale += 1;
            return;
        }
        applier.applied = index;
        applier.restoring.clear();
        while let Some((last, bytes)) = applier.in_flight.front()
            && *last <= index
        {
            applier.in_flight_bytes -= bytes;
            applier.in_flight.pop_front();
        }
        self.release_reads(out);
    }

    /// Takes loaded entries to the state machine if it waits for them, and to the peers that do.
    pub(crate) fn on_loaded(&mut self, from: LogIndex, entries: Entries, out: &mut Outbox<'_>) {
        let fits = entries.first().is_none_or(|entry| entry.index == from);
        // A truncation may have overtaken the load; then it counts as empty, and what is still
        // needed is asked for again.
        let entries = if fits && self.log.owns(&entries) { entries } else { Entries::empty() };
        if self.applier.loading && self.applier.handed_out.next() == from {
            self.applier.loading = false;
            if let Some(committed) = Run::new(entries.between(from, self.applicable())) {
                self.applier.hand_out(committed, out);
            }
        }
        if let Role::Leader(leader) = &mut self.role {
            for peer in &mut leader.peers {
                peer.on_loaded(from, &entries);
            }
        }
    }
}
