//! One [`Write`] as bytes, for stores: what [`FileLog`](crate::FileLog) has in its frames, and what a
//! store of your own may have in its own.
//!
//! A frame around it is the store's business: where it begins and ends, and whether all of it is
//! there. The parts of a write come in this order, each if it is there; numbers are little-endian.
//!
//! | part | bytes |
//! | --- | --- |
//! | hard state | 1 (u8), term (u64), whether there is a vote (u8), for whom (u64) |
//! | `truncate_from` | 2 (u8), index (u64) |
//! | `begin_after` | 3 (u8), index and term (u64 each) |
//! | entries | 4 (u8), first index (u64), their number (u32); each: length (u32), then so many bytes: term (u64), kind (u8: 0 no-op, 1 command, 2 membership), content |

use alloc::vec::Vec;

use bytes::{Buf, BufMut, Bytes};
use raft_core::{
    Arc, Entries, Entry, HardState, LogIndex, LogPosition, Membership, NodeId, Payload, Term, Write,
};

#[cfg(feature = "std")]
use crate::fit::Bounds;

const HARD_STATE: u8 = 1;
const TRUNCATE: u8 = 2;
const BEGIN: u8 = 3;
const ENTRIES: u8 = 4;
#[cfg(feature = "std")]
const HEAD: u8 = 5;

const NOOP: u8 = 0;
const COMMAND: u8 = 1;
const MEMBERSHIP: u8 = 2;

const HARD_STATE_BYTES: u64 = 18;
const TRUNCATE_BYTES: u64 = 9;
const BEGIN_BYTES: u64 = 17;
const ENTRIES_BYTES: u64 = 13;
const ENTRY_LEN_BYTES: u64 = 4;

/// The length of the record that a segment begins with.
#[cfg(feature = "std")]
pub(crate) const HEAD_BYTES: u64 = 42;

/// The length of an entry's body without its command or configuration.
pub(crate) const ENTRY_BYTES: u32 = 9;

const SHORT: &str = "a record is longer than its frame";

/// Where the body of an entry is in its file or flash, and the checksum by which it is known again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Where its body begins, counted as the `base` of [`encode`] is.
    pub offset: u64,
    /// The length of its body in bytes.
    pub len: u32,
    /// The CRC-32 of its body.
    pub crc: u32,
}

impl Place {
    /// The offset of the byte behind the entry.
    #[must_use]
    pub fn end(self) -> u64 {
        self.offset.saturating_add(u64::from(self.len))
    }
}

/// What the segments before one have come to. Each segment but the first begins with it, so that
/// those before it can be removed when their entries are of no use any more, and so that it shows
/// when they are missing although their entries are of use.
#[cfg(feature = "std")]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) hard_state: HardState,
    pub(crate) bounds: Bounds,
}

/// Whether a write is without any content. Such a one needs no frame.
#[must_use]
pub fn is_empty(write: &Write) -> bool {
    let Write { ticket: _, hard_state, truncate_from, begin_after, entries } = write;
    let removes = truncate_from.is_some() || begin_after.is_some();
    hard_state.is_none() && !removes && entries.is_empty()
}

/// The number of bytes that [`encode`] will append.
#[must_use]
pub fn encoded_len(write: &Write) -> u64 {
    let entry = |entry: &Entry| {
        let content = match &entry.payload {
            Payload::Noop => 0,
            Payload::Command(command) => command.len() as u64,
            Payload::Membership(membership) => membership.encode().len() as u64,
        };
        ENTRY_LEN_BYTES + u64::from(ENTRY_BYTES) + content
    };
    let entries: u64 = write.entries.iter().map(entry).sum();
    write.hard_state.map_or(0, |_| HARD_STATE_BYTES)
        + write.truncate_from.map_or(0, |_| TRUNCATE_BYTES)
        + write.begin_after.map_or(0, |_| BEGIN_BYTES)
        + write.entries.first().map_or(0, |_| ENTRIES_BYTES)
        + entries
}

/// Appends `write` to `out` and says where its entries are, when `out` begins at `base`. The caller has
/// made sure that [`encoded_len`] is below 4 GiB, so no length is cut.
pub fn encode(write: &Write, out: &mut Vec<u8>, base: u64) -> Vec<Place> {
    if let Some(hard_state) = write.hard_state {
        out.put_u8(HARD_STATE);
        encode_hard_state(hard_state, out);
    }
    if let Some(from) = write.truncate_from {
        out.put_u8(TRUNCATE);
        out.put_u64_le(from.get());
    }
    if let Some(position) = write.begin_after {
        out.put_u8(BEGIN);
        encode_position(position, out);
    }
    if let Some(first) = write.entries.first() {
        out.put_u8(ENTRIES);
        out.put_u64_le(first.index.get());
        out.put_u32_le(write.entries.len() as u32);
    }
    write.entries.iter().map(|entry| encode_entry(entry, out, base)).collect()
}

fn encode_entry(entry: &Entry, out: &mut Vec<u8>, base: u64) -> Place {
    let (kind, content) = match &entry.payload {
        Payload::Noop => (NOOP, Bytes::new()),
        Payload::Command(command) => (COMMAND, command.clone()),
        Payload::Membership(membership) => (MEMBERSHIP, membership.encode()),
    };
    let len = ENTRY_BYTES + content.len() as u32;
    out.put_u32_le(len);
    let start = out.len();
    out.put_u64_le(entry.term.get());
    out.put_u8(kind);
    out.put_slice(&content);
    let crc = crc32fast::hash(out.get(start..).unwrap_or_default());
    Place { offset: base + start as u64, len, crc }
}

fn encode_hard_state(HardState { term, vote }: HardState, out: &mut Vec<u8>) {
    out.put_u64_le(term.get());
    out.put_u8(u8::from(vote.is_some()));
    out.put_u64_le(vote.map_or(0, NodeId::get));
}

fn encode_position(position: LogPosition, out: &mut Vec<u8>) {
    out.put_u64_le(position.index.get());
    out.put_u64_le(position.term.get());
}

/// Appends a head to `out`: [`HEAD_BYTES`].
#[cfg(feature = "std")]
pub(crate) fn encode_head(head: Head, out: &mut Vec<u8>) {
    out.put_u8(HEAD);
    encode_hard_state(head.hard_state, out);
    encode_position(head.bounds.begin_after, out);
    out.put_u64_le(head.bounds.last.get());
}

/// Reads back what [`encode_head`] wrote. An error says what makes no sense.
#[cfg(feature = "std")]
pub(crate) fn decode_head(mut payload: Bytes) -> Result<Head, &'static str> {
    if payload.try_get_u8() != Ok(HEAD) {
        return Err("a segment does not begin with what those before it have come to");
    }
    let hard_state = decode_hard_state(&mut payload)?;
    let begin_after = decode_position(&mut payload)?;
    let last = decode_index(&mut payload)?;
    if !payload.is_empty() || last < begin_after.index {
        return Err("the beginning of a segment contradicts itself");
    }
    Ok(Head { hard_state, bounds: Bounds { begin_after, last } })
}

/// Reads back what [`encode`] wrote, from a payload that begins at `base`. The write has the default
/// ticket: tickets are not stored.
///
/// # Errors
/// The payload is something else, for this reason.
pub fn decode(payload: Bytes, base: u64) -> Result<(Write, Vec<Place>), &'static str> {
    let end = base + payload.len() as u64;
    let mut rest = payload;
    let mut write = Write::default();
    let mut places = Vec::new();
    let mut newest = 0;
    while let Ok(tag) = rest.try_get_u8() {
        if tag <= newest {
            return Err("the records of a frame are out of order");
        }
        newest = tag;
        match tag {
            HARD_STATE => write.hard_state = Some(decode_hard_state(&mut rest)?),
            TRUNCATE => write.truncate_from = Some(decode_index(&mut rest)?),
            BEGIN => write.begin_after = Some(decode_position(&mut rest)?),
            ENTRIES => (write.entries, places) = decode_entries(&mut rest, end)?,
            _ => return Err("a record of an unknown kind"),
        }
    }
    Ok((write, places))
}

/// Reads the body of the entry at `index`.
///
/// # Errors
/// It is something else, for this reason.
pub fn decode_entry(index: LogIndex, mut body: Bytes) -> Result<Entry, &'static str> {
    let term = decode_term(&mut body)?;
    let payload = match body.try_get_u8().map_err(|_| SHORT)? {
        NOOP if body.is_empty() => Payload::Noop,
        NOOP => return Err("an entry without a command has content"),
        COMMAND => Payload::Command(body),
        MEMBERSHIP => {
            let membership = Membership::decode(body).map_err(|_| "a garbled configuration")?;
            Payload::Membership(Arc::new(membership))
        }
        _ => return Err("an entry of an unknown kind"),
    };
    Ok(Entry { term, index, payload })
}

fn decode_entries(rest: &mut Bytes, end: u64) -> Result<(Entries, Vec<Place>), &'static str> {
    let mut index = decode_index(rest)?;
    let count = rest.try_get_u32_le().map_err(|_| SHORT)?;
    let mut entries = Vec::new();
    let mut places = Vec::new();
    for _ in 0..count {
        let len = rest.try_get_u32_le().map_err(|_| SHORT)?;
        let size = usize::try_from(len).map_err(|_| SHORT)?;
        if rest.len() < size {
            return Err(SHORT);
        }
        let offset = end - rest.len() as u64;
        let body = rest.split_to(size);
        places.push(Place { offset, len, crc: crc32fast::hash(&body) });
        entries.push(decode_entry(index, body)?);
        index = index.next();
    }
    let entries = Entries::new(entries).ok_or("entries that do not follow each other")?;
    Ok((entries, places))
}

fn decode_hard_state(rest: &mut Bytes) -> Result<HardState, &'static str> {
    let term = decode_term(rest)?;
    let voted = rest.try_get_u8().map_err(|_| SHORT)?;
    let vote = NodeId::new(rest.try_get_u64_le().map_err(|_| SHORT)?);
    match voted {
        0 => Ok(HardState { term, vote: None }),
        1 => Ok(HardState { term, vote: Some(vote) }),
        _ => Err("a vote that is neither given nor absent"),
    }
}

fn decode_position(rest: &mut Bytes) -> Result<LogPosition, &'static str> {
    Ok(LogPosition { index: decode_index(rest)?, term: decode_term(rest)? })
}

fn decode_term(rest: &mut Bytes) -> Result<Term, &'static str> {
    Term::new(rest.try_get_u64_le().map_err(|_| SHORT)?).ok_or("a number that is no term")
}

fn decode_index(rest: &mut Bytes) -> Result<LogIndex, &'static str> {
    LogIndex::new(rest.try_get_u64_le().map_err(|_| SHORT)?).ok_or("a number that is no index")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn position(index: u64, term: u64) -> LogPosition {
        LogPosition { index: LogIndex::new(index).unwrap(), term: Term::new(term).unwrap() }
    }

    fn sample() -> Write {
        let entry = |index, payload| Entry {
            term: Term::new(3).unwrap(),
            index: LogIndex::new(index).unwrap(),
            payload,
        };
        let members = Membership::new().voter(NodeId::new(1), "one:1").learner(NodeId::new(2), "");
        let entries = vec![
            entry(9, Payload::Noop),
            entry(10, Payload::Command(Bytes::from_static(b"set x"))),
            entry(11, Payload::Command(Bytes::new())),
            entry(12, Payload::Membership(Arc::new(members))),
        ];
        Write {
            hard_state: Some(HardState {
                term: Term::new(3).unwrap(),
                vote: Some(NodeId::new(u64::MAX)),
            }),
            truncate_from: LogIndex::new(9),
            begin_after: Some(position(8, 2)),
            entries: Entries::new(entries).unwrap(),
            ..Write::default()
        }
    }

    #[test]
    fn every_mix_of_records_reads_back() {
        for mask in 0..16 {
            let mut write = sample();
            if mask & 1 == 0 {
                write.hard_state = None;
            }
            if mask & 2 == 0 {
                write.truncate_from = None;
            }
            if mask & 4 == 0 {
                write.entries = Entries::empty();
            }
            if mask & 8 == 0 {
                write.begin_after = None;
            }
            let mut out = vec![0; 40];
            let places = encode(&write, &mut out, 1000);
            assert_eq!(out.len() as u64 - 40, encoded_len(&write));
            assert_eq!(out.len() == 40, is_empty(&write));
            let read = decode(Bytes::copy_from_slice(&out[40..]), 1040).unwrap();
            assert_eq!(read, (write, places));
        }
    }

    #[test]
    fn an_entry_reads_back_from_its_place() {
        let mut out = Vec::new();
        let write = sample();
        for (entry, place) in write.entries.iter().zip(encode(&write, &mut out, 500)) {
            let start = (place.offset - 500) as usize;
            let body = Bytes::copy_from_slice(&out[start..start + place.len as usize]);
            assert_eq!(crc32fast::hash(&body), place.crc);
            assert_eq!(&decode_entry(entry.index, body).unwrap(), entry);
        }
    }

    #[test]
    fn a_head_reads_back_and_is_no_write() {
        let bounds = Bounds { begin_after: position(7, 3), last: LogIndex::new(9).unwrap() };
        let head = Head { hard_state: sample().hard_state.unwrap(), bounds };
        let mut out = Vec::new();
        encode_head(head, &mut out);
        assert_eq!(out.len() as u64, HEAD_BYTES);
        let bytes = Bytes::from(out);
        assert_eq!(decode_head(bytes.clone()).unwrap(), head);
        assert!(decode(bytes.clone(), 0).is_err());
        assert!(decode_head(bytes.slice(..HEAD_BYTES as usize - 1)).is_err());
    }

    #[test]
    fn unknown_kinds_and_repeated_records_are_refused() {
        assert!(decode(Bytes::from_static(&[9]), 0).is_err());
        let mut twice = Vec::new();
        let write = Write { hard_state: Some(HardState::default()), ..Write::default() };
        encode(&write, &mut twice, 0);
        encode(&write, &mut twice, 0);
        assert!(decode(Bytes::from(twice), 0).is_err());
        let body = [&1_u64.to_le_bytes()[..], &[7]].concat();
        assert!(decode_entry(LogIndex::ZERO.next(), Bytes::from(body)).is_err());
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_the_decoder_panic(bytes: Vec<u8>, cut in 0_usize..100, flip: u8) {
            let _ = decode_head(Bytes::from(bytes.clone()));
            let _ = decode(Bytes::from(bytes), 0);
            let mut out = Vec::new();
            encode(&sample(), &mut out, 0);
            if let Some(byte) = out.get_mut(cut) {
                *byte ^= flip;
            }
            let _ = decode(Bytes::copy_from_slice(&out), 0);
            out.truncate(cut);
            let _ = decode(Bytes::from(out), 0);
        }
    }
}
