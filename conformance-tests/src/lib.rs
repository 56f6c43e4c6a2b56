//! conformance-tests
pub mod linearizability;
