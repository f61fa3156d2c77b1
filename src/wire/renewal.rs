//! A module's own certificate, read again when its files have changed: applications live longer than certificates.
//!
//! Nothing runs beside the application's calls: one of them looks when it makes a connection, and the others go on with what is there meanwhile.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use time::OffsetDateTime;

use super::identity::{Files, Identity, Name, wall_seconds};
use crate::error::{Code, Doing, Level, Result, Sink, refuse};
use crate::limits::{CERTIFICATE_WARNED_BEFORE_DAYS, CERTIFICATE_WARNED_EVERY_SECONDS, FILES_READ_AGAIN_SECONDS};
use crate::sync::standard::{Mutex, MutexGuard, PoisonError};
use crate::sys::files::{self, Stamp};
use crate::sys::process::PerProcess;

/// Of all files of an identity.
type Stamps = [Option<Stamp>; 4];

/// An identity that follows its files.
pub struct Renewal {
    files: Files,
    log: Sink,
    clock: Box<dyn Fn() -> i64 + Send + Sync>,
    /// Where a forked child begins. Its lock is never waited for: a thread that a fork left behind may have it for ever.
    newest: Arc<Mutex<(Identity, Stamps)>>,
    state: PerProcess<State>,
}

/// What one process has.
struct State {
    used: Mutex<Identity>,
    look: Mutex<Look>,
    /// When it is time to look or to warn though no connection is made, in seconds since 1970.
    due: AtomicI64,
}

/// What was seen of the files last. Who holds it looks.
struct Look {
    stamps: Stamps,
    /// Since when they cannot be used.
    refused: Option<i64>,
    /// Of which files that was said: it is said once.
    told: Option<Stamps>,
    warned: Option<i64>,
}

fn stamps(files: &Files) -> Stamps {
    let all = [Some(&files.ca), Some(&files.certificate), Some(&files.key), files.crl.as_ref()];
    all.map(|file| file.and_then(|file| files::stamp(file)))
}

impl Renewal {
    /// Reads the files for the first time. Errors: `Configuration`, naming the file.
    pub fn begin(files: Files, log: Sink) -> Result<Self> {
        Self::by_clock(files, log, Box::new(wall_seconds))
    }

    fn by_clock(files: Files, log: Sink, clock: Box<dyn Fn() -> i64 + Send + Sync>) -> Result<Self> {
        // Before they are read: what is written meanwhile is noticed at the next look.
        let stamps = stamps(&files);
        let first = (Identity::of(&files)?, stamps);
        let newest = Arc::new(Mutex::new(first.clone()));
        let at_hand = newest.clone();
        let state = PerProcess::new(move || {
            let (identity, stamps) = at_hand.try_lock().map_or_else(|_| first.clone(), |newest| newest.clone());
            // What a thread of the parent was about to tell its connections at the fork would never be through here.
            let identity = identity.apart();
            State {
                due: AtomicI64::new(worrying_from(&identity)),
                used: Mutex::new(identity),
                look: Mutex::new(Look { stamps, refused: None, told: None, warned: None }),
            }
        });
        Ok(Self { files, log, clock, newest, state })
    }

    /// What a new connection shows.
    pub fn now(&self) -> Identity {
        let (state, now) = (self.state.get(), (self.clock)());
        let used = lock(&state.used).clone();
        // Nothing comes of one that has ended: then whoever looks at the files is waited for.
        let look = match used.expires() <= now {
            true => Some(lock(&state.look)),
            false => state.look.try_lock().ok(),
        };
        if let Some(mut look) = look {
            self.look(state, &mut look, now);
        }
        lock(&state.used).clone()
    }

    /// Warns in time of a certificate that ends, also where connections are used for so long that none is made.
    pub fn glance(&self) {
        let (state, now) = (self.state.get(), (self.clock)());
        if now >= state.due.load(Ordering::Relaxed)
            && let Ok(mut look) = state.look.try_lock()
        {
            self.look(state, &mut look, now);
        }
    }

    fn look(&self, state: &State, look: &mut Look, now: i64) {
        let stamps = stamps(&self.files);
        let is_due = look.refused.is_some_and(|since| now >= since + FILES_READ_AGAIN_SECONDS);
        if stamps != look.stamps || is_due {
            look.stamps = stamps;
            self.renew(state, look, now);
        }
        self.warn(state, look, now);
    }

    /// Takes what the files hold now in place of what is used, if it is good for that.
    fn renew(&self, state: &State, look: &mut Look, now: i64) {
        let old = lock(&state.used).clone();
        let new = Identity::of(&self.files).and_then(|new| check(&old, &new, now).and_then(|()| new.take_over(&old)));
        let file = self.files.certificate.display();
        match new {
            Ok(new) => {
                self.tell_of(&old, &new);
                (look.refused, look.told, look.warned) = (None, None, None);
                if let Ok(mut newest) = self.newest.try_lock() {
                    *newest = (new.clone(), look.stamps);
                }
                *lock(&state.used) = new;
            }
            Err(error) => {
                look.refused = Some(now);
                if look.told.replace(look.stamps) != Some(look.stamps) {
                    let told = format!(
                        "{file}, its key, the authority's certificate or its list of revoked ones was changed and cannot be used, so the old one is used on, until {}: {error}",
                        day(old.expires())
                    );
                    (self.log)(Level::Warning, &told);
                }
            }
        }
    }

    /// Says what is used from now on.
    fn tell_of(&self, old: &Identity, new: &Identity) {
        let file = self.files.certificate.display();
        if !new.shows_the_same_as(old) {
            let told = format!("{file} was renewed and is used from now on: it ends on {}", day(new.expires()));
            (self.log)(Level::Info, &told);
        }
        if let Some(number) = new.revocations().filter(|number| old.revocations() != Some(*number)) {
            let told = format!("the list of revoked certificates was read again: number {number} is used from now on");
            (self.log)(Level::Info, &told);
        }
        if new.is_revoked() {
            (self.log)(Level::Warning, &format!("{file} has been revoked, and nodes refuse it: {}", way_out(new)));
        }
    }

    /// Says that the certificate in use ends soon, or has ended, and when to look again.
    fn warn(&self, state: &State, look: &mut Look, now: i64) {
        let used = lock(&state.used).clone();
        let worrying = worrying_from(&used);
        if now < worrying {
            state.due.store(worrying, Ordering::Relaxed);
            return;
        }
        if look.warned.is_none_or(|last| now >= last + CERTIFICATE_WARNED_EVERY_SECONDS) {
            look.warned = Some(now);
            let word = if now < used.expires() { "ends" } else { "has ended" };
            let told = format!(
                "{} {word} on {}, and no newer one is there: {}",
                self.files.certificate.display(),
                day(used.expires()),
                way_out(&used)
            );
            (self.log)(Level::Warning, &told);
        }
        let next = look.warned.map_or(now, |last| last + CERTIFICATE_WARNED_EVERY_SECONDS);
        state.due.store(next, Ordering::Relaxed);
    }
}

/// From when on an identity's end is warned of, in seconds since 1970: one that was made for a short time is not warned of all its life.
fn worrying_from(identity: &Identity) -> i64 {
    let third = (identity.expires() - identity.begins()) / 3;
    identity.expires() - third.min(CERTIFICATE_WARNED_BEFORE_DAYS * 24 * 3600)
}

/// Whether one may take the other's place. Errors: `Configuration`.
fn check(old: &Identity, new: &Identity, now: i64) -> Result<()> {
    // Of one that is used already a newer list is taken all the same: what it revokes besides counts.
    if !(new.is_revoked() && new.shows_the_same_as(old)) {
        new.check_good(now)?;
    }
    let name = new.own_name().doing(Code::Configuration, "reading whose certificate it is")?;
    // Logins and operations under way go by the name; the tokens may be others.
    let is_same = match (old.own_name(), &name) {
        (Ok(Name::Client { name: old, .. }), Name::Client { name, .. }) => old == *name,
        (Ok(old), new) => old == *new,
        (Err(_), _) => true,
    };
    match is_same {
        true => Ok(()),
        false => Err(refuse(
            Code::Configuration,
            format!(
                "it is {}, another one's, which is taken at the next start of the application (C_Initialize) only",
                name.uri(&new.pool)
            ),
        )),
    }
}

fn way_out(identity: &Identity) -> String {
    let command = match identity.own_name() {
        Ok(Name::Client { name, .. }) => format!("hsmpool cert rotate --client {name}"),
        Ok(Name::Operator(name)) => format!("hsmpool cert rotate --operator {name}"),
        Ok(Name::Node(number)) => format!("hsmpool cert rotate --node {number}"),
        Err(_) => "hsmpool cert issue".to_string(),
    };
    format!("`{command}` makes one, which is read as soon as it and its key are in their place")
}

fn day(seconds: i64) -> String {
    OffsetDateTime::from_unix_timestamp(seconds).map_or_else(|_| seconds.to_string(), |time| time.date().to_string())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::PathBuf;
    use std::time::Duration;

    use super::super::pki::Authority;
    use super::super::{Connection, Conversation, Hello, Listener, Peer, Purpose, Service};
    use super::*;
    use crate::secret::Secret;

    const POOL: [u8; 16] = [7; 16];
    const PATIENCE: Duration = Duration::from_secs(5);
    const DAY: i64 = 24 * 3600;

    /// Tells each client who it is.
    struct Mirror(String);

    impl Service for Mirror {
        fn admit(&self, peer: &Peer, _: Purpose) -> Result<Box<dyn Conversation>> {
            Ok(Box::new(Mirror(format!("{peer:?}"))))
        }
    }

    impl Conversation for Mirror {
        fn answer(&self, _: u8, _: &Secret) -> Option<Secret> {
            Some(Secret::copy_of(self.0.as_bytes()))
        }
    }

    /// A pool's authority, a node that wants a certificate, and an application with one.
    struct House {
        directory: PathBuf,
        authority: Authority,
        node: Listener,
        ahead: Arc<AtomicI64>,
        told: Arc<Mutex<Vec<String>>>,
    }

    impl House {
        fn new() -> Self {
            static NUMBER: AtomicI64 = AtomicI64::new(0);
            let number = NUMBER.fetch_add(1, Ordering::Relaxed);
            let directory = std::env::temp_dir().join(format!("hsmpool-renewal-{}-{number}", std::process::id()));
            fs::create_dir_all(&directory).unwrap();
            let authority = Authority::create(&directory.join("ca"), POOL).unwrap();
            let issued = authority.issue(&Name::Node(1), 30, &directory.join("node")).unwrap();
            let shown = Identity::read(POOL, &issued.ca, &issued.certificate, &issued.key).unwrap();
            let (address, hello) = ("tcp:127.0.0.1:0".parse().unwrap(), Hello::new(POOL, Purpose::Peer, 1));
            let node = Listener::bind(&address, Some(shown), hello, 0o600, Arc::new(Mirror(String::new()))).unwrap();
            Self { directory, authority, node, ahead: Arc::default(), told: Arc::default() }
        }

        /// A certificate of the application, held to a token so that the node tells one from the other, as operators put it there.
        fn issue(&self, name: &str, token: &str, time: Duration) {
            let name = Name::Client { name: name.to_string(), tokens: Some(vec![token.to_string()]) };
            self.authority.issue_for(&name, time, &self.directory.join("web")).unwrap();
        }

        fn begin(&self) -> Renewal {
            let (ahead, told) = (self.ahead.clone(), self.told.clone());
            let (ca, certificate, key) = (self.directory.join("ca/ca.pem"), self.join("web.pem"), self.join("web.key"));
            let clock = Box::new(move || wall_seconds() + ahead.load(Ordering::Relaxed));
            let log: Sink = Box::new(move |level, line| lock(&told).push(format!("{level:?}: {line}")));
            Renewal::by_clock(Files { pool: POOL, ca, certificate, key, crl: None }, log, clock).unwrap()
        }

        fn join(&self, name: &str) -> PathBuf {
            self.directory.join(name)
        }

        fn open(&self, renewal: &Renewal) -> Result<Connection> {
            let hello = Hello::new(POOL, Purpose::Client, 0);
            Connection::open(self.node.address(), Some(&renewal.now()), &hello, PATIENCE)
        }

        /// As whom the node knows a new connection. TLS 1.3 tells of a refused certificate with the first answer only.
        fn seen(&self, renewal: &Renewal) -> std::result::Result<String, String> {
            self.open(renewal).map_err(|error| error.to_string()).and_then(|mut connection| asked(&mut connection))
        }

        fn told(&self) -> Vec<String> {
            std::mem::take(&mut *lock(&self.told))
        }
    }

    impl Drop for House {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.directory);
        }
    }

    fn asked(connection: &mut Connection) -> std::result::Result<String, String> {
        let answer = connection.call(1, b"", PATIENCE).map_err(|failure| failure.error.to_string())?;
        Ok(String::from_utf8_lossy(answer.expose()).into_owned())
    }

    #[test]
    fn an_application_outlives_its_certificate_once_a_new_one_lies_there() {
        let house = House::new();
        house.issue("web", "old", Duration::from_secs(5));
        let renewal = house.begin();
        let mut kept = house.open(&renewal).unwrap();
        assert!(asked(&mut kept).unwrap().contains("old"));
        assert!(house.seen(&renewal).unwrap().contains("old"));
        house.issue("web", "new", Duration::from_secs(3600));
        assert!(asked(&mut kept).unwrap().contains("old"), "an open connection goes on");
        assert!(house.seen(&renewal).unwrap().contains("new"));
        std::thread::sleep(Duration::from_millis(6100));
        assert!(asked(&mut kept).is_err(), "until its certificate ends");
        assert!(house.seen(&renewal).unwrap().contains("new"));
        let told = house.told();
        assert!(told.iter().any(|line| line.starts_with("Info") && line.contains("web.pem was renewed")), "{told:?}");
    }

    #[test]
    fn one_that_has_ended_is_replaced_by_what_lies_there_when_it_is_needed() {
        let house = House::new();
        house.issue("web", "old", Duration::from_secs(1));
        let renewal = house.begin();
        std::thread::sleep(Duration::from_millis(2100));
        assert!(house.seen(&renewal).is_err());
        house.issue("web", "new", Duration::from_secs(3600));
        assert!(house.seen(&renewal).unwrap().contains("new"));
    }

    #[test]
    fn files_that_cannot_be_used_leave_the_old_certificate_and_are_told_of_once() {
        let house = House::new();
        house.issue("web", "old", Duration::from_secs(3600));
        let renewal = house.begin();
        let other = Authority::create(&house.join("other"), POOL).unwrap();
        let foreign = Name::Client { name: "web".to_string(), tokens: None };
        let spoil: [(&str, &dyn Fn()); 6] = [
            ("no such file", &|| fs::remove_file(house.join("web.pem")).unwrap()),
            ("holds no certificate", &|| fs::write(house.join("web.pem"), "half of it").unwrap()),
            // The other one's key: the certificate has not come yet.
            ("preparing tls", &|| {
                house.issue("web", "next", Duration::from_secs(3600));
                fs::copy(house.join("node.key"), house.join("web.key")).map(|_| ()).unwrap();
            }),
            ("badsignature", &|| drop(other.issue(&foreign, 30, &house.join("web")).unwrap())),
            ("client/mail", &|| house.issue("mail", "next", Duration::from_secs(3600))),
            ("expired", &|| {
                house.issue("web", "next", Duration::from_secs(1));
                std::thread::sleep(Duration::from_millis(2100));
            }),
        ];
        for (word, spoil) in spoil {
            spoil();
            for _ in 0..3 {
                assert!(house.seen(&renewal).unwrap().contains("old"), "{word}");
                house.ahead.fetch_add(FILES_READ_AGAIN_SECONDS, Ordering::Relaxed);
            }
            let told = house.told();
            assert_eq!(told.len(), 1, "{word}: {told:?}");
            assert!(told[0].starts_with("Warning") && told[0].to_lowercase().contains(word), "{word}: {told:?}");
        }
        house.issue("web", "new", Duration::from_secs(3600));
        assert!(house.seen(&renewal).unwrap().contains("new"));
    }

    #[test]
    fn the_end_is_warned_of_once_a_day_with_file_and_date_until_a_newer_one_is_there() {
        let house = House::new();
        let days = |days: i64| Duration::from_secs((days * DAY).unsigned_abs());
        house.issue("web", "old", days(100));
        let renewal = house.begin();
        let ends = day(renewal.now().expires());
        let pass = |seconds: i64| {
            house.ahead.fetch_add(seconds, Ordering::Relaxed);
            renewal.glance();
            house.told()
        };
        assert_eq!(pass(69 * DAY), [""; 0]);
        let told = pass(DAY + 60);
        assert!(told.len() == 1 && told[0].contains("web.pem ends on") && told[0].contains(&ends), "{told:?}");
        assert!(told[0].contains("cert rotate --client web"), "{told:?}");
        assert_eq!(pass(DAY / 2), [""; 0]);
        renewal.now();
        assert_eq!(house.told(), [""; 0], "nor for a connection");
        assert_eq!(pass(DAY / 2 + 60).len(), 1);
        let told = pass(30 * DAY);
        assert!(told.len() == 1 && told[0].contains("has ended on"), "{told:?}");
        house.issue("web", "new", days(400));
        let told = pass(DAY);
        assert!(told.len() == 1 && told[0].starts_with("Info"), "it is found without a connection: {told:?}");
        assert_eq!(pass(DAY), [""; 0]);
    }
}
