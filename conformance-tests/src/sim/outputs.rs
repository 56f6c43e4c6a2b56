//! What a core wants done.

use alloc::format;

use bytes::BytesMut;
use raft_node::core::{Entries, Event, Message, Notice, Output, Snapshot, Write};
use raft_node::{RequestError, StateMachine};

use crate::sim::describe;
use crate::sim::network::is_request;
use crate::sim::node::{ApplyJob, SimNode};
use crate::sim::random::within;
use crate::sim::snapshots::SnapshotJob;
use crate::sim::world::{Item, Local, World, id_of, number};

impl World {
    pub(super) fn carry_out(&mut self, node: usize, output: Output) {
        let name = id_of(node);
        match output {
            Output::Persist(write) => {
                self.trace.line(self.now, Some(node), || describe::write(&write));
                if !self.nodes[node].disk.write(write) {
                    self.checker.fail(format!("{name:?} writes what does not fit its log"));
                }
            }
            Output::Send(message) => self.send(node, message),
            Output::Apply(entries) => self.apply(node, entries),
            Output::Restore(snapshot) => self.restore(node, snapshot),
            Output::ReadSnapshot { snapshot, offset, max_bytes } => {
                self.snapshot_job(node, SnapshotJob::Read { snapshot, offset, max_bytes });
            }
            Output::WriteSnapshot(piece) => self.snapshot_job(node, SnapshotJob::Write(*piece)),
            Output::DropSnapshot(snapshot) => {
                self.snapshot_job(node, SnapshotJob::Drop(snapshot));
            }
            Output::Load { from, through, max_bytes } => {
                // What is read now may be cut before it arrives.
                let entries = self.nodes[node].disk.load(from, through, max_bytes);
                let at = self.disk_done(node) + within(&mut self.rng, &self.options.load_delay);
                self.schedule_local(at, node, Local::Loaded { from, entries });
            }
            Output::Done { request, outcome } => match self.nodes[node].waiting.remove(&request) {
                Some(waiting) => self.done(node, waiting, outcome),
                None => self.checker.fail(format!("I16: {name:?} answered {request:?} twice")),
            },
            Output::Notice(notice) => {
                self.trace.line(self.now, Some(node), || describe::notice(&notice));
                if matches!(notice, Notice::SnapshotWanted) {
                    self.nodes[node].snapshots.policy.wanted = true;
                }
            }
        }
    }

    /// A write that was durable within its step.
    pub(super) fn write_at_once(&mut self, node: usize, write: &Write) {
        self.trace.line(self.now, Some(node), || describe::write(write));
        self.checker.check_write(&self.nodes, node, write);
        if !self.nodes[node].disk.write_at_once(write) {
            self.checker.fail(format!("{:?} writes what does not fit its log", id_of(node)));
        }
        self.checker.written_at_once(&self.nodes, node, write);
    }

    fn send(&mut self, node: usize, message: Message) {
        self.traffic.requests += u64::from(is_request(&message));
        let to = number(message.to);
        let message = self.network.carry(message, &mut self.rng);
        let bytes = self.options.wire.then(|| {
            let mut bytes = BytesMut::new();
            message.encode(&mut bytes);
            bytes.freeze()
        });
        self.traffic.bytes += bytes.as_ref().map_or(0, |bytes| bytes.len() as u64);
        if !self.network.is_up(node, to) {
            return;
        }
        for delay in self.network.arrivals(&message, &mut self.rng) {
            let item = match &bytes {
                Some(bytes) => Item::DeliverBytes(node, to, bytes.clone()),
                None => Item::Deliver(message.clone()),
            };
            self.schedule(self.now + delay, item);
        }
    }

    pub(super) fn sync(&mut self, node: usize) {
        if self.nodes[node].disk.begin_sync() {
            let at = self.disk_done(node);
            self.schedule_local(at, node, Local::Synced);
        }
    }

    /// When the disk will be done with what it begins now.
    fn disk_done(&mut self, node: usize) -> u64 {
        let delay = within(&mut self.rng, &self.options.disk_delay);
        self.now.max(self.nodes[node].disk_hangs_until) + delay
    }

    fn apply(&mut self, node: usize, entries: Entries) {
        let Some(last) = entries.last().map(|entry| entry.index) else { return };
        let SimNode { committed, handed_out, snapshots, .. } = &mut self.nodes[node];
        let later = committed.split_off(&last.next());
        let replies = core::mem::replace(committed, later);
        *handed_out = last;
        self.trace.line(self.now, Some(node), || {
            format!("knows that {} is committed", describe::entries(&entries))
        });
        snapshots.policy.entries += entries.len() as u64;
        self.queue_job(node, ApplyJob::Apply { entries, replies });
    }

    fn restore(&mut self, node: usize, snapshot: Snapshot) {
        let index = snapshot.position.index;
        let SimNode { committed, handed_out, snapshots, lost, .. } = &mut self.nodes[node];
        let later = committed.split_off(&index.next());
        let overtaken = core::mem::replace(committed, later);
        *handed_out = index;
        *lost = false;
        snapshots.policy.entries = 0;
        self.trace.line(self.now, Some(node), || format!("restores its state of {index:?}"));
        for call in overtaken.into_values() {
            // It is in the snapshot, and its result is not.
            self.resolve(call, Err(RequestError::Unknown));
        }
        self.queue_job(node, ApplyJob::Restore(snapshot));
    }

    fn queue_job(&mut self, node: usize, job: ApplyJob) {
        self.nodes[node].jobs.push_back(job);
        if self.nodes[node].jobs.len() == 1 {
            self.begin_job(node);
        }
    }

    fn begin_job(&mut self, node: usize) {
        let at = self.now + within(&mut self.rng, &self.options.apply_delay);
        let state = self.nodes[node].state;
        self.schedule_local(at, node, Local::Applied { state });
    }

    /// The state machine has finished what it was at, and takes the next.
    pub(super) fn apply_next(&mut self, node: usize) {
        let name = id_of(node);
        let Some(job) = self.nodes[node].jobs.pop_front() else { return };
        if !self.nodes[node].jobs.is_empty() {
            self.begin_job(node);
        }
        match job {
            ApplyJob::Apply { entries, replies } => {
                for (call, answer) in self.nodes[node].apply(&entries, replies) {
                    self.resolve(call, Ok(answer));
                }
                let applied = self.nodes[node].applied;
                self.step(node, Event::Applied(applied));
            }
            ApplyJob::Restore(snapshot) => match self.nodes[node].restore(&snapshot) {
                Ok(()) => self.step(node, Event::Applied(snapshot.position.index)),
                Err(error) => {
                    self.checker.fail(format!("{name:?} can't restore {snapshot:?}: {error}"));
                }
            },
            ApplyJob::Freeze => self.frozen(node),
        }
    }

    /// Has the state machine freeze its state, if it is time for a snapshot.
    pub(super) fn freeze_if_due(&mut self, node: usize) {
        let SimNode { raft, lost, snapshots, .. } = &mut self.nodes[node];
        // A state that is lost is worth no snapshot.
        if raft.is_some() && !*lost && snapshots.policy.begin_if_due() {
            self.queue_job(node, ApplyJob::Freeze);
        }
    }

    /// The state is frozen: it is written while the state machine goes on.
    fn frozen(&mut self, node: usize) {
        let SimNode { raft: Some(raft), machine: Some(machine), applied, snapshots, .. } =
            &mut self.nodes[node]
        else {
            return;
        };
        let Some(described) = raft.describe_snapshot(*applied) else {
            // There is one up to here already.
            return self.snapshot_over(node, true);
        };
        snapshots.begin_own(described, machine.snapshot());
        let at = self.disk_done(node) + within(&mut self.rng, &self.options.snapshot_delay);
        self.schedule_local(at, node, Local::OwnSnapshot);
    }

    pub(super) fn own_snapshot_done(&mut self, node: usize) {
        let name = id_of(node);
        if self.chance(self.options.snapshot_failures) {
            return self.snapshot_over(node, false);
        }
        match self.nodes[node].snapshots.finish_own() {
            Ok(Some(snapshot)) => {
                self.trace.line(self.now, Some(node), || {
                    format!("has taken a snapshot of {:?}", snapshot.position.index)
                });
                self.checker.disk_changed(&self.nodes, node);
                self.step(node, Event::SnapshotTaken(snapshot));
                self.snapshot_over(node, true);
            }
            Ok(None) => {}
            Err(error) => self.checker.fail(format!("a snapshot of {name:?}: {error}")),
        }
    }

    fn snapshot_job(&mut self, node: usize, job: SnapshotJob) {
        if self.nodes[node].snapshots.push(job) {
            let at = self.disk_done(node);
            self.schedule_local(at, node, Local::SnapshotJob);
        }
    }

    /// The store of snapshots has done what it was at, and takes the next.
    pub(super) fn snapshot_job_done(&mut self, node: usize) {
        let name = id_of(node);
        let done = self.nodes[node].snapshots.finish();
        if self.nodes[node].snapshots.has_jobs() {
            let at = self.disk_done(node);
            self.schedule_local(at, node, Local::SnapshotJob);
        }
        match done {
            Ok(Some(event)) => {
                self.checker.disk_changed(&self.nodes, node);
                self.step(node, event);
            }
            Ok(None) => {}
            Err(error) => self.checker.fail(format!("snapshots of {name:?}: {error}")),
        }
    }
}
