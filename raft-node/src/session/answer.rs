//! What the replicas answer.

use alloc::vec;

use bytes::{Buf, Bytes};
use raft_core::LogIndex;
use thiserror::Error;

use super::{SessionLimits, varint};
use crate::io::{Cursor, Read};

const SUCCESS: u8 = 0;
const EXPIRED: u8 = 1;
const ANSWER_GONE: u8 = 2;
const TOO_MANY_OUTSTANDING: u8 = 3;
const MALFORMED: u8 = 4;
const UNSUPPORTED: u8 = 5;

/// Why the replicated state machine has no answer for a command. All but
/// [`Garbled`](SessionError::Garbled) are decided by the log, so every replica says the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SessionError {
    /// There is no such session: it was not used for too long, was evicted for newer ones, was
    /// closed, or never existed. The command was not applied this time, and will not be any more.
    /// Whether an earlier try of it was applied, nobody remembers; the same goes for all commands
    /// of the session that have no answer yet. Find out by reading, then open another session.
    #[error("the session has expired")]
    Expired,
    /// The command was dealt with earlier and is not applied again, but its answer is no longer
    /// there: it was acknowledged, or given up, or forgotten to save room. A command that was not
    /// given up was applied, once. Read its effect if the answer matters.
    #[error("the command was dealt with earlier, and its answer is no longer there")]
    AnswerGone,
    /// Too many commands of the session wait for answers. This one was not applied. Take in the
    /// answers that are missing, or give them up, and try again.
    #[error("more than {limit} commands of the session wait for answers")]
    TooManyOutstanding {
        /// How many may wait.
        limit: u32,
    },
    /// The envelope makes no sense, and nothing was applied. Only what the functions of this module
    /// have made may be proposed.
    #[error("the envelope of the command is malformed")]
    Malformed,
    /// The replicas don't know this kind of envelope: the client is newer than they are. Nothing
    /// was applied. Upgrade all nodes before the first client.
    #[error("the replicas don't know this kind of envelope")]
    Unsupported,
    /// These bytes are no answer of a [`Sessions`](super::Sessions), or one of a newer version:
    /// nothing can be said of the command. Find out why the versions differ.
    #[error("these bytes are no answer that this version can read")]
    Garbled,
}

/// What a session begins with.
pub(super) struct Opening {
    pub(super) id: LogIndex,
    pub(super) window: u32,
    pub(super) ttl_ms: u64,
}

/// The answer of the wrapped machine, marked as such. It is a copy, so that an answer which is
/// remembered holds on to no larger buffer.
pub(super) fn success(answer: &[u8]) -> Bytes {
    if answer.is_empty() {
        return Bytes::from_static(&[SUCCESS]);
    }
    [&[SUCCESS], answer].concat().into()
}

pub(super) fn failure(error: SessionError) -> Bytes {
    Bytes::from_static(match error {
        SessionError::Expired => &[EXPIRED],
        SessionError::AnswerGone => &[ANSWER_GONE],
        SessionError::TooManyOutstanding { limit } => {
            let mut answer = vec![TOO_MANY_OUTSTANDING];
            varint::put(&mut answer, limit.into());
            return answer.into();
        }
        SessionError::Malformed | SessionError::Garbled => &[MALFORMED],
        SessionError::Unsupported => &[UNSUPPORTED],
    })
}

pub(super) fn opened(id: LogIndex, limits: &SessionLimits) -> Bytes {
    let mut answer = vec![SUCCESS];
    varint::put(&mut answer, id.get());
    varint::put(&mut answer, limits.window().into());
    varint::put(&mut answer, limits.ttl_ms());
    answer.into()
}

/// Takes an answer apart: what the wrapped machine said, or why it said nothing. This is for plain
/// commands and everything else that has no [`Request`](super::Request).
///
/// # Errors
/// As each [`SessionError`] says.
pub fn decode(mut answer: Bytes) -> Result<Bytes, SessionError> {
    if answer.is_empty() {
        return Err(SessionError::Garbled);
    }
    Err(match answer.get_u8() {
        SUCCESS => return Ok(answer),
        EXPIRED => SessionError::Expired,
        ANSWER_GONE => SessionError::AnswerGone,
        TOO_MANY_OUTSTANDING => match varint::read_u32(&mut Cursor::new(answer)) {
            Ok(limit) => SessionError::TooManyOutstanding { limit },
            Err(_) => SessionError::Garbled,
        },
        MALFORMED => SessionError::Malformed,
        UNSUPPORTED => SessionError::Unsupported,
        _ => SessionError::Garbled,
    })
}

pub(super) fn decode_opening(answer: Bytes) -> Result<Opening, SessionError> {
    let mut answer = Cursor::new(decode(answer)?);
    read_opening(&mut answer).ok_or(SessionError::Garbled)
}

fn read_opening(from: &mut impl Read) -> Option<Opening> {
    let id = LogIndex::new(varint::read(from).ok()?)?;
    let window = varint::read_u32(from).ok()?;
    let ttl_ms = varint::read(from).ok()?;
    Some(Opening { id, window, ttl_ms })
}
