//! The Raft node of a server, on any runtime that has an adapter.

use std::fmt;

use clap::ValueEnum;
use clap::builder::PossibleValue;
use raft_async_std::Executor;
use raft_node::core::NodeId;
use raft_node::{Handle, NodeError, Settings, StateMachine, Storage};
use tokio::task;

/// What runs a node: its loop, its timers and its connections to the other nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Runtime {
    /// The runtime of the server itself
    Tokio,
    /// The global executor of async-std
    AsyncStd,
    /// The global executor of smol
    Smol,
    /// Plain threads and blocking sockets, no executor
    Sync,
}

impl fmt::Display for Runtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tokio => "tokio",
            Self::AsyncStd => "async-std",
            Self::Smol => "smol",
            Self::Sync => "sync",
        })
    }
}

/// What runs the nodes of a whole cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Runtimes {
    Mixed,
    All(Runtime),
}

impl Runtimes {
    /// What runs the node with this number.
    pub(crate) const fn of(self, id: u64) -> Runtime {
        match (self, id % 4) {
            (Self::All(runtime), _) => runtime,
            (Self::Mixed, 1) => Runtime::Tokio,
            (Self::Mixed, 2) => Runtime::Smol,
            (Self::Mixed, 3) => Runtime::Sync,
            (Self::Mixed, _) => Runtime::AsyncStd,
        }
    }
}

impl ValueEnum for Runtimes {
    fn value_variants<'a>() -> &'a [Self] {
        &[
            Self::Mixed,
            Self::All(Runtime::Tokio),
            Self::All(Runtime::AsyncStd),
            Self::All(Runtime::Smol),
            Self::All(Runtime::Sync),
        ]
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        match self {
            Self::Mixed => Some(PossibleValue::new("mixed").help("Each of them in turn")),
            Self::All(runtime) => runtime.to_possible_value(),
        }
    }
}

/// A running node. Dropping it asks the node to stop, without waiting for it.
#[derive(Debug)]
pub struct Node {
    id: NodeId,
    runtime: Runtime,
    running: Running,
}

#[derive(Debug)]
enum Running {
    InTasks(raft_node::Node),
    OnThreads(raft_node::blocking::Node),
}

impl Node {
    /// Starts a node whose peers are reached over TCP: it listens before this returns. Call it
    /// within a tokio runtime, whatever the node runs on.
    ///
    /// # Errors
    /// The settings make no sense, the store is damaged, the address is taken.
    pub async fn start(
        runtime: Runtime,
        settings: Settings,
        storage: Storage,
        machine: impl StateMachine,
    ) -> Result<Self, NodeError> {
        let id = settings.id();
        let running = match runtime {
            Runtime::Tokio => {
                raft_tokio::start(settings, storage, machine).await.map(Running::InTasks)?
            }
            Runtime::AsyncStd | Runtime::Smol => {
                let executor = match runtime {
                    Runtime::AsyncStd => Executor::async_std(),
                    _ => Executor::smol(),
                };
                let started = raft_async_std::start(executor, settings, storage, machine);
                started.await.map(Running::InTasks)?
            }
            Runtime::Sync => {
                // All of the newest snapshot is read.
                let start = || raft_sync::start(settings, storage, machine);
                let started = task::spawn_blocking(start).await;
                started.map_err(|_| NodeError::ThreadGone)?.map(Running::OnThreads)?
            }
        };
        Ok(Self { id, runtime, running })
    }

    /// The node's id.
    #[must_use]
    pub const fn id(&self) -> NodeId {
        self.id
    }

    /// What it runs on.
    #[must_use]
    pub const fn runtime(&self) -> Runtime {
        self.runtime
    }

    /// A handle for clients in tasks. It is the same type for every runtime.
    #[must_use]
    pub fn handle(&self) -> Handle {
        match &self.running {
            Running::InTasks(node) => node.handle(),
            Running::OnThreads(node) => Handle::from(&node.handle()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn four_nodes_of_a_mixed_cluster_run_on_four_runtimes() {
        let mut missing = Runtime::value_variants().to_vec();
        for id in 1..=4 {
            missing.retain(|runtime| *runtime != Runtimes::Mixed.of(id));
            assert_eq!(Runtimes::Mixed.of(id), Runtimes::Mixed.of(id + 4));
        }
        assert!(missing.is_empty(), "{missing:?}");
    }

    #[test]
    fn a_runtime_is_shown_as_it_is_given() {
        for runtime in Runtime::value_variants() {
            assert_eq!(Runtime::from_str(&runtime.to_string(), false), Ok(*runtime));
        }
    }
}
