//! Writers of the store come one after the other, and each comes.

use std::sync::Arc;

use shuttle::sync::atomic::{AtomicUsize, Ordering};
use shuttle::thread;

use crate::turnstile::Turnstile;

fn play(give_back: fn(crate::turnstile::Turn<'_, Vec<usize>>)) {
    let (written, inside) = (Arc::new(Turnstile::new(Vec::new())), Arc::new(AtomicUsize::new(0)));
    let writers = [0, 1, 2].map(|writer| {
        let (written, inside) = (written.clone(), inside.clone());
        thread::spawn(move || {
            for _ in 0..2 {
                let mut turn = written.enter();
                assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0, "two write at once");
                turn.push(writer);
                inside.fetch_sub(1, Ordering::SeqCst);
                give_back(turn);
            }
        })
    });
    writers.into_iter().for_each(|writer| writer.join().unwrap());
    assert_eq!(written.enter().len(), 6);
}

/// Whoever waits for ever is a deadlock, which the scheduler sees.
pub fn works() {
    play(|turn| drop(turn));
}

/// One that does not let the next one in.
pub fn fails() {
    play(|turn| std::mem::forget(turn));
}
