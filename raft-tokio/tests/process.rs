//! What nodes on tokio leave behind, and how they wait: alone in its process.

mod bootstrap;

use bootstrap::Tokio;
use conformance_tests::process_suite;

process_suite!(Tokio::new(2));
