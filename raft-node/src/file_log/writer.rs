//! The writing end of the log.

use std::path::PathBuf;

use raft_core::Write;

use super::frame::{self, Stamp};
use super::segment::{self, Header, Segment};
use crate::StoreError;
use crate::record::{self, Head, Place};

/// A mark is a frame without a payload.
const MARK_BYTES: u64 = frame::HEADER_BYTES as u64;

/// The buffer is as large as the largest batch; what is above this is given back.
const KEPT_BUFFER_BYTES: usize = 1 << 20;

/// Appends frames to the newest segment and begins new segments.
#[derive(Debug)]
pub(super) struct Writer {
    dir: PathBuf,
    /// The usual size of a segment.
    segment_bytes: u64,
    tail: Segment,
    /// The room of `tail`.
    capacity: u64,
    salt: u32,
    /// Where the buffer goes in `tail`: the end of what is written.
    end: u64,
    buffer: Vec<u8>,
    /// The number of the next frame.
    next: u64,
    /// The number of frames that are known to be durable.
    synced: u64,
}

/// Where writing goes on in a segment.
pub(super) struct Position {
    pub(super) header: Header,
    pub(super) capacity: u64,
    pub(super) end: u64,
    pub(super) next: u64,
}

impl Writer {
    /// Begins an empty log.
    pub(super) fn create(dir: PathBuf, segment_bytes: u64) -> Result<Self, StoreError> {
        let header = Header::new(1, 0);
        let tail = Segment::create(&dir, header, segment_bytes)?;
        let position =
            Position { header, capacity: segment_bytes, end: segment::HEADER_BYTES, next: 0 };
        Ok(Self::at(dir, segment_bytes, tail, position))
    }

    /// Goes on behind frames that are all durable, and writes down that they are. `head` is what
    /// the log has come to.
    pub(super) fn resume(
        dir: PathBuf,
        segment_bytes: u64,
        tail: Segment,
        position: Position,
        head: Head,
    ) -> Result<Self, StoreError> {
        let mut writer = Self::at(dir, segment_bytes, tail, position);
        // A crash may have torn the first frame of a new segment. It is made durable before
        // anybody removes the segments that it stands for.
        if writer.end == segment::HEADER_BYTES && writer.tail.sequence() > 1 {
            writer.push_head(head);
            writer.sync_tail()?;
        }
        writer.mark()?;
        Ok(writer)
    }

    fn at(dir: PathBuf, segment_bytes: u64, tail: Segment, position: Position) -> Self {
        let Position { header, capacity, end, next } = position;
        let salt = header.salt;
        let buffer = Vec::new();
        Self { dir, segment_bytes, tail, capacity, salt, end, buffer, next, synced: next }
    }

    /// The sequence number of the segment that takes the next frame.
    pub(super) fn sequence(&self) -> u64 {
        self.tail.sequence()
    }

    /// The segment that takes the next frame.
    #[cfg(test)]
    pub(super) fn tail(&mut self) -> &mut Segment {
        &mut self.tail
    }

    /// Queues one write. Returns the segment that it goes to, and the places of its entries there.
    /// `head` is what the log has come to before this write.
    pub(super) fn add(
        &mut self,
        write: &Write,
        head: Head,
    ) -> Result<(u64, Vec<Place>), StoreError> {
        let payload = record::encoded_len(write);
        if payload > frame::MAX_PAYLOAD {
            return Err(StoreError::TooLarge { bytes: payload, limit: frame::MAX_PAYLOAD });
        }
        // Room for the mark behind the frame is part of what the frame needs.
        let needed = frame::frame_bytes(payload) + MARK_BYTES;
        if self.end + self.buffer.len() as u64 + needed > self.capacity {
            self.roll(needed, head)?;
        }
        Ok((self.tail.sequence(), self.push(write)))
    }

    /// Makes everything queued durable.
    pub(super) fn sync(&mut self) -> Result<(), StoreError> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        self.sync_tail()?;
        self.mark()?;
        self.buffer.shrink_to(KEPT_BUFFER_BYTES);
        Ok(())
    }

    /// Begins a new segment with room for `needed` bytes. The old one is synced first: the
    /// existence of a segment proves that everything before it was durable.
    fn roll(&mut self, needed: u64, head: Head) -> Result<(), StoreError> {
        self.sync_tail()?;
        let header = Header::new(self.tail.sequence() + 1, self.next);
        let head_bytes = frame::frame_bytes(record::HEAD_BYTES);
        self.capacity = self.segment_bytes.max(segment::HEADER_BYTES + head_bytes + needed);
        self.tail = Segment::create(&self.dir, header, self.capacity)?;
        self.salt = header.salt;
        self.end = segment::HEADER_BYTES;
        self.push_head(head);
        Ok(())
    }

    /// Writes an empty frame that says that everything before it is durable. The mark itself is
    /// durable only with the next sync: until then it may be torn, and later frames must not claim
    /// otherwise.
    fn mark(&mut self) -> Result<(), StoreError> {
        let stamp = self.stamp();
        frame::append(&mut self.buffer, self.salt, stamp, |_| ());
        self.flush()
    }

    fn push(&mut self, write: &Write) -> Vec<Place> {
        let (stamp, base) = (self.stamp(), self.end);
        frame::append(&mut self.buffer, self.salt, stamp, |out| record::encode(write, out, base))
    }

    fn push_head(&mut self, head: Head) {
        let stamp = self.stamp();
        frame::append(&mut self.buffer, self.salt, stamp, |out| record::encode_head(head, out));
    }

    fn stamp(&mut self) -> Stamp {
        let number = self.next;
        self.next += 1;
        Stamp { number, synced: self.synced }
    }

    fn sync_tail(&mut self) -> Result<(), StoreError> {
        self.flush()?;
        self.tail.sync()?;
        self.synced = self.next;
        Ok(())
    }

    fn flush(&mut self) -> Result<(), StoreError> {
        self.tail.write_at(&self.buffer, self.end)?;
        self.end += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }
}
