//! The log and the hard state in flash.
//!
//! The flash is two banks. One of them is in use: it begins with a frame that has its generation, and
//! the writes follow it, a frame for each. When it is full, what is still of use is copied to the
//! other bank, whose first frame is written last: it makes that bank the one in use. Then the first
//! frame of the old bank is erased, before anything else is written: so two banks that begin with a
//! frame hold the same, and a bank whose first frame is damaged is not passed over for an older one.
//! When even the copy does not fit, the log is full, and the node has to stop.

use alloc::collections::VecDeque;
use alloc::string::ToString;
use alloc::vec;
use alloc::vec::Vec;

use bytes::Bytes;
use embedded_storage::nor_flash::NorFlash;
use raft_node::core::{
    Arc, Entries, Entry, HardState, LogIndex, LogPosition, Membership, Payload, StoredLog, Term,
    TermStart, Write,
};
use raft_node::fit::{self, Bounds};
use raft_node::record::{self, Place};
use raft_node::{LogStore, StoreError};

use crate::frame::{self, Found, body_at, failed, size};

const WRITE: u8 = 1;
const METADATA: u8 = 2;
/// The body of a bank's first frame: what it is, the version of the format, the generation.
const MAGIC: &[u8; 4] = b"RFL1";
const HEAD: usize = 8;
/// So many bytes of entries are copied at a time, unless a single one is larger.
const COPY_BYTES: usize = 4096;

/// A log in flash. In memory it has the place of each entry (24 bytes for each), and nothing of what
/// they carry. Both banks have to begin where a sector does.
pub struct FlashLog<F> {
    flash: F,
    bank: u32,
    generation: u32,
    /// Where the next frame goes.
    end: u32,
    metadata: Bytes,
    index: Index,
}

/// The first frame of a bank. Of two, the one that was finished counts, and then the newer one.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Head {
    is_sealed: bool,
    generation: u32,
    bank: u32,
}

#[derive(Default)]
struct Index {
    hard_state: HardState,
    begin_after: LogPosition,
    entries: VecDeque<(Place, Term)>,
    memberships: Vec<(LogIndex, Arc<Membership>)>,
}

impl Index {
    fn last(&self) -> LogIndex {
        self.begin_after.index.plus(self.entries.len() as u64)
    }

    fn get(&self, index: LogIndex) -> Option<(Place, Term)> {
        let nth = index.since(self.begin_after.index).checked_sub(1)?;
        self.entries.get(usize::try_from(nth).ok()?).copied()
    }

    fn check(&self, write: &Write) -> Result<Bounds, StoreError> {
        let bounds = Bounds { begin_after: self.begin_after, last: self.last() };
        fit::check(write, bounds, |index| self.get(index).map(|(_, term)| term))
            .map_err(|what| StoreError::OutOfOrder { what })
    }

    fn take(&mut self, write: &Write, left: Bounds, places: Vec<Place>) {
        self.hard_state = write.hard_state.unwrap_or(self.hard_state);
        let count = |index: LogIndex, from: LogIndex| {
            usize::try_from(index.since(from)).unwrap_or(usize::MAX)
        };
        let old = self.begin_after.index;
        self.entries.truncate(count(left.last, old));
        let gone = count(left.begin_after.index, old).min(self.entries.len());
        self.entries.drain(..gone);
        self.begin_after = left.begin_after;
        self.memberships.retain(|(at, _)| *at > left.begin_after.index && *at <= left.last);
        for (entry, place) in write.entries.iter().zip(places) {
            self.entries.push_back((place, entry.term));
            if let Payload::Membership(membership) = &entry.payload {
                self.memberships.push((entry.index, membership.clone()));
            }
        }
    }
}

impl<F: NorFlash> FlashLog<F> {
    /// Opens the log that is in this flash, or makes one if the flash is erased. What was not
    /// finished when the power failed is cut off, unless all of it but the seal was written.
    ///
    /// # Errors
    /// The flash fails, or is neither erased nor a log, or is damaged. Don't erase it and go on: the
    /// node would have forgotten what it promised. Only if the power has failed twice while the log
    /// was made, at the factory, it was never one: erase it again.
    pub fn open(flash: F) -> Result<Self, StoreError> {
        let (metadata, index) = (Bytes::new(), Index::default());
        let mut log = Self { flash, bank: 0, generation: 0, end: 0, metadata, index };
        match log.head(0)?.max(log.head(1)?) {
            None => log.format()?,
            Some(Head { is_sealed, generation, bank }) => {
                (log.generation, log.bank) = (generation, bank);
                let is_torn = log.recover()?;
                log.retire(1 - bank)?;
                if is_torn || !is_sealed {
                    log.compact()?;
                }
            }
        }
        Ok(log)
    }

    fn start(&self, bank: u32) -> u32 {
        bank * self.bank_bytes()
    }

    /// The first frame of a bank, if there is one.
    fn head(&mut self, bank: u32) -> Result<Option<Head>, StoreError> {
        let from = self.start(bank);
        // Only the first frame is looked at here, so what is behind it is none of its business.
        let (body, is_sealed) =
            match frame::read(&mut self.flash, from, from + size::<F>(HEAD) as u32)? {
                Found::Frame(body) => (body, true),
                Found::Torn(Some(body)) => (body, false),
                // An erasure that was cut short leaves anything.
                Found::Nothing | Found::Torn(None) | Found::Damaged(_) => return Ok(None),
            };
        let generation = body.strip_prefix(MAGIC).and_then(|it| it.try_into().ok());
        let head = |it| Head { is_sealed, generation: u32::from_le_bytes(it), bank };
        Ok(generation.map(head))
    }

    /// Begins a log in erased flash, in which at most the first frame was begun.
    fn format(&mut self) -> Result<(), StoreError> {
        let (from, end) = (size::<F>(HEAD) as u32, self.flash.capacity() as u32);
        if !frame::is_erased(&mut self.flash, from, end)? {
            let what =
                "the flash is neither erased nor a log, or the log is damaged where it begins";
            return Err(StoreError::Other(what.to_string()));
        }
        self.retire(0)?;
        self.seal(0, 1)?;
        self.end = from;
        Ok(())
    }

    /// Takes care that a bank has no first frame.
    fn retire(&mut self, bank: u32) -> Result<(), StoreError> {
        let start = self.start(bank);
        if !frame::is_erased(&mut self.flash, start, start + size::<F>(HEAD) as u32)? {
            self.flash.erase(start, start + F::ERASE_SIZE as u32).map_err(failed)?;
        }
        Ok(())
    }

    /// Makes a bank the one in use.
    fn seal(&mut self, bank: u32, generation: u32) -> Result<(), StoreError> {
        let body = [&MAGIC[..], &generation.to_le_bytes()].concat();
        let at = self.start(bank);
        frame::write(&mut self.flash, at, &body)?;
        (self.bank, self.generation) = (bank, generation);
        Ok(())
    }

    /// Reads the bank in use. Says whether its last frame was not finished.
    fn recover(&mut self) -> Result<bool, StoreError> {
        let start = self.start(self.bank);
        let bank_end = start + self.bank_bytes();
        self.end = start + size::<F>(HEAD) as u32;
        loop {
            let (body, is_finished) = match frame::read(&mut self.flash, self.end, bank_end)? {
                Found::Nothing => return Ok(false),
                Found::Torn(None) => return Ok(true),
                Found::Torn(Some(body)) => (body, false),
                Found::Frame(body) => (body, true),
                Found::Damaged(what) => return Err(frame::damaged(what, self.end)),
            };
            let frame_bytes = size::<F>(body.len()) as u32;
            self.replay(body)?;
            self.end += frame_bytes;
            if !is_finished {
                return Ok(true);
            }
        }
    }

    fn replay(&mut self, body: Vec<u8>) -> Result<(), StoreError> {
        let damaged = |what| frame::damaged(what, self.end);
        let mut body = Bytes::from(body);
        if body.is_empty() {
            return Err(damaged("an empty frame"));
        }
        let kind = body.split_to(1);
        match kind.first() {
            Some(&METADATA) => self.metadata = body,
            Some(&WRITE) => {
                let base = u64::from(body_at::<F>(self.end)) + 1;
                let (write, places) = record::decode(body, base).map_err(damaged)?;
                let left = self.index.check(&write)?;
                self.index.take(&write, left, places);
            }
            _ => return Err(damaged("a frame of an unknown kind")),
        }
        Ok(())
    }

    /// Adds a frame to the bank in use, which is changed for the other one if it is full.
    fn add(&mut self, kind: u8, content: &[u8]) -> Result<(), StoreError> {
        let bytes = size::<F>(content.len() + 1) as u32;
        if self.end + bytes > self.start(self.bank) + self.bank_bytes() {
            self.compact()?;
        }
        self.end = self.put(self.bank, self.end, kind, content)?;
        Ok(())
    }

    /// Writes a frame into a bank, if there is room. Says where the next one goes.
    fn put(&mut self, bank: u32, at: u32, kind: u8, content: &[u8]) -> Result<u32, StoreError> {
        let body = [&[kind], content].concat();
        let next = at + size::<F>(body.len()) as u32;
        if next > self.start(bank) + self.bank_bytes() {
            return Err(StoreError::Other("the flash of the log is full".to_string()));
        }
        frame::write(&mut self.flash, at, &body)?;
        Ok(next)
    }

    /// Copies what is of use to the other bank, and goes on there. The entries are copied a few at a
    /// time: a frame for each might take more room than they have now, and all at once more memory.
    fn compact(&mut self) -> Result<(), StoreError> {
        let bank = 1 - self.bank;
        let start = self.start(bank);
        self.flash.erase(start, start + self.bank_bytes()).map_err(failed)?;
        let mut end = start + size::<F>(HEAD) as u32;
        end = self.put(bank, end, METADATA, &self.metadata.clone())?;
        let state = Write {
            hard_state: Some(self.index.hard_state),
            begin_after: (self.index.begin_after != LogPosition::default())
                .then_some(self.index.begin_after),
            ..Write::default()
        };
        let mut bytes = Vec::new();
        record::encode(&state, &mut bytes, 0);
        end = self.put(bank, end, WRITE, &bytes)?;
        let mut places = VecDeque::new();
        while let Some(entries) = self.next_to_copy(places.len())? {
            bytes.clear();
            let base = u64::from(body_at::<F>(end)) + 1;
            let terms: Vec<Term> = entries.iter().map(|entry| entry.term).collect();
            let copied = record::encode(&Write { entries, ..Write::default() }, &mut bytes, base);
            places.extend(copied.into_iter().zip(terms));
            end = self.put(bank, end, WRITE, &bytes)?;
        }
        self.seal(bank, self.generation + 1)?;
        self.index.entries = places;
        self.end = end;
        self.retire(1 - bank)
    }

    /// Reads entries, as [`LogStore::load`] does.
    fn read(
        &mut self,
        from: LogIndex,
        through: LogIndex,
        max_bytes: usize,
    ) -> Result<Entries, StoreError> {
        let (mut entries, mut bytes, mut index) = (Vec::new(), 0_usize, from);
        while index <= through
            && let Some((place, _)) = self.index.get(index)
        {
            let entry = self.entry(index, place)?;
            bytes = bytes.saturating_add(entry.size());
            if bytes > max_bytes && !entries.is_empty() {
                break;
            }
            entries.push(entry);
            index = index.next();
        }
        Entries::new(entries)
            .ok_or(StoreError::OutOfOrder { what: "the stored entries are not consecutive" })
    }

    /// Reads the entries behind the first `copied`: at least one, if there is one, and no more than
    /// fit into a frame of some size.
    fn next_to_copy(&mut self, copied: usize) -> Result<Option<Entries>, StoreError> {
        let from = self.index.begin_after.index.plus(copied as u64 + 1);
        let entries = self.read(from, self.index.last(), COPY_BYTES)?;
        Ok((!entries.is_empty()).then_some(entries))
    }

    /// Reads one entry.
    fn entry(&mut self, index: LogIndex, place: Place) -> Result<Entry, StoreError> {
        // Flash may be readable in words only.
        let read = F::READ_SIZE as u32;
        let at = place.offset as u32;
        let from = at / read * read;
        let skipped = (at - from) as usize;
        let mut bytes = vec![0; (skipped + place.len as usize).next_multiple_of(F::READ_SIZE)];
        self.flash.read(from, &mut bytes).map_err(failed)?;
        let body = Bytes::from(bytes).slice(skipped..skipped + place.len as usize);
        if crc32fast::hash(&body) != place.crc {
            return Err(frame::damaged("an entry", at));
        }
        record::decode_entry(index, body).map_err(|what| frame::damaged(what, at))
    }

    /// The flash between the first entry and the end of the last, in bytes: so much of it can't be
    /// freed before a snapshot covers it.
    pub fn entry_bytes(&self) -> u32 {
        let span = |(first, last): (&(Place, Term), &(Place, Term))| {
            last.0.end().saturating_sub(first.0.offset) as u32
        };
        self.index.entries.front().zip(self.index.entries.back()).map_or(0, span)
    }

    /// The flash that the log can have, in bytes.
    pub fn bank_bytes(&self) -> u32 {
        (self.flash.capacity() / 2) as u32
    }
}

impl<F: NorFlash + Send + 'static> LogStore for FlashLog<F> {
    fn restore(&mut self) -> Result<StoredLog, StoreError> {
        let index = &self.index;
        let mut terms: Vec<TermStart> = Vec::new();
        let mut first = index.begin_after.index;
        for (_, term) in &index.entries {
            first = first.next();
            if terms.last().is_none_or(|start| start.term != *term) {
                terms.push(TermStart { first, term: *term });
            }
        }
        Ok(StoredLog {
            hard_state: index.hard_state,
            begin_after: index.begin_after,
            terms,
            last: index.last(),
            memberships: index.memberships.clone(),
        })
    }

    fn append(&mut self, writes: &[Write]) -> Result<(), StoreError> {
        for write in writes.iter().filter(|write| !record::is_empty(write)) {
            let left = self.index.check(write)?;
            let mut bytes = Vec::new();
            let mut places = record::encode(write, &mut bytes, 0);
            self.add(WRITE, &bytes)?;
            // Only now it is known where the frame is.
            let frame = self.end - size::<F>(bytes.len() + 1) as u32;
            let base = u64::from(body_at::<F>(frame)) + 1;
            places.iter_mut().for_each(|place| place.offset += base);
            self.index.take(write, left, places);
        }
        Ok(())
    }

    fn load(
        &mut self,
        from: LogIndex,
        through: LogIndex,
        max_bytes: usize,
    ) -> Result<Entries, StoreError> {
        self.read(from, through, max_bytes)
    }

    fn metadata(&mut self) -> Result<Bytes, StoreError> {
        Ok(self.metadata.clone())
    }

    fn set_metadata(&mut self, metadata: &[u8]) -> Result<(), StoreError> {
        self.add(METADATA, metadata)?;
        self.metadata = Bytes::copy_from_slice(metadata);
        Ok(())
    }
}
