//! Signatures of the demonstration, verified by what knows nothing of hsmpool: OpenSSL, or else rustls with the public key alone.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustls::SignatureScheme;
use rustls::crypto::aws_lc_rs;

use super::message;
use crate::error::{Code, Doing, Result, refuse};

/// So many are verified at most: OpenSSL is a new process for each.
const VERIFIED_MAX: usize = 60;
/// What stands before the 65 bytes of a point in the `SubjectPublicKeyInfo` of a P-256 key (RFC 5480).
const SPKI: &[u8] = &[
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03,
    0x01, 0x07, 0x03, 0x42, 0x00,
];

/// A signature, and the number of the message that it is of.
pub struct Sample {
    pub number: u64,
    pub signature: Vec<u8>,
}

/// What was verified.
pub struct Proof {
    pub verified: usize,
    pub wrong: usize,
    pub by: String,
}

/// What verifies signatures of one key.
pub struct Verifier {
    pub by: String,
    has_openssl: bool,
    point: Vec<u8>,
    /// Where its files are: nobody else's may be there under their names.
    directory: PathBuf,
}

impl Verifier {
    /// Of the key with this public point. Errors: `FunctionFailed`.
    pub fn new(point: &[u8], directory: &Path) -> Result<Self> {
        let version = Command::new("openssl").arg("version").stderr(Stdio::null()).output();
        let openssl = version.ok().filter(|output| output.status.success());
        let by = match &openssl {
            Some(output) => {
                let name: Vec<_> = output.stdout.split(|byte| *byte == b' ').take(2).map(String::from_utf8_lossy).collect();
                let key = directory.join("public.der");
                std::fs::write(&key, [SPKI, point].concat()).doing(Code::FunctionFailed, "writing the public key")?;
                name.join(" ")
            }
            None => "rustls, as there is no openssl".to_string(),
        };
        Ok(Self { by, has_openssl: openssl.is_some(), point: point.to_vec(), directory: directory.to_path_buf() })
    }

    /// Whether this is a signature of the message. Errors: `FunctionFailed` when nothing could be verified with.
    pub fn is_right(&self, message: &str, signature: &[u8]) -> Result<bool> {
        match self.has_openssl {
            true => by_openssl(message, signature, &self.directory),
            false => by_rustls(message, signature, &self.point),
        }
    }
}

/// Verifies samples, spread evenly over all of them. Errors: `FunctionFailed` when nothing could be verified with.
pub fn verify(samples: &[Sample], point: &[u8], directory: &Path) -> Result<Proof> {
    let step = samples.len().div_ceil(VERIFIED_MAX).max(1);
    let chosen: Vec<&Sample> = samples.iter().step_by(step).collect();
    let verifier = Verifier::new(point, directory)?;
    let mut right = 0;
    for sample in &chosen {
        right += usize::from(verifier.is_right(&message(sample.number), &sample.signature)?);
    }
    Ok(Proof { verified: right, wrong: chosen.len() - right, by: verifier.by })
}

fn by_openssl(message: &str, signature: &[u8], directory: &Path) -> Result<bool> {
    let doing = "verifying a signature with openssl";
    std::fs::write(directory.join("verified"), message).doing(Code::FunctionFailed, doing)?;
    std::fs::write(directory.join("verified.sig"), der(signature)).doing(Code::FunctionFailed, doing)?;
    let said = Command::new("openssl")
        .args(["dgst", "-sha256", "-verify", "public.der", "-keyform", "DER", "-signature", "verified.sig", "verified"])
        .current_dir(directory)
        .stdin(Stdio::null())
        .output()
        .doing(Code::FunctionFailed, doing)?;
    Ok(said.status.success())
}

fn by_rustls(message: &str, signature: &[u8], point: &[u8]) -> Result<bool> {
    let all = aws_lc_rs::default_provider().signature_verification_algorithms.mapping;
    let known = all.iter().find(|(scheme, _)| *scheme == SignatureScheme::ECDSA_NISTP256_SHA256);
    let algorithm = known.and_then(|(_, algorithms)| algorithms.first());
    let algorithm = algorithm.ok_or_else(|| refuse(Code::FunctionFailed, "there is nothing to verify the signatures with"))?;
    Ok(algorithm.verify_signature(point, message.as_bytes(), &der(signature)).is_ok())
}

/// An ECDSA signature as PKCS#11 gives it, two numbers of equal length, as everybody else wants it (RFC 3279, section 2.2.3).
fn der(signature: &[u8]) -> Vec<u8> {
    let integer = |number: &[u8]| {
        let first = number.iter().position(|byte| *byte != 0).unwrap_or(number.len().saturating_sub(1));
        let number = &number[first..];
        let pad: &[u8] = if number.first().is_some_and(|byte| byte & 0x80 != 0) { &[0] } else { &[] };
        [&[0x02, (number.len() + pad.len()) as u8], pad, number].concat()
    };
    let (r, s) = signature.split_at(signature.len() / 2);
    let both = [integer(r), integer(s)].concat();
    [&[0x30, both.len() as u8], both.as_slice()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_encoded_without_needless_zeros_and_never_negative() {
        assert_eq!(der(&[0, 1, 0x80, 2]), [0x30, 8, 2, 1, 1, 2, 3, 0, 0x80, 2]);
        assert_eq!(der(&[0, 0, 0, 5]), [0x30, 6, 2, 1, 0, 2, 1, 5]);
    }

    #[test]
    fn what_is_no_signature_of_the_message_is_not_taken_for_one() {
        assert!(!by_rustls("message", &[1; 64], &[4; 65]).unwrap());
    }
}
