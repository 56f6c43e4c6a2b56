//! Logs as they are on the disks.

use raft_node::core::{Entry, LogIndex, LogPosition, Term};

use crate::sim::checker::Checker;
use crate::sim::disk::Image;
use crate::sim::node::SimNode;

/// A log as a node would find it when it starts, or as it is in the node's memory. Everything up to
/// `base` is in a snapshot.
pub(super) struct Log<'a> {
    base: LogPosition,
    /// Whether the image goes on behind `base`. It does not if a snapshot is durable which the log
    /// does not reach or contradicts.
    goes_on: bool,
    image: &'a Image,
}

impl<'a> Log<'a> {
    pub(super) fn durable(node: &'a SimNode) -> Self {
        let image = node.disk.durable();
        let snapshot = node.snapshots.newest().map(|snapshot| snapshot.position);
        match snapshot {
            Some(snapshot) if image.term_at(snapshot.index) != Some(snapshot.term) => {
                Self { base: snapshot, goes_on: false, image }
            }
            _ => Self { base: image.begin_after(), goes_on: true, image },
        }
    }

    pub(super) fn current(node: &'a SimNode) -> Self {
        let image = node.disk.current();
        Self { base: image.begin_after(), goes_on: true, image }
    }

    pub(super) const fn base(&self) -> LogPosition {
        self.base
    }

    pub(super) fn last(&self) -> LogIndex {
        if self.goes_on { self.image.last() } else { self.base.index }
    }

    pub(super) fn entry(&self, index: LogIndex) -> Option<&'a Entry> {
        if self.goes_on { self.image.entry(index) } else { None }
    }
}

impl Checker {
    /// The term of a committed entry, or of the place before the first one.
    pub(super) fn committed_term(&self, index: LogIndex) -> Option<Term> {
        match usize::try_from(index.get()).unwrap_or(usize::MAX).checked_sub(1) {
            None => Some(Term::ZERO),
            Some(at) => self.committed.get(at).map(|known| known.entry.term),
        }
    }

    /// The term of what a log has at an index. All that a snapshot covers is committed.
    pub(super) fn term_in(&self, log: &Log<'_>, index: LogIndex) -> Option<Term> {
        if index == log.base().index {
            Some(log.base().term)
        } else if index < log.base().index {
            self.committed_term(index)
        } else {
            log.entry(index).map(|entry| entry.term)
        }
    }
}
