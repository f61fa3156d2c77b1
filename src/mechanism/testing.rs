//! What the families' tests share: keys made of attributes, permissions, whole operations through the rows.

use std::sync::Arc;

use super::{Key, Mechanism, Params, table};
use crate::ck::{AttributeType, KeyType, MechanismType, ObjectClass};
use crate::error::Result;
use crate::object::policy::{Permitted, Policy, Use, permit};
use crate::object::{Object, ObjectId, Template, Value};
use crate::secret::Secret;

/// A key of any class that may be used for everything.
pub fn key(class: ObjectClass, kind: KeyType, attributes: impl IntoIterator<Item = (AttributeType, Value)>) -> Arc<Key> {
    let usages = [
        AttributeType::ENCRYPT,
        AttributeType::DECRYPT,
        AttributeType::SIGN,
        AttributeType::VERIFY,
        AttributeType::SIGN_RECOVER,
        AttributeType::VERIFY_RECOVER,
        AttributeType::WRAP,
        AttributeType::UNWRAP,
        AttributeType::DERIVE,
    ];
    let mut all: Template = usages.into_iter().map(|usage| (usage, Value::Bool(true))).collect();
    all.set(AttributeType::CLASS, Value::Ulong(class.0));
    all.set(AttributeType::KEY_TYPE, Value::Ulong(kind.0));
    attributes.into_iter().for_each(|(attribute, value)| drop(all.set(attribute, value)));
    Arc::new(Key::new(Object { id: ObjectId([1; 16]), version: 1, attributes: all }))
}

/// A secret key that may be used for everything.
pub fn secret_key(kind: KeyType, value: &[u8]) -> Arc<Key> {
    key(ObjectClass::SECRET_KEY, kind, [(AttributeType::VALUE, Value::Secret(Secret::copy_of(value)))])
}

/// Permission for one use.
pub fn permitted<U: Use>(key: &Arc<Key>, kind: MechanismType) -> Permitted<U, Arc<Key>> {
    permit(Arc::clone(key), kind, Policy::Compatible, b"20300101").unwrap_or_else(|error| panic!("not permitted: {error}"))
}

fn mechanism(kind: MechanismType, params: &Params) -> (Mechanism, &'static table::Row) {
    let row = table::find(kind).unwrap_or_else(|| panic!("{kind} has no row"));
    (Mechanism { kind, params: params.clone() }, row)
}

/// `C_Sign` in parts that end where `splits` say.
pub fn sign(kind: MechanismType, params: &Params, key: &Arc<Key>, data: &[u8], splits: &[usize]) -> Result<Vec<u8>> {
    let (mechanism, row) = mechanism(kind, params);
    let mut signer = (row.verbs.sign.expect("the mechanism signs"))(&mechanism, permitted(key, kind))?;
    let mut out = vec![0xAA; signer.signature_len() + 8];
    let len = match parts(data, splits) {
        None => signer.single(data, &mut out)?,
        Some(parts) => {
            parts.iter().try_for_each(|part| signer.update(part))?;
            signer.finish(&mut out)?
        }
    };
    assert!(out[len..].iter().all(|byte| *byte == 0xAA), "{kind} wrote past its signature");
    out.truncate(len);
    Ok(out)
}

/// `C_Verify` in parts.
pub fn verify(
    kind: MechanismType,
    params: &Params,
    key: &Arc<Key>,
    data: &[u8],
    splits: &[usize],
    signature: &[u8],
) -> Result<()> {
    let (mechanism, row) = mechanism(kind, params);
    let mut verifier = (row.verbs.verify.expect("the mechanism verifies"))(&mechanism, permitted(key, kind))?;
    match parts(data, splits) {
        None => verifier.single(data, signature),
        Some(parts) => {
            parts.iter().try_for_each(|part| verifier.update(part))?;
            verifier.finish(signature)
        }
    }
}

/// `C_Encrypt` in parts; checks that the announced lengths are kept.
pub fn encrypt(kind: MechanismType, params: &Params, key: &Arc<Key>, data: &[u8], splits: &[usize]) -> Result<Vec<u8>> {
    let (mechanism, row) = mechanism(kind, params);
    cipher((row.verbs.encrypt.expect("the mechanism encrypts"))(&mechanism, permitted(key, kind))?, data, splits)
}

/// `C_Decrypt` in parts; checks that the announced lengths are kept.
pub fn decrypt(kind: MechanismType, params: &Params, key: &Arc<Key>, data: &[u8], splits: &[usize]) -> Result<Vec<u8>> {
    let (mechanism, row) = mechanism(kind, params);
    cipher((row.verbs.decrypt.expect("the mechanism decrypts"))(&mechanism, permitted(key, kind))?, data, splits)
}

fn cipher(mut cipher: Box<dyn super::Cipher>, data: &[u8], splits: &[usize]) -> Result<Vec<u8>> {
    let exact = !cipher.unpads();
    let check = |out: &mut Vec<u8>, start: usize, bound: usize, len: usize| {
        assert!(len <= bound, "{len} bytes, announced as {bound}");
        assert!(!exact || len == bound, "{len} bytes, announced as exactly {bound}");
        out.truncate(start + len);
    };
    let mut out = Vec::new();
    let Some(parts) = parts(data, splits) else {
        let bound = cipher.single_len(data.len());
        out.resize(bound, 0xAA);
        let len = cipher.single(data, &mut out)?;
        check(&mut out, 0, bound, len);
        return Ok(out);
    };
    for part in parts {
        let (start, bound) = (out.len(), cipher.update_len(part.len()));
        out.resize(start + bound, 0xAA);
        let len = cipher.update(part, &mut out[start..])?;
        check(&mut out, start, bound, len);
    }
    let (start, bound) = (out.len(), cipher.finish_len());
    out.resize(start + bound, 0xAA);
    let len = cipher.finish(&mut out[start..])?;
    check(&mut out, start, bound, len);
    Ok(out)
}

/// `None`: everything at once.
fn parts<'a>(data: &'a [u8], splits: &[usize]) -> Option<Vec<&'a [u8]>> {
    if splits.is_empty() {
        return None;
    }
    let mut ends: Vec<usize> = splits.iter().map(|split| (*split).min(data.len())).collect();
    ends.push(data.len());
    ends.sort_unstable();
    let mut start = 0;
    Some(ends.into_iter().map(|end| &data[std::mem::replace(&mut start, end)..end]).collect())
}

/// A small generator of test data; the same each run.
pub struct Dice(u64);

impl Dice {
    /// Seeded.
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(2).wrapping_add(1))
    }

    /// Some number below `bound`.
    pub fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        ((self.0 >> 33) as usize) % bound
    }

    /// Some bytes.
    pub fn bytes(&mut self, len: usize) -> Vec<u8> {
        (0..len).map(|_| self.below(256) as u8).collect()
    }

    /// Up to `most` places to split `len` bytes at; never none.
    pub fn splits(&mut self, len: usize, most: usize) -> Vec<usize> {
        (0..1 + self.below(most)).map(|_| self.below(len + 1)).collect()
    }
}

/// Bytes of hexadecimal digits; blanks are left out.
pub fn hex(digits: &str) -> Vec<u8> {
    let digits: Vec<char> = digits.chars().filter(|digit| !digit.is_whitespace()).collect();
    let value = |digit: char| digit.to_digit(16).expect("a hexadecimal digit") as u8;
    digits.chunks(2).map(|pair| value(pair[0]) << 4 | value(pair[1])).collect()
}

/// A key as the partition makes it: of attributes that were checked and completed.
pub fn completed(class: ObjectClass, kind: KeyType, attributes: Template) -> Result<Arc<Key>> {
    let mut all = attributes;
    all.set(AttributeType::CLASS, Value::Ulong(class.0));
    all.set(AttributeType::KEY_TYPE, Value::Ulong(kind.0));
    super::encoding::complete(&mut all)?;
    Ok(key(class, kind, all))
}

/// `C_GenerateKeyPair`: public and private key.
pub fn generate_pair(kind: MechanismType, key_type: KeyType, public: Template) -> Result<(Arc<Key>, Arc<Key>)> {
    let (mechanism, row) = mechanism(kind, &Params::None);
    assert!(row.keys.contains(&key_type), "{kind} does not make {key_type}");
    let pair = (row.verbs.generate_pair.expect("the mechanism makes pairs"))(&mechanism, &public, &Template::new())?;
    let mut public = public;
    pair.public.into_iter().for_each(|(attribute, value)| drop(public.set(attribute, value)));
    let private = completed(ObjectClass::PRIVATE_KEY, key_type, pair.private)?;
    Ok((completed(ObjectClass::PUBLIC_KEY, key_type, public)?, private))
}

/// `C_SignRecover`.
pub fn sign_recover(kind: MechanismType, key: &Arc<Key>, data: &[u8]) -> Result<Vec<u8>> {
    let (mechanism, row) = mechanism(kind, &Params::None);
    recover((row.verbs.sign_recover.expect("the mechanism recovers"))(&mechanism, permitted(key, kind))?, data)
}

/// `C_VerifyRecover`.
pub fn verify_recover(kind: MechanismType, key: &Arc<Key>, signature: &[u8]) -> Result<Vec<u8>> {
    let (mechanism, row) = mechanism(kind, &Params::None);
    recover((row.verbs.verify_recover.expect("the mechanism recovers"))(&mechanism, permitted(key, kind))?, signature)
}

fn recover(recover: Box<dyn super::Recover>, data: &[u8]) -> Result<Vec<u8>> {
    let mut out = vec![0; recover.output_len(data.len())];
    let len = recover.single(data, &mut out)?;
    out.truncate(len);
    Ok(out)
}

/// The wrapped form of some bytes.
pub fn wrap(kind: MechanismType, params: &Params, key: &Arc<Key>, inner: &[u8]) -> Result<Vec<u8>> {
    let (mechanism, row) = mechanism(kind, params);
    (row.verbs.wrap.expect("the mechanism wraps"))(&mechanism, permitted(key, kind), &Secret::copy_of(inner))
}

/// The bytes of a wrapped form.
pub fn unwrap(kind: MechanismType, params: &Params, key: &Arc<Key>, wrapped: &[u8]) -> Result<Vec<u8>> {
    let (mechanism, row) = mechanism(kind, params);
    (row.verbs.unwrap.expect("the mechanism unwraps"))(&mechanism, permitted(key, kind), wrapped)
        .map(|inner| inner.expose().to_vec())
}

/// The value of a derived key.
pub fn derive(kind: MechanismType, params: &Params, key: &Arc<Key>, value_len: Option<usize>) -> Result<Vec<u8>> {
    let (mechanism, row) = mechanism(kind, params);
    let wanted = super::Wanted { key_type: KeyType::GENERIC_SECRET, value_len, other: None };
    (row.verbs.derive.expect("the mechanism derives"))(&mechanism, permitted(key, kind), &wanted)
        .map(|value| value.expose().to_vec())
}

/// The code of a failure; `None` for success.
pub fn code<T>(result: Result<T>) -> Option<crate::error::Code> {
    result.err().map(|error| error.code())
}

/// What the `openssl` program, an implementation that shares nothing with ours, makes of some input.
pub fn openssl(arguments: &[&str], input: &[u8]) -> Vec<u8> {
    use std::io::Write;
    use std::process::{Command, Stdio};
    let mut child = Command::new("openssl")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the openssl program is installed");
    child.stdin.take().expect("standard input was piped above").write_all(input).expect("openssl reads its input");
    let output = child.wait_with_output().expect("openssl ends once its input does");
    assert!(output.status.success(), "openssl {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}
