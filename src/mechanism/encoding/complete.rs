//! What every new key object goes through, wherever it comes from.

use super::secret;
use crate::ck::{AttributeType, KeyType, ObjectClass};
use crate::error::{Code, Doing, Result, refuse};
use crate::faults::{self, Fault};
use crate::limits;
use crate::mechanism::der::{Malformed, Reader, tag};
use crate::mechanism::digest::Hash;
use crate::mechanism::{dh, dsa, ec, edwards, generic, rsa};
use crate::object::{Template, Value};

/// Checks that the components of a new object are sane and fit each other, and sets what follows from them:
/// `CKA_MODULUS_BITS`, `CKA_VALUE_LEN`, `CKA_PUBLIC_KEY_INFO`, `CKA_CHECK_VALUE`, numbers of RSA that were left out. Big
/// integers lose their leading zeros, and points get their DER form. Objects of other classes pass unchanged.
///
/// Errors: `AttributeValueInvalid`, `TemplateIncomplete`, `TemplateInconsistent`, `CurveNotSupported`,
/// `DomainParamsInvalid`, `KeySizeRange`.
pub fn complete(attributes: &mut Template) -> Result<()> {
    let Some(class) = attributes.ulong(AttributeType::CLASS).map(ObjectClass) else {
        return Err(refuse(Code::TemplateIncomplete, "CKA_CLASS is missing"));
    };
    match class {
        ObjectClass::SECRET_KEY => complete_secret(key_type(attributes)?, attributes),
        ObjectClass::PUBLIC_KEY | ObjectClass::PRIVATE_KEY | ObjectClass::DOMAIN_PARAMETERS => {
            complete_asymmetric(class, key_type(attributes)?, attributes)
        }
        ObjectClass::CERTIFICATE => complete_certificate(attributes),
        _ => Ok(()),
    }
}

fn key_type(attributes: &Template) -> Result<KeyType> {
    let kind = attributes.ulong(AttributeType::KEY_TYPE).map(KeyType);
    kind.ok_or_else(|| refuse(Code::TemplateIncomplete, "CKA_KEY_TYPE is missing"))
}

fn complete_asymmetric(class: ObjectClass, key_type: KeyType, attributes: &mut Template) -> Result<()> {
    let info = match key_type {
        KeyType::RSA => rsa::complete(class, attributes)?,
        KeyType::EC => ec::complete(class, attributes)?,
        KeyType::EC_EDWARDS | KeyType::EC_MONTGOMERY => edwards::complete(class, attributes)?,
        KeyType::DSA => dsa::complete(class, attributes)?,
        KeyType::DH => dh::complete(class, attributes)?,
        other => {
            return Err(refuse(Code::TemplateInconsistent, format!("an object of class {class} cannot be of type {other}")));
        }
    };
    let Some(info) = info else { return Ok(()) };
    match attributes.exposed(AttributeType::PUBLIC_KEY_INFO) {
        None | Some([]) => {}
        Some(given) if given == info => {}
        Some(_) => {
            return Err(refuse(Code::AttributeValueInvalid, "CKA_PUBLIC_KEY_INFO does not belong to the key's other attributes"));
        }
    }
    attributes.set(AttributeType::PUBLIC_KEY_INFO, Value::Bytes(info));
    Ok(())
}

fn complete_secret(key_type: KeyType, attributes: &mut Template) -> Result<()> {
    let Some(value) = attributes.exposed(AttributeType::VALUE) else {
        return Err(refuse(Code::TemplateIncomplete, "CKA_VALUE is missing"));
    };
    check_secret_len(key_type, value.len())?;
    let check_value = generic::check_value(key_type, value);
    let len = value.len() as u64;
    if attributes.ulong(AttributeType::VALUE_LEN).is_some_and(|given| given != len) {
        return Err(refuse(Code::TemplateInconsistent, format!("CKA_VALUE_LEN is not the value's length, {len}")));
    }
    if let Some(Value::Bytes(value)) = attributes.get(AttributeType::VALUE) {
        let value = secret(value.clone());
        attributes.set(AttributeType::VALUE, value);
    }
    attributes.set(AttributeType::VALUE_LEN, Value::Ulong(len));
    set_check_value(attributes, check_value)
}

/// Errors: `AttributeValueInvalid` for a length that keys of the type do not have.
pub(super) fn check_secret_len(key_type: KeyType, len: usize) -> Result<()> {
    let fits = match key_type {
        KeyType::AES => matches!(len, 16 | 24 | 32),
        KeyType::DES => len == 8,
        KeyType::DES2 => len == 16,
        KeyType::DES3 => len == 24,
        _ => (1..=limits::SECRET_VALUE_MAX_BYTES).contains(&len),
    };
    if fits || faults::on(Fault::KeysOfAnyLength) {
        Ok(())
    } else {
        Err(refuse(Code::AttributeValueInvalid, format!("a {key_type} key cannot have {len} bytes")))
    }
}

/// PKCS#11 3.1, 4.10.2: an empty one given asks for none, another one must be right.
fn set_check_value(attributes: &mut Template, right: Option<[u8; 3]>) -> Result<()> {
    match (attributes.exposed(AttributeType::CHECK_VALUE), right) {
        (Some([]), _) => {}
        (Some(given), Some(right)) if *given == right || faults::on(Fault::CheckValueUnchecked) => {}
        (Some(_), Some(_)) => {
            return Err(refuse(Code::AttributeValueInvalid, "CKA_CHECK_VALUE does not belong to the value"));
        }
        (None, Some(right)) => {
            attributes.set(AttributeType::CHECK_VALUE, Value::Bytes(right.to_vec()));
        }
        (_, None) => {}
    }
    Ok(())
}

fn complete_certificate(attributes: &mut Template) -> Result<()> {
    let Some(value) = attributes.exposed(AttributeType::VALUE).filter(|value| !value.is_empty()) else {
        // A certificate may be given by its URL (PKCS#11 3.1, 4.6.3).
        return Ok(());
    };
    let check_value = Hash::Sha1.digest(&[value]).first_chunk().copied();
    let info = parse_certificate(value).ok().map(|parts| parts.public_key_info);
    if let (Some(info), None | Some([])) = (info, attributes.exposed(AttributeType::PUBLIC_KEY_INFO)) {
        attributes.set(AttributeType::PUBLIC_KEY_INFO, Value::Bytes(info));
    }
    set_check_value(attributes, check_value)
}

/// What attributes repeat of an X.509 certificate, each as the DER that stands in it (RFC 5280, 4.1).
#[allow(missing_docs, reason = "each is what its name says")]
pub struct CertificateParts {
    pub serial_number: Vec<u8>,
    pub issuer: Vec<u8>,
    pub subject: Vec<u8>,
    pub public_key_info: Vec<u8>,
}

/// Errors: `DataInvalid` for what is no X.509 certificate.
pub fn certificate_parts(certificate: &[u8]) -> Result<CertificateParts> {
    parse_certificate(certificate).doing(Code::DataInvalid, "the certificate is not X.509 in DER")
}

fn parse_certificate(certificate: &[u8]) -> std::result::Result<CertificateParts, Malformed> {
    let mut signed = Reader::new(certificate).sequence()?.sequence()?;
    signed.optional(tag::CONTEXT_0)?;
    let serial_number = signed.whole_element(tag::INTEGER)?.to_vec();
    signed.element(tag::SEQUENCE)?; // the signature's algorithm
    let issuer = signed.whole_element(tag::SEQUENCE)?.to_vec();
    signed.element(tag::SEQUENCE)?; // validity
    let subject = signed.whole_element(tag::SEQUENCE)?.to_vec();
    let public_key_info = signed.whole_element(tag::SEQUENCE)?.to_vec();
    Ok(CertificateParts { serial_number, issuer, subject, public_key_info })
}
