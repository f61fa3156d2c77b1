//! Where names lead. A resolver may take long, and nothing bounds how long: what it said once is gone by until no address of it is reached any more.

use std::collections::HashMap;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::time::{Duration, Instant};

use crate::error::Result;
use crate::sync::standard::{Mutex, MutexGuard, PoisonError};

/// Who has less time than this to connect does not ask a resolver again.
const ASKS_AGAIN_WITH: Duration = Duration::from_millis(500);
/// A resolver is asked again at most so often, and the more seldom the longer it takes: callers wait for it at most a tenth of the time.
const ASKED_AGAIN_AFTER: Duration = Duration::from_secs(1);
const ASKED_AGAIN_AFTER_TIMES: u32 = 10;

/// What resolvers said.
#[derive(Default)]
pub struct Places(Mutex<HashMap<String, Known>>);

struct Known {
    /// The one that was reached last comes first.
    addresses: Vec<SocketAddr>,
    /// Whether the last attempt reached none of them.
    failed: bool,
    /// When a resolver may be asked again.
    again: Instant,
}

impl Places {
    /// The addresses of `host:port`, in the order in which they are tried. Errors: the resolver's, if it never said anything.
    pub(super) fn of(&self, place: &str, patience: Duration) -> io::Result<Vec<SocketAddr>> {
        self.by(place, patience, || place.to_socket_addrs().map(Iterator::collect))
    }

    fn by(
        &self,
        place: &str,
        patience: Duration,
        resolve: impl FnOnce() -> io::Result<Vec<SocketAddr>>,
    ) -> io::Result<Vec<SocketAddr>> {
        if let Ok(address) = place.parse() {
            return Ok(vec![address]);
        }
        let begun = Instant::now();
        if let Some(known) = self.lock().get_mut(place) {
            if !known.failed || patience < ASKS_AGAIN_WITH || begun < known.again {
                return Ok(known.addresses.clone());
            }
            // One asks, the others go on with what there is.
            known.again = begun + ASKED_AGAIN_AFTER * ASKED_AGAIN_AFTER_TIMES;
        }
        // Nobody is kept waiting by the lock.
        let resolved = resolve();
        let now = Instant::now();
        let again = now + ASKED_AGAIN_AFTER.max((now - begun) * ASKED_AGAIN_AFTER_TIMES);
        let mut all = self.lock();
        match (resolved, all.get_mut(place)) {
            (Ok(addresses), _) if !addresses.is_empty() => {
                all.insert(place.to_string(), Known { addresses: addresses.clone(), failed: false, again });
                Ok(addresses)
            }
            (_, Some(known)) => {
                known.again = again;
                Ok(known.addresses.clone())
            }
            (resolved, None) => resolved.and(Err(io::ErrorKind::NotFound.into())),
        }
    }

    /// One of a place's addresses was reached, or none.
    pub(super) fn tried(&self, place: &str, reached: Option<SocketAddr>) {
        let mut all = self.lock();
        let Some(known) = all.get_mut(place) else { return };
        known.failed = reached.is_none();
        if let Some(at) = reached.and_then(|reached| known.addresses.iter().position(|address| *address == reached)) {
            known.addresses[..=at].rotate_right(1);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Known>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Opens the first that can be opened until then, and gives its place. Each but the last has half of the time that is left: a silent one leaves time for
/// those after it. `None`: there is none, or no time. Errors: the last one's.
pub fn first_of<A, T>(
    all: &[A],
    deadline: Instant,
    mut open: impl FnMut(&A, Duration) -> Result<T>,
) -> Option<Result<(usize, T)>> {
    let mut last = None;
    for (at, one) in all.iter().enumerate() {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            break;
        }
        let share = if at + 1 == all.len() { left } else { left / 2 };
        match open(one, share) {
            Ok(opened) => return Some(Ok((at, opened))),
            Err(error) => last = Some(Err(error)),
        }
    }
    last
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{Code, refuse};

    const LONG: Duration = Duration::from_secs(2);
    const SHORT: Duration = Duration::from_millis(40);

    fn addresses(ports: &[u16]) -> Vec<SocketAddr> {
        ports.iter().map(|port| SocketAddr::from(([127, 0, 0, 1], *port))).collect()
    }

    fn silent() -> io::Result<Vec<SocketAddr>> {
        panic!("no resolver is to be asked")
    }

    #[test]
    fn a_name_is_resolved_once_as_long_as_one_of_its_addresses_is_reached() {
        let places = Places::default();
        assert!(places.by("node:1", LONG, || Err(io::ErrorKind::TimedOut.into())).is_err(), "nothing is known");
        assert_eq!(places.by("node:1", SHORT, || Ok(addresses(&[1, 2, 3]))).unwrap(), addresses(&[1, 2, 3]));
        places.tried("node:1", Some(addresses(&[3])[0]));
        assert_eq!(places.by("node:1", LONG, silent).unwrap(), addresses(&[3, 1, 2]), "the one that was reached comes first");
        assert_eq!(places.by("[::1]:7", LONG, silent).unwrap(), ["[::1]:7".parse().unwrap()], "a number is no name");
    }

    #[test]
    fn a_name_of_which_nothing_is_reached_is_resolved_anew_by_who_has_time_and_not_too_often() {
        let places = Places::default();
        places.by("node:1", LONG, || Ok(addresses(&[1]))).unwrap();
        places.tried("node:1", None);
        assert_eq!(places.by("node:1", LONG, silent).unwrap(), addresses(&[1]), "it was asked a moment ago");
        let is_time = || places.lock().get_mut("node:1").unwrap().again = Instant::now();
        is_time();
        assert_eq!(places.by("node:1", SHORT, silent).unwrap(), addresses(&[1]), "a probe does not wait for a resolver");
        let refused = places.by("node:1", LONG, || Err(io::ErrorKind::TimedOut.into()));
        assert_eq!(refused.unwrap(), addresses(&[1]), "what is known stays");
        assert_eq!(places.by("node:1", LONG, silent).unwrap(), addresses(&[1]));
        is_time();
        assert_eq!(places.by("node:1", LONG, || Ok(addresses(&[2]))).unwrap(), addresses(&[2]));
        is_time();
        assert_eq!(places.by("node:1", LONG, silent).unwrap(), addresses(&[2]), "nothing has failed since");
    }

    #[test]
    fn a_silent_one_leaves_time_for_those_after_it() {
        let deadline = Instant::now() + LONG;
        let mut shares = Vec::new();
        let opened = first_of(&[1, 2, 3, 4], deadline, |number, share| {
            shares.push(share);
            if *number == 3 { Ok(*number) } else { Err(refuse(Code::DeviceError, "silent")) }
        });
        assert_eq!(opened.unwrap().unwrap(), (2, 3));
        assert!(shares.len() == 3 && shares.iter().all(|share| *share <= LONG / 2 && *share > LONG / 4), "{shares:?}");
        let mut last = Duration::ZERO;
        let failed = first_of(&[1, 2], deadline, |_, share| -> Result<()> {
            last = share;
            Err(refuse(Code::DeviceError, "silent"))
        });
        assert!(failed.unwrap().is_err() && last > LONG / 2, "the last one has all that is left: {last:?}");
        assert!(first_of(&[1], Instant::now(), |_, _| Ok(())).is_none());
    }
}
