//! The few bytes that a node keeps with its log: a file of their own, replaced as a whole.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use bytes::{Buf, BufMut, Bytes};

use crate::StoreError;
use crate::directory::{self, failed};

const MAGIC: [u8; 8] = *b"RaftMeta";
const VERSION: u32 = 1;

/// Magic number, version, length of the content, checksum of all but itself.
const HEADER_BYTES: usize = 20;
const CRC_AT: usize = HEADER_BYTES - 4;

const MAX_BYTES: usize = 1 << 20;

/// Whether metadata was ever written.
pub(super) fn exists(dir: &Path) -> Result<bool, StoreError> {
    let path = path_of(dir);
    path.try_exists().map_err(failed("look for", &path))
}

/// Reads the metadata; empty if it was never written.
pub(super) fn read(dir: &Path) -> Result<Bytes, StoreError> {
    let path = path_of(dir);
    let Some(file) = directory::open_file(&path)? else { return Ok(Bytes::new()) };
    let mut content = Vec::new();
    let limit = HEADER_BYTES + MAX_BYTES + 1;
    file.take(limit as u64).read_to_end(&mut content).map_err(failed("read", &path))?;
    decode(&path, content.into())
}

/// Replaces the metadata. A crash leaves the old or the new.
pub(super) fn replace(dir: &Path, content: &[u8]) -> Result<(), StoreError> {
    if content.len() > MAX_BYTES {
        let (bytes, limit) = (content.len() as u64, MAX_BYTES as u64);
        return Err(StoreError::TooLarge { bytes, limit });
    }
    let path = path_of(dir);
    let temporary = dir.join("metadata.tmp");
    let mut file = File::create(&temporary).map_err(failed("create", &temporary))?;
    file.write_all(&encode(content)).map_err(failed("write", &temporary))?;
    file.sync_all().map_err(failed("sync", &temporary))?;
    fs::rename(&temporary, &path).map_err(failed("rename", &temporary))?;
    directory::sync(dir)
}

fn path_of(dir: &Path) -> PathBuf {
    dir.join("metadata")
}

fn encode(content: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER_BYTES + content.len());
    bytes.put_slice(&MAGIC);
    bytes.put_u32_le(VERSION);
    bytes.put_u32_le(content.len() as u32);
    let crc = checksum(&bytes, content);
    bytes.put_u32_le(crc);
    bytes.put_slice(content);
    bytes
}

fn decode(path: &Path, mut file: Bytes) -> Result<Bytes, StoreError> {
    let damaged = |what| Err(StoreError::Damaged { path: path.to_owned(), offset: 0, what });
    if file.len() < HEADER_BYTES || !file.starts_with(&MAGIC) {
        return damaged("no metadata header");
    }
    let content = file.split_off(HEADER_BYTES);
    let checked = file.slice(..CRC_AT);
    file.advance(MAGIC.len());
    let (found, len, crc) = (file.get_u32_le(), file.get_u32_le(), file.get_u32_le());
    if checksum(&checked, &content) != crc {
        return damaged("the metadata does not fit its checksum");
    }
    if found != VERSION {
        let path = path.to_owned();
        return Err(StoreError::Version { path, found, expected: VERSION });
    }
    if usize::try_from(len) != Ok(content.len()) {
        return damaged("the metadata does not have its length");
    }
    Ok(content)
}

fn checksum(header: &[u8], content: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(header);
    hasher.update(content);
    hasher.finalize()
}
