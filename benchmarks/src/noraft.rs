//! `noraft`, whose log has places for commands and not the commands themselves: those are kept and
//! passed on by the host.

use std::collections::VecDeque;

use bytes::Bytes;
use noraft::{Action, LogEntries, LogEntry, LogIndex, Message, Node as Core, NodeId};

use crate::cluster::{Cluster, Compactor, Machine};

pub(crate) struct Noraft {
    nodes: [Node; 3],
}

struct Node {
    core: Core,
    inbox: VecDeque<Envelope>,
    commands: Commands,
    applied: LogIndex,
    machine: Machine,
    compactor: Compactor,
}

/// A message with the commands of its entries.
#[derive(Clone)]
struct Envelope {
    message: Message,
    commands: Vec<Bytes>,
}

/// The commands of the log, empty where an entry is none.
#[derive(Default)]
struct Commands {
    /// The index before the first one.
    base: u64,
    commands: VecDeque<Bytes>,
}

impl Commands {
    fn put(&mut self, index: u64, command: Bytes) {
        let place = (index - self.base - 1) as usize;
        self.commands.truncate(place);
        self.commands.resize(place, Bytes::new());
        self.commands.push_back(command);
    }

    fn of(&self, entries: &LogEntries) -> Vec<Bytes> {
        let first = entries.prev_position().index.get() + 1;
        let indexes = first..first + entries.len() as u64;
        indexes.map(|index| self.get(index).cloned().unwrap_or_default()).collect()
    }

    fn get(&self, index: u64) -> Option<&Bytes> {
        self.commands.get((index.checked_sub(self.base + 1)?) as usize)
    }

    fn compact(&mut self, index: u64) {
        let covered = (index - self.base) as usize;
        self.commands.drain(..covered.min(self.commands.len()));
        self.base = index;
    }
}

impl Cluster for Noraft {
    const NAME: &'static str = "noraft";

    fn start() -> Self {
        let ids = [0, 1, 2].map(NodeId::new);
        let nodes = ids.map(|id| Node {
            core: Core::start(id),
            inbox: VecDeque::new(),
            commands: Commands::default(),
            applied: LogIndex::ZERO,
            machine: Machine::default(),
            compactor: Compactor::default(),
        });
        let mut cluster = Self { nodes };
        cluster.nodes[0].core.create_cluster(&ids);
        cluster.run();
        assert!(cluster.nodes[0].core.role().is_leader());
        cluster
    }

    fn propose(&mut self, commands: &[Bytes]) {
        let leader = &mut self.nodes[0];
        let before = leader.machine.applied().0;
        for command in commands {
            let position = leader.core.propose_command();
            leader.commands.put(position.index.get(), command.clone());
        }
        self.run();
        let after = self.nodes[0].machine.applied().0;
        assert_eq!(after - before, commands.len() as u64, "every proposal is committed");
    }

    fn settle(&mut self) {
        self.nodes[0].core.heartbeat();
        self.run();
    }

    fn machines(&self) -> [&Machine; 3] {
        self.nodes.each_ref().map(|node| &node.machine)
    }
}

impl Noraft {
    fn run(&mut self) {
        loop {
            for id in 0..3 {
                while let Some(envelope) = self.nodes[id].inbox.pop_front() {
                    self.nodes[id].take_in(envelope);
                }
                self.carry_out(id);
                self.nodes[id].apply();
            }
            let idle = |node: &Node| node.inbox.is_empty() && node.core.actions().is_empty();
            if self.nodes.iter().all(idle) {
                return;
            }
        }
    }

    fn carry_out(&mut self, id: usize) {
        while let Some(action) = self.nodes[id].core.actions_mut().next() {
            match action {
                Action::BroadcastMessage(message) => {
                    let envelope = self.nodes[id].envelope(message);
                    let [first, second] = [(id + 1) % 3, (id + 2) % 3];
                    self.nodes[first].inbox.push_back(envelope.clone());
                    self.nodes[second].inbox.push_back(envelope);
                }
                Action::SendMessage(to, message) => {
                    let envelope = self.nodes[id].envelope(message);
                    self.nodes[to.get() as usize].inbox.push_back(envelope);
                }
                Action::SetElectionTimeout
                | Action::SaveCurrentTerm
                | Action::SaveVotedFor
                | Action::AppendLogEntries(_) => {}
                Action::InstallSnapshot(_) => unreachable!("nobody falls behind"),
            }
        }
    }
}

impl Node {
    fn envelope(&self, message: Message) -> Envelope {
        let commands = match &message {
            Message::AppendEntriesCall { entries, .. } => self.commands.of(entries),
            _ => Vec::new(),
        };
        Envelope { message, commands }
    }

    fn take_in(&mut self, envelope: Envelope) {
        let Envelope { message, commands } = envelope;
        self.core.handle_message(&message).expect("messages of the cluster are in order");
        if let Message::AppendEntriesCall { entries, .. } = &message {
            let first = entries.prev_position().index.get() + 1;
            for (index, command) in (first..).zip(commands) {
                if index > self.applied.get() {
                    self.commands.put(index, command);
                }
            }
        }
    }

    fn apply(&mut self) {
        let commit = self.core.commit_index();
        while self.applied < commit {
            self.applied = LogIndex::new(self.applied.get() + 1);
            if self.core.log().entries().get_entry(self.applied) == Some(LogEntry::Command)
                && let Some(command) = self.commands.get(self.applied.get())
            {
                self.machine.apply(command);
            }
        }
        if self.compactor.is_due(self.applied.get())
            && let Some((position, config)) = self.core.log().get_position_and_config(self.applied)
        {
            let config = config.clone();
            self.core.handle_snapshot_installed(position, config);
            self.commands.compact(self.applied.get());
        }
    }
}
