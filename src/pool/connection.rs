//! Connections to the nodes: one for each caller at a time, kept for the next. No thread of ours runs in the application.

use std::collections::HashSet;
use std::iter::repeat_with;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use super::call::{Failure, Link};
use super::race::{Finish, Heard, Lost, Race, Track, run};
use super::view::Place;
use crate::error::{self, Code, refuse};
use crate::limits::NODES_KNOWN_MAX;
use crate::secret::Secret;
use crate::sync::standard::{Mutex, PoisonError};
use crate::sys::process::{NoFork, PerProcess};
use crate::sys::socket::wait_readable;
use crate::token::message::FRAME_KIND;
use crate::wire::{Address, Connection, Flight, Hello, Kept, Landed, Name, Places, Purpose, Renewal, first_of};

/// A node, as it is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its number in the pool, which its certificate has to name; `None`: that of any node will do.
    pub node: Option<u64>,
    /// Its zone.
    pub zone: String,
    /// Where it listens, in the order in which the addresses are tried.
    pub addresses: Vec<Address>,
}

impl Entry {
    /// Where it stands.
    pub fn place(&self) -> Place {
        let addresses: Vec<String> = self.addresses.iter().map(Address::to_string).collect();
        Place { zone: self.zone.clone(), name: addresses.join(", ") }
    }

    fn needs_certificate(&self) -> bool {
        self.addresses.iter().any(needs_certificate)
    }
}

/// Hands over all nodes that there are now, if that has changed, and tells the operator why they are not taken, if they are not.
pub type Newest = Box<dyn Fn(&mut dyn FnMut(Vec<Entry>) -> error::Result<()>) + Send + Sync>;

/// The way to each node of a view.
pub struct Wires {
    /// By their numbers in the view, which are never given again; those that are gone as well.
    nodes: Vec<OnceLock<Entry>>,
    newest: Option<Newest>,
    /// Whether any of them is reached by TLS: a certificate that nobody is shown is nobody's worry.
    shows_identity: AtomicBool,
    /// What new connections show; none where no address needs it.
    identity: Option<Renewal>,
    hello: Hello,
    /// A forked child begins without any: the parent goes on with its own.
    ways: PerProcess<Vec<Way>>,
}

/// The way to one node.
#[derive(Default)]
struct Way {
    idle: Kept,
    /// The newest set of messages that the node spoke when it was connected to last; 0: it never was.
    minor: AtomicU32,
    /// The address by which it was reached, where that is not the first of them, and since when.
    reached: Mutex<Option<(usize, Instant)>>,
    places: Places,
}

/// Another address than the first is tried before it for so long: the order is the operator's, who may have put a socket of this machine first.
const REACHED_FOR: Duration = Duration::from_secs(60);

impl Way {
    /// Which address is tried first.
    fn first(&self) -> usize {
        let reached = *self.reached.lock().unwrap_or_else(PoisonError::into_inner);
        reached.filter(|(_, since)| since.elapsed() < REACHED_FOR).map_or(0, |(at, _)| at)
    }

    fn was_reached_by(&self, at: usize) {
        let is_news = at != self.first();
        if is_news || at == 0 {
            *self.reached.lock().unwrap_or_else(PoisonError::into_inner) = (at != 0).then(|| (at, Instant::now()));
        }
    }
}

impl Wires {
    /// Nothing is connected yet. `newest`: where it is learnt which other nodes there are.
    pub fn new(pool: [u8; 16], nodes: Vec<Entry>, identity: Option<Renewal>, newest: Option<Newest>) -> Self {
        let count = NODES_KNOWN_MAX.max(nodes.len());
        let shows_identity = AtomicBool::new(nodes.iter().any(Entry::needs_certificate));
        let slots = nodes.into_iter().map(OnceLock::from).chain(repeat_with(OnceLock::new));
        let ways = PerProcess::new(move || (0..count).map(|_| Way::default()).collect());
        let (nodes, hello) = (slots.take(count).collect(), Hello::new(pool, Purpose::Client, 0));
        Self { nodes, newest, shows_identity, identity, hello, ways }
    }

    /// The number of a node: that which it has, or the next one. Errors: `Configuration`: there is none left.
    fn number(&self, entry: Entry) -> error::Result<usize> {
        let found = self.nodes.iter().position(|known| known.get().is_none_or(|known| *known == entry));
        let number = found.ok_or_else(|| {
            let told = format!("this process has known {NODES_KNOWN_MAX} nodes of its pool, and learns of no more");
            refuse(Code::Configuration, told + ": start the application anew")
        })?;
        // A child that is born in the midst of it would wait for the other half for ever.
        let _no_fork = NoFork::hold();
        self.nodes[number].get_or_init(|| entry);
        Ok(number)
    }

    fn known(&self) -> impl Iterator<Item = (usize, &Entry)> {
        self.nodes.iter().map_while(OnceLock::get).enumerate()
    }

    fn connect(&self, node: usize, patience: Duration) -> error::Result<Connection> {
        let (way, deadline) = (&self.ways.get()[node], Instant::now() + patience);
        let entry = self.nodes[node].get().ok_or_else(|| refuse(Code::DeviceError, "the view has no such node"))?;
        let mut addresses: Vec<_> = entry.addresses.iter().enumerate().collect();
        let first = way.first();
        addresses.sort_by_key(|(at, _)| *at != first);
        let opened = first_of(&addresses, deadline, |(_, address), patience| {
            let identity = self.identity.as_ref().filter(|_| needs_certificate(address)).map(Renewal::now);
            let opened = Connection::open_by(&way.places, address, identity.as_ref(), &self.hello, patience)?;
            check(entry, address, opened.peer()).map(|()| opened)
        });
        let unreached = || Err(refuse(Code::DeviceError, "the node could not be reached in time"));
        let (at, connection) = opened.unwrap_or_else(unreached)?;
        way.minor.store(connection.minor(), Ordering::Relaxed);
        way.was_reached_by(addresses[at].0);
        Ok(connection)
    }

    /// An application whose connections are never idle makes none for months, and is warned all the same.
    fn glance_at_identity(&self) {
        if let Some(identity) = self.identity.as_ref().filter(|_| self.shows_identity.load(Ordering::Relaxed)) {
            identity.glance();
        }
    }
}

/// A node that was removed has its certificate still: it must not stand in for another one. Errors: `DeviceError`.
fn check(entry: &Entry, address: &Address, shown: Option<&Name>) -> error::Result<()> {
    match (entry.node, shown) {
        (Some(node), Some(name)) if *name != Name::Node(node) => {
            let shown = if let Name::Node(shown) = name { format!("node {shown}") } else { "no node".to_string() };
            Err(refuse(
                Code::DeviceError,
                format!(
                    "{address} shows the certificate of {shown}, and pool.toml has node {node} there: correct `node` or `addresses` in it"
                ),
            ))
        }
        _ => Ok(()),
    }
}

fn needs_certificate(address: &Address) -> bool {
    matches!(address, Address::Tcp(_))
}

impl Link for Wires {
    fn call(&self, node: usize, request: &[u8], patience: Duration) -> Result<Secret, Failure> {
        self.glance_at_identity();
        let kept = &self.ways.get()[node].idle;
        kept.call(FRAME_KIND, request, patience, |patience| self.connect(node, patience)).map_err(Failure)
    }

    fn race(&self, race: &Race<'_>, request: &[u8]) -> Finish {
        self.glance_at_identity();
        let finish = run(race, &mut Flights { wires: self, request, out: Vec::new() });
        if finish.won.is_none() {
            // Whatever else is kept to silent nodes leads to the same silence.
            let silent = finish.lost.iter().filter(|(_, how)| matches!(how, Lost::Silent(_)));
            silent.for_each(|(node, _)| self.ways.get()[*node].idle.clear());
        }
        finish
    }

    fn changed(&self) -> Option<Vec<(usize, Place)>> {
        // Connections that are never idle are held to the newest list of revoked certificates, too.
        if let Some(identity) = self.identity.as_ref().filter(|_| self.shows_identity.load(Ordering::Relaxed)) {
            drop(identity.now());
        }
        let mut now = None;
        (self.newest.as_ref()?)(&mut |entries| {
            if entries.iter().any(Entry::needs_certificate) {
                self.shows_identity.store(true, Ordering::Relaxed);
            }
            let number = |entry: Entry| Ok((self.number(entry.clone())?, entry.place()));
            now = Some(entries.into_iter().map(number).collect::<error::Result<Vec<_>>>()?);
            Ok(())
        });
        let present: HashSet<usize> = now.iter().flatten().map(|(number, _)| *number).collect();
        if now.is_some() {
            let gone = self.known().filter(|(number, _)| !present.contains(number));
            gone.for_each(|(number, _)| self.ways.get()[number].idle.clear());
        }
        now
    }

    fn minor(&self, node: usize) -> Option<u32> {
        Some(self.ways.get()[node].minor.load(Ordering::Relaxed)).filter(|minor| *minor != 0)
    }
}

/// How long a socket is read of which something has come: what is missing of the answer is waited for together with the others.
const PEEK: Duration = Duration::from_millis(1);

/// Requests of one race that are out, each on a connection of its own.
struct Flights<'a> {
    wires: &'a Wires,
    request: &'a [u8],
    out: Vec<(usize, Flight)>,
}

impl Track for Flights<'_> {
    fn now(&self) -> Instant {
        Instant::now()
    }

    fn start(&mut self, node: usize, by: Instant) -> error::Result<()> {
        let connect = |patience| self.wires.connect(node, patience);
        let flight = self.wires.ways.get()[node].idle.send(FRAME_KIND, self.request, by, &connect)?;
        self.out.push((node, flight));
        Ok(())
    }

    fn wait(&mut self, until: Instant) -> Option<(usize, Heard)> {
        let (at, until) = match self.out.len() {
            1 => (0, until),
            _ => {
                let sockets: Vec<_> = self.out.iter().map(|(_, flight)| flight.connection().socket()).collect();
                let at = wait_readable(&sockets, until.saturating_duration_since(Instant::now()))?;
                (at, Instant::now() + PEEK)
            }
        };
        let (node, flight) = self.out.remove(at);
        let heard = match self.wires.ways.get()[node].idle.receive(flight, until) {
            Landed::Answer(answer) => Heard::Answer(answer),
            Landed::Silent(flight) => {
                // To the end, so that each of several that have sent something is looked at.
                self.out.push((node, *flight));
                return None;
            }
            Landed::Failed { stale: true, .. } => Heard::Stale,
            Landed::Failed { failure, .. } => Heard::Failed(failure.error),
        };
        Some((node, heard))
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

    use super::super::race::Entrant;
    use super::*;
    use crate::error::Result;
    use crate::wire::pki::{Authority, Issued};
    use crate::wire::{Conversation, Files, Identity, Listener, Name, Peer, Service};

    /// Nodes by their addresses.
    fn entries(nodes: Vec<Vec<Address>>) -> Vec<Entry> {
        nodes.into_iter().map(|addresses| Entry { node: None, zone: "a".to_string(), addresses }).collect()
    }

    const POOL: [u8; 16] = [7; 16];
    const LATE: Duration = Duration::from_secs(20);
    const HEAD_START: Duration = Duration::from_millis(30);

    /// Answers with its own number after so many milliseconds, and counts.
    struct Node {
        number: u8,
        milliseconds: AtomicU64,
        asked: AtomicUsize,
    }

    struct Answers(Arc<Node>);

    impl Service for Answers {
        fn admit(&self, _: &Peer, _: Purpose) -> Result<Box<dyn Conversation>> {
            Ok(Box::new(Answers(self.0.clone())))
        }
    }

    impl Conversation for Answers {
        fn answer(&self, _: u8, _: &Secret) -> Option<Secret> {
            self.0.asked.fetch_add(1, Ordering::Relaxed);
            std::thread::sleep(Duration::from_millis(self.0.milliseconds.load(Ordering::Relaxed)));
            Some(Secret::copy_of(&[self.0.number]))
        }
    }

    /// Nodes on Unix sockets in a directory of their own; a node is gone while its listener is `None`.
    struct Street {
        nodes: Vec<Arc<Node>>,
        listeners: Vec<Option<Listener>>,
        wires: Wires,
        directory: PathBuf,
    }

    impl Street {
        fn new(milliseconds: &[u64]) -> Self {
            static NUMBER: AtomicU64 = AtomicU64::new(0);
            let number = NUMBER.fetch_add(1, Ordering::Relaxed);
            let directory = std::env::temp_dir().join(format!("hsmpool-race-{}-{number}", std::process::id()));
            std::fs::create_dir_all(&directory).unwrap();
            let node = |(number, milliseconds): (usize, &u64)| {
                Arc::new(Node { number: number as u8, milliseconds: (*milliseconds).into(), asked: AtomicUsize::new(0) })
            };
            let nodes: Vec<_> = milliseconds.iter().enumerate().map(node).collect();
            let addresses = (0..nodes.len()).map(|at| vec![Address::Unix(directory.join(at.to_string()))]).collect();
            let mut street =
                Self { listeners: Vec::new(), wires: Wires::new(POOL, entries(addresses), None, None), nodes, directory };
            street.listeners = (0..milliseconds.len()).map(|at| Some(street.open(at))).collect();
            street
        }

        fn open(&self, at: usize) -> Listener {
            let (address, hello) = (
                self.wires.nodes[at].get().expect("it is one of the street's").addresses[0].clone(),
                Hello::new(POOL, Purpose::Peer, 1),
            );
            Listener::bind(&address, None, hello, 0o600, Arc::new(Answers(self.nodes[at].clone()))).unwrap()
        }

        fn race(&self, patience: Duration, may_ask: &dyn Fn() -> bool) -> Finish {
            let entrant = |node| Entrant { node, head_start: HEAD_START, connecting: LATE };
            let entrants: Vec<_> = (0..self.nodes.len()).map(entrant).collect();
            self.wires.race(&Race { entrants: &entrants, patience, last: patience, may_ask, is_final: &|_| true }, b"request")
        }

        fn asked(&self) -> Vec<usize> {
            self.nodes.iter().map(|node| node.asked.load(Ordering::Relaxed)).collect()
        }
    }

    impl Drop for Street {
        fn drop(&mut self) {
            self.listeners.clear();
            let _ = std::fs::remove_dir_all(&self.directory);
        }
    }

    /// Who won, and what became of each other one: a letter for failed or silent.
    fn told(finish: &Finish) -> (Option<usize>, Vec<(usize, char)>) {
        let won = finish.won.as_ref().map(|(node, answer, _)| {
            assert_eq!(answer.expose(), [*node as u8]);
            *node
        });
        let letter = |lost: &Lost| if let Lost::Failed(_) = lost { 'f' } else { 's' };
        (won, finish.lost.iter().map(|(node, lost)| (*node, letter(lost))).collect())
    }

    /// Answers with what the other side's certificate says.
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

    /// What an application shows.
    fn shown_by(own: &Issued) -> Renewal {
        let Issued { ca, certificate, key } = own.clone();
        Renewal::begin(Files { pool: POOL, ca, certificate, key, crl: None }, Box::new(|_, _| {})).unwrap()
    }

    #[test]
    fn new_connections_show_the_certificate_that_lies_there_by_then() {
        let street = Street::new(&[]);
        let file = |name: &str| street.directory.join(name);
        let authority = Authority::create(&file("ca"), POOL).unwrap();
        let node = authority.issue(&Name::Node(1), 30, &file("node")).unwrap();
        let shown = Identity::read(POOL, &node.ca, &node.certificate, &node.key).unwrap();
        let (any, hello) = ("tcp:127.0.0.1:0".parse().unwrap(), Hello::new(POOL, Purpose::Peer, 1));
        let listener = Listener::bind(&any, Some(shown), hello, 0o600, Arc::new(Mirror(String::new()))).unwrap();
        let issue = |token: &str| {
            let name = Name::Client { name: "web".to_string(), tokens: Some(vec![token.to_string()]) };
            authority.issue(&name, 90, &file("web")).unwrap()
        };
        let own = issue("old");
        let identity = || Some(shown_by(&own));
        let wires = Wires::new(POOL, entries(vec![vec![listener.address().clone()]]), identity(), None);
        let seen = || {
            let answer = wires.call(0, b"request", LATE).map_err(|failure| failure.0).unwrap();
            String::from_utf8_lossy(answer.expose()).into_owned()
        };
        assert!(seen().contains("old"));
        issue("new");
        assert!(seen().contains("old"), "the connection is kept");
        wires.ways.get()[0].idle.clear();
        assert!(seen().contains("new"));
        let unix = Wires::new(POOL, entries(vec![vec![Address::Unix(file("node.sock"))]]), identity(), None);
        assert!(!unix.shows_identity.load(Ordering::Relaxed), "nobody is warned of a certificate that nobody is shown");
    }

    #[test]
    fn a_node_is_taken_by_its_own_certificate_only_where_its_number_is_known() {
        let street = Street::new(&[]);
        let file = |name: &str| street.directory.join(name);
        let authority = Authority::create(&file("ca"), POOL).unwrap();
        let node = authority.issue(&Name::Node(1), 30, &file("node")).unwrap();
        let shown = Identity::read(POOL, &node.ca, &node.certificate, &node.key).unwrap();
        let (any, hello) = ("tcp:127.0.0.1:0".parse().unwrap(), Hello::new(POOL, Purpose::Peer, 1));
        let listener = Listener::bind(&any, Some(shown), hello, 0o600, Arc::new(Mirror(String::new()))).unwrap();
        let own = authority.issue(&Name::Client { name: "web".to_string(), tokens: None }, 90, &file("web")).unwrap();
        let connected = |node| {
            let entry = Entry { node, zone: "a".to_string(), addresses: vec![listener.address().clone()] };
            Wires::new(POOL, vec![entry], Some(shown_by(&own)), None).connect(0, LATE).map(drop)
        };
        connected(Some(1)).unwrap();
        connected(None).unwrap();
        let told = connected(Some(2)).unwrap_err().to_string();
        assert!(told.contains("node 1") && told.contains("has node 2") && told.contains("tcp:127.0.0.1"), "{told}");
    }

    #[test]
    fn nodes_that_come_are_reached_and_those_that_go_are_left() {
        let mut street = Street::new(&[0, 0, 0]);
        let all: Vec<Entry> = street.wires.known().map(|(_, entry)| entry.clone()).collect();
        let (named, told) = (Arc::new(Mutex::new(None)), Arc::new(Mutex::new(Vec::new())));
        let (list, errors) = (named.clone(), told.clone());
        let newest: Newest = Box::new(move |take| {
            let Some(entries) = list.lock().unwrap().take() else { return };
            errors.lock().unwrap().extend(take(entries).err());
        });
        street.wires = Wires::new(POOL, all[..2].to_vec(), None, Some(newest));
        let change = |entries: &[Entry]| {
            *named.lock().unwrap() = Some(entries.to_vec());
            let now = street.wires.changed()?;
            Some(now.into_iter().map(|(number, place)| (number, place.name)).collect::<Vec<_>>())
        };
        assert!(street.wires.changed().is_none());
        street.wires.call(0, b"request", LATE).map_err(|failure| failure.0).unwrap();
        let place = |at: usize| all[at].place().name;
        assert_eq!(change(&all[1..]), Some(vec![(1, place(1)), (2, place(2))]), "they keep their numbers, or have new ones");
        let new = |_: Duration| Err(refuse(Code::DeviceError, "none is kept"));
        let kept = street.wires.ways.get()[0].idle.send(FRAME_KIND, b"request", Instant::now() + LATE, &new);
        assert!(kept.is_err(), "its connections are closed");
        street.wires.call(2, b"request", LATE).map_err(|failure| failure.0).unwrap();
        assert_eq!(street.asked(), [1, 0, 1]);
        assert_eq!(change(&all[..1]), Some(vec![(0, place(0))]), "one that comes back is the same");
        let elsewhere = |at: usize| Entry { zone: format!("zone {at}"), ..all[0].clone() };
        let many: Vec<Entry> = (0..NODES_KNOWN_MAX).map(elsewhere).collect();
        assert_eq!(change(&many), None);
        assert!(told.lock().unwrap()[0].to_string().contains("start the application anew"));
    }

    #[test]
    fn an_address_that_never_answers_costs_half_of_the_time_once() {
        let mut street = Street::new(&[0]);
        let silent = street.directory.join("silent");
        // Its queue takes connections, and nobody reads from them.
        let _silent = std::os::unix::net::UnixListener::bind(&silent).unwrap();
        street.wires.nodes[0].get_mut().expect("it is there").addresses.insert(0, Address::Unix(silent));
        let patience = Duration::from_millis(1000);
        let begun = Instant::now();
        street.wires.connect(0, patience).unwrap();
        assert!(begun.elapsed() >= patience / 2 && begun.elapsed() < patience, "{:?}", begun.elapsed());
        let begun = Instant::now();
        street.wires.connect(0, patience).unwrap();
        assert!(begun.elapsed() < patience / 2, "the one that was reached comes first: {:?}", begun.elapsed());
        // After a while the order is the operator's again.
        let way = &street.wires.ways.get()[0];
        *way.reached.lock().unwrap() = Some((1, Instant::now().checked_sub(REACHED_FOR).unwrap()));
        assert_eq!(way.first(), 0);
        way.was_reached_by(1);
        assert_eq!(way.first(), 1);
        // It is gone, and the other one is tried as well.
        street.listeners[0] = None;
        assert!(street.wires.connect(0, patience).is_err());
    }

    #[test]
    fn a_silent_node_costs_its_head_start_and_the_next_one_answers() {
        let street = Street::new(&[3000, 0, 0]);
        let begun = Instant::now();
        let finish = street.race(LATE, &|| true);
        let took = begun.elapsed();
        assert_eq!(told(&finish).0, Some(1));
        assert_eq!(told(&finish).1.first(), Some(&(0, 's')));
        assert!(took >= HEAD_START && took < Duration::from_millis(2000), "{took:?}");
    }

    #[test]
    fn the_first_to_answer_wins_though_it_was_overtaken_in_being_asked() {
        let street = Street::new(&[300, 6000]);
        let finish = street.race(LATE, &|| true);
        assert_eq!(told(&finish), (Some(0), vec![(1, 's')]), "both were asked, the slow one is quicker than the slower one");
        assert_eq!(street.asked(), [1, 1]);
    }

    #[test]
    fn a_prompt_node_is_asked_alone_and_its_connection_is_kept() {
        let street = Street::new(&[0, 0]);
        for _ in 0..50 {
            street.race(LATE, &|| panic!("nobody else is to be asked")).won.unwrap();
        }
        assert_eq!(street.asked(), [50, 0]);
        assert_eq!(street.listeners[0].as_ref().unwrap().connections(), 1);
    }

    #[test]
    fn one_that_is_gone_is_passed_over_and_one_that_came_back_is_found_over_a_new_connection() {
        let mut street = Street::new(&[0, 0]);
        assert_eq!(told(&street.race(LATE, &|| true)).0, Some(0));
        street.listeners[0] = None;
        assert_eq!(told(&street.race(LATE, &|| true)), (Some(1), vec![(0, 'f')]));
        street.listeners[0] = Some(street.open(0));
        assert_eq!(told(&street.race(LATE, &|| true)), (Some(0), vec![]));
        // A restart between two requests: the kept connection is dead, and the node is not.
        street.listeners[0] = None;
        street.listeners[0] = Some(street.open(0));
        assert_eq!(told(&street.race(LATE, &|| panic!("nobody else is to be asked"))), (Some(0), vec![]));
    }

    #[test]
    fn without_leave_to_ask_another_the_first_is_waited_for_to_the_end() {
        let street = Street::new(&[400, 0]);
        assert_eq!(told(&street.race(LATE, &|| false)), (Some(0), vec![]));
        let finish = street.race(Duration::from_millis(100), &|| false);
        assert_eq!(told(&finish), (None, vec![(0, 's')]));
        assert_eq!(street.asked(), [2, 0]);
    }

    #[test]
    fn when_all_are_silent_the_patience_ends_the_race() {
        let street = Street::new(&[5000, 5000, 5000]);
        let begun = Instant::now();
        let finish = street.race(Duration::from_millis(300), &|| true);
        assert_eq!(told(&finish), (None, vec![(0, 's'), (1, 's'), (2, 's')]));
        assert!(begun.elapsed() < Duration::from_millis(3000), "{:?}", begun.elapsed());
    }
}
