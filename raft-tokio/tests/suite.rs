//! The conformance suite on tokio: in one process, and over TCP with storage in files.

mod bootstrap;

use bootstrap::Tokio;
use conformance_tests::suite;

suite!(in_process, Tokio::new(2));
suite!(over_tcp, Tokio::new(2));
