//! `softhsm2-keyconv`: BIND's `.private` files to PKCS#8, also the elliptic-curve ones that SoftHSM's tool refuses.

use std::collections::HashMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;

use super::{pem, sentence};
use crate::ck::{AttributeType as A, KeyType};
use crate::error::{Code, Doing, Result, refuse};
use crate::mechanism::encoding;
use crate::object::{Template, Value};
use crate::secret::Secret;

const USAGE: &str = "Converting from BIND .private-key format to PKCS#8 key file format.
Usage: softhsm2-keyconv [OPTIONS]
Options:
  --in <path>      the BIND file (K*.private)
  --out <path>     the PKCS#8 file to be written (PEM)
  --pin <PIN>      encrypts the PKCS#8 file
  -h, --help       shows this text
  -v, --version    shows the version
Example:
  softhsm2-keyconv --in Kexample.org.+013+12345.private --out key.pem";

#[derive(Parser)]
#[command(disable_help_flag = true, disable_version_flag = true, no_binary_name = true, infer_long_args = true)]
struct Flags {
    #[arg(long = "in")]
    input: Option<PathBuf>,
    #[arg(long)]
    out: Option<PathBuf>,
    #[arg(long)]
    pin: Option<String>,
    #[arg(long, short)]
    help: bool,
    #[arg(long, short)]
    version: bool,
}

pub(super) fn main(arguments: &[OsString]) -> ExitCode {
    let Ok(flags) = Flags::try_parse_from(arguments) else {
        println!("{USAGE}");
        return ExitCode::FAILURE;
    };
    if flags.version {
        println!("2.6.1");
        return ExitCode::SUCCESS;
    }
    if flags.help || arguments.is_empty() {
        println!("{USAGE}");
        return ExitCode::SUCCESS;
    }
    let (Some(input), Some(out)) = (&flags.input, &flags.out) else {
        eprintln!("ERROR: name both files, by --in and --out");
        println!("{USAGE}");
        return ExitCode::FAILURE;
    };
    match convert(input, out, flags.pin.as_deref()) {
        Ok(()) => {
            println!("The key has been written to {}", out.display());
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("ERROR: {}", sentence(&error));
            ExitCode::FAILURE
        }
    }
}

fn convert(input: &Path, out: &Path, password: Option<&str>) -> Result<()> {
    let text = std::fs::read(input).doing(Code::DataInvalid, format!("reading {}", input.display()))?;
    let text = Secret::new(text);
    let text = std::str::from_utf8(text.expose()).doing(Code::DataInvalid, format!("{} is no text", input.display()))?;
    let private =
        parse(text).doing(Code::DataInvalid, format!("{} is no BIND private key that can be converted", input.display()))?;
    pem::write_private(out, &encoding::private_to_pkcs8(&private)?, password)
}

/// A private key's attributes from BIND's lines of `Name: value` (RFC 8624's algorithm numbers).
fn parse(text: &str) -> Result<Template> {
    let fields: HashMap<&str, &str> =
        text.lines().filter_map(|line| line.split_once(':')).map(|(name, value)| (name.trim(), value.trim())).collect();
    let algorithm =
        fields.get("Algorithm").and_then(|value| value.split_whitespace().next()).and_then(|number| number.parse::<u32>().ok());
    let algorithm = algorithm.ok_or_else(|| refuse(Code::DataInvalid, "the line \"Algorithm:\" is missing"))?;
    let number = |name: &str| -> Result<Vec<u8>> {
        let text = fields.get(name).ok_or_else(|| refuse(Code::DataInvalid, format!("the line \"{name}:\" is missing")))?;
        base64(text).ok_or_else(|| refuse(Code::DataInvalid, format!("the line \"{name}:\" is not base64")))
    };
    let public = |name: &str| number(name).map(Value::Bytes);
    let secret = |name: &str| number(name).map(|bytes| Value::Secret(Secret::new(bytes)));
    let key_type = |kind: KeyType| (A::KEY_TYPE, Value::Ulong(kind.0));
    let curve = |oid: &[u8]| (A::EC_PARAMS, Value::Bytes(oid.to_vec()));
    Ok(Template::from_iter(match algorithm {
        1 | 5 | 7 | 8 | 10 => vec![
            key_type(KeyType::RSA),
            (A::MODULUS, public("Modulus")?),
            (A::PUBLIC_EXPONENT, public("PublicExponent")?),
            (A::PRIVATE_EXPONENT, secret("PrivateExponent")?),
            (A::PRIME_1, secret("Prime1")?),
            (A::PRIME_2, secret("Prime2")?),
            (A::EXPONENT_1, secret("Exponent1")?),
            (A::EXPONENT_2, secret("Exponent2")?),
            (A::COEFFICIENT, secret("Coefficient")?),
        ],
        3 | 6 => vec![
            key_type(KeyType::DSA),
            (A::PRIME, public("Prime(p)")?),
            (A::SUBPRIME, public("Subprime(q)")?),
            (A::BASE, public("Base(g)")?),
            (A::VALUE, secret("Private_value(x)")?),
        ],
        13 => {
            vec![key_type(KeyType::EC), curve(&[6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7]), (A::VALUE, secret("PrivateKey")?)]
        }
        14 => vec![key_type(KeyType::EC), curve(&[6, 5, 0x2b, 0x81, 4, 0, 0x22]), (A::VALUE, secret("PrivateKey")?)],
        15 => vec![key_type(KeyType::EC_EDWARDS), curve(&[6, 3, 0x2b, 0x65, 0x70]), (A::VALUE, secret("PrivateKey")?)],
        other => {
            return Err(refuse(
                Code::DataInvalid,
                format!("algorithm {other} is not offered (RSA 1 5 7 8 10, DSA 3 6, ECDSA 13 14, Ed25519 15 are)"),
            ));
        }
    }))
}

/// Base64 (RFC 4648, with padding), through the PEM reader: a line of it is a PEM body.
fn base64(text: &str) -> Option<Vec<u8>> {
    use pkcs8::der::pem;
    let mut wrapped = String::from("-----BEGIN X-----\n");
    for line in text.as_bytes().chunks(64) {
        wrapped.push_str(std::str::from_utf8(line).ok()?);
        wrapped.push('\n');
    }
    wrapped.push_str("-----END X-----\n");
    pem::decode_vec(wrapped.as_bytes()).ok().map(|(_, bytes)| bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_read_whatever_its_length() {
        assert_eq!(base64("AQAB").unwrap(), [1, 0, 1]);
        assert_eq!(base64("Zg==").unwrap(), b"f");
        let long = base64(&"QUJD".repeat(50)).unwrap();
        assert_eq!(long, b"ABC".repeat(50));
        assert!(base64("?").is_none());
    }

    #[test]
    fn what_is_missing_is_named() {
        for (text, named) in [
            ("", "Algorithm"),
            ("Algorithm: 13 (ECDSAP256SHA256)\n", "PrivateKey"),
            ("Algorithm: 8 (RSASHA256)\nModulus: ?\n", "Modulus"),
            ("Algorithm: 12 (ECC-GOST)\n", "12"),
        ] {
            let error = parse(text).err().unwrap().to_string();
            assert!(error.contains(named), "{error}");
        }
    }
}
