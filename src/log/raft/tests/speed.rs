//! How long a write takes: run with `--ignored --nocapture`, in a release build.

use std::time::{Duration, Instant};

use super::Cluster;
use crate::store::Outcome;

/// Time that each writer goes on.
const MEASURED: Duration = Duration::from_secs(4);

#[test]
#[ignore = "a measurement"]
fn writes_by_one_and_by_many() {
    let cluster = Cluster::new(&["a", "b", "c"]);
    let leader = cluster.leader(&[1, 2, 3]);
    let follower = leader % 3 + 1;
    for (node, place) in [(leader, "leader"), (follower, "follower")] {
        for writers in [1, 32] {
            let start = Instant::now();
            let mut took: Vec<Duration> = std::thread::scope(|threads| {
                let cluster = &cluster;
                let write = move |writer: u64| {
                    let mut took = Vec::new();
                    let first = node << 48 | writers << 40 | writer << 32;
                    for number in first.. {
                        let begun = Instant::now();
                        assert_eq!(cluster.create(node, number), Outcome::Done);
                        took.push(begun.elapsed());
                        if start.elapsed() > MEASURED {
                            break;
                        }
                    }
                    took
                };
                let writing: Vec<_> = (0..writers).map(|writer| threads.spawn(move || write(writer))).collect();
                writing.into_iter().flat_map(|writer| writer.join().unwrap()).collect()
            });
            took.sort_unstable();
            let rate = took.len() as f64 / start.elapsed().as_secs_f64();
            let (median, slow) = (took[took.len() / 2], took[took.len() * 99 / 100]);
            println!("{writers:2} writers at the {place}: {rate:.0}/s, median {median:?}, 99 % {slow:?}");
        }
    }
    cluster.assert_same();
}
