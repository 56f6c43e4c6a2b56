//! Both handles, on a node that a thread drives.

use futures_executor::block_on;
use raft_node::core::{NodeId, RoleKind};
use raft_node::{Handle, NodeError, RequestError};

use crate::{driver, run};

const ME: NodeId = NodeId::new(1);

#[test]
fn both_handles_of_a_node_get_the_same_answers() {
    let (driver, rung) = driver(1, 1);
    let (task, thread) = (driver.handle(), driver.blocking_handle());
    let running = run(driver, rung);
    block_on(async {
        let now = task.wait_for_leadership(|now| now.leader.is_some()).await.unwrap();
        assert_eq!((now.role, now.leader), (RoleKind::Leader, Some(ME)));
        assert_eq!(task.leadership(), now);
        let members = task.wait_for_membership(|members| members.is_voter(ME)).await.unwrap();
        assert_eq!(task.membership(), members);
        assert_eq!(task.propose("a").await.unwrap(), "a");
        assert_eq!(task.read("b").await.unwrap(), "b");
        task.snapshot().await.unwrap();
        assert_eq!(task.status().await.unwrap().raft.role, RoleKind::Leader);
        let grown = members.as_ref().clone().learner(NodeId::new(2), "");
        task.change_membership(grown, Some(members.as_ref().clone())).await.unwrap();
        assert!(task.transfer_leadership(Some(NodeId::new(9))).await.is_err());
    });
    let now = thread.wait_for_leadership(|now| now.leader.is_some()).unwrap();
    assert_eq!((now.role, now.leader), (RoleKind::Leader, Some(ME)));
    assert_eq!(thread.leadership(), now);
    let members = thread.wait_for_membership(|members| members.members().count() == 2).unwrap();
    assert_eq!(thread.membership(), members);
    assert_eq!(thread.propose("a").unwrap(), "a");
    assert_eq!(thread.read("b").unwrap(), "b");
    thread.snapshot().unwrap();
    assert_eq!(thread.status().unwrap().raft.role, RoleKind::Leader);
    let shrunk = raft_node::core::Membership::new().voter(ME, "");
    thread.change_membership(shrunk, Some(members.as_ref().clone())).unwrap();
    assert!(thread.transfer_leadership(Some(NodeId::new(9))).is_err());

    thread.shutdown();
    block_on(task.shutdown());
    running.join().unwrap();
    assert!(block_on(task.stopped()).is_ok() && thread.stopped().is_ok());
    assert_eq!(block_on(task.propose("c")), Err(RequestError::Stopped));
    assert_eq!(thread.propose("c"), Err(RequestError::Stopped));
    assert_eq!(block_on(task.wait_for_leadership(|_| false)), Err(RequestError::Stopped));
    assert_eq!(thread.wait_for_membership(|_| false), Err(RequestError::Stopped));
}

#[test]
fn a_handle_for_threads_gives_one_for_tasks_of_the_same_node() {
    let (driver, rung) = driver(1, 1);
    let thread = driver.blocking_handle();
    let task = Handle::from(&thread);
    let running = run(driver, rung);
    block_on(task.wait_for_leadership(|now| now.leader.is_some())).unwrap();
    assert_eq!(block_on(task.propose("a")).unwrap(), "a");
    assert_eq!(task.leadership(), thread.leadership());
    let last = thread.status().unwrap().raft.last;
    assert_eq!(block_on(task.status()).unwrap().raft.last, last);
    block_on(task.shutdown());
    running.join().unwrap();
    assert!(thread.stopped().is_ok());
}

#[test]
fn everybody_who_asks_learns_why_a_node_stopped() {
    let (driver, rung) = driver(1, 1);
    let (task, thread) = (driver.handle(), driver.blocking_handle());
    let running = run(driver, rung);
    thread.wait_for_leadership(|now| now.leader.is_some()).unwrap();
    assert_eq!(thread.propose("panic"), Err(RequestError::Unknown));
    running.join().unwrap();
    for why in [thread.stopped(), block_on(task.stopped()), thread.stopped()] {
        let why = why.unwrap_err();
        assert!(
            matches!(&*why, NodeError::StateMachinePanicked(text) if text == "no such command"),
            "{why:?}"
        );
    }
}

/// A runtime that shuts down, or a panic in the loop, takes the driver with it.
#[test]
fn those_who_wait_for_a_node_that_is_dropped_are_told() {
    let (driver, _rung) = driver(1, 1);
    let (task, thread) = (driver.handle(), driver.blocking_handle());
    drop(driver);
    for why in [thread.stopped(), block_on(task.stopped())] {
        assert!(matches!(*why.unwrap_err(), NodeError::ThreadGone));
    }
    thread.shutdown();
    assert_eq!(thread.read("a"), Err(RequestError::Stopped));
    assert_eq!(block_on(task.wait_for_leadership(|_| false)), Err(RequestError::Stopped));
}
