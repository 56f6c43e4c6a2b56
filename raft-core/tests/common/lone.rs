//! Node 1 of a cluster whose other members are played by the script.

use std::ops::{Deref, DerefMut};

use raft_core::{Body, Config, Membership, Message};

use super::build::{id, message};
use super::cluster::Cluster;

/// A node that hears what the script says in the name of the others.
pub(crate) struct Lone(Cluster);

impl Lone {
    /// Node 1 of a cluster of `size` voters.
    pub(crate) fn of(size: u64) -> Self {
        Self::with(size, |config| config)
    }

    pub(crate) fn with(size: u64, adjust: impl Fn(Config) -> Config + 'static) -> Self {
        let founders = Membership::of_voters((1..=size).map(id));
        Self::among(founders, adjust)
    }

    /// Node 1, with these members.
    pub(crate) fn among(founders: Membership, adjust: impl Fn(Config) -> Config + 'static) -> Self {
        let settings = move |seed| adjust(Config::new(id(1), seed));
        Self(Cluster::of([super::Settings::new(founders, settings)]))
    }

    /// Delivers a message, and returns what the node sends when its disk has caught up.
    pub(crate) fn hears(&mut self, from: u64, of_term: u64, body: Body) -> Vec<Message> {
        self.receive(message(from, 1, of_term, body));
        self.sent()
    }

    /// What the node has sent since it was last asked.
    pub(crate) fn sent(&mut self) -> Vec<Message> {
        self.lose(|_| true)
    }

    /// Lets the node campaign, and makes it the leader with the votes of all others.
    pub(crate) fn lead(&mut self) -> Vec<Message> {
        self.timeout(1);
        let others: Vec<u64> = self.sent().iter().map(|message| message.to.get()).collect();
        let term = self.term(1);
        for from in &others {
            self.hears(*from, term, super::pre_vote_reply(true));
        }
        let term = self.term(1);
        let mut sent = self.sent();
        for from in &others {
            sent.extend(self.hears(*from, term, super::vote_reply(true)));
        }
        assert!(self.leads(1), "node 1 is elected");
        sent
    }
}

impl Deref for Lone {
    type Target = Cluster;

    fn deref(&self) -> &Cluster {
        &self.0
    }
}

impl DerefMut for Lone {
    fn deref_mut(&mut self) -> &mut Cluster {
        &mut self.0
    }
}
