//! What goes through the log and comes out of the state machine.
//!
//! The encoding is postcard: a variant is known by its position. So that a new version can read an
//! old log, variants are added at the end and never moved, changed or removed. A new kind of write
//! is proposed only once every node knows it, or those that do not would skip it and drift apart.

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::limits::{MAX_ANSWER, MAX_VALUE};

/// A change to the store. A command in the log is a list of these, which take effect in order and
/// with nothing between them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Write {
    /// Gives a key a value.
    Set {
        /// The key.
        key: Bytes,
        /// Its new value.
        value: Bytes,
        /// When the key is left alone.
        condition: Condition,
        /// Which answer is wanted.
        answer: SetAnswer,
    },
    /// Gives several keys their values at once.
    SetMany(Vec<(Bytes, Bytes)>),
    /// Removes keys. The answer is how many there were.
    Delete(Vec<Bytes>),
    /// Adds bytes to the end of a value, which is empty if there is no such key. The answer is the
    /// new length.
    Append {
        /// The key.
        key: Bytes,
        /// What to add.
        value: Bytes,
    },
    /// Adds to a number, which is zero if there is no such key. The answer is the sum.
    Add {
        /// The key.
        key: Bytes,
        /// What to add; negative to subtract.
        by: i64,
    },
    /// Removes every key.
    Clear,
}

/// What must hold before a key is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Condition {
    /// Nothing: the key is set.
    Always,
    /// The key does not exist yet (`NX`).
    Absent,
    /// The key exists (`XX`).
    Present,
}

/// The answer to [`Write::Set`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SetAnswer {
    /// [`Reply::Ok`] when the key was set and [`Reply::Nil`] when it was left alone.
    Outcome,
    /// The value before, or [`Reply::Nil`] (`GET`).
    Old,
    /// One when the key was set and zero when it was left alone (`SETNX`).
    Count,
}

/// A question to the store. Questions travel as a list too; see [`Store`](crate::store::Store).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Read {
    /// The value of a key.
    Get(Bytes),
    /// The values of several keys, with nothing changed between them.
    GetMany(Vec<Bytes>),
    /// How many of the keys exist. A key that is named twice counts twice.
    Exists(Vec<Bytes>),
    /// The length of a value; zero if there is no such key.
    Length(Bytes),
    /// All keys that match a pattern.
    Keys(Bytes),
    /// The next keys of an iteration.
    Scan {
        /// Zero to begin, then the cursor of the answer before.
        cursor: u64,
        /// Which keys to return.
        pattern: Option<Bytes>,
        /// About how many keys to look at.
        count: u64,
    },
    /// How many keys there are.
    Size,
}

/// The answer to one [`Write`] or one [`Read`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reply {
    /// Done.
    Ok,
    /// There is no such value, or the key was left alone.
    Nil,
    /// A number.
    Integer(i64),
    /// A value.
    Value(Bytes),
    /// Values in the order of the keys that were asked for.
    Values(Vec<Option<Bytes>>),
    /// Keys, in no particular order.
    Keys(Vec<Bytes>),
    /// A step of an iteration over the keys.
    Scanned {
        /// Where to go on; zero at the end.
        cursor: u64,
        /// The keys of this step.
        keys: Vec<Bytes>,
    },
    /// Nothing was changed, or nothing can be told.
    Failed(Failure),
}

/// Why the store answered with an error. The texts are those of Redis where Redis has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error, Serialize, Deserialize)]
pub enum Failure {
    /// The value is not a decimal number of 64 bits.
    #[error("ERR value is not an integer or out of range")]
    NotAnInteger,
    /// The sum does not fit in 64 bits.
    #[error("ERR increment or decrement would overflow")]
    Overflow,
    /// The value would become longer than a value may be.
    #[error("ERR string exceeds maximum allowed size ({MAX_VALUE} bytes)")]
    TooLong,
    /// The answer would be larger than an answer may be. A write has left its key alone: ask for
    /// fewer old values in one command.
    #[error("ERR the answer is larger than {MAX_ANSWER} bytes; ask for less at once, or use SCAN")]
    AnswerTooLarge,
    /// The command or question is not one of this version. Nothing was changed. It happens only
    /// when nodes run different versions: bring them to the same one.
    #[error("ERR this node does not know the command; do all nodes run the same version?")]
    Undecodable,
}

/// Encodes a list of writes, reads or replies. The first of these is a command of a session.
pub fn encode<T: Serialize>(list: &[T]) -> Bytes {
    // Encoding into memory can't fail for these types. Should it ever, the empty bytes are no list,
    // and the other side answers with `Failure::Undecodable`.
    postcard::to_stdvec(list).unwrap_or_default().into()
}

/// Decodes what [`encode`] made of a list; `None` for anything else, such as bytes left at the end.
#[must_use]
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Option<Vec<T>> {
    match postcard::take_from_bytes(bytes) {
        Ok((list, [])) => Some(list),
        _ => None,
    }
}

impl Write {
    /// The bytes of its keys and values, and a little for each.
    pub(crate) fn size(&self) -> usize {
        const EACH: usize = 16;
        match self {
            Self::Set { key, value, .. } | Self::Append { key, value } => {
                key.len() + value.len() + EACH
            }
            Self::SetMany(pairs) => pairs.iter().map(|(k, v)| k.len() + v.len() + EACH).sum(),
            Self::Delete(keys) => keys.iter().map(|key| key.len() + EACH).sum(),
            Self::Add { key, .. } => key.len() + EACH,
            Self::Clear => EACH,
        }
    }

    /// The most bytes of values that its answer can have.
    pub(crate) const fn largest_answer(&self) -> usize {
        match self {
            Self::Set { answer: SetAnswer::Old, .. } => MAX_VALUE,
            _ => 0,
        }
    }
}

impl Read {
    /// The bytes of its keys and patterns, and a little for each.
    pub(crate) fn size(&self) -> usize {
        const EACH: usize = 16;
        match self {
            Self::Get(key) | Self::Length(key) | Self::Keys(key) => key.len() + EACH,
            Self::GetMany(keys) | Self::Exists(keys) => {
                keys.iter().map(|key| key.len() + EACH).sum()
            }
            Self::Scan { pattern, .. } => pattern.as_ref().map_or(0, Bytes::len) + EACH,
            Self::Size => EACH,
        }
    }
}
