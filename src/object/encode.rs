//! Objects as bytes: what is sealed at rest, and what the blind index hashes.
//!
//! version byte 1, then CBOR: an array of `[attribute, kind, value]` in ascending order of attribute. Kinds are for ever.

use std::borrow::Cow;

use minicbor::{Decoder, Encoder};
use zeroize::Zeroizing;

use super::{Template, Value};
use crate::ck::{AttributeType, MechanismType};
use crate::error::{Code, Doing, Result, refuse};
use crate::limits::{ATTRIBUTE_VALUE_MAX_BYTES, SECRET_VALUE_MAX_BYTES, TEMPLATE_ATTRIBUTES_MAX, TEMPLATE_DEPTH_MAX};
use crate::secret::Secret;

const VERSION: u8 = 1;
const BOOL: u8 = 0;
const ULONG: u8 = 1;
const BYTES: u8 = 2;
const SECRET: u8 = 3;
const MECHANISMS: u8 = 4;
const TEMPLATE: u8 = 5;
/// CBOR heads of one attribute: array, attribute, kind, length.
const HEADS_BYTES: usize = 1 + 9 + 1 + 9;

/// All attributes, secrets in clear: to be sealed at once.
pub fn encode(template: &Template) -> Secret {
    // One allocation of the right size, so that no plain copy is left behind by growing.
    let mut bytes = Zeroizing::new(Vec::with_capacity(1 + size(template)));
    bytes.push(VERSION);
    write(template, &mut Encoder::new(&mut *bytes));
    Secret::new(std::mem::take(&mut *bytes))
}

fn size(template: &Template) -> usize {
    let value = |value: &Value| match value {
        Value::Bool(_) | Value::Ulong(_) => 0,
        Value::Bytes(bytes) => bytes.len(),
        Value::Secret(secret) => secret.len(),
        Value::Mechanisms(mechanisms) => mechanisms.len() * 9,
        Value::Template(inner) => size(inner),
    };
    9 + template.iter().map(|(_, v)| HEADS_BYTES + value(v)).sum::<usize>()
}

fn write(template: &Template, to: &mut Encoder<&mut Vec<u8>>) {
    const INFALLIBLE: &str = "a vector takes every byte";
    to.array(template.len() as u64).expect(INFALLIBLE);
    for (kind, value) in template.iter() {
        to.array(3).expect(INFALLIBLE).u64(kind.0).expect(INFALLIBLE);
        match value {
            Value::Bool(flag) => to.u8(BOOL).expect(INFALLIBLE).bool(*flag).map(drop),
            Value::Ulong(number) => to.u8(ULONG).expect(INFALLIBLE).u64(*number).map(drop),
            Value::Bytes(bytes) => to.u8(BYTES).expect(INFALLIBLE).bytes(bytes).map(drop),
            Value::Secret(secret) => to.u8(SECRET).expect(INFALLIBLE).bytes(secret.expose()).map(drop),
            Value::Mechanisms(mechanisms) => {
                to.u8(MECHANISMS).expect(INFALLIBLE).array(mechanisms.len() as u64).expect(INFALLIBLE);
                mechanisms.iter().try_for_each(|mechanism| to.u64(mechanism.0).map(drop))
            }
            Value::Template(inner) => {
                to.u8(TEMPLATE).expect(INFALLIBLE);
                write(inner, to);
                Ok(())
            }
        }
        .expect(INFALLIBLE);
    }
}

/// The attributes again. Total: any bytes give attributes or `StoreRefused`.
pub fn decode(bytes: &[u8]) -> Result<Template> {
    match bytes.split_first() {
        Some((&VERSION, rest)) => {
            let mut from = Decoder::new(rest);
            let template = read(&mut from, TEMPLATE_DEPTH_MAX)?;
            if from.position() != rest.len() {
                return Err(damaged("bytes after the last attribute"));
            }
            Ok(template)
        }
        Some((version, _)) => Err(damaged(&format!("object format {version}, which this version does not know"))),
        None => Err(damaged("an empty object")),
    }
}

fn damaged(what: &str) -> crate::error::Error {
    refuse(Code::StoreRefused, format!("an object in the store cannot be read ({what}): use a newer module or a backup"))
}

const READING: &str = "reading an object from the store";

fn read(from: &mut Decoder<'_>, depth: usize) -> Result<Template> {
    let count = bounded_array(from, TEMPLATE_ATTRIBUTES_MAX)?;
    let mut template = Template::new();
    for _ in 0..count {
        if from.array().doing(Code::StoreRefused, READING)? != Some(3) {
            return Err(damaged("an attribute of other than 3 parts"));
        }
        let kind = AttributeType(from.u64().doing(Code::StoreRefused, READING)?);
        let value = read_value(from, depth)?;
        if template.set(kind, value).is_some() {
            return Err(damaged(&format!("{kind} twice")));
        }
    }
    Ok(template)
}

fn read_value(from: &mut Decoder<'_>, depth: usize) -> Result<Value> {
    Ok(match from.u8().doing(Code::StoreRefused, READING)? {
        BOOL => Value::Bool(from.bool().doing(Code::StoreRefused, READING)?),
        ULONG => Value::Ulong(from.u64().doing(Code::StoreRefused, READING)?),
        BYTES => Value::Bytes(read_bytes(from, ATTRIBUTE_VALUE_MAX_BYTES)?.to_vec()),
        SECRET => Value::Secret(Secret::copy_of(read_bytes(from, SECRET_VALUE_MAX_BYTES)?)),
        MECHANISMS => {
            let count = bounded_array(from, ATTRIBUTE_VALUE_MAX_BYTES / 8)?;
            let each = (0..count).map(|_| from.u64().map(MechanismType).doing(Code::StoreRefused, READING));
            Value::Mechanisms(each.collect::<Result<_>>()?)
        }
        TEMPLATE if depth > 1 => Value::Template(read(from, depth - 1)?),
        kind => return Err(damaged(&format!("value kind {kind}"))),
    })
}

fn read_bytes<'b>(from: &mut Decoder<'b>, at_most: usize) -> Result<&'b [u8]> {
    let bytes = from.bytes().doing(Code::StoreRefused, READING)?;
    if bytes.len() > at_most { Err(damaged("a value that is too long")) } else { Ok(bytes) }
}

fn bounded_array(from: &mut Decoder<'_>, at_most: usize) -> Result<u64> {
    match from.array().doing(Code::StoreRefused, READING)? {
        Some(count) if count <= at_most as u64 => Ok(count),
        _ => Err(damaged("a list without a length, or a too long one")),
    }
}

/// The bytes of a value that the blind index hashes: the same for a plain and a secret byte string, which are lent, not copied.
pub(super) fn index_bytes(value: &Value) -> Cow<'_, [u8]> {
    match value {
        Value::Bool(flag) => vec![u8::from(*flag)].into(),
        Value::Ulong(number) => number.to_be_bytes().to_vec().into(),
        Value::Bytes(bytes) => bytes.into(),
        Value::Secret(secret) => secret.expose().into(),
        Value::Mechanisms(mechanisms) => mechanisms.iter().flat_map(|mechanism| mechanism.0.to_be_bytes()).collect(),
        Value::Template(template) => encode(template).expose().to_vec().into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Template {
        let inner = Template::from_iter([(AttributeType::EXTRACTABLE, Value::Bool(false))]);
        Template::from_iter([
            (AttributeType::CLASS, Value::Ulong(4)),
            (AttributeType::TOKEN, Value::Bool(true)),
            (AttributeType::LABEL, Value::Bytes(b"label".to_vec())),
            (AttributeType::VALUE, Value::Secret(Secret::copy_of(&[7; 32]))),
            (AttributeType::ALLOWED_MECHANISMS, Value::Mechanisms(vec![MechanismType::AES_GCM, MechanismType::AES_CBC])),
            (AttributeType::UNWRAP_TEMPLATE, Value::Template(inner)),
        ])
    }

    #[test]
    fn what_was_written_is_read_again() {
        let read = decode(encode(&sample()).expose()).unwrap();
        assert!(read.same_as(&sample()));
        assert!(matches!(read.get(AttributeType::VALUE), Some(Value::Secret(_))), "a secret stays a secret");
    }

    #[test]
    fn the_first_allocation_is_large_enough() {
        assert!(encode(&sample()).len() <= 1 + size(&sample()));
    }

    #[test]
    fn every_cut_and_every_bent_byte_is_answered_without_a_panic() {
        let bytes = encode(&sample());
        for len in 0..bytes.len() {
            assert_eq!(decode(&bytes.expose()[..len]).err().map(|error| error.code()), Some(Code::StoreRefused), "{len} bytes");
        }
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut bent = bytes.expose().to_vec();
                bent[at] ^= 1 << bit;
                if let Err(error) = decode(&bent) {
                    assert_eq!(error.code(), Code::StoreRefused);
                }
            }
        }
    }

    #[test]
    fn templates_nest_to_the_limit_and_no_further() {
        let mut nested = Template::new();
        for _ in 0..TEMPLATE_DEPTH_MAX {
            nested = Template::from_iter([(AttributeType::WRAP_TEMPLATE, Value::Template(nested))]);
        }
        assert!(decode(encode(&nested).expose()).is_err());
    }
}
