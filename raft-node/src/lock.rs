//! A mutex for programs with and without an operating system.

#[cfg(not(feature = "std"))]
use spin::mutex::{SpinMutex as Inner, SpinMutexGuard};
#[cfg(feature = "std")]
use std::sync::{Mutex as Inner, PoisonError};

/// What [`Mutex::lock`] gives. The mutex is free again when this is dropped.
#[cfg(not(feature = "std"))]
pub type MutexGuard<'a, T> = SpinMutexGuard<'a, T>;
/// What [`Mutex::lock`] gives. The mutex is free again when this is dropped.
#[cfg(feature = "std")]
pub type MutexGuard<'a, T> = std::sync::MutexGuard<'a, T>;

/// A mutex that stays usable when its holder panics, for content whose every change is a single
/// step. With the feature `std` it is the one of the standard library. Without it it spins, so an
/// interrupt handler must not take one that the main program may hold.
#[derive(Debug, Default)]
pub struct Mutex<T>(Inner<T>);

impl<T> Mutex<T> {
    /// A mutex that nobody holds.
    pub const fn new(content: T) -> Self {
        Self(Inner::new(content))
    }

    /// Waits until nobody else holds the mutex, and takes it.
    #[cfg(feature = "std")]
    pub fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until nobody else holds the mutex, and takes it.
    #[cfg(not(feature = "std"))]
    pub fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock()
    }
}
