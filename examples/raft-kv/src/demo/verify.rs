//! Reads every acknowledged write back from every node.

use std::collections::BTreeSet;
use std::time::Instant;

use redis_protocol::resp2::types::BytesFrame;
use tokio::time::sleep;

use super::cluster::Address;
use super::journal::Write;
use super::{DemoError, PATIENCE, POLL};
use crate::client::{Client, ClientError, unexpected};

/// How many keys are read in one request.
const AT_ONCE: usize = 200;

/// How many of the writes are missing, or have another value, on at least one node.
pub(super) async fn lost(nodes: &[Address], writes: &[Write]) -> Result<usize, DemoError> {
    let mut lost = BTreeSet::new();
    for node in nodes {
        lost.extend(lost_at(node, writes).await?);
    }
    Ok(lost.len())
}

/// The places in `writes` of those that one node does not give back.
async fn lost_at(node: &Address, writes: &[Write]) -> Result<Vec<usize>, DemoError> {
    let failed = |source| DemoError::ReadBack { id: node.id, source };
    let mut connection = Client::connect(&node.client, PATIENCE).await.map_err(failed)?;
    let mut lost = Vec::new();
    for (number, chunk) in writes.chunks(AT_ONCE).enumerate() {
        let values = read(&mut connection, chunk).await.map_err(failed)?;
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

/// Reads some writes back. An error reply is no proof of anything, so the question is asked again.
async fn read(connection: &mut Client, writes: &[Write]) -> Result<Vec<BytesFrame>, ClientError> {
    let started = Instant::now();
    loop {
        let mut request = vec!["MGET".into()];
        request.extend(writes.iter().map(|write| write.key()));
        match connection.call(request).await? {
            BytesFrame::Array(values) if values.len() == writes.len() => return Ok(values),
            BytesFrame::Error(_) if started.elapsed() < PATIENCE => sleep(POLL).await,
            other => return Err(unexpected(&other)),
        }
    }
}
