//! What nodes on threads leave behind, and how they wait: alone in its process.

mod bootstrap;

use bootstrap::Threads;
use conformance_tests::process_suite;

process_suite!(Threads);
