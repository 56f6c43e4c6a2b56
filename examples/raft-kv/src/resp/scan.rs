//! Finds where a frame ends, before it is decoded.
//!
//! The decoder of redis-protocol starts anew with each attempt, follows nested arrays without a
//! limit, and waits for whatever length it is told. This scanner runs first. It remembers where it
//! was, so a frame that comes in many pieces costs no more than one that comes whole, and it
//! refuses what is nested, malformed or too large from the header alone, before any of it is kept
//! in memory.

use super::ProtocolError;
use crate::limits::MAX_ARGUMENTS;

/// The longest `+`, `-` or inline line, as in Redis.
pub(super) const MAX_LINE: usize = 64 * 1024;

/// A header is a byte for the kind, a number, and the end of the line.
const MAX_HEADER: usize = 32;

/// The progress in one frame. The buffer that it is given begins with that frame and may only
/// grow until the frame is complete.
#[derive(Debug)]
pub(super) struct FrameScanner {
    /// The largest frame, in bytes.
    limit: usize,
    /// Whether the frames are requests, whose elements are bulk strings and nothing else.
    requests: bool,
    /// How much has been scanned: the beginning of an element, or the place behind the last one.
    at: usize,
    /// The elements that are still to come, once the header has been read.
    pending: Option<usize>,
}

impl FrameScanner {
    pub(super) const fn of_requests(limit: usize) -> Self {
        Self { limit, requests: true, at: 0, pending: None }
    }

    pub(super) const fn of_replies(limit: usize) -> Self {
        Self { limit, requests: false, at: 0, pending: None }
    }

    /// The length of the frame, or `None` while it is not complete. After a complete frame the next
    /// one begins.
    pub(super) fn scan(&mut self, buffer: &[u8]) -> Result<Option<usize>, ProtocolError> {
        let mut pending = match self.pending {
            Some(pending) => pending,
            None => match self.begin(buffer)? {
                Some(pending) => pending,
                None => return Ok(None),
            },
        };
        while pending > 0 {
            match self.element(buffer)? {
                Some(end) if end > self.limit => return Err(ProtocolError::TooLarge(self.limit)),
                Some(end) => self.at = end,
                None => {
                    self.pending = Some(pending);
                    return Ok(None);
                }
            }
            pending -= 1;
        }
        let end = self.at;
        (self.at, self.pending) = (0, None);
        Ok(Some(end))
    }

    /// Reads the header of an array. Anything else is a frame of one element.
    fn begin(&mut self, buffer: &[u8]) -> Result<Option<usize>, ProtocolError> {
        match buffer.first() {
            None => return Ok(None),
            Some(b'*') => {}
            Some(_) => return Ok(Some(1)),
        }
        let Some((count, end)) = header(buffer, 0, ProtocolError::ArrayLength)? else {
            return Ok(None);
        };
        // A negative count is the null array; Redis takes any as "no request".
        let count = usize::try_from(count).unwrap_or(0);
        if count > MAX_ARGUMENTS {
            return Err(ProtocolError::ArrayLength);
        }
        self.at = end;
        Ok(Some(count))
    }

    /// Where the element at `self.at` ends.
    fn element(&self, buffer: &[u8]) -> Result<Option<usize>, ProtocolError> {
        match buffer.get(self.at) {
            None => Ok(None),
            Some(b'$') => self.bulk(buffer),
            Some(b'+' | b'-' | b':') if !self.requests => self.line(buffer),
            Some(other) => Err(ProtocolError::Unexpected(*other)),
        }
    }

    fn bulk(&self, buffer: &[u8]) -> Result<Option<usize>, ProtocolError> {
        let Some((length, start)) = header(buffer, self.at, ProtocolError::BulkLength)? else {
            return Ok(None);
        };
        if length == -1 && !self.requests {
            return Ok(Some(start));
        }
        let length = usize::try_from(length).map_err(|_| ProtocolError::BulkLength)?;
        let end = start.saturating_add(length).saturating_add(2);
        if end > self.limit {
            return Err(ProtocolError::TooLarge(self.limit));
        }
        match buffer.get(end - 2..end) {
            None => Ok(None),
            Some(b"\r\n") => Ok(Some(end)),
            Some(_) => Err(ProtocolError::BulkEnd),
        }
    }

    fn line(&self, buffer: &[u8]) -> Result<Option<usize>, ProtocolError> {
        let rest = buffer.get(self.at..).unwrap_or_default();
        match rest.windows(2).take(MAX_LINE).position(|pair| pair == b"\r\n") {
            Some(length) => Ok(Some(self.at + length + 2)),
            None if rest.len() > MAX_LINE => Err(ProtocolError::TooLarge(MAX_LINE)),
            None => Ok(None),
        }
    }
}

/// The number in the header at `at`, and where the header ends.
fn header(
    buffer: &[u8],
    at: usize,
    error: ProtocolError,
) -> Result<Option<(i64, usize)>, ProtocolError> {
    let rest = buffer.get(at + 1..).unwrap_or_default();
    let Some(length) = rest.iter().take(MAX_HEADER).position(|byte| *byte == b'\n') else {
        return if rest.len() >= MAX_HEADER { Err(error) } else { Ok(None) };
    };
    let line = rest.get(..length).and_then(|line| line.strip_suffix(b"\r"));
    let number = line.and_then(crate::store::parse_integer);
    number.map(|number| Some((number, at + 1 + length + 1))).ok_or(error)
}
