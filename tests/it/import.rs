//! `hsmpool import-softhsm`: what the real SoftHSM made comes over whole, and signs as before.

use crate::harness::{LABEL, Module, PIN, Run, SO_PIN, Token};

/// The command line of this build.
pub fn hsmpool(token: &Token) -> Run {
    let module = Module::Ours.path();
    token.run_file(&module.with_file_name("hsmpool")).env("HSMPOOL_MODULE", module)
}

fn import(token: &Token) -> Run {
    hsmpool(token).arg("import-softhsm").arg(token.file("tokens")).args(["--so-pin", SO_PIN, "--pin", PIN])
}

/// SoftHSM's token with one object of each kind, and its own list of them.
fn filled(module: Module) -> (Token, String) {
    let token = Token::initialised(module);
    token.as_user().words("--keypairgen --key-type RSA:2048 --id 01 --label rsa").ok();
    token.as_user().words("--keypairgen --key-type EC:prime256v1 --id 02 --label ec").ok();
    token.as_user().words("--keypairgen --key-type EC:secp384r1 --id 03 --label ec384").ok();
    token.as_user().words("--keygen --key-type AES:32 --id 04 --label aes --allowed-mechanisms AES-CBC,AES-CBC-PAD").ok();
    token.write("note", "a private note");
    token.as_user().words("--write-object note --type data --private --label note").ok();
    token.openssl("req -x509 -newkey rsa:2048 -nodes -keyout k.pem -out c.pem -subj /CN=imported -days 2").ok();
    token.openssl("x509 -in c.pem -outform DER -out c.der").ok();
    token.as_user().words("--write-object c.der --type cert --id 05 --label certificate").ok();
    let listed = token.as_user().arg("--list-objects").ok().text();
    (token, listed)
}

/// The same directory seen by our module: the softhsm2.conf that both understand.
fn ours(token: &Token) -> Run {
    token.run("pkcs11-tool").arg("--module").arg(Module::Ours.path()).args(["--token-label", LABEL, "--login", "--pin", PIN])
}

/// Lines that say something lasting of an object, in one order.
fn facts(listed: &str) -> Vec<String> {
    let lasting = ["label:", "ID:", "Access:", "EC_POINT:", "EC_PARAMS:", "subject:", "serial:"];
    let mut facts: Vec<String> = listed
        .lines()
        .map(str::trim)
        .filter(|line| lasting.iter().any(|word| line.starts_with(word)))
        .map(str::to_owned)
        .collect();
    facts.sort();
    facts
}

#[test]
fn every_object_comes_over_with_what_it_remembers() {
    every_object_comes_over(Module::SoftHsm);
}

#[test]
fn every_object_comes_over_from_the_sqlite_backend() {
    every_object_comes_over(Module::SoftHsmDatabase);
}

fn every_object_comes_over(from: Module) {
    let (token, before) = filled(from);
    let serial = serial(&token, from);
    import(&token).arg("--dry-run").ok().says("9 objects would be imported");
    import(&token).ok().says("9 of 9 objects imported");
    let after = ours(&token).arg("--list-objects").ok().text();
    assert_eq!(facts(&before), facts(&after), "before:\n{before}\nafter:\n{after}");
    assert_eq!(serial, self::serial(&token, Module::Ours), "URIs name tokens by serial number");
    ours(&token).words("--read-object --type data --label note --output-file read").ok();
    assert_eq!(token.read("read"), b"a private note");
}

fn serial(token: &Token, module: Module) -> String {
    let shown = token.run("pkcs11-tool").arg("--module").arg(module.path()).arg("--list-token-slots").ok().text();
    let line = shown.lines().find(|line| line.contains("serial num")).unwrap_or_else(|| panic!("no serial number:\n{shown}"));
    line.split(':').nth(1).unwrap_or_default().trim().to_owned()
}

#[test]
fn imported_keys_sign_what_their_public_keys_verify() {
    let (token, _) = filled(Module::SoftHsm);
    for (id, name) in [("01", "rsa"), ("02", "ec")] {
        // The public key as SoftHSM gives it, before anything was imported.
        let read = ["--read-object", "--type", "pubkey", "--id", id, "--output-file", name];
        token.as_user().args(read).ok();
    }
    import(&token).ok();
    token.write("data", "attack at dawn");
    for (id, name, mechanism) in [("01", "rsa", "SHA256-RSA-PKCS"), ("02", "ec", "ECDSA-SHA256")] {
        let sign = ["--sign", "--id", id, "--mechanism", mechanism, "--signature-format", "openssl", "--input-file", "data"];
        ours(&token).args(sign).args(["--output-file", "signature"]).ok();
        token.openssl(&format!("dgst -sha256 -verify {name} -keyform DER -signature signature data")).ok().says("Verified OK");
    }
}

#[test]
fn an_imported_aes_key_decrypts_what_softhsm_encrypted() {
    an_aes_key_goes_on(Module::SoftHsm);
}

#[test]
fn an_aes_key_from_the_sqlite_backend_decrypts_what_softhsm_encrypted() {
    an_aes_key_goes_on(Module::SoftHsmDatabase);
}

fn an_aes_key_goes_on(from: Module) {
    let (token, _) = filled(from);
    token.write("plain", [7; 64]);
    let cipher = |run: Run, verb: &str, from: &str, to: &str| {
        run.args([verb, "--id", "04", "--mechanism", "AES-CBC-PAD", "--iv", "00112233445566778899aabbccddeeff"])
            .args(["--input-file", from, "--output-file", to])
            .ok();
    };
    cipher(token.as_user(), "--encrypt", "plain", "sealed");
    import(&token).ok();
    cipher(ours(&token), "--decrypt", "sealed", "opened");
    assert_eq!(token.read("opened"), [7; 64]);
    // The list of its mechanisms came with the key.
    ours(&token)
        .args(["--encrypt", "--id", "04", "--mechanism", "AES-ECB"])
        .args(["--input-file", "plain", "--output-file", "refused"])
        .fails()
        .says("CKR_MECHANISM_INVALID");
}

#[test]
fn a_wrong_pin_a_second_import_or_damage_leave_everything_as_it_was() {
    let (token, before) = filled(Module::SoftHsm);
    let wrong = |so_pin: &str, pin: &str| {
        hsmpool(&token)
            .arg("import-softhsm")
            .arg(token.file("tokens"))
            .args(["--so-pin", so_pin, "--pin", pin])
            .fails()
            .says("PIN");
        hsmpool(&token).args(["token", "list", "--json"]).ok().says("\"tokens\": []");
    };
    wrong("00000000", PIN);
    wrong(SO_PIN, "000000");
    import(&token).ok();
    import(&token).fails().says("serial number");
    assert_eq!(facts(&before), facts(&token.as_user().arg("--list-objects").ok().text()), "SoftHSM's files are only read");
    hsmpool(&token).args(["token", "delete", LABEL, "--yes"]).ok();

    let directories = std::fs::read_dir(token.file("tokens")).expect("it was made above");
    let of_token = directories.flatten().map(|entry| entry.path()).find(|path| path.join("token.object").is_file());
    let victim = of_token.expect("SoftHSM's token has a directory").join("token.object");
    let bytes = std::fs::read(&victim).expect("the token object is there");
    std::fs::write(&victim, &bytes[..bytes.len() - 3]).expect("the test owns it");
    import(&token).fails().says("token.object is damaged");
    hsmpool(&token).args(["token", "list", "--json"]).ok().says("\"tokens\": []");
}
