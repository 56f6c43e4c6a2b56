//! Writes the file of a snapshot, once from its beginning to its end.

use std::fs::{self, File};
use std::io::{self, Write};
use std::mem;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::BufMut;
use crc32fast::Hasher;
use raft_core::{LogPosition, Membership, Snapshot};

use super::Name;
use super::format::{self, BLOCK_BYTES, CRC_BYTES};
use crate::directory::{self, failed};
use crate::{SnapshotWriter, StoreError, checksum};

/// A snapshot under a temporary name. Dropping it removes the file.
#[derive(Debug)]
pub(super) struct Writer {
    dir: PathBuf,
    temporary: PathBuf,
    file: File,
    salt: u32,
    /// The content of the block that is not full yet.
    block: Vec<u8>,
    /// The number of that block.
    number: u64,
    size: u64,
    total: Hasher,
    /// A write failed, so nobody knows where the next one would go.
    failed: bool,
}

impl Writer {
    pub(super) fn create(dir: &Path, name: &str) -> Result<Self, StoreError> {
        let temporary = dir.join(name);
        let file = File::create(&temporary).map_err(failed("create", &temporary))?;
        let mut writer = Self {
            dir: dir.to_owned(),
            temporary,
            file,
            salt: checksum::salt(),
            block: Vec::with_capacity(BLOCK_BYTES + CRC_BYTES),
            number: 0,
            size: 0,
            total: Hasher::new(),
            failed: false,
        };
        let header = format::encode_header(writer.salt);
        writer.put(&header).map_err(failed("write", &writer.temporary))?;
        Ok(writer)
    }

    /// The number of bytes so far.
    pub(super) fn size(&self) -> u64 {
        self.size
    }

    pub(super) fn push(&mut self, data: &[u8]) -> Result<(), StoreError> {
        self.write_all(data).map_err(failed("write", &self.temporary))
    }

    /// Makes what was received durable under its name.
    pub(super) fn complete_as(mut self, snapshot: &Snapshot) -> Result<(), StoreError> {
        if (self.size, self.checksum()) != (snapshot.size, snapshot.checksum) {
            let (path, offset) = (self.temporary.clone(), 0);
            let what = "a snapshot was received that does not fit its checksum";
            return Err(StoreError::Damaged { path, offset, what });
        }
        self.finish(snapshot)
    }

    fn checksum(&self) -> u32 {
        self.total.clone().finalize()
    }

    fn finish(&mut self, snapshot: &Snapshot) -> Result<(), StoreError> {
        self.finish_content(snapshot).map_err(failed("write", &self.temporary))?;
        self.file.sync_all().map_err(failed("sync", &self.temporary))?;
        let path = Name::of(snapshot).path(&self.dir);
        fs::rename(&self.temporary, &path).map_err(failed("rename", &self.temporary))?;
        directory::sync(&self.dir).inspect_err(|_| {
            // Nobody may rely on it, so it should not be found either. The error that counts is
            // the first.
            let _ = fs::remove_file(&path);
        })
    }

    fn finish_content(&mut self, snapshot: &Snapshot) -> io::Result<()> {
        if !self.block.is_empty() {
            self.put_block()?;
        }
        self.put(&format::encode_end(self.salt, snapshot))
    }

    fn put_block(&mut self) -> io::Result<()> {
        let mut block = mem::take(&mut self.block);
        block.put_u32_le(format::checksum(self.salt, self.number, &block));
        self.put(&block)?;
        block.clear();
        self.block = block;
        self.number += 1;
        Ok(())
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.failed {
            return Err(io::Error::other("an earlier write to this file failed"));
        }
        self.file.write_all(bytes).inspect_err(|_| self.failed = true)
    }
}

impl Write for Writer {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let room = BLOCK_BYTES.saturating_sub(self.block.len());
        let (taken, _) = data.split_at(room.min(data.len()));
        self.block.extend_from_slice(taken);
        self.total.update(taken);
        self.size += taken.len() as u64;
        if self.block.len() == BLOCK_BYTES {
            self.put_block()?;
        }
        Ok(taken.len())
    }

    /// Makes durable what fills whole blocks. It is worth nothing yet, but completing the snapshot
    /// takes no time then.
    fn flush(&mut self) -> io::Result<()> {
        self.file.sync_data().inspect_err(|_| self.failed = true)
    }
}

impl SnapshotWriter for Writer {
    fn complete(
        mut self: Box<Self>,
        position: LogPosition,
        membership: Arc<Membership>,
    ) -> Result<Snapshot, StoreError> {
        let snapshot =
            Snapshot { position, membership, size: self.size, checksum: self.checksum() };
        self.finish(&snapshot)?;
        Ok(snapshot)
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        // A complete snapshot has another name by now. What can't be removed is removed when the
        // directory is opened the next time.
        let _ = fs::remove_file(&self.temporary);
    }
}
