//! The invocations and returns that are not explained yet, in order of time.

use alloc::vec;
use alloc::vec::Vec;

/// The head of the circular list. It is the successor of the last event too.
const HEAD: usize = 0;

/// The events of returned operations as a doubly linked list, from which an operation is lifted
/// when it is placed, and to which it goes back to exactly where it was when the search retreats
/// (Lowe, section 3). Operations must go back in the reverse of the order in which they left.
#[derive(Debug)]
pub(super) struct Timeline {
    events: Vec<Event>,
    next: Vec<usize>,
    previous: Vec<usize>,
}

#[derive(Debug, Clone, Copy)]
enum Event {
    Head,
    Invocation { operation: usize, its_return: usize },
    Return { at: u64 },
}

impl Timeline {
    /// Arranges operations, given as the times of their invocation and return. Operations are
    /// known by their position in `intervals`.
    pub(super) fn new(intervals: &[(u64, u64)]) -> Self {
        // An invocation sorts before a return at the same time: calls that touch are concurrent.
        let mut order: Vec<(u64, bool, usize)> = Vec::with_capacity(2 * intervals.len());
        for (operation, &(invoked, returned)) in intervals.iter().enumerate() {
            order.push((invoked, false, operation));
            order.push((returned, true, operation));
        }
        order.sort_unstable();

        let mut return_of = vec![HEAD; intervals.len()];
        for (position, &(_, is_return, operation)) in order.iter().enumerate() {
            if is_return {
                return_of[operation] = position + 1;
            }
        }
        let mut events = vec![Event::Head];
        events.extend(order.iter().map(|&(at, is_return, operation)| match is_return {
            true => Event::Return { at },
            false => Event::Invocation { operation, its_return: return_of[operation] },
        }));
        let len = events.len();
        Self {
            events,
            next: (0..len).map(|event| (event + 1) % len).collect(),
            previous: (0..len).map(|event| (event + len - 1) % len).collect(),
        }
    }

    /// The earliest event that is left.
    pub(super) fn first(&self) -> usize {
        self.next[HEAD]
    }

    /// The event that follows `event`.
    pub(super) fn after(&self, event: usize) -> usize {
        self.next[event]
    }

    /// The operation that `event` invokes; `None` if it is a return or the end of the list.
    pub(super) fn invocation(&self, event: usize) -> Option<usize> {
        match self.events[event] {
            Event::Invocation { operation, .. } => Some(operation),
            Event::Head | Event::Return { .. } => None,
        }
    }

    /// The time of the earliest return that is left: whatever is invoked later comes later.
    pub(super) fn horizon(&self) -> u64 {
        let mut event = self.first();
        loop {
            match self.events[event] {
                Event::Invocation { .. } => event = self.after(event),
                Event::Return { at } => return at,
                Event::Head => return u64::MAX,
            }
        }
    }

    /// Takes out the operation that `invocation` invokes.
    pub(super) fn lift(&mut self, invocation: usize) {
        self.unlink(invocation);
        if let Event::Invocation { its_return, .. } = self.events[invocation] {
            self.unlink(its_return);
        }
    }

    /// Puts back the operation that was lifted last.
    pub(super) fn unlift(&mut self, invocation: usize) {
        if let Event::Invocation { its_return, .. } = self.events[invocation] {
            self.relink(its_return);
        }
        self.relink(invocation);
    }

    fn unlink(&mut self, event: usize) {
        let (previous, next) = (self.previous[event], self.next[event]);
        self.next[previous] = next;
        self.previous[next] = previous;
    }

    fn relink(&mut self, event: usize) {
        let (previous, next) = (self.previous[event], self.next[event]);
        self.next[previous] = event;
        self.previous[next] = event;
    }
}
