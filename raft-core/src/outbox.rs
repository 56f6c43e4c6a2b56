//! Where handlers put what the host shall do.

use alloc::vec::Vec;

use crate::entry::{Entries, Write};
use crate::ids::{LogIndex, RequestId};
use crate::message::{AppendReply, AppendResult, Body, Message};
use crate::output::{Notice, Outcome, Output};

/// The outputs of one step, in the host's buffer.
pub(crate) struct Outbox<'a>(&'a mut Vec<Output>);

impl<'a> Outbox<'a> {
    pub(crate) const fn new(outputs: &'a mut Vec<Output>) -> Self {
        Self(outputs)
    }

    pub(crate) fn send(&mut self, message: Message) {
        self.0.push(Output::Send(message));
    }

    /// Sends a message that waited for the disk. Of several acknowledgements to one leader only
    /// the newest is worth a message, since each stands for all before it.
    pub(crate) fn release(&mut self, message: Message) {
        if let (Some(Output::Send(earlier)), Some(new)) = (self.0.last_mut(), accepted(&message))
            && (earlier.to, earlier.term) == (message.to, message.term)
            && accepted(earlier).is_some_and(|old| old.0 <= new.0 && old.1 <= new.1)
        {
            *earlier = message;
            return;
        }
        self.send(message);
    }

    pub(crate) fn persist(&mut self, write: Write) {
        self.0.push(Output::Persist(write));
    }

    pub(crate) fn apply(&mut self, entries: Entries) {
        self.0.push(Output::Apply(entries));
    }

    pub(crate) fn load(&mut self, from: LogIndex, through: LogIndex, max_bytes: usize) {
        self.0.push(Output::Load { from, through, max_bytes });
    }

    pub(crate) fn done(&mut self, request: RequestId, outcome: Outcome) {
        self.0.push(Output::Done { request, outcome });
    }

    pub(crate) fn notice(&mut self, notice: Notice) {
        self.0.push(Output::Notice(notice));
    }
}

/// The last index and the round of an acknowledgement.
fn accepted(message: &Message) -> Option<(LogIndex, u64)> {
    match &message.body {
        Body::AppendReply(AppendReply { round, result: AppendResult::Accepted { last, .. } }) => {
            Some((*last, *round))
        }
        _ => None,
    }
}
