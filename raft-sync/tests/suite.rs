//! The conformance suite on threads: in one process, and over TCP with storage in files.

mod bootstrap;

use bootstrap::Threads;
use conformance_tests::suite;

suite!(in_process, Threads);
suite!(over_tcp, Threads);
