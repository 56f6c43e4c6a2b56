//! `raft`, of TiKV, at its best: messages are joined, and the commit index travels with them.

use bytes::Bytes;
use raft::prelude::{ConfState, Config, Entry, EntryType, Message};
use raft::storage::MemStorage;
use raft::{RawNode, StateRole};

use crate::cluster::{Cluster, Compactor, Machine};

pub(crate) struct RaftRs {
    nodes: [Node; 3],
}

struct Node {
    raw: RawNode<MemStorage>,
    inbox: Vec<Message>,
    outbox: Vec<Message>,
    machine: Machine,
    compactor: Compactor,
}

impl Cluster for RaftRs {
    const NAME: &'static str = "raft (raft-rs)";

    fn start() -> Self {
        let logger = slog::Logger::root(slog::Discard, slog::o!());
        let nodes = [1, 2, 3].map(|id| {
            let config = Config {
                id,
                election_tick: 10,
                heartbeat_tick: 1,
                max_size_per_msg: 1 << 20,
                max_inflight_msgs: 128,
                check_quorum: true,
                pre_vote: true,
                batch_append: true,
                skip_bcast_commit: true,
                ..Config::default()
            };
            let storage = MemStorage::new_with_conf_state(ConfState::from((vec![1, 2, 3], vec![])));
            Node {
                raw: RawNode::new(&config, storage, &logger).expect("the settings make sense"),
                inbox: Vec::new(),
                outbox: Vec::new(),
                machine: Machine::default(),
                compactor: Compactor::default(),
            }
        });
        let mut cluster = Self { nodes };
        cluster.nodes[0].raw.campaign().expect("a follower may campaign");
        cluster.run();
        assert_eq!(cluster.nodes[0].raw.raft.state, StateRole::Leader);
        cluster
    }

    fn propose(&mut self, commands: &[Bytes]) {
        let before = self.nodes[0].machine.applied().0;
        for command in commands {
            // The interface takes a vector.
            let proposed = self.nodes[0].raw.propose(Vec::new(), command.to_vec());
            proposed.expect("the leader takes proposals");
        }
        self.run();
        let after = self.nodes[0].machine.applied().0;
        assert_eq!(after - before, commands.len() as u64, "every proposal is committed");
    }

    fn settle(&mut self) {
        self.nodes[0].raw.tick();
        self.run();
    }

    fn machines(&self) -> [&Machine; 3] {
        self.nodes.each_ref().map(|node| &node.machine)
    }
}

impl RaftRs {
    fn run(&mut self) {
        loop {
            let mut idle = true;
            for id in 0..3 {
                let node = &mut self.nodes[id];
                for message in node.inbox.drain(..) {
                    node.raw.step(message).expect("messages of the cluster are in order");
                }
                while node.raw.has_ready() {
                    idle = false;
                    node.carry_out();
                }
                let mut outbox = std::mem::take(&mut node.outbox);
                for message in outbox.drain(..) {
                    self.nodes[message.to as usize - 1].inbox.push(message);
                }
                self.nodes[id].outbox = outbox;
            }
            if idle && self.nodes.iter().all(|node| node.inbox.is_empty()) {
                return;
            }
        }
    }
}

impl Node {
    fn carry_out(&mut self) {
        let mut ready = self.raw.ready();
        self.outbox.append(&mut ready.take_messages());
        self.apply(ready.take_committed_entries());
        let storage = self.raw.store().clone();
        storage.wl().append(ready.entries()).expect("entries follow the log");
        if let Some(hard_state) = ready.hs() {
            storage.wl().set_hardstate(hard_state.clone());
        }
        self.outbox.append(&mut ready.take_persisted_messages());
        let mut light = self.raw.advance(ready);
        if let Some(commit) = light.commit_index() {
            storage.wl().mut_hard_state().set_commit(commit);
        }
        self.outbox.append(&mut light.take_messages());
        self.apply(light.take_committed_entries());
        self.raw.advance_apply();
        let applied = self.raw.raft.raft_log.applied;
        if self.compactor.is_due(applied) {
            storage.wl().compact(applied).expect("what is applied can be compacted");
        }
    }

    fn apply(&mut self, entries: Vec<Entry>) {
        for entry in entries {
            if entry.get_entry_type() == EntryType::EntryNormal && !entry.data.is_empty() {
                self.machine.apply(&entry.data);
            }
        }
    }
}
