//! What clients put into the log. The first byte of an envelope is its version and its kind, in
//! four bits each; numbers are varints; a command takes the rest:
//!
//! | kind | byte | what follows |
//! | --- | --- | --- |
//! | plain | `10` | command |
//! | open | `11` | |
//! | close | `12` | session |
//! | keep alive | `13` | session, elapsed, acknowledged |
//! | command | `14` | session, elapsed, acknowledged, sequence − acknowledged, command |
//! | limits | `15` | sessions, answers, bytes, ttl |
//!
//! `elapsed` is the time in milliseconds since the client had the answer to its opening.

use alloc::vec;
use alloc::vec::Vec;

use bytes::{Buf, Bytes};
use raft_core::LogIndex;

use super::varint::{self, invalid};
use super::{SessionError, SessionLimits};
use crate::io::{self, Cursor, Read};

const PLAIN: u8 = 0x10;
const OPEN: u8 = 0x11;
const CLOSE: u8 = 0x12;
const KEEP_ALIVE: u8 = 0x13;
const COMMAND: u8 = 0x14;
const LIMITS: u8 = 0x15;

/// How many bytes an envelope adds to its command at most. The limit on commands of the
/// [`Config`](raft_core::Config) is one on envelopes.
pub const MAX_OVERHEAD: usize = 1 + 4 * varint::MAX_BYTES;

/// What an entry says.
pub(super) enum Envelope {
    Plain(Bytes),
    Open,
    Close(LogIndex),
    KeepAlive(Use),
    Command { used: Use, sequence: u64, command: Bytes },
    Limits(SessionLimits),
}

/// What every use of a session says.
#[derive(Clone, Copy)]
pub(super) struct Use {
    pub(super) session: LogIndex,
    /// Milliseconds since the client had the answer to its opening.
    pub(super) elapsed: u64,
    /// The client needs no answer up to this sequence number any more.
    pub(super) acknowledged: u64,
}

impl Use {
    fn envelope(self, kind: u8) -> Vec<u8> {
        let mut envelope = vec![kind];
        for number in [self.session.get(), self.elapsed, self.acknowledged] {
            varint::put(&mut envelope, number);
        }
        envelope
    }

    pub(super) fn keep_alive(self) -> Bytes {
        self.envelope(KEEP_ALIVE).into()
    }

    /// `sequence` is above `acknowledged`.
    pub(super) fn command(self, sequence: u64, command: &[u8]) -> Bytes {
        let mut envelope = self.envelope(COMMAND);
        varint::put(&mut envelope, sequence.saturating_sub(self.acknowledged));
        envelope.extend_from_slice(command);
        envelope.into()
    }
}

/// The envelope of a command that belongs to no session: it is applied as often as it is in the
/// log. It costs one byte and a copy.
#[must_use]
pub fn plain(command: &[u8]) -> Bytes {
    [&[PLAIN], command].concat().into()
}

/// The envelope that opens a session. Propose it and make a [`Session`](super::Session) of the
/// answer. It may be tried again without harm: a session that nobody uses expires.
#[must_use]
pub const fn open() -> Bytes {
    Bytes::from_static(&[OPEN])
}

/// The envelope that sets other limits from this entry on, for an operator's use. What is beyond
/// them is thrown away at once, as the [`SessionLimits`] say.
#[must_use]
pub fn limits(limits: &SessionLimits) -> Bytes {
    let mut envelope = vec![LIMITS];
    limits.put(&mut envelope);
    envelope.into()
}

pub(super) fn close(session: LogIndex) -> Bytes {
    let mut envelope = vec![CLOSE];
    varint::put(&mut envelope, session.get());
    envelope.into()
}

impl Envelope {
    /// Never fails in a way that depends on anything but the bytes.
    pub(super) fn decode(mut bytes: Bytes) -> Result<Self, SessionError> {
        if bytes.is_empty() {
            return Err(SessionError::Malformed);
        }
        let kind = bytes.get_u8();
        if kind == PLAIN {
            return Ok(Self::Plain(bytes));
        }
        if !matches!(kind, OPEN | CLOSE | KEEP_ALIVE | COMMAND | LIMITS) {
            return Err(SessionError::Unsupported);
        }
        Self::read(kind, bytes).map_err(|_| SessionError::Malformed)
    }

    fn read(kind: u8, bytes: Bytes) -> io::Result<Self> {
        let mut from = Cursor::new(bytes);
        let envelope = match kind {
            CLOSE => Self::Close(read_session(&mut from)?),
            KEEP_ALIVE => Self::KeepAlive(read_use(&mut from)?),
            COMMAND => {
                let used = read_use(&mut from)?;
                let ahead = varint::read(&mut from)?;
                let sequence = used.acknowledged.checked_add(ahead).filter(|_| ahead > 0);
                let sequence = sequence.ok_or_else(|| invalid("no such sequence number"))?;
                return Ok(Self::Command { used, sequence, command: rest(&from) });
            }
            LIMITS => Self::Limits(SessionLimits::read(&mut from)?),
            _ => Self::Open,
        };
        if rest(&from).is_empty() { Ok(envelope) } else { Err(invalid("too long")) }
    }
}

/// What was not read.
fn rest(from: &Cursor<Bytes>) -> Bytes {
    let read = usize::try_from(from.position()).unwrap_or(usize::MAX);
    from.get_ref().slice(read.min(from.get_ref().len())..)
}

fn read_session(from: &mut impl Read) -> io::Result<LogIndex> {
    LogIndex::new(varint::read(from)?).ok_or_else(|| invalid("no such index"))
}

fn read_use(from: &mut impl Read) -> io::Result<Use> {
    let session = read_session(from)?;
    let elapsed = varint::read(from)?;
    let acknowledged = varint::read(from)?;
    Ok(Use { session, elapsed, acknowledged })
}
