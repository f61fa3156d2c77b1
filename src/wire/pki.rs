//! The pool's own authority: made once, issues certificates for nodes, clients and operators (ECDSA P-256), and takes them back.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rcgen::string::Ia5String;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SanType, SerialNumber,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer};
use time::OffsetDateTime;

use super::identity::{NODE_DNS_NAME, Name, parsed, wall_seconds};
use super::record::{self, Certificate};
pub use super::revoked::List;
use super::revoked::{Revoked, is_signature_of, number_of, parsed_list};
use crate::error::{Code, Doing, Result, refuse};
use crate::sys::claim::Claim;

/// How long the authority is good for.
const AUTHORITY_DAYS: u64 = 3650;
const DAY: Duration = Duration::from_secs(24 * 3600);
/// Clocks differ: a certificate is good from a little before it was made.
const BEFORE: Duration = Duration::from_secs(3600);
/// A revoked certificate that has ended stays on the list for so long: clocks differ.
const LISTED_AFTER_END_SECONDS: i64 = 7 * 24 * 3600;
/// A list is good until there is a newer one, which nobody knows when: 9999-12-31, as RFC 5280 writes an end that is not known (4.1.2.5).
const LIST_ENDS: i64 = 253_402_300_799;

/// An authority, in a directory: `ca.pem` and `crl.pem` (for everybody), `ca.key` (for nobody else), and `issued`, its own record.
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

/// What a revocation has come to.
pub struct Revocation {
    /// The list, signed anew.
    pub list: PathBuf,
    /// Its number.
    pub number: u64,
    /// What is on it now and was not before.
    pub added: Vec<Certificate>,
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
        let authority = Self { directory: directory.to_path_buf(), issuer: Issuer::new(params, key), pool };
        record::begin(&authority.record())?;
        authority.ensure_list()?;
        Ok(authority)
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
        // Before anybody can have it.
        record::add(&self.record(), &Certificate::of(certificate.der())?)?;
        let issued = Issued { ca: self.directory.join("ca.pem"), certificate: with("pem"), key: with("key") };
        // The key first: a node that reads both at that moment finds either the old pair or a mismatch that it refuses, and tries again.
        replace(&issued.key, key.serialize_pem().as_bytes(), 0o600)?;
        replace(&issued.certificate, certificate.pem().as_bytes(), 0o644)?;
        Ok(issued)
    }

    fn record(&self) -> PathBuf {
        self.directory.join("issued")
    }

    /// Where its list of revoked certificates is.
    pub fn list(&self) -> PathBuf {
        self.directory.join("crl.pem")
    }

    /// Makes the first list, which is empty, if there is none: those of earlier versions had none. Errors: `Configuration`.
    pub fn ensure_list(&self) -> Result<PathBuf> {
        let file = self.list();
        if !file.exists() {
            self.sign(Vec::new(), 1)?;
        }
        Ok(file)
    }

    /// What it has issued, and whether that is all: what earlier versions issued is not recorded. Errors: `Configuration`.
    pub fn issued(&self) -> Result<(Vec<Certificate>, bool)> {
        record::read(&self.record())
    }

    /// The first certificate of a file. Errors: `Configuration`: it cannot be read, or another authority has issued it.
    pub fn certificate_in(&self, file: &Path) -> Result<Certificate> {
        let doing = || format!("reading the certificate {}", file.display());
        let der = CertificateDer::from_pem_file(file).doing(Code::Configuration, doing())?;
        let (certificate, authority) = (parsed(&der).doing(Code::Configuration, doing())?, self.certificate()?);
        let signed = certificate.tbs_certificate.as_ref();
        if !is_signature_of(&parsed(&authority)?, signed, &certificate.signature_value.data) {
            let told = format!("another authority than the one in {} has issued {}", self.directory.display(), file.display());
            return Err(refuse(Code::Configuration, told));
        }
        Certificate::of(&der).doing(Code::Configuration, doing())
    }

    /// What is on the list in a file. Errors: `Configuration`: it cannot be read, is damaged, or another authority's.
    pub fn list_in(&self, file: &Path) -> Result<List> {
        let certificate = self.certificate()?;
        let lists = Revoked::read(file, std::slice::from_ref(&certificate))?;
        Ok(lists.of(parsed(&certificate)?.public_key().raw).unwrap_or_default())
    }

    fn certificate(&self) -> Result<CertificateDer<'static>> {
        let file = self.directory.join("ca.pem");
        CertificateDer::from_pem_file(&file).doing(Code::Configuration, format!("reading {}", file.display()))
    }

    /// Takes certificates back: signs the list anew, with them and those that were on it.
    ///
    /// Errors: `Configuration`: another command is at it; the list is damaged or another authority's; it cannot be written.
    pub fn revoke(&self, certificates: &[Certificate]) -> Result<Revocation> {
        let busy = || refuse(Code::Configuration, format!("another command uses {}: try again", self.directory.display()));
        let doing = || format!("claiming {}", self.directory.display());
        let _claim = Claim::take(&self.directory).doing(Code::Configuration, doing())?.ok_or_else(busy)?;
        let (known, _) = self.issued()?;
        for certificate in certificates.iter().filter(|certificate| !known.contains(certificate)) {
            // Issued by an earlier version: when it ends must be known later.
            record::add(&self.record(), certificate)?;
        }
        let (mut entries, number) = self.entries()?;
        let has_ended = |serial: &[u8]| {
            let ends = known.iter().find(|known| known.serial == serial).map(|known| known.ends);
            ends.is_some_and(|ends| ends + LISTED_AFTER_END_SECONDS < wall_seconds())
        };
        entries.retain(|entry| !has_ended(entry.serial_number.as_ref()));
        let is_on = |certificate: &Certificate| entries.iter().any(|entry| entry.serial_number.as_ref() == certificate.serial);
        let added: Vec<Certificate> = certificates.iter().filter(|certificate| !is_on(certificate)).cloned().collect();
        entries.extend(added.iter().map(|certificate| entry(&certificate.serial, SystemTime::now().into())));
        // What is on it already makes no new list, with which somebody would have to go round.
        let number = if added.is_empty() { number } else { number.saturating_add(1) };
        if !added.is_empty() {
            self.sign(entries, number)?;
        }
        Ok(Revocation { list: self.list(), number, added })
    }

    /// What is on the list, and its number.
    fn entries(&self) -> Result<(Vec<RevokedCertParams>, u64)> {
        let file = self.ensure_list()?;
        // Whether it is the authority's own.
        Revoked::read(&file, &[self.certificate()?])?;
        let list = CertificateRevocationListDer::from_pem_file(&file);
        let list = list.doing(Code::Configuration, format!("reading {}", file.display()))?;
        let list = parsed_list(&list)?;
        let entries = list.iter_revoked_certificates().map(|it| entry(it.raw_serial(), it.revocation_date.to_datetime()));
        Ok((entries.collect(), number_of(&list)))
    }

    fn sign(&self, revoked_certs: Vec<RevokedCertParams>, number: u64) -> Result<()> {
        let doing = "signing the list of revoked certificates";
        let params = CertificateRevocationListParams {
            this_update: SystemTime::now().into(),
            next_update: OffsetDateTime::from_unix_timestamp(LIST_ENDS).doing(Code::Configuration, doing)?,
            crl_number: SerialNumber::from(number),
            issuing_distribution_point: None,
            revoked_certs,
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let list = params.signed_by(&self.issuer).and_then(|list| list.pem()).doing(Code::Configuration, doing)?;
        replace(&self.list(), list.as_bytes(), 0o644)
    }
}

fn entry(serial: &[u8], revocation_time: OffsetDateTime) -> RevokedCertParams {
    let serial_number = SerialNumber::from_slice(serial);
    RevokedCertParams { serial_number, revocation_time, reason_code: None, invalidity_date: None }
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

/// Written beside and moved over, so that nobody reads half a file. Errors: `Configuration`.
pub fn replace(file: &Path, bytes: &[u8], mode: u32) -> Result<()> {
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
