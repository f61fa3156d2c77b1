//! Connections as they are used, and as they are abused.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::pki::{Authority, Issued};
use super::*;
use crate::error::{Code, Error, Result, refuse};
use crate::secret::Secret;

const POOL: [u8; 16] = [7; 16];
const PATIENCE: Duration = Duration::from_secs(5);

/// A directory that goes away.
struct Dir(PathBuf);

impl Dir {
    fn new() -> Self {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("hsmpool-wire-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Sends back what comes, after the time that its first byte says (in centiseconds), with who sent it.
struct Echo;

/// To whom.
struct Echoes(Peer);

impl Service for Echo {
    fn admit(&self, peer: &Peer, purpose: Purpose) -> Result<Box<dyn Conversation>> {
        match (peer, purpose) {
            (Peer::Certificate(Name::Client { .. }) | Peer::Unix(_), Purpose::Client)
            | (Peer::Certificate(Name::Node(_)), Purpose::Peer) => Ok(Box::new(Echoes(peer.clone()))),
            _ => Err(refuse(Code::DeviceError, format!("{peer} may not do this"))),
        }
    }
}

impl Conversation for Echoes {
    fn answer(&self, kind: u8, payload: &Secret) -> Option<Secret> {
        let wait = payload.expose().first().copied().unwrap_or(0);
        std::thread::sleep(Duration::from_millis(u64::from(wait) * 10));
        let mut answer = payload.duplicate();
        answer.extend(self.0.to_string().as_bytes());
        (kind == 1).then_some(answer)
    }
}

fn identity(issued: &Issued) -> Identity {
    Identity::read(POOL, &issued.ca, &issued.certificate, &issued.key).unwrap()
}

fn client_name(name: &str) -> Name {
    Name::Client { name: name.to_string(), tokens: None }
}

fn hello(purpose: Purpose) -> Hello {
    Hello::new(POOL, purpose, 0)
}

struct House {
    dir: Dir,
    authority: Authority,
    listener: Listener,
}

impl House {
    fn tls() -> Self {
        let dir = Dir::new();
        let authority = Authority::create(&dir.join("ca"), POOL).unwrap();
        let node = authority.issue(&Name::Node(1), 30, &dir.join("node")).unwrap();
        let address = "tcp:127.0.0.1:0".parse().unwrap();
        let hello = Hello::new(POOL, Purpose::Peer, 1);
        let listener = Listener::bind(&address, Some(identity(&node)), hello, 0o600, Arc::new(Echo)).unwrap();
        Self { dir, authority, listener }
    }

    fn issue(&self, name: &Name) -> Identity {
        identity(&self.authority.issue(name, 30, &self.dir.join("other")).unwrap())
    }

    fn open(&self, identity: &Identity, purpose: Purpose) -> Result<Connection> {
        Connection::open(self.listener.address(), Some(identity), &hello(purpose), PATIENCE)
    }
}

fn unix(path: &Path) -> Listener {
    Listener::bind(&Address::Unix(path.to_path_buf()), None, Hello::new(POOL, Purpose::Peer, 1), 0o600, Arc::new(Echo)).unwrap()
}

fn told(error: Option<Error>) -> String {
    error.map(|error| format!("{error} {error:?}")).unwrap_or_default()
}

#[test]
fn requests_are_answered_over_tls_and_the_name_is_the_certificates() {
    let house = House::tls();
    let mut connection = house.open(&house.issue(&client_name("web")), Purpose::Client).unwrap();
    for len in [0, 1, 100_000, 3_000_000] {
        let payload = vec![0; len];
        let answer = connection.call(1, &payload, PATIENCE).map_err(|failure| failure.error).unwrap();
        assert_eq!(&answer.expose()[len..], b"client web");
    }
}

#[test]
fn a_unix_socket_tells_the_user_and_is_its_owners_alone() {
    use std::os::unix::fs::PermissionsExt;
    let dir = Dir::new();
    let path = dir.join("node.sock");
    let listener = unix(&path);
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let mut connection = Connection::open(listener.address(), None, &hello(Purpose::Client), PATIENCE).unwrap();
    let answer = connection.call(1, &[0], PATIENCE).map_err(|failure| failure.error).unwrap();
    let user = std::os::unix::fs::MetadataExt::uid(&std::fs::metadata(&dir.0).unwrap());
    assert_eq!(answer.expose(), format!("\0user {user} of this machine").as_bytes());
    let second = Listener::bind(listener.address(), None, Hello::new(POOL, Purpose::Peer, 2), 0o600, Arc::new(Echo));
    assert!(told(second.err()).contains("another process listens"));
    drop(listener);
    assert!(!path.exists());
    // One that a killed process has left is replaced.
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    unix(&path);
}

#[test]
fn strangers_are_refused_with_a_reason() {
    let house = House::tls();
    let other_dir = Dir::new();
    let other = Authority::create(&other_dir.join("ca"), POOL).unwrap();
    let stranger = other.issue(&client_name("web"), 30, &other_dir.join("web")).unwrap();
    // Another authority's certificate, with our authority to check the node.
    let stranger = Identity::read(POOL, &house.dir.join("ca/ca.pem"), &stranger.certificate, &stranger.key).unwrap();
    assert!(house.open(&stranger, Purpose::Client).and_then(used).is_err(), "another authority");
    let expired = house.authority.issue(&client_name("old"), 0, &house.dir.join("old")).unwrap();
    std::thread::sleep(Duration::from_millis(1100));
    assert!(house.open(&identity(&expired), Purpose::Client).and_then(used).is_err(), "expired");
    let web = house.issue(&client_name("web"));
    assert!(told(house.open(&web, Purpose::Peer).err()).contains("client web may not do this"), "a client is no peer");
    let pool = Hello { pool: [8; 16], ..hello(Purpose::Client) };
    let refused = Connection::open(house.listener.address(), Some(&web), &pool, PATIENCE);
    assert!(told(refused.err()).contains("another pool"));
    let future = Hello { minor: 9, minor_oldest: 9, ..hello(Purpose::Client) };
    let refused = Connection::open(house.listener.address(), Some(&web), &future, PATIENCE);
    assert!(told(refused.err()).contains("no common version"));
    let none = Connection::open(house.listener.address(), None, &hello(Purpose::Client), PATIENCE);
    assert_eq!(none.err().map(|error| error.code()), Some(Code::Configuration));
}

/// TLS 1.3 tells a client of a refused certificate with the first answer only.
fn used(mut connection: Connection) -> Result<()> {
    connection.call(1, &[0], PATIENCE).map(drop).map_err(|failure| failure.error)
}

#[test]
fn a_connection_ends_with_the_certificate_of_either_side_and_no_session_outlives_it() {
    let house = House::tls();
    let briefly = |name: &Name, file: &str| {
        identity(&house.authority.issue_for(name, Duration::from_secs(5), &house.dir.join(file)).unwrap())
    };
    let client = briefly(&client_name("brief"), "brief");
    let node = briefly(&Name::Node(2), "second");
    let (address, hello_of_node) = ("tcp:127.0.0.1:0".parse().unwrap(), Hello::new(POOL, Purpose::Peer, 2));
    let brief_node = Listener::bind(&address, Some(node.clone()), hello_of_node, 0o600, Arc::new(Echo)).unwrap();
    let web = house.issue(&client_name("web"));
    let to_brief = || Connection::open(brief_node.address(), Some(&web), &hello(Purpose::Client), PATIENCE);
    let mut open =
        [house.open(&client, Purpose::Client).unwrap(), house.open(&node, Purpose::Peer).unwrap(), to_brief().unwrap()];
    let mut lasting = house.open(&web, Purpose::Client).unwrap();
    let mut prompt = Prompt::new(to_brief().unwrap()).unwrap();
    for connection in &mut open {
        connection.call(1, &[0], PATIENCE).map_err(|failure| failure.error).unwrap();
    }
    std::thread::sleep(Duration::from_millis(6100));
    for connection in &mut open {
        let failure = connection.call(1, &[0], PATIENCE).err().unwrap();
        assert!(told(Some(failure.error)).contains("certificate"));
    }
    assert!(prompt.begin(1, &[0]).is_err());
    assert!(lasting.call(1, &[0], PATIENCE).is_ok(), "one that is good goes on");
    // With the same configuration, which would have kept a session to resume.
    assert!(house.open(&client, Purpose::Client).and_then(used).is_err());
    assert!(house.open(&node, Purpose::Peer).and_then(used).is_err());
    assert!(to_brief().and_then(used).is_err());
}

#[test]
fn a_server_that_is_no_node_of_the_pool_is_not_talked_to() {
    let house = House::tls();
    let other_dir = Dir::new();
    let other = Authority::create(&other_dir.join("ca"), POOL).unwrap();
    let web = other.issue(&client_name("web"), 30, &other_dir.join("web")).unwrap();
    assert!(told(house.open(&identity(&web), Purpose::Client).err()).contains("no answer"), "another authority's node");
}

#[test]
fn plain_text_and_old_tls_get_nothing() {
    let house = House::tls();
    let Address::Tcp(place) = house.listener.address() else { panic!("TCP was bound") };
    let mut plain = TcpStream::connect(place).unwrap();
    plain.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    plain.read_to_end(&mut answer).unwrap_or_default();
    assert!(!String::from_utf8_lossy(&answer).contains("HTTP"));
    // A ClientHello that offers TLS 1.2 and nothing newer.
    let mut old = TcpStream::connect(place).unwrap();
    let mut hello = vec![0x16, 3, 1, 0, 45, 1, 0, 0, 41, 3, 3];
    hello.extend_from_slice(&[7; 32]);
    hello.extend_from_slice(&[0, 0, 2, 0xc0, 0x2f, 1, 0]);
    old.write_all(&hello).unwrap();
    let mut answer = Vec::new();
    old.read_to_end(&mut answer).unwrap_or_default();
    assert_eq!(answer.first(), Some(&0x15), "an alert: {answer:?}");
}

#[test]
fn a_silent_other_side_costs_no_longer_than_allowed() {
    let dir = Dir::new();
    let listener = unix(&dir.join("node.sock"));
    let mut connection = Connection::open(listener.address(), None, &hello(Purpose::Client), PATIENCE).unwrap();
    let begun = Instant::now();
    let failure = connection.call(1, &[200], Duration::from_millis(60)).err().unwrap();
    assert!(failure.sent && failure.timed_out);
    assert!(begun.elapsed() < Duration::from_millis(1500), "{:?}", begun.elapsed());
}

#[test]
fn nobody_is_waited_for_past_the_deadline_of_a_hello() {
    let dir = Dir::new();
    let path = dir.join("silent.sock");
    // Its queue takes connections, and nobody answers.
    let _silent = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let begun = Instant::now();
    for patience in [Duration::ZERO, Duration::from_micros(1), Duration::from_millis(30)] {
        let opened = Connection::open(&Address::Unix(path.clone()), None, &hello(Purpose::Client), patience);
        assert_eq!(opened.err().map(|error| error.code()), Some(Code::DeviceError));
    }
    let tcp = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = Address::Tcp(tcp.local_addr().unwrap().to_string());
    let web = House::tls().issue(&client_name("web"));
    // A server that sends a byte now and then in the midst of the handshake.
    let drips = std::thread::spawn(move || {
        let mut to = tcp.accept().unwrap().0;
        let record = [0x16, 3, 3, 0x40, 0, 2, 0, 0x3f, 0xfc];
        record.iter().chain(&[0; 200]).all(|byte| {
            std::thread::sleep(Duration::from_millis(20));
            to.write_all(&[*byte]).is_ok()
        })
    });
    assert!(Connection::open(&address, Some(&web), &hello(Purpose::Client), Duration::from_millis(100)).is_err());
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
    drips.join().unwrap();
}

/// Knows nobody.
struct Closed;

impl Service for Closed {
    fn admit(&self, _: &Peer, _: Purpose) -> Result<Box<dyn Conversation>> {
        panic!("what a stranger says is not looked at")
    }

    fn knows(&self, user: u32) -> Result<()> {
        Err(refuse(Code::DeviceError, format!("user {user} has no business here")))
    }
}

#[test]
fn a_user_of_this_machine_who_is_not_known_is_told_so_and_not_listened_to() {
    let dir = Dir::new();
    let address = Address::Unix(dir.join("node.sock"));
    let listener = Listener::bind(&address, None, Hello::new(POOL, Purpose::Peer, 1), 0o600, Arc::new(Closed)).unwrap();
    for _ in 0..20 {
        let opened = Connection::open(&address, None, &hello(Purpose::Client), PATIENCE);
        assert!(told(opened.err()).contains("has no business here"));
    }
    let mut silent = std::os::unix::net::UnixStream::connect(dir.join("node.sock")).unwrap();
    let begun = Instant::now();
    silent.read_to_end(&mut Vec::new()).unwrap();
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    drop(listener);
}

/// A node with little room and little patience.
const NARROW: server::Room = server::Room {
    connections: 8,
    strangers: 8,
    clients: 8,
    of_one_client: 8,
    greeting: Duration::from_millis(600),
    unhurried: Duration::ZERO,
};

fn narrow(dir: &Dir, strangers: usize) -> Listener {
    let room = server::Room { strangers, ..NARROW };
    let (address, hello) = (Address::Unix(dir.join("node.sock")), Hello::new(POOL, Purpose::Peer, 1));
    Listener::bind_with(room, &address, None, hello, 0o600, Arc::new(Echo)).unwrap()
}

#[test]
fn who_says_hello_byte_by_byte_is_dropped_when_it_is_time() {
    let (dir, house) = (Dir::new(), House::tls());
    let listener = narrow(&dir, 8);
    let mut drips = std::os::unix::net::UnixStream::connect(dir.join("node.sock")).unwrap();
    let hello = hello(Purpose::Client).encode();
    let frame = super::frame::whole(super::frame::HELLO, 1, &hello).unwrap();
    let begun = Instant::now();
    let dropped = frame.expose().iter().any(|byte| {
        std::thread::sleep(Duration::from_millis(50));
        drips.write_all(&[*byte]).is_err()
    });
    assert!(dropped && begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
    assert_eq!(listener.connections(), 0);
    drop(house);
}

#[test]
fn a_handshake_that_comes_byte_by_byte_is_dropped_when_it_is_time() {
    let house = House::tls();
    let room = NARROW;
    let node = identity(&house.authority.issue(&Name::Node(2), 30, &house.dir.join("second")).unwrap());
    let address = "tcp:127.0.0.1:0".parse().unwrap();
    let listener =
        Listener::bind_with(room, &address, Some(node), Hello::new(POOL, Purpose::Peer, 2), 0o600, Arc::new(Echo)).unwrap();
    let Address::Tcp(place) = listener.address() else { panic!("TCP was bound") };
    let mut drips = TcpStream::connect(place).unwrap();
    let begun = Instant::now();
    // A ClientHello that is long in coming.
    let dropped = [0x16, 3, 1, 0x20, 0, 1, 0, 0x1f, 0xfc].iter().chain(&[0; 100]).any(|byte| {
        std::thread::sleep(Duration::from_millis(50));
        drips.write_all(&[*byte]).is_err()
    });
    assert!(dropped && begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
    assert_eq!(listener.connections(), 0);
}

#[test]
fn a_long_first_frame_is_not_taken() {
    let dir = Dir::new();
    let listener = unix(&dir.join("node.sock"));
    let mut long = std::os::unix::net::UnixStream::connect(dir.join("node.sock")).unwrap();
    let header = super::frame::Header { len: crate::limits::HELLO_MAX_BYTES + 1, kind: super::frame::HELLO, number: 1 };
    let begun = Instant::now();
    long.write_all(&header.encode()).unwrap();
    let _ = long.read_to_end(&mut Vec::new());
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    drop(listener);
}

#[test]
fn strangers_take_nobody_elses_room() {
    let dir = Dir::new();
    let mut listener = narrow(&dir, 3);
    let open = || Connection::open(&Address::Unix(dir.join("node.sock")), None, &hello(Purpose::Client), PATIENCE);
    let stranger = || std::os::unix::net::UnixStream::connect(dir.join("node.sock")).unwrap();
    let mut guests: Vec<_> = (0..4).map(|_| open().unwrap()).collect();
    let strangers: Vec<_> = (0..20).map(|_| stranger()).collect();
    guests.push(open().unwrap());
    guests.extend((0..3).map(|_| open().unwrap()));
    // All room is taken by who may be here: neither they nor who comes now is served at another's cost.
    assert!(open().is_err());
    for guest in &mut guests {
        assert!(guest.call(1, &[0], PATIENCE).is_ok());
    }
    drop(strangers);
    assert!(listener.stop(PATIENCE));
}

#[test]
fn clients_take_neither_one_anothers_room_nor_that_of_nodes() {
    let house = House::tls();
    let room = server::Room { connections: 8, clients: 5, of_one_client: 3, ..NARROW };
    let [web, mail, node] = [client_name("web"), client_name("mail"), Name::Node(7)].map(|name| house.issue(&name));
    let (own, hello_of) = (house.issue(&Name::Node(1)), Hello::new(POOL, Purpose::Peer, 1));
    let at = Address::Tcp("127.0.0.1:0".into());
    let listener = Listener::bind_with(room, &at, Some(own), hello_of, 0o600, Arc::new(Echo)).unwrap();
    let open = |identity: &Identity, purpose| {
        let mut connection = Connection::open(listener.address(), Some(identity), &hello(purpose), PATIENCE)?;
        connection.call(1, &[0], PATIENCE).map_err(|failure| failure.error)?;
        Ok::<_, Error>(connection)
    };
    let webs: Vec<_> = (0..3).map(|_| open(&web, Purpose::Client).unwrap()).collect();
    assert!(told(open(&web, Purpose::Client).err()).contains("3 of 3 connections of clients here; one may have 3 of 5"));
    let mails: Vec<_> = (0..2).map(|_| open(&mail, Purpose::Client).unwrap()).collect();
    assert!(told(open(&mail, Purpose::Client).err()).contains("2 of 5"));
    let nodes: Vec<_> = (0..3).map(|_| open(&node, Purpose::Peer).unwrap()).collect();
    drop(webs);
    // The node notices by itself that they are gone.
    let until = Instant::now() + PATIENCE;
    let comes_back = loop {
        match open(&web, Purpose::Client) {
            Err(_) if Instant::now() < until => std::thread::sleep(Duration::from_millis(10)),
            other => break other,
        }
    };
    assert!(comes_back.is_ok());
    drop((mails, nodes));
}

#[test]
fn stopping_lets_answers_out_and_ends_idle_connections() {
    let dir = Dir::new();
    let mut listener = unix(&dir.join("node.sock"));
    let open = || Connection::open(listener.address(), None, &hello(Purpose::Client), PATIENCE).unwrap();
    let (mut busy, mut idle) = (open(), open());
    let working =
        std::thread::spawn(move || busy.call(1, &[30], PATIENCE).map_err(|failure| failure.error).map(|answer| answer.len()));
    std::thread::sleep(Duration::from_millis(100));
    assert!(listener.stop(PATIENCE), "all connections end");
    assert!(working.join().unwrap().unwrap() > 1, "the answer under way came");
    assert!(idle.call(1, &[0], PATIENCE).is_err());
}

#[test]
fn requests_of_an_unknown_kind_are_refused_in_words() {
    let dir = Dir::new();
    let listener = unix(&dir.join("node.sock"));
    let mut connection = Connection::open(listener.address(), None, &hello(Purpose::Client), PATIENCE).unwrap();
    let failure = connection.call(9, &[], PATIENCE).err().unwrap();
    assert!(told(Some(failure.error)).contains("kind 9"));
}

#[test]
fn certificates_are_replaced_without_a_stop() {
    let house = House::tls();
    let web = house.issue(&client_name("web"));
    let mut before = house.open(&web, Purpose::Client).unwrap();
    let renewed = house.authority.issue(&Name::Node(1), 60, &house.dir.join("node")).unwrap();
    let renewed = identity(&renewed);
    let ends = renewed.expires();
    house.listener.set_identity(renewed);
    assert!(before.call(1, &[0], PATIENCE).is_ok(), "what is open stays");
    assert!(house.open(&web, Purpose::Client).is_ok());
    let again = Authority::open(&house.dir.join("ca"), POOL).unwrap();
    let longer = identity(&again.issue(&client_name("web"), 90, &house.dir.join("web")).unwrap());
    assert!(longer.expires() > ends);
    assert!(house.open(&longer, Purpose::Client).is_ok(), "an authority that was opened again");
}

#[test]
fn private_keys_are_their_owners_alone_and_names_are_plain() {
    use std::os::unix::fs::PermissionsExt;
    let dir = Dir::new();
    let authority = Authority::create(&dir.join("ca"), POOL).unwrap();
    let issued = authority.issue(&client_name("web"), 1, &dir.join("web")).unwrap();
    for key in [issued.key, dir.join("ca/ca.key")] {
        assert_eq!(std::fs::metadata(key).unwrap().permissions().mode() & 0o777, 0o600);
    }
    for name in ["", "a/b", "a?tokens=x", "ä"] {
        assert!(authority.issue(&client_name(name), 1, &dir.join("bad")).is_err(), "{name:?}");
    }
    assert!(Authority::create(&dir.join("ca"), POOL).is_err(), "an authority is not made twice");
}

/// `cargo test --release wire -- --ignored --nocapture`: microseconds of a round trip, 32 bytes there and 64 back.
#[test]
#[ignore = "a measurement"]
fn round_trips_are_measured() {
    let median = |mut connection: Connection| {
        let mut took: Vec<Duration> = (0..20_000)
            .map(|_| {
                let begun = Instant::now();
                assert!(connection.call(1, &[0; 32], PATIENCE).is_ok());
                begun.elapsed()
            })
            .collect();
        took.sort();
        took[took.len() / 2]
    };
    let dir = Dir::new();
    let listener = unix(&dir.join("node.sock"));
    let over_unix = median(Connection::open(listener.address(), None, &hello(Purpose::Client), PATIENCE).unwrap());
    let house = House::tls();
    let over_tls = median(house.open(&house.issue(&client_name("web")), Purpose::Client).unwrap());
    println!("median round trip: Unix {over_unix:?}, TLS {over_tls:?}");
}

/// What a loop does by readiness, by trying again.
fn soon<T>(mut step: impl FnMut() -> std::result::Result<Option<T>, Failure>) -> (T, u32) {
    let begun = Instant::now();
    let mut vain = 0;
    loop {
        match step().map_err(|failure| failure.error).unwrap() {
            Some(done) => return (done, vain),
            None => vain += 1,
        }
        assert!(begun.elapsed() < Duration::from_secs(60));
        std::thread::sleep(Duration::from_micros(100));
    }
}

#[test]
fn a_connection_of_a_loop_never_waits_and_carries_what_is_longer_than_a_socket_takes() {
    let house = House::tls();
    let directory = Dir::new();
    let path = directory.join("socket");
    let unix = unix(&path);
    let node = house.issue(&Name::Node(2));
    let of_unix = Connection::open(unix.address(), None, &hello(Purpose::Client), PATIENCE).unwrap();
    for connection in [house.open(&node, Purpose::Peer).unwrap(), of_unix] {
        let mut prompt = Prompt::new(connection).unwrap();
        let mut long = vec![0; 6 << 20];
        long.iter_mut().enumerate().for_each(|(at, byte)| *byte = (at % 251) as u8);
        for request in [b"\x05short".to_vec(), long, b"\0again".to_vec()] {
            prompt.begin(1, &request).map_err(|failure| failure.error).unwrap();
            soon(|| prompt.send().map(|sent| sent.then_some(())));
            let (answer, vain) = soon(|| prompt.receive());
            assert!(vain > 0 || request[0] == 0, "there is no answer before its time");
            assert!(answer.expose().starts_with(&request));
        }
        assert!(soon(|| prompt.receive().map(Some)).0.is_none());
    }
    drop(unix);
}

#[test]
fn a_connection_of_a_loop_whose_other_side_is_gone_fails() {
    let house = House::tls();
    let node = house.issue(&Name::Node(2));
    let mut prompt = Prompt::new(house.open(&node, Purpose::Peer).unwrap()).unwrap();
    drop(house);
    let begun = Instant::now();
    while prompt.receive().is_ok_and(|answer| answer.is_none()) {
        assert!(begun.elapsed() < Duration::from_secs(60));
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn an_answer_is_waited_for_as_long_as_it_is_worth_it() {
    let dir = Dir::new();
    let listener = unix(&dir.join("node.sock"));
    let connect = |patience| Connection::open(listener.address(), None, &hello(Purpose::Client), patience);
    let (kept, looks) = (Kept::default(), std::cell::Cell::new(0));
    let ask = |centiseconds, most: u32, patience| {
        looks.set(0);
        let is_worth_it = || {
            looks.set(looks.get() + 1);
            looks.get() < most
        };
        kept.call_while(1, &[centiseconds], (patience, &is_worth_it), connect)
    };
    // It takes longer than one look, and the connection is kept.
    assert_eq!(ask(30, u32::MAX, PATIENCE).unwrap().expose()[0], 30);
    assert!(looks.get() >= 2, "{} looks", looks.get());
    assert!(ask(0, u32::MAX, PATIENCE).is_ok());
    assert_eq!(listener.connections(), 1);
    let begun = Instant::now();
    assert!(ask(250, 3, PATIENCE).is_err());
    assert!(looks.get() == 3 && begun.elapsed() < Duration::from_secs(2), "{} looks, {:?}", looks.get(), begun.elapsed());
    let begun = Instant::now();
    assert!(ask(250, u32::MAX, Duration::from_millis(200)).is_err());
    assert!(begun.elapsed() < Duration::from_secs(2), "its time was over: {:?}", begun.elapsed());
}
