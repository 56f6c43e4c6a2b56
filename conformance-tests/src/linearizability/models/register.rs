//! A register that holds one number.

use alloc::collections::BTreeSet;

use super::Keyed;
use crate::linearizability::{Model, Observation};

/// One register for each key: empty at first, then holding the number written last.
#[derive(Debug, Clone, Default)]
pub struct Register {
    /// The values that a client may have noticed.
    noticed: BTreeSet<u64>,
    /// Any other value.
    unnoticed: u64,
    /// Whether a client was told that a swap was refused, which any other value explains.
    swap_refused: bool,
}

/// What a client asks of a [`Register`].
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum RegisterAction {
    /// Answers [`RegisterRet::Value`].
    Read,
    /// Stores the number and answers [`RegisterRet::Written`].
    Write(u64),
    /// Stores `new` if the register holds `expected`, and answers [`RegisterRet::Swapped`].
    Cas {
        /// The content that the register must have; `None` means empty.
        expected: Option<u64>,
        /// The number to store.
        new: u64,
    },
}

/// What a [`Register`] answers.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum RegisterRet {
    /// The content; `None` if nothing was ever written.
    Value(Option<u64>),
    /// The write took effect.
    Written,
    /// Whether the register held the expected content, and so holds the new number now.
    Swapped(bool),
}

impl Model for Register {
    type Key = u64;
    type Op = Keyed<u64, RegisterAction>;
    type Ret = RegisterRet;
    type State = Option<u64>;

    fn key(op: &Self::Op) -> u64 {
        *op.key()
    }

    fn observe(observations: &[Observation<'_, Self::Op, RegisterRet>]) -> Self {
        let mut model = Self::default();
        for Observation { op, ret } in observations {
            model.swap_refused |= matches!(ret, Some(RegisterRet::Swapped(false)));
            if let Some(RegisterRet::Value(Some(value))) = ret {
                model.noticed.insert(*value);
            }
            if let RegisterAction::Cas { expected: Some(value), .. } = op.action() {
                model.noticed.insert(*value);
            }
        }
        model.unnoticed = (0..).find(|value| !model.noticed.contains(value)).unwrap_or_default();
        model
    }

    fn init(&self) -> Option<u64> {
        None
    }

    fn step(
        &self,
        state: &Option<u64>,
        op: &Self::Op,
        ret: Option<&RegisterRet>,
    ) -> Option<Option<u64>> {
        match (op.action(), ret) {
            (RegisterAction::Read, None) => Some(*state),
            (RegisterAction::Read, Some(RegisterRet::Value(value))) => {
                (value == state).then_some(*state)
            }
            (RegisterAction::Write(value), None | Some(RegisterRet::Written)) => Some(Some(*value)),
            (RegisterAction::Cas { expected, new }, ret) => {
                let swapped = expected == state;
                let possible = ret.is_none_or(|ret| *ret == RegisterRet::Swapped(swapped));
                possible.then_some(if swapped { Some(*new) } else { *state })
            }
            (RegisterAction::Read | RegisterAction::Write(_), Some(_)) => None,
        }
    }

    /// Between the write of a value that nobody noticed and the next write there can be no
    /// successful read and no successful swap, so without it nothing changes for anybody.
    /// A refused swap, though, may have been refused because of it; then one such value is as
    /// good as another.
    fn reduce(&self, op: &Self::Op) -> Option<Self::Op> {
        let stand_in = |value: &u64| {
            if self.noticed.contains(value) {
                Some(*value)
            } else {
                self.swap_refused.then_some(self.unnoticed)
            }
        };
        let action = match op.action() {
            RegisterAction::Read => return None,
            RegisterAction::Write(value) => RegisterAction::Write(stand_in(value)?),
            RegisterAction::Cas { expected, new } => {
                RegisterAction::Cas { expected: *expected, new: stand_in(new)? }
            }
        };
        Some(Keyed::new(*op.key(), action))
    }
}
