//! What a node has on its disk says nothing to whoever has no key and no PIN.

use std::path::{Path, PathBuf};

use cryptoki_sys::*;

use crate::abi::{Mechanism, Template};
use crate::harness::{Jobs, loaded_module, wait_until};
use crate::pool::LocalPool;

pub const JOBS: Jobs = &[("keep what nobody may read", keep_secrets)];

/// A token's label stands in clear: slots are listed before anybody logs in.
const TOKEN_LABEL: &str = "a label that stands in clear";
/// Nothing of these may be read in a node's files: an object's label, id, value and application, and both PINs.
const UNREADABLE: [&str; 6] = [
    "a-label-nobody-may-read",
    "an-id-nobody-may-read",
    "the-treasure-is-buried-under-the-old-oak",
    "an-application-nobody-may-know",
    "a-user-PIN-nobody-may-read",
    "a-so-PIN-nobody-may-read",
];
/// How many objects `keep_secrets` makes.
const SECRET_OBJECTS: u64 = 2;

#[test]
fn nothing_readable_lies_in_a_nodes_directory() {
    let pool = LocalPool::create("");
    let [.., pin, so_pin] = UNREADABLE;
    pool.make_token_of(TOKEN_LABEL, so_pin, pin);
    pool.application("keep what nobody may read").ok();
    wait_until("every node has applied all", || pool.have_all_applied());
    // What is applied may stand in a transaction that is open still: it is committed when the node ends.
    pool.command("stop").ok();
    for number in 1..=3 {
        let directory = pool.directory().join(format!("node{number}"));
        // All of them, the log of the process and the key files too: those are keys, and hold no text.
        let files = files_below(&directory);
        let name = |path: &PathBuf| path.strip_prefix(&directory).expect("it is below").display().to_string();
        for file in ["log", "hsmpool.key", "node.key", "data/hsmpool.db", "data/log.db"] {
            assert!(files.iter().any(|path| name(path) == file), "node {number} has no {file}: {files:?}");
        }
        let mut holds_token = false;
        for path in &files {
            let bytes = std::fs::read(path).unwrap_or_else(|error| panic!("{path:?}: {error}"));
            let holds = |text: &str| bytes.windows(text.len()).any(|window| window == text.as_bytes());
            for secret in UNREADABLE {
                assert!(!holds(secret), "{path:?} holds {secret} in the clear");
            }
            holds_token |= holds(TOKEN_LABEL);
        }
        assert!(holds_token, "node {number} has the token, and its label can be read: the search finds what is there");
        let objects = objects_of(&pool, &directory.join("data/hsmpool.db"));
        assert!(objects >= SECRET_OBJECTS, "{objects} objects are at node {number}");
    }
}

/// How many objects a node's store has, by SQLite.
fn objects_of(pool: &LocalPool, store: &Path) -> u64 {
    let script = "import sqlite3, sys; print(sqlite3.connect(sys.argv[1]).execute('select count(*) from object').fetchone()[0])";
    let told = pool.token().run("python3").arg("-c").arg(script).arg(store).ok().text();
    told.trim().parse().unwrap_or_else(|error| panic!("{told:?}: {error}"))
}

/// Every file in a directory, and in those in it. Sockets are none.
fn files_below(directory: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(directory).expect("the node has a directory").flatten() {
        let kind = entry.file_type().expect("a file has a kind");
        if kind.is_dir() {
            files.extend(files_below(&entry.path()));
        } else if kind.is_file() {
            files.push(entry.path());
        }
    }
    files
}

/// Makes a key and a data object that say nothing to whoever has no PIN.
fn keep_secrets() {
    let [label, id, value, application, pin, _] = UNREADABLE;
    let module = loaded_module();
    module.initialize().expect("initialises");
    let session = module.user_session(TOKEN_LABEL, pin).expect("logs in");
    let private = |template: Template| template.truth(CKA_TOKEN, true).truth(CKA_PRIVATE, true).bytes(CKA_LABEL, label);
    let key = private(Template::key(CKO_SECRET_KEY, CKK_GENERIC_SECRET)).bytes(CKA_ID, id).bytes(CKA_VALUE, value);
    let key = session.create(key.yes(&[CKA_SIGN, CKA_VERIFY])).expect("a key is made");
    let data = private(Template::new().number(CKA_CLASS, CKO_DATA)).bytes(CKA_APPLICATION, application).bytes(CKA_VALUE, value);
    let data = session.create(data).expect("a data object is made");
    // They hold what is looked for.
    assert_eq!(session.attribute(data, CKA_VALUE).expect("it may be read"), value.as_bytes());
    assert_eq!(session.attribute(key, CKA_ID).expect("it may be read"), id.as_bytes());
    assert_eq!(session.find(Template::new().bytes(CKA_ID, id)).expect("searches"), [key]);
    session.sign(&Mechanism::plain(CKM_SHA256_HMAC), key, value.as_bytes()).expect("signs");
    session.logout().expect("logs out");
    let wrong = session.login(CKU_USER, label).expect_err("a wrong PIN");
    assert_eq!(wrong.0, CKR_PIN_INCORRECT);
}
