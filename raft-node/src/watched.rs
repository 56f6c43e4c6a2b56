//! A value that others wait for, in tasks and in threads.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use event_listener::Event;

/// A value and those who wait for it to become something. Clones share it.
///
/// Whoever looks is given a copy, so that nobody else's code ever runs under the lock: the node's
/// loop would have to wait for it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Watched<T>(Arc<Shared<T>>);

#[derive(Debug, Default)]
struct Shared<T> {
    value: Mutex<T>,
    changed: Event,
}

impl<T: Clone> Watched<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(Arc::new(Shared { value: Mutex::new(value), changed: Event::new() }))
    }

    fn value(&self) -> MutexGuard<'_, T> {
        // The changes of this crate are made in one go, so a panic elsewhere leaves the value
        // usable.
        self.0.value.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A copy of what it is now.
    pub(crate) fn get(&self) -> T {
        self.value().clone()
    }

    /// Changes the value. Those who wait look again if `change` says that it has.
    pub(crate) fn update(&self, change: impl FnOnce(&mut T) -> bool) {
        if change(&mut self.value()) {
            self.0.changed.notify(usize::MAX);
        }
    }

    /// Looks at once and after each change, until `look` finds what it looks for. Of changes in
    /// quick succession it may see only the last.
    pub(crate) async fn wait_for<R>(&self, mut look: impl FnMut(T) -> Option<R>) -> R {
        loop {
            // Whoever listens first and looks then can't miss a change in between.
            let changed = self.0.changed.listen();
            if let Some(found) = look(self.get()) {
                return found;
            }
            changed.await;
        }
    }

    /// The same, for a thread.
    pub(crate) fn block_for<R>(&self, mut look: impl FnMut(T) -> Option<R>) -> R {
        use event_listener::Listener;

        loop {
            let changed = self.0.changed.listen();
            if let Some(found) = look(self.get()) {
                return found;
            }
            changed.wait();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;
    use std::thread;

    use futures_executor::block_on;

    use super::*;

    const ROUNDS: u32 = 2_000;

    /// Two that answer each other's changes: one that is missed would stop both.
    #[test]
    fn no_change_is_missed_by_those_who_wait_in_tasks_and_in_threads() {
        let number = Watched::new(0);
        let step = |number: &Watched<u32>| {
            number.update(|number| {
                *number += 1;
                true
            });
        };
        let other = number.clone();
        let thread = thread::spawn(move || {
            for round in 0..ROUNDS {
                other.block_for(|now| (now == 2 * round + 1).then_some(()));
                step(&other);
            }
        });
        for round in 0..ROUNDS {
            step(&number);
            block_on(number.wait_for(|now| (now == 2 * round + 2).then_some(())));
        }
        thread.join().unwrap();
        assert_eq!(number.get(), 2 * ROUNDS);
    }

    #[test]
    fn whoever_is_slow_to_look_holds_nobody_up() {
        let number = Watched::new(1);
        let (changed, change) = channel();
        let other = number.clone();
        let thread = thread::spawn(move || {
            other.update(|number| {
                *number = 2;
                true
            });
            changed.send(other.get()).unwrap();
        });
        let found = block_on(number.wait_for(|now| {
            // Meanwhile the value changes and is looked at elsewhere.
            (now == 2 || change.recv().unwrap() != 2).then_some(now)
        }));
        assert_eq!(found, 2);
        thread.join().unwrap();
    }
}
