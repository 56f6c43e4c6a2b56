//! raft-tokio
