//! A pool and those who come to it: strangers are turned away, nothing can be read on the way, forks and other applications harm nobody.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use cryptoki_sys::*;
use hsmpool::wire::pki::{Authority, Issued};
use hsmpool::wire::{Connection, Hello, Identity, Name, Purpose};

use crate::abi::{Loaded, Mechanism, Session, Template};
use crate::harness::{Jobs, LABEL, PIN, child, loaded_module, wait_until};
use crate::pool::LocalPool;
use crate::processes::{key_pair, use_pair};

pub const JOBS: Jobs = &[
    ("work through a tapped wire", work_through_a_tapped_wire),
    ("fork over a pool", fork_over_a_pool),
    ("work in a zone", work_in_a_zone),
    ("sign and measure", sign_and_measure),
];

pub const PATIENCE: Duration = Duration::from_secs(20);

/// The pool's id, and the place where its first node listens for clients over TCP.
pub fn facts(pool: &LocalPool) -> ([u8; 16], String) {
    let file: toml::Value =
        toml::from_str(&std::fs::read_to_string(pool.directory().join("pool.toml")).expect("it is there")).expect("TOML");
    let id = file["pool"].as_str().expect("an id");
    let id = std::array::from_fn(|at| u8::from_str_radix(&id[2 * at..2 * at + 2], 16).expect("hexadecimal"));
    let addresses = file["node"][0]["addresses"].as_array().expect("addresses").iter().filter_map(|it| it.as_str());
    let tcp = addresses.filter_map(|address| address.strip_prefix("tcp:")).next().expect("a node of a local pool listens on TCP");
    (id, tcp.to_string())
}

fn identity(pool: [u8; 16], ca: &Path, issued: &Issued) -> Identity {
    Identity::read(pool, ca, &issued.certificate, &issued.key).expect("the files are well-formed")
}

/// What comes of opening a connection and sending one request; TLS 1.3 tells of a refused certificate with the first answer only.
pub fn refusal(place: &str, identity: &Identity, pool: [u8; 16], purpose: Purpose, request: &[u8]) -> String {
    let address = format!("tcp:{place}").parse().expect("an address");
    let kind = if let Purpose::Peer = purpose { 2 } else { 1 };
    let opened = Connection::open(&address, Some(identity), &Hello::new(pool, purpose, 0), PATIENCE);
    let answer = opened.and_then(|mut connection| connection.call(kind, request, PATIENCE).map_err(|failure| failure.error));
    match answer {
        Ok(answer) => String::from_utf8_lossy(answer.expose()).into_owned(),
        Err(error) => format!("{error} {error:?}"),
    }
}

#[test]
fn strangers_are_turned_away_and_nodes_that_are_no_members_get_nothing_done() {
    let pool = LocalPool::create("");
    pool.make_token();
    let (id, place) = facts(&pool);
    let ca = pool.directory().join("ca/ca.pem");
    let scratch = pool.token().file("scratch");
    std::fs::create_dir_all(&scratch).expect("the test directory is writable");
    let authority = Authority::open(&pool.directory().join("ca"), id).expect("the pool's own");
    let client = |name: &str| Name::Client { name: name.to_string(), tokens: None };
    let issue =
        |from: &Authority, name: &Name, days: u64, file: &str| from.issue(name, days, &scratch.join(file)).expect("it is issued");
    let asked =
        |issued: &Issued, pool: [u8; 16], purpose: Purpose| refusal(&place, &identity(id, &ca, issued), pool, purpose, &[0xff]);

    let good = issue(&authority, &client("good"), 1, "good");
    // Bytes that are no request are answered, in words: the client is let in.
    assert!(asked(&good, id, Purpose::Client).contains("node 1, of version"), "{}", asked(&good, id, Purpose::Client));
    assert!(asked(&good, [9; 16], Purpose::Client).contains("another pool"));
    assert!(asked(&good, id, Purpose::Peer).contains("is no node"));
    assert!(asked(&good, id, Purpose::Operator).contains("is no operator"));

    let expired = issue(&authority, &client("expired"), 0, "expired");
    let alert = |told: &str, what: &str| assert!(told.contains("no answer") || told.contains("refuses"), "{what}: {told}");
    wait_until("the certificate has expired", || asked(&expired, id, Purpose::Client).to_lowercase().contains("expired"));
    let strangers = Authority::create(&scratch.join("strangers"), id).expect("another authority");
    alert(&asked(&issue(&strangers, &client("good"), 1, "stranger"), id, Purpose::Client), "another authority");
    let beside = Authority::open(&pool.directory().join("ca"), [8; 16]).expect("the same authority, of another pool");
    let told = asked(&issue(&beside, &client("good"), 1, "beside"), id, Purpose::Client);
    assert!(told.contains("another pool"), "{told}");
    // Without any certificate, seen by somebody else's TLS.
    let without =
        pool.token().run("openssl").args(["s_client", "-tls1_3", "-ign_eof", "-connect", &place]).arg("-CAfile").arg(&ca);
    without.input("hello\n").end().says("certificate required");

    // A node that the authority has certified, and nobody has made a member: group, from, to, and what it wants (the read index).
    let ninth = issue(&authority, &Name::Node(9), 1, "ninth");
    let envelope = |from: u8| [&[0x84, 0x50][..], &[0; 16], &[from, 1, 0x82, 5, 0x80]].concat();
    let peer = |from: u8| refusal(&place_of_peers(&pool), &identity(id, &ca, &ninth), id, Purpose::Peer, &envelope(from));
    assert!(peer(2).contains("came from node 9"), "under another's number: {}", peer(2));
    assert!(peer(9).contains("another group"), "under its own, without the group's name: {}", peer(9));
    pool.pkcs11_tool().arg("--list-slots").ok().says(LABEL);
}

/// Where the first node listens for other nodes.
pub fn place_of_peers(pool: &LocalPool) -> String {
    let file = std::fs::read_to_string(pool.directory().join("node1/hsmpoold.toml")).expect("it was laid out");
    let file: toml::Value = toml::from_str(&file).expect("TOML");
    file["listen"]["peers"].as_str().and_then(|peers| peers.strip_prefix("tcp:")).expect("nodes speak TCP").to_string()
}

/// Passes everything on to a place, and writes it down.
pub struct Tap {
    pub place: String,
    seen: Arc<Mutex<Vec<u8>>>,
}

impl Tap {
    fn to(target: String) -> Self {
        Self::between("127.0.0.1:0", target)
    }

    pub fn between(place: &str, target: String) -> Self {
        let listener = TcpListener::bind(place).expect("nobody else listens there");
        let place = listener.local_addr().expect("it is bound").to_string();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let all = seen.clone();
        // It ends with the process.
        std::thread::spawn(move || {
            for from in listener.incoming().flatten() {
                let Ok(to) = TcpStream::connect(&target) else { continue };
                let ways = [(from.try_clone(), to.try_clone()), (to.try_clone(), from.try_clone())];
                for (from, to) in ways.into_iter().filter_map(|(from, to)| Some((from.ok()?, to.ok()?))) {
                    let all = all.clone();
                    std::thread::spawn(move || pass_on(from, to, &all));
                }
            }
        });
        Self { place, seen }
    }

    /// How many bytes have gone by, both ways together.
    pub fn bytes(&self) -> usize {
        self.seen.lock().expect("nobody panics with it").len()
    }

    /// Whether this went by.
    pub fn has_seen(&self, what: &[u8]) -> bool {
        self.seen.lock().expect("nobody panics with it").windows(what.len()).any(|window| window == what)
    }
}

fn pass_on(mut from: TcpStream, mut to: TcpStream, seen: &Mutex<Vec<u8>>) {
    let mut buffer = [0; 16 << 10];
    while let Ok(len) = from.read(&mut buffer) {
        seen.lock().expect("nobody panics with it").extend_from_slice(&buffer[..len]);
        if len == 0 || to.write_all(&buffer[..len]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Both);
}

const SECRETS: [&str; 4] =
    ["a-label-nobody-may-read", "an-id-nobody-may-read", "a-value-that-nobody-may-read-on-the-way", "PIN-nobody-may-read"];

#[test]
fn nothing_that_an_application_says_can_be_read_on_the_way() {
    let pool = LocalPool::create("");
    pool.make_token();
    let (_, place) = facts(&pool);
    let tap = Tap::to(place);
    // The first node alone, over TCP, through the tap.
    let file = pool.directory().join("pool.toml");
    let text = std::fs::read_to_string(&file).expect("the pool's file");
    let head = text.split("[[node]]").next().expect("it begins with the pool");
    std::fs::write(&file, format!("{head}[[node]]\nzone = \"a\"\naddresses = [\"tcp:{}\"]\n", tap.place))
        .expect("it is writable");
    pool.application("work through a tapped wire").ok();
    assert!(tap.bytes() > 2000, "{} bytes went by", tap.bytes());
    for secret in SECRETS.iter().copied().chain([PIN, LABEL, "hsmpool://"]) {
        assert!(!tap.has_seen(secret.as_bytes()), "{secret} can be read");
    }
    // What does show is that it is TLS: a handshake record, and who is asked for.
    assert!(tap.has_seen(&[0x16, 0x03]) && tap.has_seen(b"node.hsmpool.internal"));
}

fn work_through_a_tapped_wire() {
    let module = loaded_module();
    module.initialize().expect("initialises");
    let session = module.user_session(LABEL, PIN).expect("logs in");
    let [label, id, value, pin] = SECRETS;
    let template = Template::key(CKO_SECRET_KEY, CKK_GENERIC_SECRET).truth(CKA_TOKEN, true).truth(CKA_PRIVATE, true);
    let template = template.bytes(CKA_LABEL, label).bytes(CKA_ID, id).bytes(CKA_VALUE, value).yes(&[CKA_SIGN, CKA_VERIFY]);
    let key = session.create(template.truth(CKA_EXTRACTABLE, true).truth(CKA_SENSITIVE, false)).expect("a key is made");
    assert_eq!(session.attribute(key, CKA_VALUE).expect("it may be read"), value.as_bytes());
    assert_eq!(session.find(Template::new().bytes(CKA_LABEL, label).bytes(CKA_ID, id)).expect("searches"), [key]);
    session.sign(&Mechanism::plain(CKM_SHA256_HMAC), key, value.as_bytes()).expect("signs");
    session.logout().expect("logs out");
    let wrong = session.login(CKU_USER, pin).expect_err("a wrong PIN");
    assert_eq!(wrong.0, CKR_PIN_INCORRECT);
}

#[test]
fn twenty_forks_under_load_harm_neither_parent_nor_child() {
    let pool = LocalPool::create("");
    pool.make_token();
    pool.application("fork over a pool").ok();
}

/// Keeps using its key until it is told to stop.
fn keep_working(session: &Session, key: (CK_OBJECT_HANDLE, CK_OBJECT_HANDLE), stop: &std::sync::atomic::AtomicBool) -> usize {
    let mut turns = 0;
    while !stop.load(std::sync::atomic::Ordering::Acquire) {
        use_pair(session, key.0, key.1);
        turns += 1;
    }
    turns
}

fn fork_over_a_pool() {
    let module = loaded_module();
    module.initialize().expect("initialises");
    let session = module.user_session(LABEL, PIN).expect("logs in");
    let key = key_pair(&session, "parent");
    let (stop, turns) = (std::sync::atomic::AtomicBool::new(false), std::sync::atomic::AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let session = module.user_session(LABEL, PIN).expect("logged in");
                turns.fetch_add(keep_working(&session, key, &stop), std::sync::atomic::Ordering::Relaxed);
            });
        }
        for number in 0..20 {
            let child = fork_child(&module, &session, number);
            use_pair(&session, key.0, key.1);
            let mut status = 0;
            // SAFETY: the pid is of our own child, not waited for before.
            let waited = unsafe { libc::waitpid(child, &mut status, 0) };
            assert_eq!((waited, status), (child, 0), "child {number} failed");
        }
        stop.store(true, std::sync::atomic::Ordering::Release);
    });
    assert!(turns.into_inner() > 20, "the parent's threads went on");
    let made = session.find(Template::new().number(CKA_CLASS, CKO_PRIVATE_KEY)).expect("searches");
    assert_eq!(made.len(), 1 + 2, "every tenth child made a key");
    module.finalize().expect("the parent finalises");
}

/// A child that is as if not initialised, and then initialises anew.
fn fork_child(module: &Loaded, inherited: &Session, number: usize) -> libc::pid_t {
    // SAFETY: the child calls into the module, which must bear a fork at any moment, and into Rust's allocator, which glibc keeps usable.
    let pid = unsafe { libc::fork() };
    assert!(pid >= 0, "cannot fork");
    if pid != 0 {
        return pid;
    }
    let work = || {
        let refused = inherited.info().map(drop).expect_err("the child's module is not initialised");
        assert_eq!(refused.0, CKR_CRYPTOKI_NOT_INITIALIZED);
        module.initialize().expect("the child initialises");
        let own = module.user_session(LABEL, PIN).expect("the child logs in by itself");
        let found = own.find(Template::new().bytes(CKA_LABEL, "parent").number(CKA_CLASS, CKO_PRIVATE_KEY)).expect("searches");
        own.sign(&Mechanism::plain(CKM_ECDSA), found[0], &[7; 32]).expect("the parent's key signs");
        if number.is_multiple_of(10) {
            key_pair(&own, &format!("child {number}"));
        }
        drop(own);
        module.finalize().expect("the child finalises");
    };
    let code = if std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)).is_ok() { 0 } else { 1 };
    // SAFETY: ends the child at once: it must run neither the test harness nor the parent's exit handlers.
    unsafe { libc::_exit(code) };
}

const ROUNDS: usize = 15;

#[test]
fn two_applications_in_two_zones_see_each_other_s_objects_at_once() {
    let pool = LocalPool::create("");
    pool.make_token();
    let applications: Vec<_> = ["a", "b"]
        .into_iter()
        .map(|zone| {
            // The same pool, as it is seen from another zone.
            let text = std::fs::read_to_string(pool.directory().join("pool.toml")).expect("the pool's file");
            let text = text.replacen("zone = \"a\"", &format!("zone = \"{zone}\""), 1);
            let view = pool.directory().join(format!("from-{zone}.toml"));
            std::fs::write(&view, text).expect("it is writable");
            let configuration = std::fs::read_to_string(pool.configuration()).expect("the configuration");
            let configuration = configuration.replace("pool.toml", &format!("from-{zone}.toml"));
            let file = pool.directory().join(format!("hsmpool-{zone}.toml"));
            std::fs::write(&file, configuration).expect("it is writable");
            child(pool.token(), "work in a zone").env("HSMPOOL_CONF", file).env("ZONE", zone).spawn()
        })
        .collect();
    for application in applications {
        let ended = application.wait();
        assert!(ended.status.success(), "{}", ended.all());
    }
}

/// Makes objects in turns with the other application: each is found by the other one as soon as it is announced.
fn work_in_a_zone() {
    let zone = std::env::var("ZONE").expect("set by the test");
    let other = if zone == "a" { "b" } else { "a" };
    let module = loaded_module();
    module.initialize().expect("initialises");
    let session = module.user_session(LABEL, PIN).expect("logs in");
    for round in 0..ROUNDS {
        let label = format!("{zone} {round}");
        key_pair(&session, &label);
        std::fs::write(format!("announced {label}"), "").expect("the directory is writable");
        let theirs = format!("{other} {round}");
        wait_until("the other application announces", || Path::new(&format!("announced {theirs}")).exists());
        let found =
            |class| session.find(Template::new().bytes(CKA_LABEL, theirs.as_str()).number(CKA_CLASS, class)).expect("searches");
        let (public, private) = (found(CKO_PUBLIC_KEY), found(CKO_PRIVATE_KEY));
        assert_eq!((public.len(), private.len()), (1, 1), "{theirs}");
        use_pair(&session, public[0], private[0]);
    }
}

/// How long a zone is away when stalls are measured: the time is what the measurement is of, and nothing is waited for.
const AWAY: Duration = Duration::from_secs(2);

/// Where `sign_and_measure` leaves when each signature began, and how long it took, in microseconds.
const SIGNATURES: &str = "signatures.txt";

/// `cargo test --release --test it stalls_of_key_use -- --ignored --nocapture`: how long signatures take while zones die and fall silent. One that
/// signs without pause has one signature delayed by each blow: so the longest under each is told, besides quantiles over all of them.
#[test]
#[ignore = "a measurement"]
fn stalls_of_key_use_are_measured() {
    let pool = LocalPool::create("");
    pool.make_token();
    for (what, signal) in [("undisturbed", 0), ("killed", libc::SIGKILL), ("silent", libc::SIGSTOP)] {
        let application = pool.application("sign and measure").spawn();
        wait_until("the application works", || application.said_so_far().contains("begun"));
        let mut blows = Vec::new();
        for zone in [0, 1, 0, 2, 0] {
            if signal == 0 {
                break;
            }
            let begun = wall_clock_micros();
            pool.signal(signal, zone);
            std::thread::sleep(AWAY);
            if signal == libc::SIGSTOP {
                pool.signal(libc::SIGCONT, zone);
            } else {
                pool.command("start").args(["--zone", ["a", "b", "c"][zone]]).ok();
            }
            wait_until("all nodes are well", || pool.health() == ["well", "well", "well"]);
            blows.push((zone, begun, wall_clock_micros()));
        }
        pool.token().write("enough", "");
        let ended = application.wait();
        assert!(ended.status.success(), "{}", ended.all());
        std::fs::remove_file(pool.token().file("enough")).expect("just written");
        let told = ended.text();
        println!("{what}: {}", told.lines().find(|line| line.contains("signatures")).unwrap_or(&told));
        tell_blows(what, &String::from_utf8_lossy(&pool.token().read(SIGNATURES)), &blows);
    }
}

/// Microseconds of a clock that the test shares with its application.
fn wall_clock_micros() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("the clock is past 1970");
    u64::try_from(since.as_micros()).expect("some hundred thousand years are left")
}

/// The longest signature under each blow (zone, from when, to when), and the median and the longest of those. The application stands in zone a.
fn tell_blows(what: &str, signatures: &str, blows: &[(usize, u64, u64)]) {
    let parse = |line: &str| line.split_once(' ').and_then(|(begun, took)| Some((begun.parse().ok()?, took.parse().ok()?)));
    let signatures: Vec<(u64, u64)> = signatures.lines().filter_map(parse).collect();
    let under = |from: u64, to: u64| signatures.iter().filter(move |(begun, took)| *begun <= to && begun + took >= from);
    let longest = |(_, from, to): &(usize, u64, u64)| under(*from, *to).map(|(_, took)| *took).max().unwrap_or(0);
    let milliseconds = |micros: u64| format!("{:.1} ms", micros as f64 / 1000.0);
    let each: Vec<String> =
        blows.iter().map(|blow| format!("zone {} {}", ["a", "b", "c"][blow.0], milliseconds(longest(blow)))).collect();
    let mut all: Vec<u64> = blows.iter().map(longest).collect();
    all.sort_unstable();
    if let Some(most) = all.last() {
        let median = all[all.len() / 2];
        println!("{what}, the longest of each blow: {}", each.join(", "));
        println!("{what}, over blows: median {}, longest {}", milliseconds(median), milliseconds(*most));
    }
}

fn sign_and_measure() {
    let module = loaded_module();
    module.initialize().expect("initialises");
    let session = module.user_session(LABEL, PIN).expect("logs in");
    let (_, private) = key_pair(&session, "measured");
    let (ecdsa, mut calls) = (Mechanism::plain(CKM_ECDSA), Vec::new());
    println!("begun");
    let begun = std::time::Instant::now();
    while !Path::new("enough").exists() && begun.elapsed() < Duration::from_secs(100) {
        for _ in 0..50 {
            let (when, call) = (wall_clock_micros(), std::time::Instant::now());
            session.sign(&ecdsa, private, &[7; 32]).expect("signs");
            calls.push((when, call.elapsed()));
        }
    }
    let lines: String = calls.iter().map(|(when, took)| format!("{when} {}\n", took.as_micros())).collect();
    std::fs::write(SIGNATURES, lines).expect("the directory is writable");
    let mut took: Vec<Duration> = calls.into_iter().map(|(_, took)| took).collect();
    took.sort();
    let at = |thousandths: usize| took[(took.len() - 1) * thousandths / 1000];
    let over = |limit: u64| took.iter().filter(|time| **time > Duration::from_millis(limit)).count();
    println!(
        "{} signatures: of calls the median {:?}, p99 {:?}, p99.9 {:?}, the longest {:?}; {} over 50 ms, {} over 100 ms",
        took.len(),
        at(500),
        at(990),
        at(999),
        at(1000),
        over(50),
        over(100)
    );
}
