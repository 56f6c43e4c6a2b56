//! What the core wants done.

use std::collections::BTreeMap;
use std::mem;

use raft_core::{Entries, LogIndex, Notice, Output, Snapshot};

use super::Host;
use crate::applier::ApplyJob;
use crate::disk::DiskJob;
use crate::librarian::SnapshotJob;
use crate::request::Reply;
use crate::{NodeError, RequestError};

impl Host {
    pub(super) fn carry_out(&mut self) -> Result<(), NodeError> {
        let mut outputs = mem::take(&mut self.outputs);
        for output in outputs.drain(..) {
            match output {
                Output::Persist(write) => self.to_disk(DiskJob::Write(write))?,
                Output::Load { from, through, max_bytes } => {
                    self.to_disk(DiskJob::Load { from, through, max_bytes })?;
                }
                Output::Send(message) => (self.wiring.send)(message),
                Output::Apply(entries) => self.apply(entries)?,
                Output::Restore(snapshot) => self.restore(snapshot)?,
                Output::ReadSnapshot { snapshot, offset, max_bytes } => {
                    self.to_librarian(SnapshotJob::Read { snapshot, offset, max_bytes })?;
                }
                Output::WriteSnapshot(piece) => self.to_librarian(SnapshotJob::Write(*piece))?,
                Output::DropSnapshot(snapshot) => {
                    self.to_librarian(SnapshotJob::Drop(snapshot))?;
                }
                Output::Done { request, outcome } => self.finish(request, outcome)?,
                Output::Notice(notice) => self.take_notice(&notice),
            }
        }
        self.outputs = outputs;
        if let Some(metadata) = self.peers.take_unsaved() {
            self.to_disk(DiskJob::Metadata(metadata))?;
        }
        self.freeze_if_due()
    }

    fn take_notice(&mut self, notice: &Notice) {
        match notice {
            Notice::Membership(membership) => self.peers.adopt(membership.clone()),
            Notice::SnapshotWanted => self.ask_for_snapshot(None),
            Notice::Leadership { .. } => {}
        }
        (self.wiring.observe)(notice);
    }

    fn to_disk(&self, job: DiskJob) -> Result<(), NodeError> {
        self.disk.send(job).map_err(|_| NodeError::ThreadGone)
    }

    pub(super) fn to_applier(&self, job: ApplyJob) -> Result<(), NodeError> {
        self.applier.send(job).map_err(|_| NodeError::ThreadGone)
    }

    /// A snapshot of this node's own that must not be used.
    pub(super) fn drop_own(&self, snapshot: Snapshot) -> Result<(), NodeError> {
        self.to_librarian(SnapshotJob::Drop(snapshot))
    }

    fn to_librarian(&self, job: SnapshotJob) -> Result<(), NodeError> {
        self.librarian.send(job).map_err(|_| NodeError::ThreadGone)
    }

    fn apply(&mut self, entries: Entries) -> Result<(), NodeError> {
        let Some(last) = entries.last().map(|entry| entry.index) else { return Ok(()) };
        let replies = self.take_committed(last).into_iter().collect();
        self.handed_out = last;
        self.snapshots.note_applied(&entries);
        self.peers.commit_those_of(&entries);
        self.to_applier(ApplyJob::Apply { entries, replies })
    }

    /// Who waits for the entries up to this one.
    fn take_committed(&mut self, through: LogIndex) -> BTreeMap<LogIndex, Reply> {
        let later = self.committed.split_off(&through.next());
        mem::replace(&mut self.committed, later)
    }

    fn restore(&mut self, snapshot: Snapshot) -> Result<(), NodeError> {
        let index = snapshot.position.index;
        for reply in self.take_committed(index).into_values() {
            // It is in the snapshot, and its result is not.
            reply.answer(Err(RequestError::Unknown));
        }
        self.handed_out = index;
        self.snapshots.note_restored();
        self.peers.commit(snapshot.membership.clone());
        self.to_applier(ApplyJob::Restore(snapshot))
    }
}
