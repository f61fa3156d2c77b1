//! Private keys and certificates in files: PEM or DER, encrypted or not.

use std::path::Path;

use pkcs8::EncryptedPrivateKeyInfoRef;
use pkcs8::der::{Decode, SecretDocument};

use crate::error::{Code, Doing, Result, refuse};
use crate::secret::Secret;

/// The `PrivateKeyInfo` in a PKCS#8 file; `password` where it is encrypted.
///
/// Errors: `DataInvalid` naming the file and what is wrong with it.
pub(super) fn read_private(path: &Path, password: Option<&str>) -> Result<Secret> {
    let (label, der) = read(path)?;
    match (label.as_deref(), password) {
        (Some("ENCRYPTED PRIVATE KEY"), None) => {
            Err(refuse(Code::DataInvalid, format!("{} is encrypted: give its password by --file-pin", path.display())))
        }
        (Some("ENCRYPTED PRIVATE KEY"), Some(password)) | (None, Some(password)) => decrypt(path, &der, password),
        (Some("PRIVATE KEY") | None, _) => Ok(der),
        (Some(other), _) => Err(refuse(
            Code::DataInvalid,
            format!(
                "{} holds a {other}, not a PKCS#8 PRIVATE KEY: convert it by `openssl pkcs8 -topk8 -nocrypt`",
                path.display()
            ),
        )),
    }
}

/// The certificate in a PEM or DER file, as DER.
pub(super) fn read_certificate(path: &Path) -> Result<Vec<u8>> {
    match read(path)? {
        (Some(label), _) if label != "CERTIFICATE" => {
            Err(refuse(Code::DataInvalid, format!("{} holds a {label}, not a CERTIFICATE", path.display())))
        }
        (_, der) => Ok(der.expose().to_vec()),
    }
}

/// Label (of PEM; `None` for DER) and DER bytes.
fn read(path: &Path) -> Result<(Option<String>, Secret)> {
    let bytes = Secret::new(std::fs::read(path).doing(Code::DataInvalid, format!("reading {}", path.display()))?);
    let Some(text) = std::str::from_utf8(bytes.expose()).ok().filter(|text| text.contains("-----BEGIN ")) else {
        return Ok((None, bytes));
    };
    // openssl and others put text before the first line of PEM.
    let text = &text[text.find("-----BEGIN ").unwrap_or_default()..];
    let (label, der) = SecretDocument::from_pem(text).doing(Code::DataInvalid, format!("{} is not PEM", path.display()))?;
    Ok((Some(label.to_owned()), Secret::copy_of(der.as_bytes())))
}

fn decrypt(path: &Path, der: &Secret, password: &str) -> Result<Secret> {
    let doing = format!("decrypting {}: a wrong password, or an encryption that is not PBES2", path.display());
    let encrypted = EncryptedPrivateKeyInfoRef::from_der(der.expose()).doing(Code::DataInvalid, doing.as_str())?;
    let plain = encrypted.decrypt(password).doing(Code::DataInvalid, doing.as_str())?;
    Ok(Secret::copy_of(plain.as_bytes()))
}

/// Writes a `PrivateKeyInfo` as PEM, readable by its owner only; encrypted (PBES2: scrypt, AES-256-CBC) where a password is given.
pub(super) fn write_private(path: &Path, der: &Secret, password: Option<&str>) -> Result<()> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;

    let doing = format!("writing {}", path.display());
    let document = SecretDocument::try_from(der.expose()).doing(Code::DataInvalid, doing.as_str())?;
    let pem = match password {
        None => document.to_pem("PRIVATE KEY", Default::default()),
        Some(password) => {
            let info = pkcs8::PrivateKeyInfoRef::from_der(der.expose()).doing(Code::DataInvalid, doing.as_str())?;
            let encrypted = info.encrypt(password).doing(Code::FunctionFailed, doing.as_str())?;
            encrypted.to_pem("ENCRYPTED PRIVATE KEY", Default::default())
        }
    };
    let pem = pem.doing(Code::FunctionFailed, doing.as_str())?;
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
        .doing(Code::FunctionFailed, doing.as_str())?;
    file.write_all(pem.as_bytes()).doing(Code::FunctionFailed, doing.as_str())
}
