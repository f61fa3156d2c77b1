//! What the log promises, seen from outside: with threads, processes, forks, and processes that are killed.
//!
//! Other processes are this test program again, told by an environment variable to run one of the [`ROLES`] instead of the tests.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rusqlite::Connection;

use super::decide::{Decision, decide};
use super::{Log, Proposal, RequestId, Solo, Version};
use crate::ck::AttributeType;
use crate::error::Code;
use crate::limits::{LOG_KEPT_CHANGES, REQUEST_SEQUENCE_MAX, REQUESTS_KEPT_PER_CLIENT};
use crate::object::TokenId;
use crate::store::tests::fixtures::{Directory, TOKEN, create, filled, id, init, row, tag};
use crate::store::{Batch, Change, ObjectRow, Outcome, Store};
use crate::sys::process::tests::in_child;
use crate::sys::vfs::fault::{self, Action};

/// A client of a store, with request numbers of its own.
struct Client {
    store: Arc<Store>,
    log: Solo,
    client: [u8; 16],
    sequence: AtomicU64,
}

impl Client {
    fn new(directory: &Path) -> Self {
        Self::of(Arc::new(Store::open(directory).unwrap()))
    }

    fn of(store: Arc<Store>) -> Self {
        let log = Solo::new(store.clone());
        Self { store, log, client: unlike_any_other(), sequence: AtomicU64::new(0) }
    }

    fn propose_as(&self, sequence: u64, change: Change) -> crate::error::Result<Outcome> {
        self.log.propose(Proposal { request: RequestId { client: self.client, sequence }, change })
    }

    fn propose(&self, change: Change) -> Outcome {
        self.propose_as(self.sequence.fetch_add(1, Ordering::Relaxed), change).unwrap()
    }

    fn create(&self, number: u64) -> Outcome {
        self.propose(create(vec![row(number)]))
    }
}

/// A client's id: no two clients, in whatever process, may have the same.
fn unlike_any_other() -> [u8; 16] {
    static COUNTER: AtomicU32 = AtomicU32::new(0);
    let number = COUNTER.fetch_add(1, Ordering::Relaxed);
    let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_nanos() as u64;
    let mut id = [0; 16];
    id[..4].copy_from_slice(&std::process::id().to_be_bytes());
    id[4..8].copy_from_slice(&number.to_be_bytes());
    id[8..].copy_from_slice(&now.to_be_bytes());
    id
}

fn attempt() -> Change {
    Change::ReserveAttempt { token: TOKEN, role: 0 }
}

#[test]
fn a_request_is_applied_once_and_answered_the_same_again() {
    let directory = Directory::new();
    let client = Client::of(Arc::new(filled(&directory, 0)));
    let first = client.propose_as(5, attempt()).unwrap();
    assert_eq!(first, Outcome::Attempt { attempts: 1 });
    assert_eq!(client.propose_as(5, attempt()).unwrap(), first);
    assert_eq!(crate::store::tests::fixtures::user_of(&client.store, TOKEN, 0).unwrap().attempts, 1);
    // Numbers may come out of order, and another client's are its own.
    assert_eq!(client.propose_as(4, attempt()).unwrap(), Outcome::Attempt { attempts: 2 });
    let other = Client::new(directory.path());
    assert_eq!(other.propose_as(5, attempt()).unwrap(), Outcome::Attempt { attempts: 3 });
    // An answer outlives the process.
    let name = client.client;
    drop((client, other));
    let again = Client { client: name, ..Client::new(directory.path()) };
    assert_eq!(again.propose_as(5, attempt()).unwrap(), first);
    again.store.check().unwrap();
}

/// Many proposals in one transaction end as one by one: what the transaction remembers of what it has looked up never differs from the store.
#[test]
fn a_batch_ends_like_its_proposals_one_by_one() {
    let other = TokenId([0x71; 16]);
    let tagged = |number: u64, tags: u64, version: u64| {
        let tags = (0..tags).map(|value| tag(AttributeType::LABEL, value)).collect();
        ObjectRow { version, tags, ..row(number) }
    };
    let change = |roll: u64| {
        let number = roll / 16 % 6;
        let generation = 1 + roll / 128 % 2;
        let token = if roll.is_multiple_of(2) { TOKEN } else { other };
        match roll / 2 % 16 {
            0..5 => {
                Change::CreateObjects { token, token_generation: generation, objects: vec![tagged(number, roll / 256 % 40, 1)] }
            }
            5 => Change::CreateObjects {
                token,
                token_generation: generation,
                objects: (number..number + 3).map(|number| tagged(number, 2, 1)).collect(),
            },
            6..9 => Change::ReplaceObject { token, row: tagged(number, roll / 256 % 40, 2 + roll / 512 % 2) },
            9..12 => Change::DeleteObject { token, id: id(number), expected_version: 1 + roll / 512 % 2 },
            12 => init(token, generation, None),
            13 => init(token, 3 - generation, Some(generation)),
            14 => Change::DeleteToken { token },
            _ => Change::ReserveAttempt { token, role: 0 },
        }
    };
    let mut state = 7_u64;
    let mut roll = move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state >> 20
    };
    // Some requests come again, some with another change, some out of order.
    let proposals: Vec<Proposal> = (0..3000_u64)
        .map(|at| {
            let request = RequestId { client: [(roll() % 3) as u8; 16], sequence: at.saturating_sub(roll() % 4 * (roll() % 8)) };
            Proposal { request, change: change(roll()) }
        })
        .collect();
    let directories: Vec<Directory> = (0..3).map(|_| Directory::new()).collect();
    let ended: Vec<_> = directories
        .iter()
        .zip([1, 40, 700])
        .map(|(directory, at_once)| {
            let store = filled(directory, 0);
            let mut answers = Vec::new();
            for some in proposals.chunks(at_once) {
                let batch = |batch: &mut Batch<'_>| some.iter().map(|proposal| decide(batch, proposal.clone())).collect();
                let some: Vec<_> = store.write(batch).unwrap();
                answers.extend(some);
            }
            (answers, store.set_hash().unwrap(), store.check().unwrap())
        })
        .collect();
    let count = |wanted: Outcome| ended[0].0.iter().filter(|decision| **decision == Decision::Answered(wanted)).count();
    assert!(count(Outcome::Done) > 300 && count(Outcome::Conflict) > 300 && count(Outcome::Gone) > 300, "all kinds are met");
    assert_eq!(ended[0], ended[1]);
    assert_eq!(ended[0], ended[2]);
}

#[test]
fn a_conflict_is_not_recorded() {
    let directory = Directory::new();
    let client = Client::of(Arc::new(filled(&directory, 1)));
    assert_eq!(client.propose_as(1, create(vec![row(0)])).unwrap(), Outcome::Conflict);
    assert_eq!(client.propose_as(1, create(vec![row(1)])).unwrap(), Outcome::Done);
    assert_eq!(client.propose_as(1, create(vec![row(2)])).unwrap(), Outcome::Done, "the first answer");
    assert_eq!(client.store.count(TOKEN).unwrap(), 2);
}

#[test]
fn what_is_no_longer_kept_is_refused_and_bounded() {
    let directory = Directory::new();
    let client = Client::of(Arc::new(filled(&directory, 0)));
    let changes = REQUESTS_KEPT_PER_CLIENT + 200;
    for sequence in 0..changes {
        client.propose_as(sequence, Change::ClearAttempts { token: TOKEN, role: 0, generation: 1 }).unwrap();
    }
    // Removal is in batches, so the next older ones may still be answered.
    for old in [0, 100] {
        let error = client.propose_as(old, attempt()).unwrap_err_or(old);
        assert_eq!(error.code(), Code::DeviceError, "{old}");
        assert!(error.to_string().contains("too old"), "{error}");
    }
    assert_eq!(client.propose_as(changes - REQUESTS_KEPT_PER_CLIENT, attempt()).unwrap(), Outcome::Done);
    let error = client.propose_as(REQUEST_SEQUENCE_MAX + 1, attempt()).unwrap_err_or(0);
    assert_eq!(error.code(), Code::DeviceError);
    client.store.check().unwrap();
    drop(client);
    let sql = Connection::open(directory.database()).unwrap();
    let rows = |table: &str| {
        sql.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get::<_, i64>(0)).unwrap().cast_unsigned()
    };
    assert!((LOG_KEPT_CHANGES..LOG_KEPT_CHANGES + 64).contains(&rows("log")), "{}", rows("log"));
    let answers = rows("request");
    assert!((REQUESTS_KEPT_PER_CLIENT..REQUESTS_KEPT_PER_CLIENT + 65).contains(&answers), "{answers}");
}

/// `unwrap_err` for outcomes that may be replayed: says which request was not refused.
trait Refused {
    fn unwrap_err_or(self, request: u64) -> crate::error::Error;
}

impl Refused for crate::error::Result<Outcome> {
    fn unwrap_err_or(self, request: u64) -> crate::error::Error {
        match self {
            Err(error) => error,
            Ok(outcome) => panic!("request {request} was answered with {outcome:?}"),
        }
    }
}

#[test]
fn a_version_is_equal_until_somebody_commits() {
    let directory = Directory::new();
    let one = Client::of(Arc::new(filled(&directory, 1)));
    let other = Client::new(directory.path());
    assert_ne!(Version::UNSETTLED, Version::UNSETTLED);
    let mut last = one.log.version();
    assert_eq!(one.log.version(), last);
    for round in 0..300 {
        one.store.object(TOKEN, id(0)).unwrap();
        assert_eq!(other.create(0), Outcome::Conflict);
        assert_eq!(one.log.version(), last, "neither reading nor a conflict changes it");
        let writer = if round % 3 == 0 { &one } else { &other };
        assert_eq!(writer.create(100 + round), Outcome::Done);
        let now = one.log.version();
        assert_ne!(now, last, "round {round}");
        assert_eq!(now, one.log.version());
        last = now;
    }
}

#[test]
fn a_removed_index_or_log_is_refused_while_others_use_it() {
    for suffix in ["-shm", "-wal"] {
        let directory = Directory::new();
        let user = Client::of(Arc::new(filled(&directory, 1)));
        assert_eq!(user.create(5), Outcome::Done);
        std::fs::remove_file(directory.path().join(format!("hsmpool.db{suffix}"))).unwrap();
        let error = Store::open(directory.path()).map(|_| ()).unwrap_err();
        assert_eq!(error.code(), Code::StoreRefused, "{error}");
        assert!(error.to_string().contains("removed while programs use"), "{error}");
        // Who was there goes on, and sees its own commits.
        let version = user.log.version();
        assert_eq!(user.create(6), Outcome::Done);
        assert_ne!(user.log.version(), version);
        drop(user);
        let store = directory.open();
        store.check().unwrap();
        assert!(store.count(TOKEN).unwrap() >= 1);
    }
}

#[test]
fn threads_of_two_libraries_write_and_read_at_once() {
    let directory = Directory::new();
    drop(filled(&directory, 0));
    let clients = [Client::new(directory.path()), Client::new(directory.path())];
    let done = AtomicBool::new(false);
    std::thread::scope(|threads| {
        let writers: Vec<_> = (0..6u64)
            .map(|writer| {
                let client = &clients[writer as usize % 2];
                threads.spawn(move || (0..40).for_each(|number| assert_eq!(client.create(writer * 1000 + number), Outcome::Done)))
            })
            .collect();
        for client in &clients {
            let done = &done;
            threads.spawn(move || {
                let mut seen = 0;
                while !done.load(Ordering::Relaxed) {
                    let count = client.store.count(TOKEN).unwrap();
                    assert!(count >= seen);
                    seen = count;
                }
            });
        }
        writers.into_iter().for_each(|writer| writer.join().unwrap());
        done.store(true, Ordering::Relaxed);
    });
    assert_eq!(clients[0].store.count(TOKEN).unwrap(), 240);
    clients[1].store.check().unwrap();
}

const ROLE: &str = "HSMPOOL_TEST_ROLE";
const DIRECTORY: &str = "HSMPOOL_TEST_DIRECTORY";
const NUMBER: &str = "HSMPOOL_TEST_NUMBER";

type Role = fn(&Path, u64);

/// What another process can be told to be.
const ROLES: &[(&str, Role)] = &[
    ("write fifty", write_fifty),
    ("write for ever", write_for_ever),
    ("die at an operation", die_at_operation),
    ("fork", fork_and_leave),
];

/// Not a test by itself.
#[test]
fn other_process() {
    let Ok(wanted) = std::env::var(ROLE) else { return };
    let directory = PathBuf::from(std::env::var_os(DIRECTORY).unwrap());
    let number = std::env::var(NUMBER).unwrap().parse().unwrap();
    let (_, role) = ROLES.iter().find(|(name, _)| *name == wanted).unwrap();
    role(&directory, number);
}

fn spawn(role: &str, directory: &Path, number: u64) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "log::tests::other_process", "--nocapture"])
        .env(ROLE, role)
        .env(DIRECTORY, directory)
        .env(NUMBER, number.to_string())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// The numbers that a process has said it created, up to its death. A child's line may come behind half a line of the parent's harness ("ok").
fn acknowledged(child: &mut Child) -> Vec<u64> {
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    lines.map(Result::unwrap).filter_map(|line| line.rsplit_once("created ")?.1.parse().ok()).collect()
}

fn create_and_say(client: &Client, number: u64) {
    assert_eq!(client.create(number), Outcome::Done);
    say(&format!("created {number}"));
}

/// Tells the test a line, in one piece, as several processes may share the pipe.
fn say(line: &str) {
    std::io::stdout().write_all(format!("{line}\n").as_bytes()).unwrap();
}

fn write_fifty(directory: &Path, number: u64) {
    let client = Client::new(directory);
    (0..50).for_each(|step| create_and_say(&client, number * 1000 + step));
}

fn write_for_ever(directory: &Path, number: u64) {
    let client = Client::new(directory);
    for step in 0.. {
        create_and_say(&client, number * 100_000 + step);
    }
}

fn die_at_operation(directory: &Path, number: u64) {
    let client = Client::new(directory);
    client.store.count(TOKEN).unwrap();
    // The first write opens the connection.
    assert_eq!(client.create(number * 100), Outcome::Done);
    say("ready");
    std::io::stdin().read_line(&mut String::new()).unwrap();
    fault::arm(Action::Kill, number as u32);
    create_and_say(&client, number * 100 + 50);
    say("survived");
}

#[test]
fn eight_processes_write_at_once_and_nobody_starves() {
    let directory = Directory::new();
    let store = filled(&directory, 0);
    let log = Solo::new(Arc::new(store));
    let mut writers: Vec<Child> = (1..=8).map(|number| spawn("write fifty", directory.path(), number)).collect();
    let mut last = log.version();
    let mut changes = 0;
    while writers.iter_mut().any(|writer| writer.try_wait().unwrap().is_none()) {
        let now = log.version();
        changes += u32::from(now != last);
        last = now;
        std::thread::sleep(Duration::from_micros(500));
    }
    for (number, writer) in (1..).zip(&mut writers) {
        let expected: Vec<u64> = (0..50).map(|step| number * 1000 + step).collect();
        assert_eq!(acknowledged(writer), expected, "writer {number}");
        assert!(writer.wait().unwrap().success());
    }
    assert!(changes > 0);
    let store = directory.open();
    assert_eq!(store.count(TOKEN).unwrap(), 400);
    store.check().unwrap();
}

#[test]
fn a_killed_writer_loses_nothing_that_it_acknowledged() {
    let directory = Directory::new();
    let store = filled(&directory, 0);
    let mut expected = 0;
    for kill in 1..=50 {
        let mut writer = spawn("write for ever", directory.path(), kill);
        // Long enough to be in the middle of something, each time somewhere else.
        std::thread::sleep(Duration::from_millis(15 + kill * 7 % 40));
        writer.kill().unwrap();
        let numbers = acknowledged(&mut writer);
        writer.wait().unwrap();
        for number in &numbers {
            let found = store.object(TOKEN, id(*number)).unwrap();
            assert!(found.is_some_and(|found| found.sealed == row(*number).sealed), "object {number} is lost");
        }
        expected += numbers.len() as u64;
        if kill % 10 == 0 {
            let report = store.check().unwrap();
            // The last one of each may have been committed and not acknowledged.
            assert!((expected..=expected + kill).contains(&report.objects), "{} of {expected}", report.objects);
        }
    }
    assert!(expected > 50, "only {expected} were ever acknowledged");
}

/// Kills a writer at each of its calls to the file layer in turn: reads, torn writes, syncs, locks, and the barrier between the two copies of the
/// index's header. Whatever became of its commit, a reader whose version is still equal must not have missed it.
#[test]
fn no_commit_is_missed_wherever_its_writer_dies() {
    let directory = Directory::new();
    let mut reader = Client::of(Arc::new(filled(&directory, 0)));
    let (mut points, mut unsettled, mut committed_unsaid) = (0, 0, 0);
    for point in 0.. {
        let object = id(point * 100 + 50);
        let mut writer = spawn("die at an operation", directory.path(), point);
        let mut said = BufReader::new(writer.stdout.take().unwrap()).lines().map(Result::unwrap);
        assert!(said.any(|line| line == "ready"));
        let before = reader.log.version();
        assert_eq!(before, reader.log.version());
        assert_eq!(reader.store.object(TOKEN, object).unwrap(), None);
        writer.stdin.take().unwrap().write_all(b"\n").unwrap();
        let said: Vec<String> = said.collect();
        writer.wait().unwrap();
        if said.iter().any(|line| line == "survived") {
            break;
        }
        points += 1;
        let after = reader.log.version();
        let seen = reader.store.object(TOKEN, object).unwrap().is_some();
        assert!(!seen || after != before, "point {point}: a commit was missed");
        let acknowledged = said.iter().any(|line| line.starts_with("created"));
        assert!(seen || !acknowledged, "point {point}: acknowledged and lost");
        committed_unsaid += u32::from(seen && !acknowledged);
        unsettled += u32::from(is_unsettled(after));
        let settled = reader.log.version();
        assert_eq!(settled, reader.log.version(), "point {point}: a read settles it");
        assert_eq!(reader.create(1_000_000 + point), Outcome::Done);
        assert_ne!(reader.log.version(), settled, "point {point}: the next commit is noticed");
        if point % 4 == 3 {
            // Sometimes nobody is left, and the log is folded back and removed.
            drop(reader);
            reader = Client::new(directory.path());
            assert_eq!(reader.create(2_000_000 + point), Outcome::Done);
        }
    }
    assert!(points > 10, "only {points} operations");
    assert!(unsettled > 0, "no writer died between the two copies of the header");
    assert!(committed_unsaid > 0, "no writer died after its commit");
    reader.store.check().unwrap();
}

/// An unsettled version equals nothing, not even itself.
#[allow(clippy::eq_op)]
fn is_unsettled(version: Version) -> bool {
    version != version
}

#[test]
fn children_go_on_with_their_parents_store() {
    let directory = Directory::new();
    let client = Client::of(Arc::new(filled(&directory, 1)));
    let version = client.log.version();
    assert!(in_child(|| {
        let unsettled = client.log.version() != version;
        let read = client.store.object(TOKEN, id(0)).unwrap().is_some();
        let settled = client.log.version();
        let wrote = client.propose_as(1000, create(vec![row(1)])).unwrap() == Outcome::Done;
        client.store.after_fork();
        unsettled && read && wrote && client.log.version() != settled && client.store.count(TOKEN).unwrap() == 2
    }));
    assert_ne!(client.log.version(), version);
    assert_eq!(client.create(2), Outcome::Done);
    client.store.check().unwrap();
}

/// Opens the store and writes, then forks children that go on with it or open it anew; all write, and the parent leaves first.
fn fork_and_leave(directory: &Path, number: u64) {
    let client = Client::new(directory);
    create_and_say(&client, number);
    for child in 1..=4u64 {
        let born = crate::sys::process::tests::fork_for_good(|| {
            let own = if child % 2 == 0 { Client::new(directory) } else { Client::of(client.store.clone()) };
            (0..30).for_each(|step| create_and_say(&own, number + child * 1000 + step));
        });
        assert!(born);
    }
    (1..10).for_each(|step| create_and_say(&client, number + step));
}

#[test]
fn children_write_on_when_the_parent_has_left() {
    let directory = Directory::new();
    drop(filled(&directory, 0));
    for round in 0..3 {
        let mut parent = spawn("fork", directory.path(), round * 10_000);
        // The pipe ends when the last of the children has gone.
        let numbers = acknowledged(&mut parent);
        assert!(parent.wait().unwrap().success());
        assert_eq!(numbers.len(), 10 + 4 * 30, "round {round}");
        let store = directory.open();
        assert!(numbers.iter().all(|number| store.object(TOKEN, id(*number)).unwrap().is_some()));
        store.check().unwrap();
    }
}

#[test]
fn forks_beside_writing_threads_do_no_harm() {
    let directory = Directory::new();
    let client = Client::of(Arc::new(filled(&directory, 0)));
    let done = AtomicBool::new(false);
    let written: u64 = std::thread::scope(|threads| {
        let writers: Vec<_> = (0..3u64)
            .map(|writer| {
                let (client, done) = (&client, &done);
                threads.spawn(move || {
                    let mut step = 0;
                    while !done.load(Ordering::Relaxed) {
                        assert_eq!(client.create(writer * 100_000 + step), Outcome::Done);
                        step += 1;
                    }
                    step
                })
            })
            .collect();
        for child in 0..60u64 {
            assert!(in_child(|| {
                let own = Client::of(client.store.clone());
                own.propose_as(child, create(vec![row(1_000_000 + child)])).unwrap() == Outcome::Done
                    && own.store.object(TOKEN, id(1_000_000 + child)).unwrap().is_some()
            }));
        }
        done.store(true, Ordering::Relaxed);
        writers.into_iter().map(|writer| writer.join().unwrap()).sum()
    });
    assert_eq!(client.store.count(TOKEN).unwrap(), written + 60);
    client.store.check().unwrap();
}

#[test]
fn a_token_made_by_another_process_is_seen_at_once() {
    let directory = Directory::new();
    let one = Client::new(directory.path());
    let other = Client::new(directory.path());
    assert_eq!(one.store.tokens().unwrap(), []);
    let version = one.log.version();
    assert_eq!(other.propose(init(TOKEN, 1, None)), Outcome::Done);
    assert_ne!(one.log.version(), version);
    assert_eq!(one.store.tokens().unwrap().len(), 1);
}

#[test]
fn a_held_store_is_waited_for() {
    let directory = Directory::new();
    let client = Client::of(Arc::new(filled(&directory, 0)));
    let holder = Connection::open(directory.database()).unwrap();
    holder.execute_batch("BEGIN IMMEDIATE").unwrap();
    std::thread::scope(|threads| {
        let start = Instant::now();
        let waiting = threads.spawn(|| client.create(1));
        std::thread::sleep(Duration::from_millis(300));
        holder.execute_batch("COMMIT").unwrap();
        assert_eq!(waiting.join().unwrap(), Outcome::Done);
        assert!(start.elapsed() >= Duration::from_millis(300));
    });
}
