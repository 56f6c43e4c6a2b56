//! What every adapter has to bear, on tokio. All nodes share one thread: what does not yield starves
//! the others.

mod bootstrap;

use bootstrap::Tokio;
use conformance_tests::behaviour_suite;

behaviour_suite!(Tokio::new(1));
