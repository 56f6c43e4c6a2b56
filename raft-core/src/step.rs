//! A step: what has happened goes in, what is to be done comes out.

use alloc::vec::Vec;

use crate::entry::Write;
use crate::event::{Event, Input};
use crate::ids::Ticket;
use crate::message::Control;
use crate::outbox::Outbox;
use crate::output::Output;
use crate::raft::Raft;
use crate::time::Instant;

impl Raft {
    /// Takes one input and returns what is to be done about it. Never fails and never panics,
    /// whatever the input.
    #[must_use = "every output must be carried out"]
    pub fn step(&mut self, input: Input) -> Vec<Output> {
        let mut outputs = Vec::new();
        self.step_into(input, &mut outputs);
        outputs
    }

    /// [`step`](Raft::step) into a buffer that the host uses again. Outputs are added at its end.
    pub fn step_into(&mut self, input: Input, outputs: &mut Vec<Output>) {
        self.step_all(input.at, [input.event], outputs);
    }

    /// One step for several events, which have all happened by `at`, in this order. It means the
    /// same as a step for each, and costs less: what follows from all of them is worked out once,
    /// in one write and at most one message with entries to each peer. A host that finds several
    /// things waiting passes them in together.
    pub fn step_all(
        &mut self,
        at: Instant,
        events: impl IntoIterator<Item = Event>,
        outputs: &mut Vec<Output>,
    ) {
        let mut out = Outbox::new(outputs);
        let backward = self.begin_step(at, events, &mut out);
        self.settle(&mut out);
        self.end_step(backward, &mut out);
    }

    /// [`step_all`](Raft::step_all) for a host whose writes are durable when the call that makes
    /// them returns, as with flash memory. What is to be made durable is given to `write` instead of
    /// coming out as [`Output::Persist`], and what waits for it happens in the same step, without an
    /// [`Event::Persisted`]. A step may take several writes: each is durable before `write` returns,
    /// and so before the next.
    ///
    /// While a write that came out of `step_all` is under way no other can overtake it: then what is
    /// owed comes out as well.
    ///
    /// ```
    /// # use raft_core::{Config, Event, Instant, Membership, NodeId, Raft, Restored, Write};
    /// # struct Flash;
    /// # impl Flash { fn write(&mut self, _: &Write) -> Result<(), ()> { Ok(()) } }
    /// # let mut flash = Flash;
    /// # let me = NodeId::new(1);
    /// # let restored = Restored::founding(Membership::of_voters([me]));
    /// # let mut raft = Raft::new(Config::new(me, 7), restored, Instant::ORIGIN).unwrap();
    /// let mut outputs = Vec::new();
    /// let now = raft.deadline().unwrap();
    /// raft.step_durably(now, [Event::Wake], |write| flash.write(write), &mut outputs)?;
    /// assert_eq!(raft.status().leader, Some(me), "its own vote is durable already");
    /// # Ok::<(), ()>(())
    /// ```
    ///
    /// # Errors
    /// What `write` says. Then nothing of this step may be carried out, and there are no outputs of
    /// it. Stop the node: nobody knows what is on its disk.
    pub fn step_durably<E>(
        &mut self,
        at: Instant,
        events: impl IntoIterator<Item = Event>,
        mut write: impl FnMut(&Write) -> Result<(), E>,
        outputs: &mut Vec<Output>,
    ) -> Result<(), E> {
        let mut out = Outbox::new(outputs);
        let backward = self.begin_step(at, events, &mut out);
        loop {
            // A write stands for all before it.
            let at_once = self.log.writes_in_flight() == 0;
            if at_once && self.owes_write() {
                let owed = self.take_write();
                if let Err(failure) = write(&owed) {
                    out.withdraw_all();
                    return Err(failure);
                }
                self.on_persisted(owed.ticket, &mut out);
            }
            self.settle(&mut out);
            // What has become durable may lead to more: a sole voter that has its own vote leads,
            // and begins its term with an entry.
            if !at_once || !self.owes_write() {
                break;
            }
        }
        self.end_step(backward, &mut out);
        Ok(())
    }

    /// Takes in what has happened; says whether the host's clock has run backward.
    fn begin_step(
        &mut self,
        at: Instant,
        events: impl IntoIterator<Item = Event>,
        out: &mut Outbox<'_>,
    ) -> bool {
        let backward = at < self.now;
        self.now = self.now.max(at);
        if backward {
            self.distrust_lease();
        }
        for event in events {
            self.dispatch(event, out);
        }
        self.fire_timers(out);
        backward
    }

    /// Everything that the new state allows is put into outputs, but for what followers are told.
    fn settle(&mut self, out: &mut Outbox<'_>) {
        self.advance_commit(out);
        self.advance_change(out);
        self.hand_out(out);
        self.advance_reads(out);
        self.review_snapshots(out);
        self.compact();
        self.advance_transfer(out);
    }

    fn end_step(&mut self, backward: bool, out: &mut Outbox<'_>) {
        if backward {
            // What begins in this step is said to have begun later than it has.
            self.distrust_lease();
        }
        if self.owes_write() {
            out.persist(self.take_write());
        }
        self.replicate(out);
        self.log.shrink(self.config.max_cached_bytes);
        self.announce(out);
        if cfg!(debug_assertions) {
            let verdict = self.check_invariants();
            debug_assert_eq!(verdict, Ok(()), "an invariant of Raft is broken");
        }
    }

    fn dispatch(&mut self, event: Event, out: &mut Outbox<'_>) {
        match event {
            Event::Wake => {}
            Event::Loaded { from, entries } => self.on_loaded(from, entries, out),
            Event::Receive(message) => self.receive(message, out),
            Event::Persisted(ticket) => self.on_persisted(ticket, out),
            Event::Applied(index) => self.on_applied(index, out),
            Event::Propose(proposals) => self.on_propose(proposals, out),
            Event::Read(request) => self.on_read(request, out),
            Event::ChangeMembership { request, target, only_if } => {
                self.on_control(request, Control::ChangeMembership { target, only_if }, out);
            }
            Event::TransferLeadership { request, to } => {
                self.on_control(request, Control::TransferLeadership { to }, out);
            }
            Event::ForgetLeader => self.on_forget_leader(out),
            Event::SnapshotTaken(snapshot) => self.on_snapshot_taken(snapshot, out),
            Event::SnapshotRead { snapshot, offset, data } => {
                self.on_snapshot_read(&snapshot, offset, data.as_ref(), out);
            }
            Event::SnapshotWritten { snapshot, attempt, through } => {
                self.on_snapshot_written(&snapshot, attempt, through, out);
            }
            Event::StateLost => self.on_state_lost(out),
        }
    }

    fn on_persisted(&mut self, ticket: Ticket, out: &mut Outbox<'_>) {
        if !self.log.persisted(ticket, self.now) {
            self.dropped.stale += 1;
            return;
        }
        self.acknowledge_durable(ticket, out);
        for _ in 0..self.held.len() {
            let Some(held) = self.held.pop_front() else { break };
            if held.until <= ticket { out.send(held.message) } else { self.held.push_back(held) }
        }
        self.count_own_vote(out);
    }

    /// Whether there is something to make durable.
    fn owes_write(&self) -> bool {
        self.hard_state_changed || self.log.owes_write()
    }

    /// What is to be made durable now.
    fn take_write(&mut self) -> Write {
        let hard_state = self.hard_state_changed.then_some(self.hard_state);
        if self.hard_state_changed {
            self.hard_state_ticket = self.log.upcoming_ticket();
            self.hard_state_changed = false;
        }
        self.log.take_write(hard_state, self.now)
    }
}
