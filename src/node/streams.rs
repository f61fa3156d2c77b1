//! Operations in parts whose state is here. The client can send all parts again, to another partition, so losing one costs a replay.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use crate::error::{Code, Result, refuse};
use crate::limits::{STREAMS_MAX, STREAMS_PER_CLIENT_MAX, STREAMS_PER_NAME_MAX};
use crate::mechanism::{Cipher, Signer, Verifier};
use crate::token::{LoginId, Scope, TokenId};

/// Names a stream: the application and its random number.
pub type StreamId = (Scope, [u8; 16]);

/// The state of one operation.
pub enum Running {
    /// `C_SignUpdate`, `C_SignFinal`.
    Sign(Box<dyn Signer>),
    /// `C_VerifyUpdate`, `C_VerifyFinal`.
    Verify(Box<dyn Verifier>),
    /// Encryption and decryption.
    Cipher(Box<dyn Cipher>),
}

/// What a stream is of: a part that says otherwise goes on with nothing. The key is looked at for each part, and must be the one whose operation runs.
#[derive(Clone, PartialEq, Eq)]
pub struct Bond {
    /// The name that the connection has proven.
    pub client: Arc<str>,
    /// The key's.
    pub token: TokenId,
    /// Who may use the key.
    pub login: Option<LoginId>,
    /// A hash over the use: verb, mechanism, key.
    pub what: [u8; 32],
}

struct Kept {
    running: Running,
    /// Parts taken so far.
    taken: u64,
    last: Duration,
    bond: Bond,
}

/// Every running stream.
#[derive(Default)]
pub struct Streams(Mutex<All>);

#[derive(Default)]
struct All {
    kept: HashMap<StreamId, Kept>,
    of_scope: HashMap<Scope, usize>,
    of_client: HashMap<Arc<str>, usize>,
}

impl All {
    fn remove(&mut self, id: StreamId) -> Option<Kept> {
        let kept = self.kept.remove(&id)?;
        less(&mut self.of_scope, &id.0);
        less(&mut self.of_client, &kept.bond.client);
        Some(kept)
    }

    fn insert(&mut self, id: StreamId, kept: Kept) {
        self.remove(id);
        *self.of_scope.entry(id.0).or_default() += 1;
        *self.of_client.entry(kept.bond.client.clone()).or_default() += 1;
        self.kept.insert(id, kept);
    }

    fn remove_those(&mut self, is_one: impl Fn(&StreamId, &Kept) -> bool) {
        let those: Vec<StreamId> = self.kept.iter().filter(|(id, kept)| is_one(id, kept)).map(|(id, _)| *id).collect();
        for id in those {
            self.remove(id);
        }
    }
}

fn less<K: Eq + Hash>(counts: &mut HashMap<K, usize>, key: &K) {
    if let Some(count) = counts.get_mut(key) {
        *count -= 1;
        if *count == 0 {
            counts.remove(key);
        }
    }
}

impl Streams {
    /// Takes a stream out, if it stands after so many parts: a call in progress holds it alone. Whoever names one of another bond leaves it alone.
    pub fn take(&self, id: StreamId, after: u64, bond: &Bond) -> Option<Running> {
        let mut all = self.0.lock();
        all.kept.get(&id).filter(|kept| kept.bond == *bond)?;
        let kept = all.remove(id)?;
        (kept.taken == after).then_some(kept.running)
    }

    /// Puts it back.
    ///
    /// Errors: `TokenResourceExceeded` when the application, or its name, runs too many; `DeviceError` when all together do: another node may have room.
    pub fn keep(&self, id: StreamId, bond: Bond, running: Running, taken: u64, now: Duration) -> Result<()> {
        let client = &bond.client;
        let mut all = self.0.lock();
        let own = all.of_scope.get(&id.0).copied().unwrap_or(0);
        let of_name = all.of_client.get(client).copied().unwrap_or(0);
        if own >= STREAMS_PER_CLIENT_MAX || of_name >= STREAMS_PER_NAME_MAX {
            let told = format!(
                "{own} operations in parts of this application, {of_name} of {client}, run at this node: finish some first"
            );
            return Err(refuse(Code::TokenResourceExceeded, told));
        }
        if all.kept.len() >= STREAMS_MAX {
            return Err(refuse(
                Code::DeviceError,
                format!("this node runs {STREAMS_MAX} operations in parts, and takes no more"),
            ));
        }
        all.insert(id, Kept { running, taken, last: now, bond });
        Ok(())
    }

    /// Gives a stream of this client up.
    pub fn drop_one(&self, id: StreamId, client: &str) {
        self.0.lock().remove_those(|other, kept| *other == id && *kept.bond.client == *client);
    }

    /// Gives all streams of an application of this client up.
    pub fn drop_of(&self, scope: Scope, client: &str) {
        self.0.lock().remove_those(|(owner, _), kept| *owner == scope && *kept.bond.client == *client);
    }

    /// Gives those of one of its logins up, if it is one.
    pub fn drop_of_login(&self, scope: Scope, client: &str, login: Option<LoginId>) {
        let is_of = |bond: &Bond| *bond.client == *client && bond.login.is_some() && bond.login == login;
        let is_one = |owner: Scope, bond: &Bond| owner == scope && is_of(bond);
        self.0.lock().remove_those(|(owner, _), kept| is_one(*owner, &kept.bond));
    }

    /// Gives streams up that nobody has touched for so long.
    pub fn drop_idle(&self, now: Duration, idle: Duration) {
        self.0.lock().remove_those(|_, kept| now.saturating_sub(kept.last) >= idle);
    }

    /// How many run.
    pub fn len(&self) -> usize {
        self.0.lock().kept.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Nothing;

    impl Signer for Nothing {
        fn signature_len(&self) -> usize {
            0
        }

        fn update(&mut self, _: &[u8]) -> Result<()> {
            Ok(())
        }

        fn finish(self: Box<Self>, _: &mut [u8]) -> Result<usize> {
            Ok(0)
        }

        fn single(self: Box<Self>, _: &[u8], _: &mut [u8]) -> Result<usize> {
            Ok(0)
        }
    }

    /// The number of a stream of an application of that number.
    fn id(application: usize, stream: usize) -> StreamId {
        let wide = |number: usize| (number as u128).to_be_bytes();
        (Scope(wide(application)), wide(stream))
    }

    fn bond(client: &str) -> Bond {
        Bond { client: Arc::from(client), token: TokenId([1; 16]), login: Some(LoginId([2; 16])), what: [3; 32] }
    }

    fn keep(streams: &Streams, id: StreamId, client: &str) -> Option<Code> {
        let running = Running::Sign(Box::new(Nothing));
        streams.keep(id, bond(client), running, 1, Duration::ZERO).err().map(|error| error.code())
    }

    #[test]
    fn a_stream_goes_on_for_its_client_token_login_and_use_alone() {
        let streams = Streams::default();
        let (one, of_one) = (id(1, 1), || bond("one"));
        let others = [
            bond("two"),
            Bond { token: TokenId([9; 16]), ..of_one() },
            Bond { login: None, ..of_one() },
            Bond { login: Some(LoginId([9; 16])), ..of_one() },
            Bond { what: [9; 32], ..of_one() },
        ];
        assert_eq!(keep(&streams, one, "one"), None);
        for other in &others {
            assert!(streams.take(one, 1, other).is_none());
        }
        streams.drop_one(one, "two");
        streams.drop_of(one.0, "two");
        streams.drop_of_login(one.0, "two", Some(LoginId([2; 16])));
        streams.drop_of_login(one.0, "one", Some(LoginId([9; 16])));
        assert!(streams.take(one, 1, &of_one()).is_some(), "it was left alone");
        assert!(streams.take(one, 1, &of_one()).is_none(), "a call in progress holds it");
        assert_eq!(keep(&streams, one, "one"), None);
        streams.drop_of_login(one.0, "one", Some(LoginId([2; 16])));
        assert_eq!(streams.len(), 0);
    }

    #[test]
    fn neither_an_application_nor_its_name_has_more_than_its_part() {
        let streams = Streams::default();
        for stream in 0..STREAMS_PER_CLIENT_MAX {
            assert_eq!(keep(&streams, id(0, stream), "one"), None);
        }
        assert_eq!(keep(&streams, id(0, STREAMS_PER_CLIENT_MAX), "one"), Some(Code::TokenResourceExceeded));
        // One that calls itself another application each time.
        for stream in STREAMS_PER_CLIENT_MAX..STREAMS_PER_NAME_MAX {
            assert_eq!(keep(&streams, id(stream, stream), "one"), None);
        }
        let next = STREAMS_PER_NAME_MAX;
        assert_eq!(keep(&streams, id(next, next), "one"), Some(Code::TokenResourceExceeded));
        assert_eq!(keep(&streams, id(next, next), "two"), None);
        // Whatever ends makes room: by itself, with its application, by time.
        assert!(streams.take(id(0, 0), 1, &bond("one")).is_some());
        assert_eq!(keep(&streams, id(0, 0), "one"), None);
        streams.drop_of(id(0, 0).0, "one");
        assert_eq!(streams.len(), STREAMS_PER_NAME_MAX + 1 - STREAMS_PER_CLIENT_MAX);
        assert_eq!(keep(&streams, id(0, 0), "one"), None);
        assert_eq!(keep(&streams, id(0, 0), "one"), None, "the same again is no second one");
        streams.drop_one(id(0, 0), "one");
        streams.drop_idle(Duration::from_secs(5), Duration::from_secs(5));
        let all = streams.0.lock();
        assert!(all.kept.is_empty() && all.of_scope.is_empty() && all.of_client.is_empty());
    }

    #[test]
    fn a_node_that_is_full_sends_elsewhere() {
        let streams = Streams::default();
        for stream in 0..STREAMS_MAX {
            assert_eq!(keep(&streams, id(stream, stream), &(stream % 5).to_string()), None);
        }
        assert_eq!(keep(&streams, id(STREAMS_MAX, 0), "last"), Some(Code::DeviceError));
    }
}
