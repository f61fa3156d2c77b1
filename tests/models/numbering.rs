//! Changes of one application are numbered: nobody is further ahead of the oldest one under way than the log keeps answers, and whoever waits for it
//! comes on.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use shuttle::thread;

use crate::limits::REQUESTS_KEPT_PER_CLIENT;
use crate::numbers::{Number, Numbers};
use crate::sync::Mutex;

fn play(end: fn(Number<'_>)) {
    let (numbers, under_way) = (Arc::new(Numbers::default()), Arc::new(Mutex::new(BTreeSet::new())));
    let threads = [(); 3].map(|()| {
        let (numbers, under_way) = (numbers.clone(), under_way.clone());
        thread::spawn(move || {
            for _ in 0..2 {
                let number = numbers.take(Duration::MAX).expect("time does not end in a model");
                {
                    let mut under_way = under_way.lock();
                    under_way.insert(number.value());
                    let (first, last) = (under_way.first().copied(), under_way.last().copied());
                    assert!(last.zip(first).is_some_and(|(last, first)| last - first < REQUESTS_KEPT_PER_CLIENT));
                }
                under_way.lock().remove(&number.value());
                end(number);
            }
        })
    });
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    assert_eq!(numbers.take(Duration::MAX).map(|number| number.value()), Some(6), "without gaps");
}

pub fn works() {
    play(|number| drop(number));
}

/// A change that never ends.
pub fn fails() {
    play(|number| std::mem::forget(number));
}
