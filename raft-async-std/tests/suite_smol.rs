//! The conformance suite on smol: in one process, and over TCP with storage in files.

mod bootstrap;

use bootstrap::On;
use conformance_tests::suite;
use raft_async_std::Executor;

suite!(in_process, On::from(Executor::smol()));
suite!(over_tcp, On::from(Executor::smol()));
