//! Clients, and the history of what they asked and what they were told.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use conformance_tests::linearizability::models::{Keyed, TextAction, TextRet};
use conformance_tests::linearizability::{History, HistoryError};
use fastrand::Rng;

use super::client::Client;

pub(crate) type TextHistory = History<Keyed<String, TextAction>, TextRet>;

/// How many clients ask at the same time.
const CLIENTS: u64 = 5;

/// How long a client waits for an answer: longer than a server lets a request wait, so that only
/// those are given up whose server is dead or stands still.
const PATIENCE: Duration = Duration::from_millis(1500);

/// How many keys there are at a time.
const KEYS: u64 = 4;

/// How long they are used, in seconds, before others take their place. It keeps the history of each
/// short, however long the test is.
const EPOCH: u64 = 15;

/// How long a client rests between two requests, in milliseconds.
const REST: std::ops::Range<u64> = 2..30;

/// What all who ask share.
#[derive(Clone)]
pub(crate) struct Desk {
    began: Instant,
    names: Arc<AtomicU64>,
    /// Where the nodes serve clients; node 1 is the first.
    addresses: Arc<[String]>,
}

impl Desk {
    pub(crate) fn new(addresses: Vec<String>) -> Self {
        Self { began: Instant::now(), names: Arc::default(), addresses: addresses.into() }
    }

    /// How many nodes there are.
    pub(crate) fn nodes(&self) -> u64 {
        self.addresses.len() as u64
    }

    /// The places of the nodes; that of node 1 is 0.
    pub(crate) fn places(&self) -> std::ops::Range<usize> {
        0..self.addresses.len()
    }

    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// The keys that were in use up to now.
    pub(crate) fn keys(&self) -> Vec<String> {
        let epochs = 0..=self.began.elapsed().as_secs() / EPOCH;
        epochs.flat_map(|epoch| (0..KEYS).map(move |key| name(epoch, key))).collect()
    }
}

fn name(epoch: u64, key: u64) -> String {
    format!("key{key}:{epoch}")
}

/// One who asks one request after the other, and writes down what comes of it.
pub(crate) struct Asker {
    desk: Desk,
    client: u64,
    tokens: u64,
    node: usize,
    connection: Option<Client>,
    history: TextHistory,
}

impl Asker {
    pub(crate) fn new(desk: &Desk) -> Self {
        let client = desk.names.fetch_add(1, Ordering::Relaxed);
        let (desk, history) = (desk.clone(), History::new());
        Self { desk, client, tokens: 0, node: 0, connection: None, history }
    }

    /// Asks this node from now on, over a new connection.
    pub(crate) fn turn_to(&mut self, node: usize) {
        (self.node, self.connection) = (node, None);
    }

    /// A text that nobody else writes, and that is in no other one.
    pub(crate) fn token(&mut self) -> String {
        self.tokens += 1;
        format!("c{}.{};", self.client, self.tokens)
    }

    pub(crate) fn history(self) -> TextHistory {
        self.history
    }

    /// Asks, and returns the answer if there was one. An error is something that a server must not
    /// say, or a mistake of this test.
    pub(crate) fn ask(&mut self, key: &str, action: TextAction) -> Result<Option<TextRet>, String> {
        if self.connection.is_none() {
            self.connection = Client::connect(&self.desk.addresses[self.node], PATIENCE);
        }
        // As long as nothing was sent, nothing can have happened.
        let Some(connection) = &mut self.connection else { return Ok(None) };
        let request = match &action {
            TextAction::Get => format!("GET {key}"),
            TextAction::Put(text) => format!("SET {key} {text}"),
            TextAction::Append(text) => format!("APPEND {key} {text}"),
        };
        let asked = Keyed::new(key.into(), action.clone());
        let operation = self.history.invoke(self.client, self.desk.now(), asked);
        let reply = connection.ask(&request);
        let recorded = |error: HistoryError| error.to_string();
        let answer = match (&action, reply.as_deref()) {
            (_, Some(down)) if down.starts_with("-CLUSTERDOWN ") => {
                self.history.failed(operation).map_err(recorded)?;
                return Ok(None);
            }
            (_, None) => None,
            (_, Some(reply)) if reply.starts_with("-UNKNOWN ") => None,
            (TextAction::Get, Some("$-1")) => Some(TextRet::Value(String::new())),
            (TextAction::Get, Some(text)) if text.ends_with(';') => {
                Some(TextRet::Value(text.into()))
            }
            (TextAction::Put(_), Some("+OK")) => Some(TextRet::Done),
            (TextAction::Append(_), Some(length)) if length.starts_with(':') => Some(TextRet::Done),
            (_, Some(reply)) => return Err(format!("{request} was answered with {reply}")),
        };
        match &answer {
            Some(told) => {
                let now = self.desk.now();
                self.history.returned(operation, now, told.clone()).map_err(recorded)?;
            }
            None => {
                // Its request may yet take effect while it asks for something else, which one
                // client does not.
                self.history.unknown(operation).map_err(recorded)?;
                self.client = self.desk.names.fetch_add(1, Ordering::Relaxed);
                (self.tokens, self.connection) = (0, None);
            }
        }
        Ok(answer)
    }

    /// Asks for this and that until it is told to stop.
    fn go_on(mut self, mut dice: Rng, stop: &AtomicBool) -> Result<TextHistory, String> {
        let nodes = self.desk.addresses.len();
        self.turn_to(dice.usize(0..nodes));
        while !stop.load(Ordering::Relaxed) {
            let key = name(self.desk.began.elapsed().as_secs() / EPOCH, dice.u64(0..KEYS));
            let action = match dice.u32(0..20) {
                0..9 => TextAction::Get,
                9..11 => TextAction::Put(self.token()),
                _ => TextAction::Append(self.token()),
            };
            let answer = self.ask(&key, action)?;
            if answer.is_none() || dice.u32(0..20) == 0 {
                self.turn_to(dice.usize(0..nodes));
            }
            thread::sleep(Duration::from_millis(dice.u64(REST)));
        }
        Ok(self.history)
    }
}

/// The clients, at work. Dropping them tells them to stop.
pub(crate) struct Clients {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Result<TextHistory, String>>>,
}

impl Clients {
    pub(crate) fn start(desk: &Desk, seed: u64) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let start = |number| {
            let (asker, stop) = (Asker::new(desk), stop.clone());
            let dice = Rng::with_seed(seed.wrapping_add(number));
            thread::spawn(move || asker.go_on(dice, &stop))
        };
        let threads = (1..=CLIENTS).map(start).collect();
        Self { stop, threads }
    }

    /// Stops them, and returns what they have seen.
    pub(crate) fn stop(mut self) -> Result<TextHistory, String> {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = History::new();
        for client in self.threads.drain(..) {
            all.absorb(client.join().map_err(|_| "a client has panicked")??);
        }
        Ok(all)
    }
}

impl Drop for Clients {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}
