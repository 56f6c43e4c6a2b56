//! Reads entries back.

use std::path::PathBuf;

use raft_core::{Entries, Entry, LogIndex};

use super::index::Stretch;
use super::segment::Segment;
use crate::StoreError;
use crate::record;

/// Reads entries, and keeps the last segment that it read from open.
#[derive(Debug)]
pub(super) struct Reader {
    dir: PathBuf,
    open: Option<Segment>,
}

impl Reader {
    pub(super) fn new(dir: PathBuf) -> Self {
        Self { dir, open: None }
    }

    /// Closes segments that are older than `oldest`: a removed file takes space while it is open.
    pub(super) fn close_older_than(&mut self, oldest: u64) {
        self.open.take_if(|segment| segment.sequence() < oldest);
    }

    /// Reads the entries of `stretches`, the first of which has the index `from`.
    pub(super) fn read(
        &mut self,
        from: LogIndex,
        stretches: &[Stretch],
    ) -> Result<Entries, StoreError> {
        let mut entries = Vec::new();
        let mut next = from;
        for stretch in stretches {
            let segment = self.segment(stretch.segment)?;
            read_stretch(segment, next, stretch, &mut entries)?;
            next = entries.last().map_or(next, |entry| entry.index.next());
        }
        Entries::new(entries)
            .ok_or(StoreError::OutOfOrder { what: "the stored entries do not follow each other" })
    }

    fn segment(&mut self, sequence: u64) -> Result<&Segment, StoreError> {
        let open = self.open.take().filter(|segment| segment.sequence() == sequence);
        let segment = match open {
            Some(segment) => segment,
            None => Segment::open(&self.dir, sequence)?,
        };
        Ok(self.open.insert(segment))
    }
}

fn read_stretch(
    segment: &Segment,
    mut index: LogIndex,
    stretch: &Stretch,
    entries: &mut Vec<Entry>,
) -> Result<(), StoreError> {
    let start = stretch.bytes.start;
    let distance = |end: u64| usize::try_from(end.saturating_sub(start)).unwrap_or(usize::MAX);
    let content = segment.read_at(start, distance(stretch.bytes.end))?;
    for place in &stretch.places {
        let damaged = |what| segment.damaged(place.offset, what);
        // The checksum comes from memory, so it also tells an old entry from the one that
        // replaced it.
        let body = content
            .get(distance(place.offset)..distance(place.end()))
            .filter(|body| crc32fast::hash(body) == place.crc)
            .ok_or_else(|| damaged("an entry does not fit its checksum"))?;
        let entry = record::decode_entry(index, content.slice_ref(body)).map_err(damaged)?;
        entries.push(entry);
        index = index.next();
    }
    Ok(())
}
