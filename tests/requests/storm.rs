//! A pool that cannot answer for a while is asked again, and not stormed.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use hsmpool::node::Server;
use hsmpool::pool::{Failure, Link};
use hsmpool::secret::Secret;
use hsmpool::token::Admin;
use hsmpool::token::message::{Answer, Verdict, encode};

use crate::house::{House, behind, caller};

/// Nodes that send everybody elsewhere until a moment.
struct Busy {
    servers: Vec<Arc<Server>>,
    until: Instant,
    asked: Arc<AtomicUsize>,
}

impl Link for Busy {
    fn call(&self, node: usize, request: &[u8], _patience: Duration) -> Result<Secret, Failure> {
        if Instant::now() >= self.until {
            return Ok(self.servers[node].answer(&caller("app"), request));
        }
        self.asked.fetch_add(1, Ordering::Relaxed);
        Ok(encode(&Answer {
            mark: 0,
            ticket: None,
            verdict: Verdict::Elsewhere("an election".to_string()),
            isolated: None,
            epoch: None,
        }))
    }
}

#[test]
fn two_hundred_threads_get_their_answers_after_an_election_and_repeat_no_more_than_the_budget_allows() {
    const THREADS: usize = 200;
    const SECONDS: u64 = 4;
    let house = House::new(130);
    house.token();
    let asked = Arc::new(AtomicUsize::new(0));
    let until = Instant::now() + Duration::from_secs(SECONDS);
    let admin = behind(Box::new(Busy { servers: house.servers.clone(), until, asked: asked.clone() }));
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| assert_eq!(admin.tokens().unwrap().len(), 1, "a call waits, and does not fail"));
        }
    });
    let late = until.elapsed();
    // Each thread's first request, a thousand repeats at once, 200 in each second, and looks at nodes that failed.
    let most = THREADS + 1000 + 200 * (SECONDS as usize + 1) + 200;
    let asked = asked.load(Ordering::Relaxed);
    assert!(asked <= most, "{asked} requests, at most {most} were to be");
    assert!(late < Duration::from_secs(10), "all are answered soon after: {late:?}");
}
