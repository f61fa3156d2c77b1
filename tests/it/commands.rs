//! The command line of this build: softhsm2-util and softhsm2-keyconv by their own names, and hsmpool's own commands.

use std::os::unix::fs::symlink;

use crate::harness::{LABEL, Module, PIN, Run, SO_PIN, Token};
use crate::import::hsmpool;

/// Our program under another's name.
fn named(token: &Token, name: &str) -> Run {
    let module = Module::Ours.path();
    let link = token.file(name);
    if !link.exists() {
        symlink(module.with_file_name("hsmpool"), &link).expect("the test directory is writable");
    }
    token.run_file(&link).env("HSMPOOL_MODULE", module)
}

fn util(token: &Token) -> Run {
    named(token, "softhsm2-util")
}

/// Output without what differs from token to token: numbers and hexadecimal digits.
fn shape(text: &str) -> Vec<String> {
    let blur = |c: char| if c.is_ascii_hexdigit() && !c.is_ascii_alphabetic() { '#' } else { c };
    let shaped = |line: &str| line.chars().map(blur).collect::<String>().replace("##", "#").replace("##", "#").replace("##", "#");
    text.lines().map(shaped).collect()
}

#[test]
fn the_lines_that_scripts_parse_are_softhsms() {
    let (theirs, ours) = (Token::fresh(Module::SoftHsm), Token::configured(Module::Ours, "identity = softhsm\n"));
    let real = |words: &[&str]| theirs.run("softhsm2-util").args(words).ok().text();
    let own = |words: &[&str]| util(&ours).args(words).ok().text();
    let init = ["--init-token", "--free", "--label", LABEL, "--pin", PIN, "--so-pin", SO_PIN];
    let first_words = |text: &str| {
        text.lines().map(|line| line.split(char::is_numeric).next().unwrap_or_default().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(first_words(&real(&init)), first_words(&own(&init)));
    let again = ["--init-token", "--token", LABEL, "--label", LABEL, "--pin", PIN, "--so-pin", SO_PIN];
    assert_eq!(first_words(&real(&again)), first_words(&own(&again)));
    let labels = |lines: Vec<String>| {
        lines
            .into_iter()
            .map(|line| line.split(':').next().unwrap_or_default().trim_end_matches(['#', ' ']).to_owned())
            .collect::<Vec<_>>()
    };
    let (real_slots, own_slots) = (real(&["--show-slots"]), own(&["--show-slots"]));
    assert_eq!(labels(shape(&real_slots)), labels(shape(&own_slots)), "{real_slots}\n{own_slots}");
    assert_eq!(real(&["--version"]), own(&["--version"]));
    theirs.openssl("genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out key.p8").ok();
    let key = theirs.file("key.p8").display().to_string();
    let import = ["--import", &key, "--token", LABEL, "--label", "imported", "--id", "0a", "--pin", PIN];
    assert_eq!(first_words(&real(&import)), first_words(&own(&import)));
    let delete = ["--delete-token", "--token", LABEL];
    let (theirs_said, ours_said) = (real(&delete), own(&delete));
    for word in ["Found token (", ") with matching token label.", "The token (", ") has been deleted."] {
        assert!(theirs_said.contains(word) && ours_said.contains(word), "{theirs_said}\n{ours_said}");
    }
}

#[test]
fn usage_errors_end_with_1_as_softhsms_do() {
    let (theirs, ours) = (Token::fresh(Module::SoftHsm), Token::fresh(Module::Ours));
    for words in [&["--init-token"][..], &["--import", "nowhere", "--token", "none"], &["--delete-token"]] {
        theirs.run("softhsm2-util").args(words).fails();
        util(&ours).args(words).fails();
    }
    // SoftHSM's shows its usage and ends with 0 here, so that a script with a misspelt flag goes on: ours does not.
    for words in [&["--nonsense"][..], &[], &["--show-slots", "--init-token"]] {
        util(&ours).args(words).fails().says("Usage: softhsm2-util");
    }
}

#[test]
fn keys_of_every_kind_are_imported_and_an_encrypted_file_needs_its_password() {
    let token = Token::initialised(Module::Ours);
    token.write("data", "attack at dawn");
    let make = [
        ("0a", "-algorithm RSA -pkeyopt rsa_keygen_bits:2048", "SHA256-RSA-PKCS"),
        ("0b", "-algorithm EC -pkeyopt ec_paramgen_curve:P-384", "ECDSA-SHA256"),
        ("0c", "-algorithm EC -pkeyopt ec_paramgen_curve:brainpoolP256r1", "ECDSA-SHA256"),
    ];
    for (id, options, mechanism) in make {
        token.openssl(&format!("genpkey {options} -out key.pem -aes-256-cbc -pass pass:secret")).ok();
        token.openssl("pkey -in key.pem -passin pass:secret -pubout -out public.pem").ok();
        let import =
            || util(&token).words("--import key.pem --label imported").args(["--token", LABEL, "--id", id, "--pin", PIN]);
        import().fails().says("--file-pin");
        import().args(["--file-pin", "wrong"]).fails();
        import().args(["--file-pin", "secret"]).ok().says("The key pair has been imported.");
        import().args(["--file-pin", "secret"]).fails().says("--force");
        let sign = "--sign --signature-format openssl --input-file data --output-file signature";
        token.as_user().words(sign).args(["--mechanism", mechanism, "--id", id]).ok();
        token.openssl("dgst -sha256 -verify public.pem -signature signature data").ok().says("Verified OK");
    }
}

/// GnuTLS reads what SoftHSM's own tool imports, and what ours does.
#[test]
fn dsa_and_ed25519_keys_are_imported() {
    let dsa = ("0d", "genpkey -paramfile dsa.params -out key.p8");
    let ed25519 = ("0e", "genpkey -algorithm ED25519 -out key.p8");
    // GnuTLS cannot read the point that SoftHSM's own tool imports.
    for (module, keys) in [(Module::Ours, &[dsa, ed25519][..]), (Module::SoftHsm, &[dsa])] {
        let token = Token::initialised(module);
        token.openssl("dsaparam -out dsa.params 1024").ok();
        for &(id, make) in keys {
            token.openssl(make).ok();
            let util = if token.module == Module::Ours { util(&token) } else { token.run("softhsm2-util") };
            let import = util.words("--import key.p8 --label imported").args(["--token", LABEL, "--id", id, "--pin", PIN]);
            import.ok().says("The key pair has been imported.");
            let export = token.run("p11tool").arg("--provider").arg(token.module.path()).words("--export --outfile exported.pem");
            export.arg(format!("pkcs11:token={LABEL};id=%{id};type=public")).ok();
            let numbers = |words: &str| token.openssl(words).ok().stdout;
            assert_eq!(numbers("pkey -pubin -in exported.pem -pubout"), numbers("pkey -in key.p8 -pubout"), "{id}");
        }
    }
}

#[test]
fn a_pin_of_a_wrong_length_is_refused_before_there_is_a_token() {
    let (theirs, ours) = (Token::fresh(Module::SoftHsm), Token::fresh(Module::Ours));
    for pins in [["--pin", "123", "--so-pin", SO_PIN], ["--pin", PIN, "--so-pin", "123"]] {
        let init = |run: Run| run.words("--init-token --free --label half").args(pins).fails();
        init(theirs.run("softhsm2-util"));
        init(util(&ours)).says("4 to 255 characters");
    }
    theirs.run("softhsm2-util").arg("--show-slots").ok().never_says("half");
    util(&ours).arg("--show-slots").ok().never_says("half");
}

#[test]
fn a_key_may_have_the_id_of_its_certificate_and_labels_may_be_shared() {
    let (theirs, ours) = (Token::initialised(Module::SoftHsm), Token::initialised(Module::Ours));
    let check = |token: &Token, util: &dyn Fn() -> Run| {
        token.openssl("req -x509 -newkey rsa:2048 -nodes -keyout k.pem -out c.pem -subj /CN=both -days 2").ok();
        token.openssl("x509 -in c.pem -outform DER -out c.der").ok();
        token.as_user().words("--write-object c.der --type cert --id 0a --label both").ok();
        let import = |id: &str| util().words("--import k.pem --label both").args(["--token", LABEL, "--id", id, "--pin", PIN]);
        import("0a").ok().says("The key pair has been imported.");
        import("0a").fails().says("--force");
        // The last of repeated flags counts, and two tokens of one label are both named before they are refused.
        util().args(["--show-slots", "--label", "a", "--label", "b"]).ok();
        token.initialise(LABEL);
        let said = import("0b").fails().text();
        assert_eq!(said.matches("with matching token label.").count(), 2, "{said}");
    };
    check(&theirs, &|| theirs.run("softhsm2-util"));
    check(&ours, &|| util(&ours));
    named(&ours, "softhsm2-keyconv").ok().says("Usage: softhsm2-keyconv");
}

#[test]
fn bind_keys_are_converted_also_those_that_softhsms_tool_refuses() {
    let token = Token::fresh(Module::Ours);
    let kinds = [
        ("RSASHA256", "modulus:"),
        ("ECDSAP256SHA256", "NIST CURVE: P-256"),
        ("ECDSAP384SHA384", "NIST CURVE: P-384"),
        ("ED25519", "ED25519"),
    ];
    for (algorithm, kind) in kinds {
        let made = token.run("dnssec-keygen").args(["-a", algorithm, "example."]).ok().text();
        let file = format!("{}.private", made.trim());
        let convert = |out: &str| named(&token, "softhsm2-keyconv").args(["--in", &file, "--out", out]);
        convert("plain.pem").ok().says("The key has been written to");
        token.openssl("pkey -in plain.pem -noout -text").ok().says(kind);
        token.openssl("pkey -in plain.pem -check -noout").ok();
        convert("sealed.pem").args(["--pin", "secret"]).ok();
        token.openssl("pkey -in sealed.pem -passin pass:secret -out opened.pem").ok();
        token.openssl("pkey -in plain.pem -out plain2.pem").ok();
        assert_eq!(token.read("opened.pem"), token.read("plain2.pem"));
    }
    named(&token, "softhsm2-keyconv").args(["--in", "nowhere", "--out", "x"]).fails();
}

#[test]
fn tokens_are_made_listed_unlocked_and_deleted() {
    let token = Token::by_default("");
    hsmpool(&token).args(["token", "init", "--label", "own", "--so-pin", SO_PIN, "--pin", PIN]).ok().says("own");
    hsmpool(&token).args(["token", "list"]).ok().says("own");
    for _ in 0..10 {
        token.pkcs11_tool().args(["--token-label", "own", "--login", "--pin", "000000", "-O"]).fails();
    }
    hsmpool(&token).args(["token", "list"]).ok().says("locked");
    hsmpool(&token).args(["token", "reset-pin", "own", "--so-pin", SO_PIN, "--pin", "654321"]).ok();
    token.pkcs11_tool().args(["--token-label", "own", "--login", "--pin", "654321", "-O"]).ok();
    hsmpool(&token).args(["check"]).ok().says("sound");
    hsmpool(&token).args(["token", "delete", "nobody", "--yes"]).fails().says("nobody");
    hsmpool(&token).args(["token", "delete", "own", "--yes"]).ok();
    hsmpool(&token).args(["token", "list", "--json"]).ok().says("\"tokens\": []");
}

/// Gives two private objects each other's rows of the index. All counts and hashes of sealed rows stay right.
const SWAP_INDEX: &str = "
import sqlite3, sys
db = sqlite3.connect(sys.argv[1])
a, b = [row[0] for row in db.execute('SELECT number FROM object WHERE private ORDER BY number')][:2]
rows = db.execute('SELECT token, attribute, hash, object FROM tag WHERE object IN (?, ?)', (a, b)).fetchall()
db.execute('DELETE FROM tag WHERE object IN (?, ?)', (a, b))
db.executemany('INSERT INTO tag VALUES (?, ?, ?, ?)', [(t, kind, h, b if o == a else a) for t, kind, h, o in rows])
tags = [db.execute('SELECT tags FROM object WHERE number = ?', (n,)).fetchone()[0] for n in (b, a)]
db.executemany('UPDATE object SET tags = ? WHERE number = ?', zip(tags, (a, b)))
db.commit()
";

#[test]
fn a_check_with_the_pin_finds_objects_that_would_not_be_found() {
    let token = Token::by_default("");
    hsmpool(&token).args(["token", "init", "--label", "own", "--so-pin", SO_PIN, "--pin", PIN]).ok();
    token.write("data", "data");
    for label in ["one", "two"] {
        let write = ["--token-label", "own", "--login", "--pin", PIN, "--write-object", "data", "--type", "data", "--private"];
        token.pkcs11_tool().args(write).args(["--label", label]).ok();
    }
    let sealed = hsmpool(&token).args(["check"]).ok().says("objects: 2 (opened: 0)").text();
    let database = sealed.split(": sound").next().expect("text has a beginning").to_owned();
    let opened = ["check", "--token", "own", "--pin", PIN];
    hsmpool(&token).args(opened).ok().says("objects: 2 (opened: 2)");
    hsmpool(&token).args(["check", "--token", "other", "--pin", PIN]).fails().says("CKR_TOKEN_NOT_PRESENT");
    token.run("python3").args(["-c", SWAP_INDEX, &database]).ok();
    hsmpool(&token).args(["check"]).ok().says("sound");
    hsmpool(&token).args(opened).fails().says("is not indexed by the attributes").says("CKR_HSMPOOL_STORE_REFUSED");
}
