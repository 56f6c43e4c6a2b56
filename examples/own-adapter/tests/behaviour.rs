//! What every adapter has to bear, on this one.

mod bootstrap;

use bootstrap::Own;
use conformance_tests::behaviour_suite;

behaviour_suite!(Own);
