//! The small numbers of the protocol, each a type of its own: a term can't pass for an index.

use core::fmt;
use core::num::NonZeroU64;

/// The identity of a server in its cluster. Any number will do; a number is never used again for
/// another server, or for the same server after it has lost its disk.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct NodeId(u64);

impl NodeId {
    /// Names a server.
    #[must_use]
    pub const fn new(id: u64) -> Self {
        Self(id)
    }

    /// The number behind the name.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }
}

/// An election term: the logical clock of Raft (paper, section 5.1). Zero is the term before the
/// first election.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Term(u64);

impl Term {
    /// The term before the first election.
    pub const ZERO: Self = Self(0);

    /// The largest term. A node never campaigns for it.
    pub const MAX: Self = Self(u64::MAX >> 1);

    /// How far ahead of its own a term may be for a node to believe in it. Honest terms are never
    /// that far apart, and a forged message can't use up the terms that remain.
    const BELIEVABLE: u64 = 1 << 40;

    /// A term from its number; a number above [`Term::MAX`] is no term.
    #[must_use]
    pub const fn new(term: u64) -> Option<Self> {
        if term <= Self::MAX.0 { Some(Self(term)) } else { None }
    }

    /// The number of the term.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The furthest term that a node in this one believes a message to have.
    pub(crate) const fn furthest(self) -> Self {
        let furthest = self.0.saturating_add(Self::BELIEVABLE);
        if furthest < Self::MAX.0 { Self(furthest) } else { Self(Self::MAX.0 - 1) }
    }

    /// The term after this one, or `None` at the end of all terms.
    pub(crate) const fn next(self) -> Option<Self> {
        if self.0 + 1 < Self::MAX.0 { Some(Self(self.0 + 1)) } else { None }
    }
}

/// The place of an entry in the log. The first entry has index 1; index 0 is the place before it.
///
/// Inside it is one more, so that an `Option` of it takes no more room.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogIndex(NonZeroU64);

impl LogIndex {
    /// The place before the first entry.
    pub const ZERO: Self = Self(NonZeroU64::MIN);

    /// The largest index. No log gets there; messages that claim it are dropped.
    pub const MAX: Self = Self(NonZeroU64::MIN.saturating_add(u64::MAX >> 2));

    /// An index from its number; a number above [`LogIndex::MAX`] is no index.
    #[must_use]
    pub const fn new(index: u64) -> Option<Self> {
        if index <= Self::MAX.get() { Some(Self::ZERO.plus(index)) } else { None }
    }

    /// The number of the index.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0.get() - 1
    }

    pub(crate) const fn half(self) -> Self {
        Self::ZERO.plus(self.get() / 2)
    }

    /// The index `count` places later, at most [`LogIndex::MAX`].
    #[must_use]
    pub const fn plus(self, count: u64) -> Self {
        let sum = self.0.saturating_add(count);
        if sum.get() <= Self::MAX.0.get() { Self(sum) } else { Self::MAX }
    }

    /// The index after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        self.plus(1)
    }

    /// The index before this one; the one before zero is zero.
    #[must_use]
    pub const fn prev(self) -> Self {
        match NonZeroU64::new(self.get()) {
            Some(prev) => Self(prev),
            None => Self::ZERO,
        }
    }

    /// How many places lie between `earlier` and this index; zero when `earlier` is later.
    #[must_use]
    pub const fn since(self, earlier: Self) -> u64 {
        self.0.get().saturating_sub(earlier.0.get())
    }
}

impl Default for LogIndex {
    fn default() -> Self {
        Self::ZERO
    }
}

/// The name that the host gives to one of its requests. The core hands it back in the one
/// [`Done`](crate::Output::Done) of that request and never looks inside; the host picks numbers
/// that are not in use.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct RequestId(u64);

impl RequestId {
    /// Names a request.
    #[must_use]
    pub const fn new(id: u64) -> Self {
        Self(id)
    }

    /// The number behind the name.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }
}

/// Stands for one [`Write`](crate::Write) and for all the writes before it. Only the core mints
/// tickets, in ascending order; the host gives the newest durable one back in
/// [`Event::Persisted`](crate::Event::Persisted).
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Ticket(u64);

impl Ticket {
    /// The number of the ticket, for logs and metrics.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    pub(crate) const fn next(self) -> Self {
        Self(self.0.wrapping_add(1))
    }
}

macro_rules! show_as_number {
    ($($name:ident $prefix:literal),*) => {$(
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}", self.get())
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "{}"), self.get())
            }
        }
    )*};
}

show_as_number!(NodeId "n", Term "t", LogIndex "i", RequestId "r", Ticket "w");
