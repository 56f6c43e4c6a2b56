//! What must be true of a node after every step.

use crate::ids::LogIndex;
use crate::raft::Raft;
use crate::receiving::Receiving;
use crate::role::Role;

impl Raft {
    /// Checks what one node can see of the paper's invariants (figure 3) and of the promises of
    /// this crate. It runs after every step in debug builds; a simulator that sees all nodes
    /// checks the rest.
    ///
    /// # Errors
    /// Says which invariant is broken. That is a bug of this crate: please report it.
    pub fn check_invariants(&self) -> Result<(), &'static str> {
        self.log.check()?;
        self.applier.check(self.commit)?;
        let last = self.log.last_position();
        if self.commit > last.index {
            return Err("commit <= last index");
        }
        if last.term > self.hard_state.term {
            return Err("no entry is of a later term than the node");
        }
        if self.held.iter().any(|held| held.until <= self.log.durable_ticket()) {
            return Err("a held message waits for something that is not yet durable");
        }
        if self.held.len() > self.held_limit() {
            return Err("held messages are within their limit");
        }
        self.check_snapshots()?;
        self.check_role()
    }

    fn check_snapshots(&self) -> Result<(), &'static str> {
        let newest = self.snapshot.as_ref().map_or(LogIndex::ZERO, |it| it.position.index);
        if self.log.base().index > newest {
            return Err("what is compacted is covered by a snapshot");
        }
        if newest > self.commit {
            return Err("a snapshot holds committed entries only");
        }
        if self.log.membership().1 != &self.membership {
            return Err("the configuration in force is the newest of the log");
        }
        self.receiving.as_ref().map_or(Ok(()), Receiving::check)
    }

    fn check_role(&self) -> Result<(), &'static str> {
        match &self.role {
            Role::Follower(None) => Ok(()),
            Role::Follower(Some(following)) => {
                let (durable, limit) = (self.log.durable_ticket(), self.config.max_held_messages);
                following.acks.check(durable, limit)?;
                following.forwards.check()
            }
            Role::PreCandidate(_) => Ok(()),
            Role::Candidate(_) if self.hard_state.vote == Some(self.config.id) => Ok(()),
            Role::Candidate(_) => Err("a candidate has voted for itself"),
            Role::Leader(leader) => {
                if self.hard_state_ticket() > self.log.durable_ticket() {
                    return Err("the term of a leader is durable");
                }
                let bytes: usize = leader.pending.iter().map(|pending| pending.bytes).sum();
                if bytes != leader.uncommitted_bytes {
                    return Err("uncommitted bytes equal their recomputation");
                }
                let settled =
                    leader.pending.front().is_some_and(|first| first.index <= self.commit);
                if settled
                    || leader.pending.back().is_some_and(|newest| newest.index > self.log.last())
                {
                    return Err("pending proposals lie between commit and last index");
                }
                let (base, last) = (self.log.base().index, self.log.last());
                leader.peers.iter().try_for_each(|peer| peer.check(base, last))
            }
        }
    }
}
