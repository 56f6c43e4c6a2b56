//! All scenarios on the simulator, each with several seeds.

use conformance_tests::sim::SimCluster;
use conformance_tests::{for_each_scenario, scenarios};

const SEEDS: u64 = 5;

macro_rules! simulated {
    ($($name:ident $size:literal,)*) => {$(
        #[test]
        fn $name() {
            for seed in 0..SEEDS {
                scenarios::$name(SimCluster::new(stringify!($name), $size, seed));
            }
        }
    )*};
}

for_each_scenario!(simulated!());
