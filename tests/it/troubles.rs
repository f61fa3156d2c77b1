//! When something is wrong: what a person is told, what is refused, and what never shows.

use std::path::Path;

use crate::harness::{LABEL, Module, PIN, Run, Token};

fn initialised(lines: &str) -> Token {
    let token = Token::configured(Module::Ours, lines);
    token.initialise(LABEL);
    token
}

#[test]
fn a_failed_call_is_explained_without_secrets() {
    let token = initialised("log.file = hsmpool.log\n");
    let log = |run: Run| {
        run.env("HSMPOOL_LOG", "debug").end();
        String::from_utf8(token.read("hsmpool.log")).expect("the log is text")
    };
    let wrong = "not-the-pin-98765";
    let said = log(token.pkcs11_tool().args(["--token-label", LABEL, "--login", "--pin", wrong, "--list-objects"]));
    assert!(said.contains("C_Login") && said.contains("CKR_PIN_INCORRECT"), "{said}");
    let value = "5ec2e75ec2e75ec2e75ec2e75ec2e75e";
    token.write("key.bin", value);
    let said = log(token.as_user().words("--write-object key.bin --type secrkey --key-type AES:32 --id 01 --label kept"));
    let said = said + &log(token.as_user().words("--read-object --type secrkey --id 99"));
    for secret in [wrong, PIN, value] {
        assert!(!said.contains(secret), "the log shows {secret}:\n{said}");
    }
}

#[test]
fn quiet_by_default() {
    let token = Token::by_default("");
    token.initialise(LABEL);
    let output = token.pkcs11_tool().args(["--token-label", LABEL, "--login", "--pin", "999999", "--list-objects"]).fails();
    output.never_says("hsmpool[");
}

#[test]
fn a_configuration_error_names_file_line_and_key() {
    let token = Token::by_default("\n[slots]\nremovible = true\n");
    let output = token.pkcs11_tool().arg("--list-slots").end();
    output.says("hsmpool.toml").says("removible").says("4");
}

#[test]
fn a_missing_directory_is_made() {
    let token = Token::fresh(Module::Ours);
    std::fs::remove_dir(token.file("tokens")).expect("it is empty");
    // Not softhsm2-util, which looks for the directory itself.
    token.pkcs11_tool().args(["--init-token", "--slot-index", "0", "--label", LABEL, "--so-pin", crate::harness::SO_PIN]).ok();
    token.pkcs11_tool().arg("--list-slots").ok().says(LABEL);
}

/// The database of the test's store.
fn database(token: &Token) -> std::path::PathBuf {
    let entries = std::fs::read_dir(token.file("tokens")).expect("the store is there");
    let mut files = entries.map(|entry| entry.expect("the store is readable").path());
    files.find(|path| path.extension().is_some_and(|extension| extension == "db")).expect("the store has a database")
}

fn is_refused(token: &Token, database: &Path) {
    let name = database.file_name().expect("a file has a name").to_string_lossy().into_owned();
    let output = token.pkcs11_tool().arg("--list-slots").env("HSMPOOL_LOG", "error").end();
    output.says(&name);
    token.as_user().arg("--list-objects").fails();
}

#[test]
fn a_truncated_database_is_refused_by_name() {
    let token = initialised("log.target = stderr\n");
    let database = database(&token);
    let whole = std::fs::read(&database).expect("the database is readable");
    for len in [1, 50, 1024, whole.len() / 2] {
        std::fs::write(&database, &whole[..len]).expect("the database is writable");
        is_refused(&token, &database);
    }
    // Refused, not repaired: the whole file is good again.
    std::fs::write(&database, &whole).expect("the database is writable");
    token.as_user().arg("--list-objects").ok();
}

#[test]
fn a_foreign_file_in_the_database_s_place_is_refused_by_name() {
    let token = initialised("log.target = stderr\n");
    let database = database(&token);
    std::fs::write(&database, b"not a database at all\n".repeat(500)).expect("the database is writable");
    is_refused(&token, &database);
}

#[test]
fn a_changed_row_is_never_answered() {
    let token = initialised("log.target = stderr\n");
    token.write("note", "meet me at noon, and bring the key");
    token.as_user().words("--write-object note --type data --label note --private").ok();
    let read = || token.as_user().words("--read-object --type data --label note");
    read().ok().says("meet me at noon");
    let script = "import sqlite3, sys\n\
                  store = sqlite3.connect(sys.argv[1])\n\
                  tables = [row[0] for row in store.execute(\"select name from sqlite_master where type = 'table' and name = 'object'\")]\n\
                  assert tables, 'no table of objects'\n\
                  columns = [row[1] for row in store.execute('pragma table_info(object)')]\n\
                  assert 'sealed' in columns, columns\n\
                  for rowid, sealed in store.execute('select rowid, sealed from object').fetchall():\n\
                  \x20   changed = bytearray(sealed)\n\
                  \x20   changed[len(changed) // 2] ^= 1\n\
                  \x20   store.execute('update object set sealed = ? where rowid = ?', (bytes(changed), rowid))\n\
                  store.commit()\n";
    token.run("python3").arg("-c").arg(script).arg(database(&token)).ok();
    read().fails().says("is not what was written").never_says("meet me at noon");
}

#[test]
fn nothing_readable_is_on_the_disk() {
    let token = initialised("");
    token.write("note", "a-secret-of-thirty-characters!");
    token.as_user().words("--write-object note --type data --private --label a-label-that-is-private").ok();
    let entries = std::fs::read_dir(token.file("tokens")).expect("the store is there");
    for entry in entries {
        let path = entry.expect("the store is readable").path();
        let bytes = std::fs::read(&path).unwrap_or_default();
        for secret in ["a-secret-of-thirty-characters!", "a-label-that-is-private", PIN] {
            let found = bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
            assert!(!found, "{path:?} holds {secret} in the clear");
        }
    }
}

#[test]
fn ten_wrong_pins_lock_the_user_and_the_so_unlocks() {
    let token = initialised("");
    let login = |pin: &str| token.pkcs11_tool().args(["--token-label", LABEL, "--login", "--pin", pin, "--list-objects"]);
    for _ in 0..10 {
        login("999999").fails();
    }
    login(PIN).fails().says("CKR_PIN_LOCKED");
    let reset =
        ["--token-label", LABEL, "--login", "--login-type", "so", "--so-pin", crate::harness::SO_PIN, "--init-pin", "--pin", PIN];
    token.pkcs11_tool().args(reset).ok();
    login(PIN).ok();
}
