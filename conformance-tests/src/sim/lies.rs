//! What no correct node says.

use alloc::vec;

use raft_node::core::{
    Append, Body, Entries, Entry, Event, LogIndex, LogPosition, Message, Payload, Status,
};

use crate::sim::random::within;
use crate::sim::world::World;

impl World {
    /// A follower hears, in its leader's name, of an entry in the place of one that it knows to be
    /// committed: somebody breaks the protocol, as a peer with a wrong disk would. The follower
    /// must not believe it. Nothing happens if the entry is one of the leader's own term.
    pub(crate) fn contradict(&mut self, node: usize) {
        let Some(raft) = &self.nodes[node].raft else { return };
        let Status { id, term, leader, base, commit, .. } = raft.status();
        let drawn = within(&mut self.rng, &(base.next().get()..commit.next().get()));
        let Some(index) = LogIndex::new(drawn).filter(|index| *index <= commit) else { return };
        let log = self.nodes[node].disk.current();
        let (before, there) = (log.term_at(index.prev()), log.term_at(index));
        let (Some(leader), Some(before), Some(there)) = (leader, before, there) else { return };
        let entry = Entry { term, index, payload: Payload::Noop };
        let Some(entries) = Entries::new(vec![entry]) else { return };
        if leader == id || there == term {
            return;
        }
        let prev = LogPosition { index: index.prev(), term: before };
        let body = Body::Append(Append { prev, entries, commit: prev.index, sequence: 0 });
        self.step(node, Event::Receive(Message { from: leader, to: id, term, body }));
    }
}
