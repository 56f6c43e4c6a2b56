//! What nodes of this adapter leave behind, and how they wait: alone in its process.

mod bootstrap;

use bootstrap::Own;
use conformance_tests::process_suite;

process_suite!(Own);
