//! After chaos: everything is healed, and then there must be progress.

use std::time::Duration;

use raft_node::core::{LogIndex, Membership, Raft, Status};

use crate::explore::run::{LOOK_EVERY, Run, nanos};
use crate::sim::Snapshots;
use crate::sim::network::MS;
use crate::sim::world::{id_of, number};

/// After peace begins, everything must be well within this time: several elections, a full disk
/// queue and the slowest delays fit.
pub(super) const RECOVERY: Duration = Duration::from_secs(60);

/// A node needs one snapshot to catch up, and one more for each new leader or loss of its state; a
/// slow one may need one for each that its leader takes. So many more within the recovery are a
/// loop.
const SNAPSHOTS: u64 = 8;

impl Run {
    /// The world becomes a good place. What still goes wrong now is the protocol's fault.
    pub(super) fn peace(&mut self) {
        let now = self.world.now;
        self.world.trace.line(now, None, || "PEACE: everything is healed, and must recover".into());
        self.heal();
        let network = &mut self.world.network;
        (network.loss, network.duplication, network.damage) = (0, 0, 0);
        (network.late_requests, network.late_answers) = (0, 0);
        network.delay = MS / 10..5 * MS;
        self.world.options.disk_delay = MS / 20..5 * MS;
        self.world.options.load_delay = 0..0;
        self.world.options.apply_delay = MS / 100..MS;
        self.world.options.snapshot_delay = MS / 20..5 * MS;
        self.world.options.snapshot_failures = 0;
        for node in &mut self.world.nodes {
            node.paused_until = now;
            node.disk_hangs_until = now;
        }
        self.revive();
    }

    /// If nobody is left who could send a snapshot to those that have lost their states, the
    /// operator starts them anew.
    fn revive(&mut self) {
        if self.enough(|id| !self.is_lost(id)) {
            return;
        }
        for node in 0..self.world.nodes.len() {
            if self.world.nodes[node].lost {
                self.world.crash(node);
                self.world.start(node);
            }
        }
    }

    /// I18: there is a leader, every call is answered, new calls at every member succeed, and all
    /// logs become the same.
    pub(super) fn recovery(&mut self) -> Result<(), String> {
        let counts = |run: &Self, count: fn(&Snapshots) -> u64| -> Vec<u64> {
            run.world.nodes.iter().map(|node| count(&node.snapshots)).collect()
        };
        let (begun, taken) = (|it: &Snapshots| it.begun, |it: &Snapshots| it.taken);
        let (begun_before, taken_before) = (counts(self, begun), counts(self, taken));
        let end = self.world.now + nanos(RECOVERY);
        self.until(end, "no leader", |run| run.leader().is_some())?;
        self.all_answered()?;
        let end = self.world.now + nanos(RECOVERY);
        for node in 0..self.world.nodes.len() {
            self.write_somehow(end, node)?;
        }
        self.settled()?;
        // What chaos has left behind ends by itself: messages under way, and clocks that stand
        // still because they were set back.
        self.world.run_for(Duration::from_secs(3));
        self.settled()?;
        let most = |now: Vec<u64>, before: Vec<u64>| {
            now.into_iter().zip(before).map(|(now, before)| now - before).max().unwrap_or_default()
        };
        let sent = most(counts(self, begun), begun_before);
        let taken = most(counts(self, taken), taken_before);
        if sent > SNAPSHOTS + taken {
            return Err(format!("I18: a node was sent {sent} snapshots, others took {taken}"));
        }
        match self.world.rng.u8(0..7) {
            0 | 1 => self.isolation()?,
            2 => self.minority()?,
            3 => self.deafness()?,
            4 => self.hung_disk()?,
            5 => self.dead_newcomer()?,
            _ => {}
        }
        self.idle_is_quiet()
    }

    /// The members as the leader has them; nobody if there is no leader.
    pub(super) fn members(&self) -> Membership {
        self.leading().map(|raft| raft.membership().clone()).unwrap_or_default()
    }

    fn leading(&self) -> Option<&Raft> {
        self.leader().and_then(|(_, leader)| self.world.nodes[leader].raft.as_ref())
    }

    /// Every call and every command of a session has its answer.
    pub(super) fn all_answered(&mut self) -> Result<(), String> {
        let end = self.world.now + nanos(RECOVERY);
        self.until(end, "a call was never answered", |run| {
            // A change that was under way may leave members that have all lost their states.
            run.revive();
            run.clients.open() == 0 && run.controls.is_empty() && run.retries.open() == 0
        })
    }

    /// All members have the same log, have applied all of it, and agree on who they are.
    pub(super) fn settled(&mut self) -> Result<(), String> {
        let end = self.world.now + nanos(RECOVERY);
        self.until(end, "the members did not come to the same state", Self::is_settled)
    }

    fn is_settled(&mut self) -> bool {
        let members = self.members();
        let status = |node: usize| -> Option<Status> {
            Some(self.world.nodes.get(node)?.raft.as_ref()?.status())
        };
        let picture = |node: usize| {
            let Status { last, durable, commit, applied, term, membership, .. } = status(node)?;
            Some((last, durable, commit, applied, term, membership))
        };
        let mut pictures = members.members().map(|id| picture(number(id)));
        let Some(Some(first)) = pictures.next() else { return false };
        let (last, durable, commit, applied, ..) = &first;
        let at_rest = last == durable && durable == commit && commit == applied;
        at_rest
            && *last > LogIndex::ZERO
            && !members.is_joint()
            && *first.5 == members
            && pictures.all(|picture| picture.as_ref() == Some(&first))
    }

    /// Writes and reads at one node until each has succeeded, if the node is a member.
    pub(super) fn write_somehow(&mut self, end: u64, node: usize) -> Result<(), String> {
        self.until(end, "a member's clients had no success", |run| {
            let members = run.members();
            if !members.is_empty() && !members.contains(id_of(node)) {
                return true;
            }
            let before = run.clients.registers.succeeded();
            run.clients.call(&mut run.world, node, 1);
            run.world.run_for(LOOK_EVERY * 4);
            run.clients.collect(&mut run.world).is_ok()
                && run.clients.registers.succeeded() > before
        })
    }

    pub(super) fn until(
        &mut self,
        end: u64,
        otherwise: &str,
        mut holds: impl FnMut(&mut Self) -> bool,
    ) -> Result<(), String> {
        while !holds(self) {
            self.sound()?;
            if self.world.now >= end {
                return Err(format!("I18: {otherwise} within {RECOVERY:?}"));
            }
            self.world.run_for(LOOK_EVERY);
        }
        self.sound()
    }

    /// Whether the leader still speaks to somebody who is no member any more.
    fn tells_removed(&self) -> bool {
        self.leading().is_some_and(|raft| {
            let members = raft.membership();
            raft.status().peers.iter().any(|peer| !members.contains(peer.id))
        })
    }

    /// I19: with nothing to do there are heartbeats and nothing else.
    fn idle_is_quiet(&mut self) -> Result<(), String> {
        self.all_answered()?;
        // Later attempts of what was repeated come to an end.
        self.world.run_for(Duration::from_secs(3));
        let end = self.world.now + nanos(RECOVERY);
        let sent = loop {
            let (before, leader) = (self.world.traffic.requests, self.leader());
            let settled = !self.tells_removed();
            self.world.run_for(Duration::from_secs(1));
            if settled && self.leader() == leader || self.world.now >= end {
                break self.world.traffic.requests - before;
            }
            // A new leader, such as a preferred member that has taken over, tells those that were
            // removed, if need be with a snapshot in tiny pieces.
            self.world.run_for(Duration::from_secs(12));
        };
        let (size, members) = (self.world.nodes.len() as u64, self.members());
        let peers = members.members().count() as u64 - 1;
        // Ten heartbeats a second, a little more for a fast clock. Those that were removed and
        // don't know it ask for votes; and a preferred member is asked to lead.
        let others = size - peers - 1;
        if sent > 12 * peers + 2 * others * size + u64::from(self.plan.priorities) {
            return Err(format!("I19: {sent} requests in an idle second with {peers} peers"));
        }
        self.sound()
    }
}
