//! Opening a log: everything is read and checked once, and a torn end is cut off.

use std::path::Path;

use bytes::Bytes;

use super::frame::{self, Frame};
use super::index::Index;
use super::segment::{self, Header, Segment};
use super::writer::{Position, Writer};
use crate::record::{self, Head};
use crate::{StoreError, directory};

const ZEROS: [u8; 4096] = [0; 4096];

/// Reads the log in `dir`, or begins one, and makes it ready for writing. `begun` says that there
/// was a log before, so that a missing one is damage. Changes nothing when it reports damage.
pub(super) fn recover(
    dir: &Path,
    segment_bytes: u64,
    begun: bool,
) -> Result<(Index, Writer), StoreError> {
    let missing = |sequence| {
        let path = segment::path_of(dir, sequence);
        StoreError::Damaged { path, offset: 0, what: "the file is missing" }
    };
    let sequences = segment::list(dir)?;
    let oldest = sequences.first().copied().unwrap_or(1);
    let mut scan = Scan::default();
    for (expected, found) in (oldest..).zip(&sequences) {
        if expected != *found {
            return Err(missing(expected));
        }
        let newest = sequences.last() == Some(found);
        scan.read(Segment::open(dir, *found)?, newest)?;
    }
    // What is removed after compaction was in the oldest segments, and is of no use.
    if scan.index.lacks_entries() || (scan.tail.is_none() && (oldest > 1 || begun)) {
        return Err(missing(oldest.saturating_sub(1).max(1)));
    }
    if let Some(unfinished) = scan.unfinished {
        tracing::warn!(path = %unfinished.path().display(), "removing an unfinished segment");
        segment::remove(dir, unfinished.sequence())?;
    }
    let head = scan.index.head();
    let dir_owned = dir.to_owned();
    let writer = match scan.tail {
        Some(tail) => {
            tail.settle()?;
            // An earlier process may have died between making a file and syncing its name.
            directory::sync(dir)?;
            let position = Position {
                header: tail.header,
                capacity: tail.content.len() as u64,
                end: tail.end,
                next: scan.next,
            };
            Writer::resume(dir_owned, segment_bytes, tail.segment, position, head)?
        }
        None => Writer::create(dir_owned, segment_bytes)?,
    };
    Ok((scan.index, writer))
}

/// What has been read so far.
#[derive(Default)]
struct Scan {
    index: Index,
    /// The number of the next frame.
    next: u64,
    tail: Option<Tail>,
    /// A newest segment that was never used, since its creation was interrupted.
    unfinished: Option<Segment>,
}

/// The newest segment that has been read.
struct Tail {
    segment: Segment,
    header: Header,
    content: Bytes,
    /// The offset behind the last frame.
    end: u64,
    /// The first frame with content that no later frame proves to be durable: number and offset.
    unproven: Option<(u64, u64)>,
}

impl Scan {
    fn read(&mut self, segment: Segment, newest: bool) -> Result<(), StoreError> {
        let content = segment.read()?;
        let Some(header) = Header::decode(segment.path(), &content)? else {
            // The header is synced before the first frame is written, so a segment without a header
            // and without anything behind it was never used: its creation was interrupted.
            if newest && is_zero(tail_of(&content, segment::HEADER_BYTES)) {
                self.unfinished = Some(segment);
                return Ok(());
            }
            return Err(segment.damaged(0, "no segment header that fits its checksum"));
        };
        if header.sequence != segment.sequence() {
            return Err(segment.damaged(0, "the content of another segment"));
        }
        match &self.tail {
            Some(tail) if header.first != self.next => {
                return Err(tail.segment.damaged(tail.end, "frames are missing at the end"));
            }
            None if header.sequence > 1 => self.next = header.first,
            None if header.first > 0 => {
                return Err(segment.damaged(0, "the first segment does not begin with frame zero"));
            }
            _ => {}
        }
        let end = segment::HEADER_BYTES;
        let mut tail = Tail { segment, header, content, end, unproven: None };
        self.read_frames(&mut tail, newest)?;
        // Segments are removed only when the first frame of one behind them is durable.
        if self.tail.is_none() && header.sequence > 1 && self.next == header.first {
            return Err(tail.segment.damaged(end, "the first frame is missing"));
        }
        self.tail = Some(tail);
        Ok(())
    }

    /// Takes the frames of a segment, up to its end or up to the place where a crash tore it.
    fn read_frames(&mut self, tail: &mut Tail, newest: bool) -> Result<(), StoreError> {
        let content = tail.content.clone();
        let salt = tail.header.salt;
        let what = loop {
            match frame::parse(tail_of(&content, tail.end), salt) {
                Ok(frame) if frame.stamp.number == self.next => self.take(tail, &frame)?,
                Ok(_) => break "a frame with the wrong number",
                Err(what) => break what,
            }
        };
        let rest = tail_of(&content, tail.end);
        if is_zero(rest) {
            return Ok(());
        }
        // Writing goes on in a new segment only when the old one has been synced, so nothing but
        // the newest can be torn.
        if !newest || frame::proves_synced(rest, salt, self.next) {
            return Err(tail.segment.damaged(tail.end, what));
        }
        tracing::warn!(
            path = %tail.segment.path().display(),
            offset = tail.end,
            what,
            "cutting off a write that a crash interrupted before it was acknowledged"
        );
        Ok(())
    }

    fn take(&mut self, tail: &mut Tail, frame: &Frame<'_>) -> Result<(), StoreError> {
        let damaged = |what| tail.segment.damaged(tail.end, what);
        let base = tail.end + frame::HEADER_BYTES as u64;
        let payload = tail.content.slice_ref(frame.payload);
        if tail.header.sequence > 1 && frame.stamp.number == tail.header.first {
            self.take_head(record::decode_head(payload).map_err(damaged)?).map_err(damaged)?;
        } else {
            let (write, places) = record::decode(payload, base).map_err(damaged)?;
            let left = self.index.check(&write).map_err(damaged)?;
            self.index.apply(&write, left, tail.segment.sequence(), &places);
        }
        if tail.unproven.is_some_and(|(number, _)| frame.stamp.synced > number) {
            tail.unproven = None;
        }
        if !frame.payload.is_empty() && tail.unproven.is_none() {
            tail.unproven = Some((frame.stamp.number, tail.end));
        }
        tail.end += frame::frame_bytes(frame.payload.len() as u64);
        self.next += 1;
        Ok(())
    }

    fn take_head(&mut self, head: Head) -> Result<(), &'static str> {
        if self.tail.is_none() {
            self.index = Index::behind(head);
        } else if self.index.head() != head {
            return Err("a segment does not begin with what those before it have come to");
        }
        Ok(())
    }
}

impl Tail {
    /// Makes durable what was read, and clears what was torn.
    ///
    /// Frames that were never proven durable are written again: after a failed sync the system may
    /// hold them in memory only and believe that they are on the disk, and then a sync alone would
    /// do nothing.
    fn settle(&self) -> Result<(), StoreError> {
        let start = self.unproven.map_or(self.end, |(_, offset)| offset);
        let bytes = tail_of(&self.content, start);
        let valid = usize::try_from(self.end - start).unwrap_or(usize::MAX);
        let mut bytes = bytes.get(..valid.max(used(bytes))).unwrap_or(bytes).to_vec();
        if let Some(torn) = bytes.get_mut(valid..) {
            torn.fill(0);
        }
        self.segment.write_at(&bytes, start)?;
        self.segment.sync()
    }
}

fn tail_of(content: &[u8], offset: u64) -> &[u8] {
    usize::try_from(offset).ok().and_then(|offset| content.get(offset..)).unwrap_or_default()
}

/// How many bytes are left without the zeros at the end.
fn used(bytes: &[u8]) -> usize {
    // Most of a segment may be empty, and blocks are compared faster than bytes.
    let empty = bytes.rchunks(ZEROS.len()).take_while(|block| ZEROS.starts_with(block));
    let zeros: usize = empty.map(<[u8]>::len).sum();
    let rest = bytes.get(..bytes.len() - zeros).unwrap_or_default();
    rest.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1)
}

fn is_zero(bytes: &[u8]) -> bool {
    used(bytes) == 0
}
