//! Who is at each end: certificates of the pool's own authority, or a user of this machine.
//!
//! What a certificate is for stands in it as a URI: `hsmpool://POOL/node/2`, `hsmpool://POOL/client/NAME?tokens=a,b`,
//! `hsmpool://POOL/operator/NAME`.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

use super::revoked::{Revoked, serials};
use crate::error::{Code, Doing, Error, Result, refuse};

/// The DNS name in each node's certificate: what a client asks TLS for, whatever the node's address.
pub const NODE_DNS_NAME: &str = "node.hsmpool.internal";

/// What a certificate says of its owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Name {
    /// A node, by its number.
    Node(u64),
    /// A module; `tokens`: labels or serial numbers that it may see, or all.
    Client {
        /// Its name.
        name: String,
        /// The tokens that it may see; `None`: all.
        tokens: Option<Vec<String>>,
    },
    /// A person or program that changes the pool.
    Operator(String),
}

/// Who is at the other end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Peer {
    /// Proven by a certificate.
    Certificate(Name),
    /// A process of this machine, by its user id.
    Unix(u32),
}

impl Name {
    /// The URI of a certificate.
    pub fn uri(&self, pool: &[u8; 16]) -> String {
        let pool = hex(pool);
        match self {
            Name::Node(number) => format!("hsmpool://{pool}/node/{number}"),
            Name::Client { name, tokens: None } => format!("hsmpool://{pool}/client/{name}"),
            Name::Client { name, tokens: Some(tokens) } => format!("hsmpool://{pool}/client/{name}?tokens={}", tokens.join(",")),
            Name::Operator(name) => format!("hsmpool://{pool}/operator/{name}"),
        }
    }

    /// Errors: `DeviceError` for a URI of another pool or form.
    pub fn of_uri(uri: &str, pool: &[u8; 16]) -> Result<Self> {
        let wrong = |what: &str| refuse(Code::DeviceError, format!("the certificate is for {uri:?}: {what}"));
        let rest = uri.strip_prefix("hsmpool://").ok_or_else(|| wrong("not for a pool"))?;
        let mut parts = rest.splitn(3, '/');
        let (id, kind, name) = (parts.next(), parts.next(), parts.next().filter(|name| !name.is_empty()));
        if id != Some(&*hex(pool)) {
            return Err(wrong("another pool"));
        }
        match (kind, name) {
            (Some("node"), Some(number)) => {
                number.parse().map(Name::Node).map_err(|cause: std::num::ParseIntError| wrong("no node number").because(cause))
            }
            (Some("client"), Some(name)) => Ok(match name.split_once("?tokens=") {
                Some((name, tokens)) => {
                    Name::Client { name: name.to_string(), tokens: Some(tokens.split(',').map(str::to_string).collect()) }
                }
                None => Name::Client { name: name.to_string(), tokens: None },
            }),
            (Some("operator"), Some(name)) => Ok(Name::Operator(name.to_string())),
            _ => Err(wrong("neither node, client nor operator")),
        }
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Peer::Certificate(Name::Node(number)) => write!(f, "node {number}"),
            Peer::Certificate(Name::Client { name, .. }) => write!(f, "client {name}"),
            Peer::Certificate(Name::Operator(name)) => write!(f, "operator {name}"),
            Peer::Unix(user) => write!(f, "user {user} of this machine"),
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Where an identity is read from (PEM).
#[derive(Clone)]
pub struct Files {
    /// The pool's id.
    pub pool: [u8; 16],
    /// The pool's own authority.
    pub ca: PathBuf,
    /// The certificate.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
    /// What the authority has revoked.
    pub crl: Option<PathBuf>,
}

/// One's own certificate, and the authority that others' are checked against, with what it has revoked.
#[derive(Clone)]
pub struct Identity {
    /// The pool's id.
    pub pool: [u8; 16],
    pub(super) client: Arc<ClientConfig>,
    pub(super) server: Arc<ServerConfig>,
    begins: i64,
    expires: i64,
    /// One's own certificate first.
    chain: Arc<[CertificateDer<'static>]>,
    /// Tells whether the authority's is there, too.
    of_clients: Arc<dyn ClientCertVerifier>,
    pub(super) revoked: Arc<Revoked>,
}

impl Identity {
    /// Reads PEM files, without a list of revoked certificates. Errors: `Configuration`, naming the file.
    pub fn read(pool: [u8; 16], ca: &Path, certificate: &Path, key: &Path) -> Result<Self> {
        let [ca, certificate, key] = [ca, certificate, key].map(Path::to_path_buf);
        Self::of(&Files { pool, ca, certificate, key, crl: None })
    }

    /// Reads all files. Errors: `Configuration`, naming the file: one that is named is never done without.
    pub fn of(files: &Files) -> Result<Self> {
        let certificates = |file: &Path| -> Result<Vec<CertificateDer<'static>>> {
            let doing = || format!("reading certificates from {}", file.display());
            let read: std::result::Result<Vec<_>, _> =
                CertificateDer::pem_file_iter(file).doing(Code::Configuration, doing())?.collect();
            let read = read.doing(Code::Configuration, doing())?;
            if read.is_empty() {
                return Err(refuse(Code::Configuration, format!("{} holds no certificate", file.display())));
            }
            Ok(read)
        };
        let private = PrivateKeyDer::from_pem_file(&files.key)
            .doing(Code::Configuration, format!("reading the private key {}", files.key.display()))?;
        let (ca, chain) = (certificates(&files.ca)?, certificates(&files.certificate)?);
        let revoked = files.crl.as_ref().map_or_else(|| Ok(Revoked::none()), |file| Revoked::read(file, &ca))?;
        Self::new(files.pool, ca, chain, private, revoked)
    }

    fn new(
        pool: [u8; 16],
        ca: Vec<CertificateDer<'static>>,
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
        revoked: Arc<Revoked>,
    ) -> Result<Self> {
        let doing = "preparing TLS with the pool's certificates";
        let mut roots = RootCertStore::empty();
        for certificate in ca {
            roots.add(certificate).doing(Code::Configuration, doing)?;
        }
        let (roots, provider) = (Arc::new(roots), Arc::new(aws_lc_rs::default_provider()));
        let (begins, expires) = {
            let parsed = parsed(&chain[0])?;
            (parsed.validity().not_before.timestamp(), parsed.validity().not_after.timestamp())
        };
        // That a list should have been replaced by now is not held against it: then nobody could connect any more.
        let of_nodes =
            WebPkiServerVerifier::builder_with_provider(roots.clone(), provider.clone()).with_crls(revoked.lists()).build();
        let mut client = ClientConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .doing(Code::Configuration, doing)?
            .with_webpki_verifier(of_nodes.doing(Code::Configuration, doing)?)
            .with_client_auth_cert(chain.clone(), key.clone_key())
            .doing(Code::Configuration, doing)?;
        let of_clients = WebPkiClientVerifier::builder_with_provider(roots, provider.clone()).with_crls(revoked.lists()).build();
        let of_clients = of_clients.doing(Code::Configuration, doing)?;
        let mut server = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .doing(Code::Configuration, doing)?
            .with_client_cert_verifier(of_clients.clone())
            .with_single_cert(chain.clone(), key)
            .doing(Code::Configuration, doing)?;
        // A resumed session would go by a certificate that was good once. Connections are kept, so handshakes are rare.
        server.session_storage = Arc::new(NoServerSessionStorage {});
        server.send_tls13_tickets = 0;
        client.resumption = Resumption::disabled();
        let (client, server, chain) = (Arc::new(client), Arc::new(server), chain.into());
        Ok(Self { pool, client, server, begins, expires, chain, of_clients, revoked })
    }

    /// From when on the certificate is good, in seconds since 1970.
    pub fn begins(&self) -> i64 {
        self.begins
    }

    /// When the certificate ends, in seconds since 1970.
    pub fn expires(&self) -> i64 {
        self.expires
    }

    /// What one's own certificate says. Errors: `DeviceError` when it is for another pool, or says nothing.
    pub fn own_name(&self) -> Result<Name> {
        self.name(Some(&self.chain))
    }

    /// Whether the nodes would take it at this time (in seconds since 1970), as far as its own authority's certificate tells. Errors: `Configuration`.
    pub(super) fn check_good(&self, now: i64) -> Result<()> {
        let now = UnixTime::since_unix_epoch(Duration::from_secs(now.max(0).unsigned_abs()));
        let verified = self.of_clients.verify_client_cert(&self.chain[0], &self.chain[1..], now);
        verified.map(|_| ()).doing(Code::Configuration, "checking the certificate against its authority's")
    }

    /// Whether its own authority has revoked it, as far as the list here tells.
    pub fn is_revoked(&self) -> bool {
        // What cannot be read is on no list, and was refused for that before.
        serials(&self.chain).is_ok_and(|own| self.revoked.holds(&own))
    }

    /// The number of the list of revoked certificates; `None` without one.
    pub fn revocations(&self) -> Option<u64> {
        self.revoked.number()
    }

    /// Takes the place of another one: connections that it has made, or others before it, go by the list of this one from now on.
    ///
    /// Errors: `Configuration`: this one's list is older.
    pub fn take_over(self, old: &Self) -> Result<Self> {
        let revoked = self.revoked.clone().take_over(&old.revoked)?;
        Ok(Self { revoked, ..self })
    }

    /// The same by itself: what takes its place elsewhere does not count for its connections.
    pub(super) fn apart(&self) -> Self {
        Self { revoked: self.revoked.apart(), ..self.clone() }
    }

    /// Whether both show the same certificate.
    pub fn shows_the_same_as(&self, other: &Self) -> bool {
        self.chain == other.chain
    }

    /// What a verified certificate says. Errors: `DeviceError`.
    pub(super) fn name(&self, chain: Option<&[CertificateDer<'_>]>) -> Result<Name> {
        name_in(first(chain)?, &self.pool)
    }
}

pub(super) fn first<'a, 'b>(chain: Option<&'a [CertificateDer<'b>]>) -> Result<&'a CertificateDer<'b>> {
    chain.and_then(<[_]>::first).ok_or_else(|| refuse(Code::DeviceError, "the other side has shown no certificate"))
}

/// The clock on the wall, in seconds since 1970.
pub(super) fn wall_seconds() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()).cast_signed()
}

/// What a certificate of this pool says. Errors: `DeviceError`.
pub(super) fn name_in(certificate: &CertificateDer<'_>, pool: &[u8; 16]) -> Result<Name> {
    Name::of_uri(&uri_in(certificate)?, pool)
}

/// The URI in a certificate. Errors: `DeviceError`.
pub(super) fn uri_in(certificate: &CertificateDer<'_>) -> Result<String> {
    let certificate = parsed(certificate)?;
    let names = certificate.subject_alternative_name().doing(Code::DeviceError, "reading the names of a certificate")?;
    let uri = names.and_then(|names| {
        names.value.general_names.iter().find_map(|name| match name {
            GeneralName::URI(uri) => Some((*uri).to_string()),
            _ => None,
        })
    });
    uri.ok_or_else(|| refuse(Code::DeviceError, "the certificate does not say what it is for"))
}

/// What a file's first certificate says; its key is not needed. Errors: `Configuration`: it cannot be read; `DeviceError`: it says nothing, or is
/// another pool's.
pub fn name_in_file(file: &Path, pool: &[u8; 16]) -> Result<Name> {
    let doing = format!("reading the certificate {}", file.display());
    name_in(&CertificateDer::from_pem_file(file).doing(Code::Configuration, doing)?, pool)
}

/// Errors: `DeviceError`.
pub(super) fn parsed<'a>(der: &'a CertificateDer<'_>) -> Result<X509Certificate<'a>> {
    let parsed =
        X509Certificate::from_der(der).map_err(|cause| Error::new(Code::DeviceError, format!("reading a certificate: {cause}")));
    parsed.map(|(_, certificate)| certificate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stand_in_certificates_as_uris_and_others_are_refused() {
        let pool = [0xab; 16];
        let client = |tokens: Option<&[&str]>| Name::Client {
            name: "web".to_string(),
            tokens: tokens.map(|tokens| tokens.iter().map(|token| (*token).to_string()).collect()),
        };
        for name in [Name::Node(7), client(None), client(Some(&["tls", "dnssec"])), Name::Operator("ann".to_string())] {
            assert_eq!(Name::of_uri(&name.uri(&pool), &pool).unwrap(), name);
            assert!(Name::of_uri(&name.uri(&[1; 16]), &pool).is_err(), "another pool");
        }
        let prefix = format!("hsmpool://{}", hex(&pool));
        for bad in [
            "",
            "https://example.org/",
            &prefix,
            &format!("{prefix}/node/x"),
            &format!("{prefix}/root/a"),
            &format!("{prefix}/client/"),
        ] {
            assert!(Name::of_uri(bad, &pool).is_err(), "{bad}");
        }
    }
}
