//! Some nodes of a healthy cluster are cut off or die, and come back.

use std::time::Duration;

use raft_node::core::{Membership, NodeId};

use crate::explore::recovery::RECOVERY;
use crate::explore::run::{Run, nanos};
use crate::sim::is_quorum;
use crate::sim::world::{id_of, number};

/// Several election timeouts, on the slowest clock too.
const AWAY: Duration = Duration::from_secs(4);

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
        // Without new entries in its absence the node may hope for votes when it comes back.
        let quiet = self.world.rng.bool();
        self.world.network.set_connected(away, false);
        if quiet {
            self.world.run_for(AWAY)
        } else {
            self.calls_for(AWAY)?
        }
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
        if calm && self.leader() != Some((term, leader)) {
            let now = self.leader().map(|(term, leader)| (term, id_of(leader)));
            let (away, leader) = (id_of(away), id_of(leader));
            return Err(format!(
                "I18: {away:?} came back, and leader {leader:?} of {term:?} became {now:?}"
            ));
        }
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
