//! Where handlers put what the host must do.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::iter;

use crate::entry::{Entries, Write};
use crate::ids::{LogIndex, NodeId, RequestId};
use crate::message::Message;
use crate::output::{Notice, Outcome, Output, Refusal, SnapshotPiece};
use crate::snapshot::Snapshot;

/// The outputs of one step, in the host's buffer.
pub(crate) struct Outbox<'a> {
    outputs: &'a mut Vec<Output>,
    /// Where the outputs of this step begin; what stands before is the host's.
    start: usize,
}

impl<'a> Outbox<'a> {
    pub(crate) const fn new(outputs: &'a mut Vec<Output>) -> Self {
        let start = outputs.len();
        Self { outputs, start }
    }

    /// What nearly every step brings is made in its place: to make it elsewhere and to move it
    /// costs as much as the rest of it. For the others less code is worth more.
    #[inline]
    fn put(&mut self, output: impl FnOnce() -> Output) {
        self.outputs.extend(iter::once_with(output));
    }

    pub(crate) fn send(&mut self, message: Message) {
        self.put(|| Output::Send(message));
    }

    pub(crate) fn persist(&mut self, write: Write) {
        self.put(|| Output::Persist(write));
    }

    pub(crate) fn apply(&mut self, entries: Entries) {
        self.put(|| Output::Apply(entries));
    }

    /// Takes back everything that this step has said.
    pub(crate) fn withdraw_all(&mut self) {
        self.outputs.truncate(self.start);
    }

    /// Takes back what this step has said to the state machine, which is lost: nothing is applied
    /// to it or read from it any more.
    pub(crate) fn withdraw_from_machine(&mut self, leader: Option<NodeId>) {
        let mut at = self.start;
        while let Some(output) = self.outputs.get_mut(at) {
            if matches!(output, Output::Apply(_)) {
                self.outputs.remove(at);
                continue;
            }
            if let Output::Done { outcome, .. } = output
                && matches!(outcome, Outcome::Readable { .. })
            {
                *outcome = Outcome::Refused { reason: Refusal::NoLeader, leader };
            }
            at += 1;
        }
    }

    pub(crate) fn load(&mut self, from: LogIndex, through: LogIndex, max_bytes: usize) {
        self.outputs.push(Output::Load { from, through, max_bytes });
    }

    pub(crate) fn restore(&mut self, snapshot: Snapshot) {
        self.outputs.push(Output::Restore(snapshot));
    }

    pub(crate) fn read_snapshot(&mut self, snapshot: Snapshot, offset: u64, max_bytes: usize) {
        self.outputs.push(Output::ReadSnapshot { snapshot, offset, max_bytes });
    }

    pub(crate) fn write_snapshot(&mut self, piece: SnapshotPiece) {
        self.outputs.push(Output::WriteSnapshot(Box::new(piece)));
    }

    pub(crate) fn drop_snapshot(&mut self, snapshot: Snapshot) {
        self.outputs.push(Output::DropSnapshot(snapshot));
    }

    pub(crate) fn done(&mut self, request: RequestId, outcome: Outcome) {
        self.outputs.push(Output::Done { request, outcome });
    }

    pub(crate) fn notice(&mut self, notice: Notice) {
        self.outputs.push(Output::Notice(notice));
    }
}
