//! Descriptions and pieces of snapshots.

use crate::shared::Arc;

use bytes::Bytes;
use prost::Message as _;

use super::membership::Members;
use super::{DecodeError, Position};
use crate::message;
use crate::snapshot::Snapshot;

#[derive(Clone, PartialEq, prost::Message)]
struct Description {
    #[prost(message, required, tag = "1")]
    position: Position,
    #[prost(message, required, tag = "2")]
    membership: Members,
    #[prost(uint64, tag = "3")]
    size: u64,
    #[prost(uint32, tag = "4")]
    checksum: u32,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct SnapshotChunk {
    #[prost(message, required, tag = "1")]
    snapshot: Description,
    #[prost(uint64, tag = "2")]
    offset: u64,
    #[prost(bytes = "bytes", tag = "3")]
    data: Bytes,
    #[prost(uint64, tag = "4")]
    sequence: u64,
}

#[derive(Clone, Copy, PartialEq, prost::Message)]
pub(super) struct SnapshotReply {
    #[prost(uint64, tag = "1")]
    sequence: u64,
    #[prost(message, required, tag = "2")]
    position: Position,
    #[prost(uint32, tag = "3")]
    checksum: u32,
    #[prost(uint64, tag = "4")]
    received: u64,
    #[prost(uint64, tag = "5")]
    written: u64,
    #[prost(bool, tag = "6")]
    gap: bool,
}

impl From<&Snapshot> for Description {
    fn from(snapshot: &Snapshot) -> Self {
        Self {
            position: snapshot.position.into(),
            membership: snapshot.membership.as_ref().into(),
            size: snapshot.size,
            checksum: snapshot.checksum,
        }
    }
}

impl TryFrom<Description> for Snapshot {
    type Error = DecodeError;

    fn try_from(description: Description) -> Result<Self, DecodeError> {
        Ok(Self {
            position: description.position.try_into()?,
            membership: Arc::new(description.membership.try_into()?),
            size: description.size,
            checksum: description.checksum,
        })
    }
}

impl Snapshot {
    /// The description as bytes, for snapshot files. The encoding is that of the wire and can gain
    /// fields; `docs/wire.md` has the schema.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        Description::from(self).encode_to_vec().into()
    }

    /// Reads what [`encode`](Snapshot::encode) wrote.
    ///
    /// # Errors
    /// The bytes describe no snapshot; the error says why.
    pub fn decode(bytes: Bytes) -> Result<Self, DecodeError> {
        Description::decode(bytes).map_err(|_| DecodeError::Garbled)?.try_into()
    }
}

impl From<&message::SnapshotChunk> for SnapshotChunk {
    fn from(chunk: &message::SnapshotChunk) -> Self {
        Self {
            snapshot: (&chunk.snapshot).into(),
            offset: chunk.offset,
            data: chunk.data.clone(),
            sequence: chunk.sequence,
        }
    }
}

impl TryFrom<SnapshotChunk> for message::SnapshotChunk {
    type Error = DecodeError;

    fn try_from(chunk: SnapshotChunk) -> Result<Self, DecodeError> {
        let SnapshotChunk { snapshot, offset, data, sequence } = chunk;
        Ok(Self { snapshot: snapshot.try_into()?, offset, data, sequence })
    }
}

impl From<&message::SnapshotReply> for SnapshotReply {
    fn from(reply: &message::SnapshotReply) -> Self {
        let message::SnapshotReply { sequence, position, checksum, received, written, gap } =
            *reply;
        Self { sequence, position: position.into(), checksum, received, written, gap }
    }
}

impl TryFrom<SnapshotReply> for message::SnapshotReply {
    type Error = DecodeError;

    fn try_from(reply: SnapshotReply) -> Result<Self, DecodeError> {
        let SnapshotReply { sequence, position, checksum, received, written, gap } = reply;
        let position = position.try_into()?;
        Ok(Self { sequence, position, checksum, received, written, gap })
    }
}
