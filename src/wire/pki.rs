//! The pool's own authority: made once, issues certificates for nodes, clients and operators (ECDSA P-256).

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rcgen::string::Ia5String;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose, SanType,
};
use time::OffsetDateTime;

use super::identity::{NODE_DNS_NAME, Name};
use crate::error::{Code, Doing, Result, refuse};

/// How long the authority is good for.
const AUTHORITY_DAYS: u64 = 3650;
const DAY: Duration = Duration::from_secs(24 * 3600);
/// Clocks differ: a certificate is good from a little before it was made.
const BEFORE: Duration = Duration::from_secs(3600);

/// An authority, in a directory: `ca.pem` (for everybody) and `ca.key` (for nobody else).
pub struct Authority {
    directory: PathBuf,
    issuer: Issuer<'static, KeyPair>,
    pool: [u8; 16],
}

/// The files of one certificate.
#[derive(Clone, Debug)]
pub struct Issued {
    /// The authority's certificate.
    pub ca: PathBuf,
    /// The certificate.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

impl Authority {
    /// Makes one. Errors: `Configuration` when the directory has one already, or cannot be written.
    pub fn create(directory: &Path, pool: [u8; 16]) -> Result<Self> {
        let doing = "making the pool's authority";
        fs::create_dir_all(directory).doing(Code::Configuration, format!("making {}", directory.display()))?;
        let key = KeyPair::generate().doing(Code::Configuration, doing)?;
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.distinguished_name.push(DnType::CommonName, format!("hsmpool {}", short(&pool)));
        (params.not_before, params.not_after) = validity(DAY * AUTHORITY_DAYS as u32);
        let certificate = params.self_signed(&key).doing(Code::Configuration, doing)?;
        write_new(&directory.join("ca.key"), key.serialize_pem().as_bytes(), 0o600)?;
        write_new(&directory.join("ca.pem"), certificate.pem().as_bytes(), 0o644)?;
        Ok(Self { directory: directory.to_path_buf(), issuer: Issuer::new(params, key), pool })
    }

    /// Opens one. Errors: `Configuration`.
    pub fn open(directory: &Path, pool: [u8; 16]) -> Result<Self> {
        let read = |name: &str| {
            let file = directory.join(name);
            fs::read_to_string(&file).doing(Code::Configuration, format!("reading {}", file.display()))
        };
        let doing = || format!("opening the pool's authority in {}", directory.display());
        let key = KeyPair::from_pem(&read("ca.key")?).doing(Code::Configuration, doing())?;
        let issuer = Issuer::from_ca_cert_pem(&read("ca.pem")?, key).doing(Code::Configuration, doing())?;
        Ok(Self { directory: directory.to_path_buf(), issuer, pool })
    }

    /// Issues a certificate, written as `FILE.pem` and `FILE.key`; earlier ones of that name are replaced.
    ///
    /// Errors: `Configuration`: a name that no URI takes, or files that cannot be written.
    pub fn issue(&self, name: &Name, days: u64, file: &Path) -> Result<Issued> {
        self.issue_for(name, DAY * days as u32, file)
    }

    /// The same for less than a day.
    pub(super) fn issue_for(&self, name: &Name, time: Duration, file: &Path) -> Result<Issued> {
        let is_plain =
            |name: &str| !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.:@".contains(&byte));
        if let Name::Client { name, .. } | Name::Operator(name) = name
            && !is_plain(name)
        {
            return Err(refuse(Code::Configuration, "a client's or operator's name has letters, digits and -_.:@ only"));
        }
        let doing = "issuing a certificate";
        let uri = name.uri(&self.pool);
        let key = KeyPair::generate().doing(Code::Configuration, doing)?;
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        params.distinguished_name.push(DnType::CommonName, uri.clone());
        params.subject_alt_names = vec![SanType::URI(Ia5String::try_from(uri).doing(Code::Configuration, doing)?)];
        if let Name::Node(_) = name {
            params.extended_key_usages.push(ExtendedKeyUsagePurpose::ServerAuth);
            params
                .subject_alt_names
                .push(SanType::DnsName(Ia5String::try_from(NODE_DNS_NAME).doing(Code::Configuration, doing)?));
        }
        (params.not_before, params.not_after) = validity(time);
        let certificate = params.signed_by(&key, &self.issuer).doing(Code::Configuration, doing)?;
        let with = |extension: &str| PathBuf::from(format!("{}.{extension}", file.display()));
        let issued = Issued { ca: self.directory.join("ca.pem"), certificate: with("pem"), key: with("key") };
        // The key first: a node that reads both at that moment finds either the old pair or a mismatch that it refuses, and tries again.
        replace(&issued.key, key.serialize_pem().as_bytes(), 0o600)?;
        replace(&issued.certificate, certificate.pem().as_bytes(), 0o644)?;
        Ok(issued)
    }
}

fn validity(time: Duration) -> (OffsetDateTime, OffsetDateTime) {
    let now = SystemTime::now();
    ((now - BEFORE).into(), (now + time).into())
}

fn short(pool: &[u8; 16]) -> String {
    pool[..4].iter().map(|byte| format!("{byte:02x}")).collect()
}

fn write_new(file: &Path, bytes: &[u8], mode: u32) -> Result<()> {
    let doing = || format!("writing {}", file.display());
    let mut to = OpenOptions::new().write(true).create_new(true).mode(mode).open(file).doing(Code::Configuration, doing())?;
    to.write_all(bytes).and_then(|()| to.sync_all()).doing(Code::Configuration, doing())
}

/// Written beside and moved over, so that nobody reads half a file.
fn replace(file: &Path, bytes: &[u8], mode: u32) -> Result<()> {
    let beside = PathBuf::from(format!("{}.new", file.display()));
    match fs::remove_file(&beside) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(error).doing(Code::Configuration, format!("removing {}", beside.display()));
        }
        _ => {}
    }
    write_new(&beside, bytes, mode)?;
    fs::rename(&beside, file).doing(Code::Configuration, format!("moving {} into its place", file.display()))
}
