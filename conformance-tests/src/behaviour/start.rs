//! Nodes that can't start say why, and leave nothing behind.

use std::net::TcpListener;
use std::time::Duration;

use bytes::Bytes;
use raft_node::core::{Entries, LogIndex, NodeId, StoredLog, Write};
use raft_node::{
    FrozenState, LogStore, MemorySnapshots, NodeError, Settings, StateMachine, Storage, StoreError,
};

use crate::behaviour::places::{Cluster, QUICK, propose, start};
use crate::process::{Echo, free_address};
use crate::real::Bootstrap;

fn alone(address: &str) -> Settings {
    Settings::new(NodeId::new(1)).peer(NodeId::new(1), address)
}

/// Starts nothing, and says why; the port of the node is free then.
fn refused<B: Bootstrap>(
    bootstrap: &B,
    settings: Settings,
    storage: Storage,
    machine: impl StateMachine,
) -> NodeError {
    let address = settings.listen_address().map(str::to_owned);
    let why = start(bootstrap, settings, storage, machine).err().expect("it can't start");
    if let Ok(address) = address {
        TcpListener::bind(address).expect("the port is free");
    }
    why
}

/// The node that was first does not notice.
pub fn a_port_that_is_taken_is_an_error_that_names_it_and_harms_nobody<B: Bootstrap>(bootstrap: B) {
    let cluster = Cluster::running(bootstrap, 1, QUICK);
    let count = propose(&cluster.handle(0));
    let settings = cluster.places[0].settings.clone();
    let again = start(&cluster.bootstrap, settings, Storage::in_memory(), Echo);
    let why = again.err().expect("there is one already");
    let named = &cluster.places[0].address;
    assert!(matches!(&why, NodeError::Listen { address, .. } if address == named), "{why:?}");
    assert_eq!(propose(&cluster.handle(0)), count + 1);
}

/// It neither is among its founders nor has an address to listen at.
pub fn a_node_without_an_address_does_not_start<B: Bootstrap>(bootstrap: B) {
    let settings = Settings::new(NodeId::new(1));
    let why = refused(&bootstrap, settings, Storage::in_memory(), Echo);
    assert!(matches!(why, NodeError::NoAddress { id } if id == NodeId::new(1)), "{why:?}");
}

/// The address is bound before the settings are looked at.
pub fn settings_that_make_no_sense_leave_the_port_free<B: Bootstrap>(bootstrap: B) {
    let settings = alone(&free_address()).election_timeout(Duration::ZERO);
    let why = refused(&bootstrap, settings, Storage::in_memory(), Echo);
    assert!(matches!(why, NodeError::Config(_)), "{why:?}");
}

/// Code of the user's that has a fault.
struct Faulty;

#[expect(clippy::panic, reason = "that is the fault")]
impl LogStore for Faulty {
    fn restore(&mut self) -> Result<StoredLog, StoreError> {
        panic!("a fault in the store")
    }

    fn append(&mut self, _: &[Write]) -> Result<(), StoreError> {
        Ok(())
    }

    fn load(&mut self, _: LogIndex, _: LogIndex, _: usize) -> Result<Entries, StoreError> {
        Ok(Entries::empty())
    }

    fn metadata(&mut self) -> Result<Bytes, StoreError> {
        Ok(Bytes::new())
    }

    fn set_metadata(&mut self, _: &[u8]) -> Result<(), StoreError> {
        Ok(())
    }
}

#[expect(clippy::panic, reason = "that is the fault")]
impl StateMachine for Faulty {
    fn apply(&mut self, _: LogIndex, command: Bytes) -> Bytes {
        command
    }

    fn query(&self, query: Bytes) -> Bytes {
        query
    }

    fn snapshot(&self) -> FrozenState {
        Box::new(|_| Ok(()))
    }

    fn restore(&mut self, _: LogIndex, _: &mut dyn std::io::Read) -> std::io::Result<()> {
        Ok(())
    }

    fn applied(&self) -> LogIndex {
        panic!("a fault in the machine")
    }
}

/// The panic is not passed on to whoever starts the node.
pub fn a_store_that_panics_at_the_start_is_an_error_and_leaves_the_port_free<B: Bootstrap>(
    bootstrap: B,
) {
    let storage = Storage::new(Faulty, MemorySnapshots::new());
    let why = refused(&bootstrap, alone(&free_address()), storage, Echo);
    let says = |text: &str| text.ends_with("a fault in the store");
    assert!(matches!(&why, NodeError::Store(StoreError::Other(text)) if says(text)), "{why:?}");
}

/// The panic is not passed on to whoever starts the node.
pub fn a_state_machine_that_panics_at_the_start_is_an_error_and_leaves_the_port_free<
    B: Bootstrap,
>(
    bootstrap: B,
) {
    let why = refused(&bootstrap, alone(&free_address()), Storage::in_memory(), Faulty);
    let says = |text: &str| text == "a fault in the machine";
    assert!(matches!(&why, NodeError::StateMachinePanicked(text) if says(text)), "{why:?}");
}
