//! Operations that are half done when their node dies or falls silent: each goes on, and comes to the right result.

use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use cryptoki_sys::*;

use crate::abi::{Mechanism, Session, Template};
use crate::harness::{Jobs, LABEL, Module, PIN, Token, child, loaded_module, wait_until};
use crate::pool::LocalPool;
use crate::processes::key_pair;

pub const JOBS: Jobs =
    &[("begin before a blow and end after it", begin_and_end), ("judge what was encrypted", judge_what_was_encrypted)];

/// The blows to the node of the application's zone, each with the name of what the application makes under it.
const BLOWS: [(&str, libc::c_int); 2] = [("killed", libc::SIGKILL), ("stopped", libc::SIGSTOP)];
/// What is signed, encrypted and hashed comes in so many parts, half of them before the blow.
const PARTS: usize = 8;
/// No multiple of a block: each part begins in the midst of one.
const PART_BYTES: usize = 50_007;
/// What the application says when it has come so far.
const HALF: &str = "all is half done";
const WHOLE: &str = "all is done";
/// Objects that a search finds, two before the blow.
const OBJECTS: usize = 7;
const SEARCHED: &str = "searched for across a blow";
/// The AES key, as everybody else has it, and the other keys' inputs.
const AES_KEY: [u8; 32] = *b"a key that the judge has as well";
const MAC_KEY: &str = "a key for HMAC that openssl has, too";
const IV: [u8; 16] = *b"sixteen bytes IV";
const NONCE: [u8; 12] = *b"twelve bytes";
const AAD: &[u8] = b"authenticated, and not encrypted";
/// In so long a time an application goes to its own node again, once that is well.
const FINDS_BACK: Duration = Duration::from_secs(5);
/// Operations in parts whose state is at the node: MAC, both ciphers, and the decryption. Hashes are computed in the application.
const STREAMS: u64 = 4;

#[test]
fn what_is_half_done_when_its_node_is_lost_comes_to_its_right_end() {
    let pool = LocalPool::create("");
    pool.make_token();
    let token = pool.token();
    let message: Vec<u8> = (0..PARTS * PART_BYTES).map(|at| (at * 31 % 251) as u8).collect();
    token.write("message", &message);
    let application = pool.application("begin before a blow and end after it").spawn();
    for (name, signal) in BLOWS {
        let says = |what: &str| application.said_so_far().contains(&format!("{name}: {what}."));
        wait_until("everything is half done", || says(HALF));
        // It is the node of the application's zone that has them.
        assert_eq!(streams_at_first_node(&pool), STREAMS, "{name}");
        pool.signal(signal, 0);
        token.write(&format!("{name}.go"), "");
        wait_until("everything is done", || says(WHOLE));
        match signal {
            libc::SIGSTOP => pool.signal(libc::SIGCONT, 0),
            _ => drop(pool.command("start --zone a").ok()),
        }
        wait_until("all nodes are well", || pool.health() == ["well", "well", "well"]);
        token.write(&format!("{name}.well"), "");
    }
    let ended = application.wait();
    assert!(ended.status.success() && ended.text().contains("everything came to its end"), "{}", ended.all());
    pool.pkcs11_tool().words("--read-object --type pubkey --label signer --output-file public.der").ok();
    for (name, _) in BLOWS {
        let verify = format!("dgst -sha256 -verify public.der -keyform DER -signature {name}.signature message");
        token.openssl(&verify).ok().says("Verified OK");
        let hex = |name: String| token.read(&name).iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        token.openssl("dgst -sha256 message").ok().says(&hex(format!("{name}.digest")));
        let mac = token.run("openssl").words("dgst -sha256 -mac HMAC -macopt").arg(format!("key:{MAC_KEY}")).arg("message");
        mac.ok().says(&hex(format!("{name}.mac")));
        assert!(token.read(&format!("{name}.decrypted")) == message, "{name}: what was decrypted is the message");
    }
    judged_by_softhsm(token);
}

/// How many operations in parts are at the node of zone a.
fn streams_at_first_node(pool: &LocalPool) -> u64 {
    let metrics = pool.operations(1, "/metrics", "# EOF");
    let line = metrics.lines().find_map(|line| line.strip_prefix("hsmpool_streams "));
    line.and_then(|number| number.parse().ok()).unwrap_or_else(|| panic!("no hsmpool_streams: {metrics}"))
}

/// SoftHSM decrypts it, with the same key.
fn judged_by_softhsm(token: &Token) {
    let judge = Token::initialised(Module::SoftHsm);
    for (name, _) in BLOWS {
        for kind in ["cbc", "gcm"] {
            let file = format!("{name}.{kind}");
            judge.write(&file, token.read(&file));
        }
    }
    judge.write("message", token.read("message"));
    child(&judge, "judge what was encrypted").ok();
}

fn aes_key(session: &Session) -> CK_OBJECT_HANDLE {
    let template = Template::key(CKO_SECRET_KEY, CKK_AES).bytes(CKA_VALUE, AES_KEY).yes(&[CKA_ENCRYPT, CKA_DECRYPT]);
    session.create(template.truth(CKA_TOKEN, true).truth(CKA_PRIVATE, true)).expect("an AES key is made")
}

fn cbc() -> Mechanism {
    Mechanism::with_bytes(CKM_AES_CBC_PAD, &IV)
}

fn gcm() -> Mechanism {
    Mechanism::gcm(&NONCE, AAD, 128)
}

fn judge_what_was_encrypted() {
    let module = loaded_module();
    module.initialize().expect("initialises");
    let session = module.user_session(LABEL, PIN).expect("logs in");
    let (key, message) = (aes_key(&session), std::fs::read("message").expect("written by the test"));
    for (name, _) in BLOWS {
        for (kind, mechanism) in [("cbc", cbc()), ("gcm", gcm())] {
            let encrypted = std::fs::read(format!("{name}.{kind}")).expect("written by the test");
            let decrypted = session.decrypt(&mechanism, key, &encrypted).unwrap_or_else(|rv| panic!("{name}.{kind}: {rv:?}"));
            assert!(decrypted == message, "{name}.{kind} is the message's encryption");
        }
    }
}

fn begin_and_end() {
    let module = loaded_module();
    module.initialize().expect("initialises");
    let sessions: [Session; 7] = std::array::from_fn(|_| {
        let slot = module.slot_labelled(LABEL).expect("the token is there");
        module.open_session(slot).expect("opens")
    });
    let [signing, mac, cbc_way, gcm_way, back, hashing, searching] = &sessions;
    signing.login(CKU_USER, PIN).expect("logs in");
    let (_, signer) = key_pair(signing, "signer");
    let key = aes_key(signing);
    let template = Template::key(CKO_SECRET_KEY, CKK_GENERIC_SECRET).bytes(CKA_VALUE, MAC_KEY).yes(&[CKA_SIGN, CKA_VERIFY]);
    let mac_key = signing.create(template.truth(CKA_TOKEN, true).truth(CKA_PRIVATE, true)).expect("a key for HMAC");
    let data = || Template::new().number(CKA_CLASS, CKO_DATA).bytes(CKA_LABEL, SEARCHED);
    let mut objects: Vec<_> = (0..OBJECTS).map(|_| signing.create(data().truth(CKA_TOKEN, true)).expect("an object")).collect();
    objects.sort_unstable();
    let message = std::fs::read("message").expect("written by the test");
    let encrypted = signing.encrypt(&cbc(), key, &message).expect("encrypts");
    let halves = |bytes: &'static [u8]| bytes.split_at(bytes.len() / 2);
    let (message, encrypted): (&'static [u8], &'static [u8]) = (message.leak(), encrypted.leak());
    for (name, _) in BLOWS {
        signing.begin_signing(&Mechanism::plain(CKM_ECDSA_SHA256), signer).expect("begins to sign");
        mac.begin_signing(&Mechanism::plain(CKM_SHA256_HMAC), mac_key).expect("begins a MAC");
        cbc_way.begin_encrypting(&cbc(), key).expect("begins CBC");
        gcm_way.begin_encrypting(&gcm(), key).expect("begins GCM");
        back.begin_decrypting(&cbc(), key).expect("begins to decrypt");
        hashing.begin_digest(CKM_SHA256).expect("begins a digest");
        searching.begin_search(data()).expect("begins a search");
        let mut found = Vec::new();
        let [mut by_cbc, mut by_gcm, mut decrypted] = [const { Vec::new() }; 3];
        let mut half = |message: &[u8], encrypted: &[u8]| {
            for part in message.chunks(PART_BYTES) {
                signing.sign_part(part).expect("signs on");
                mac.sign_part(part).expect("goes on with the MAC");
                by_cbc.extend(cbc_way.encrypt_part(part).expect("encrypts on, by CBC"));
                by_gcm.extend(gcm_way.encrypt_part(part).expect("encrypts on, by GCM"));
                hashing.digest_part(part).expect("hashes on");
            }
            for part in encrypted.chunks(PART_BYTES) {
                decrypted.extend(back.decrypt_part(part).expect("decrypts on"));
            }
            found.extend(searching.next_found(2).expect("searches on"));
        };
        half(halves(message).0, halves(encrypted).0);
        acknowledge(name, HALF);
        wait_until("the test has struck", || Path::new(&format!("{name}.go")).exists());
        half(halves(message).1, halves(encrypted).1);
        by_cbc.extend(cbc_way.end_encrypting().expect("ends CBC"));
        by_gcm.extend(gcm_way.end_encrypting().expect("ends GCM"));
        decrypted.extend(back.end_decrypting().expect("ends the decryption"));
        found.extend(searching.next_found(OBJECTS).expect("finds the rest"));
        searching.end_search().expect("ends the search");
        found.sort_unstable();
        assert_eq!(found, objects, "each object once");
        let write = |what: &str, bytes: Vec<u8>| std::fs::write(format!("{name}.{what}"), bytes).expect("ours");
        write("signature", der(&signing.end_signing().expect("ends the signature")));
        write("mac", mac.end_signing().expect("ends the MAC"));
        write("digest", hashing.end_digest().expect("ends the digest"));
        for (what, bytes) in [("cbc", by_cbc), ("gcm", by_gcm), ("decrypted", decrypted)] {
            write(what, bytes);
        }
        acknowledge(name, WHOLE);
        wait_until("all is well again", || Path::new(&format!("{name}.well")).exists());
        find_back(signing, signer);
    }
    println!("everything came to its end");
}

fn acknowledge(name: &str, what: &str) {
    let mut out = std::io::stdout();
    writeln!(out, "{name}: {what}.").and_then(|()| out.flush()).expect("the test reads us");
}

/// An application finds out that its node is back while it makes calls.
fn find_back(session: &Session, signer: CK_OBJECT_HANDLE) {
    let begun = Instant::now();
    while begun.elapsed() < FINDS_BACK {
        session.sign(&Mechanism::plain(CKM_ECDSA), signer, &[7; 32]).expect("signs");
    }
}

/// An ECDSA signature as OpenSSL wants it (RFC 3279, section 2.2.3).
fn der(signature: &[u8]) -> Vec<u8> {
    let integer = |number: &[u8]| {
        let start = number.iter().position(|byte| *byte != 0).expect("no signature has a zero in it");
        let number = [if number[start] & 0x80 != 0 { &[0][..] } else { &[] }, &number[start..]].concat();
        [&[2, number.len() as u8], &number[..]].concat()
    };
    let (r, s) = signature.split_at(signature.len() / 2);
    let both = [integer(r), integer(s)].concat();
    [&[0x30, both.len() as u8], &both[..]].concat()
}
