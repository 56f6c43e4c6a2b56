//! What clients did and what they were told.

use alloc::vec::Vec;

use thiserror::Error;

use super::model::Model;

/// The calls of all clients, with the time of each invocation and return.
///
/// Times are a `u64` on one clock that all clients share and that never runs backward:
/// nanoseconds since the start of the test, or a counter. Read it before the request is sent and
/// after the answer has arrived, so that an interval is never too short; an interval that is too
/// long only weakens the check. Two calls that touch, one returning at the very time when the
/// other is invoked, count as concurrent: with a coarse clock use a counter.
///
/// A call that is never resolved has an unknown outcome, so a client that crashes needs no
/// clean-up. Threads may each fill a history of their own and [`absorb`](History::absorb) them
/// at the end.
#[derive(Debug, Clone)]
pub struct History<Op, Ret> {
    calls: Vec<Call<Op, Ret>>,
}

/// Names one call of the [`History`] that issued it. It means nothing to another history, and
/// nothing to this one after it was absorbed into another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OperationId(usize);

/// A call could not be resolved as asked. Both are mistakes of the recording test.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum HistoryError {
    /// The call was resolved before, or this history never issued the id. Resolve each call at
    /// most once.
    #[error("operation {0:?} is not open in this history: resolve each operation once")]
    NotOpen(OperationId),
    /// The call would end before it began. Use one clock for both times.
    #[error("the operation is invoked at {invoked} but returns at {returned}: use one clock")]
    ReturnsBeforeInvocation {
        /// The recorded time of the invocation.
        invoked: u64,
        /// The rejected time of the return.
        returned: u64,
    },
}

#[derive(Debug, Clone)]
pub(super) struct Call<Op, Ret> {
    client: u64,
    invoked: u64,
    op: Op,
    outcome: Outcome<Ret>,
}

#[derive(Debug, Clone)]
enum Outcome<Ret> {
    Open,
    Returned { at: u64, ret: Ret },
    Failed,
    Unknown,
}

impl<Op, Ret> History<Op, Ret> {
    /// An empty history.
    pub fn new() -> Self {
        Self { calls: Vec::new() }
    }

    /// Records that `client` is about to send `op` at time `at`. One client may have several
    /// calls open; they count as concurrent.
    pub fn invoke(&mut self, client: u64, at: u64, op: Op) -> OperationId {
        let id = OperationId(self.calls.len());
        self.calls.push(Call { client, invoked: at, op, outcome: Outcome::Open });
        id
    }

    /// Records that the call took effect and that the client was told `ret` at time `at`.
    pub fn returned(&mut self, id: OperationId, at: u64, ret: Ret) -> Result<(), HistoryError> {
        let call = self.open(id)?;
        if at < call.invoked {
            let invoked = call.invoked;
            return Err(HistoryError::ReturnsBeforeInvocation { invoked, returned: at });
        }
        call.outcome = Outcome::Returned { at, ret };
        Ok(())
    }

    /// Records that the call certainly did not take effect and never will. The check leaves it
    /// out. When in doubt the outcome is [`unknown`](History::unknown): a timeout and a lost
    /// connection are no proof.
    pub fn failed(&mut self, id: OperationId) -> Result<(), HistoryError> {
        self.open(id)?.outcome = Outcome::Failed;
        Ok(())
    }

    /// Records that the client gave up without knowing. The call may take effect at any time
    /// after its invocation, even long after the client gave up, or never, but not twice.
    pub fn unknown(&mut self, id: OperationId) -> Result<(), HistoryError> {
        self.open(id)?.outcome = Outcome::Unknown;
        Ok(())
    }

    /// Adds all calls of another history that was recorded with the same clock. Calls of `other`
    /// that are still open have an unknown outcome from now on.
    pub fn absorb(&mut self, other: History<Op, Ret>) {
        self.calls.extend(other.calls.into_iter().map(|mut call| {
            if matches!(call.outcome, Outcome::Open) {
                call.outcome = Outcome::Unknown;
            }
            call
        }));
    }

    /// How many calls were recorded, whatever their outcome.
    pub fn len(&self) -> usize {
        self.calls.len()
    }

    /// Whether no call was recorded.
    pub fn is_empty(&self) -> bool {
        self.calls.is_empty()
    }

    /// What the history demands of an explanation. Failed calls demand nothing.
    pub(super) fn claims(&self) -> impl Iterator<Item = Claim<'_, Op, Ret>> {
        self.calls
            .iter()
            .filter(|call| !matches!(call.outcome, Outcome::Failed))
            .map(|call| Claim { call, enforced: true })
    }

    fn open(&mut self, id: OperationId) -> Result<&mut Call<Op, Ret>, HistoryError> {
        self.calls
            .get_mut(id.0)
            .filter(|call| matches!(call.outcome, Outcome::Open))
            .ok_or(HistoryError::NotOpen(id))
    }
}

impl<Op, Ret> Default for History<Op, Ret> {
    fn default() -> Self {
        Self::new()
    }
}

/// What an explanation must respect about one call. A claim that is not enforced treats the call
/// as one with an unknown outcome, which can only make more histories linearizable.
#[derive(Debug)]
pub(super) struct Claim<'a, Op, Ret> {
    call: &'a Call<Op, Ret>,
    enforced: bool,
}

pub(super) type ClaimOf<'a, M> = Claim<'a, <M as Model>::Op, <M as Model>::Ret>;

impl<Op, Ret> Clone for Claim<'_, Op, Ret> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<Op, Ret> Copy for Claim<'_, Op, Ret> {}

impl<'a, Op, Ret> Claim<'a, Op, Ret> {
    pub(super) fn client(&self) -> u64 {
        self.call.client
    }

    pub(super) fn invoked(&self) -> u64 {
        self.call.invoked
    }

    pub(super) fn op(&self) -> &'a Op {
        &self.call.op
    }

    /// The time and value of the return that an explanation must respect.
    pub(super) fn returned(&self) -> Option<(u64, &'a Ret)> {
        self.recorded_return().filter(|_| self.enforced)
    }

    /// The time and value of the return as recorded, enforced or not.
    pub(super) fn recorded_return(&self) -> Option<(u64, &'a Ret)> {
        match &self.call.outcome {
            Outcome::Returned { at, ret } => Some((*at, ret)),
            Outcome::Open | Outcome::Failed | Outcome::Unknown => None,
        }
    }

    pub(super) fn relaxed(self) -> Self {
        Self { enforced: false, ..self }
    }
}
