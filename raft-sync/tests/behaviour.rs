//! What every adapter has to bear, on threads.

mod bootstrap;

use bootstrap::Threads;
use conformance_tests::behaviour_suite;

behaviour_suite!(Threads);
