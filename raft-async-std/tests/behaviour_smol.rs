//! What every adapter has to bear, on smol. All nodes share one thread: what does not yield starves
//! the others.

mod bootstrap;

use bootstrap::On;
use conformance_tests::behaviour_suite;
use raft_async_std::Executor;

behaviour_suite!(On::from(Executor::smol()));
