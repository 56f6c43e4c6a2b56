//! Reads every acknowledged write back from every node.

use std::collections::BTreeSet;
use std::time::Instant;

use bytes::Bytes;
use redis_protocol::resp2::types::BytesFrame;
use tokio::time::sleep;

use super::DemoError;
use super::journal::{Account, Write, counter};
use crate::client::{Client, ClientError, unexpected};
use crate::local::{Address, PATIENCE, POLL};
use crate::store::parse_integer;

/// How many keys are read in one request.
const AT_ONCE: usize = 200;

/// What is wrong.
pub(super) struct Verdict {
    /// Acknowledged writes that are missing, or have another value, on at least one node.
    pub(super) lost: usize,
    /// Writes that were applied more than once.
    pub(super) repeated: u64,
}

/// Compares what the nodes hold with what was acknowledged.
pub(super) async fn verify(nodes: &[Address], account: &Account) -> Result<Verdict, DemoError> {
    let (mut lost, mut missing, mut repeated) = (BTreeSet::new(), 0, 0);
    for node in nodes {
        let failed = |source| DemoError::ReadBack { id: node.id, source };
        let mut connection = Client::connect(&node.client, PATIENCE).await.map_err(failed)?;
        lost.extend(lost_at(&mut connection, &account.writes).await.map_err(failed)?);
        let counts = counts(&mut connection, account).await.map_err(failed)?;
        let (mut more, mut less) = (0, 0);
        for (expected, count) in account.counts.iter().zip(counts) {
            more += count.saturating_sub(*expected.end());
            less += expected.start().saturating_sub(count);
        }
        (repeated, missing) = (repeated.max(more), missing.max(less));
    }
    let missing = usize::try_from(missing).unwrap_or(usize::MAX);
    Ok(Verdict { lost: lost.len().max(missing), repeated })
}

/// The places in `writes` of those that one node does not give back.
async fn lost_at(connection: &mut Client, writes: &[Write]) -> Result<Vec<usize>, ClientError> {
    let mut lost = Vec::new();
    for (number, chunk) in writes.chunks(AT_ONCE).enumerate() {
        let values = read(connection, chunk.iter().map(|write| write.key()).collect()).await?;
        let same = |(write, value): (&Write, &BytesFrame)| match value {
            BytesFrame::BulkString(value) => *value == write.value(),
            _ => false,
        };
        let places = number * AT_ONCE..;
        let checked = places.zip(chunk.iter().zip(&values));
        lost.extend(checked.filter(|(_, pair)| !same(*pair)).map(|(place, _)| place));
    }
    Ok(lost)
}

/// How many writes of each client one node has counted.
async fn counts(connection: &mut Client, account: &Account) -> Result<Vec<u64>, ClientError> {
    let clients = u32::try_from(account.counts.len()).unwrap_or(u32::MAX);
    let values = read(connection, (0..clients).map(counter).collect()).await?;
    let number = |value: &BytesFrame| match value {
        BytesFrame::BulkString(text) => {
            parse_integer(text).and_then(|number| u64::try_from(number).ok())
        }
        _ => None,
    };
    // A counter that is missing, or no number, has counted nothing.
    Ok(values.iter().map(|value| number(value).unwrap_or_default()).collect())
}

/// Reads values. An error reply is no proof of anything, so the question is asked again.
async fn read(connection: &mut Client, keys: Vec<Bytes>) -> Result<Vec<BytesFrame>, ClientError> {
    let started = Instant::now();
    let request: Vec<Bytes> = ["MGET".into()].into_iter().chain(keys).collect();
    loop {
        match connection.call(request.clone()).await? {
            BytesFrame::Array(values) if values.len() + 1 == request.len() => return Ok(values),
            BytesFrame::Error(_) if started.elapsed() < PATIENCE => sleep(POLL).await,
            other => return Err(unexpected(&other)),
        }
    }
}
