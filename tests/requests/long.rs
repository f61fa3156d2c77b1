//! What does not fit one frame: it goes in parts, in pieces, or is refused at once, and no node is left for it.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use hsmpool::ck::{AttributeType, MechanismType, ObjectClass};
use hsmpool::error::{Code, Error};
use hsmpool::limits::{OBJECT_MAX_BYTES, REQUEST_INPUT_MAX_BYTES};
use hsmpool::mechanism::{Mechanism, Params};
use hsmpool::object::{Template, Value};

use crate::digests::digestible;
use crate::house::{House, aes, mechanism};

/// A call that goes from node to node in vain takes 30 s.
const AT_ONCE: Duration = Duration::from_secs(15);

fn data(bytes: usize, token: bool) -> Template {
    Template::from_iter([
        (AttributeType::CLASS, Value::Ulong(ObjectClass::DATA.0)),
        (AttributeType::TOKEN, Value::Bool(token)),
        (AttributeType::PRIVATE, Value::Bool(true)),
        (AttributeType::VALUE, Value::Bytes(vec![7; bytes])),
    ])
}

/// Nobody was asked in vain: all nodes are asked still.
fn refused_at_once(house: &House, code: Code, call: impl FnOnce() -> Result<(), Error>) {
    let (begun, carried) = (Instant::now(), house.network.carried.load(Ordering::Relaxed));
    let error = call().unwrap_err();
    assert_eq!(error.code(), code, "{error}");
    assert!(begun.elapsed() < AT_ONCE, "{error}");
    assert!(house.network.carried.load(Ordering::Relaxed) <= carried + 3, "{error}");
}

#[test]
fn input_longer_than_a_request_takes_goes_in_parts_where_there_are_parts() {
    let house = House::new(130);
    let (token, user) = house.token();
    let key = token.generate(&user, &mechanism(MechanismType::AES_KEY_GEN), aes(true)).unwrap().id;
    let cbc = Mechanism { kind: MechanismType::AES_CBC_PAD, params: Params::Iv(vec![3; 16]) };
    let text: Vec<u8> = (0..REQUEST_INPUT_MAX_BYTES + 4_000_001).map(|at| (at % 251) as u8).collect();
    let mut sealed = vec![0; text.len() + 16];
    let len = token.encrypt(&user, &cbc, key).unwrap().operation.single(&text, &mut sealed).unwrap();
    let mut opened = vec![0; len];
    let cipher = token.decrypt(&user, &cbc, key).unwrap().operation;
    let len = cipher.single(&sealed[..len], &mut opened).unwrap();
    assert!(opened[..len] == text);
    let cmac = mechanism(MechanismType::AES_CMAC);
    let mut tags = [[0; 16]; 2];
    token.sign(&user, &cmac, key).unwrap().operation.single(&text, &mut tags[0]).unwrap();
    let mut parts = token.sign(&user, &cmac, key).unwrap().operation;
    text.chunks(5_000_000).for_each(|part| parts.update(part).unwrap());
    parts.finish(&mut tags[1]).unwrap();
    assert_eq!(tags[0], tags[1]);
    token.verify(&user, &cmac, key).unwrap().operation.single(&text, &tags[0]).unwrap();
    assert_eq!(house.servers.iter().map(|server| server.load().1).sum::<usize>(), 0, "no operation is left behind");
}

#[test]
fn input_longer_than_a_request_takes_is_refused_at_once_where_there_are_none() {
    let house = House::new(131);
    let (token, user) = house.token();
    let key = token.generate(&user, &mechanism(MechanismType::AES_KEY_GEN), aes(true)).unwrap().id;
    let ccm = |data_len: usize| Mechanism {
        kind: MechanismType::AES_CCM,
        params: Params::Ccm { data_len: data_len as u64, nonce: vec![1; 7], aad: Vec::new(), mac_len: 16 },
    };
    let input = vec![0; REQUEST_INPUT_MAX_BYTES + 1];
    let mut out = vec![0; input.len() + 16];
    refused_at_once(&house, Code::DataLenRange, || {
        token.encrypt(&user, &ccm(input.len()), key)?.operation.single(&input, &mut out).map(drop)
    });
    refused_at_once(&house, Code::EncryptedDataLenRange, || {
        token.decrypt(&user, &ccm(input.len() - 16), key)?.operation.single(&input, &mut out).map(drop)
    });
    refused_at_once(&house, Code::EncryptedDataLenRange, || {
        let mut cipher = token.decrypt(&user, &ccm(input.len() - 16), key)?.operation;
        cipher.update(&input[1..], &mut out)?;
        cipher.update(&[0], &mut out).map(drop)
    });
    token.generate(&user, &mechanism(MechanismType::AES_KEY_GEN), aes(false)).unwrap();
}

#[test]
fn a_digest_with_a_key_takes_as_much_behind_it_as_a_request_does() {
    let house = House::new(134);
    let (token, user) = house.token();
    let key = token.create(&user, digestible()).unwrap().id;
    let input = vec![7; REQUEST_INPUT_MAX_BYTES + 1];
    let mut digest = token.digest(&mechanism(MechanismType::SHA256)).unwrap();
    digest.update(&input).unwrap();
    token.digest_key(&user, key, &mut *digest).unwrap();
    digest.update(&input[1..]).unwrap();
    refused_at_once(&house, Code::DataLenRange, || digest.update(&[7]));
    digest.finish(&mut [0; 32]).unwrap();
}

#[test]
fn session_objects_longer_than_a_frame_together_are_brought_to_another_node() {
    let house = House::new(132);
    let (token, user) = house.token();
    let mut made: Vec<_> = (0..3).map(|_| token.create(&user, data(15 << 20, false)).unwrap().id).collect();
    made.extend((0..300).map(|_| token.create(&user, data(10, false)).unwrap().id));
    for dead in [0, 1, 2, 0] {
        house.network.kill_only(dead);
        let mut found: Vec<_> = token.find(&user, &Template::new()).unwrap().into_iter().map(|found| found.id).collect();
        found.sort();
        made.sort();
        assert_eq!(found, made);
    }
}

#[test]
fn what_no_node_keeps_is_refused_at_once_and_all_nodes_are_asked_still() {
    let house = House::new(133);
    let (token, user) = house.token();
    let too_long = || {
        let parts = [AttributeType::VALUE, AttributeType::LABEL, AttributeType::APPLICATION];
        let long = parts.map(|kind| (kind, Value::Bytes(vec![7; OBJECT_MAX_BYTES / 3 + 1])));
        let mut template = data(1, true);
        long.into_iter().for_each(|(kind, value)| drop(template.set(kind, value)));
        template
    };
    refused_at_once(&house, Code::DeviceMemory, || token.create(&user, too_long()).map(drop));
    refused_at_once(&house, Code::DeviceMemory, || token.create(&user, too_long()).map(drop));
    token.create(&user, data(1, true)).unwrap();
}
