//! The stores in flash: the suite for log stores, and a power cut at every stroke of a life.
#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use conformance_tests::storage::LogPlace;
use embedded_storage::nor_flash::{
    ErrorType, NorFlash, NorFlashErrorKind, ReadNorFlash, check_erase, check_read, check_write,
};
use raft_chip_parts::{FlashLog, FlashSnapshots};
use raft_node::core::{
    Entries, Entry, HardState, LogIndex, LogPosition, Membership, NodeId, Payload, Snapshot,
    StoredLog, Term, Ticket, Write,
};
use raft_node::{LogStore, StoreError};

/// Flash with sectors of 512 bytes and words of 4. Clones are the same flash.
#[derive(Clone)]
struct Chip(Arc<Mutex<State>>);

struct State {
    bytes: Vec<u8>,
    /// Bytes that were written since they were erased.
    written: Vec<bool>,
    /// The power fails in the middle of this stroke from now.
    power: Option<u64>,
    random: fastrand::Rng,
}

impl Chip {
    fn new(bytes: usize) -> Self {
        Self(Arc::new(Mutex::new(State {
            bytes: vec![0xff; bytes],
            written: vec![false; bytes],
            power: None,
            random: fastrand::Rng::with_seed(bytes as u64),
        })))
    }

    fn fail_after(&self, strokes: Option<u64>) {
        self.0.lock().unwrap().power = strokes;
    }

    /// Another chip with the same content.
    fn copy(&self) -> Self {
        let state = self.0.lock().unwrap();
        let (bytes, written, random) =
            (state.bytes.clone(), state.written.clone(), state.random.clone());
        Self(Arc::new(Mutex::new(State { bytes, written, power: None, random })))
    }

    fn has_power(&self) -> bool {
        self.0.lock().unwrap().power != Some(0)
    }
}

impl State {
    /// Whether this stroke is carried out, half carried out (`Some(false)`), or not at all.
    fn stroke(&mut self) -> Option<bool> {
        match &mut self.power {
            None => Some(true),
            Some(0) => None,
            Some(left) => {
                *left -= 1;
                Some(*left > 0)
            }
        }
    }
}

impl ErrorType for Chip {
    type Error = NorFlashErrorKind;
}

impl ReadNorFlash for Chip {
    const READ_SIZE: usize = 1;

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), NorFlashErrorKind> {
        check_read(self, offset, bytes.len())?;
        let state = self.0.lock().unwrap();
        bytes.copy_from_slice(&state.bytes[offset as usize..][..bytes.len()]);
        Ok(())
    }

    fn capacity(&self) -> usize {
        self.0.lock().unwrap().bytes.len()
    }
}

impl NorFlash for Chip {
    const WRITE_SIZE: usize = 4;
    const ERASE_SIZE: usize = 512;

    fn erase(&mut self, from: u32, to: u32) -> Result<(), NorFlashErrorKind> {
        check_erase(self, from, to)?;
        for sector in (from as usize..to as usize).step_by(Self::ERASE_SIZE) {
            let mut state = self.0.lock().unwrap();
            let done = state.stroke().ok_or(NorFlashErrorKind::Other)?;
            for at in sector..sector + Self::ERASE_SIZE {
                state.bytes[at] = if done { 0xff } else { state.random.u8(..) };
                state.written[at] = !done;
            }
            if !done {
                return Err(NorFlashErrorKind::Other);
            }
        }
        Ok(())
    }

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), NorFlashErrorKind> {
        check_write(self, offset, bytes.len())?;
        let mut state = self.0.lock().unwrap();
        let done = state.stroke().ok_or(NorFlashErrorKind::Other)?;
        for (at, byte) in (offset as usize..).zip(bytes) {
            assert!(!state.written[at], "offset {at} is written twice");
            let keep = if done { 0 } else { state.random.u8(..) };
            state.bytes[at] &= byte | keep;
            state.written[at] = true;
        }
        if done { Ok(()) } else { Err(NorFlashErrorKind::Other) }
    }
}

struct Place(Chip);

impl Default for Place {
    fn default() -> Self {
        Self(Chip::new(1 << 20))
    }
}

impl LogPlace for Place {
    type Store = FlashLog<Chip>;

    fn open(&self) -> FlashLog<Chip> {
        FlashLog::open(self.0.clone()).unwrap()
    }
}

conformance_tests::log_store_suite!(log, Place);

fn term(term: u64) -> Term {
    Term::new(term).unwrap()
}

fn index(index: u64) -> LogIndex {
    LogIndex::new(index).unwrap()
}

fn members() -> Arc<Membership> {
    Arc::new(Membership::of_voters([1, 2, 3].map(NodeId::new)))
}

/// A write of two entries at this index, with something else now and then.
fn write(nth: u64) -> Write {
    let first = 2 * nth + 1;
    let payload = |at| match at % 9 {
        0 => Payload::Noop,
        4 => Payload::Membership(members()),
        _ => Payload::Command(Bytes::from(vec![at as u8; at as usize % 40])),
    };
    let entry = |at| Entry { term: term(1 + nth / 8), index: index(at), payload: payload(at) };
    let compacted = first.saturating_sub(12);
    let begin_after = (nth % 8 == 7)
        .then(|| LogPosition { index: index(compacted), term: term(1 + (compacted - 1) / 2 / 8) });
    Write {
        ticket: Ticket::default(),
        hard_state: nth
            .is_multiple_of(8)
            .then(|| HardState { term: term(1 + nth / 8), vote: Some(NodeId::new(nth)) }),
        truncate_from: None,
        begin_after,
        entries: Entries::new(vec![entry(first), entry(first + 1)]).unwrap(),
    }
}

const WRITES: u64 = 100;

/// Everything that a log says of itself.
fn content(log: &mut FlashLog<Chip>) -> (StoredLog, Vec<Entry>) {
    let stored = log.restore().unwrap();
    let from = stored.begin_after.index.next();
    let entries = log.load(from, stored.last, usize::MAX).unwrap();
    (stored, entries.to_vec())
}

/// What was acknowledged is there, and what was not is there as a whole or not at all,
/// wherever the power fails: in a write, in an erasure, in the change from one bank to the other.
#[test]
fn a_log_survives_a_power_cut_at_every_stroke() {
    let after = |count: u64| {
        let mut log = FlashLog::open(Chip::new(1 << 20)).unwrap();
        let writes: Vec<Write> = (0..count).map(write).collect();
        log.append(&writes).unwrap();
        content(&mut log)
    };
    let expected: Vec<_> = (0..=WRITES).map(after).collect();
    let mut strokes = 0;
    loop {
        strokes += 1;
        let chip = Chip::new(8192);
        chip.fail_after(Some(strokes));
        let mut acknowledged = 0;
        let mut life = || -> Result<(), StoreError> {
            let mut log = FlashLog::open(chip.clone())?;
            for nth in 0..WRITES {
                log.append(&[write(nth)])?;
                acknowledged = nth + 1;
            }
            Ok(())
        };
        let ended = life().is_ok() && chip.has_power();
        chip.fail_after(None);
        let mut log = FlashLog::open(chip.clone()).unwrap();
        let found = content(&mut log);
        let stands = |count: u64| expected.get(count as usize) == Some(&found);
        let now = if stands(acknowledged) { acknowledged } else { acknowledged + 1 };
        assert!(stands(now), "{acknowledged} writes, power cut at stroke {strokes}: {found:?}");
        for nth in now..WRITES {
            log.append(&[write(nth)]).unwrap();
        }
        assert_eq!(content(&mut log), expected[WRITES as usize]);
        assert_eq!(content(&mut FlashLog::open(chip).unwrap()), expected[WRITES as usize]);
        if ended {
            break;
        }
    }
    assert!(strokes > 300, "there were {strokes} strokes");
}

#[test]
fn a_log_that_does_not_fit_says_so_and_keeps_what_it_has() {
    let chip = Chip::new(2048);
    let mut log = FlashLog::open(chip.clone()).unwrap();
    let endless = |nth| Write { begin_after: None, ..write(nth) };
    let mut written = 0;
    let error = loop {
        match log.append(&[endless(written)]) {
            Ok(()) => written += 1,
            Err(error) => break error,
        }
    };
    assert!(error.to_string().contains("full"), "{error}");
    let stored = FlashLog::open(chip).unwrap().restore().unwrap();
    assert_eq!(stored.last, index(2 * written));
}

/// A bank that is full of writes with many small entries takes less room when it is copied, so the
/// power may fail in any write.
#[test]
fn a_full_bank_that_is_torn_at_its_end_still_fits_when_it_is_copied() {
    let entries = |nth: u64| {
        let entry = |index| Entry { term: term(1), index, payload: Payload::Noop };
        let indexes = (20 * nth + 1..).map(index).take(20);
        Entries::new(indexes.map(entry).collect()).unwrap()
    };
    let write = |nth| Write { entries: entries(nth), ..Write::default() };
    let full = {
        let mut log = FlashLog::open(Chip::new(8192)).unwrap();
        (0..).take_while(|nth| log.append(&[write(*nth)]).is_ok()).count() as u64
    };
    for strokes in 1..=3 {
        let chip = Chip::new(8192);
        let mut log = FlashLog::open(chip.clone()).unwrap();
        (0..full - 1).for_each(|nth| log.append(&[write(nth)]).unwrap());
        chip.fail_after(Some(strokes));
        assert!(log.append(&[write(full - 1)]).is_err());
        chip.fail_after(None);
        let last = FlashLog::open(chip).unwrap().restore().unwrap().last.get();
        assert!([20 * (full - 1), 20 * full].contains(&last), "{last} of {}", 20 * full);
    }
}

/// What was once complete and reads otherwise is no unfinished write.
#[test]
fn a_flipped_bit_is_damage_and_not_the_end_of_the_log() {
    // In the first bank, and after a change to the second.
    for (writes, bank) in [(10, 0), (45, 1)] {
        let chip = Chip::new(8192);
        let mut log = FlashLog::open(chip.clone()).unwrap();
        (0..writes).for_each(|nth| log.append(&[write(nth)]).unwrap());
        assert_ne!(chip.0.lock().unwrap().bytes[bank * 4096], 0xff, "another bank is in use");
        let whole = content(&mut log);
        let mut refused = 0;
        for at in 0..8192 {
            let chip = chip.copy();
            chip.0.lock().unwrap().bytes[at] ^= 1;
            match FlashLog::open(chip) {
                Ok(mut log) => {
                    assert_eq!(content(&mut log), whole, "a flip at {at} goes unnoticed");
                }
                Err(_) => refused += 1,
            }
        }
        assert!(refused > 500, "{refused} flips were refused");
    }
}

#[test]
fn flash_that_is_neither_erased_nor_a_log_is_refused() {
    let chip = Chip::new(4096);
    chip.0.lock().unwrap().bytes.fill(0);
    assert!(FlashLog::open(chip).is_err());
}

fn snapshot(at: u64, bytes: &[u8]) -> Snapshot {
    Snapshot {
        position: LogPosition { index: index(at), term: term(1) },
        membership: members(),
        size: bytes.len() as u64,
        checksum: crc32fast::hash(bytes),
    }
}

fn receive(store: &mut FlashSnapshots<Chip>, at: u64, bytes: &[u8]) -> Result<(), StoreError> {
    let described = snapshot(at, bytes);
    if bytes.is_empty() {
        return store.receive(&described, 0, &[]);
    }
    let pieces = bytes.chunks(77).enumerate();
    pieces
        .into_iter()
        .try_for_each(|(nth, piece)| store.receive(&described, 77 * nth as u64, piece))
}

/// What a snapshot holds.
fn read(store: &mut FlashSnapshots<Chip>) -> Option<(u64, Vec<u8>)> {
    let newest = store.newest()?.clone();
    let mut bytes = Vec::new();
    while (bytes.len() as u64) < newest.size {
        bytes.extend(store.read(&newest, bytes.len() as u64, 100).unwrap().unwrap());
    }
    Some((newest.position.index.get(), bytes))
}

#[test]
fn a_snapshot_is_the_old_one_or_the_whole_new_one_wherever_the_power_fails() {
    let contents: Vec<Vec<u8>> = (0..4).map(|nth| vec![nth as u8; 300 * nth + nth]).collect();
    let mut strokes = 0;
    loop {
        strokes += 1;
        let chip = Chip::new(8192);
        chip.fail_after(Some(strokes));
        let mut complete = 0;
        let mut life = || -> Result<(), StoreError> {
            let mut store = FlashSnapshots::open(chip.clone())?;
            for (nth, bytes) in (1..).zip(&contents) {
                receive(&mut store, nth, bytes)?;
                complete = nth;
                if nth % 2 == 0 {
                    store.remove(&snapshot(nth - 1, &contents[nth as usize - 2]))?;
                }
            }
            Ok(())
        };
        let ended = life().is_ok() && chip.has_power();
        chip.fail_after(None);
        let found = read(&mut FlashSnapshots::open(chip.clone()).unwrap());
        let at = found.as_ref().map_or(0, |(at, _)| *at);
        assert!((complete..=complete + 1).contains(&at), "{complete} complete, {at} found");
        if let Some((_, bytes)) = &found {
            assert_eq!(bytes, &contents[at as usize - 1]);
        }
        let mut store = FlashSnapshots::open(chip.clone()).unwrap();
        receive(&mut store, 9, b"the next one").unwrap();
        assert_eq!(read(&mut store), Some((9, b"the next one".to_vec())));
        if ended {
            break;
        }
    }
    assert!(strokes > 20, "there were {strokes} strokes");
}

#[test]
fn a_snapshot_with_a_wrong_checksum_or_too_large_is_refused() {
    let mut store = FlashSnapshots::open(Chip::new(4096)).unwrap();
    let wrong = Snapshot { checksum: 1, ..snapshot(3, b"content") };
    assert!(store.receive(&wrong, 0, b"content").is_err());
    assert!(store.newest().is_none());
    let large = snapshot(3, &[7; 2000]);
    assert!(matches!(store.receive(&large, 0, &[7]), Err(StoreError::TooLarge { .. })));
}
