//! pkcs11-tool: keys made, used and removed in the token; results checked by OpenSSL on its own.

use crate::harness::{LABEL, PIN, SO_PIN, Token, our_promises, promises_everywhere};

promises_everywhere!(
    its_own_test_passes_without_rsa,
    rsa_signs_what_openssl_verifies,
    rsa_pss_signs_what_openssl_verifies,
    ec_signs_what_openssl_verifies,
    ed25519_signs_what_openssl_verifies,
    rsa_decrypts_what_openssl_encrypts,
    oaep_decrypts_what_openssl_encrypts,
    aes_cbc_is_openssl_s,
    hmac_is_openssl_s,
    ecdh_agrees_with_openssl,
    digest_is_openssl_s,
    an_imported_certificate_and_key_come_back,
    data_objects_are_private_and_can_be_deleted,
    pins_are_checked_and_changed,
    random_is_not_constant,
);

our_promises!(its_own_test_passes_on_an_rsa_key_for_everything, threads_of_pkcs11_tool_are_served);

fn its_own_test_passes_without_rsa(token: &Token) {
    token.as_user().words("--keypairgen --key-type EC:prime256v1 --id 02 --label ec --usage-sign").ok();
    // "not implemented" lines are the tool's own limits; it counts the errors that it saw.
    token.as_user().arg("--test").ok().says("No errors").says("SHA256: OK");
}

/// SoftHSM stops at OAEP with SHA-256, which this test of the tool asks for.
fn its_own_test_passes_on_an_rsa_key_for_everything(token: &Token) {
    token.as_user().words("--keypairgen --key-type rsa:2048 --id 01 --label rsa").ok();
    // Between the name and its OK the tool says which mask generation function it takes.
    token.as_user().arg("--test").ok().says("No errors").says("RSA-PKCS-OAEP: ").says("RSA-X-509: OK");
}

fn threads_of_pkcs11_tool_are_served(token: &Token) {
    token.as_user().words("--keypairgen --key-type rsa:2048 --id 01 --label rsa").ok();
    let threads = ["IN", "IN", "GISL0", "GISL0"].map(|commands| format!("--test-threads={commands}"));
    token.pkcs11_tool().arg("--use-locking").args(threads).ok();
}

/// Makes a key pair and leaves its public key as OpenSSL reads it.
fn key_pair(token: &Token, kind: &str, more: &str) {
    token.as_user().words("--keypairgen --id 01 --label key --key-type").arg(kind).words(more).ok();
    token.as_user().words("--read-object --type pubkey --id 01 --output-file public.der").ok();
}

fn sign(token: &Token, mechanism: &str, input: &str, more: &str) {
    let words = format!("--sign --id 01 --mechanism {mechanism} --input-file {input} --output-file signature {more}");
    token.as_user().words(&words).ok();
}

fn rsa_signs_what_openssl_verifies(token: &Token) {
    token.write("data", "attack at dawn");
    key_pair(token, "rsa:2048", "");
    for hash in ["SHA1", "SHA256", "SHA384", "SHA512"] {
        sign(token, &format!("{hash}-RSA-PKCS"), "data", "");
        let verify = format!("dgst -{hash} -verify public.der -keyform DER -signature signature data");
        token.openssl(&verify.to_lowercase().replace("der -sig", "DER -sig")).ok().says("Verified OK");
    }
    token.write("other", "attack at dusk");
    token.openssl("dgst -sha512 -verify public.der -keyform DER -signature signature other").fails();
}

fn rsa_pss_signs_what_openssl_verifies(token: &Token) {
    token.write("data", "attack at dawn");
    key_pair(token, "rsa:2048", "");
    sign(token, "SHA256-RSA-PKCS-PSS", "data", "--mgf MGF1-SHA256 --salt-len 32");
    let verify = "dgst -sha256 -sigopt rsa_padding_mode:pss -sigopt rsa_pss_saltlen:32 -verify public.der -keyform DER";
    token.openssl(verify).words("-signature signature data").ok().says("Verified OK");
}

fn ec_signs_what_openssl_verifies(token: &Token) {
    token.write("data", "attack at dawn");
    token.openssl("dgst -sha256 -binary -out digest data").ok();
    for (number, curve) in ["prime256v1", "secp384r1", "secp521r1", "secp256k1"].into_iter().enumerate() {
        let id = format!("1{number}");
        token.as_user().words("--keypairgen --key-type").arg(format!("EC:{curve}")).args(["--label", curve, "--id", &id]).ok();
        let sign = "--sign --mechanism ECDSA --signature-format openssl --input-file digest --output-file signature --id";
        token.as_user().words(sign).arg(&id).ok();
        // pkcs11-tool 0.23 cannot export every curve; OpenSSL's engine can.
        let export = "pkey -engine pkcs11 -inform engine -pubin -pubout -out public.pem -in";
        token.openssl_engine(export).arg(token.uri(curve, "public")).ok();
        let verify = "pkeyutl -verify -pubin -inkey public.pem -in digest -sigfile signature";
        token.openssl(verify).ok().says("Verified Successfully");
    }
}

fn ed25519_signs_what_openssl_verifies(token: &Token) {
    token.write("data", "attack at dawn");
    token.as_user().words("--keypairgen --key-type EC:edwards25519 --id 01 --label key").ok();
    sign(token, "EDDSA", "data", "");
    // OpenSC 0.23 writes no SubjectPublicKeyInfo for Edwards keys: the point comes from its listing.
    let listing = token.as_user().words("--list-objects --type pubkey --id 01").ok().text();
    let point = listing.split_once("EC_POINT:").and_then(|(_, rest)| rest.split_whitespace().next());
    let point = point.unwrap_or_else(|| panic!("no EC_POINT in:\n{listing}"));
    let raw = point.strip_prefix("0420").unwrap_or_else(|| panic!("{point} is no OCTET STRING of 32 bytes"));
    token.write("public.der", unhex(&format!("302a300506032b6570032100{raw}")));
    let verify = "pkeyutl -verify -pubin -keyform DER -inkey public.der -rawin -in data -sigfile signature";
    token.openssl(verify).ok().says("Verified Successfully");
}

fn rsa_decrypts_what_openssl_encrypts(token: &Token) {
    token.write("data", "attack at dawn");
    key_pair(token, "rsa:2048", "");
    token.openssl("pkeyutl -encrypt -pubin -keyform DER -inkey public.der -in data -out sealed").ok();
    token.as_user().words("--decrypt --id 01 --mechanism RSA-PKCS --input-file sealed --output-file opened").ok();
    assert_eq!(token.read("opened"), b"attack at dawn");
}

fn oaep_decrypts_what_openssl_encrypts(token: &Token) {
    token.write("data", "attack at dawn");
    key_pair(token, "rsa:2048", "");
    let encrypt = "pkeyutl -encrypt -pubin -keyform DER -inkey public.der -pkeyopt rsa_padding_mode:oaep -in data -out sealed";
    token.openssl(encrypt).ok();
    let decrypt = "--decrypt --id 01 --mechanism RSA-PKCS-OAEP --hash-algorithm SHA-1 --mgf MGF1-SHA1";
    token.as_user().words(decrypt).words("--input-file sealed --output-file opened").ok();
    assert_eq!(token.read("opened"), b"attack at dawn");
}

/// Imports a secret key of known value, so that OpenSSL can be asked for the same operation.
fn secret_key(token: &Token, kind: &str, value: &[u8]) {
    token.write("key.bin", value);
    let words =
        "--write-object key.bin --type secrkey --id 05 --label secret --extractable --usage-sign --usage-decrypt --key-type";
    token.as_user().words(words).arg(kind).ok();
}

const KEY: &[u8; 32] = b"0123456789abcdef0123456789ABCDEF";
const IV: &str = "000102030405060708090a0b0c0d0e0f";

fn aes_cbc_is_openssl_s(token: &Token) {
    let data: Vec<u8> = (0..1000_u32).map(|n| n as u8).collect();
    token.write("data", &data);
    secret_key(token, "AES:32", KEY);
    let key = hex(KEY);
    token.openssl(&format!("enc -aes-256-cbc -K {key} -iv {IV} -in data -out expected")).ok();
    let mechanism = format!("--id 05 --mechanism AES-CBC-PAD --iv {IV}");
    token.as_user().words(&mechanism).words("--encrypt --input-file data --output-file sealed").ok();
    assert_eq!(hex(&token.read("sealed")), hex(&token.read("expected")));
    token.as_user().words(&mechanism).words("--decrypt --input-file sealed --output-file opened").ok();
    assert_eq!(token.read("opened"), data);
}

fn hmac_is_openssl_s(token: &Token) {
    token.write("data", "attack at dawn");
    // pkcs11-tool 0.23 imports no generic secrets, so the token makes one and reveals it.
    token.as_user().words("--keygen --key-type GENERIC:32 --id 05 --label secret --extractable --usage-sign").ok();
    token.as_user().words("--read-object --type secrkey --id 05 --output-file key.bin").ok();
    token.as_user().words("--sign --id 05 --mechanism SHA256-HMAC --input-file data --output-file mac").ok();
    let expected =
        token.openssl(&format!("dgst -sha256 -mac HMAC -macopt hexkey:{} -binary data", hex(&token.read("key.bin")))).ok();
    assert_eq!(hex(&token.read("mac")), hex(&expected.stdout));
}

fn ecdh_agrees_with_openssl(token: &Token) {
    key_pair(token, "EC:prime256v1", "--usage-derive");
    token.openssl("genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out peer.pem").ok();
    token.openssl("pkey -in peer.pem -pubout -outform DER -out peer.der").ok();
    token.as_user().words("--derive --id 01 --mechanism ECDH1-DERIVE --input-file peer.der --output-file shared").ok();
    token.openssl("pkey -pubin -inform DER -in public.der -out public.pem").ok();
    token.openssl("pkeyutl -derive -inkey peer.pem -peerkey public.pem -out expected").ok();
    assert_eq!(hex(&token.read("shared")), hex(&token.read("expected")));
}

fn digest_is_openssl_s(token: &Token) {
    let data: Vec<u8> = (0..100_000_u32).map(|n| (n * 7) as u8).collect();
    token.write("data", data);
    for hash in ["SHA-1", "SHA224", "SHA256", "SHA384", "SHA512"] {
        token.pkcs11_tool().args(["--token-label", LABEL, "--hash", "--mechanism", hash]).words("-i data -o digest").ok();
        let expected = token.openssl(&format!("dgst -{} -binary data", hash.replace('-', "").to_lowercase())).ok();
        assert_eq!(hex(&token.read("digest")), hex(&expected.stdout), "{hash}");
    }
}

fn an_imported_certificate_and_key_come_back(token: &Token) {
    token.openssl("req -x509 -newkey rsa:2048 -nodes -keyout key.pem -subj /CN=import -days 30 -out certificate.pem").ok();
    token.openssl("x509 -in certificate.pem -outform DER -out certificate.der").ok();
    token.openssl("rsa -in key.pem -outform DER -out key.der").ok();
    token.as_user().words("--write-object key.der --type privkey --id 0a --label imported --usage-sign").ok();
    token.as_user().words("--write-object certificate.der --type cert --id 0a --label imported").ok();
    token.as_user().words("--read-object --type cert --id 0a --output-file again.der").ok();
    assert_eq!(token.read("again.der"), token.read("certificate.der"));
    token.write("data", "attack at dawn");
    token.as_user().words("--sign --id 0a --mechanism SHA256-RSA-PKCS --input-file data --output-file signature").ok();
    token.openssl("x509 -in certificate.pem -pubkey -noout -out public.pem").ok();
    token.openssl("dgst -sha256 -verify public.pem -signature signature data").ok().says("Verified OK");
}

fn data_objects_are_private_and_can_be_deleted(token: &Token) {
    token.write("note", "meet me at noon");
    token.as_user().words("--write-object note --type data --label note --private").ok();
    let list = |login: bool| {
        let run = if login { token.as_user() } else { token.pkcs11_tool().args(["--token-label", LABEL]) };
        run.words("--list-objects --type data").ok()
    };
    list(false).never_says("note");
    list(true).says("note");
    token.as_user().words("--read-object --type data --label note --output-file again").ok();
    assert_eq!(token.read("again"), b"meet me at noon");
    token.as_user().words("--delete-object --type data --label note").ok();
    list(true).never_says("note");
}

fn pins_are_checked_and_changed(token: &Token) {
    let login = |pin: &str| token.pkcs11_tool().args(["--token-label", LABEL, "--login", "--pin", pin, "--list-objects"]);
    login("999999").fails().says("CKR_PIN_INCORRECT");
    login(PIN).ok();
    token.as_user().args(["--change-pin", "--new-pin", "654321"]).ok();
    login(PIN).fails().says("CKR_PIN_INCORRECT");
    login("654321").ok();
    let reset = ["--token-label", LABEL, "--login", "--login-type", "so", "--so-pin", SO_PIN, "--init-pin", "--pin", PIN];
    token.pkcs11_tool().args(reset).ok();
    login(PIN).ok();
}

fn random_is_not_constant(token: &Token) {
    let draw = || token.pkcs11_tool().args(["--token-label", LABEL, "--generate-random", "64"]).ok().stdout;
    let (first, second) = (draw(), draw());
    assert!(first.len() >= 64, "{} bytes came", first.len());
    assert_ne!(first, second);
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    let digit = |at: usize| u8::from_str_radix(&text[at..at + 2], 16).expect("hexadecimal digits");
    (0..text.len()).step_by(2).map(digit).collect()
}
