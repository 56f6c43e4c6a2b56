//! Shared ownership, on chips without atomic compare-and-swap too.
//!
//! There the standard library has no `Arc`, and `portable-atomic-util` brings one. The final program
//! says how it makes a few instructions atomic, usually with the feature `critical-section` of
//! `portable-atomic`.

#[cfg(target_has_atomic = "ptr")]
pub use alloc::sync::Arc;
#[cfg(not(target_has_atomic = "ptr"))]
pub use portable_atomic_util::Arc;
