//! A lock that lets threads through in the order in which they came.

use std::ops::{Deref, DerefMut};

use crate::sync::standard::{Condvar, Mutex, MutexGuard, PoisonError};

/// A mutex without overtaking: a thread that writes in a loop cannot keep the others out. Made of the standard library's locks, which keep
/// no tables beside them, so that one made after a fork works whatever other threads did at the fork.
pub struct Turnstile<T> {
    queue: Mutex<Queue>,
    /// Each waits at the place of its number, so that a turn wakes the next one and not all who wait.
    turned: [Condvar; PLACES],
    value: Mutex<T>,
}

/// More threads than that share places, and are woken together.
const PLACES: usize = 64;

#[derive(Default)]
struct Queue {
    next: u64,
    admitted: u64,
}

/// The right to use the value.
pub struct Turn<'a, T> {
    turnstile: &'a Turnstile<T>,
    value: MutexGuard<'a, T>,
}

fn place(places: &[Condvar; PLACES], number: u64) -> &Condvar {
    &places[number as usize % PLACES]
}

impl<T> Turnstile<T> {
    /// Guards `value`.
    pub fn new(value: T) -> Self {
        Self { queue: Mutex::default(), turned: std::array::from_fn(|_| Condvar::new()), value: Mutex::new(value) }
    }

    /// Waits for its turn.
    pub fn enter(&self) -> Turn<'_, T> {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let mine = queue.next;
        queue.next += 1;
        while queue.admitted != mine {
            queue = place(&self.turned, mine).wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
        drop(queue);
        Turn { turnstile: self, value: self.value.lock().unwrap_or_else(PoisonError::into_inner) }
    }
}

impl<T> Deref for Turn<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T> DerefMut for Turn<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.value
    }
}

impl<T> Drop for Turn<'_, T> {
    fn drop(&mut self) {
        let mut queue = self.turnstile.queue.lock().unwrap_or_else(PoisonError::into_inner);
        queue.admitted += 1;
        if queue.admitted != queue.next {
            place(&self.turnstile.turned, queue.admitted).notify_all();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::{Duration, Instant};

    use super::Turnstile;

    #[test]
    fn one_at_a_time() {
        let turnstile = Turnstile::new(0);
        std::thread::scope(|threads| {
            for _ in 0..8 {
                threads.spawn(|| (0..500).for_each(|_| *turnstile.enter() += 1));
            }
        });
        assert_eq!(*turnstile.enter(), 4000);
    }

    #[test]
    fn a_thread_in_a_loop_lets_others_in() {
        let turnstile = Turnstile::new(());
        let done = AtomicBool::new(false);
        std::thread::scope(|threads| {
            threads.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    let _turn = turnstile.enter();
                    std::thread::sleep(Duration::from_micros(200));
                }
            });
            std::thread::sleep(Duration::from_millis(5));
            let start = Instant::now();
            (0..20).for_each(|_| drop(turnstile.enter()));
            done.store(true, Ordering::Relaxed);
            assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
        });
    }
}
