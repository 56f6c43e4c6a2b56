//! The store as bytes, for snapshots.
//!
//! | what | bytes |
//! | --- | --- |
//! | `raft-kv` and the version of this format | 8 |
//! | how many keys there are | 8 |
//! | of each key: its length, the length of its value | 4 and 4 |
//! | the key, the value | as long as they are |
//!
//! Numbers are little-endian. The keys are in the order of their places, so the same state is
//! always the same bytes. There is no checksum: a node's storage has one for each snapshot.

use std::io::{self, BufReader, BufWriter, ErrorKind, Read, Write};

use bytes::Bytes;

use super::Entries;
use super::scan::Place;

const MAGIC: [u8; 7] = *b"raft-kv";
const VERSION: u8 = 1;

/// Enough to make the cost of a call below small.
const BUFFER: usize = 64 * 1024;

/// Writes the entries.
pub(super) fn write(entries: &Entries, to: &mut dyn Write) -> io::Result<()> {
    let mut to = BufWriter::with_capacity(BUFFER, to);
    to.write_all(&MAGIC)?;
    to.write_all(&[VERSION])?;
    to.write_all(&(entries.size() as u64).to_le_bytes())?;
    for (place, value) in entries {
        to.write_all(&length(place.key())?)?;
        to.write_all(&length(value)?)?;
        to.write_all(place.key())?;
        to.write_all(value)?;
    }
    to.flush()
}

/// Reads entries back, to the end of the bytes. It never takes more memory than what was read so
/// far deserves, whatever the bytes claim.
pub(super) fn read(from: &mut dyn Read) -> io::Result<Entries> {
    let mut from = BufReader::with_capacity(BUFFER, from);
    if array(&mut from)? != MAGIC {
        return Err(damaged("this is no snapshot of raft-kv"));
    }
    let [version] = array(&mut from)?;
    if version != VERSION {
        let text = format!("the snapshot has format {version}, this program reads {VERSION}");
        return Err(io::Error::new(ErrorKind::InvalidData, text));
    }
    let count = u64::from_le_bytes(array(&mut from)?);
    let mut entries = Entries::default();
    let mut last = None;
    for _ in 0..count {
        let lengths = [array(&mut from)?, array(&mut from)?].map(u32::from_le_bytes);
        let [key, value] = [string(&mut from, lengths[0])?, string(&mut from, lengths[1])?];
        let place = Place::of(key);
        if last.as_ref() >= Some(&place) {
            return Err(damaged("the keys of the snapshot are out of order"));
        }
        last = Some(place.clone());
        entries.insert_mut(place, value);
    }
    if io::copy(&mut from.take(1), &mut io::sink())? > 0 {
        return Err(damaged("the snapshot goes on behind its last key"));
    }
    Ok(entries)
}

fn length(bytes: &Bytes) -> io::Result<[u8; 4]> {
    // The limits of requests are far below.
    let length = u32::try_from(bytes.len()).map_err(|_| damaged("a string is too long"))?;
    Ok(length.to_le_bytes())
}

fn array<const N: usize>(from: &mut impl Read) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    from.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// Grows with what is really there.
fn string(from: &mut impl Read, length: u32) -> io::Result<Bytes> {
    let length = usize::try_from(length).map_err(|_| damaged("a string is too long"))?;
    let mut bytes = Vec::with_capacity(length.min(BUFFER));
    from.take(length as u64).read_to_end(&mut bytes)?;
    if bytes.len() < length {
        return Err(ErrorKind::UnexpectedEof.into());
    }
    Ok(bytes.into_boxed_slice().into())
}

fn damaged(what: &'static str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, what)
}
