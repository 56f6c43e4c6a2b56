//! The way from a connection to the cluster, with bounded patience.
//!
//! # What a Redis client gets
//!
//! A reply that is no error means that the request took effect, exactly once, and is on the disks
//! of a majority. An error that begins with `CLUSTERDOWN` means that nothing was changed, and one
//! with `UNKNOWN` that nobody can say. The server tries a write again only while it was certainly
//! not applied, so it never applies one twice; and it has nothing by which it could tell that two
//! requests of a Redis client are the same one. So after `UNKNOWN`, or when a connection breaks
//! before the reply, it is up to the client: `SET` and `DEL` may be sent again without harm as long
//! as nobody else writes the key, `INCR` and `APPEND` may not.
//!
//! A client that wants its writes applied exactly once, whatever breaks, has a
//! [`session`]. It sends envelopes with `RAFT.PROPOSE`, to one node after the
//! other until there is an answer; the replicas recognise what they have applied. The clients of
//! `raft-kv demo` do that. An envelope carries a list of [`Write`]s as its command.

use std::future::Future;
use std::time::Duration;

use bytes::Bytes;
use raft_node::core::{NodeId, Refusal};
use raft_node::{Handle, RequestError, session};
use thiserror::Error;
use tokio::time::{Instant, sleep, timeout_at};

use crate::store::{Failure, Read, Reply, Write, decode, encode};

const FIRST_PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_millis(100);

const UNREADABLE: &str = "this node can't read its own answer";

/// The cluster could not answer. The text says whether something may have changed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(crate) enum Trouble {
    /// Certainly nothing was changed.
    #[error("CLUSTERDOWN {0}; nothing was changed, try again")]
    Down(String),
    /// A write was handed to the cluster, and nobody can say what became of it.
    #[error("UNKNOWN {0}")]
    Unknown(String),
    /// The cluster does not take commands of this size. Certainly nothing was changed.
    #[error("ERR {0}")]
    TooLarge(String),
}

/// What a request may do to the state.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Write,
    Read,
}

/// Hands groups of requests to the cluster and gives each of them an answer in bounded time.
pub(crate) struct Backend {
    handle: Handle,
    id: NodeId,
    patience: Duration,
}

impl Backend {
    pub(crate) const fn new(handle: Handle, id: NodeId, patience: Duration) -> Self {
        Self { handle, id, patience }
    }

    /// Why nothing can come of a second try on this node, if that is so.
    fn outcast(&self) -> Option<&'static str> {
        let members = self.handle.membership();
        if members.is_empty() {
            return Some("this node was not added to a cluster yet");
        }
        (!members.contains(self.id)).then_some("this node was removed from the cluster")
    }

    pub(crate) const fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Makes the changes, in order and with nothing between them, and returns one reply for each.
    pub(crate) async fn write(&self, writes: &[Write]) -> Result<Vec<Reply>, Trouble> {
        let answer = self.propose(session::plain(&encode(writes))).await?;
        // A plain command has no session that could have failed.
        match session::decode(answer).ok().and_then(|answer| decode::<Reply>(&answer)) {
            Some(replies) if replies.len() == writes.len() => Ok(replies),
            Some(replies) if replies == [Reply::Failed(Failure::Undecodable)] => {
                Ok(vec![Reply::Failed(Failure::Undecodable); writes.len()])
            }
            _ => Err(unknown(UNREADABLE)),
        }
    }

    /// Proposes a command in its envelope, and returns what the replicas answer.
    pub(crate) async fn propose(&self, envelope: Bytes) -> Result<Bytes, Trouble> {
        let propose = || self.handle.propose(envelope.clone());
        insist(self.patience, Kind::Write, propose, || self.outcast()).await
    }

    /// Answers the first of the questions, at least one: as many as fit in one answer. The answers
    /// see every write that was acknowledged before.
    pub(crate) async fn read(&self, reads: &[Read]) -> Result<Vec<Reply>, Trouble> {
        let query = encode(reads);
        let read = || self.handle.read(query.clone());
        let answer = insist(self.patience, Kind::Read, read, || self.outcast()).await?;
        match decode::<Reply>(&answer) {
            Some(replies) if (1..=reads.len()).contains(&replies.len()) => Ok(replies),
            _ => Err(Trouble::Down(UNREADABLE.into())),
        }
    }
}

/// Tries until there is an answer, or until it is no longer safe or no longer in time.
///
/// A write is tried again only when it was certainly not applied: a second try of one that may
/// still be applied could apply it twice. A read does no harm.
async fn insist<F>(
    patience: Duration,
    kind: Kind,
    mut attempt: impl FnMut() -> F,
    outcast: impl Fn() -> Option<&'static str>,
) -> Result<Bytes, Trouble>
where
    F: Future<Output = Result<Bytes, RequestError>>,
{
    let deadline = Instant::now() + patience;
    let mut pause = FIRST_PAUSE;
    loop {
        let error = match timeout_at(deadline, attempt()).await {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(error)) => error,
            Err(_) => {
                let text = format!("no answer within {patience:?}");
                return Err(match kind {
                    Kind::Write => unknown(&text),
                    Kind::Read => Trouble::Down(text),
                });
            }
        };
        let text = error.to_string();
        match error {
            RequestError::Refused { reason: Refusal::TooLarge { .. }, .. } => {
                return Err(Trouble::TooLarge(text));
            }
            RequestError::Stopped => return Err(Trouble::Down(text)),
            _ if kind == Kind::Read || error.is_certain() => {}
            _ => return Err(Trouble::Unknown(text)),
        }
        if let Some(why) = outcast() {
            return Err(Trouble::Down(why.into()));
        }
        if Instant::now() + pause >= deadline {
            return Err(Trouble::Down(text));
        }
        sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

fn unknown(reason: &str) -> Trouble {
    Trouble::Unknown(format!("{reason}: the write may have been applied, or may yet be"))
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(5);
    const REFUSED: RequestError = RequestError::Refused { reason: Refusal::NoLeader, leader: None };

    /// Plays the answers one after the other and returns the outcome and the number of tries.
    async fn play(
        kind: Kind,
        answers: Vec<Result<Bytes, RequestError>>,
    ) -> (Result<Bytes, Trouble>, usize) {
        let mut answers = answers.into_iter();
        let mut tries = 0;
        let attempt = || {
            tries += 1;
            ready(answers.next().unwrap_or(Err(REFUSED)))
        };
        let outcome = insist(PATIENCE, kind, attempt, || None).await;
        (outcome, tries)
    }

    #[tokio::test(start_paused = true)]
    async fn a_write_is_tried_again_only_while_it_was_certainly_not_applied() {
        let answers = vec![Err(REFUSED), Err(RequestError::Lost), Ok(Bytes::from("done"))];
        assert_eq!(play(Kind::Write, answers).await, (Ok("done".into()), 3));
        let (outcome, tries) =
            play(Kind::Write, vec![Err(REFUSED), Err(RequestError::Unknown)]).await;
        assert!(matches!(outcome, Err(Trouble::Unknown(_))));
        assert_eq!(tries, 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_read_is_tried_again_whatever_became_of_it() {
        let answers = vec![Err(RequestError::Unknown), Ok(Bytes::from("value"))];
        assert_eq!(play(Kind::Read, answers).await, (Ok("value".into()), 2));
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_leader_the_answer_comes_in_time_and_says_that_nothing_changed() {
        for kind in [Kind::Write, Kind::Read] {
            let start = Instant::now();
            let (outcome, tries) = play(kind, vec![]).await;
            assert!(matches!(outcome, Err(Trouble::Down(_))));
            assert!(start.elapsed() <= PATIENCE);
            assert!(tries > 10);
        }
    }

    /// R123.
    #[tokio::test(start_paused = true)]
    async fn a_request_without_any_answer_ends_in_time() {
        let silence = || insist_in_silence(Kind::Write);
        assert!(matches!(silence().await, Err(Trouble::Unknown(_))));
        assert!(matches!(insist_in_silence(Kind::Read).await, Err(Trouble::Down(_))));
    }

    #[tokio::test(start_paused = true)]
    async fn a_node_without_a_cluster_says_so_at_once() {
        let start = Instant::now();
        let outcome =
            insist(PATIENCE, Kind::Write, || ready(Err(REFUSED)), || Some("removed")).await;
        assert_eq!(outcome, Err(Trouble::Down("removed".into())));
        assert_eq!(start.elapsed(), Duration::ZERO);
    }

    async fn insist_in_silence(kind: Kind) -> Result<Bytes, Trouble> {
        insist(PATIENCE, kind, pending, || None).await
    }
}
