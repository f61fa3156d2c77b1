//! What the authority of a pool has taken back: its lists of revoked certificates (CRL, RFC 5280), as nodes and modules go by them.
//!
//! TLS's own verifiers look at a list in each handshake. Here are the parts that they leave out: whether a file holds the authority's list at all,
//! whether it is older than the one in use, and what becomes of connections that are open.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Arc, OnceLock};

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer};
use x509_parser::prelude::{FromDer, X509Certificate};
use x509_parser::revocation_list::CertificateRevocationList;

use super::identity::{first, parsed, wall_seconds};
use crate::error::{Code, Doing, Result, refuse};

/// A certificate among all others: who issued it, and under which serial number.
pub(super) type Serial = (Vec<u8>, Vec<u8>);

/// The lists of one reading of the file, and the way to those that were read later.
pub(super) struct Revoked {
    facts: Arc<Facts>,
    /// Lists that took the place of these. Reading it never waits: each request does so, and a fork may happen at any moment.
    next: OnceLock<Arc<Revoked>>,
}

/// What stands in lists.
#[derive(Default)]
struct Facts {
    lists: Vec<CertificateRevocationListDer<'static>>,
    serials: BTreeSet<Serial>,
    /// Each authority's list, by the authority's public key: another authority of the same pool has the same name.
    issued: BTreeMap<Vec<u8>, List>,
}

/// What one authority has revoked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct List {
    /// Each list that the authority signs has a higher one.
    pub number: u64,
    serials: BTreeSet<Vec<u8>>,
}

impl Revoked {
    /// Nothing is revoked, as there is no list.
    pub fn none() -> Arc<Self> {
        Arc::new(Self { facts: Arc::default(), next: OnceLock::new() })
    }

    /// Reads the lists (PEM) of these authorities: one of each, and of nobody else. When a list is to be replaced (`nextUpdate`) is not looked at: a pool does
    /// not stop by itself.
    ///
    /// Errors: `Configuration`, naming the file: it cannot be read, is damaged, or is not the authority's.
    pub fn read(file: &Path, authorities: &[CertificateDer<'_>]) -> Result<Arc<Self>> {
        let doing = || format!("reading revoked certificates from {}", file.display());
        let lists = CertificateRevocationListDer::pem_file_iter(file).doing(Code::Configuration, doing())?;
        let lists: Vec<_> = lists.collect::<std::result::Result<_, _>>().doing(Code::Configuration, doing())?;
        let facts = Facts::of(lists, authorities).doing(Code::Configuration, doing())?;
        Ok(Arc::new(Self { facts: Arc::new(facts), next: OnceLock::new() }))
    }

    /// As TLS's verifiers take them.
    pub fn lists(&self) -> Vec<CertificateRevocationListDer<'static>> {
        self.facts.lists.clone()
    }

    /// The number of the list; `None` without one. Of several authorities', the highest.
    pub fn number(&self) -> Option<u64> {
        self.facts.issued.values().map(|list| list.number).max()
    }

    /// What the authority of this public key has revoked.
    pub fn of(&self, authority: &[u8]) -> Option<List> {
        self.facts.issued.get(authority).cloned()
    }

    /// Whether one of these is on a list.
    pub fn holds(&self, certificates: &[Serial]) -> bool {
        certificates.iter().any(|certificate| self.facts.serials.contains(certificate))
    }

    /// The lists that are in use in place of these by now.
    pub fn newest(self: &Arc<Self>) -> Arc<Self> {
        let mut newest = self;
        while let Some(next) = newest.next.get() {
            newest = next;
        }
        newest.clone()
    }

    /// The newest ones by themselves: what takes their place here and there is told to nobody on the other side.
    pub fn apart(self: &Arc<Self>) -> Arc<Self> {
        Arc::new(Self { facts: self.newest().facts.clone(), next: OnceLock::new() })
    }

    /// Takes the place of what `old` has led to: whoever goes by that goes by this from now on, which is what is returned, or is the same in content.
    ///
    /// Errors: `Configuration`: a list is older than the one in use, or another one of its number: neither is known to hold all that was revoked.
    pub fn take_over(self: Arc<Self>, old: &Arc<Self>) -> Result<Arc<Self>> {
        loop {
            let newest = old.newest();
            if newest.facts.lists == self.facts.lists {
                return Ok(newest);
            }
            for (authority, list) in &self.facts.issued {
                let Some(used) = newest.facts.issued.get(authority) else { continue };
                let why = match list.number.cmp(&used.number) {
                    Ordering::Less => "it is an older one",
                    Ordering::Equal if list != used => {
                        "it is another one, signed from an older copy of the authority's directory"
                    }
                    _ => continue,
                };
                let (number, used) = (list.number, used.number);
                let told = format!("the list of revoked certificates has number {number}, and number {used} is in use: {why}");
                return Err(refuse(Code::Configuration, told));
            }
            // Somebody may have been quicker: then these follow those.
            if newest.next.set(self.clone()).is_ok() {
                return Ok(self);
            }
        }
    }
}

impl Facts {
    fn of(lists: Vec<CertificateRevocationListDer<'static>>, authorities: &[CertificateDer<'_>]) -> Result<Self> {
        let wrong = |what: String| refuse(Code::Configuration, what);
        if lists.is_empty() {
            return Err(wrong("it holds no list of revoked certificates (PEM, X509 CRL)".to_string()));
        }
        let authorities: Vec<X509Certificate<'_>> = authorities.iter().map(parsed).collect::<Result<_>>()?;
        let mut facts = Self::default();
        for list in &lists {
            let list = parsed_list(list)?;
            let issuer = authorities.iter().find(|authority| is_signed_by(&list, authority)).ok_or_else(|| {
                wrong(format!(
                    "another authority than the one of certificates.ca has signed it, or it is damaged ({})",
                    list.issuer()
                ))
            })?;
            let authority = issuer.public_key().raw.to_vec();
            let serials = list.iter_revoked_certificates().map(|revoked| revoked.raw_serial().to_vec()).collect();
            if facts.issued.insert(authority, List { number: number_of(&list), serials }).is_some() {
                return Err(wrong(format!("it holds two lists of one authority ({})", list.issuer())));
            }
            let of = list.issuer().as_raw().to_vec();
            facts.serials.extend(list.iter_revoked_certificates().map(|revoked| (of.clone(), revoked.raw_serial().to_vec())));
        }
        // Without its list TLS would refuse everything that an authority has issued; and it finds the list by the authority's name.
        if let Some(missing) = authorities.iter().find(|authority| !facts.issued.contains_key(authority.public_key().raw)) {
            return Err(wrong(format!("it holds no list of an authority that certificates.ca names ({})", missing.subject())));
        }
        let names: BTreeSet<&[u8]> = authorities.iter().map(|authority| authority.subject().as_raw()).collect();
        let keys: BTreeSet<&[u8]> = authorities.iter().map(|authority| authority.public_key().raw).collect();
        if names.len() < keys.len() {
            let told = "certificates.ca names two authorities of the same name, whose lists cannot be told from each other: leave one of them there";
            return Err(wrong(told.to_string()));
        }
        facts.lists = lists;
        Ok(facts)
    }
}

/// Errors: `Configuration`.
pub(super) fn parsed_list<'a>(der: &'a CertificateRevocationListDer<'_>) -> Result<CertificateRevocationList<'a>> {
    let damaged = |why: String| refuse(Code::Configuration, format!("the list of revoked certificates is damaged: {why}"));
    match CertificateRevocationList::from_der(der) {
        Ok(([], list)) => Ok(list),
        Ok((rest, _)) => Err(damaged(format!("{} bytes follow it", rest.len()))),
        Err(cause) => Err(damaged(cause.to_string())),
    }
}

/// A list without a number is older than all others.
pub(super) fn number_of(list: &CertificateRevocationList<'_>) -> u64 {
    match list.crl_number().map(|number| number.to_u64_digits()).as_deref() {
        None | Some([]) => 0,
        Some([number]) => *number,
        Some(_) => u64::MAX,
    }
}

/// Tells people in time; TLS's verifiers look by themselves, which algorithm goes with which key.
fn is_signed_by(list: &CertificateRevocationList<'_>, authority: &X509Certificate<'_>) -> bool {
    let is_named = list.issuer().as_raw() == authority.subject().as_raw();
    is_named && is_signature_of(authority, list.tbs_cert_list.as_ref(), &list.signature_value.data)
}

/// Whether the authority's key has signed this.
pub(super) fn is_signature_of(authority: &X509Certificate<'_>, message: &[u8], signature: &[u8]) -> bool {
    let (key, known) = (&authority.public_key().subject_public_key.data, aws_lc_rs::default_provider());
    let mut all = known.signature_verification_algorithms.all.iter();
    all.any(|algorithm| algorithm.verify_signature(key, message, signature).is_ok())
}

/// Errors: `DeviceError`.
pub(super) fn serials(chain: &[CertificateDer<'_>]) -> Result<Vec<Serial>> {
    chain.iter().map(|der| parsed(der).map(|it| (it.issuer().as_raw().to_vec(), it.raw_serial().to_vec()))).collect()
}

/// What the other side of a connection has shown: the connection is no longer good than that.
pub(super) struct Shown {
    /// In seconds since 1970.
    ends: i64,
    certificates: Vec<Serial>,
    revoked: Arc<Revoked>,
    is_revoked: bool,
}

impl Shown {
    /// Errors: `DeviceError`.
    pub fn of(chain: Option<&[CertificateDer<'_>]>, revoked: &Arc<Revoked>) -> Result<Self> {
        let ends = parsed(first(chain)?)?.validity().not_after.timestamp();
        let (certificates, revoked) = (serials(chain.unwrap_or_default())?, revoked.newest());
        let is_revoked = revoked.holds(&certificates);
        Ok(Self { ends, certificates, revoked, is_revoked })
    }

    /// Why it is not good any more: by the clock on the wall, by which TLS checks it too, and by the newest list.
    pub fn fault(&mut self) -> Option<&'static str> {
        while let Some(next) = self.revoked.next.get() {
            self.is_revoked |= next.holds(&self.certificates);
            self.revoked = next.clone();
        }
        match (self.is_revoked, wall_seconds() > self.ends) {
            (true, _) => Some("has been revoked"),
            (false, true) => Some("has ended"),
            (false, false) => None,
        }
    }

    /// What tells it from other certificates.
    pub fn certificates(&self) -> &[Serial] {
        &self.certificates
    }
}
