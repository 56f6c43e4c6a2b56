//! When to try again.

use raft_core::Refusal;

use crate::RequestError;

/// Whether it makes sense to propose a session's [`Request`](super::Request) again after this error
/// of the node, there or at another one: always, unless it can never be accepted. The session makes
/// it safe even when the outcome is [`Unknown`](RequestError::Unknown). The caller decides how long
/// to wait in between (see [`Backoff`](crate::Backoff)) and how often to try.
///
/// For a plain command ask for [`RequestError::is_certain`] as well, or it may be applied twice.
#[must_use]
pub const fn may_retry(error: RequestError) -> bool {
    !matches!(error, RequestError::Refused { reason: Refusal::TooLarge { .. }, .. })
}
