//! The replicated state machine: an ordered map in memory, rebuilt at each start from the newest
//! snapshot and the log behind it.

mod glob;
mod image;
mod message;
mod scan;
#[cfg(test)]
mod tests;

use std::io;

use bytes::{Bytes, BytesMut};
use raft_node::core::LogIndex;
use raft_node::session::{KeepsItsState, SessionLimits, Sessions};
use raft_node::{FrozenState, StateMachine};
use rpds::RedBlackTreeMapSync;

pub use glob::Glob;
pub use message::{Condition, Failure, Read, Reply, SetAnswer, Write};
pub use message::{decode, encode};

use crate::limits::{MAX_ANSWER, MAX_VALUE};
use scan::Place;

/// The keys and values.
///
/// A command is a list of [`Write`]s and its answer a list with one [`Reply`] for each; a write
/// whose reply would make the answer larger than [`MAX_ANSWER`] is not carried out. A question
/// is a list of [`Read`]s; its answer has at least one reply, and fewer replies than reads when all
/// of them would be too large together: ask again for the rest. Bytes that are no such list change
/// nothing and are answered with [`Failure::Undecodable`].
#[derive(Debug, Default)]
pub struct Store {
    entries: Entries,
}

/// Two versions of the map share all that is the same in both, so a copy for a snapshot costs
/// nothing but a counter. Later writes copy the few nodes on the way to their key, once.
type Entries = RedBlackTreeMapSync<Place, Bytes>;

/// What each node of a cluster is given: an empty store that knows the sessions of clients.
///
/// # Errors
/// None: the store keeps nothing by itself.
pub fn replica() -> Result<Sessions<Store>, KeepsItsState> {
    Sessions::new(Store::default(), SessionLimits::default())
}

impl Store {
    /// Carries out one write.
    pub fn write(&mut self, write: Write) -> Reply {
        self.write_within(MAX_ANSWER, write)
    }

    /// Carries out one write, unless its reply would have more than `room` bytes of values.
    fn write_within(&mut self, room: usize, write: Write) -> Reply {
        match write {
            Write::Set { key, value, condition, answer } => {
                self.set(room, key, value, (condition, answer))
            }
            Write::SetMany(pairs) => {
                for (key, value) in pairs {
                    self.entries.insert_mut(Place::of(key), value);
                }
                Reply::Ok
            }
            Write::Delete(keys) => {
                let mut removed = |key| self.entries.remove_mut(&Place::of(key));
                count(keys.into_iter().map(&mut removed).filter(|removed| *removed).count())
            }
            Write::Append { key, value } => self.append(key, &value),
            Write::Add { key, by } => self.add(key, by),
            Write::Clear => {
                self.entries = Entries::default();
                Reply::Ok
            }
        }
    }

    /// Answers one read.
    #[must_use]
    pub fn read(&self, read: Read) -> Reply {
        match read {
            Read::Get(key) => self.get(key).cloned().map_or(Reply::Nil, Reply::Value),
            Read::GetMany(keys) => self.get_many(keys),
            Read::Exists(keys) => {
                count(keys.into_iter().filter(|key| self.get(key.clone()).is_some()).count())
            }
            Read::Length(key) => count(self.get(key).map_or(0, Bytes::len)),
            Read::Keys(pattern) => scan::keys(&self.entries, &pattern),
            Read::Scan { cursor, pattern, count } => {
                scan::step(&self.entries, cursor, pattern.as_deref(), count)
            }
            Read::Size => count(self.entries.size()),
        }
    }

    fn get(&self, key: Bytes) -> Option<&Bytes> {
        self.entries.get(&Place::of(key))
    }

    fn get_many(&self, keys: Vec<Bytes>) -> Reply {
        let mut size = 0_usize;
        let mut values = Vec::new();
        for key in keys {
            let value = self.get(key).cloned();
            size += value.as_ref().map_or(0, Bytes::len);
            if size > MAX_ANSWER {
                return Reply::Failed(Failure::AnswerTooLarge);
            }
            values.push(value);
        }
        Reply::Values(values)
    }

    fn set(
        &mut self,
        room: usize,
        key: Bytes,
        value: Bytes,
        (condition, answer): (Condition, SetAnswer),
    ) -> Reply {
        let place = Place::of(key);
        let old = self.entries.get(&place).cloned();
        if answer == SetAnswer::Old && old.as_ref().map_or(0, Bytes::len) > room {
            return Reply::Failed(Failure::AnswerTooLarge);
        }
        let set = match condition {
            Condition::Always => true,
            Condition::Absent => old.is_none(),
            Condition::Present => old.is_some(),
        };
        if set {
            self.entries.insert_mut(place, value);
        }
        match answer {
            SetAnswer::Outcome if set => Reply::Ok,
            SetAnswer::Outcome => Reply::Nil,
            SetAnswer::Old => old.map_or(Reply::Nil, Reply::Value),
            SetAnswer::Count => count(usize::from(set)),
        }
    }

    fn append(&mut self, key: Bytes, tail: &Bytes) -> Reply {
        let place = Place::of(key);
        let head = self.entries.get(&place).map_or(&[][..], |value| value);
        let length = head.len() + tail.len();
        if length > MAX_VALUE {
            return Reply::Failed(Failure::TooLong);
        }
        let mut value = BytesMut::with_capacity(length);
        value.extend_from_slice(head);
        value.extend_from_slice(tail);
        self.entries.insert_mut(place, value.freeze());
        count(length)
    }

    fn add(&mut self, key: Bytes, by: i64) -> Reply {
        let place = Place::of(key);
        let old = match self.entries.get(&place) {
            None => 0,
            Some(value) => match parse_integer(value) {
                Some(number) => number,
                None => return Reply::Failed(Failure::NotAnInteger),
            },
        };
        match old.checked_add(by) {
            Some(sum) => {
                self.entries.insert_mut(place, sum.to_string().into());
                Reply::Integer(sum)
            }
            None => Reply::Failed(Failure::Overflow),
        }
    }
}

impl StateMachine for Store {
    fn apply(&mut self, _: LogIndex, command: Bytes) -> Bytes {
        let Some(writes) = decode::<Write>(&command) else {
            return encode(&[Reply::Failed(Failure::Undecodable)]);
        };
        // A short command can ask for the same long value many times, and every replica makes the
        // answer, at every replay.
        let mut room = MAX_ANSWER;
        let mut replies = Vec::with_capacity(writes.len());
        for write in writes {
            let reply = self.write_within(room, write);
            room = room.saturating_sub(reply.size());
            replies.push(reply);
        }
        encode(&replies)
    }

    fn query(&self, query: Bytes) -> Bytes {
        let Some(reads) = decode::<Read>(&query) else {
            return encode(&[Reply::Failed(Failure::Undecodable)]);
        };
        let mut size = 0_usize;
        let mut replies = Vec::with_capacity(reads.len());
        for read in reads {
            let reply = self.read(read);
            size += reply.size();
            if size > MAX_ANSWER && !replies.is_empty() {
                break;
            }
            replies.push(reply);
        }
        encode(&replies)
    }

    fn snapshot(&self) -> FrozenState {
        let entries = self.entries.clone();
        Box::new(move |to| image::write(&entries, to))
    }

    fn restore(&mut self, _: LogIndex, state: &mut dyn io::Read) -> io::Result<()> {
        self.entries = image::read(state)?;
        Ok(())
    }
}

impl Reply {
    /// The bytes of its keys and values.
    fn size(&self) -> usize {
        match self {
            Self::Value(value) => value.len(),
            Self::Values(values) => values.iter().flatten().map(Bytes::len).sum(),
            Self::Keys(keys) | Self::Scanned { keys, .. } => keys.iter().map(Bytes::len).sum(),
            Self::Ok | Self::Nil | Self::Integer(_) | Self::Failed(_) => 0,
        }
    }
}

fn count(number: usize) -> Reply {
    Reply::Integer(i64::try_from(number).unwrap_or(i64::MAX))
}

/// Reads a number as Redis does: only the form in which it would be printed, so neither `+1` nor
/// `01` nor ` 1`.
pub(crate) fn parse_integer(text: &[u8]) -> Option<i64> {
    let number: i64 = std::str::from_utf8(text).ok()?.parse().ok()?;
    (number.to_string().as_bytes() == text).then_some(number)
}
