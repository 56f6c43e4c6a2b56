//! The pieces of a snapshot file.

use std::path::Path;

use bytes::{Buf, BufMut, Bytes};
use raft_core::Snapshot;

use crate::{StoreError, checksum};

/// Magic number, version, salt, checksum.
pub(super) const HEADER_BYTES: u64 = 20;

/// The content of a block; the last one may have less.
pub(super) const BLOCK_BYTES: usize = 64 << 10;

/// The checksum behind the content of a block.
pub(super) const CRC_BYTES: usize = 4;

/// Length of the description, its checksum, checksum of both.
pub(super) const TRAILER_BYTES: u64 = 12;

const MAGIC: [u8; 8] = *b"RaftSnap";
const VERSION: u32 = 1;

/// Where the block `number` begins in the file.
pub(super) const fn block_at(number: u64) -> u64 {
    HEADER_BYTES + number.saturating_mul((BLOCK_BYTES + CRC_BYTES) as u64)
}

/// Where the description begins in the file of a snapshot with `size` bytes.
pub(super) const fn description_at(size: u64) -> u64 {
    let blocks = size.div_ceil(BLOCK_BYTES as u64);
    let checksums = blocks.saturating_mul(CRC_BYTES as u64);
    HEADER_BYTES.saturating_add(size).saturating_add(checksums)
}

/// The checksum of the block `number`.
pub(super) fn checksum(salt: u32, number: u64, content: &[u8]) -> u32 {
    checksum::salted(salt, &[&number.to_le_bytes(), content])
}

pub(super) fn encode_header(salt: u32) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER_BYTES as usize);
    bytes.put_slice(&MAGIC);
    bytes.put_u32_le(VERSION);
    bytes.put_u32_le(salt);
    bytes.put_u32_le(crc32fast::hash(&bytes));
    bytes
}

/// The salt that a header names, or `None` if it is damaged.
///
/// # Errors
/// `Version` for a header of another version.
pub(super) fn decode_header(path: &Path, header: Bytes) -> Result<Option<u32>, StoreError> {
    let checked = header.get(..HEADER_BYTES as usize - CRC_BYTES).unwrap_or_default();
    let crc = crc32fast::hash(checked);
    let mut fields = header.clone();
    if header.len() as u64 != HEADER_BYTES || !header.starts_with(&MAGIC) {
        return Ok(None);
    }
    fields.advance(MAGIC.len());
    let (found, salt) = (fields.get_u32_le(), fields.get_u32_le());
    if fields.get_u32_le() != crc {
        return Ok(None);
    }
    if found != VERSION {
        return Err(StoreError::Version { path: path.to_owned(), found, expected: VERSION });
    }
    Ok(Some(salt))
}

/// The description and the trailer, which end the file.
pub(super) fn encode_end(salt: u32, snapshot: &Snapshot) -> Vec<u8> {
    let mut bytes = snapshot.encode().to_vec();
    let mut trailer = Vec::with_capacity(TRAILER_BYTES as usize);
    // A description that does not fit this number would not fit a message either.
    trailer.put_u32_le(bytes.len() as u32);
    trailer.put_u32_le(checksum(salt, 0, &bytes));
    trailer.put_u32_le(checksum(salt, 0, &trailer));
    bytes.put_slice(&trailer);
    bytes
}

/// The length and the checksum of the description, or `None` if the trailer is damaged.
pub(super) fn decode_trailer(salt: u32, mut trailer: Bytes) -> Option<(u32, u32)> {
    let crc = checksum(salt, 0, trailer.get(..TRAILER_BYTES as usize - CRC_BYTES)?);
    let len = trailer.try_get_u32_le().ok()?;
    let description = trailer.try_get_u32_le().ok()?;
    (trailer.try_get_u32_le() == Ok(crc)).then_some((len, description))
}
