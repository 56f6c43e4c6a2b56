//! What nodes on smol leave behind, and how they wait: alone in its process.

mod bootstrap;

use bootstrap::On;
use conformance_tests::process_suite;

process_suite!(On::counting(|task| smol::spawn(task).detach()));
