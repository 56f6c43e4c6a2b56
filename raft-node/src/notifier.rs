//! How a part of a node wakes whoever waits for it.

use alloc::sync::Arc;

/// Wakes somebody who waits: a task, a thread. It must not block.
pub type Notifier = Arc<dyn Fn() + Send + Sync>;
