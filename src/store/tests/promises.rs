//! What the store promises, seen from outside.

use std::os::unix::fs::{PermissionsExt, symlink};

use rusqlite::Connection;

use super::fixtures::{Directory, TOKEN, apply, create, filled, id, init, row, tag, token_row, user_of, user_row};
use crate::ck::AttributeType;
use crate::error::Code;
use crate::object::TokenId;
use crate::store::{Change, ObjectRow, Outcome, Sealed, Store, Tag, TokenRow};
use crate::sys::process::tests::{become_nobody, in_child};
use crate::sys::vfs::fault::{self, Action, Operation};

fn replace(number: u64, version: u64, tags: Vec<Tag>) -> Change {
    let sealed = Sealed::from_ciphertext(vec![0xee; 10]);
    Change::ReplaceObject { token: TOKEN, row: ObjectRow { id: id(number), version, private: true, sealed, tags } }
}

fn delete(number: u64, expected_version: u64) -> Change {
    Change::DeleteObject { token: TOKEN, id: id(number), expected_version }
}

#[test]
fn whether_somebody_has_a_store_open_is_known_without_opening_it() {
    let directory = Directory::new();
    assert!(!Store::is_in(directory.path()), "there is none yet");
    let store = directory.open();
    assert!(Store::is_in(directory.path()));
    assert!(Store::is_in_use(directory.path()).unwrap(), "it is open");
    let another = directory.open();
    drop(store);
    assert!(Store::is_in_use(directory.path()).unwrap(), "one of two is left");
    drop(another);
    assert!(!Store::is_in_use(directory.path()).unwrap(), "nobody is left");
}

#[test]
fn rows_come_back_as_they_were_put_in() {
    let directory = Directory::new();
    let store = filled(&directory, 3);
    assert_eq!(store.tokens().unwrap(), [token_row(TOKEN, 1)]);
    assert_eq!(store.token(TOKEN).unwrap(), Some(token_row(TOKEN, 1)));
    assert_eq!(store.token(TokenId([1; 16])).unwrap(), None);
    assert_eq!(user_of(&store, TOKEN, 0), Some(user_row(TOKEN, 0, 1)));
    assert_eq!(user_of(&store, TOKEN, 1), None);
    let mut expected = row(2);
    expected.tags.sort_unstable();
    assert_eq!(store.object(TOKEN, id(2)).unwrap(), Some(expected));
    assert_eq!(store.object(TOKEN, id(3)).unwrap(), None);
    assert_eq!(store.object(TokenId([1; 16]), id(2)).unwrap(), None);
    assert_eq!(store.count(TOKEN).unwrap(), 3);
    let report = store.check().unwrap();
    assert_eq!((report.tokens, report.users, report.objects, report.applied), (1, 1, 3, 2));
    assert_eq!(store.set_hash().unwrap(), (2, report.set_hash));
}

#[test]
fn everything_is_there_after_closing_and_the_files_are_the_owners() {
    let directory = Directory::new();
    let store = filled(&directory, 5);
    for file in std::fs::read_dir(directory.path()).unwrap().map(Result::unwrap) {
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{:?}", file.path());
    }
    let hash = store.set_hash().unwrap();
    drop(store);
    let names: Vec<_> = std::fs::read_dir(directory.path()).unwrap().map(|file| file.unwrap().file_name()).collect();
    assert_eq!(names, ["hsmpool.db"], "the last connection folds the log back");
    let store = directory.open();
    assert_eq!(store.count(TOKEN).unwrap(), 5);
    assert_eq!(store.set_hash().unwrap(), hash);
    store.check().unwrap();
}

/// A token with the serial number of another.
fn import(id: TokenId, serial_of: TokenId, objects: Vec<ObjectRow>) -> Change {
    let token = TokenRow { serial: token_row(serial_of, 1).serial, ..token_row(id, 1) };
    Change::ImportToken { token, so: user_row(id, 0, 1), user: Some(user_row(id, 1, 1)), objects }
}

/// Each change on a store with the token in generation 1 and objects 0 to 2 in version 1, and the outcome.
#[test]
fn apply_compares_what_a_change_was_decided_on() {
    use Outcome::{Conflict, Done, Gone};
    let other = TokenId([1; 16]);
    let elsewhere = |change| match change {
        Change::DeleteObject { id, expected_version, .. } => Change::DeleteObject { token: other, id, expected_version },
        change => change,
    };
    let wrong_generation = Change::CreateObjects { token: TOKEN, token_generation: 2, objects: vec![row(7)] };
    let no_token = Change::CreateObjects { token: other, token_generation: 1, objects: vec![row(7)] };
    let mut same_serial = token_row(other, 1);
    same_serial.serial = token_row(TOKEN, 1).serial;
    let same_serial = Change::InitToken { token: same_serial, so: user_row(other, 0, 1), expected_generation: None };
    let user = |generation, expected_generation| Change::SetUser { user: user_row(TOKEN, 0, generation), expected_generation };
    let cases = [
        (init(other, 1, None), Done),
        (init(TOKEN, 2, None), Conflict),
        (same_serial, Conflict),
        (init(TOKEN, 2, Some(1)), Done),
        (init(TOKEN, 3, Some(2)), Conflict),
        (init(other, 2, Some(1)), Gone),
        (Change::DeleteToken { token: TOKEN }, Done),
        (Change::DeleteToken { token: other }, Gone),
        (create(vec![row(3), row(4)]), Done),
        (create(vec![]), Done),
        (create(vec![row(3), row(1)]), Conflict),
        (create(vec![row(3), row(3)]), Conflict),
        (wrong_generation, Conflict),
        (no_token, Gone),
        (replace(1, 2, vec![]), Done),
        (replace(1, 1, vec![]), Conflict),
        (replace(1, 3, vec![]), Conflict),
        (replace(1, 0, vec![]), Conflict),
        (replace(3, 2, vec![]), Gone),
        (delete(1, 1), Done),
        (delete(1, 2), Conflict),
        (delete(3, 1), Gone),
        (elsewhere(delete(1, 1)), Gone),
        (user(2, Some(1)), Done),
        (user(2, Some(2)), Conflict),
        (user(2, None), Conflict),
        (Change::SetUser { user: user_row(TOKEN, 1, 1), expected_generation: None }, Done),
        (Change::SetUser { user: user_row(TOKEN, 1, 1), expected_generation: Some(1) }, Conflict),
        (Change::SetUser { user: user_row(other, 1, 1), expected_generation: None }, Gone),
        (import(other, other, vec![row(1), row(2)]), Done),
        (import(other, other, vec![]), Done),
        (import(other, other, vec![row(1), row(1)]), Conflict),
        (import(other, TOKEN, vec![row(7)]), Conflict),
        (import(TOKEN, other, vec![row(7)]), Conflict),
        (Change::ReserveAttempt { token: TOKEN, role: 1 }, Gone),
        (Change::ClearAttempts { token: TOKEN, role: 0, generation: 1 }, Done),
        (Change::ClearAttempts { token: TOKEN, role: 0, generation: 2 }, Conflict),
        (Change::ClearAttempts { token: TOKEN, role: 1, generation: 1 }, Gone),
    ];
    for (change, outcome) in cases {
        let directory = Directory::new();
        let store = filled(&directory, 3);
        let before = store.set_hash().unwrap();
        assert_eq!(apply(&store, change.clone()).unwrap(), outcome, "{change:?}");
        let after = store.set_hash().unwrap();
        match outcome {
            Conflict => assert_eq!(after, before, "{change:?}"),
            Gone => assert_eq!(after, (before.0 + 1, before.1), "{change:?}"),
            _ => assert_eq!(after.0, before.0 + 1, "{change:?}"),
        }
        store.check().unwrap_or_else(|error| panic!("{change:?}: {error}"));
    }
}

#[test]
fn an_emptied_token_keeps_its_place_and_nothing_else() {
    let directory = Directory::new();
    let store = filled(&directory, 3);
    apply(&store, init(TokenId([1; 16]), 1, None)).unwrap();
    apply(&store, Change::SetUser { user: user_row(TOKEN, 1, 1), expected_generation: None }).unwrap();
    apply(&store, init(TOKEN, 2, Some(1))).unwrap();
    assert_eq!(store.count(TOKEN).unwrap(), 0);
    assert_eq!(user_of(&store, TOKEN, 1), None);
    assert_eq!(store.find(TOKEN, &[tag(AttributeType::CLASS, 3)], true).unwrap(), []);
    let generations: Vec<_> = store.tokens().unwrap().iter().map(|token| (token.id, token.generation)).collect();
    assert_eq!(generations, [(TOKEN, 2), (TokenId([1; 16]), 1)]);
    store.check().unwrap();
}

#[test]
fn attempts_are_reserved_up_to_the_bound_and_given_back() {
    let directory = Directory::new();
    let store = filled(&directory, 0);
    let reserve = || apply(&store, Change::ReserveAttempt { token: TOKEN, role: 0 }).unwrap();
    assert_eq!(reserve(), Outcome::Attempt { attempts: 1 });
    assert_eq!(reserve(), Outcome::Attempt { attempts: 2 });
    apply(&store, Change::ClearAttempts { token: TOKEN, role: 0, generation: 1 }).unwrap();
    assert_eq!(reserve(), Outcome::Attempt { attempts: 1 });
    assert_eq!(reserve(), Outcome::Attempt { attempts: 2 });
    assert_eq!(reserve(), Outcome::Attempt { attempts: 3 });
    assert_eq!(reserve(), Outcome::Locked);
    assert_eq!(user_of(&store, TOKEN, 0).unwrap().attempts, 3);
    let mut endless = user_row(TOKEN, 1, 1);
    endless.attempts_max = 0;
    endless.attempts = u32::MAX;
    apply(&store, Change::SetUser { user: endless, expected_generation: None }).unwrap();
    let outcome = apply(&store, Change::ReserveAttempt { token: TOKEN, role: 1 }).unwrap();
    assert_eq!(outcome, Outcome::Attempt { attempts: u32::MAX });
    store.check().unwrap();
}

#[test]
fn objects_are_found_by_all_their_tags() {
    let directory = Directory::new();
    let store = filled(&directory, 200);
    let class = tag(AttributeType::CLASS, 3);
    let find = |tags: &[Tag]| -> Vec<u64> {
        let found = store.find(TOKEN, tags, true).unwrap();
        found.iter().map(|found| u64::from_be_bytes(found.id.0[8..].try_into().unwrap())).collect()
    };
    let label = |number| tag(AttributeType::LABEL, number);
    let ten = |number| tag(AttributeType::ID, number);
    assert_eq!(find(&[]), (0..200).collect::<Vec<_>>());
    assert_eq!(find(&[class]), (0..200).collect::<Vec<_>>());
    assert_eq!(find(&[label(17)]), [17]);
    assert_eq!(find(&[class, ten(4)]), (40..50).collect::<Vec<_>>());
    assert_eq!(find(&[class, ten(4), label(42)]), [42]);
    assert_eq!(find(&[ten(4), ten(5)]), [] as [u64; 0]);
    assert_eq!(find(&[class, class, class]), (0..200).collect::<Vec<_>>());
    assert_eq!(find(&[tag(AttributeType::VALUE, 1)]), [] as [u64; 0]);
    let many: Vec<Tag> = (0..crate::limits::TEMPLATE_ATTRIBUTES_MAX).map(|_| class).collect();
    assert_eq!(find(&many).len(), 200);
    assert_eq!(store.find(TokenId([1; 16]), &[], true).unwrap(), []);
}

#[test]
fn searching_follows_replacing_and_deleting() {
    let directory = Directory::new();
    let store = filled(&directory, 3);
    let class = tag(AttributeType::CLASS, 3);
    let new = tag(AttributeType::LABEL, 99);
    apply(&store, replace(1, 2, vec![class, new, new])).unwrap();
    assert_eq!(store.find(TOKEN, &[tag(AttributeType::LABEL, 1)], true).unwrap(), []);
    let found = store.find(TOKEN, &[new], true).unwrap();
    assert_eq!(found.iter().map(|found| (found.id, found.version, found.private)).collect::<Vec<_>>(), [(id(1), 2, true)]);
    assert_eq!(store.find(TOKEN, &[new], false).unwrap(), []);
    assert_eq!(store.find(TOKEN, &[], false).unwrap().len(), 2);
    apply(&store, delete(0, 1)).unwrap();
    assert_eq!(store.find(TOKEN, &[class], true).unwrap().len(), 2);
    assert_eq!(store.count(TOKEN).unwrap(), 2);
    store.check().unwrap();
}

#[test]
fn the_set_hash_depends_on_what_is_there_and_not_on_how_it_came() {
    let one = Directory::new();
    let other = Directory::new();
    let (one, other) = (filled(&one, 5), filled(&other, 4));
    apply(&one, delete(4, 1)).unwrap();
    assert_eq!(one.set_hash().unwrap().1, other.set_hash().unwrap().1);
    apply(&one, replace(3, 2, vec![])).unwrap();
    assert_ne!(one.set_hash().unwrap().1, other.set_hash().unwrap().1);
}

/// What somebody does to the file behind our back, and whether opening or only `check` tells.
#[test]
fn rows_changed_behind_our_back_are_told_by_a_check() {
    let tamperings = [
        ("UPDATE object SET version = 2 WHERE number = 1", "set hash"),
        ("DELETE FROM object WHERE number = 1", "tags without an object"),
        ("DELETE FROM tag WHERE object = 1; DELETE FROM object WHERE number = 1", "set hash"),
        ("UPDATE user SET attempts = 1", "set hash"),
        ("UPDATE token SET generation = 7", "set hash"),
        (
            "UPDATE tag SET hash = x'00112233445566778899aabbccddeeff' WHERE object = 1 AND attribute = 0",
            "missing from the index",
        ),
        ("INSERT INTO tag VALUES (1, 5, x'00', 1)", "the index has"),
        ("DELETE FROM token", "without a token"),
        ("DELETE FROM log WHERE position = 2", "log"),
        ("UPDATE log SET change = x'ff' WHERE position = 2", "cannot be decoded"),
        ("UPDATE state SET applied = 9", "log"),
        ("UPDATE object SET tags = x'00' WHERE number = 1", "no multiple"),
    ];
    for (tampering, told) in tamperings {
        let directory = Directory::new();
        drop(filled(&directory, 3));
        Connection::open(directory.database()).unwrap().execute_batch(tampering).unwrap();
        let error = directory.open().check().expect_err(tampering);
        assert_eq!(error.code(), Code::StoreRefused, "{tampering}");
        let message = error.to_string();
        assert!(message.contains(told) && message.contains("hsmpool.db"), "{tampering}: {message}");
    }
}

fn assert_refused(directory: &Directory, code: Code, told: &str) {
    let error = Store::open(directory.path()).map(|_| ()).expect_err(told);
    assert_eq!(error.code(), code, "{error}");
    let message = error.to_string();
    assert!(message.contains(told) && message.contains(directory.path().to_str().unwrap()), "{told}: {message}");
}

#[test]
fn damaged_files_are_refused_by_name() {
    type Spoiler = fn(&mut Vec<u8>);
    let spoilers: [(&str, Spoiler); 8] = [
        ("truncated to 0 bytes", Vec::clear),
        ("truncated to 99 bytes", |bytes| bytes.truncate(99)),
        ("truncated", |bytes| bytes.truncate(8192)),
        ("truncated", |bytes| bytes.truncate(bytes.len() - 1)),
        ("does not begin as an SQLite database does", |bytes| bytes[3] ^= 1),
        ("another program's", |bytes| bytes[71] ^= 1),
        ("format 3, this version knows up to 2", |bytes| bytes[63] = 3),
        ("malformed", |bytes| bytes[100..4096].fill(0x55)),
    ];
    for (told, spoil) in spoilers {
        let directory = Directory::new();
        drop(filled(&directory, 100));
        let mut bytes = std::fs::read(directory.database()).unwrap();
        spoil(&mut bytes);
        std::fs::write(directory.database(), &bytes).unwrap();
        assert_refused(&directory, Code::StoreRefused, told);
        assert_eq!(std::fs::read(directory.database()).unwrap(), bytes, "{told}: a refused file is not touched");
    }
}

#[test]
fn damage_met_later_is_refused_by_name_too() {
    let directory = Directory::new();
    drop(filled(&directory, 2000));
    let mut bytes = std::fs::read(directory.database()).unwrap();
    let middle = bytes.len() / 2 / 4096 * 4096;
    bytes[middle..].fill(0x55);
    std::fs::write(directory.database(), &bytes).unwrap();
    let store = directory.open();
    let error = store.check().unwrap_err();
    assert_eq!(error.code(), Code::StoreRefused, "{error}");
    let errors = (0..2000).filter_map(|number| store.object(TOKEN, id(number)).err());
    let codes: Vec<Code> = errors.map(|error| error.code()).collect();
    assert!(!codes.is_empty() && codes.iter().all(|code| *code == Code::StoreRefused), "{codes:?}");
}

#[test]
fn what_is_not_a_store_is_refused_by_name() {
    let directory = Directory::new();
    let file = directory.path().join("file");
    std::fs::write(&file, "x").unwrap();
    let error = Store::open(&file).map(|_| ()).unwrap_err();
    assert_eq!(error.code(), Code::Configuration);
    assert!(error.to_string().contains("is a file"), "{error}");
    let error = Store::open(&file.join("below")).map(|_| ()).unwrap_err();
    assert_eq!(error.code(), Code::Configuration);

    std::fs::create_dir(directory.database()).unwrap();
    assert_refused(&directory, Code::StoreRefused, "is not a file");
    std::fs::remove_dir(directory.database()).unwrap();

    let elsewhere = Directory::new();
    drop(filled(&elsewhere, 1));
    symlink(elsewhere.database(), directory.database()).unwrap();
    assert_refused(&directory, Code::StoreRefused, "is not a file");
    std::fs::remove_file(directory.database()).unwrap();

    Connection::open(directory.database()).unwrap().execute_batch("CREATE TABLE theirs (a)").unwrap();
    assert_refused(&directory, Code::StoreRefused, "another program's");
    std::fs::remove_file(directory.database()).unwrap();

    std::fs::write(directory.path().join("hsmpool.db-wal"), [1; 100]).unwrap();
    assert_refused(&directory, Code::StoreRefused, "is missing");
}

#[test]
fn a_file_of_another_user_is_refused_by_name() {
    let directory = Directory::new();
    drop(filled(&directory, 1));
    assert!(in_child(|| {
        if !become_nobody() {
            return true; // Only root can become another user.
        }
        assert_refused(&directory, Code::StoreRefused, "readable and writable by this user: Permission denied");
        let nowhere = Store::open(std::path::Path::new("/no/such")).map(|_| ()).unwrap_err();
        nowhere.code() == Code::Configuration
    }));
}

#[test]
fn a_directory_is_made_for_its_owner_alone() {
    let directory = Directory::new();
    let below = directory.path().join("a/b");
    Store::open(&below).unwrap();
    assert_eq!(std::fs::metadata(&below).unwrap().permissions().mode() & 0o777, 0o700);
}

#[test]
fn a_store_that_is_taken_away_takes_no_more_writes() {
    let directory = Directory::new();
    let store = filled(&directory, 1);
    std::fs::remove_file(directory.database()).unwrap();
    let error = apply(&store, create(vec![row(5)])).unwrap_err();
    assert_eq!(error.code(), Code::StoreRefused);
    assert!(error.to_string().contains("removed or replaced"), "{error}");
}

#[test]
fn a_full_disk_refuses_a_write_and_no_more() {
    let directory = Directory::new();
    let store = filled(&directory, 1);
    let before = store.set_hash().unwrap();
    fault::arm(Action::Fail(Operation::Write, libc::ENOSPC), 1);
    let error = apply(&store, create(vec![row(5)])).unwrap_err();
    fault::disarm();
    assert_eq!(error.code(), Code::DeviceMemory);
    assert!(error.to_string().contains("disk full"), "{error}");
    assert_eq!(store.set_hash().unwrap(), before);
    assert_eq!(apply(&store, create(vec![row(5)])).unwrap(), Outcome::Done);
    store.check().unwrap();
}

#[test]
fn after_a_failed_sync_nothing_is_written_until_the_store_is_opened_anew() {
    let directory = Directory::new();
    let store = filled(&directory, 1);
    fault::arm(Action::Fail(Operation::Sync, libc::EIO), 0);
    let error = apply(&store, create(vec![row(5)])).unwrap_err();
    fault::disarm();
    assert_eq!(error.code(), Code::DeviceError, "{error}");
    let error = apply(&store, create(vec![row(6)])).unwrap_err();
    assert_eq!(error.code(), Code::DeviceError);
    assert!(error.to_string().contains("opened anew"), "{error}");
    assert_eq!(store.count(TOKEN).unwrap(), 1, "reading goes on");
    drop(store);
    let store = directory.open();
    assert_eq!(apply(&store, create(vec![row(6)])).unwrap(), Outcome::Done);
    store.check().unwrap();
}

#[test]
fn a_failed_read_fails_one_call() {
    let directory = Directory::new();
    drop(filled(&directory, 2000));
    let store = directory.open();
    fault::arm(Action::Fail(Operation::Read, libc::EIO), 0);
    let error = store.object(TOKEN, id(1500)).unwrap_err();
    fault::disarm();
    assert_eq!(error.code(), Code::DeviceError, "{error}");
    assert!(store.object(TOKEN, id(1500)).unwrap().is_some());
    assert_eq!(apply(&store, create(vec![row(9999)])).unwrap(), Outcome::Done);
}
