//! The conformance suite on this adapter: in one process, and over TCP with storage in files.

mod bootstrap;

use bootstrap::Own;
use conformance_tests::suite;

suite!(in_process, Own);
suite!(over_tcp, Own);
