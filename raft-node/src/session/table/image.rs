//! The table in a snapshot: `SESS`, a version, then numbers as varints: the limits, the clock, the
//! number of sessions, and for each session its fields in order, the number of its answers, and for
//! each of these the sequence number, the index, the length (zero if it was forgotten, since none
//! is empty) and the bytes.

use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;

use bytes::Bytes;
use raft_core::LogIndex;

use super::record::{Kept, Record};
use super::{SessionLimits, Table};
use crate::io::{self, Read, Write};
use crate::session::varint::{self, invalid};

const MAGIC: [u8; 4] = *b"SESS";
const VERSION: u8 = 1;

/// The table as it was, for a snapshot. It shares the sessions with the table, which copies one
/// when it changes it.
pub(in crate::session) struct Image {
    limits: SessionLimits,
    clock: u64,
    sessions: BTreeMap<LogIndex, Arc<Record>>,
}

impl Image {
    pub(in crate::session) fn write(&self, to: &mut dyn Write) -> io::Result<()> {
        let mut buffer = MAGIC.to_vec();
        buffer.push(VERSION);
        self.limits.put(&mut buffer);
        varint::put(&mut buffer, self.clock);
        varint::put(&mut buffer, self.sessions.len() as u64);
        to.write_all(&buffer)?;
        for (id, record) in &self.sessions {
            buffer.clear();
            varint::put(&mut buffer, id.get());
            record.put(&mut buffer);
            to.write_all(&buffer)?;
        }
        Ok(())
    }
}

impl Record {
    fn put(&self, out: &mut Vec<u8>) {
        let Self { opened, used_at, used, leapt, acknowledged, window, answers } = self;
        for number in [*opened, *used_at, used.get(), *leapt, *acknowledged, (*window).into()] {
            varint::put(out, number);
        }
        varint::put(out, answers.len() as u64);
        for (&sequence, kept) in answers {
            let answer = kept.answer.as_deref().unwrap_or_default();
            for number in [sequence, kept.index.get(), answer.len() as u64] {
                varint::put(out, number);
            }
            out.extend_from_slice(answer);
        }
    }

    fn read(from: &mut impl Read) -> io::Result<Self> {
        let mut record = Self {
            opened: varint::read(from)?,
            used_at: varint::read(from)?,
            used: read_index(from)?,
            leapt: varint::read(from)?,
            acknowledged: varint::read(from)?,
            window: varint::read_u32(from)?,
            answers: BTreeMap::new(),
        };
        for _ in 0..varint::read(from)? {
            let sequence = varint::read(from)?;
            let index = read_index(from)?;
            let answer = read_answer(from)?;
            if record.answers.insert(sequence, Kept { index, answer }).is_some() {
                return Err(invalid("a sequence number appears twice"));
            }
        }
        Ok(record)
    }
}

impl Table {
    /// Costs as much as a copy of a map of pointers, and one copy of a session for each that is
    /// used while the image is being written.
    pub(in crate::session) fn image(&self) -> Image {
        Image { limits: self.limits, clock: self.clock, sessions: self.sessions.clone() }
    }

    /// Reads a table back. Memory grows only with the bytes that are really there, and never with
    /// what they claim about what follows.
    pub(in crate::session) fn read(from: &mut impl Read, index: LogIndex) -> io::Result<Self> {
        let mut head = [0; MAGIC.len() + 1];
        from.read_exact(&mut head)?;
        let [magic @ .., version] = head;
        if magic != MAGIC {
            return Err(invalid("the snapshot has no table of sessions"));
        }
        if version != VERSION {
            return Err(invalid("the table of sessions has a version that is not known"));
        }
        let limits = SessionLimits::read(from)?;
        let clock = varint::read(from)?;
        let mut sessions = BTreeMap::new();
        for _ in 0..varint::read(from)? {
            let (id, record) = (read_index(from)?, Record::read(from)?);
            if record.used > index || sessions.insert(id, Arc::new(record)).is_some() {
                return Err(invalid("a session appears twice, or comes after the snapshot"));
            }
        }
        let table = Self::of(limits, clock, sessions);
        if table.is_consistent() { Ok(table) } else { Err(invalid("the sessions make no sense")) }
    }
}

fn read_index(from: &mut impl Read) -> io::Result<LogIndex> {
    LogIndex::new(varint::read(from)?).ok_or_else(|| invalid("no such index"))
}

fn read_answer(from: &mut impl Read) -> io::Result<Option<Bytes>> {
    let len = varint::read(from)?;
    let mut answer = Vec::new();
    if from.take(len).read_to_end(&mut answer)? as u64 != len {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok((len > 0).then(|| answer.into()))
}
