//! The rows: one operation each, as a closure over a session that does it once.

use cryptoki_sys::*;

use crate::abi::{Mechanism, Session, Template};
use crate::raw;
use crate::store::{self, WANTED};

/// An operation, ready to be repeated.
pub type Repeat<'s> = Box<dyn FnMut() + 's>;

/// Makes the operation ready over a session.
pub type Prepare = for<'s, 'm> fn(&'s Session<'m>) -> Repeat<'s>;

pub enum Kind {
    /// Microseconds an operation, one thread.
    Operation(Prepare),
    /// Microseconds of one call, one thread: each is timed by itself, and this is the median. What a caller waits for, whatever else the machine does
    /// now and then.
    Call(Prepare),
    /// Total rate of two threads over the rate of one.
    Scaling(Prepare),
    /// Operations a second of so many threads together.
    Rate(usize, Prepare),
    /// Rate of a signing process beside one that creates keys, over its rate alone. The raw side signs beside a creator of the first module: what the
    /// machine's cores leave, whatever a signer does.
    BesideCreator,
    /// Milliseconds from loading the module to the first signature with a key found by its label.
    ColdStart,
    /// Microseconds of `C_Initialize` and `C_Finalize` alone.
    Initialize,
}

pub struct Row {
    pub name: &'static str,
    pub kind: Kind,
    /// The same on the crypto library alone.
    pub raw: Option<fn() -> Repeat<'static>>,
}

impl Row {
    pub fn unit(&self) -> &'static str {
        match self.kind {
            Kind::Operation(_) | Kind::Call(_) | Kind::Initialize => "us",
            Kind::Rate(..) => "/s",
            Kind::Scaling(_) | Kind::BesideCreator => "x",
            Kind::ColdStart => "ms",
        }
    }
}

const fn row(name: &'static str, work: Prepare, raw: Option<fn() -> Repeat<'static>>) -> Row {
    Row { name, kind: Kind::Operation(work), raw }
}

const fn call(name: &'static str, work: Prepare, raw: Option<fn() -> Repeat<'static>>) -> Row {
    Row { name, kind: Kind::Call(work), raw }
}

const fn scaling(name: &'static str, work: Prepare, raw: Option<fn() -> Repeat<'static>>) -> Row {
    Row { name, kind: Kind::Scaling(work), raw }
}

pub const ROWS: &[Row] = &[
    row("rsa2048 sign", |s| rsa(s, "rsa2048"), Some(|| raw::rsa_sign(2048))),
    row("rsa3072 sign", |s| rsa(s, "rsa3072"), Some(|| raw::rsa_sign(3072))),
    row("rsa4096 sign", |s| rsa(s, "rsa4096"), Some(|| raw::rsa_sign(4096))),
    row("p256 sign", |s| sign(s, "p256", CKM_ECDSA, 32), Some(|| raw::ecdsa_sign(raw::Curve::P256))),
    call("p256 sign (median call)", |s| sign(s, "p256", CKM_ECDSA, 32), Some(|| raw::ecdsa_sign(raw::Curve::P256))),
    row("p256 verify", |s| verify(s, "p256", CKM_ECDSA), Some(|| raw::ecdsa_verify(raw::Curve::P256))),
    row("p384 sign", |s| sign(s, "p384", CKM_ECDSA, 48), Some(|| raw::ecdsa_sign(raw::Curve::P384))),
    row("ed25519 sign", |s| sign(s, "ed25519", CKM_EDDSA, 32), Some(raw::ed25519_sign)),
    row("ed25519 verify", |s| verify(s, "ed25519", CKM_EDDSA), Some(raw::ed25519_verify)),
    row("p256 ecdh", ecdh, Some(raw::ecdh)),
    row("hmac-sha256 256 B", |s| hmac(s, 256), Some(|| raw::hmac(256))),
    row("aes-gcm 16 B", |s| gcm(s, 16), Some(|| raw::gcm(16))),
    row("aes-gcm 1 KiB", |s| gcm(s, 1 << 10), Some(|| raw::gcm(1 << 10))),
    row("aes-gcm 1 MiB", |s| gcm(s, 1 << 20), Some(|| raw::gcm(1 << 20))),
    row("aes-cbc-pad 16 B", |s| cbc(s, "aes", 16), Some(|| raw::cbc(raw::aes256(), 16))),
    row("aes-cbc-pad 1 KiB", |s| cbc(s, "aes", 1 << 10), Some(|| raw::cbc(raw::aes256(), 1 << 10))),
    row("aes-cbc-pad 1 KiB decrypt", |s| cbc_back(s, "aes", 1 << 10), Some(|| raw::cbc_back(raw::aes256(), 1 << 10))),
    row("aes128-cbc-pad 1 KiB", |s| cbc(s, "aes128", 1 << 10), Some(|| raw::cbc(raw::aes128(), 1 << 10))),
    row("aes128-cbc-pad 1 KiB decrypt", |s| cbc_back(s, "aes128", 1 << 10), Some(|| raw::cbc_back(raw::aes128(), 1 << 10))),
    row("sha256 16 B", |s| digest(s, 16), Some(|| raw::digest(16))),
    row("sha256 1 KiB", |s| digest(s, 1 << 10), Some(|| raw::digest(1 << 10))),
    row("random 32 B", random, Some(raw::random)),
    row("session info", session_info, None),
    row("get label", label, None),
    row("find by id", find_by_id, None),
    row("generate session key", session_key, None),
    scaling("2 threads rsa2048 sign", |s| rsa(s, "rsa2048"), Some(|| raw::rsa_sign(2048))),
    scaling("2 threads p256 sign", |s| sign(s, "p256", CKM_ECDSA, 32), Some(|| raw::ecdsa_sign(raw::Curve::P256))),
    scaling("2 threads hmac-sha256 256 B", |s| hmac(s, 256), Some(|| raw::hmac(256))),
    scaling("2 threads aes-gcm 1 KiB", |s| gcm(s, 1 << 10), Some(|| raw::gcm(1 << 10))),
    scaling("2 threads sha256 1 KiB", |s| digest(s, 1 << 10), Some(|| raw::digest(1 << 10))),
    scaling("2 threads random 32 B", random, Some(raw::random)),
    scaling("2 threads find by id", find_by_id, None),
    Row { name: "p256 signer beside a creator", kind: Kind::BesideCreator, raw: Some(|| raw::ecdsa_sign(raw::Curve::P256)) },
    Row { name: "cold start to first signature", kind: Kind::ColdStart, raw: None },
    Row { name: "initialize and finalize", kind: Kind::Initialize, raw: None },
    row("make and destroy token key", make_and_destroy, None),
    Row { name: "64 threads p256 sign", kind: Kind::Rate(64, |s| sign(s, "p256", CKM_ECDSA, 32)), raw: None },
    // Last: they leave their keys behind.
    call("make token key (median call)", make, None),
    Row { name: "256 threads make token key", kind: Kind::Rate(256, make), raw: None },
];

fn sign<'s>(session: &'s Session<'_>, label: &str, mechanism: CK_MECHANISM_TYPE, data_len: usize) -> Repeat<'s> {
    let key = store::find(session, CKO_PRIVATE_KEY, label);
    let (mechanism, data, mut signature) = (Mechanism::plain(mechanism), vec![7; data_len], [0; 512]);
    Box::new(move || {
        session.sign_into(&mechanism, key, &data, &mut signature).expect("signs");
    })
}

/// What a signer beside a creator does.
pub fn p256_sign<'s>(session: &'s Session<'_>) -> Repeat<'s> {
    sign(session, "p256", CKM_ECDSA, 32)
}

fn rsa<'s>(session: &'s Session<'_>, label: &str) -> Repeat<'s> {
    sign(session, label, CKM_SHA256_RSA_PKCS, 32)
}

fn verify<'s>(session: &'s Session<'_>, label: &str, mechanism: CK_MECHANISM_TYPE) -> Repeat<'s> {
    let (private, public) = (store::find(session, CKO_PRIVATE_KEY, label), store::find(session, CKO_PUBLIC_KEY, label));
    let (mechanism, data) = (Mechanism::plain(mechanism), [7; 32]);
    let signature = session.sign(&mechanism, private, &data).expect("signs");
    Box::new(move || session.verify(&mechanism, public, &data, &signature).expect("verifies"))
}

fn ecdh<'s>(session: &'s Session<'_>) -> Repeat<'s> {
    let (private, public) = (store::find(session, CKO_PRIVATE_KEY, "p256"), store::find(session, CKO_PUBLIC_KEY, "p256"));
    let point = session.attribute(public, CKA_EC_POINT).expect("a public key has a point");
    // The attribute is a DER OCTET STRING; the mechanism takes the raw point.
    let mechanism = Mechanism::ecdh(&point[2..]);
    let template = Template::key(CKO_SECRET_KEY, CKK_GENERIC_SECRET).number(CKA_VALUE_LEN, 32).truth(CKA_TOKEN, false);
    Box::new(move || {
        let secret = session.derive(&mechanism, private, template.clone()).expect("derives");
        session.destroy(secret).expect("destroys");
    })
}

fn hmac<'s>(session: &'s Session<'_>, len: usize) -> Repeat<'s> {
    let key = store::find(session, CKO_SECRET_KEY, "hmac");
    let (mechanism, data, mut mac) = (Mechanism::plain(CKM_SHA256_HMAC), vec![7; len], [0; 64]);
    Box::new(move || {
        session.sign_into(&mechanism, key, &data, &mut mac).expect("signs");
    })
}

fn encrypt<'s>(session: &'s Session<'_>, label: &str, mechanism: Mechanism, len: usize) -> Repeat<'s> {
    let key = store::find(session, CKO_SECRET_KEY, label);
    let (data, mut sealed) = (vec![7; len], vec![0; len + 32]);
    Box::new(move || {
        session.encrypt_into(&mechanism, key, &data, &mut sealed).expect("encrypts");
    })
}

fn gcm<'s>(session: &'s Session<'_>, len: usize) -> Repeat<'s> {
    encrypt(session, "aes", Mechanism::gcm(&[7; 12], &[], 128), len)
}

fn cbc_pad() -> Mechanism {
    Mechanism::with_bytes(CKM_AES_CBC_PAD, &[7; 16])
}

fn cbc<'s>(session: &'s Session<'_>, label: &str, len: usize) -> Repeat<'s> {
    encrypt(session, label, cbc_pad(), len)
}

fn cbc_back<'s>(session: &'s Session<'_>, label: &str, len: usize) -> Repeat<'s> {
    let (key, mechanism, mut data) = (store::find(session, CKO_SECRET_KEY, label), cbc_pad(), vec![0; len + 32]);
    let sealed = session.encrypt(&mechanism, key, &vec![7; len]).expect("encrypts");
    Box::new(move || {
        session.decrypt_into(&mechanism, key, &sealed, &mut data).expect("decrypts");
    })
}

fn digest<'s>(session: &'s Session<'_>, len: usize) -> Repeat<'s> {
    let (data, mut digest) = (vec![7; len], [0; 32]);
    Box::new(move || {
        session.digest_into(CKM_SHA256, &data, &mut digest).expect("digests");
    })
}

fn random<'s>(session: &'s Session<'_>) -> Repeat<'s> {
    let mut bytes = [0; 32];
    Box::new(move || session.random(&mut bytes).expect("draws"))
}

fn session_info<'s>(session: &'s Session<'_>) -> Repeat<'s> {
    Box::new(|| {
        session.info().expect("tells");
    })
}

fn label<'s>(session: &'s Session<'_>) -> Repeat<'s> {
    let key = store::find(session, CKO_SECRET_KEY, WANTED);
    Box::new(move || {
        session.attribute(key, CKA_LABEL).expect("reads");
    })
}

fn find_by_id<'s>(session: &'s Session<'_>) -> Repeat<'s> {
    Box::new(|| {
        let found = session.find(Template::new().bytes(CKA_ID, WANTED)).expect("searches");
        assert_eq!(found.len(), 1);
    })
}

fn make<'s>(session: &'s Session<'_>) -> Repeat<'s> {
    Box::new(|| {
        store::made(session);
    })
}

fn make_and_destroy<'s>(session: &'s Session<'_>) -> Repeat<'s> {
    Box::new(|| {
        let key = store::made(session);
        session.destroy(key).expect("destroys");
    })
}

fn session_key<'s>(session: &'s Session<'_>) -> Repeat<'s> {
    let template = Template::new().truth(CKA_TOKEN, false).number(CKA_VALUE_LEN, 32);
    Box::new(move || {
        let key = session.generate_key(CKM_AES_KEY_GEN, template.clone()).expect("generates");
        session.destroy(key).expect("destroys");
    })
}
