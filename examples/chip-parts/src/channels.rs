//! Several connections over one serial line.
//!
//! A serial line has no connections and may lose its place when one side begins anew in the middle
//! of a frame. So everything is sent in frames that end with a zero, in which no other zero is (COBS),
//! and each frame has a CRC-32. The chip says [`Frame::Begin`] with a number of its own for each start, and takes
//! nothing in before the gateway has repeated that number: what is still on its way from before a
//! reset is not for it. A frame that is damaged is passed over; the link above notices the gap,
//! because its own messages have checksums, and connects anew.
//!
//! A frame is its kind (u8), the number of a channel or of a start (u32, little-endian), the
//! content, and the CRC-32 of all that (u32, little-endian).

use alloc::vec::Vec;

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// The most bytes of a connection in one frame.
pub const MAX_DATA: usize = 512;
/// Kind, number and checksum; no address and no data is longer than that limit.
const MAX_FRAME: usize = MAX_DATA + 9;

/// What is said over the line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// The chip has started: all channels are closed.
    Begin(u32),
    /// The gateway has closed all channels, because of that `Begin`.
    Ready(u32),
    /// The gateway has started: the chip shall begin.
    Restarted,
    /// The chip wants a connection to this address. Its channels have even numbers.
    Dial(u32, Bytes),
    /// The connection that was dialled is made.
    Opened(u32),
    /// Somebody has connected to the gateway. Its channels have odd numbers.
    Accepted(u32),
    /// Bytes of a connection.
    Data(u32, Bytes),
    /// The connection has ended, or could not be made.
    Close(u32),
}

impl Frame {
    /// Appends the frame as it goes over the line.
    pub fn encode(&self, line: &mut BytesMut) {
        let nothing = Bytes::new();
        let (kind, number, content) = match self {
            Self::Begin(number) => (1, *number, &nothing),
            Self::Ready(number) => (2, *number, &nothing),
            Self::Restarted => (3, 0, &nothing),
            Self::Dial(number, address) => (4, *number, address),
            Self::Opened(number) => (5, *number, &nothing),
            Self::Accepted(number) => (6, *number, &nothing),
            Self::Data(number, data) => (7, *number, data),
            Self::Close(number) => (8, *number, &nothing),
        };
        let mut bytes = Vec::with_capacity(content.len() + 9);
        bytes.put_u8(kind);
        bytes.put_u32_le(number);
        bytes.put_slice(content);
        bytes.put_u32_le(crc32fast::hash(&bytes));
        line.put_slice(&cobs::encode_vec(&bytes));
        line.put_u8(0);
    }

    fn decode(encoded: &[u8]) -> Option<Self> {
        let mut bytes = Bytes::from(cobs::decode_vec(encoded).ok()?);
        let mut checksum = bytes.split_off(bytes.len().checked_sub(4)?);
        if crc32fast::hash(&bytes) != checksum.get_u32_le() {
            return None;
        }
        let kind = bytes.try_get_u8().ok()?;
        let number = bytes.try_get_u32_le().ok()?;
        Some(match kind {
            1 => Self::Begin(number),
            2 => Self::Ready(number),
            3 => Self::Restarted,
            4 => Self::Dial(number, bytes),
            5 => Self::Opened(number),
            6 => Self::Accepted(number),
            7 => Self::Data(number, bytes),
            8 => Self::Close(number),
            _ => return None,
        })
    }
}

/// Finds the frames in what comes over the line.
#[derive(Debug, Default)]
pub struct Decoder {
    line: Vec<u8>,
    too_long: bool,
}

impl Decoder {
    /// Takes the next byte. Returns the frame that it ends, if it does.
    pub fn take(&mut self, byte: u8) -> Option<Frame> {
        if byte != 0 {
            self.too_long |= self.line.len() >= cobs::max_encoding_length(MAX_FRAME);
            if !self.too_long {
                self.line.push(byte);
            }
            return None;
        }
        let frame = if self.too_long { None } else { Frame::decode(&self.line) };
        self.line.clear();
        self.too_long = false;
        frame
    }
}
