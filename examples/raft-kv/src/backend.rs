//! The way from a connection to the cluster, with bounded patience.

use std::future::Future;
use std::time::Duration;

use bytes::Bytes;
use raft_node::core::Refusal;
use raft_tokio::{Handle, RequestError};
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
    patience: Duration,
}

impl Backend {
    pub(crate) const fn new(handle: Handle, patience: Duration) -> Self {
        Self { handle, patience }
    }

    pub(crate) const fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Makes the changes, in order and with nothing between them, and returns one reply for each.
    pub(crate) async fn write(&self, writes: &[Write]) -> Result<Vec<Reply>, Trouble> {
        let command = encode(writes);
        let propose = || self.handle.propose(command.clone());
        let answer = insist(self.patience, Kind::Write, propose).await?;
        match decode::<Reply>(&answer) {
            Some(replies) if replies.len() == writes.len() => Ok(replies),
            Some(replies) if replies == [Reply::Failed(Failure::Undecodable)] => {
                Ok(vec![Reply::Failed(Failure::Undecodable); writes.len()])
            }
            _ => Err(unknown(UNREADABLE)),
        }
    }

    /// Answers the first of the questions, at least one: as many as fit in one answer. The answers
    /// see every write that was acknowledged before.
    pub(crate) async fn read(&self, reads: &[Read]) -> Result<Vec<Reply>, Trouble> {
        let query = encode(reads);
        let read = || self.handle.read(query.clone());
        let answer = insist(self.patience, Kind::Read, read).await?;
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
        let outcome = insist(PATIENCE, kind, || {
            tries += 1;
            ready(answers.next().unwrap_or(Err(REFUSED)))
        });
        (outcome.await, tries)
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

    #[tokio::test(start_paused = true)]
    async fn a_request_without_any_answer_ends_in_time() {
        let silence = || insist_in_silence(Kind::Write);
        assert!(matches!(silence().await, Err(Trouble::Unknown(_))));
        assert!(matches!(insist_in_silence(Kind::Read).await, Err(Trouble::Down(_))));
    }

    async fn insist_in_silence(kind: Kind) -> Result<Bytes, Trouble> {
        insist(PATIENCE, kind, pending).await
    }
}
