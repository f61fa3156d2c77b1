//! `softhsm2-util --import`: key pairs, raw AES keys, certificates.

use cryptoki::context::Pkcs11;
use cryptoki::object::{Attribute, AttributeType as CkAttribute, CertificateType, KeyType as CkKeyType, ObjectClass as CkClass};
use cryptoki::session::{Session, UserType};
use cryptoki::slot::Slot;

use super::util::{Flags, auth};
use super::{pem, pin};
use crate::ck::{AttributeType as A, KeyType};
use crate::error::{Code, Doing, Result, refuse};
use crate::mechanism::encoding::{self, certificate_parts};
use crate::object::{Template, Value};

pub(super) fn import(flags: &Flags, pkcs11: &Pkcs11, slot: Slot) -> Result<()> {
    let label = flags
        .label
        .as_deref()
        .ok_or_else(|| refuse(Code::ArgumentsBad, "A label for the object must be supplied. Use --label <text>"))?;
    let id =
        flags.id.as_deref().ok_or_else(|| refuse(Code::ArgumentsBad, "An ID for the object must be supplied. Use --id <hex>"))?;
    let id = hex(id)?;
    let user_pin = auth(&pin::get(flags.pin.as_deref(), "User PIN", false)?)?;
    let session = pkcs11.open_rw_session(slot).doing(Code::FunctionFailed, "Could not open a session on the given slot")?;
    session.login(UserType::User, Some(&user_pin)).doing(Code::PinIncorrect, "Could not log in on the token")?;
    match (flags.import_type.as_deref(), flags.aes) {
        // As SoftHSM's: a secret key may share its ID with anything, a pair and its certificate are meant to.
        (Some("aes"), _) | (None, true) => import_aes(flags, &session, label, &id),
        (Some("cert"), _) => {
            check_id_is_free(flags, &session, CkClass::CERTIFICATE, &id)?;
            import_certificate(flags, &session, label, &id)
        }
        (Some("keypair") | None, _) => {
            check_id_is_free(flags, &session, CkClass::PRIVATE_KEY, &id)?;
            import_pair(flags, &session, label, &id)
        }
        (Some(other), _) => Err(refuse(Code::ArgumentsBad, format!("--import-type is keypair, aes or cert, not {other:?}"))),
    }
}

fn check_id_is_free(flags: &Flags, session: &Session, class: CkClass, id: &[u8]) -> Result<()> {
    let wanted = [Attribute::Class(class), Attribute::Id(id.to_vec())];
    let found = session.find_objects(&wanted).doing(Code::FunctionFailed, "searching the ID")?;
    if flags.force || found.is_empty() {
        return Ok(());
    }
    Err(refuse(Code::ArgumentsBad, "The ID is already assigned to another object. Use --force to override this message."))
}

fn hex(text: &str) -> Result<Vec<u8>> {
    let digits: Option<Vec<u8>> = text.chars().map(|c| c.to_digit(16).map(|digit| digit as u8)).collect();
    match digits {
        Some(digits) if digits.len().is_multiple_of(2) && !digits.is_empty() => {
            Ok(digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect())
        }
        _ => Err(refuse(Code::ArgumentsBad, format!("--id {text:?}: an even number of hexadecimal digits is wanted"))),
    }
}

fn path(flags: &Flags) -> &std::path::Path {
    flags.import.as_deref().unwrap_or(std::path::Path::new(""))
}

fn import_aes(flags: &Flags, session: &Session, label: &str, id: &[u8]) -> Result<()> {
    let value = std::fs::read(path(flags)).doing(Code::DataInvalid, format!("reading {}", path(flags).display()))?;
    let template = [
        Attribute::Class(CkClass::SECRET_KEY),
        Attribute::KeyType(CkKeyType::AES),
        Attribute::Label(label.into()),
        Attribute::Id(id.into()),
        Attribute::Token(true),
        Attribute::Encrypt(true),
        Attribute::Decrypt(true),
        Attribute::Sensitive(true),
        Attribute::Value(value),
    ];
    session.create_object(&template).doing(Code::FunctionFailed, "Could not save the secret key in the token")?;
    Ok(())
}

fn import_certificate(flags: &Flags, session: &Session, label: &str, id: &[u8]) -> Result<()> {
    let der = pem::read_certificate(path(flags))?;
    let parts = certificate_parts(&der)?;
    let template = [
        Attribute::Class(CkClass::CERTIFICATE),
        Attribute::CertificateType(CertificateType::X_509),
        Attribute::Token(true),
        Attribute::Private(false),
        Attribute::Label(label.into()),
        Attribute::Id(id.into()),
        Attribute::Subject(parts.subject),
        Attribute::Issuer(parts.issuer),
        Attribute::SerialNumber(parts.serial_number),
        Attribute::Value(der),
    ];
    session.create_object(&template).doing(Code::FunctionFailed, "Could not save the certificate in the token")?;
    println!("The certificate with label={label} has been imported.");
    Ok(())
}

fn import_pair(flags: &Flags, session: &Session, label: &str, id: &[u8]) -> Result<()> {
    let der = pem::read_private(path(flags), flags.file_pin.as_deref())?;
    let (public, private) = encoding::private_from_pkcs8(der.expose())?;
    // Which uses an imported key gets depends on what its algorithm can do.
    let key_type = KeyType(private.ulong(A::KEY_TYPE).unwrap_or(u64::MAX));
    let ciphers = key_type == KeyType::RSA;
    let derives = [KeyType::EC, KeyType::EC_MONTGOMERY, KeyType::DH].contains(&key_type);
    let common = |token: bool| vec![Attribute::Label(label.into()), Attribute::Id(id.into()), Attribute::Token(token)];
    let mut template = attributes(&private)?;
    template.extend(common(true));
    template.extend([
        Attribute::Sign(true),
        Attribute::Decrypt(ciphers),
        Attribute::Unwrap(ciphers),
        Attribute::Derive(derives),
        Attribute::Sensitive(true),
        Attribute::Private(true),
        Attribute::Extractable(false),
    ]);
    let private_handle =
        session.create_object(&template).doing(Code::FunctionFailed, "Could not save the private key in the token")?;
    if !flags.no_public_key {
        let mut template = attributes(&public)?;
        template.extend(common(true));
        template.extend([
            Attribute::Private(false),
            Attribute::Verify(true),
            Attribute::Encrypt(ciphers),
            Attribute::Wrap(ciphers),
        ]);
        if let Err(error) = session.create_object(&template) {
            // Nothing half done: a private key without its public half was not asked for.
            session.destroy_object(private_handle).doing(Code::FunctionFailed, "tidying up after a failed import")?;
            return Err(error).doing(Code::FunctionFailed, "Could not save the public key in the token");
        }
    }
    println!("The key pair has been imported.");
    Ok(())
}

/// Class, key type and components for the safe face of the C ABI. What follows from them is left to the module.
fn attributes(template: &Template) -> Result<Vec<Attribute>> {
    let mut attributes = Vec::new();
    for (kind, value) in template.iter() {
        let bytes = || match value {
            Value::Bytes(bytes) => bytes.clone(),
            Value::Secret(secret) => secret.expose().to_vec(),
            _ => Vec::new(),
        };
        attributes.push(match (kind, value) {
            (A::CLASS, Value::Ulong(number)) => {
                Attribute::Class((*number).try_into().doing(Code::DataInvalid, "the key's class")?)
            }
            (A::KEY_TYPE, Value::Ulong(number)) => {
                Attribute::KeyType((*number).try_into().doing(Code::DataInvalid, "the key's type")?)
            }
            (A::MODULUS, _) => Attribute::Modulus(bytes()),
            (A::PUBLIC_EXPONENT, _) => Attribute::PublicExponent(bytes()),
            (A::PRIVATE_EXPONENT, _) => Attribute::PrivateExponent(bytes()),
            (A::PRIME_1, _) => Attribute::Prime1(bytes()),
            (A::PRIME_2, _) => Attribute::Prime2(bytes()),
            (A::EXPONENT_1, _) => Attribute::Exponent1(bytes()),
            (A::EXPONENT_2, _) => Attribute::Exponent2(bytes()),
            (A::COEFFICIENT, _) => Attribute::Coefficient(bytes()),
            (A::EC_PARAMS, _) => Attribute::EcParams(bytes()),
            (A::EC_POINT, _) if template.ulong(A::CLASS) == Some(crate::ck::ObjectClass::PUBLIC_KEY.0) => {
                Attribute::EcPoint(bytes())
            }
            (A::PRIME, _) => Attribute::Prime(bytes()),
            // The crate has no name for the one, and hands over one byte of the other.
            (A::SUBPRIME | A::BASE, _) => Attribute::VendorDefined((CkAttribute::VendorDefined(kind.0), bytes())),
            (A::VALUE, _) => Attribute::Value(bytes()),
            _ => continue,
        });
    }
    Ok(attributes)
}
