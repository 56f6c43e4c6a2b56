//! A list that only grows.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;

use super::Keyed;
use crate::linearizability::{Model, Observation};

/// One list of numbers for each key. Reads return all of it, so a lost, repeated or reordered
/// append is noticed by every later read.
#[derive(Debug, Clone, Default)]
pub struct AppendList {
    /// The longest list that a client has read. Every state before that read is a start of it.
    longest: Vec<u64>,
    /// The numbers that clients have read.
    noticed: BTreeSet<u64>,
}

/// What a client asks of an [`AppendList`].
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum AppendListAction {
    /// Answers [`AppendListRet::Items`].
    Read,
    /// Adds a number to the end and answers [`AppendListRet::Appended`].
    Append(u64),
}

/// What an [`AppendList`] answers.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum AppendListRet {
    /// The whole list.
    Items(Vec<u64>),
    /// The append took effect.
    Appended,
}

impl Model for AppendList {
    type Key = u64;
    type Op = Keyed<u64, AppendListAction>;
    type Ret = AppendListRet;
    /// The length of the list. Up to the longest read it stands for that start of the longest
    /// read; one more stands for all lists that are longer, which nobody has read.
    type State = usize;

    fn key(op: &Self::Op) -> u64 {
        *op.key()
    }

    fn observe(observations: &[Observation<'_, Self::Op, AppendListRet>]) -> Self {
        let mut longest: &[u64] = &[];
        let mut noticed = BTreeSet::new();
        for Observation { ret, .. } in observations {
            if let Some(AppendListRet::Items(items)) = ret {
                noticed.extend(items);
                if items.len() > longest.len() {
                    longest = items;
                }
            }
        }
        Self { longest: longest.to_vec(), noticed }
    }

    fn init(&self) -> usize {
        0
    }

    fn step(&self, len: &usize, op: &Self::Op, ret: Option<&AppendListRet>) -> Option<usize> {
        match (op.action(), ret) {
            (AppendListAction::Read, None) => Some(*len),
            (AppendListAction::Read, Some(AppendListRet::Items(items))) => {
                (self.longest.get(..*len)? == items).then_some(*len)
            }
            (AppendListAction::Append(item), None | Some(AppendListRet::Appended)) => {
                match self.longest.get(*len) {
                    Some(expected) => (expected == item).then_some(len + 1),
                    None => Some(self.longest.len() + 1),
                }
            }
            (AppendListAction::Read | AppendListAction::Append(_), Some(_)) => None,
        }
    }

    /// What was appended stays for all later reads, so a number that nobody read was appended
    /// after the last of them or never.
    fn reduce(&self, op: &Self::Op) -> Option<Self::Op> {
        match op.action() {
            AppendListAction::Read => None,
            AppendListAction::Append(item) => self.noticed.contains(item).then(|| op.clone()),
        }
    }
}
