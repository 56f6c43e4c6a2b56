//! The limits of the server. Each one exists so that no client can make the memory of a node, or
//! the time of one step, grow without bound.

/// The most bytes of a key or a value.
pub const MAX_VALUE: usize = 512 * 1024;

/// The most bytes of one request on the wire. It leaves room for a key and a value of the largest
/// size, and for an `MSET` of a few large ones.
pub const MAX_REQUEST: usize = 4 * 1024 * 1024;

/// The most bytes of one entry of the log: whatever comes in one request fits, in its envelope.
pub const MAX_COMMAND: usize = MAX_REQUEST + raft_node::session::MAX_OVERHEAD;

/// A recording of what goes into a node ends before it has more bytes.
pub const MAX_RECORDING: u64 = 1 << 30;

/// The most arguments of one request, its name included.
pub const MAX_ARGUMENTS: usize = 128 * 1024;

/// The most bytes of keys and values in the answer to one read request. A larger answer is
/// an error.
pub const MAX_ANSWER: usize = 16 * 1024 * 1024;

/// The most bytes of a `KEYS` or `SCAN` pattern. The time to match is proportional to the length of
/// the pattern times the length of the key.
pub const MAX_PATTERN: usize = 1024;

/// The most keys that one `SCAN` looks at, whatever its `COUNT` says.
pub const MAX_SCAN_COUNT: u64 = 10_000;

/// The most pipelined requests that share one trip through the cluster.
pub(crate) const MAX_GROUP: usize = 256;

/// No request joins a group that has this many bytes already.
pub(crate) const MAX_GROUP_BYTES: usize = 256 * 1024;

/// Replies are sent as soon as this many bytes wait, even in the middle of a pipeline.
pub(crate) const FLUSH_AT: usize = 64 * 1024;
