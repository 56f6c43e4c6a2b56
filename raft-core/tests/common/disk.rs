//! What survives a crash.

use std::sync::Arc;

use bytes::Bytes;
use raft_core::{
    Entries, Entry, HardState, LogIndex, LogPosition, Membership, Payload, Snapshot, StoredLog,
    TermStart, Write,
};

use super::build::pack;

/// A log and some snapshots.
#[derive(Clone, Debug, Default)]
pub(crate) struct Disk {
    pub(crate) hard_state: HardState,
    pub(crate) begin_after: LogPosition,
    /// The entries behind that.
    pub(crate) log: Vec<Entry>,
    snapshots: Vec<(Snapshot, Bytes)>,
    partial: Option<(Snapshot, Vec<u8>)>,
}

impl Disk {
    pub(crate) fn last(&self) -> u64 {
        self.log.last().map_or(self.begin_after.index.get(), |entry| entry.index.get())
    }

    /// Carries out a write as one atomic change.
    pub(crate) fn write(&mut self, write: &Write) {
        if let Some(hard_state) = write.hard_state {
            assert!(hard_state.term >= self.hard_state.term, "the term on the disk never falls");
            self.hard_state = hard_state;
        }
        if let Some(from) = write.truncate_from {
            self.log.retain(|entry| entry.index < from);
        }
        if let Some(position) = write.begin_after {
            assert!(position.index >= self.begin_after.index, "compaction never goes back");
            self.log.retain(|entry| entry.index > position.index);
            self.begin_after = position;
        }
        for entry in write.entries.iter() {
            assert_eq!(entry.index.get(), self.last() + 1, "the log has no gap");
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
        let membership = |entry: &Entry| match &entry.payload {
            Payload::Membership(members) => Some((entry.index, members.clone())),
            _ => None,
        };
        StoredLog {
            hard_state: self.hard_state,
            begin_after: self.begin_after,
            terms,
            last: LogIndex::new(self.last()).expect("an index"),
            memberships: self.log.iter().filter_map(membership).collect(),
        }
    }

    /// Answers an [`Output::Load`](raft_core::Output::Load).
    pub(crate) fn load(&self, (from, through, max_bytes): (LogIndex, LogIndex, usize)) -> Entries {
        if from <= self.begin_after.index {
            return Entries::empty();
        }
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

    pub(crate) fn newest_snapshot(&self) -> Option<Snapshot> {
        let newest = self.snapshots.iter().max_by_key(|(snapshot, _)| snapshot.position.index);
        newest.map(|(snapshot, _)| snapshot.clone())
    }

    pub(crate) fn snapshots(&self) -> usize {
        self.snapshots.len()
    }

    pub(crate) fn snapshot(&self, wanted: &Snapshot) -> Option<Bytes> {
        self.snapshots.iter().find(|(it, _)| it == wanted).map(|(_, bytes)| bytes.clone())
    }

    pub(crate) fn keep_snapshot(
        &mut self,
        position: LogPosition,
        membership: Arc<Membership>,
        machine: &[Entry],
    ) -> Snapshot {
        let bytes = pack(machine);
        let (size, checksum) = (bytes.len() as u64, crc32fast::hash(&bytes));
        let snapshot = Snapshot { position, membership, size, checksum };
        self.snapshots.push((snapshot.clone(), bytes));
        snapshot
    }

    pub(crate) fn read_snapshot(
        &self,
        snapshot: &Snapshot,
        offset: u64,
        max_bytes: usize,
    ) -> Option<Bytes> {
        let bytes = self.snapshot(snapshot)?;
        let from = usize::try_from(offset).expect("an offset");
        Some(bytes.slice(from..bytes.len().min(from + max_bytes)))
    }

    /// Writes a piece of a snapshot that arrives; says how much of it is there.
    pub(crate) fn write_snapshot(&mut self, snapshot: &Snapshot, offset: u64, data: &[u8]) -> u64 {
        if offset == 0 {
            self.partial = Some((snapshot.clone(), Vec::new()));
        }
        let (of, bytes) = self.partial.as_mut().expect("a beginning");
        assert_eq!(of, snapshot, "pieces of two snapshots are never mixed");
        assert_eq!(bytes.len() as u64, offset, "pieces come in order");
        bytes.extend_from_slice(data);
        let through = bytes.len() as u64;
        if through == snapshot.size {
            let bytes = Bytes::from(std::mem::take(bytes));
            assert_eq!(crc32fast::hash(&bytes), snapshot.checksum, "a corrupt snapshot");
            self.snapshots.retain(|(it, _)| it != snapshot);
            self.snapshots.push((snapshot.clone(), bytes));
            self.partial = None;
        }
        through
    }

    pub(crate) fn drop_snapshot(&mut self, dropped: &Snapshot) {
        self.snapshots.retain(|(it, _)| it != dropped);
        if self.partial.as_ref().is_some_and(|(it, _)| it == dropped) {
            self.partial = None;
        }
    }

    pub(crate) fn forget_partial_snapshot(&mut self) {
        self.partial = None;
    }

    /// Bytes rot on the disk.
    pub(crate) fn spoil_snapshots(&mut self) {
        for (_, bytes) in &mut self.snapshots {
            let mut rotten = bytes.to_vec();
            if let Some(byte) = rotten.last_mut() {
                *byte ^= 1;
            }
            *bytes = rotten.into();
        }
    }
}
