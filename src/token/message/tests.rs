//! Messages of each released version are read for ever: one sample of each stands in `tests/fixtures/messages-1.txt`, as it was sent.

use std::collections::BTreeMap;

use super::*;
use crate::ck::{Kdf, KeyType, MechanismType, Mgf, ObjectClass, Rv};
use crate::mechanism::params::Oaep;
use crate::mechanism::{Params, Shape};
use crate::object::Value;
use crate::object::policy::Policy;
use crate::token::PinState;

/// A line each: kind, name, bytes in hexadecimal.
const FIXTURES: &str = include_str!("../../../tests/fixtures/messages-1.txt");

const ID: ObjectId = ObjectId([0x11; 16]);
const OTHER: ObjectId = ObjectId([0x12; 16]);
const TOKEN: TokenId = TokenId([0x22; 16]);

fn secret(text: &str) -> Secret {
    Secret::copy_of(text.as_bytes())
}

fn mechanism(kind: MechanismType, params: Params) -> Mechanism {
    Mechanism { kind, params }
}

fn plain() -> Mechanism {
    mechanism(MechanismType::AES_KEY_GEN, Params::None)
}

/// A value of each kind.
fn template() -> Template {
    Template::from_iter([
        (AttributeType::CLASS, Value::Ulong(ObjectClass::SECRET_KEY.0)),
        (AttributeType::TOKEN, Value::Bool(true)),
        (AttributeType::LABEL, Value::Bytes(b"label".to_vec())),
        (AttributeType::VALUE, Value::Secret(secret("0123456789abcdef"))),
        (AttributeType::ALLOWED_MECHANISMS, Value::Mechanisms(vec![MechanismType::AES_CBC, MechanismType::AES_GCM])),
        (
            AttributeType::WRAP_TEMPLATE,
            Value::Template(Template::from_iter([(AttributeType::KEY_TYPE, Value::Ulong(KeyType::AES.0))])),
        ),
    ])
}

fn who() -> Who {
    Who {
        scope: Scope([0x33; 16]),
        role: Some(Role::User),
        login: Some(LoginId([0x44; 16])),
        ticket: Blob(b"ticket".to_vec()),
        write: true,
    }
}

fn used(verb: Verb, mechanism: Mechanism) -> Use {
    Use { verb, mechanism, key: ID, permit: Blob(b"permit".to_vec()) }
}

fn run(verb: Verb, kind: MechanismType, params: Params) -> Ask {
    Ask::Run {
        what: used(verb, mechanism(kind, params)),
        input: secret("input"),
        hashed: false,
        signature: b"signature".to_vec(),
    }
}

/// A request of each verb.
fn asks() -> Vec<Ask> {
    let what = || used(Verb::Sign, mechanism(MechanismType::ECDSA, Params::None));
    vec![
        Ask::Tokens,
        Ask::InitToken { existing: Some(TOKEN), so_pin: secret("so-pin"), label: [b'l'; 32] },
        Ask::DeleteToken { token: TOKEN },
        Ask::Describe,
        Ask::Login { role: Role::SecurityOfficer, pin: secret("so-pin") },
        Ask::Logout,
        Ask::Authenticate { pin: secret("pin") },
        Ask::SetPin { old: secret("old"), new: secret("new") },
        Ask::InitPin { new: secret("new") },
        Ask::Find { template: template() },
        Ask::Read { id: ID, wanted: vec![AttributeType::LABEL, AttributeType::ID] },
        Ask::Size { id: ID },
        Ask::Create { template: template() },
        Ask::Copy { id: ID, changes: template() },
        Ask::Update { id: ID, changes: template() },
        Ask::Destroy { id: ID },
        Ask::Forget { ids: vec![ID, OTHER] },
        Ask::Leave,
        Ask::Generate { mechanism: plain(), template: template() },
        Ask::GeneratePair { mechanism: plain(), public: template(), private: template() },
        Ask::Wrap { mechanism: plain(), wrapping: ID, key: OTHER },
        Ask::Unwrap { mechanism: plain(), unwrapping: ID, wrapped: b"wrapped".to_vec(), template: template() },
        Ask::Derive { mechanism: plain(), base: ID, template: template() },
        Ask::Start { what: what() },
        Ask::Run { what: what(), input: secret("input"), hashed: true, signature: b"signature".to_vec() },
        Ask::Part {
            what: what(),
            stream: [7; 16],
            after: 3,
            input: secret("part"),
            ends: true,
            signature: b"signature".to_vec(),
        },
        Ask::Drop { stream: [7; 16] },
        Ask::Digest {
            mechanism: plain(),
            state: Some(Blob(b"state".to_vec())),
            parts: vec![Digested::Bytes(secret("bytes")), Digested::Key(ID)],
        },
        Ask::Health,
        Ask::Inherit { from: Scope([0x34; 16]), capsules: vec![Blob(b"capsule".to_vec())] },
        Ask::Make { makings: makings() },
    ]
}

/// A call of each kind that goes together with others.
fn makings() -> Vec<Making> {
    let news = [
        New::Created { template: template() },
        New::Generated { mechanism: plain(), template: template() },
        New::Pair { mechanism: plain(), public: template(), private: template() },
    ];
    (4..).zip(news).map(|(number, what)| Making { number, what }).collect()
}

/// A use of each form of parameter and each verb.
fn uses() -> Vec<(&'static str, Ask)> {
    let oaep = || Oaep { hash: MechanismType::SHA256, mgf: Mgf::MGF1_SHA256, label: b"label".to_vec() };
    let bytes = || b"bytes".to_vec();
    vec![
        ("Iv", run(Verb::Encrypt, MechanismType::AES_CBC, Params::Iv(vec![1; 16]))),
        ("Gcm", run(Verb::Decrypt, MechanismType::AES_GCM, Params::Gcm { iv: vec![2; 12], aad: bytes(), tag_bits: 128 })),
        (
            "Ccm",
            run(
                Verb::Encrypt,
                MechanismType::AES_CCM,
                Params::Ccm { data_len: 5, nonce: vec![3; 12], aad: bytes(), mac_len: 16 },
            ),
        ),
        ("Ctr", run(Verb::Encrypt, MechanismType::AES_CTR, Params::Ctr { counter_bits: 64, block: [4; 16] })),
        ("Oaep", run(Verb::Decrypt, MechanismType::RSA_PKCS_OAEP, Params::Oaep(oaep()))),
        (
            "Pss",
            run(
                Verb::Verify,
                MechanismType::RSA_PKCS_PSS,
                Params::Pss { hash: MechanismType::SHA256, mgf: Mgf::MGF1_SHA256, salt_len: 32 },
            ),
        ),
        (
            "Ecdh1",
            run(
                Verb::Sign,
                MechanismType::ECDH1_DERIVE,
                Params::Ecdh1 { kdf: Kdf::NULL, shared_data: bytes(), public_data: bytes() },
            ),
        ),
        ("MacLength", run(Verb::Sign, MechanismType::AES_CMAC_GENERAL, Params::MacLength(8))),
        ("Data", run(Verb::SignRecover, MechanismType::RSA_PKCS, Params::Data(bytes()))),
        (
            "CbcEncryptData",
            run(Verb::VerifyRecover, MechanismType::RSA_PKCS, Params::CbcEncryptData { iv: vec![5; 16], data: bytes() }),
        ),
        ("OtherHandle", run(Verb::Sign, MechanismType::CONCATENATE_BASE_AND_KEY, Params::OtherHandle(6))),
        ("OtherKey", run(Verb::Sign, MechanismType::CONCATENATE_BASE_AND_KEY, Params::OtherKey(OTHER))),
        (
            "RsaAesKeyWrap",
            run(Verb::Sign, MechanismType::RSA_AES_KEY_WRAP, Params::RsaAesKeyWrap { aes_bits: 256, oaep: oaep() }),
        ),
        ("Eddsa", run(Verb::Sign, MechanismType::EDDSA, Params::Eddsa { prehash: true, context: bytes() })),
    ]
}

fn request(ask: Ask) -> Request {
    Request {
        token: Some(TOKEN),
        who: who(),
        sequence: Some(5),
        mark: 600,
        held: vec![Held { id: ID, version: 2 }],
        capsules: vec![Blob(b"capsule".to_vec())],
        ask,
        tally: Some(Tally { calls: 1, failed: 2, retried: 3 }),
        use_number: Some(70_000),
        alone: None,
        mark_is_enough: None,
        epoch: None,
        since: None,
    }
}

fn refusal() -> Refusal {
    Refusal { code: Rv::PIN_INCORRECT, told: "wrong".to_string() }
}

/// An answer of each kind.
fn verdicts() -> Vec<(&'static str, Verdict)> {
    let described = Described {
        id: TOKEN,
        label: [b'l'; 32],
        serial: [b's'; 16],
        user_pin_set: true,
        so_pin: PinState::default(),
        user_pin: PinState::default(),
        policy: Policy::Strict,
    };
    let named =
        Named { id: ID, token: false, private: true, capsule: Some(Capsule { version: 3, sealed: Blob(b"sealed".to_vec()) }) };
    let begun = |shape| Begun { authenticate: true, output_max: 64, hash: Some(MechanismType::SHA256), streams: true, shape };
    let health = Health {
        node: 1,
        zone: "a".to_string(),
        serves: true,
        in_contact: true,
        leader: Some(2),
        applied: 600,
        duty: None,
        changes: None,
    };
    let readings = vec![Read::Value(Value::Ulong(7)), Read::Value(Value::Bytes(b"id".to_vec())), Read::Sensitive, Read::Absent];
    let shapes = [
        Shape::Stream { tail: 16 },
        Shape::Blocks { size: 16, padded: true, decrypts: true },
        Shape::Collected { adds: 1, drops: 2 },
        Shape::Whole { input_max: 1, output_max: 2, unpads: true },
    ];
    let names = ["Stream", "Blocks", "Collected", "Whole"];
    let mut all = vec![
        ("Nothing", Reply::Nothing),
        ("Tokens", Reply::Tokens(vec![TOKEN])),
        ("Token", Reply::Token(TOKEN)),
        ("Described", Reply::Described(described)),
        ("Who", Reply::Who(who())),
        ("Permit", Reply::Permit(Blob(b"permit".to_vec()))),
        ("Objects", Reply::Objects(vec![named.clone()])),
        ("Readings", Reply::Readings(readings)),
        ("Number", Reply::Number(1_000_000)),
        ("Bytes", Reply::Bytes(secret("bytes"))),
        ("Started", Reply::Started(begun(None))),
        ("Health", Reply::Health(health)),
        ("Inherited", Reply::Inherited { who: Some(who()), objects: vec![named] }),
        ("Apart", Reply::Apart(vec![Apart { number: 5, refusal: refusal() }])),
    ];
    all.extend(names.into_iter().zip(shapes.map(|shape| Reply::Started(begun(Some(shape))))));
    let mut verdicts: Vec<(&str, Verdict)> = all.into_iter().map(|(name, reply)| (name, Verdict::Done(reply))).collect();
    verdicts.push(("Refused", Verdict::Refused(refusal())));
    verdicts.push(("Elsewhere", Verdict::Elsewhere("it is being stopped".to_string())));
    verdicts.push(("Unknown", Verdict::Unknown(vec![ID])));
    verdicts
}

/// What today's code sends: kind and name, and the bytes.
fn samples() -> BTreeMap<String, String> {
    let hex = |bytes: Secret| bytes.expose().iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let mut samples = BTreeMap::new();
    for ask in asks() {
        samples.insert(format!("request {}", ask.verb()), hex(encode(&request(ask))));
    }
    for (name, ask) in uses() {
        samples.insert(format!("request Run-{name}"), hex(encode(&request(ask))));
    }
    for (name, verdict) in verdicts() {
        let answer = Answer { mark: 600, ticket: Some(Blob(b"ticket".to_vec())), verdict, isolated: None, epoch: None };
        samples.insert(format!("answer {name}"), hex(encode(&answer)));
    }
    // What came after the first release, all of it.
    let late = Request { alone: Some(true), mark_is_enough: Some(true), epoch: Some(0x99), ..request(Ask::Describe) };
    samples.insert("request Describe-late".to_string(), hex(encode(&late)));
    let (verdict, isolated, epoch) = (Verdict::Done(Reply::Nothing), Some(true), Some(0x99));
    let late = Answer { mark: 600, ticket: None, verdict, isolated, epoch };
    samples.insert("answer Nothing-late".to_string(), hex(encode(&late)));
    samples
}

fn fixtures() -> BTreeMap<String, Vec<u8>> {
    let bytes = |hex: &str| (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect();
    let lines = FIXTURES.lines().filter(|line| !line.starts_with('#'));
    lines.map(|line| line.rsplit_once(' ').map(|(name, hex)| (name.to_string(), bytes(hex))).expect(line)).collect()
}

/// The bytes of every sample, for tests that alter them.
pub(crate) fn sample_bytes() -> Vec<(bool, Vec<u8>)> {
    fixtures().into_iter().map(|(name, bytes)| (name.starts_with("request"), bytes)).collect()
}

#[test]
fn every_message_that_was_ever_sent_is_read_to_the_same_value() {
    for (name, bytes) in fixtures() {
        let again = match name.split_once(' ') {
            Some(("request", _)) => encode(&decode::<Request>(&bytes).unwrap_or_else(|error| panic!("{name}: {error:?}"))),
            _ => encode(&decode::<Answer>(&bytes).unwrap_or_else(|error| panic!("{name}: {error:?}"))),
        };
        assert!(again.expose() == bytes, "{name} is read to another value");
    }
}

#[test]
fn what_is_sent_today_stands_among_the_samples() {
    let kept = fixtures();
    let hex = |bytes: &Vec<u8>| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let news = samples().into_iter().filter(|(name, sample)| kept.get(name).map(hex).as_ref() != Some(sample));
    let lines: String = news.map(|(name, sample)| format!("{name} {sample}\n")).collect();
    assert!(
        lines.is_empty(),
        "these are not in tests/fixtures: add a line for what is new; what has changed breaks versions that were released\n{lines}"
    );
}

#[test]
fn there_is_a_sample_of_every_verb_and_every_answer() {
    // A variant is the array of its number and its fields: one that is known complains of its fields, not of its number.
    let variants =
        |is_known: &dyn Fn(&[u8]) -> bool| (0..=23_u8).chain(24..200).filter(|number| is_known(&variant(*number))).count();
    let known = |result: Result<()>| result.err().is_none_or(|error| error.code() != Code::FunctionNotSupported);
    assert_eq!(variants(&|bytes| known(decode::<Ask>(bytes).map(drop))), asks().len());
    assert_eq!(variants(&|bytes| known(decode::<Params>(bytes).map(drop))), uses().len() + 1);
    let (replies, shapes) = (variants(&|bytes| known(decode::<Reply>(bytes).map(drop))), 4);
    let verdicts_known = variants(&|bytes| known(decode::<Verdict>(bytes).map(drop)));
    assert_eq!(replies + shapes + verdicts_known - 1, verdicts().len());
}

fn variant(number: u8) -> Vec<u8> {
    let mut bytes = vec![0x82];
    match number {
        0..=23 => bytes.push(number),
        _ => bytes.extend([0x18, number]),
    }
    bytes.push(0x80);
    bytes
}
