//! What a node tells those who watch it.

use std::sync::Arc;

use raft_core::{Membership, Notice};

use crate::watched::Watched;
use crate::{Leadership, NodeError, RequestError};

/// How a node ended; whoever asks is told.
pub(crate) type Outcome = Result<(), Arc<NodeError>>;

/// What is known of a node without asking it.
#[derive(Clone, Debug, Default)]
pub(crate) struct News {
    pub(crate) leadership: Leadership,
    pub(crate) membership: Arc<Membership>,
    stage: Stage,
}

#[derive(Clone, Debug, Default)]
enum Stage {
    #[default]
    Running,
    /// Its loop has ended; tasks and threads may still be at something.
    Closing,
    Ended(Outcome),
}

impl News {
    /// Takes in what the core says; whether that was news.
    pub(crate) fn take_in(&mut self, notice: &Notice) -> bool {
        if let Notice::Membership(membership) = notice {
            self.membership = membership.clone();
            return true;
        }
        self.leadership.update(notice)
    }

    /// How the node ended, if it has.
    pub(crate) fn outcome(self) -> Option<Outcome> {
        match self.stage {
            Stage::Ended(outcome) => Some(outcome),
            Stage::Running | Stage::Closing => None,
        }
    }

    /// For those who wait until a part of the news fulfils a condition, or the node has stopped.
    /// The condition looks once at each value of that part.
    pub(crate) fn until<T: PartialEq>(
        part: impl Fn(Self) -> T,
        mut condition: impl FnMut(&T) -> bool,
    ) -> impl FnMut(Self) -> Option<Result<T, RequestError>> {
        let mut seen = None;
        move |news| {
            let stopped = !matches!(news.stage, Stage::Running);
            let now = part(news);
            if seen.as_ref() != Some(&now) {
                if condition(&now) {
                    return Some(Ok(now));
                }
                seen = Some(now);
            }
            stopped.then_some(Err(RequestError::Stopped))
        }
    }
}

/// Tells how a node ended, and that a thread of it is gone if nobody says so before this is
/// dropped: those who wait for the end must not wait for ever.
#[derive(Debug)]
pub(crate) struct End(Watched<News>);

impl End {
    pub(crate) const fn of(news: Watched<News>) -> Self {
        Self(news)
    }

    /// The loop has ended: there won't be other news.
    pub(crate) fn begin(&self) {
        self.0.update(|news| {
            news.stage = Stage::Closing;
            true
        });
    }

    pub(crate) fn tell(&self, outcome: Outcome) {
        self.0.update(|news| {
            let first = !matches!(news.stage, Stage::Ended(_));
            if first {
                news.stage = Stage::Ended(outcome);
            }
            first
        });
    }
}

impl Drop for End {
    fn drop(&mut self) {
        self.tell(Err(Arc::new(NodeError::ThreadGone)));
    }
}

#[cfg(test)]
mod tests {
    use raft_core::{NodeId, RoleKind, Term};

    use super::*;

    fn led_by(leader: u64) -> Notice {
        let leader = Some(NodeId::new(leader));
        Notice::Leadership { role: RoleKind::Follower, term: Term::ZERO, leader }
    }

    #[test]
    fn a_condition_looks_once_at_each_value_and_the_end_is_an_answer() {
        let news = Watched::new(News::default());
        let mut looks = 0;
        let mut until = News::until(
            |news| news.leadership.leader,
            |leader| {
                looks += 1;
                *leader == Some(NodeId::new(3))
            },
        );
        assert_eq!(until(news.get()), None);
        news.update(|news| news.take_in(&Notice::Membership(Arc::default())));
        assert_eq!(until(news.get()), None);
        news.update(|news| news.take_in(&led_by(2)));
        assert_eq!(until(news.get()), None);
        let end = End::of(news.clone());
        end.begin();
        assert_eq!(until(news.get()), Some(Err(RequestError::Stopped)));
        news.update(|news| news.take_in(&led_by(3)));
        assert_eq!(until(news.get()), Some(Ok(Some(NodeId::new(3)))));
        drop(until);
        assert_eq!(looks, 3);
    }

    #[test]
    fn the_end_is_told_once_and_an_end_that_nobody_tells_is_a_thread_that_is_gone() {
        let news = Watched::new(News::default());
        let end = End::of(news.clone());
        assert!(news.get().outcome().is_none());
        end.tell(Ok(()));
        drop(end);
        assert!(matches!(news.get().outcome(), Some(Ok(()))));

        let news = Watched::new(News::default());
        drop(End::of(news.clone()));
        let why = news.get().outcome().unwrap().unwrap_err();
        assert!(matches!(*why, NodeError::ThreadGone));
    }
}
