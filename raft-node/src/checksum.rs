//! The checksums of files, which begin with a salt.

use std::hash::{BuildHasher, RandomState};

use crc32fast::Hasher;

/// A number that begins the checksums in one file. It is random, so that nothing that clients send,
/// and nothing that stayed on the disk from an older file, passes for a part of this one.
pub(crate) fn salt() -> u32 {
    RandomState::new().hash_one(0) as u32
}

/// The CRC-32 of the parts, one behind the other, in a file with this `salt`.
pub(crate) fn salted(salt: u32, parts: &[&[u8]]) -> u32 {
    let mut hasher = Hasher::new_with_initial(salt);
    parts.iter().for_each(|part| hasher.update(part));
    hasher.finalize()
}
