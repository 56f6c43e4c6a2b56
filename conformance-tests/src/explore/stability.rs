//! Some nodes of a healthy cluster are cut off or die, and come back.

use std::time::Duration;

use raft_node::RequestError;
use raft_node::core::{Membership, NodeId, Refusal, RoleKind, Term};

use crate::explore::plan::Plan;
use crate::explore::recovery::RECOVERY;
use crate::explore::run::{Run, nanos};
use crate::sim::world::{id_of, number};
use crate::sim::{Options, is_quorum};

/// Several election timeouts, on the slowest clock too.
const AWAY: Duration = Duration::from_secs(4);

/// How long the disk of a leader hangs.
const HANGS: Duration = Duration::from_secs(8);

/// So soon a leader must have noticed it: after the time that it waits for its disk, on the slowest
/// clock too.
const GIVES_WAY: Duration = Duration::from_secs(6);

impl Run {
    /// I18: a leader that reaches nobody steps down, the others elect one if they are a majority,
    /// and a node that was out of touch deposes nobody when it comes back.
    pub(super) fn isolation(&mut self) -> Result<(), String> {
        let (pre_vote, check_quorum) = (self.plan.options.pre_vote, self.plan.options.check_quorum);
        let members = self.members();
        let Some((term, leader)) = self.leader() else {
            return Err("I18: the leader of a healthy cluster is gone".into());
        };
        let away = if self.world.rng.bool() { leader } else { self.any_member(&members) };
        let majority_stays = is_quorum(&members, |id| number(id) != away);
        let now = self.world.now;
        self.world.trace.line(now, Some(away), || "AWAY: is cut off".into());
        self.world.network.set_connected(away, false);
        self.quiet_or_not()?;
        let alone = members.voters().len() == 1;
        if away == leader && check_quorum && !alone && self.leader() == Some((term, leader)) {
            return Err(format!(
                "I18: leader {:?} reaches nobody and stays in office",
                id_of(leader)
            ));
        }
        if majority_stays {
            // Votes may be split several times in a row, but not for ever.
            let end = self.world.now + nanos(RECOVERY);
            self.until(end, "a majority has no leader", |run| run.leader().is_some())?;
        }
        self.world.network.set_connected(away, true);
        // A leader hands over to those that are preferred.
        let calm = pre_vote && check_quorum && majority_stays && away != leader;
        let calm = calm && !self.plan.priorities;
        self.calls_for(AWAY)?;
        if calm {
            self.still_leads(term, leader, away)?;
        }
        self.all_answered()?;
        self.settled()
    }

    /// I18: a member that does not hear its leader, and that the others hear, deposes nobody.
    pub(super) fn deafness(&mut self) -> Result<(), String> {
        let Plan { priorities, options, .. } = &self.plan;
        let Options { pre_vote, check_quorum, .. } = *options;
        let priorities = *priorities;
        let members = self.members();
        let deaf = self.any_member(&members);
        let Some((term, leader)) = self.leader() else {
            return Err("I18: the leader of a healthy cluster is gone".into());
        };
        // A leader that is not heard by a majority steps down.
        let majority_hears = is_quorum(&members, |id| number(id) != deaf);
        if leader == deaf || !majority_hears || !check_quorum || priorities {
            return Ok(());
        }
        self.world.trace.line(self.world.now, Some(deaf), || "DEAF: hears no leader".into());
        self.world.network.set_cut(leader, deaf, true);
        self.quiet_or_not()?;
        self.still_leads(term, leader, deaf)?;
        self.world.network.heal();
        self.quiet_or_not()?;
        if pre_vote {
            self.still_leads(term, leader, deaf)?;
        }
        self.all_answered()?;
        self.settled()
    }

    /// Lets some time pass. Without new entries a node that is out of touch may hope for votes.
    fn quiet_or_not(&mut self) -> Result<(), String> {
        let quiet = self.world.rng.bool();
        if quiet {
            self.world.run_for(AWAY);
            return self.sound();
        }
        self.calls_for(AWAY)
    }

    fn still_leads(&self, term: Term, leader: usize, disturber: usize) -> Result<(), String> {
        if self.leader() == Some((term, leader)) {
            return Ok(());
        }
        let now = self.leader().map(|(term, leader)| (term, id_of(leader)));
        let (disturber, leader) = (id_of(disturber), id_of(leader));
        Err(format!(
            "I18: {disturber:?} was out of touch, and leader {leader:?} of {term:?} became {now:?}"
        ))
    }

    /// I18: a leader whose disk hangs gives way, and the others elect one if they are a majority.
    pub(super) fn hung_disk(&mut self) -> Result<(), String> {
        let members = self.members();
        let Some((term, leader)) = self.leader() else {
            return Err("I18: the leader of a healthy cluster is gone".into());
        };
        if leader < self.plan.options.at_once {
            // A host that writes within a step hangs with its disk, and is then as good as paused.
            return Ok(());
        }
        let now = self.world.now;
        self.world.trace.line(now, Some(leader), || "HANGS: its disk does not answer".into());
        self.world.nodes[leader].disk_hangs_until = now + nanos(HANGS);
        self.clients.batch(&mut self.world, leader, 1);
        self.world.run_for(GIVES_WAY);
        self.sound()?;
        if self.world.role(leader) == Some((RoleKind::Leader, term)) {
            let name = id_of(leader);
            return Err(format!("I18: the disk of leader {name:?} hangs, and it stays in office"));
        }
        if is_quorum(&members, |id| number(id) != leader) {
            let end = self.world.now + nanos(RECOVERY);
            self.until(end, "a majority has no leader", |run| run.leader().is_some())?;
        }
        self.world.run_for(HANGS - GIVES_WAY);
        self.all_answered()?;
        self.settled()
    }

    /// I18: a new voter that can't be reached is refused, and holds nobody up.
    pub(super) fn dead_newcomer(&mut self) -> Result<(), String> {
        let members = self.members();
        // A learner may have everything already.
        let outside = |node: &usize| !members.contains(id_of(*node));
        let others: Vec<usize> = (0..self.world.nodes.len()).filter(outside).collect();
        let (Some((term, leader)), Some(dead)) = (self.leader(), self.world.rng.choice(others))
        else {
            return Ok(());
        };
        self.world.crash(dead);
        self.injections += 1;
        let target = self.marked(&members.voter(id_of(dead), ""));
        let call = self.world.change_membership(leader, target, None);
        self.controls.insert(call);
        let end = self.world.now + nanos(RECOVERY);
        self.until(end, "a dead new voter is waited for", |run| run.world.answer(call).is_some())?;
        let answer = self.world.answer(call);
        let refused = matches!(
            answer,
            Some(Err(RequestError::Refused { reason: Refusal::NotCaughtUp { .. }, .. }))
        );
        // A leader hands over to those that are preferred.
        if !refused && self.leader() == Some((term, leader)) {
            return Err(format!("I18: a dead new voter is answered for with {answer:?}"));
        }
        self.heal();
        self.all_answered()?;
        self.settled()
    }

    /// I18: whoever is left goes on, as long as it is a quorum of the configuration in force.
    pub(super) fn minority(&mut self) -> Result<(), String> {
        let members = self.members();
        let mut stay: Vec<NodeId> = members.members().collect();
        self.world.rng.shuffle(&mut stay);
        let mut away = Vec::new();
        for id in stay.clone() {
            if is_quorum(&members, |it| it != id && stay.contains(&it)) {
                stay.retain(|it| *it != id);
                away.push(number(id));
            }
        }
        for node in &away {
            if self.world.rng.bool() {
                self.world.crash(*node);
            } else {
                self.world.network.set_connected(*node, false);
            }
        }
        let now = self.world.now;
        self.world.trace.line(now, None, || {
            let names: Vec<_> = away.iter().copied().map(id_of).collect();
            format!("AWAY: {names:?} are cut off or dead")
        });
        let end = self.world.now + nanos(RECOVERY);
        let leads =
            |run: &Self| run.leader().is_some_and(|(_, leader)| stay.contains(&id_of(leader)));
        self.until(end, "a quorum has no leader", |run| leads(run))?;
        for id in &stay {
            self.write_somehow(end, number(*id))?;
        }
        self.heal();
        self.all_answered()?;
        self.settled()
    }

    fn any_member(&mut self, members: &Membership) -> usize {
        let member = self.world.rng.choice(members.members().collect::<Vec<_>>());
        member.map_or(0, number)
    }

    /// Lets clients call here and there for a while.
    fn calls_for(&mut self, time: Duration) -> Result<(), String> {
        const EVERY: Duration = Duration::from_millis(200);
        let end = self.world.now + nanos(time);
        while self.world.now < end {
            let node = self.any_node();
            self.clients.call(&mut self.world, node, self.plan.registers);
            self.world.run_for(EVERY);
            self.sound()?;
        }
        Ok(())
    }
}
