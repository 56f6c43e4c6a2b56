//! The newest snapshot in flash.
//!
//! The flash is two places. Each begins with a sector for the description, which is written last and
//! makes the snapshot complete; the bytes follow. A snapshot that arrives is written where the newest
//! one is not.

use alloc::vec;
use alloc::vec::Vec;

use bytes::Bytes;
use embedded_storage::nor_flash::NorFlash;
use raft_node::StoreError;
use raft_node::core::Snapshot;

use crate::frame::{self, Found, failed, size, unit};

/// Snapshots in flash: the newest one, and one that arrives. Both places have to begin where a sector
/// does. Serves a node whose state is opaque to it; one with a state machine of its own writes what
/// it has frozen with [`receive`](FlashSnapshots::receive), too.
pub struct FlashSnapshots<F> {
    flash: F,
    /// What is complete, at each place.
    complete: [Option<Snapshot>; 2],
    arriving: Option<Arriving>,
}

struct Arriving {
    snapshot: Snapshot,
    place: u32,
    /// So many bytes have come.
    received: u64,
    /// Those of them that don't fill a unit yet.
    rest: Vec<u8>,
    checksum: crc32fast::Hasher,
}

impl<F: NorFlash> FlashSnapshots<F> {
    /// Opens what is in this flash, and reads all of it to check it.
    ///
    /// # Errors
    /// The flash fails, or a complete snapshot is damaged.
    pub fn open(flash: F) -> Result<Self, StoreError> {
        let mut snapshots = Self { flash, complete: [None, None], arriving: None };
        for place in 0..2 {
            let found = snapshots.look(place)?;
            if let Some(slot) = snapshots.complete.get_mut(place as usize) {
                *slot = found;
            }
        }
        Ok(snapshots)
    }

    fn place_bytes(&self) -> u32 {
        (self.flash.capacity() / 2) as u32
    }

    fn start(&self, place: u32) -> u32 {
        place * self.place_bytes()
    }

    fn content(&self, place: u32) -> u32 {
        self.start(place) + F::ERASE_SIZE as u32
    }

    fn look(&mut self, place: u32) -> Result<Option<Snapshot>, StoreError> {
        let (at, end) = (self.start(place), self.content(place));
        let body = match frame::read(&mut self.flash, at, end)? {
            Found::Frame(body) | Found::Torn(Some(body)) => body,
            // A description that was not finished, or half erased, is none.
            Found::Nothing | Found::Torn(None) | Found::Damaged(_) => return Ok(None),
        };
        let damaged = |what| frame::damaged(what, at);
        let snapshot = Snapshot::decode(Bytes::from(body))
            .map_err(|_| damaged("the description of a snapshot"))?;
        let mut checksum = crc32fast::Hasher::new();
        let mut offset = 0;
        while offset < snapshot.size {
            let data = self.read_at(place, &snapshot, offset, 4096)?;
            if data.is_empty() {
                return Err(damaged("the size of a snapshot"));
            }
            checksum.update(&data);
            offset += data.len() as u64;
        }
        match checksum.finalize() == snapshot.checksum {
            true => Ok(Some(snapshot)),
            false => Err(damaged("the bytes of a snapshot")),
        }
    }

    /// The newest complete snapshot.
    pub fn newest(&self) -> Option<&Snapshot> {
        self.complete.iter().flatten().max_by_key(|snapshot| snapshot.position.index)
    }

    /// Takes a piece of a snapshot, see
    /// [`Output::WriteSnapshot`](raft_node::core::Output::WriteSnapshot). With the last piece the
    /// snapshot is durable and complete when this returns.
    ///
    /// # Errors
    /// The flash fails or is too small, the piece does not follow the one before it, or the whole
    /// does not have its checksum.
    pub fn receive(
        &mut self,
        snapshot: &Snapshot,
        offset: u64,
        data: &[u8],
    ) -> Result<(), StoreError> {
        if offset == 0 {
            self.begin(snapshot)?;
        }
        let what = "a piece of a snapshot that does not follow the one before it";
        let follows = |it: &Arriving| it.snapshot == *snapshot && it.received == offset;
        let Some(mut arriving) = self.arriving.take().filter(follows) else {
            return Err(StoreError::OutOfOrder { what });
        };
        let at = self.content(arriving.place) + offset as u32 - arriving.rest.len() as u32;
        arriving.checksum.update(data);
        arriving.received += data.len() as u64;
        arriving.rest.extend_from_slice(data);
        let complete = arriving.received == snapshot.size;
        let whole = match complete {
            true => arriving.rest.len().next_multiple_of(unit::<F>()),
            false => arriving.rest.len() / unit::<F>() * unit::<F>(),
        };
        arriving.rest.resize(arriving.rest.len().max(whole), 0xff);
        let rest = arriving.rest.split_off(whole);
        self.flash.write(at, &arriving.rest).map_err(failed)?;
        arriving.rest = rest;
        if complete {
            self.complete(&arriving)
        } else {
            self.arriving = Some(arriving);
            Ok(())
        }
    }

    fn begin(&mut self, snapshot: &Snapshot) -> Result<(), StoreError> {
        let [first, second] = &self.complete;
        let index = |it: &Option<Snapshot>| it.as_ref().map(|it| it.position.index);
        let place = u32::from(index(second) < index(first) || first.is_some() && second.is_none());
        let limit = u64::from(self.place_bytes()) - F::ERASE_SIZE as u64;
        if snapshot.size > limit {
            return Err(StoreError::TooLarge { bytes: snapshot.size, limit });
        }
        let (start, bytes) = (self.start(place), snapshot.size as usize + F::ERASE_SIZE);
        if let Some(slot) = self.complete.get_mut(place as usize) {
            *slot = None;
        }
        let end = start + bytes.next_multiple_of(F::ERASE_SIZE) as u32;
        self.flash.erase(start, end).map_err(failed)?;
        let (snapshot, checksum) = (snapshot.clone(), crc32fast::Hasher::new());
        self.arriving = Some(Arriving { snapshot, place, received: 0, rest: Vec::new(), checksum });
        Ok(())
    }

    fn complete(&mut self, arriving: &Arriving) -> Result<(), StoreError> {
        let Arriving { snapshot, place, checksum, .. } = arriving;
        if checksum.clone().finalize() != snapshot.checksum {
            let what = "a snapshot that does not have its checksum";
            return Err(StoreError::OutOfOrder { what });
        }
        let description = snapshot.encode();
        let (bytes, limit) = (size::<F>(description.len()), F::ERASE_SIZE);
        if bytes > limit {
            return Err(StoreError::TooLarge { bytes: bytes as u64, limit: limit as u64 });
        }
        let at = self.start(*place);
        frame::write(&mut self.flash, at, &description)?;
        if let Some(slot) = self.complete.get_mut(*place as usize) {
            *slot = Some(snapshot.clone());
        }
        Ok(())
    }

    /// Reads at most `max_bytes` at `offset` of a complete snapshot: at least one byte, unless it
    /// ends there; `None` if the snapshot is not here any more.
    ///
    /// # Errors
    /// The flash fails.
    pub fn read(
        &mut self,
        snapshot: &Snapshot,
        offset: u64,
        max_bytes: usize,
    ) -> Result<Option<Bytes>, StoreError> {
        let is_it = |it: &Option<Snapshot>| it.as_ref() == Some(snapshot);
        match self.complete.iter().position(is_it) {
            None => Ok(None),
            Some(place) => self.read_at(place as u32, snapshot, offset, max_bytes).map(Some),
        }
    }

    fn read_at(
        &mut self,
        place: u32,
        snapshot: &Snapshot,
        offset: u64,
        max_bytes: usize,
    ) -> Result<Bytes, StoreError> {
        let left = usize::try_from(snapshot.size.saturating_sub(offset)).unwrap_or(usize::MAX);
        let length = left.min(max_bytes.max(1));
        if length == 0 {
            return Ok(Bytes::new());
        }
        let read = F::READ_SIZE as u32;
        let at = self.content(place) + offset as u32;
        let from = at / read * read;
        let skipped = (at - from) as usize;
        let mut bytes = vec![0; (skipped + length).next_multiple_of(F::READ_SIZE)];
        self.flash.read(from, &mut bytes).map_err(failed)?;
        Ok(Bytes::from(bytes).slice(skipped..skipped + length))
    }

    /// Nobody needs this snapshot any more, complete or not.
    ///
    /// # Errors
    /// The flash fails.
    pub fn remove(&mut self, snapshot: &Snapshot) -> Result<(), StoreError> {
        if self.arriving.as_ref().is_some_and(|it| it.snapshot == *snapshot) {
            self.arriving = None;
        }
        for place in 0..2 {
            let start = self.start(place);
            let Some(slot) = self.complete.get_mut(place as usize) else { break };
            if slot.as_ref() == Some(snapshot) {
                *slot = None;
                self.flash.erase(start, start + F::ERASE_SIZE as u32).map_err(failed)?;
            }
        }
        Ok(())
    }
}
