//! Files of a pool: what a module knows of it (`pool.toml`), and what a node is told (`hsmpoold.toml`). Both are strict: a key that does
//! not exist is an error that names file, line and key.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::PolicyName;
use crate::error::{Code, Doing, Error, Result, refuse};

/// What a module knows of its pool.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PoolFile {
    /// The pool's id: 32 hexadecimal digits.
    pub pool: PoolId,
    /// The zone that the application stands in; calls prefer it.
    pub zone: String,
    /// The client's certificate, for TCP. Unix sockets need none.
    pub certificates: Option<Certificates>,
    /// How much look-ups show: `linearizable` or `session`.
    #[serde(default)]
    pub consistency: Consistency,
    /// Every node.
    pub node: Vec<NodeEntry>,
}

/// How much a look-up shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Consistency {
    /// All that was acknowledged to anybody before.
    #[default]
    Linearizable,
    /// All that this application has seen or done, and what else its node has.
    Session,
}

/// One node, as a module reaches it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeEntry {
    /// Its number, which its certificate has to name.
    pub node: Option<u64>,
    /// Its zone.
    pub zone: String,
    /// `unix:/path` or `tcp:host:port`, in the order in which they are tried; each but the last for half of the time.
    pub addresses: Vec<String>,
}

/// What a node is told.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeFile {
    /// The pool's id: 32 hexadecimal digits.
    pub pool: PoolId,
    /// The node's number in the pool; never given to another node, or to this one after its disk was lost.
    pub node: u64,
    /// Its zone.
    pub zone: String,
    /// Its region.
    #[serde(default = "home_region")]
    pub region: String,
    /// Where its databases are.
    pub directory: PathBuf,
    /// The pool's root key: a file of 64 hexadecimal digits, the same at every node. Without it `hsmpool.key` in the directory.
    pub root_key_file: Option<PathBuf>,
    /// What it listens on.
    pub listen: Listen,
    /// Its certificate.
    pub certificates: Certificates,
    /// Users of this machine who may use the Unix socket: numeric user id, and the client's name. Empty: the node's own user.
    #[serde(default)]
    pub unix_users: BTreeMap<String, String>,
    /// Policy of new tokens: `compatible`, `default`, `strict`.
    #[serde(default = "default_policy")]
    pub policy: PolicyName,
    /// Wrong PINs in a row that lock the user of a new token; 0 never locks.
    #[serde(default = "attempts")]
    pub pin_attempts_max: u32,
    /// Where events are posted to, as JSON.
    #[serde(default)]
    pub webhooks: Vec<String>,
    /// Authorities (PEM) of webhooks with `https:`.
    #[serde(default = "host_authorities")]
    pub webhook_ca: PathBuf,
    /// Seconds for which keys are used without contact to a living quorum, after the serving lease; 0: none.
    #[serde(default = "isolated_use")]
    pub isolated_use: u64,
}

/// Addresses of a node.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Listen {
    /// For clients: `unix:/path`, `tcp:address:port`.
    pub clients: Vec<String>,
    /// For other nodes: `tcp:address:port`.
    pub peers: String,
    /// What other nodes are told, where it differs from `peers`.
    pub advertise: Option<String>,
    /// Health and metrics, in plain HTTP: keep it inside.
    pub operations: Option<String>,
}

/// Files of a certificate.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Certificates {
    /// The pool's own authority.
    pub ca: PathBuf,
    /// The certificate, with those between it and the authority.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
    /// What the authority has revoked. Without it nothing is.
    pub crl: Option<PathBuf>,
}

/// The name of a pool, for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolId(pub [u8; 16]);

impl<'de> Deserialize<'de> for PoolId {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> std::result::Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl std::str::FromStr for PoolId {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let digit = |at: usize| text.get(at..at + 2).and_then(|pair| u8::from_str_radix(pair, 16).ok());
        let bytes: Option<Vec<u8>> = (0..16).map(|byte| digit(2 * byte)).collect();
        match bytes.and_then(|bytes| bytes.try_into().ok()).filter(|_| text.len() == 32) {
            Some(bytes) => Ok(Self(bytes)),
            None => Err(format!("{text:?} is no pool id: it has 32 hexadecimal digits")),
        }
    }
}

impl std::fmt::Display for PoolId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl<'de> Deserialize<'de> for PolicyName {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> std::result::Result<Self, D::Error> {
        String::deserialize(from)?.parse().map_err(serde::de::Error::custom)
    }
}

fn home_region() -> String {
    "home".to_string()
}

fn default_policy() -> PolicyName {
    PolicyName::Default
}

fn host_authorities() -> PathBuf {
    PathBuf::from("/etc/ssl/certs/ca-certificates.crt")
}

fn isolated_use() -> u64 {
    crate::limits::ISOLATED_USE_DEFAULT_SECONDS
}

fn attempts() -> u32 {
    crate::limits::PIN_ATTEMPTS_MAX_DEFAULT
}

impl PoolFile {
    /// Reads `pool.toml`; paths in it are relative to its own directory. Errors: `Configuration`, naming file, line and key.
    pub fn read(file: &Path) -> Result<Self> {
        let mut read: Self = parse(file)?;
        if read.node.is_empty() {
            return Err(wrong(file, "it names no node: add a [[node]] for each"));
        }
        if let Some(entry) = read.node.iter().find(|entry| entry.addresses.is_empty()) {
            return Err(wrong(file, &format!("a node of zone {:?} has no address", entry.zone)));
        }
        if let Some(certificates) = &mut read.certificates {
            certificates.beside(file);
        }
        Ok(read)
    }
}

impl PoolFile {
    /// Whether all but the nodes is the same.
    pub fn differs_by_nodes_only(&self, other: &Self) -> bool {
        Self { node: other.node.clone(), ..self.clone() } == *other
    }

    /// What is strange in it and does not keep it from working, as it does not where a zone has lost its node.
    pub fn warning(&self) -> Option<String> {
        if self.node.iter().any(|node| node.zone == self.zone) {
            return None;
        }
        let zones: Vec<String> = self.node.iter().map(|node| format!("{:?}", node.zone)).collect();
        Some(format!(
            "no node stands in the pool file's zone {:?}, so none is preferred: zones are {}",
            self.zone,
            zones.join(", ")
        ))
    }
}

impl NodeFile {
    /// Reads `hsmpoold.toml`; paths in it are relative to its own directory. Errors: `Configuration`, naming file, line and key.
    pub fn read(file: &Path) -> Result<Self> {
        let mut read: Self = parse(file)?;
        if read.listen.clients.is_empty() {
            return Err(wrong(file, "listen.clients is empty: nobody could reach the node"));
        }
        if let Some(user) = read.unix_users.keys().find(|user| user.parse::<u32>().is_err()) {
            return Err(wrong(file, &format!("unix_users.{user} is no numeric user id")));
        }
        let is_url =
            |url: &str| url.split_once("://").is_some_and(|(kind, rest)| matches!(kind, "http" | "https") && !rest.is_empty());
        if let Some(url) = read.webhooks.iter().find(|url| !is_url(url)) {
            return Err(wrong(file, &format!("webhooks: {url:?} is no URL: http://… or https://…")));
        }
        read.webhook_ca = beside(file, &read.webhook_ca);
        read.certificates.beside(file);
        read.directory = beside(file, &read.directory);
        read.root_key_file = read.root_key_file.map(|path| beside(file, &path));
        Ok(read)
    }
}

impl Certificates {
    fn beside(&mut self, file: &Path) {
        for path in [&mut self.ca, &mut self.certificate, &mut self.key].into_iter().chain(&mut self.crl) {
            *path = beside(file, path);
        }
    }
}

/// Absolute, whatever directory the process is in by the time it is used.
fn beside(file: &Path, path: &Path) -> PathBuf {
    let file = std::path::absolute(file).unwrap_or_else(|_| file.to_path_buf());
    file.parent().map_or_else(|| path.to_path_buf(), |directory| directory.join(path))
}

fn parse<T: DeserializeOwned>(file: &Path) -> Result<T> {
    let doing = || format!("reading the configuration file {}", file.display());
    let text = std::fs::read_to_string(file).doing(Code::Configuration, doing())?;
    toml::from_str(&text).doing(Code::Configuration, doing())
}

fn wrong(file: &Path, what: &str) -> Error {
    refuse(Code::Configuration, format!("{}: {what}", file.display()))
}

/// The keys of both files, for `docs/configuration.md`.
pub fn markdown() -> String {
    let mut text = String::new();
    for (title, keys) in [("`pool.toml`, for a module", POOL_KEYS), ("`hsmpoold.toml`, for a node", NODE_KEYS)] {
        let _ = writeln!(text, "\n### {title}\n\n| key | default | meaning |\n| --- | --- | --- |");
        for (name, default, doc) in keys {
            let _ = writeln!(text, "| `{name}` | {default} | {doc} |");
        }
    }
    text
}

type Rows = &'static [(&'static str, &'static str, &'static str)];

const POOL_KEYS: Rows = &[
    ("pool", "–", "The pool's id, 32 hexadecimal digits."),
    ("zone", "–", "The zone that the application stands in: its nodes are asked first. The log warns of one without nodes."),
    (
        "certificates.ca",
        "–",
        "The pool's authority (PEM). The three certificate keys are needed for TCP addresses; the files are looked at again with each new connection.",
    ),
    (
        "certificates.certificate",
        "–",
        "The client's certificate (PEM). A new one in its place is shown by the next connection, without a restart.",
    ),
    ("certificates.key", "–", "Its private key (PEM)."),
    (
        "certificates.crl",
        "none: nothing is revoked",
        "The authority's list of revoked certificates (PEM, X509 CRL: `ca/crl.pem` of the pool's directory): nodes that it names are not spoken to, over open connections either. A new one in its place counts from the next connection on. One that is missing, damaged, another authority's or older is refused.",
    ),
    (
        "consistency",
        "`linearizable`",
        "How much look-ups show. `linearizable`: all that was acknowledged to anybody before. `session`: all that this application has seen or done, and what else its node has; faster by a round to the leader, and it needs none.",
    ),
    (
        "[[node]] node",
        "any",
        "The number of one node. Where it stands, only the certificate of this very node is taken at its TCP addresses; without it that of any node of the pool, also of one that was removed.",
    ),
    (
        "[[node]] zone",
        "–",
        "Its zone. Nodes that come or go here are taken in by running applications, within a second of their next call; whatever else is changed in the file at the next `C_Initialize`.",
    ),
    (
        "[[node]] addresses",
        "–",
        "`unix:/path` or `tcp:host:port`, in the order in which they are tried; each but the last for half of the time.",
    ),
];

const NODE_KEYS: Rows = &[
    ("pool", "–", "The pool's id, 32 hexadecimal digits."),
    ("node", "–", "The node's number; never used again for another node, or for this one after its disk was lost."),
    ("zone", "–", "The node's zone. No zone may hold a quorum of the voters."),
    ("region", "`home`", "The node's region."),
    ("directory", "–", "Where its databases are (mode 0700)."),
    (
        "root_key_file",
        "`hsmpool.key` in the directory",
        "The pool's root key, the same at every node. Back it up: without it no store can be read.",
    ),
    ("listen.clients", "–", "`unix:/path`, `tcp:address:port`: where modules connect."),
    ("listen.peers", "–", "`tcp:address:port`: where other nodes connect."),
    ("listen.advertise", "`listen.peers`", "What other nodes are told to connect to."),
    ("listen.operations", "none", "`address:port` of health, metrics and events, in plain HTTP."),
    ("certificates.ca", "–", "The pool's authority (PEM)."),
    ("certificates.certificate", "–", "The node's certificate (PEM)."),
    ("certificates.key", "–", "Its private key (PEM)."),
    (
        "certificates.crl",
        "none: nothing is revoked",
        "The authority's list of revoked certificates (PEM, X509 CRL: `ca/crl.pem` of the pool's directory): clients, operators and nodes that it names are shut out, and their open connections end. Read again at `SIGHUP`. One that is missing, damaged or another authority's is refused at start; at `SIGHUP` that or an older one leaves the one in use. When it was to be replaced (`nextUpdate`) is not looked at.",
    ),
    (
        "unix_users",
        "the node's own user, as `local`",
        "Users of this machine who may use the Unix socket: numeric user id and client name. A client that also connects with a certificate has the same name there, so that its logins go with it.",
    ),
    ("policy", "`default`", "Policy of new tokens: `compatible`, `default`, `strict`."),
    ("pin_attempts_max", "10", "Wrong PINs in a row that lock the user of a new token; 0 never locks."),
    ("webhooks", "none", "URLs (`http:`, `https:`) that each event is posted to, as JSON."),
    (
        "webhook_ca",
        "`/etc/ssl/certs/ca-certificates.crt`",
        "Authorities (PEM) that certificates of `https:` webhooks are checked against.",
    ),
    (
        "isolated_use",
        "3600",
        "Seconds for which the node goes on using keys when no living quorum is heard of, after the serving lease of 2 s. 0: keys are used in the lease only, so that a destroyed key is used nowhere once the destroyer was told.",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn in_file<T>(text: &str, read: impl Fn(&Path) -> Result<T>) -> Result<T> {
        let file = std::env::temp_dir().join(format!("hsmpool-config-{}-{:p}.toml", std::process::id(), text));
        std::fs::write(&file, text).unwrap();
        let answer = read(&file);
        std::fs::remove_file(&file).unwrap();
        answer
    }

    const NODE: &str = r#"
pool = "000102030405060708090a0b0c0d0e0f"
node = 2
zone = "b"
directory = "data"
[listen]
clients = ["unix:/run/b.sock"]
peers = "tcp:127.0.0.1:7101"
[certificates]
ca = "ca.pem"
certificate = "/etc/node.pem"
key = "node.key"
crl = "crl.pem"
[unix_users]
0 = "app"
"#;

    #[test]
    fn a_node_file_is_read_with_its_defaults_and_paths_beside_it() {
        let read = in_file(NODE, NodeFile::read).unwrap();
        assert_eq!(read.pool.to_string(), "000102030405060708090a0b0c0d0e0f");
        assert_eq!((read.region.as_str(), read.policy, read.pin_attempts_max), ("home", PolicyName::Default, 10));
        assert_eq!((read.isolated_use, read.webhooks.len()), (3600, 0));
        assert_eq!(read.certificates.ca, std::env::temp_dir().join("ca.pem"));
        assert_eq!(read.certificates.certificate, Path::new("/etc/node.pem"));
        assert_eq!(read.certificates.crl, Some(std::env::temp_dir().join("crl.pem")));
        let without = in_file(&NODE.replace("crl = \"crl.pem\"\n", ""), NodeFile::read).unwrap();
        assert_eq!(without.certificates.crl, None);
    }

    #[test]
    fn paths_of_a_file_that_is_named_relatively_are_absolute() {
        let here = std::env::current_dir().unwrap();
        assert_eq!(beside(Path::new("node1/hsmpoold.toml"), Path::new("data")), here.join("node1/data"));
        assert_eq!(beside(Path::new("hsmpoold.toml"), Path::new("data")), here.join("data"));
        assert_eq!(beside(Path::new("hsmpoold.toml"), Path::new("/data")), Path::new("/data"));
    }

    #[test]
    fn what_is_wrong_is_named_with_file_line_and_key() {
        let told = |text: &str| {
            let error = in_file(text, NodeFile::read).err().map(|error| format!("{error:?} {error}")).unwrap_or_default();
            (error.contains("hsmpool-config"), error)
        };
        for (text, word) in [
            (NODE.replace("zone =", "zoen ="), "zoen"),
            (NODE.replace("0001", "01"), "32 hexadecimal"),
            (NODE.replace("node = 2", "node = \"two\""), "node"),
            (NODE.replace("[\"unix:/run/b.sock\"]", "[]"), "listen.clients"),
            (NODE.replace("0 = \"app\"", "root = \"app\""), "unix_users.root"),
            (NODE.replace("zone =", "webhooks = [\"host/path\"]\nzone ="), "host/path"),
            (NODE.replace("zone =", "isolated_use = -1\nzone ="), "isolated_use"),
        ] {
            let (names_file, error) = told(&text);
            assert!(names_file && error.contains(word), "{word}: {error}");
        }
    }

    #[test]
    fn every_key_of_the_example_stands_in_the_tables() {
        let named = |rows: Rows, key: &str| rows.iter().any(|(name, ..)| *name == key);
        for key in [
            "pool",
            "node",
            "zone",
            "directory",
            "listen.clients",
            "listen.peers",
            "certificates.key",
            "certificates.crl",
            "unix_users",
        ] {
            assert!(named(NODE_KEYS, key), "{key}");
        }
    }

    #[test]
    fn a_zone_without_a_node_is_pointed_out() {
        let file = |zone: &str| {
            let text = format!(
                "pool = \"000102030405060708090a0b0c0d0e0f\"\nzone = \"{zone}\"\n[[node]]\nzone = \"a\"\naddresses = [\"unix:/run/a\"]\n"
            );
            in_file(&text, PoolFile::read).unwrap()
        };
        assert_eq!(file("a").warning(), None);
        let warning = file("b").warning().unwrap();
        assert!(warning.contains("\"b\"") && warning.contains("\"a\""), "{warning}");
    }
}
