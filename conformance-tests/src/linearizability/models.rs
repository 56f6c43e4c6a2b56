//! Ready-made models of keyed objects.
//!
//! Histories are the easier to check, and the sharper as a test, the more distinct the values:
//! let each write carry a value of its own.

mod append_list;
mod register;
mod text;

use core::fmt;

pub use append_list::{AppendList, AppendListAction, AppendListRet};
pub use register::{Register, RegisterAction, RegisterRet};
pub use text::{Text, TextAction, TextRet};

/// An action on the object under one key.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Keyed<K, A> {
    key: K,
    action: A,
}

impl<K, A> Keyed<K, A> {
    /// The action on the object under that key.
    pub fn new(key: K, action: A) -> Self {
        Self { key, action }
    }

    /// The key.
    pub fn key(&self) -> &K {
        &self.key
    }

    /// The action.
    pub fn action(&self) -> &A {
        &self.action
    }
}

impl<K: fmt::Debug, A: fmt::Debug> fmt::Debug for Keyed<K, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {:?}", self.key, self.action)
    }
}
