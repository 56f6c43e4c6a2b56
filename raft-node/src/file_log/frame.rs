//! The frame: one atomic piece of a segment, with the numbers and checksums that prove it.

use bytes::{Buf, BufMut};

use crate::checksum;

/// The length of a frame's header, and so of a whole mark.
pub(super) const HEADER_BYTES: usize = 32;

/// Every frame begins at a multiple of this, so a search need not try every byte.
pub(super) const ALIGNMENT: usize = 8;

/// The largest payload of one frame.
pub(super) const MAX_PAYLOAD: u64 = 1 << 30;

const MAGIC: u32 = u32::from_le_bytes(*b"Rfrm");

/// What a frame says about its place in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    /// Frames are numbered from zero across all segments, without gaps.
    pub(super) number: u64,
    /// All frames with smaller numbers than this were durable when the frame was written.
    pub(super) synced: u64,
}

/// A frame that is complete and undamaged.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Frame<'a> {
    pub(super) stamp: Stamp,
    pub(super) payload: &'a [u8],
}

/// A header that is undamaged; its payload may not be.
struct Header {
    stamp: Stamp,
    payload_len: u32,
    payload_crc: u32,
}

/// The length on disk of a frame with a payload of `payload` bytes: header and padding included.
pub(super) fn frame_bytes(payload: u64) -> u64 {
    (HEADER_BYTES as u64 + payload).next_multiple_of(ALIGNMENT as u64)
}

/// Appends a frame to `buffer`, which begins and ends on a frame boundary. `fill` appends the
/// payload, at most [`MAX_PAYLOAD`] bytes.
pub(super) fn append<T>(
    buffer: &mut Vec<u8>,
    salt: u32,
    stamp: Stamp,
    fill: impl FnOnce(&mut Vec<u8>) -> T,
) -> T {
    let start = buffer.len();
    buffer.resize(start + HEADER_BYTES, 0);
    let filled = fill(buffer);
    let frame = buffer.get_mut(start..).unwrap_or_default();
    if let Some((header, payload)) = frame.split_at_mut_checked(HEADER_BYTES) {
        header.copy_from_slice(&encode_header(salt, stamp, payload));
    }
    buffer.resize(buffer.len().next_multiple_of(ALIGNMENT), 0);
    filled
}

/// Reads the frame at the beginning of `bytes`. An error says what is wrong with it.
pub(super) fn parse(bytes: &[u8], salt: u32) -> Result<Frame<'_>, &'static str> {
    let header = parse_header(bytes, salt).ok_or("no frame header that fits its checksum")?;
    let payload = usize::try_from(header.payload_len)
        .ok()
        .and_then(|len| bytes.get(HEADER_BYTES..)?.get(..len))
        .ok_or("the file ends inside a frame")?;
    if checksum(salt, payload) != header.payload_crc {
        return Err("the content of a frame does not fit its checksum");
    }
    Ok(Frame { stamp: header.stamp, payload })
}

/// Whether an undamaged header in `bytes`, at any aligned place, says that the frame `number` was
/// durable. Headers suffice: nobody writes one before the sync that it reports.
pub(super) fn proves_synced(bytes: &[u8], salt: u32, number: u64) -> bool {
    let mut rest = bytes;
    while !rest.is_empty() {
        let proof = parse_header(rest, salt)
            .is_some_and(|header| header.stamp.number > number && header.stamp.synced > number);
        if proof {
            return true;
        }
        rest = rest.get(ALIGNMENT..).unwrap_or_default();
    }
    false
}

/// The checksum of `bytes` in a file with this `salt`.
pub(super) fn checksum(salt: u32, bytes: &[u8]) -> u32 {
    checksum::salted(salt, &[bytes])
}

fn encode_header(salt: u32, stamp: Stamp, payload: &[u8]) -> [u8; HEADER_BYTES] {
    let mut header = [0; HEADER_BYTES];
    let mut out = &mut header[..HEADER_BYTES - 4];
    out.put_u32_le(MAGIC);
    // The caller keeps payloads below `MAX_PAYLOAD`.
    out.put_u32_le(payload.len() as u32);
    out.put_u64_le(stamp.number);
    out.put_u64_le(stamp.synced);
    out.put_u32_le(checksum(salt, payload));
    let crc = checksum(salt, &header[..HEADER_BYTES - 4]);
    header[HEADER_BYTES - 4..].copy_from_slice(&crc.to_le_bytes());
    header
}

fn parse_header(bytes: &[u8], salt: u32) -> Option<Header> {
    let (mut checked, mut crc) = bytes.get(..HEADER_BYTES)?.split_at_checked(HEADER_BYTES - 4)?;
    // The magic number comes first because it is cheap: a search asks this at every aligned place.
    if checked.get(..4)? != MAGIC.to_le_bytes() || checksum(salt, checked) != crc.get_u32_le() {
        return None;
    }
    checked.advance(4);
    let payload_len = checked.try_get_u32_le().ok()?;
    let stamp =
        Stamp { number: checked.try_get_u64_le().ok()?, synced: checked.try_get_u64_le().ok()? };
    let payload_crc = checked.try_get_u32_le().ok()?;
    (stamp.synced <= stamp.number).then_some(Header { stamp, payload_len, payload_crc })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SALT: u32 = 77;

    fn frame(number: u64, synced: u64, payload: &[u8]) -> Vec<u8> {
        let mut buffer = Vec::new();
        let stamp = Stamp { number, synced };
        append(&mut buffer, SALT, stamp, |out| out.extend_from_slice(payload));
        buffer
    }

    #[test]
    fn a_frame_reads_back_and_fills_aligned_space() {
        for len in 0..20 {
            let payload = vec![7; len];
            let bytes = frame(5, 3, &payload);
            assert_eq!(bytes.len() as u64, frame_bytes(len as u64));
            assert_eq!(bytes.len() % ALIGNMENT, 0);
            let read = parse(&bytes, SALT).unwrap();
            assert_eq!(read, Frame { stamp: Stamp { number: 5, synced: 3 }, payload: &payload });
        }
    }

    #[test]
    fn every_flipped_bit_and_every_missing_byte_is_noticed() {
        let bytes = frame(5, 3, b"sixteen bytes...");
        for at in 0..bytes.len() {
            assert!(parse(&bytes[..at], SALT).is_err(), "cut at {at}");
            for bit in 0..8 {
                let mut damaged = bytes.clone();
                damaged[at] ^= 1 << bit;
                assert!(parse(&damaged, SALT).is_err(), "bit {bit} of byte {at}");
            }
        }
    }

    #[test]
    fn a_frame_of_another_file_is_not_taken_for_one_of_this() {
        assert!(parse(&frame(5, 3, b"command"), SALT + 1).is_err());
        assert!(!proves_synced(&frame(5, 5, b""), SALT + 1, 4));
    }

    #[test]
    fn only_a_frame_written_after_the_sync_proves_it() {
        let garbage = [&[0xff; 24][..], &frame(7, 6, b"later")].concat();
        assert!(proves_synced(&garbage, SALT, 5));
        assert!(!proves_synced(&garbage, SALT, 6), "frame 6 was still under way");
        assert!(!proves_synced(&garbage[1..], SALT, 5), "a frame begins at an aligned place");
        assert!(!proves_synced(&[], SALT, 0));
    }
}
