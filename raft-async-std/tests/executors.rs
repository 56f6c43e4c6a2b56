//! What is this adapter's own: executors that are late, and executors that end.
#![allow(missing_docs, reason = "tests are described by their names")]

use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use async_io::Timer;
use conformance_tests::process::{Echo, free_address, in_time, settings};
use futures_lite::future;
use raft_async_std::{Executor, NodeError, Storage, start};

/// The port is free as soon as those who wait are told, whenever the executor comes to it.
#[test]
fn a_shutdown_waits_for_tasks_whose_turn_comes_late() {
    let executor = Executor::new(|mut task| {
        let late = async move {
            while future::poll_once(&mut task).await.is_none() {
                Timer::after(Duration::from_millis(200)).await;
            }
        };
        smol::spawn(late).detach();
    });
    let address = free_address();
    let settings = settings(1, std::slice::from_ref(&address));
    let started = start(executor, settings, Storage::in_memory(), Echo);
    let node = in_time("a start", started).unwrap();
    in_time("a shutdown", node.shutdown()).unwrap();
    TcpListener::bind(address).unwrap();
}

/// Whoever waits for the end of a node must not wait for ever.
#[test]
fn a_node_whose_executor_ends_says_so() {
    let tasks = Arc::new(smol::Executor::new());
    let weak = Arc::downgrade(&tasks);
    let executor = Executor::new(move |task| {
        if let Some(tasks) = weak.upgrade() {
            tasks.spawn(task).detach();
        }
    });
    let addresses = [free_address(), free_address()];
    let started = start(executor, settings(1, &addresses), Storage::in_memory(), Echo);
    let node = in_time("a start", started).unwrap();
    for _ in 0..100 {
        future::block_on(future::poll_once(tasks.tick()));
    }
    let handle = node.handle();
    drop(node);
    drop(tasks);
    let why = in_time("the end", handle.stopped()).unwrap_err();
    assert!(matches!(*why, NodeError::ThreadGone), "{why:?}");
    TcpListener::bind(&addresses[0]).unwrap();
}
