//! Changes of membership (dissertation, chapter 4).
//!
//! Every change goes the same way: new voters come in as learners and catch up, a joint
//! configuration follows if the voters differ, and then the target. Each is an entry, in force as
//! soon as it is in the log, and the next one is written when it is committed. What comes next is
//! read off the log alone, so a new leader finishes what an old one has begun, from the joint
//! configuration on.

use crate::shared::Arc;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::time::Duration;

use crate::control::Origin;
use crate::entry::{LogPosition, Payload};
use crate::ids::{LogIndex, NodeId};
use crate::membership::Membership;
use crate::message::ControlResult;
use crate::outbox::Outbox;
use crate::output::{Notice, Refusal};
use crate::progress::Progress;
use crate::raft::Raft;
use crate::role::{Leader, Role};
use crate::sending::PATIENCE;
use crate::time::Instant;

/// A new voter that has not caught up after so many rounds never will (section 4.2.1).
const ROUNDS: u32 = 10;

/// A change that this leader was asked for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Change {
    origin: Origin,
    target: Arc<Membership>,
    rounds: BTreeMap<NodeId, Round>,
    /// An entry was written for it. Its commit proves that this leader still leads, which a target
    /// that was in force already would not.
    written: bool,
}

/// In a round a new voter gets everything that was in the log when the round began. It has caught
/// up when a round takes less than an election timeout: then commits would not wait longer for it
/// than for an election.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Round {
    number: u32,
    goal: LogIndex,
    began: Instant,
    /// What the new voter has got of the log and of a snapshot, and when that last changed.
    gained: (LogIndex, u64),
    gained_at: Instant,
    caught_up: bool,
}

impl Round {
    const fn first(goal: LogIndex, peer: &Progress, now: Instant) -> Self {
        let gained = peer.gained();
        Self { number: 1, goal, began: now, gained, gained_at: now, caught_up: false }
    }

    /// Takes note of what the new voter has got, and begins the next round when this one is over.
    fn advance(&mut self, last: LogIndex, peer: &Progress, quick: Duration, now: Instant) {
        if self.gained != peer.gained() {
            self.gained = peer.gained();
            self.gained_at = now;
        }
        if !self.caught_up && peer.matched >= self.goal {
            self.caught_up = now.since(self.began) <= quick || peer.matched == last;
            self.number += 1;
            self.goal = last;
            self.began = now;
        }
    }

    /// Whether the new voter is too slow, or does not get on at all although it may answer: its
    /// disk may hang.
    fn is_hopeless(&self, patience: Duration, now: Instant) -> bool {
        !self.caught_up && (self.number > ROUNDS || self.gained_at.plus(patience) <= now)
    }
}

/// How far the new voters are.
enum CatchUp {
    Waiting,
    Done,
    Hopeless(NodeId),
}

impl Change {
    pub(crate) fn into_origin(self) -> Origin {
        self.origin
    }
}

impl Raft {
    /// Puts the newest configuration of the log in force.
    pub(crate) fn adopt_membership(&mut self, out: &mut Outbox<'_>) {
        let (_, newest) = self.log.membership();
        if *newest == self.membership {
            return;
        }
        self.membership = newest.clone();
        out.notice(Notice::Membership(self.membership.clone()));
        // Fewer members, less room.
        let excess = self.held.len().saturating_sub(self.held_limit());
        self.held.truncate(self.held.len() - excess);
        self.dropped.over_limit += excess as u64;
        let last = self.log.last();
        let leaves_by = self.now.plus(self.config.election_timeout.saturating_mul(PATIENCE));
        if let Role::Leader(leader) = &mut self.role {
            for peer in &mut leader.peers {
                let member = self.membership.contains(peer.id);
                peer.leaves_by = (!member).then(|| peer.leaves_by.unwrap_or(leaves_by));
            }
            for id in self.membership.peers_of(self.config.id) {
                if leader.peer(id).is_none() {
                    leader.peers.push(Progress::new(id, last, self.now, None));
                }
            }
        }
        // A smaller quorum may have committed more than the larger one.
        self.advance_commit(out);
    }

    /// Whom a new leader speaks to: the members, and those that the last change removed, since the
    /// leader before may not have told them.
    pub(crate) fn peers_to_lead(&self, last: LogIndex) -> Vec<Progress> {
        let (index, members) = self.log.membership();
        let before = self.log.membership_at(index.prev());
        let removed = before.into_iter().flat_map(|(_, before)| before.members());
        let removed = removed.filter(|id| *id != self.config.id && !members.contains(*id));
        let leaves_by = Some(self.now.plus(self.config.election_timeout.saturating_mul(PATIENCE)));
        let stays = members.peers_of(self.config.id).map(|id| (id, None));
        let peers = stays.chain(removed.map(|id| (id, leaves_by)));
        peers.map(|(id, leaves_by)| Progress::new(id, last, self.now, leaves_by)).collect()
    }

    /// Stops speaking to those that are no members and know it, or can't be told.
    pub(crate) fn part_with_removed(&mut self) {
        let (commit, now) = (self.commit, self.now);
        let (index, _) = self.log.membership();
        let Role::Leader(leader) = &mut self.role else { return };
        leader.peers.retain(|peer| {
            let told = commit >= index && peer.matched >= index && peer.commit_sent >= index;
            peer.leaves_by.is_none_or(|by| now < by && !told)
        });
    }

    pub(crate) fn begin_change(
        &mut self,
        origin: Origin,
        target: Arc<Membership>,
        only_if: Option<&Membership>,
        out: &mut Outbox<'_>,
    ) {
        let (index, current) = self.log.membership();
        let Role::Leader(leader) = &self.role else { return };
        let busy = leader.change.is_some() || index > self.commit || current.is_joint();
        let with_newcomers = with_learners(current, &target, &newcomers(current, &target));
        let (joint, limit) = (current.joined_with(&target), self.config.max_command_bytes);
        // One of the two is the largest configuration on the way.
        let size = with_newcomers.map_or(0, |it| it.size()).max(joint.size());
        let refusal = if size > limit {
            Some(Refusal::TooLarge { size, limit })
        } else if leader.transfer.is_some() {
            Some(Refusal::Transferring)
        } else if busy || self.commit < leader.term_start {
            Some(Refusal::ChangeInProgress)
        } else {
            let changed = only_if.is_some_and(|expected| *expected != **current);
            changed.then_some(Refusal::MembershipChanged)
        };
        if let Some(refusal) = refusal {
            let refused = ControlResult::Refused(refusal);
            return self.answer_control(Some(origin), refused, out);
        }
        if let Role::Leader(leader) = &mut self.role {
            leader.change =
                Some(Change { origin, target, rounds: BTreeMap::new(), written: false });
        }
    }

    /// Writes the next configuration, if the last one is committed and another one is due.
    pub(crate) fn advance_change(&mut self, out: &mut Outbox<'_>) {
        let Role::Leader(leader) = &self.role else { return };
        let (index, current) = self.log.membership();
        if index > self.commit || self.commit < leader.term_start {
            return;
        }
        if current.is_joint() {
            return self.append_membership(current.settled(), out);
        }
        let Some(change) = &leader.change else { return self.retire_if_removed(out) };
        let (current, target) = (current.clone(), change.target.clone());
        if target == current && !change.written {
            return self.append_membership(Membership::clone(&target), out);
        }
        if target == current {
            // Its entry is one that this leader has written.
            let position = LogPosition { index, term: self.hard_state.term };
            let Role::Leader(leader) = &mut self.role else { return };
            let origin = leader.change.take().map(Change::into_origin);
            self.answer_control(origin, ControlResult::Committed(position), out);
            return self.retire_if_removed(out);
        }
        let newcomers = newcomers(&current, &target);
        if let Some(first) = with_learners(&current, &target, &newcomers) {
            return self.append_membership(first, out);
        }
        match self.catch_up(&newcomers) {
            CatchUp::Waiting => {}
            CatchUp::Hopeless(id) => {
                let Role::Leader(leader) = &mut self.role else { return };
                let origin = leader.change.take().map(Change::into_origin);
                let refused = ControlResult::Refused(Refusal::NotCaughtUp { id });
                self.answer_control(origin, refused, out);
            }
            CatchUp::Done if current.voters() == target.voters() => {
                self.append_membership(Membership::clone(&target), out);
            }
            CatchUp::Done => self.append_membership(current.joined_with(&target), out),
        }
    }

    fn append_membership(&mut self, membership: Membership, out: &mut Outbox<'_>) {
        self.append_payloads(alloc::vec![Payload::Membership(Arc::new(membership))]);
        if let Role::Leader(leader) = &mut self.role
            && let Some(change) = &mut leader.change
        {
            change.written = true;
        }
        self.adopt_membership(out);
    }

    /// Goes on with the rounds of the new voters.
    fn catch_up(&mut self, newcomers: &[NodeId]) -> CatchUp {
        let (now, last) = (self.now, self.log.last());
        let patience = self.config.election_timeout.saturating_mul(PATIENCE);
        let Role::Leader(leader) = &mut self.role else { return CatchUp::Waiting };
        let Leader { peers, change: Some(change), .. } = &mut **leader else {
            return CatchUp::Waiting;
        };
        let mut done = true;
        for id in newcomers {
            let Some(peer) = peers.iter().find(|peer| peer.id == *id) else {
                return CatchUp::Hopeless(*id);
            };
            let round = change.rounds.entry(*id).or_insert_with(|| Round::first(last, peer, now));
            round.advance(last, peer, self.config.election_timeout, now);
            if round.is_hopeless(patience, now) || peer.heard.plus(patience) <= now {
                return CatchUp::Hopeless(*id);
            }
            done &= round.caught_up;
        }
        if done { CatchUp::Done } else { CatchUp::Waiting }
    }

    /// A leader that is no voter has led until that was committed. Now it hands over (section
    /// 4.2.2).
    fn retire_if_removed(&mut self, out: &mut Outbox<'_>) {
        let Role::Leader(leader) = &self.role else { return };
        if leader.transfer.is_none() && !self.membership.is_voter(self.config.id) {
            self.begin_transfer(None, None, out);
        }
    }
}

/// The voters of `target` that are none in `current`.
fn newcomers(current: &Membership, target: &Membership) -> Vec<NodeId> {
    let is_new = |id: &&NodeId| !current.is_voter(**id);
    target.voters().iter().filter(is_new).copied().collect()
}

/// `current` with the new voters as learners; `None` if they are members already.
fn with_learners(
    current: &Membership,
    target: &Membership,
    newcomers: &[NodeId],
) -> Option<Membership> {
    let missing = || newcomers.iter().filter(|id| !current.contains(**id));
    missing().next()?;
    Some(missing().fold(current.clone(), |members, id| {
        members.learner(*id, target.address(*id).unwrap_or_default())
    }))
}
