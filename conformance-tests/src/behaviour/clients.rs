//! Clients that never stop asking.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::channel;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use bytes::Bytes;
use raft_node::{Client, Handle, RequestError};

use crate::process::PATIENCE;

/// Without an answer for so long somebody waits for what he should not wait for.
const WINDOW: Duration = Duration::from_millis(400);

pub(super) type Callback = Box<dyn FnOnce(Result<Bytes, RequestError>) + Send>;

/// Clients of which each asks again as soon as it is answered, until its node has stopped. One
/// thread has the turns of all of them.
pub(super) struct Clients {
    done: Arc<AtomicU64>,
    over: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Clients {
    pub(super) fn start(count: usize, handles: &[Handle], ask: fn(&Client, Callback)) -> Self {
        let (done, over) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let (answered, ended) = (done.clone(), over.clone());
        let clients: Vec<Client> = handles.iter().map(|handle| handle.client().clone()).collect();
        let thread = thread::spawn(move || {
            let (tell, answers) = channel();
            let turn = |nth: usize| {
                let tell = tell.clone();
                let callback = move |answer| drop(tell.send((nth, answer)));
                ask(&clients[nth % clients.len()], Box::new(callback));
            };
            (0..count).for_each(turn);
            let mut waiting = count;
            while waiting > 0 {
                let (nth, answer) =
                    answers.recv_timeout(PATIENCE).expect("each request has an answer");
                match answer {
                    Ok(_) => drop(answered.fetch_add(1, Ordering::Relaxed)),
                    Err(RequestError::Stopped) => {}
                    Err(_) => thread::sleep(Duration::from_millis(1)),
                }
                if ended.load(Ordering::Relaxed) || answer == Err(RequestError::Stopped) {
                    waiting -= 1;
                } else {
                    turn(nth);
                }
            }
        });
        Self { done, over, thread }
    }

    /// Watches them for a while: there are answers in every window.
    pub(super) fn go_on(&self, windows: u32, when: &str) {
        for window in 0..windows {
            let before = self.done.load(Ordering::Relaxed);
            thread::sleep(WINDOW);
            let answers = self.done.load(Ordering::Relaxed) - before;
            assert!(answers > 0, "{when}: no answer in window {window}");
        }
    }

    /// Waits until their node has stopped and each has its last answer.
    pub(super) fn see_the_end(self) {
        self.thread.join().expect("each request has an answer");
    }

    /// Asks nothing any more, and waits for the answers that are still to come.
    pub(super) fn stop(self) {
        self.over.store(true, Ordering::Relaxed);
        self.see_the_end();
    }
}

/// For [`Clients::start`].
pub(super) fn proposing(client: &Client, callback: Callback) {
    client.propose("count".into(), callback);
}

/// For [`Clients::start`].
pub(super) fn reading(client: &Client, callback: Callback) {
    client.read(Bytes::new(), callback);
}
