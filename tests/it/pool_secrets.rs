//! What a node has on its disk, what nodes say to one another and what a backup holds says nothing to whoever has no key and no PIN.

use std::path::{Path, PathBuf};

use cryptoki_sys::*;

use crate::abi::{Mechanism, Template};
use crate::harness::{Jobs, Token, child, free_port, loaded_module, wait_until};
use crate::pool::LocalPool;
use crate::pool_clients::Tap;
use crate::processes::key_pair;

pub const JOBS: Jobs = &[("keep what nobody may read", keep_secrets)];

/// A token's label stands in clear: slots are listed before anybody logs in.
const TOKEN_LABEL: &str = "a label that stands in clear";
/// Nothing of these may be read anywhere: of private objects label, id, value and application, both PINs, and of public objects, which are
/// sealed as well, though who may use the token's slot can have them without a PIN, label (of a key pair's public half its id, too),
/// application and value.
const UNREADABLE: [&str; 9] = [
    "a-label-nobody-may-read",
    "an-id-nobody-may-read",
    "the-treasure-is-buried-under-the-old-oak",
    "an-application-nobody-may-know",
    "a-user-PIN-nobody-may-read",
    "a-so-PIN-nobody-may-read",
    "a-label-of-what-is-public",
    "an-application-of-what-is-public",
    "a-value-of-what-is-public",
];
/// Of what `keep_secrets` makes: five objects with a label, three of them private. Two private ones have one label, and so have the two public
/// ones; the private key of the pair has that one too, which does not show.
const FACTS: [u64; 4] = [5, 3, 5, 3];
/// So often a long value says the same: what carries it unsealed, or packed, is not as long.
const REPEATS: usize = 20_000;

/// The bytes of a long value at least, sealed.
fn long_bytes() -> usize {
    UNREADABLE[2].len() * REPEATS
}

#[test]
fn nothing_readable_lies_in_a_nodes_directory() {
    let pool = LocalPool::create("");
    make_secrets(&pool);
    wait_until("every node has applied all", || pool.have_all_applied());
    // What is applied may stand in a transaction that is open still: it is committed when the node ends.
    pool.command("stop").ok();
    for number in 1..=3 {
        nothing_readable_at(&pool, number);
    }
}

#[test]
fn nothing_readable_goes_between_nodes_or_lies_in_copies_and_what_a_killed_node_leaves() {
    let (pool, taps) = pool_with_tapped_peers();
    let tap = |node: usize| &taps[node - 1];
    make_secrets(&pool);
    wait_until("every node has applied all", || pool.have_all_applied());
    let bytes: usize = (1..=3).map(|node| tap(node).bytes()).sum();
    assert!(bytes > 2 * long_bytes(), "two nodes were told of the long value, by way of the taps: {bytes} bytes");
    // One more node is sent a copy of the store.
    let (own, peers) = (free_port(), free_port());
    pool.command(&format!("add-node --zone c --address 127.0.0.1:{own}")).ok();
    let taps: Vec<Tap> = taps.into_iter().chain([tap_peers(&pool, 4, own + 1, peers)]).collect();
    pool.command("start").ok();
    wait_until("all are well", || pool.health() == ["well"; 4]);
    wait_until("every node has applied all", || pool.have_all_applied());
    let tap = |node: usize| &taps[node - 1];
    assert!(tap(4).bytes() > long_bytes(), "the copy went by: {} bytes", tap(4).bytes());
    for node in 1..=4 {
        // Between machines nothing is in the clear, a token's label neither.
        for secret in UNREADABLE.iter().copied().chain([TOKEN_LABEL]) {
            assert!(!tap(node).has_seen(secret.as_bytes()), "{secret} went to or from node {node} in the clear");
        }
        assert!(tap(node).has_seen(&[0x16, 0x03]), "a TLS handshake went by");
    }
    for zone in 0..4 {
        pool.signal(libc::SIGKILL, zone);
    }
    let logs = |suffix: &str| (1..=4).filter(|node| is_filled(&pool, *node, suffix)).count();
    assert!(logs("data/hsmpool.db-wal") + logs("data/log.db-wal") > 0, "nodes that are killed leave what they wrote ahead");
    for node in 1..=4 {
        nothing_readable_at(&pool, node);
    }
}

#[test]
fn nothing_readable_lies_in_an_embedded_store() {
    let token = Token::by_default("");
    let [_, _, _, _, pin, so_pin, ..] = UNREADABLE;
    token.pkcs11_tool().args(["--init-token", "--slot-index", "0", "--label", TOKEN_LABEL, "--so-pin", so_pin]).ok();
    let so = ["--token-label", TOKEN_LABEL, "--login", "--login-type", "so", "--so-pin", so_pin, "--init-pin", "--pin", pin];
    token.pkcs11_tool().args(so).ok();
    child(&token, "keep what nobody may read").ok();
    let store = token.file("tokens");
    assert!(nothing_readable_in(&store), "the token's label can be read: the search finds what is there");
    assert_eq!(facts_of(&token, &store.join("hsmpool.db")), FACTS);
}

fn make_secrets(pool: &LocalPool) {
    let [_, _, _, _, pin, so_pin, ..] = UNREADABLE;
    pool.make_token_of(TOKEN_LABEL, so_pin, pin);
    pool.application("keep what nobody may read").ok();
}

/// A pool of three zones whose nodes reach one another by taps alone.
fn pool_with_tapped_peers() -> (LocalPool, Vec<Tap>) {
    let pool = LocalPool::to_be();
    let own = [free_port(), free_port(), free_port()];
    let addresses = ["a", "b", "c"].iter().zip(own).map(|(zone, port)| format!("{zone}=127.0.0.1:{port}"));
    let addresses: Vec<String> = addresses.flat_map(|address| ["--address".to_string(), address]).collect();
    pool.hsmpool("pool create --zones a,b,c --dir").arg(pool.directory()).args(addresses).ok();
    let taps = own.iter().zip(1..).map(|(port, node)| tap_peers(&pool, node, port + 1, free_port())).collect();
    pool.command("start").ok();
    pool.hsmpool("pool form --dir").arg(pool.directory()).ok();
    wait_until("all are well", || pool.health() == ["well"; 3]);
    (pool, taps)
}

/// Puts a tap where others connect to a node, which listens elsewhere.
fn tap_peers(pool: &LocalPool, node: u64, told: u16, listens: u16) -> Tap {
    let file = pool.directory().join(format!("node{node}/hsmpoold.toml"));
    let text = std::fs::read_to_string(&file).expect("it was laid out");
    let own = format!("peers = \"tcp:127.0.0.1:{told}\"");
    assert!(text.contains(&own), "{text}");
    let other = format!("peers = \"tcp:127.0.0.1:{listens}\"\nadvertise = \"tcp:127.0.0.1:{told}\"");
    std::fs::write(&file, text.replace(&own, &other)).expect("it is writable");
    Tap::between(&format!("127.0.0.1:{told}"), format!("127.0.0.1:{listens}"))
}

/// Whether a node has such a file, with something in it.
fn is_filled(pool: &LocalPool, node: u64, file: &str) -> bool {
    let file = pool.directory().join(format!("node{node}/{file}"));
    file.metadata().is_ok_and(|facts| facts.len() > 0)
}

/// Looks through all files of a node that has the token and its objects.
fn nothing_readable_at(pool: &LocalPool, node: u64) {
    let directory = pool.directory().join(format!("node{node}"));
    // The log of the process and the key files too: those are keys, and hold no text.
    for file in ["log", "hsmpool.key", "node.key", "data/hsmpool.db", "data/log.db"] {
        assert!(directory.join(file).is_file(), "node {node} has no {file}");
    }
    let holds_label = nothing_readable_in(&directory);
    assert!(holds_label, "node {node} has the token, and its label can be read: the search finds what is there");
    assert_eq!(facts_of(pool.token(), &directory.join("data/hsmpool.db")), FACTS, "node {node}");
}

/// Looks through all files; whether the token's label is in one of them.
fn nothing_readable_in(directory: &Path) -> bool {
    let mut holds_label = false;
    for path in files_below(directory) {
        let bytes = std::fs::read(&path).unwrap_or_else(|error| panic!("{path:?}: {error}"));
        let holds = |text: &str| bytes.windows(text.len()).any(|window| window == text.as_bytes());
        for secret in UNREADABLE {
            assert!(!holds(secret), "{path:?} holds {secret} in the clear");
        }
        holds_label |= holds(TOKEN_LABEL);
    }
    holds_label
}

/// What a store tells whoever has its file alone, by SQLite: of how many objects, how many of them are private, how many have a label, and how
/// many different ones: equal labels have equal tags in the look-up index, by the private key of the token or by the public one.
fn facts_of(token: &Token, store: &Path) -> [u64; 4] {
    let script = "import sqlite3, sys
sql = sqlite3.connect(sys.argv[1])
ask = lambda what: sql.execute('select ' + what).fetchone()[0]
labels = f'from tag where attribute = {sys.argv[2]}'
print(ask('count(*) from object'), ask('sum(private) from object'), ask(f'count(*) {labels}'), ask(f'count(distinct hash) {labels}'))";
    let told = token.run("python3").arg("-c").arg(script).arg(store).arg(CKA_LABEL.to_string()).ok().text();
    let facts: Vec<u64> = told.split_whitespace().filter_map(|number| number.parse().ok()).collect();
    facts.try_into().unwrap_or_else(|_| panic!("four numbers: {told:?}"))
}

/// Every file in a directory, and in those in it. Sockets are none.
fn files_below(directory: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(directory).expect("the directory is there").flatten() {
        let kind = entry.file_type().expect("a file has a kind");
        if kind.is_dir() {
            files.extend(files_below(&entry.path()));
        } else if kind.is_file() {
            files.push(entry.path());
        }
    }
    files
}

/// Makes keys and data objects that say nothing to whoever has no PIN, and public ones that say nothing to whoever has no root key.
fn keep_secrets() {
    let [label, id, value, application, pin, _, public_label, public_application, public_value] = UNREADABLE;
    let module = loaded_module();
    module.initialize().expect("initialises");
    let session = module.user_session(TOKEN_LABEL, pin).expect("logs in");
    let private = |template: Template| template.truth(CKA_TOKEN, true).truth(CKA_PRIVATE, true).bytes(CKA_LABEL, label);
    let key = private(Template::key(CKO_SECRET_KEY, CKK_GENERIC_SECRET)).bytes(CKA_ID, id).bytes(CKA_VALUE, value);
    let key = session.create(key.yes(&[CKA_SIGN, CKA_VERIFY])).expect("a key is made");
    let data = private(Template::new().number(CKA_CLASS, CKO_DATA)).bytes(CKA_APPLICATION, application);
    let data = session.create(data.bytes(CKA_VALUE, value.repeat(REPEATS))).expect("a data object is made");
    // Of the pair, one half is public.
    key_pair(&session, public_label);
    let public = Template::new().number(CKA_CLASS, CKO_DATA).truth(CKA_TOKEN, true).truth(CKA_PRIVATE, false);
    let public = public.bytes(CKA_LABEL, public_label).bytes(CKA_APPLICATION, public_application).bytes(CKA_VALUE, public_value);
    session.create(public).expect("a public data object is made");
    // They hold what is looked for.
    assert_eq!(session.attribute(data, CKA_VALUE).expect("it may be read"), value.repeat(REPEATS).as_bytes());
    assert_eq!(session.attribute(key, CKA_ID).expect("it may be read"), id.as_bytes());
    assert_eq!(session.find(Template::new().bytes(CKA_ID, id)).expect("searches"), [key]);
    session.sign(&Mechanism::plain(CKM_SHA256_HMAC), key, value.as_bytes()).expect("signs");
    session.logout().expect("logs out");
    // What is public is found without the PIN: the public half, and the data object.
    let found = session.find(Template::new().bytes(CKA_LABEL, public_label)).expect("searches");
    assert_eq!(found.len(), 2, "what is public, and nothing else");
    let values = found.iter().filter_map(|object| session.attribute(*object, CKA_APPLICATION).ok());
    assert_eq!(values.collect::<Vec<_>>(), [public_application.as_bytes()]);
    let wrong = session.login(CKU_USER, label).expect_err("a wrong PIN");
    assert_eq!(wrong.0, CKR_PIN_INCORRECT);
}
