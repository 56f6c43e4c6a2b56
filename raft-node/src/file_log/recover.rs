//! Opening a log: everything is read and checked once, and a torn end is cut off.

use std::path::Path;

use bytes::Bytes;

use super::frame::{self, Frame};
use super::index::Index;
use super::record;
use super::segment::{self, Header, Segment};
use super::writer::{Position, Writer};
use crate::StoreError;

/// Reads the log in `dir`, or begins one, and makes it ready for writing.
pub(super) fn recover(dir: &Path, segment_bytes: u64) -> Result<(Index, Writer), StoreError> {
    let mut scan = Scan::default();
    let sequences = segment::list(dir)?;
    for (expected, found) in (1..).zip(&sequences) {
        if expected != *found {
            let path = segment::path_of(dir, expected);
            return Err(StoreError::Damaged { path, offset: 0, what: "the file is missing" });
        }
        let newest = sequences.last() == Some(found);
        scan.read(dir, Segment::open(dir, *found)?, newest)?;
    }
    let dir_owned = dir.to_owned();
    let writer = match scan.tail {
        Some(tail) => {
            tail.settle()?;
            // An earlier process may have died between making a file and syncing its name.
            segment::sync_dir(dir)?;
            Writer::resume(
                dir_owned,
                segment_bytes,
                tail.segment,
                Position {
                    header: tail.header,
                    capacity: tail.content.len() as u64,
                    end: tail.end,
                    next: scan.next,
                },
            )?
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
    fn read(&mut self, dir: &Path, segment: Segment, newest: bool) -> Result<(), StoreError> {
        let content = segment.read()?;
        let Some(header) = Header::decode(segment.path(), &content)? else {
            // The header is synced before the first frame is written, so a segment without a header
            // and without anything behind it was never used: its creation was interrupted.
            if newest && is_zero(tail_of(&content, segment::HEADER_BYTES)) {
                tracing::warn!(path = %segment.path().display(), "removing an unfinished segment");
                return segment::remove(dir, segment.sequence());
            }
            return Err(segment.damaged(0, "no segment header that fits its checksum"));
        };
        if header.sequence != segment.sequence() {
            return Err(segment.damaged(0, "the content of another segment"));
        }
        if header.first != self.next {
            return Err(match &self.tail {
                Some(tail) => tail.segment.damaged(tail.end, "frames are missing at the end"),
                None => segment.damaged(0, "the first segment does not begin with frame zero"),
            });
        }
        let end = segment::HEADER_BYTES;
        let mut tail = Tail { segment, header, content, end, unproven: None };
        self.read_frames(&mut tail, newest)?;
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
        let (write, places) = record::decode(payload, base).map_err(damaged)?;
        self.index.check(&write).map_err(damaged)?;
        self.index.apply(&write, tail.segment.sequence(), &places);
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
}

impl Tail {
    /// Makes durable what was read, and clears what was torn.
    ///
    /// Frames that were never proven durable are written again: after a failed sync the system may
    /// hold them in memory only and believe that they are on the disk, and then a sync alone would
    /// do nothing.
    fn settle(&self) -> Result<(), StoreError> {
        let start = self.unproven.map_or(self.end, |(_, offset)| offset);
        let mut bytes = tail_of(&self.content, start).to_vec();
        let valid = usize::try_from(self.end - start).unwrap_or(usize::MAX);
        let zeros = bytes.iter().rev().take_while(|byte| **byte == 0).count();
        bytes.truncate(valid.max(bytes.len() - zeros));
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

fn is_zero(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| *byte == 0)
}
