//! The order of the keys, and the two ways to walk over them.
//!
//! A `SCAN` cursor is a number, has no memory on the server, and must work on another node than the
//! one that gave it. So the keys are kept in the order of a checksum, and a cursor is a checksum:
//! all keys before it have been returned. A key never moves, so one that exists from the first step
//! to the last is returned exactly once, whatever is written between the steps.

use std::ops::Bound;

use bytes::Bytes;

use super::{Entries, Failure, Glob, Reply};
use crate::limits::{MAX_ANSWER, MAX_SCAN_COUNT};

/// Where a key is in the order of all keys.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    /// From 1 on, because cursor 0 means the beginning in a request and the end in an answer. It
    /// stays far below 2^53: some clients keep cursors in floating point.
    position: u64,
    key: Bytes,
}

impl Place {
    /// The place of a key. It is the same on every node and in every version.
    pub(super) fn of(key: Bytes) -> Self {
        Self { position: u64::from(crc32fast::hash(&key)) + 1, key }
    }

    pub(super) const fn key(&self) -> &Bytes {
        &self.key
    }
}

/// All keys that match.
pub(super) fn keys(entries: &Entries, pattern: &[u8]) -> Reply {
    let glob = Glob::new(pattern);
    let mut size = 0_usize;
    let mut keys = Vec::new();
    for place in entries.keys().filter(|place| glob.matches(&place.key)) {
        size += place.key.len();
        if size > MAX_ANSWER {
            return Reply::Failed(Failure::AnswerTooLarge);
        }
        keys.push(place.key.clone());
    }
    Reply::Keys(keys)
}

/// The matching ones of about `count` keys from `cursor` on. All keys of one position come in the
/// same step, because a cursor can't point between them.
pub(super) fn step(entries: &Entries, cursor: u64, pattern: Option<&[u8]>, count: u64) -> Reply {
    let glob = pattern.map(Glob::new);
    let count = count.clamp(1, MAX_SCAN_COUNT);
    let start = Place { position: cursor, key: Bytes::new() };
    let (mut seen, mut size, mut last) = (0_u64, 0_usize, 0_u64);
    let mut keys = Vec::new();
    for place in entries.range((Bound::Included(start), Bound::Unbounded)).map(|(place, _)| place) {
        let enough = seen >= count || size > MAX_ANSWER / 2;
        if enough && place.position != last {
            return Reply::Scanned { cursor: place.position, keys };
        }
        if glob.as_ref().is_none_or(|glob| glob.matches(&place.key)) {
            size += place.key.len();
            keys.push(place.key.clone());
        }
        seen += 1;
        last = place.position;
    }
    Reply::Scanned { cursor: 0, keys }
}
