//! Keys to fill a cluster with, and writes at a constant rate.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use redis_protocol::resp2::types::BytesFrame;
use tokio::task::JoinSet;
use tokio::time::{sleep, sleep_until};

use crate::cli::MeasureArgs;
use crate::client::{Client, ClientError, unexpected};

pub(super) const KEY_BYTES: usize = 16;

/// Enough that a write that waits does not hold up the next ones at the usual rates.
pub(super) const CONNECTIONS: u32 = 16;

/// Keys in one request while the cluster is filled, and how many such requests are under way.
const AT_ONCE: u64 = 500;
const FILLERS: u64 = 4;

/// The step from one written key to the next: far enough that they are all over the map. It is a
/// prime, so all keys come up.
const STRIDE: u64 = 7919;

const PATIENCE: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(10);

/// One write that was acknowledged.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sample {
    /// When it was meant to be sent. From there its latency counts, so that a stall is not hidden
    /// by the writes that it kept from being sent.
    pub(super) due: Instant,
    pub(super) latency: Duration,
}

/// Gives each key a value.
pub(super) async fn fill(node: &str, keys: u64, value_bytes: usize) -> Result<(), ClientError> {
    let mut fillers = JoinSet::new();
    for filler in 0..FILLERS {
        let mut client = Client::connect(node, PATIENCE).await?;
        fillers.spawn(async move {
            let mut first = filler * AT_ONCE;
            while first < keys {
                let pairs = (first..keys.min(first + AT_ONCE))
                    .flat_map(|number| [key(number), value(number, value_bytes)]);
                let request = ["MSET".into()].into_iter().chain(pairs).collect();
                match client.call(request).await? {
                    BytesFrame::SimpleString(_) => first += FILLERS * AT_ONCE,
                    BytesFrame::Error(text) if text.starts_with("CLUSTERDOWN") => {
                        sleep(PAUSE).await
                    }
                    other => return Err(unexpected(&other)),
                }
            }
            Ok(())
        });
    }
    while let Some(ended) = fillers.join_next().await {
        // A task that panicked has not filled its part.
        ended.unwrap_or(Err(ClientError::Closed))?;
    }
    Ok(())
}

/// Connections that write at a constant rate together.
pub(super) struct Load {
    connections: JoinSet<(Vec<Sample>, u64)>,
    stop: Arc<AtomicBool>,
}

impl Load {
    pub(super) fn start(node: &str, args: &MeasureArgs) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let mut connections = JoinSet::new();
        let started = Instant::now();
        for place in 0..CONNECTIONS {
            let writer = Writer {
                node: node.to_owned(),
                connection: None,
                next: u64::from(place),
                keys: args.keys.max(1),
                value_bytes: args.value_bytes,
            };
            let interval = Duration::from_secs(1) / args.rate.max(1);
            let first = started + interval * place;
            connections.spawn(writer.run(first, interval * CONNECTIONS, stop.clone()));
        }
        Self { connections, stop }
    }

    /// The acknowledged writes, and how many were not.
    pub(super) async fn stop(mut self) -> (Vec<Sample>, u64) {
        self.stop.store(true, Ordering::Relaxed);
        let (mut samples, mut errors) = (Vec::new(), 0);
        while let Some(ended) = self.connections.join_next().await {
            if let Ok((more, failed)) = ended {
                samples.extend(more);
                errors += failed;
            }
        }
        (samples, errors)
    }
}

struct Writer {
    node: String,
    connection: Option<Client>,
    next: u64,
    keys: u64,
    value_bytes: usize,
}

impl Writer {
    async fn run(
        mut self,
        first: Instant,
        interval: Duration,
        stop: Arc<AtomicBool>,
    ) -> (Vec<Sample>, u64) {
        let (mut due, mut samples, mut errors) = (first, Vec::new(), 0);
        while !stop.load(Ordering::Relaxed) {
            sleep_until(due.into()).await;
            if self.write().await {
                samples.push(Sample { due, latency: due.elapsed() });
            } else {
                errors += 1;
            }
            due += interval;
        }
        (samples, errors)
    }

    async fn write(&mut self) -> bool {
        let number = self.next.wrapping_mul(STRIDE) % self.keys;
        self.next += u64::from(CONNECTIONS);
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => match Client::connect(&self.node, PATIENCE).await {
                Ok(connection) => connection,
                Err(_) => return false,
            },
        };
        let request = vec!["SET".into(), key(number), value(self.next, self.value_bytes)];
        let answer = connection.call(request).await;
        let written = matches!(answer, Ok(BytesFrame::SimpleString(_)));
        if answer.is_ok() {
            self.connection = Some(connection);
        }
        written
    }
}

fn key(number: u64) -> Bytes {
    format!("key:{number:012}").into()
}

fn value(number: u64, length: usize) -> Bytes {
    format!("{number:0length$}").into()
}
