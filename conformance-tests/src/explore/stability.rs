//! One node of a healthy cluster is cut off and comes back.

use std::time::Duration;

use crate::explore::plan::Guards;
use crate::explore::run::{RECOVERY, Run, nanos};

/// Several election timeouts, on the slowest clock too.
const AWAY: Duration = Duration::from_secs(4);

impl Run {
    /// I18: a leader that reaches nobody steps down, the others elect one if they are a majority,
    /// and a node that was out of touch deposes nobody when it comes back.
    pub(super) fn isolation(&mut self) -> Result<(), String> {
        let Guards { pre_vote, check_quorum } = Guards::draw(self.plan.options.tuning);
        let (size, voters) = (self.world.nodes.len(), self.plan.options.voters);
        let Some((term, leader)) = self.leader() else {
            return Err("I18: the leader of a healthy cluster is gone".into());
        };
        let away = if self.world.rng.bool() { leader } else { self.world.rng.usize(0..size) };
        let majority_stays = voters - usize::from(away < voters) > voters / 2;
        let now = self.world.now;
        self.world.trace.line(now, Some(away), || "is cut off".into());
        // Without new entries in its absence the node may hope for votes when it comes back.
        let quiet = self.world.rng.bool();
        self.world.network.set_connected(away, false);
        if quiet {
            self.world.run_for(AWAY)
        } else {
            self.calls_for(AWAY)?
        }
        if away == leader && check_quorum && voters > 1 && self.leader() == Some((term, leader)) {
            return Err(format!("I18: leader {leader} reaches nobody and stays in office"));
        }
        if majority_stays {
            // Votes may be split several times in a row, but not for ever.
            let end = self.world.now + nanos(RECOVERY);
            self.until(end, "a majority has no leader", |run| run.leader().is_some())?;
        }
        self.world.network.set_connected(away, true);
        let calm = pre_vote && check_quorum && majority_stays && away != leader;
        self.calls_for(AWAY)?;
        if calm && self.leader() != Some((term, leader)) {
            return Err(format!(
                "I18: node {away} came back, and leader {leader} of term {term} became {:?}",
                self.leader()
            ));
        }
        let end = self.world.now + nanos(RECOVERY);
        self.until(end, "a call was never answered", |run| run.clients.open() == 0)?;
        self.settled()
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
