//! Where handlers put what the host must do.

use alloc::vec::Vec;

use crate::entry::{Entries, Write};
use crate::ids::{LogIndex, NodeId, RequestId};
use crate::message::{AppendReply, AppendResult, Body, Message};
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

    pub(crate) fn send(&mut self, message: Message) {
        self.outputs.push(Output::Send(message));
    }

    /// Sends a message that waited for the disk. Of several acknowledgements to one leader only
    /// the newest is worth a message, since each stands for all before it.
    pub(crate) fn release(&mut self, message: Message) {
        if let (Some(Output::Send(earlier)), Some(new)) =
            (self.outputs[self.start..].last_mut(), accepted(&message))
            && (earlier.to, earlier.term) == (message.to, message.term)
            && accepted(earlier)
                .is_some_and(|old| old.iter().zip(new).all(|(old, new)| *old <= new))
        {
            *earlier = message;
            return;
        }
        self.send(message);
    }

    pub(crate) fn persist(&mut self, write: Write) {
        self.outputs.push(Output::Persist(write));
    }

    pub(crate) fn apply(&mut self, entries: Entries) {
        self.outputs.push(Output::Apply(entries));
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
        self.outputs.push(Output::WriteSnapshot(piece));
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

/// What an acknowledgement says: its number, the last index that matched and the last durable one.
fn accepted(message: &Message) -> Option<[u64; 3]> {
    let Body::AppendReply(AppendReply { sequence, result, .. }) = &message.body else {
        return None;
    };
    match result {
        AppendResult::Accepted { last, durable } => Some([*sequence, last.get(), durable.get()]),
        AppendResult::Rejected { .. } => None,
    }
}
