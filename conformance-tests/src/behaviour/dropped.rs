//! Giving up the waiting gives up nothing else.

use raft_node::core::Membership;
use raft_node::{Handle, RequestError};

use crate::behaviour::places::{Cluster, QUICK, number, read, status};
use crate::process::{eventually, in_polls, in_time};
use crate::real::Bootstrap;

/// Begins something again and again, polls it once more each time, and drops it, and the handle that
/// it holds, until it is ready.
fn at_any_point<F: Future>(handle: &Handle, begin: impl Fn(Handle) -> F) {
    let mut polls = 0;
    while in_polls(polls, begin(handle.clone())).is_none() {
        polls += 1;
    }
}

/// Each way to wait, dropped at each point at which it waits, at the leader and at another node.
pub fn futures_and_handles_may_be_dropped_at_any_point<B: Bootstrap>(bootstrap: B) {
    let mut cluster = Cluster::running(bootstrap, 3, QUICK);
    for handle in cluster.handles() {
        for nth in 0..200 {
            let _ = in_polls(nth % 2, handle.propose("count"));
            let _ = in_polls(nth % 2, handle.read(""));
            let _ = in_polls(nth % 2, handle.status());
        }
        at_any_point(&handle, |handle| async move { handle.propose("count").await });
        at_any_point(&handle, |handle| async move { handle.read("").await });
        at_any_point(&handle, |handle| async move { handle.status().await.map(drop) });
        at_any_point(&handle, |handle| async move { handle.snapshot().await });
        at_any_point(&handle, |handle| async move {
            let members = Membership::clone(&handle.membership());
            handle.change_membership(members, None).await
        });
        at_any_point(&handle, |handle| async move { handle.transfer_leadership(None).await });
        for polls in 0..2 {
            // Nothing ends these.
            let _ = in_polls(polls, handle.wait_for_leadership(|_| false));
            let _ = in_polls(polls, handle.wait_for_membership(|_| false));
            let _ = in_polls(polls, handle.stopped());
        }
    }
    for handle in cluster.handles() {
        // A leadership that is handed over by a request for which nobody waits any more may leave the
        // outcome of another one unknown.
        let mut counted = 0;
        eventually("a proposal is answered", || {
            let answer = in_time("an answer", handle.propose("count"));
            counted = answer.as_ref().map_or(0, number);
            answer.is_ok()
        });
        assert!((1..=700).contains(&counted), "{counted}");
        assert!(read(&handle) >= counted);
        eventually("nobody waits any more", || status(&handle).pending_requests == 0);
    }
    for nth in 0..3 {
        // It was asked to stop by the first poll.
        let handle = cluster.handle(nth);
        assert!(in_polls(1, handle.shutdown()).is_none());
        in_time("the end", handle.stopped()).expect("it has not failed");
        cluster.stop(nth);
        assert_eq!(in_time("an answer", handle.read("")), Err(RequestError::Stopped));
    }
}
