//! Under load, and with slow or absent companions, everybody still gets a turn.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

use raft_node::RequestError;
use raft_node::core::{NodeId, Refusal};
use raft_tokio::{Handle, Node};
use tokio::runtime::Builder;
use tokio::task::JoinSet;
use tokio::time;

use crate::cluster::{
    cluster, follower, in_agreement, in_time, leader, places, propose, read, reign,
};
use crate::peers::Mute;

const ELECTION: Duration = Duration::from_secs(1);
const WINDOW: Duration = Duration::from_millis(500);

/// Clients that never stop asking, and the number of answers that they got.
pub(crate) struct Clients {
    done: Arc<AtomicU64>,
    over: Arc<AtomicBool>,
    tasks: JoinSet<()>,
}

impl Clients {
    pub(crate) fn start<F>(count: usize, handles: &[Handle], ask: fn(Handle) -> F) -> Self
    where
        F: Future<Output = Result<bytes::Bytes, RequestError>> + Send + 'static,
    {
        let (done, over) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let mut tasks = JoinSet::new();
        for handle in handles.iter().cycle().take(count) {
            let (handle, done, over) = (handle.clone(), done.clone(), over.clone());
            tasks.spawn(async move {
                while !over.load(Ordering::Relaxed) {
                    match ask(handle.clone()).await {
                        Ok(_) => drop(done.fetch_add(1, Ordering::Relaxed)),
                        Err(_) => time::sleep(Duration::from_millis(10)).await,
                    }
                }
            });
        }
        Self { done, over, tasks }
    }

    /// Watches them for a while: there are answers in every window.
    pub(crate) async fn never_stop(&self, windows: u32, when: &str) {
        for window in 0..windows {
            let before = self.done.load(Ordering::Relaxed);
            time::sleep(WINDOW).await;
            let answers = self.done.load(Ordering::Relaxed) - before;
            assert!(answers > 0, "{when}: no answer in window {window}");
        }
    }

    /// Waits for the answers that are still to come.
    pub(crate) async fn stop(self) {
        self.over.store(true, Ordering::Relaxed);
        in_time("the last answers", self.tasks.join_all()).await;
    }
}

/// R139: concurrent readers do not lock each other out.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_readers_get_answers_all_the_time() {
    let places = cluster(3, ELECTION).await;
    propose(&places[0].handle()).await;
    let handles: Vec<_> = places.iter().map(crate::cluster::Place::handle).collect();
    let clients = Clients::start(1000, &handles, |handle| async move { handle.read("").await });
    clients.never_stop(6, "with 1,000 readers").await;
    clients.stop().await;
}

/// R116, R140: a follower that is gone, one that accepts and says nothing, and one that says hello
/// and then reads nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopped_follower_does_not_stop_the_others() {
    let mut places = cluster(3, ELECTION).await;
    let leader = leader(&places).await;
    let stopped = follower(&places, leader);
    let clients = Clients::start(1000, &[places[leader].handle()], |handle| async move {
        handle.propose(vec![0; 1024]).await
    });
    clients.never_stop(1, "with all nodes").await;
    places[stopped].stop().await;
    clients.never_stop(3, "without a follower").await;
    for greets in [false, true] {
        let mute = Mute::start(&places[stopped], greets).await;
        clients.never_stop(4, "with a mute follower").await;
        mute.stop().await;
    }
    places[stopped].start().await;
    clients.never_stop(2, "with a follower that catches up").await;
    clients.stop().await;
    in_agreement(&places).await;
    let count = read(&places[leader].handle()).await;
    assert_eq!(read(&places[stopped].handle()).await, count);
}

/// R116: no answer waits for a peer that hangs. Who waited for it would be deposed, or be far
/// slower than this.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_proposal_after_the_other_is_answered_while_a_peer_hangs() {
    let mut places = cluster(3, ELECTION).await;
    let leader = leader(&places).await;
    let hung = follower(&places, leader);
    places[hung].stop().await;
    let reign_before = places[leader].status().await.term;
    for greets in [false, true] {
        let mute = Mute::start(&places[hung], greets).await;
        mute.has_visitor().await;
        let begin = Instant::now();
        for _ in 0..200 {
            propose(&places[leader].handle()).await;
        }
        // Half a heartbeat interval for each.
        assert!(begin.elapsed() < 200 * ELECTION / 20, "{:?} for 200", begin.elapsed());
        mute.stop().await;
    }
    assert_eq!(places[leader].status().await.term, reign_before);
}

/// R124: proposals that never stop coming keep neither peers nor timers waiting. Each node has one
/// thread for all its tasks, so a loop that does not yield would starve its own sockets.
#[test]
fn a_flood_of_proposals_on_one_thread_deposes_nobody() {
    let over = Arc::new(AtomicBool::new(false));
    let (started, nodes) = channel();
    let runtimes: Vec<_> = places(3, ELECTION)
        .into_iter()
        .map(|place| {
            let (started, over) = (started.clone(), over.clone());
            thread::spawn(move || {
                let runtime = Builder::new_current_thread().enable_all().build().unwrap();
                runtime.block_on(async move {
                    let storage = place.storage();
                    let start = Node::start(place.settings, storage, place.machine);
                    let node = start.await.unwrap();
                    started.send(node.handle()).unwrap();
                    while !over.load(Ordering::Relaxed) {
                        time::sleep(Duration::from_millis(20)).await;
                    }
                    node.shutdown().await.unwrap();
                });
            })
        })
        .collect();
    let handles: Vec<Handle> = nodes.iter().take(3).collect();
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let leader = runtime.block_on(async {
        propose(&handles[0]).await;
        let id = handles[0].status().await.unwrap().raft.leader.unwrap();
        let mut leader = None;
        for handle in &handles {
            let status = handle.status().await.unwrap().raft;
            leader = leader.or((status.id == id).then(|| (handle.clone(), status.term)));
        }
        leader.unwrap()
    });
    let (leader, term) = leader;
    let until = Instant::now() + Duration::from_secs(3);
    let (answered, failed) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    while Instant::now() < until {
        let (answered, failed) = (answered.clone(), failed.clone());
        leader.client().propose("count".into(), move |result| match result {
            Ok(_) => drop(answered.fetch_add(1, Ordering::Relaxed)),
            Err(RequestError::Refused { reason: Refusal::Overloaded, .. }) => {}
            Err(_) => drop(failed.fetch_add(1, Ordering::Relaxed)),
        });
    }
    for handle in &handles {
        let status = runtime.block_on(handle.status()).unwrap().raft;
        assert_eq!(status.term, term, "the leader of {term} is still in office");
    }
    assert!(answered.load(Ordering::Relaxed) > 0);
    assert_eq!(failed.load(Ordering::Relaxed), 0, "only overload is a reason to fail");
    over.store(true, Ordering::Relaxed);
    runtimes.into_iter().for_each(|runtime| runtime.join().unwrap());
}

/// R124: the same on a runtime that all nodes share with a thousand clients.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_load_of_proposals_changes_no_leader() {
    let places = cluster(3, ELECTION).await;
    let before: Vec<(u64, Option<NodeId>)> = reign(&places).await;
    let handles: Vec<_> = places.iter().map(crate::cluster::Place::handle).collect();
    let clients =
        Clients::start(1000, &handles, |handle| async move { handle.propose("count").await });
    clients.never_stop(6, "under a full load").await;
    assert_eq!(reign(&places).await, before);
    clients.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_with_a_slow_disk_and_a_slow_state_machine_stays_leader() {
    let places = cluster(3, Duration::from_millis(600)).await;
    let leader = leader(&places).await;
    propose(&places[leader].handle()).await;
    let before = reign(&places).await;
    places[leader].disk.slowness.set(Duration::from_millis(200));
    let clients = Clients::start(20, &[places[leader].handle()], |handle| async move {
        handle.propose("count").await
    });
    clients.never_stop(4, "with a slow disk").await;
    places[leader].machine.slowness.set(Duration::from_millis(200));
    clients.never_stop(4, "with a slow state machine too").await;
    assert_eq!(reign(&places).await, before);
    clients.stop().await;
    places[leader].disk.slowness.set(Duration::ZERO);
    places[leader].machine.slowness.set(Duration::ZERO);
    in_agreement(&places).await;
}
