//! What every adapter has to bear, on async-std.

mod bootstrap;

use bootstrap::On;
use conformance_tests::behaviour_suite;
use raft_async_std::Executor;

behaviour_suite!(On::from(Executor::async_std()));
