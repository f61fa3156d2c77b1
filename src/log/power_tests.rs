//! Power fails during each write and each sync of each kind of transaction: what was acknowledged is there, nothing is there by half, and
//! the store opens. On a disk in memory that loses what a disk may lose ([`crate::sys::vfs::memory`]).

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use crate::error::Result;
use crate::log::{Log, Proposal, RequestId, Solo};
use crate::object::TokenId;
use crate::store::tests::fixtures::{TOKEN, apply, create, create_on, id, init, row, stand_at, token_row, user_row};
use crate::store::{Change, CheckedCopy, Journal, JournalFact, ObjectRow, Outcome, Place, Store, TokenRow, UserRow};
use crate::sys::vfs::memory::{Disk, Loss};

/// How many ways in which sectors are lost by a seed are tried at each point; all by the flag.
fn seeds() -> u64 {
    if std::env::var_os("HSMPOOL_TEST_FULL").is_some_and(|value| value == "1") { 64 } else { 1 }
}

fn losses() -> impl Iterator<Item = Loss> {
    let fixed = [Loss::Everything, Loss::AllButNewest, Loss::Nothing, Loss::Newest];
    let share = if seeds() > 1 { fixed.len() } else { 2 };
    fixed.into_iter().take(share).chain((0..seeds()).map(Loss::Some))
}

type Facts = Vec<(TokenRow, Vec<UserRow>, Vec<ObjectRow>)>;

fn facts(store: &Store) -> Facts {
    let of = |token: TokenRow| {
        let (token, users) = store.token_and_users(token.id).unwrap().unwrap();
        let found = store.find(token.id, &[], true).unwrap();
        let objects = found.into_iter().map(|found| store.object(token.id, found.id).unwrap().unwrap()).collect();
        (token, users, objects)
    };
    store.tokens().unwrap().into_iter().map(of).collect()
}

fn request(sequence: usize) -> RequestId {
    RequestId { client: [5; 16], sequence: sequence as u64 }
}

/// What is done to a store, one transaction after the other.
struct Deed {
    name: &'static str,
    changes: Vec<Change>,
}

const OTHER: TokenId = TokenId([0x71; 16]);

fn changed(number: u64, version: u64) -> ObjectRow {
    let mut row = row(number);
    row.tags.truncate(2);
    ObjectRow { version, private: true, ..row }
}

/// One of each kind of change, on a store that holds [`TOKEN`] with its users and forty objects.
fn deeds() -> Vec<Deed> {
    let user = |generation| UserRow { attempts: 1, ..user_row(TOKEN, 1, generation) };
    let one = |name, change| Deed { name, changes: vec![change] };
    let imported = Change::ImportToken {
        token: token_row(OTHER, 1),
        so: user_row(OTHER, 0, 1),
        user: Some(user_row(OTHER, 1, 1)),
        objects: (100..130).map(row).collect(),
    };
    vec![
        one("a new token", init(OTHER, 1, None)),
        one("a token emptied", init(TOKEN, 2, Some(1))),
        one("a token removed", Change::DeleteToken { token: TOKEN }),
        one("an object", create(vec![row(50)])),
        one("objects", create((50..80).map(row).collect())),
        one("an object changed", Change::ReplaceObject { token: TOKEN, row: changed(3, 2) }),
        one("an object removed", Change::DeleteObject { token: TOKEN, id: id(3), expected_version: 1 }),
        one("a PIN changed", Change::SetUser { user: user(2), expected_generation: Some(1) }),
        one("an attempt", Change::ReserveAttempt { token: TOKEN, role: 1 }),
        one("attempts cleared", Change::ClearAttempts { token: TOKEN, role: 1, generation: 1 }),
        one("a token imported", imported),
        Deed { name: "a conflict, then an object", changes: vec![create(vec![row(1)]), create(vec![row(51)])] },
    ]
}

/// A new kind of change must be tried here too.
fn kind(change: &Change) -> usize {
    match change {
        Change::InitToken { .. } => 0,
        Change::DeleteToken { .. } => 1,
        Change::CreateObjects { .. } => 2,
        Change::ReplaceObject { .. } => 3,
        Change::DeleteObject { .. } => 4,
        Change::SetUser { .. } => 5,
        Change::ReserveAttempt { .. } => 6,
        Change::ClearAttempts { .. } => 7,
        Change::ImportToken { .. } => 8,
    }
}

fn prepared() -> Disk {
    let disk = Disk::mount(1);
    let store = Store::open(&disk.path()).unwrap();
    assert_eq!(apply(&store, init(TOKEN, 1, None)).unwrap(), Outcome::Done);
    let user = Change::SetUser { user: user_row(TOKEN, 1, 1), expected_generation: None };
    assert_eq!(apply(&store, user).unwrap(), Outcome::Done);
    assert_eq!(apply(&store, create((0..40).map(row).collect())).unwrap(), Outcome::Done);
    drop(store);
    // No write-ahead log stands beside it: the next one is new, and its name too must become durable.
    disk.sync_names().unwrap();
    disk
}

/// Does it, and tells after each transaction.
fn act(dir: &Path, changes: &[Change], mut done: impl FnMut(&Store, Outcome)) -> Result<()> {
    let store = Arc::new(Store::open(dir)?);
    let log = Solo::new(store.clone());
    for (at, change) in changes.iter().enumerate() {
        let outcome = log.propose(Proposal { request: request(at), change: change.clone() })?;
        done(&store, outcome);
    }
    Ok(())
}

/// Lets power fail everywhere during the changes.
fn survive(base: &Disk, name: &str, changes: &[Change]) -> u64 {
    let disk = base.duplicate(1);
    let mut states = vec![facts(&Store::open(&base.path()).unwrap())];
    let mut outcomes = Vec::new();
    let begun = disk.operations();
    act(&disk.path(), changes, |store, outcome| {
        states.push(facts(store));
        outcomes.push(outcome);
    })
    .unwrap();
    let operations = disk.operations() - begun;
    assert!(operations > 2, "{name}");
    let mut tried = 0;
    for (after, loss) in (0..=operations).flat_map(|after| losses().map(move |loss| (after, loss))) {
        let told = format!("{name}: power fails after operation {after}, loss {loss:?}");
        let disk = base.duplicate(after ^ 0x5eed);
        disk.fail_after(after);
        let mut acknowledged = 0;
        let acted = act(&disk.path(), changes, |_, _| acknowledged += 1);
        assert_eq!(acted.is_ok(), acknowledged == changes.len(), "{told}");
        disk.crash(loss);
        let store = Arc::new(Store::open(&disk.path()).unwrap_or_else(|error| panic!("{told}: {error}")));
        store.check().unwrap_or_else(|error| panic!("{told}: {error}"));
        let found = facts(&store);
        let in_flight = (acknowledged + 1).min(changes.len());
        assert!(found == states[acknowledged] || found == states[in_flight], "{told}: {acknowledged} were acknowledged");
        // Whether or not it was done, asking again does it once.
        let log = Solo::new(store.clone());
        for at in acknowledged.saturating_sub(1)..changes.len() {
            let again = log.propose(Proposal { request: request(at), change: changes[at].clone() }).unwrap();
            assert_eq!(again, outcomes[at], "{told}");
        }
        assert!(facts(&store) == *states.last().unwrap(), "{told}");
        store.check().unwrap();
        tried += 1;
    }
    tried
}

#[test]
fn each_kind_of_change_survives_a_power_failure_at_each_operation() {
    let base = prepared();
    let deeds = deeds();
    let kinds: BTreeSet<usize> = deeds.iter().flat_map(|deed| deed.changes.iter().map(kind)).collect();
    assert_eq!(kinds, (0..9).collect(), "each kind of change is tried");
    let tried: u64 = deeds.iter().map(|deed| survive(&base, deed.name, &deed.changes)).sum();
    println!("{tried} power failures");
}

#[test]
fn changes_survive_while_the_log_is_folded_back() {
    let base = prepared();
    let large = |number: u64| {
        let mut row = row(number);
        row.sealed = crate::store::Sealed::from_ciphertext(vec![number as u8; 120_000]);
        create(vec![row])
    };
    // Pages after which the log is folded back: some 500.
    let changes: Vec<Change> = (200..219).map(large).collect();
    let tried = survive_sampled(&base, "many large objects", &changes);
    println!("{tried} power failures");
}

/// The same for a long run: each operation by the flag, else a share of them.
fn survive_sampled(base: &Disk, name: &str, changes: &[Change]) -> u64 {
    let counted = base.duplicate(1);
    act(&counted.path(), changes, |_, _| {}).unwrap();
    let operations = counted.operations();
    let step = if seeds() > 1 { 1 } else { 29 };
    let mut tried = 0;
    for after in (0..operations).step_by(step) {
        for loss in [Loss::Everything, Loss::Some(after)] {
            let disk = base.duplicate(after);
            disk.fail_after(after);
            let mut acknowledged = 0;
            let _ = act(&disk.path(), changes, |_, _| acknowledged += 1);
            disk.crash(loss);
            let store = Store::open(&disk.path()).unwrap_or_else(|error| panic!("{name} {after} {loss:?}: {error}"));
            store.check().unwrap_or_else(|error| panic!("{name} {after} {loss:?}: {error}"));
            let there = store.count(TOKEN).unwrap() as usize - 40;
            assert!(there == acknowledged || there == acknowledged + 1, "{name} {after} {loss:?}: {there} of {acknowledged}");
            tried += 1;
        }
    }
    tried
}

#[test]
fn a_new_store_is_made_whole_or_can_be_made_again() {
    let whole = Disk::mount(1);
    drop(Store::open(&whole.path()).unwrap());
    let operations = whole.operations();
    for (after, loss) in (0..=operations).flat_map(|after| losses().map(move |loss| (after, loss))) {
        let disk = Disk::mount(after);
        disk.fail_after(after);
        let _ = Store::open(&disk.path());
        disk.crash(loss);
        let store = Store::open(&disk.path()).unwrap_or_else(|error| panic!("after {after}, {loss:?}: {error}"));
        store.check().unwrap();
        assert_eq!(apply(&store, init(TOKEN, 1, None)).unwrap(), Outcome::Done);
    }
}

/// Sample points of a failing thing, each tried with every loss.
fn everywhere(base: &Disk, act: impl Fn(&Disk) -> Result<()>, judge: impl Fn(&Disk, bool, &str)) {
    let disk = base.duplicate(1);
    let begun = disk.operations();
    act(&disk).unwrap();
    let operations = disk.operations() - begun;
    for (after, loss) in (0..=operations).flat_map(|after| losses().map(move |loss| (after, loss))) {
        let disk = base.duplicate(after);
        disk.fail_after(after);
        let done = act(&disk).is_ok();
        disk.crash(loss);
        judge(&disk, done, &format!("power fails after {after} of {operations}, loss {loss:?}"));
    }
}

fn place(number: u8) -> Place {
    Place { applied: Some(vec![number; 3]), membership: Some(vec![number]) }
}

#[test]
fn a_member_s_store_keeps_what_was_settled_and_stands_where_it_says() {
    let base = prepared();
    let act = |disk: &Disk| {
        let store = Store::open(&disk.path())?;
        store.replicate()?;
        let put = |number: u8| {
            apply(&store, create(vec![row(60 + u64::from(number))]))?;
            stand_at(&store, place(number))
        };
        put(1)?;
        put(2)?;
        store.settle()?;
        put(3)
    };
    everywhere(&base, act, |disk, done, told| {
        let store = Store::open(&disk.path()).unwrap_or_else(|error| panic!("{told}: {error}"));
        store.check().unwrap_or_else(|error| panic!("{told}: {error}"));
        let there = store.count(TOKEN).unwrap() - 40;
        assert!(there <= 3 && (!done || there >= 2), "{told}: {there}");
        store.replicate().unwrap();
        let applied = store.place().unwrap().applied;
        let behind = applied.map_or(0, |applied| u64::from(applied[0]));
        assert!(behind == there || behind + 1 == there, "{told}: {behind} {there}");
    });
}

#[test]
fn what_a_member_leaves_open_is_there_with_its_place_or_not_at_all() {
    let base = prepared();
    let act = |disk: &Disk| {
        let store = Store::open(&disk.path())?;
        store.replicate()?;
        let put = |number: u8| create_on(&store, 60 + u64::from(number), place(number)).map(drop);
        put(1)?;
        put(2)?;
        store.put_down()?;
        put(3)?;
        put(4)?;
        store.settle()?;
        put(5)
    };
    everywhere(&base, act, |disk, done, told| {
        let store = Store::open(&disk.path()).unwrap_or_else(|error| panic!("{told}: {error}"));
        store.check().unwrap_or_else(|error| panic!("{told}: {error}"));
        let there = store.count(TOKEN).unwrap() - 40;
        assert!([0, 2, 4].contains(&there) && (!done || there == 4), "{told}: {there}");
        store.replicate().unwrap();
        let applied = store.place().unwrap().applied;
        assert_eq!(applied.map_or(0, |applied| u64::from(applied[0])), there, "{told}");
    });
}

#[test]
fn a_snapshot_is_installed_whole_or_not_at_all() {
    let source = prepared();
    let leader = Store::open(&source.path()).unwrap();
    leader.replicate().unwrap();
    assert_eq!(apply(&leader, create((300..420).map(row).collect())).unwrap(), Outcome::Done);
    stand_at(&leader, place(9)).unwrap();
    let expected = facts(&leader);
    let base = prepared();
    let before = facts(&Store::open(&base.path()).unwrap());
    Store::open(&base.path()).unwrap().replicate().unwrap();
    let act = |disk: &Disk| {
        let store = Store::open(&disk.path())?;
        store.replicate()?;
        let file = disk.path().join("arriving");
        let shipped = source.path().join("copy");
        let _ = crate::sys::files::remove(&shipped);
        leader.copy_to(&shipped)?;
        let bytes = source.contents(&shipped).unwrap();
        let written = crate::sys::files::create_new(&file).and_then(|mut out| std::io::Write::write_all(&mut out, &bytes));
        written.map_err(|error| crate::error::refuse(crate::error::Code::DeviceError, error.to_string()))?;
        store.install(&CheckedCopy::of(&file, &place(9))?).map(drop)
    };
    everywhere(&base, act, |disk, done, told| {
        let store = Store::open(&disk.path()).unwrap_or_else(|error| panic!("{told}: {error}"));
        store.check().unwrap_or_else(|error| panic!("{told}: {error}"));
        let found = facts(&store);
        assert!(found == expected || (!done && found == before), "{told}");
        store.replicate().unwrap();
        assert_eq!(store.place().unwrap().applied.is_some(), found == expected, "{told}");
    });
}

/// What a journal holds.
type Held = (Vec<(u64, Vec<u8>)>, Option<Vec<u8>>, Option<Vec<u8>>);

fn held(journal: &Journal) -> Held {
    let entries = journal.read(0..1000, usize::MAX).unwrap();
    (entries, journal.fact(JournalFact::Vote).unwrap(), journal.fact(JournalFact::Purged).unwrap())
}

#[test]
fn each_write_of_the_group_s_log_survives_a_power_failure_at_each_operation() {
    const WRITES: usize = 7;
    let write = |journal: &mut Journal, number: usize| {
        journal.write(|write| match number {
            0 => (0..20).try_for_each(|at| write.put(at, &[at as u8; 900])),
            1 => write.set(JournalFact::Vote, b"a vote"),
            2 => write.drop_from(15),
            3 => (15..18).try_for_each(|at| write.put(at, b"of another leader")),
            4 => write.set(JournalFact::Purged, b"up to 9").and_then(|()| write.drop_before(10, 1000).map(drop)),
            5 => write.set(JournalFact::Vote, b"a newer vote"),
            _ => (18..60).try_for_each(|at| write.put(at, &[at as u8; 5000])),
        })
    };
    let act = |dir: &Path, done: &mut dyn FnMut(&Journal)| -> Result<()> {
        let mut journal = Journal::open(dir)?;
        done(&journal);
        for number in 0..WRITES {
            write(&mut journal, number)?;
            done(&journal);
        }
        Ok(())
    };
    let disk = Disk::mount(1);
    let mut states = Vec::new();
    act(&disk.path(), &mut |journal| states.push(held(journal))).unwrap();
    for (after, loss) in (0..=disk.operations()).flat_map(|after| losses().map(move |loss| (after, loss))) {
        let told = format!("power fails after {after}, loss {loss:?}");
        let disk = Disk::mount(after);
        disk.fail_after(after);
        let mut opened = 0;
        let _ = act(&disk.path(), &mut |_| opened += 1);
        disk.crash(loss);
        let mut journal = Journal::open(&disk.path()).unwrap_or_else(|error| panic!("{told}: {error}"));
        let (found, acknowledged) = (held(&journal), usize::saturating_sub(opened, 1));
        let next = (acknowledged + 1).min(WRITES);
        assert!(found == states[acknowledged] || found == states[next], "{told}: {acknowledged} were acknowledged");
        (acknowledged..WRITES).for_each(|number| write(&mut journal, number).unwrap());
        assert!(held(&journal) == states[WRITES], "{told}");
    }
}

#[test]
fn a_failed_sync_and_a_full_disk_lose_nothing_that_was_acknowledged() {
    let base = prepared();
    let changes: Vec<Change> = (500..506).map(|number| create(vec![row(number)])).collect();
    let tries = |sabotage: &dyn Fn(&Disk)| {
        let disk = base.duplicate(7);
        sabotage(&disk);
        let mut acknowledged = 0;
        let acted = act(&disk.path(), &changes, |_, _| acknowledged += 1);
        disk.limit(None);
        disk.crash(Loss::Everything);
        let store = Store::open(&disk.path()).unwrap();
        store.check().unwrap();
        let there = store.count(TOKEN).unwrap() as usize - 40;
        assert!(there == acknowledged || there == acknowledged + 1, "{there} of {acknowledged}");
        acted.map(|()| acknowledged)
    };
    let failures = (0..8).filter(|syncs| tries(&|disk| disk.fail_sync_after(*syncs)).is_err()).count();
    assert!(failures >= 6, "{failures}");
    for room in (0..40_000).step_by(1777) {
        if let Err(error) = tries(&|disk| disk.limit(Some(disk.used() + room))) {
            assert_eq!(error.code(), crate::error::Code::DeviceMemory, "{error}");
        }
    }
}

/// A token with its generation, its users, and its objects with their versions.
type Skeleton = (TokenId, u64, Vec<(u8, u64, u32)>, Vec<(crate::object::ObjectId, u64)>);

/// What a store says of its objects, without what only their owner's key can judge.
fn skeleton(store: &Store) -> Result<Vec<Skeleton>> {
    let mut all = Vec::new();
    for token in store.tokens()? {
        let users = store.token_and_users(token.id)?.map(|(_, users)| users).unwrap_or_default();
        let found = store.find(token.id, &[], true)?.into_iter().map(|found| found.id);
        let versions = found.map(|id| Ok((id, store.object_version(token.id, id)?.unwrap_or(0))));
        let users = users.iter().map(|user| (user.role, user.generation, user.attempts)).collect();
        all.push((token.id, token.generation, users, versions.collect::<Result<_>>()?));
    }
    Ok(all)
}

#[test]
fn a_damaged_store_opens_right_or_says_what_is_wrong() {
    let base = prepared();
    let expected = skeleton(&Store::open(&base.path()).unwrap()).unwrap();
    let file = "hsmpool.db";
    let whole = base.contents(&base.path().join(file)).unwrap();
    let step = if seeds() > 1 { 1 } else { 97 };
    let (mut right, mut refused) = (0, 0);
    let mut judge = |bytes: Vec<u8>, told: String| {
        let disk = base.duplicate(1);
        disk.damage(&disk.path().join(file), bytes);
        let opened = Store::open(&disk.path()).and_then(|store| store.check().and_then(|_| skeleton(&store)));
        match opened {
            Ok(found) => {
                assert!(found == expected, "{told}: a wrong answer");
                right += 1;
            }
            Err(error) => {
                assert!(error.to_string().contains(file), "{told}: {error}");
                refused += 1;
            }
        }
    };
    for bit in (0..whole.len() * 8).step_by(step * 11 + 1) {
        let mut bytes = whole.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        judge(bytes, format!("bit {bit} flipped"));
    }
    for len in (0..whole.len()).step_by(512) {
        judge(whole[..len].to_vec(), format!("cut to {len}"));
        let mut torn = whole.clone();
        torn[len..(len + 512).min(whole.len())].fill(0);
        judge(torn, format!("sector at {len} of zeros"));
    }
    println!("{right} right, {refused} refused");
    assert!(right > 0 && refused > 100);
}

#[test]
fn a_damaged_group_s_log_reads_right_or_says_what_is_wrong() {
    let base = Disk::mount(1);
    let mut journal = Journal::open(&base.path()).unwrap();
    journal.write(|write| (0..40).try_for_each(|at| write.put(at, &[at as u8; 700]))).unwrap();
    journal.write(|write| write.set(JournalFact::Vote, b"a vote")).unwrap();
    let expected = held(&journal);
    drop(journal);
    base.sync_names().unwrap();
    let whole = base.contents(&base.path().join("log.db")).unwrap();
    let step = if seeds() > 1 { 1 } else { 53 };
    let (mut right, mut refused) = (0, 0);
    for bit in (0..whole.len() * 8).step_by(step * 11 + 1) {
        let disk = base.duplicate(1);
        let mut bytes = whole.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        disk.damage(&disk.path().join("log.db"), bytes);
        let read = Journal::open(&disk.path()).and_then(|journal| {
            let ends = journal.ends()?;
            let entries = journal.read(0..1000, usize::MAX)?;
            Ok((ends, (entries, journal.fact(JournalFact::Vote)?, journal.fact(JournalFact::Purged)?)))
        });
        match read {
            Ok((_, found)) if found == expected => right += 1,
            // Which entries there are is judged by who opens the log: it knows where it must begin and that it has no gap.
            Ok((ends, found)) => {
                let last = ends.map_or(0, |(_, last)| last);
                let whole = ends == Some((0, 39)) && found.0.len() == 40 && found.1.is_some();
                assert!(!whole, "bit {bit}: a wrong answer, up to {last}");
            }
            Err(error) => {
                assert!(error.to_string().contains("log"), "bit {bit}: {error}");
                refused += 1;
            }
        }
    }
    println!("{right} right, {refused} refused");
    assert!(right > 0 && refused > 10);
}
