//! The follower's side of a snapshot transfer, and what a snapshot does to a node (paper, section
//! 7).
//!
//! Chunks go to the host as they come, in order; the core keeps none of them. It counts what is
//! written, checks the whole against its checksum, and makes the snapshot the beginning of its log
//! when all of it is durable.

use crc32fast::Hasher;

use crate::ids::{LogIndex, NodeId};
use crate::message::{Body, SnapshotChunk, SnapshotReply};
use crate::outbox::Outbox;
use crate::output::SnapshotPiece;
use crate::raft::Raft;
use crate::role::Role;
use crate::snapshot::Snapshot;

/// A snapshot that is arriving.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Receiving {
    snapshot: Snapshot,
    received: u64,
    written: u64,
    /// The checksum of what was received.
    checksum: u32,
    /// The number of the leader's newest message about it.
    sequence: u64,
    /// Something was dropped for want of room. It is asked for when there is room: a leader that
    /// were told at once would send it again at once.
    overflowed: bool,
    /// Tells this attempt from earlier ones at the same snapshot, of which the host may still
    /// speak.
    attempt: u64,
}

impl Receiving {
    const fn new(snapshot: Snapshot, attempt: u64) -> Self {
        Self {
            snapshot,
            received: 0,
            written: 0,
            checksum: 0,
            sequence: 0,
            overflowed: false,
            attempt,
        }
    }

    /// Whether another piece may wait for the disk, where `window` bytes may.
    const fn has_room(&self, window: usize) -> bool {
        let waiting = self.received - self.written;
        waiting == 0 || waiting < window as u64
    }

    fn take_in(&mut self, data: &[u8]) {
        let mut hasher = Hasher::new_with_initial(self.checksum);
        hasher.update(data);
        self.checksum = hasher.finalize();
        self.received += data.len() as u64;
    }

    pub(crate) fn is_of(&self, snapshot: &Snapshot) -> bool {
        self.snapshot == *snapshot
    }

    /// The newest message was of an earlier term.
    pub(crate) const fn forget_sequence(&mut self) {
        self.sequence = 0;
    }

    const fn is_complete(&self) -> bool {
        self.received == self.snapshot.size
    }

    fn reply(&self, gap: bool) -> Body {
        Body::SnapshotReply(SnapshotReply {
            sequence: self.sequence,
            position: self.snapshot.position,
            checksum: self.snapshot.checksum,
            received: self.received,
            written: self.written,
            gap,
        })
    }

    pub(crate) fn check(&self) -> Result<(), &'static str> {
        if self.written <= self.received && self.received <= self.snapshot.size {
            return Ok(());
        }
        Err("of a snapshot, written <= received <= size")
    }
}

impl Raft {
    pub(crate) fn on_snapshot_chunk(
        &mut self,
        from: NodeId,
        chunk: SnapshotChunk,
        out: &mut Outbox<'_>,
    ) {
        if !self.hear_leader(from, out) {
            return;
        }
        let position = chunk.snapshot.position;
        let term_here = self.log.term_at(position.index);
        let contradicts = if position.index <= self.commit {
            term_here.is_some_and(|term| term != position.term)
        } else {
            self.log.term_at(self.commit).is_some_and(|term| term > position.term)
        };
        if contradicts {
            // It contradicts a committed entry. Nothing the sender says can be trusted.
            self.dropped.malformed += 1;
            return;
        }
        if !self.is_wanted(&chunk.snapshot) {
            if self.log.contains(position) {
                // Whatever is in a snapshot is committed.
                self.set_commit(position.index, out);
            }
            let known = self.commit.max(position.index);
            return self.acknowledge(from, chunk.sequence, known, out);
        }
        if let Some(receiving) = &self.receiving
            && receiving.snapshot != chunk.snapshot
        {
            if chunk.sequence < receiving.sequence {
                // The leader has turned to another snapshot since.
                self.dropped.stale += 1;
                return;
            }
            self.abandon_receiving(out);
        }
        if self.receiving.is_none() {
            self.snapshot_attempts += 1;
            self.receiving = Some(Receiving::new(chunk.snapshot.clone(), self.snapshot_attempts));
        }
        self.take_chunk(from, chunk, out);
    }

    /// Whether the node can't do without the snapshot: its log does not reach or contradicts it, or
    /// it has lost its state and can go on from there.
    fn is_wanted(&self, snapshot: &Snapshot) -> bool {
        let position = snapshot.position;
        if self.applier.is_lost() {
            return position.index >= self.log.base().index;
        }
        position.index > self.commit && !self.log.contains(position)
    }

    fn take_chunk(&mut self, from: NodeId, chunk: SnapshotChunk, out: &mut Outbox<'_>) {
        let Some(receiving) = &mut self.receiving else { return };
        let SnapshotChunk { snapshot, offset, data, sequence } = chunk;
        receiving.sequence = receiving.sequence.max(sequence);
        let gap = offset > receiving.received;
        let continues = offset == receiving.received && (!data.is_empty() || snapshot.size == 0);
        let room = receiving.has_room(self.config.max_in_flight_snapshot_bytes);
        if !continues || !room {
            receiving.overflowed |= !room && (gap || continues);
            let reply = receiving.reply(gap && room);
            return self.send(from, reply, out);
        }
        receiving.take_in(&data);
        if receiving.is_complete() && receiving.checksum != snapshot.checksum {
            self.dropped.corrupt_snapshots += 1;
            let reply = Receiving { sequence, ..Receiving::new(snapshot, 0) }.reply(true);
            self.abandon_receiving(out);
            return self.send(from, reply, out);
        }
        let attempt = receiving.attempt;
        out.write_snapshot(SnapshotPiece { snapshot, attempt, offset, data });
    }

    /// Gives up a snapshot that the log has overtaken while it arrived.
    pub(crate) fn review_receiving(&mut self, out: &mut Outbox<'_>) {
        let wanted = |it: &Receiving| self.is_wanted(&it.snapshot);
        if !self.receiving.as_ref().is_none_or(wanted) {
            self.abandon_receiving(out);
        }
    }

    /// Forgets what has arrived of a snapshot.
    pub(crate) fn abandon_receiving(&mut self, out: &mut Outbox<'_>) {
        if let Some(receiving) = self.receiving.take() {
            self.drop_snapshot(receiving.snapshot, out);
        }
    }

    pub(crate) fn on_snapshot_written(
        &mut self,
        snapshot: &Snapshot,
        attempt: u64,
        through: u64,
        out: &mut Outbox<'_>,
    ) {
        let Some(receiving) = &mut self.receiving else {
            self.dropped.stale += 1;
            return;
        };
        let meant = receiving.attempt == attempt && receiving.snapshot == *snapshot;
        if !meant || through > receiving.received {
            self.dropped.stale += 1;
            return;
        }
        receiving.written = receiving.written.max(through);
        let room = receiving.has_room(self.config.max_in_flight_snapshot_bytes);
        let asks_again = room && core::mem::take(&mut receiving.overflowed);
        let (reply, sequence) = (receiving.reply(asks_again), receiving.sequence);
        let complete = receiving.is_complete() && receiving.written == snapshot.size;
        if complete {
            self.receiving = None;
            self.install(snapshot.clone(), out);
        }
        let Role::Follower(Some(following)) = &self.role else { return };
        let leader = following.leader;
        if complete {
            self.acknowledge(leader, sequence, snapshot.position.index, out);
        } else {
            self.send(leader, reply, out);
        }
    }

    /// The snapshot is durable here: it takes the place of the log up to its end, and of all of
    /// the log if that does not hold its last entry. What is behind that entry stays otherwise.
    fn install(&mut self, snapshot: Snapshot, out: &mut Outbox<'_>) {
        if !self.is_wanted(&snapshot) {
            // The log has caught up in the meantime by itself.
            return self.drop_snapshot(snapshot, out);
        }
        let position = snapshot.position;
        if !self.log.contains(position) {
            self.log.install(&snapshot);
            self.adopt_membership(out);
        }
        self.applier.restore(snapshot.clone());
        self.set_commit(position.index, out);
        self.replace_snapshot(snapshot);
    }

    /// The host has lost its state: it needs a snapshot from another leader. As a leader it hands
    /// over as soon as it has heard once more who is there. It may be elected all the same: nobody
    /// else may have the log that a majority needs.
    pub(crate) fn on_state_lost(&mut self, out: &mut Outbox<'_>) {
        self.applier.lose();
        out.withdraw_from_machine(self.leader());
        self.refuse_confirmed_reads(out);
        if let Role::Leader(leader) = &mut self.role {
            leader.next_preference = self.now.plus(self.config.heartbeat_interval);
        }
    }

    /// The smallest index of a snapshot from which the log goes on, if one is needed.
    pub(crate) fn needs_snapshot(&self) -> Option<LogIndex> {
        self.applier.is_lost().then_some(self.log.base().index)
    }
}
