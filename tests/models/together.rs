//! Calls that go together: each comes to an end, what came of it is its own, and no more requests are under way than may be.

use std::sync::Arc;
use std::time::Duration;

use shuttle::sync::atomic::{AtomicUsize, Ordering};
use shuttle::thread;

use crate::limits::MAKINGS_UNDER_WAY_MAX;
use crate::together::{Together, Told, Turn};

type Calls = Together<u8, usize, usize>;

fn play(end: fn(Turn<'_, u8, usize, usize>)) {
    let (calls, under_way, made) = (Arc::new(Calls::default()), Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let threads = [0, 1, 2].map(|thread| {
        let (calls, under_way, made) = (calls.clone(), under_way.clone(), made.clone());
        thread::spawn(move || {
            for number in 0..2 {
                let call = 10 * thread + number;
                // Makes what a request asks for: one at a time gets so far.
                let carry = |count| {
                    assert!(under_way.fetch_add(1, Ordering::SeqCst) < MAKINGS_UNDER_WAY_MAX, "too many are under way");
                    made.fetch_add(count, Ordering::SeqCst);
                    under_way.fetch_sub(1, Ordering::SeqCst);
                };
                if let Some(turn) = calls.turn(0) {
                    carry(1);
                    end(turn);
                    continue;
                }
                let (told, turn) = calls.wait(0, call, Duration::MAX);
                let came = match told {
                    Told::GoAlone(call) => {
                        carry(1);
                        call
                    }
                    Told::Carry(mut batch) => {
                        let with = batch.take_calls();
                        carry(with.len());
                        with.into_iter().for_each(|(number, call)| batch.tell(number, call));
                        batch.finish(|| usize::MAX)
                    }
                    Told::Done(came) => came,
                    Told::BrokeOff => panic!("none breaks off"),
                };
                assert_eq!(came, call, "another one's answer");
                turn.into_iter().for_each(end);
            }
        })
    });
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    assert_eq!(made.load(Ordering::SeqCst), 6);
    assert!(calls.turn(0).is_some(), "all turns have come back");
}

pub fn works() {
    play(|turn| drop(turn));
}

/// A turn that is not handed over.
pub fn fails() {
    play(|turn| std::mem::forget(turn));
}
