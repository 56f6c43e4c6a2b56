//! What goes wrong in a run.

use clap::ValueEnum;

use crate::explore::reduction::word;
use crate::explore::run::Run;
use crate::sim::network::MS;
use crate::sim::random::{chance, within};

/// Something that is done to the world.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum Fault {
    /// Kills a node with what its disk has not synced, or starts it if it is dead.
    Crash,
    /// Kills all nodes at once.
    CrashAll,
    /// Cuts a node off, or connects it if it is cut off.
    Isolate,
    /// Cuts off a node that believes that it leads.
    IsolateLeader,
    /// Splits the cluster in two.
    Partition,
    /// Cuts one direction of a link.
    CutOneWay,
    /// Connects and starts everything.
    Heal,
    /// Stops a node for a while, as a debugger does; then it finds all its messages waiting.
    Pause,
    /// Stops a disk for a while.
    HangDisk,
    /// Sets a clock forward or back.
    SetClock,
    /// Many calls at once, perhaps in one event.
    Burst,
    /// Asks a node for other members.
    ChangeMembership,
    /// Asks a node to let another one lead.
    Transfer,
    /// Tells a node that its leader is gone.
    ForgetLeader,
    /// Asks a node for a snapshot.
    Snapshot,
    /// Damages the state of a state machine.
    LoseState,
    /// Has a node hear, in its leader's name, what contradicts a committed entry.
    Contradict,
}

/// The faults that a run may see, each with its weight.
pub(crate) type Faults = Vec<(Fault, u64)>;

/// Draws the faults of a run. Most runs lack some, so that the others come more often.
pub(crate) fn draw(rng: &mut fastrand::Rng, leases: bool, changes: bool) -> Faults {
    let mut weight = |often: u64, most: u64| if chance(rng, often) { rng.u64(1..=most) } else { 0 };
    // Leases trust clocks.
    let set_clock = if leases { 0 } else { 200 };
    let change = if changes { 1000 } else { 0 };
    vec![
        (Fault::Crash, weight(700, 10)),
        (Fault::CrashAll, weight(200, 2)),
        (Fault::Isolate, weight(500, 6)),
        (Fault::IsolateLeader, weight(400, 6)),
        (Fault::Partition, weight(500, 6)),
        (Fault::CutOneWay, weight(500, 6)),
        (Fault::Heal, 2 + weight(900, 10)),
        (Fault::Pause, weight(300, 4)),
        (Fault::HangDisk, weight(300, 4)),
        (Fault::SetClock, weight(set_clock, 2)),
        (Fault::Burst, weight(300, 4)),
        (Fault::ChangeMembership, weight(change, 12)),
        (Fault::Transfer, weight(300, 6)),
        (Fault::ForgetLeader, weight(150, 4)),
        (Fault::Snapshot, weight(200, 6)),
        (Fault::LoseState, weight(200, 3)),
        (Fault::Contradict, weight(150, 2)),
    ]
}

impl Run {
    fn any_fault(&mut self) -> Fault {
        let faults = &self.plan.faults;
        let mut drawn = self.world.rng.u64(0..faults.iter().map(|(_, weight)| weight).sum());
        let hit = faults.iter().find(|(_, weight)| {
            let hit = drawn < *weight;
            drawn = drawn.saturating_sub(*weight);
            hit
        });
        hit.map_or(Fault::Heal, |(fault, _)| *fault)
    }

    pub(super) fn inject(&mut self) {
        // Drawn even if nothing comes of it, so that the other faults of the run stay what they
        // are.
        let (fault, node) = (self.any_fault(), self.any_node());
        self.injections += 1;
        let number = self.injections;
        if !self.plan.carries_out(fault, number) {
            return;
        }
        self.carried_out.push(number);
        let (now, size) = (self.world.now, self.world.nodes.len());
        self.world.trace.line(now, Some(node), || format!("FAULT {number}: {}", word(&fault)));
        match fault {
            Fault::Crash if self.world.nodes[node].raft.is_none() => self.world.start(node),
            Fault::Crash => self.world.crash(node),
            Fault::CrashAll => (0..size).for_each(|node| self.world.crash(node)),
            Fault::Isolate => {
                let connected = self.world.network.is_connected(node);
                self.world.network.set_connected(node, !connected);
            }
            Fault::IsolateLeader => {
                let leader = self.any_leader().unwrap_or(node);
                self.world.network.set_connected(leader, false);
            }
            Fault::Partition => {
                let sides: Vec<bool> = (0..size).map(|_| self.world.rng.bool()).collect();
                self.world.network.partition(&sides);
            }
            Fault::CutOneWay => {
                let other = self.any_node();
                self.world.network.set_cut(node, other, true);
            }
            Fault::Heal => self.heal(),
            Fault::Pause => self.world.nodes[node].paused_until = now + self.up_to_s(3),
            Fault::HangDisk => {
                // Now and then for longer than a leader waits.
                let most = if self.world.rng.bool() { 3 } else { 8 };
                self.world.nodes[node].disk_hangs_until = now + self.up_to_s(most);
            }
            Fault::SetClock => {
                let offset = self.up_to_s(3);
                self.world.nodes[node].clock.set_offset(offset);
            }
            Fault::Burst => self.burst(node),
            Fault::ChangeMembership => self.change_membership(node),
            Fault::Transfer => self.transfer(node),
            Fault::ForgetLeader => self.world.forget_leader(node),
            Fault::Snapshot => {
                let call = self.world.snapshot(node);
                self.controls.insert(call);
            }
            Fault::LoseState => self.lose_state(node),
            Fault::Contradict => self.world.contradict(node),
        }
    }

    fn burst(&mut self, node: usize) {
        if self.world.rng.bool() {
            let size = self.world.rng.u64(2..20);
            return self.clients.batch(&mut self.world, node, size);
        }
        for _ in 0..20 {
            self.clients.call(&mut self.world, node, self.plan.registers);
        }
    }

    fn up_to_s(&mut self, most: u64) -> u64 {
        within(&mut self.world.rng, &(0..most * 1000 * MS))
    }

    /// Connects and starts everything.
    pub(super) fn heal(&mut self) {
        self.world.network.heal();
        for node in 0..self.world.nodes.len() {
            self.world.network.set_connected(node, true);
            self.world.start(node);
        }
    }
}
