//! Certificates that were taken back, and those who go on with them.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use rcgen::{CertificateRevocationListParams, Issuer, KeyIdMethod, KeyPair, RevokedCertParams, SerialNumber};

use super::pki::Authority;
use super::record::Certificate;
use super::*;
use crate::error::{Code, Error, Result, Sink};
use crate::secret::Secret;

const POOL: [u8; 16] = [7; 16];
const PATIENCE: Duration = Duration::from_secs(5);

/// Says yes to everybody, after as many centiseconds as the first byte tells.
struct Yes;

impl Service for Yes {
    fn admit(&self, _: &Peer, _: Purpose) -> Result<Box<dyn Conversation>> {
        Ok(Box::new(Yes))
    }
}

impl Conversation for Yes {
    fn answer(&self, _: u8, payload: &Secret) -> Option<Secret> {
        let wait = payload.expose().first().copied().unwrap_or(0);
        std::thread::sleep(Duration::from_millis(u64::from(wait) * 10));
        Some(Secret::copy_of(b"yes"))
    }
}

/// An authority, and a node that goes by its list.
struct House {
    directory: PathBuf,
    authority: Authority,
    node: Identity,
    listener: Listener,
}

impl House {
    fn new() -> Self {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let directory = std::env::temp_dir().join(format!("hsmpool-revoked-{}-{number}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        let authority = Authority::create(&directory.join("ca"), POOL).unwrap();
        let node = issue(&authority, &directory, "node1", &Name::Node(1)).unwrap();
        let listener = listen(&node, 1);
        Self { directory, authority, node, listener }
    }

    fn join(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    fn client(&self, name: &str) -> Identity {
        issue(&self.authority, &self.directory, name, &Name::Client { name: name.to_string(), tokens: None }).unwrap()
    }

    fn open(&self, identity: &Identity) -> Result<Connection> {
        open(&self.listener, identity, Purpose::Client)
    }

    /// Whether a node lets this one in, or why not.
    fn asked(&self, identity: &Identity) -> std::result::Result<(), String> {
        self.open(identity).map_err(|error| chain(&error)).and_then(|mut connection| ask(&mut connection))
    }

    /// It is refused each time. Why does not always arrive, as the connection may be reset before.
    fn is_revoked(&self, identity: &Identity) -> bool {
        (0..100).any(|_| self.asked(identity).unwrap_err().contains("revoked"))
    }

    fn revoke(&self, file: &str) {
        let certificate = self.authority.certificate_in(&self.join(file)).unwrap();
        self.authority.revoke(&[certificate]).unwrap();
    }

    /// The node reads its files again.
    fn reload(&mut self) -> Result<()> {
        let read = Identity::of(&files(&self.directory, "node1"))?.take_over(&self.node)?;
        self.listener.set_identity(read.clone());
        self.node = read;
        Ok(())
    }
}

impl Drop for House {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.directory);
    }
}

fn files(directory: &Path, name: &str) -> Files {
    let file = |name: String| directory.join(name);
    let (certificate, key) = (file(format!("{name}.pem")), file(format!("{name}.key")));
    Files { pool: POOL, ca: file("ca/ca.pem".into()), certificate, key, crl: Some(file("ca/crl.pem".into())) }
}

fn issue(authority: &Authority, directory: &Path, file: &str, name: &Name) -> Result<Identity> {
    authority.issue(name, 30, &directory.join(file)).unwrap();
    Identity::of(&files(directory, file))
}

fn listen(node: &Identity, number: u64) -> Listener {
    let (any, hello) = ("tcp:127.0.0.1:0".parse().unwrap(), Hello::new(POOL, Purpose::Peer, number));
    Listener::bind(&any, Some(node.clone()), hello, 0o600, Arc::new(Yes)).unwrap()
}

fn open(listener: &Listener, identity: &Identity, purpose: Purpose) -> Result<Connection> {
    Connection::open(listener.address(), Some(identity), &Hello::new(POOL, purpose, 0), PATIENCE)
}

/// TLS 1.3 tells a client of a refused certificate with the first answer only.
fn ask(connection: &mut Connection) -> std::result::Result<(), String> {
    connection.call(1, &[0], PATIENCE).map(drop).map_err(|failure| chain(&failure.error))
}

fn chain(error: &Error) -> String {
    format!("{error} {error:?}").to_lowercase()
}

/// A list as an authority's own key signs it, whatever stands in it.
fn sign(authority: &Path, serials: &[Vec<u8>], number: u64, until: SystemTime) -> String {
    let read = |name: &str| fs::read_to_string(authority.join(name)).unwrap();
    let issuer = Issuer::from_ca_cert_pem(&read("ca.pem"), KeyPair::from_pem(&read("ca.key")).unwrap()).unwrap();
    let long_ago = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
    let revoked = |serial: &Vec<u8>| RevokedCertParams {
        serial_number: SerialNumber::from_slice(serial),
        revocation_time: long_ago.into(),
        reason_code: None,
        invalidity_date: None,
    };
    let params = CertificateRevocationListParams {
        this_update: long_ago.into(),
        next_update: until.into(),
        crl_number: SerialNumber::from(number),
        issuing_distribution_point: None,
        revoked_certs: serials.iter().map(revoked).collect(),
        key_identifier_method: KeyIdMethod::Sha256,
    };
    params.signed_by(&issuer).unwrap().pem().unwrap()
}

fn tomorrow() -> SystemTime {
    SystemTime::now() + Duration::from_secs(24 * 3600)
}

#[test]
fn a_client_that_is_revoked_is_refused_and_a_later_certificate_of_its_name_is_good() {
    let mut house = House::new();
    let (first, other) = (house.client("web"), house.client("mail"));
    let second = house.client("web");
    for identity in [&first, &second, &other] {
        house.asked(identity).unwrap();
    }
    let (issued, is_whole) = house.authority.issued().unwrap();
    let name = |certificate: &Certificate| certificate.name(&POOL);
    let web: Vec<Certificate> = issued.into_iter().filter(|it| name(it) == first.own_name().ok()).collect();
    assert!(is_whole && web.len() == 2, "the one that was replaced is known: {web:?}");
    assert_eq!(house.authority.revoke(&web).unwrap().added.len(), 2);
    let again = house.authority.revoke(&web).unwrap();
    assert_eq!((again.added.len(), again.number), (0, 2), "what is on it makes no new list");
    house.reload().unwrap();
    for identity in [&first, &second] {
        assert!(house.is_revoked(identity));
    }
    house.asked(&other).unwrap();
    house.asked(&house.client("web")).unwrap();
}

#[test]
fn a_module_speaks_with_no_revoked_node_and_ends_its_connections_to_it() {
    let house = House::new();
    let second = issue(&house.authority, &house.directory, "node2", &Name::Node(2)).unwrap();
    let (other, before) = (listen(&second, 2), house.client("web"));
    let mut kept = open(&other, &before, Purpose::Client).unwrap();
    let mut prompt = Prompt::new(open(&other, &before, Purpose::Client).unwrap()).unwrap();
    let mut good = house.open(&before).unwrap();
    ask(&mut kept).unwrap();
    house.revoke("node2.pem");
    // Another one that went by the list before, and was not asked to: nothing is told to it.
    let apart = before.apart();
    let mut unaware = open(&other, &apart, Purpose::Client).unwrap();
    let after = Identity::of(&files(&house.directory, "web")).unwrap().take_over(&before).unwrap();
    let told = ask(&mut kept).unwrap_err();
    assert!(told.contains("its certificate has been revoked"), "{told}");
    assert!(prompt.begin(1, &[0]).is_err());
    ask(&mut good).unwrap();
    ask(&mut unaware).unwrap();
    let told = chain(&open(&other, &after, Purpose::Client).err().unwrap());
    assert!(told.contains("revoked"), "{told}");
    house.asked(&after).unwrap();
    assert!(Identity::of(&files(&house.directory, "node2")).unwrap().is_revoked());
    assert!(!after.is_revoked());
}

#[test]
fn open_connections_of_a_revoked_certificate_end_when_the_node_takes_the_list() {
    let mut house = House::new();
    let (thief, honest) = (house.client("thief"), house.client("honest"));
    let [mut idle, mut busy, mut good] = [&thief, &thief, &honest].map(|identity| house.open(identity).unwrap());
    for connection in [&mut idle, &mut busy, &mut good] {
        ask(connection).unwrap();
    }
    house.revoke("thief.pem");
    ask(&mut idle).unwrap();
    // A request is under way while the list comes; others wait behind it in the socket.
    let soon = Instant::now() + PATIENCE;
    busy.send(1, &[30], soon).map_err(|failure| failure.error).unwrap();
    std::thread::sleep(Duration::from_millis(100));
    house.reload().unwrap();
    let begun = Instant::now();
    while house.listener.connections() > 1 && begun.elapsed() < PATIENCE {
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(house.listener.connections(), 1, "also the one that asks for nothing has ended");
    assert!(busy.receive(soon).is_err(), "what was being answered is not told");
    assert!(ask(&mut idle).is_err() && ask(&mut busy).is_err());
    ask(&mut good).unwrap();
    assert!(house.is_revoked(&thief));
}

/// A node takes a list for all its listeners, one after the other: at the last one it counts from the first moment on.
#[test]
fn a_list_counts_before_the_listener_has_it() {
    let house = House::new();
    let thief = house.client("thief");
    let mut open = house.open(&thief).unwrap();
    ask(&mut open).unwrap();
    house.revoke("thief.pem");
    let read = Identity::of(&files(&house.directory, "node1")).unwrap().take_over(&house.node).unwrap();
    let told = ask(&mut open).unwrap_err();
    assert!(told.contains("goes by has been revoked"), "{told}");
    let told = house.asked(&thief).unwrap_err();
    assert!(
        told.contains("goes by has been revoked"),
        "the handshake goes by the list before, and who is greeted does not: {told}"
    );
    assert_eq!(read.revocations(), Some(2));
}

#[test]
fn a_list_that_is_missing_damaged_or_not_the_authoritys_is_refused_and_the_old_one_stays() {
    let mut house = House::new();
    let thief = house.client("thief");
    house.revoke("thief.pem");
    house.reload().unwrap();
    let (file, good) = (house.join("ca/crl.pem"), fs::read_to_string(house.join("ca/crl.pem")).unwrap());
    let (ca, strangers) = (house.join("ca"), house.join("strangers"));
    // Of the same pool, so that its name is the same, too.
    Authority::create(&strangers, POOL).unwrap();
    Authority::create(&house.join("pool"), [9; 16]).unwrap();
    let read = |file: PathBuf| fs::read_to_string(file).unwrap();
    let middle = good.len() / 2;
    let letter = if &good[middle..=middle] == "A" { "B" } else { "A" };
    let altered = format!("{}{letter}{}", &good[..middle], &good[middle + 1..]);
    let bad = [
        (None, "no such file"),
        (Some(String::new()), "holds no list"),
        (Some("half of it".to_string()), "holds no list"),
        (Some(good[..good.len() / 2].to_string()), "reading revoked"),
        (Some(altered), "damaged"),
        (Some(read(ca.join("ca.pem"))), "holds no list"),
        (Some(read(strangers.join("crl.pem"))), "another authority"),
        (Some(read(house.join("pool/crl.pem"))), "another authority"),
        (Some(sign(&strangers, &[], 9, tomorrow())), "another authority"),
        (Some(format!("{good}{}", read(strangers.join("crl.pem")))), "another authority"),
        (Some(format!("{good}{good}")), "two lists"),
    ];
    for (text, word) in bad {
        match text {
            Some(text) => fs::write(&file, text).unwrap(),
            None => fs::remove_file(&file).unwrap(),
        }
        let error = Identity::of(&files(&house.directory, "node1")).map(drop).unwrap_err();
        assert!(error.code() == Code::Configuration && chain(&error).contains(word), "{word}: {}", chain(&error));
        assert!(error.to_string().contains("crl.pem"), "{error}");
        assert!(house.reload().is_err(), "{word}");
        assert!(house.is_revoked(&thief), "{word}: the old one stays");
    }
    // One from before takes nothing back.
    fs::write(&file, sign(&ca, &[], 1, tomorrow())).unwrap();
    let told = chain(&house.reload().unwrap_err());
    assert!(told.contains("number 1") && told.contains("number 2") && told.contains("older"), "{told}");
    assert!(house.is_revoked(&thief));
    // Nor does another one of the same number, as an older copy of the authority's directory signs it.
    fs::write(&file, sign(&ca, &[vec![9]], 2, tomorrow())).unwrap();
    let told = chain(&house.reload().unwrap_err());
    assert!(told.contains("number 2") && told.contains("another one"), "{told}");
    assert!(house.is_revoked(&thief));
    fs::write(&file, good).unwrap();
    house.reload().unwrap();
}

#[test]
fn a_list_that_nobody_has_renewed_counts_and_stops_nobody() {
    let mut house = House::new();
    let (thief, honest) = (house.client("thief"), house.client("honest"));
    let serial = house.authority.certificate_in(&house.join("thief.pem")).unwrap().serial;
    let yesterday = SystemTime::now() - Duration::from_secs(24 * 3600);
    fs::write(house.join("ca/crl.pem"), sign(&house.join("ca"), &[serial], 7, yesterday)).unwrap();
    house.reload().unwrap();
    assert_eq!(house.node.revocations(), Some(7));
    house.asked(&honest).unwrap();
    assert!(house.is_revoked(&thief));
}

#[test]
fn each_authority_that_is_trusted_needs_its_list_and_a_name_of_its_own() {
    let house = House::new();
    let (other, ca, crl) = (house.join("other"), house.join("both.pem"), house.join("both-crl.pem"));
    let both = |name: &str| {
        let read = |directory: &Path| fs::read_to_string(directory.join(name)).unwrap();
        [read(&house.join("ca")), read(&other)].concat()
    };
    let read = || Identity::of(&Files { ca: ca.clone(), crl: Some(crl.clone()), ..files(&house.directory, "node1") });
    for (pool, word) in [(POOL, "same name"), ([9; 16], "")] {
        Authority::create(&other, pool).unwrap();
        fs::write(&ca, both("ca.pem")).unwrap();
        fs::copy(house.join("ca/crl.pem"), &crl).unwrap();
        assert!(chain(&read().map(drop).unwrap_err()).contains("no list of an authority"));
        fs::write(&crl, both("crl.pem")).unwrap();
        match read() {
            Ok(read) => assert!(word.is_empty() && read.check_good(read.begins() + 1).is_ok()),
            Err(error) => assert!(!word.is_empty() && chain(&error).contains(word), "{}", chain(&error)),
        }
        fs::remove_dir_all(&other).unwrap();
    }
}

#[test]
fn an_application_takes_a_new_list_and_keeps_the_old_one_when_the_new_one_is_bad() {
    let house = House::new();
    let second = issue(&house.authority, &house.directory, "node2", &Name::Node(2)).unwrap();
    let other = listen(&second, 2);
    house.client("web");
    let told: Arc<Mutex<Vec<String>>> = Arc::default();
    let sink = told.clone();
    let log: Sink = Box::new(move |level, line| sink.lock().unwrap().push(format!("{level:?}: {line}")));
    let renewal = Renewal::begin(files(&house.directory, "web"), log).unwrap();
    let mut kept = open(&other, &renewal.now(), Purpose::Client).unwrap();
    ask(&mut kept).unwrap();
    let taken = || std::mem::take(&mut *told.lock().unwrap());
    house.revoke("node2.pem");
    let opened = open(&other, &renewal.now(), Purpose::Client).map(drop);
    assert!(chain(&opened.unwrap_err()).contains("revoked"));
    assert!(ask(&mut kept).unwrap_err().contains("revoked"));
    let lines = taken();
    assert!(lines.len() == 1 && lines[0].contains("Info") && lines[0].contains("number 2"), "{lines:?}");
    // Gone, then one of before: said once each, and the node stays shut out.
    let (file, good) = (house.join("ca/crl.pem"), fs::read(house.join("ca/crl.pem")).unwrap());
    fs::remove_file(&file).unwrap();
    for _ in 0..2 {
        assert!(open(&other, &renewal.now(), Purpose::Client).is_err());
    }
    fs::write(&file, sign(&house.join("ca"), &[], 1, tomorrow())).unwrap();
    assert!(open(&other, &renewal.now(), Purpose::Client).is_err());
    let lines = taken();
    assert!(lines.len() == 2 && lines.iter().all(|line| line.contains("Warning")), "{lines:?}");
    assert!(lines[0].contains("crl.pem") && lines[1].contains("older"), "{lines:?}");
    // One that revokes the application's own certificate, too, counts nevertheless.
    fs::write(&file, good).unwrap();
    house.revoke("web.pem");
    assert_eq!(renewal.now().revocations(), Some(3));
    let lines = taken();
    assert!(lines.iter().any(|line| line.contains("has been revoked") && line.contains("cert rotate --client web")), "{lines:?}");
    house.client("web");
    assert!(!renewal.now().is_revoked());
    house.asked(&renewal.now()).unwrap();
}

#[test]
fn what_has_ended_leaves_the_list_in_time_and_what_earlier_versions_issued_is_told_apart() {
    let house = House::new();
    house.client("old");
    house.client("new");
    house.revoke("old.pem");
    let (record, ended) = (house.join("ca/issued"), house.authority.certificate_in(&house.join("old.pem")).unwrap());
    let text = fs::read_to_string(&record).unwrap();
    let long_ago = ended.begins - 8 * 24 * 3600;
    fs::write(&record, text.replace(&format!("{} {} ", ended.begins, ended.ends), &format!("{long_ago} {long_ago} "))).unwrap();
    let serials = || {
        let listed = fs::read(house.join("ca/crl.pem")).unwrap();
        let list =
            <rustls::pki_types::CertificateRevocationListDer<'_> as rustls::pki_types::pem::PemObject>::from_pem_slice(&listed);
        let list = list.unwrap();
        let parsed = super::revoked::parsed_list(&list).unwrap();
        parsed.iter_revoked_certificates().map(|it| it.raw_serial().to_vec()).collect::<Vec<_>>()
    };
    assert_eq!(serials(), [ended.serial]);
    house.revoke("new.pem");
    assert_eq!(serials(), [house.authority.certificate_in(&house.join("new.pem")).unwrap().serial]);
    fs::write(&record, "no line of it\n").unwrap();
    let told = house.authority.issued().unwrap_err().to_string();
    assert!(told.contains("issued: line 1"), "{told}");
    // As an earlier version left it.
    fs::remove_file(&record).unwrap();
    fs::remove_file(house.join("ca/crl.pem")).unwrap();
    assert_eq!(house.authority.issued().unwrap(), (Vec::new(), false));
    house.revoke("new.pem");
    house.client("newer");
    let (issued, is_whole) = house.authority.issued().unwrap();
    let names: Vec<String> = issued.iter().map(|it| it.uri.rsplit('/').next().unwrap().to_string()).collect();
    assert_eq!((names, is_whole), (vec!["new".to_string(), "newer".to_string()], false));
}
