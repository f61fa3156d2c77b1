//! What an authority has issued: a line for each certificate, so that all of one name can be taken back, whoever has their files.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustls::pki_types::CertificateDer;

use super::identity::{Name, parsed, uri_in};
use crate::error::{Code, Doing, Error, Result, refuse};

/// Its first line.
const HEAD: &str = "# Certificates of this authority: serial number, from and until when (seconds since 1970), for whom.";
/// Stands in a record that was begun when the authority had issued some already.
const LATE: &str = "# Those that were issued before the next one are not here.";

/// One certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// As it stands in the certificate.
    pub serial: Vec<u8>,
    /// From when on it is good, in seconds since 1970.
    pub begins: i64,
    /// Until when.
    pub ends: i64,
    /// What it says of its owner.
    pub uri: String,
}

impl Certificate {
    /// Errors: `DeviceError`.
    pub(super) fn of(der: &CertificateDer<'_>) -> Result<Self> {
        let (uri, certificate) = (uri_in(der)?, parsed(der)?);
        let validity = certificate.validity();
        let (begins, ends) = (validity.not_before.timestamp(), validity.not_after.timestamp());
        // A label may hold anything, and a line of the record must not.
        let uri = uri.chars().map(|it| if it.is_control() { '?' } else { it }).collect();
        Ok(Self { serial: certificate.raw_serial().to_vec(), begins, ends, uri })
    }

    /// Whose it is; `None`: another pool's, which has the same authority.
    pub fn name(&self, pool: &[u8; 16]) -> Option<Name> {
        Name::of_uri(&self.uri, pool).ok()
    }

    /// The serial number, as other programs show it.
    pub fn shown_serial(&self) -> String {
        let hex: String = self.serial.iter().map(|byte| format!("{byte:02X}")).collect();
        // The first byte keeps the number from being negative, and is no part of it.
        hex.strip_prefix("00").filter(|rest| !rest.is_empty()).unwrap_or(&hex).to_string()
    }

    pub(super) fn line(&self) -> String {
        let serial: String = self.serial.iter().map(|byte| format!("{byte:02x}")).collect();
        format!("{serial} {} {} {}\n", self.begins, self.ends, self.uri)
    }

    pub(super) fn of_line(line: &str) -> Option<Self> {
        let mut parts = line.splitn(4, ' ');
        let (serial, begins, ends, uri) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let digits = |at: usize| u8::from_str_radix(serial.get(at..at + 2)?, 16).ok();
        let serial: Option<Vec<u8>> = (0..serial.len()).step_by(2).map(digits).collect();
        Some(Self { serial: serial?, begins: begins.parse().ok()?, ends: ends.parse().ok()?, uri: uri.to_string() })
    }
}

/// Begins the record of a new authority. Errors: `Configuration`.
pub(super) fn begin(file: &Path) -> Result<()> {
    append(file, &format!("{HEAD}\n"))
}

/// Adds a certificate. Errors: `Configuration`.
pub(super) fn add(file: &Path, certificate: &Certificate) -> Result<()> {
    let head = if file.exists() { String::new() } else { format!("{HEAD}\n{LATE}\n") };
    append(file, &format!("{head}{}", certificate.line()))
}

/// What was issued, and whether the record was begun with the authority. Errors: `Configuration`: it cannot be read, or a line of it.
pub(super) fn read(file: &Path) -> Result<(Vec<Certificate>, bool)> {
    let text = match std::fs::read_to_string(file) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok((Vec::new(), false)),
        read => read.doing(Code::Configuration, format!("reading {}", file.display()))?,
    };
    let is_whole = !text.lines().any(|line| line == LATE);
    let lines = text.lines().enumerate().filter(|(_, line)| !line.starts_with('#') && !line.is_empty());
    let wrong = |at: usize| -> Error {
        let told = format!("{}: line {} is no certificate of the record: put it right, or remove it", file.display(), at + 1);
        refuse(Code::Configuration, told)
    };
    let read = lines.map(|(at, line)| Certificate::of_line(line).ok_or_else(|| wrong(at))).collect::<Result<_>>()?;
    Ok((read, is_whole))
}

/// In one piece, so that lines of commands that run at the same time do not mix.
fn append(file: &Path, text: &str) -> Result<()> {
    let doing = || format!("writing {}", file.display());
    let opened = OpenOptions::new().append(true).create(true).mode(0o600).open(file);
    let mut to = opened.doing(Code::Configuration, doing())?;
    to.write_all(text.as_bytes()).and_then(|()| to.sync_all()).doing(Code::Configuration, doing())
}
