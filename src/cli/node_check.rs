//! `hsmpool node check`: whether a node's files, keys and ports are as they should be, before it is started or while it runs.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream, ToSocketAddrs};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::Subcommand;
use serde_json::json;

use super::pool::SOCKET_PATH_MAX_BYTES;
use super::told::{Ended, tell};
use crate::assemble;
use crate::config::pool::{Listen, NodeFile};
use crate::error::{Code, Doing, Result, refuse};
use crate::node::check_certificate;
use crate::partition::{RootKey, RootKeySource, load_root_key};
use crate::store::Store;
use crate::sys::socket::connect_unix;
use crate::sys::user;
use crate::wire::{Address, Connection, Hello, Identity, Name, Purpose};
use crate::world::{Real, utc_time};

/// A certificate that ends within so many days is pointed out.
const ENDS_SOON_DAYS: i64 = 30;
/// How long a port may take to say whose it is.
const GREETING: Duration = Duration::from_secs(2);

#[derive(clap::Args)]
#[command(after_help = "Example: hsmpool node check --config /etc/hsmpool/hsmpoold.toml")]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
    /// What is answered is printed as JSON
    #[arg(long, global = true)]
    pub(super) json: bool,
}

#[derive(Subcommand)]
enum Command {
    /// Checks a node's configuration, certificates, permissions, database, root key and ports; changes nothing
    #[command(after_help = "Examples:\n  hsmpool node check\n  hsmpool node check --config pool/node1/hsmpoold.toml --json\n\n\
                      Run it as the user that the daemon runs as. Exit codes: 0 the node can run (there may be warnings), 1 it cannot.")]
    Check {
        /// The node's configuration file
        #[arg(long, default_value = "/etc/hsmpool/hsmpoold.toml")]
        config: PathBuf,
    },
}

/// How a check ended, with what there is to say.
pub(super) enum Found {
    Good(String),
    /// The node can run; somebody should act all the same.
    Warning(String),
    Bad(String),
}

impl Found {
    fn word(&self) -> &'static str {
        match self {
            Found::Good(_) => "ok",
            Found::Warning(_) => "warning",
            Found::Bad(_) => "wrong",
        }
    }

    fn text(&self) -> &str {
        let (Found::Good(text) | Found::Warning(text) | Found::Bad(text)) = self;
        text
    }
}

pub(super) type Row = (&'static str, Found);

/// One line for people.
pub(super) fn line((what, found): &Row) -> String {
    format!("{:<8} {what:<14} {}", found.word(), found.text())
}

/// Whether the node can run, by what was found.
pub(super) fn can_run(rows: &[Row]) -> bool {
    !rows.iter().any(|(_, found)| matches!(found, Found::Bad(_)))
}

pub(super) fn run(arguments: &Arguments) -> Result<Ended> {
    let Command::Check { config } = &arguments.command;
    let rows = check(config, Depth::Whole);
    let text: Vec<String> = rows.iter().map(line).collect();
    tell(arguments.json, text.join("\n"), &value(config, &rows));
    Ok(if can_run(&rows) { Ended::Well } else { Ended::Failed })
}

/// What programs get, of `hsmpoold --check` too.
pub(super) fn value(config: &Path, rows: &[Row]) -> serde_json::Value {
    let one = |(what, found): &Row| json!({ "check": what, "result": found.word(), "told": found.text() });
    let checks: Vec<_> = rows.iter().map(one).collect();
    json!({ "config": config, "can_run": can_run(rows), "checks": checks })
}

/// How far a check goes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Depth {
    /// Everything.
    Whole,
    /// Without opening the database.
    WithoutStore,
}

/// All checks, as far as they can be made.
pub(super) fn check(config: &Path, depth: Depth) -> Vec<Row> {
    let file = match NodeFile::read(config) {
        Ok(file) => file,
        Err(error) => return vec![("configuration", Found::Bad(error.to_string()))],
    };
    let told = format!("{}: node {} of zone {}, pool {}", config.display(), file.node, file.zone, file.pool);
    let mut rows = vec![("configuration", Found::Good(told))];
    let identity = assemble::identity(file.pool, &file.certificates);
    rows.push((
        "certificate",
        match &identity {
            Ok(identity) => certificate(&file, identity),
            Err(error) => Found::Bad(error.to_string()),
        },
    ));
    let key_file = file.root_key_file.clone().unwrap_or_else(|| file.directory.join("hsmpool.key"));
    rows.extend([&key_file, &file.certificates.key].map(|key| ("permissions", secret_file(key))));
    rows.push(("permissions", directory(&file.directory)));
    let store = match depth {
        Depth::Whole => database(&file, &key_file),
        Depth::WithoutStore => root_key(&key_file).map(|_| "the root key can be read".to_string()),
    };
    rows.push(("database", store.map_or_else(|error| Found::Bad(error.to_string()), Found::Good)));
    rows.extend(twice(&file.listen).map(|told| ("address", Found::Bad(told))));
    for address in &file.listen.clients {
        rows.push(("address", listening(&file, address, identity.as_ref().ok())));
    }
    rows.push(("address", of_peers(&file, identity.as_ref().ok())));
    if let Some(place) = &file.listen.operations {
        rows.push(("operations", operations(place)));
    }
    rows
}

fn certificate(file: &NodeFile, identity: &Identity) -> Found {
    let shown = file.certificates.certificate.display();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    if let Err(error) = check_certificate(identity, file.node, now) {
        return Found::Bad(format!("{shown}: {error}"));
    }
    match (identity.expires() - now.as_secs() as i64).div_euclid(24 * 3600) {
        days @ ..ENDS_SOON_DAYS => Found::Warning(format!("{shown} ends in {days} days: `hsmpool cert rotate` makes a new one")),
        days => Found::Good(format!("{shown} is good for {days} days, until {}", day(identity.expires()))),
    }
}

/// A day, as people write it: `2027-01-30`.
pub(super) fn day(seconds: i64) -> String {
    let day = String::from_utf8_lossy(&utc_time(seconds.max(0).cast_unsigned())[..8]).into_owned();
    format!("{}-{}-{}", &day[..4], &day[4..6], &day[6..])
}

/// What is to be listened on by two at once.
fn twice(listen: &Listen) -> Option<String> {
    let operations = listen.operations.as_ref().map(|place| format!("tcp:{place}"));
    let all: Vec<(&str, &str)> = listen
        .clients
        .iter()
        .map(|address| ("listen.clients", &**address))
        .chain([("listen.peers", &*listen.peers)])
        .chain(operations.as_deref().map(|address| ("listen.operations", address)))
        .collect();
    for (at, (key, address)) in all.iter().enumerate() {
        if let Some((other, _)) = all[..at].iter().find(|(_, other)| are_one(address, other)) {
            return Some(format!("{address} of {key} is taken by {other} already: each needs one of its own"));
        }
    }
    None
}

/// Whether two addresses cannot both be listened on: an address of all interfaces takes its port everywhere.
fn are_one(one: &str, other: &str) -> bool {
    let place = |address: &'_ str| address.strip_prefix("tcp:").and_then(|place| place.rsplit_once(':')).map(owned);
    let (Some((host, port)), Some((other_host, other_port))) = (place(one), place(other)) else { return one == other };
    let is_any = |host: &str| matches!(host, "0.0.0.0" | "[::]");
    port == other_port && port != "0" && (host == other_host || is_any(&host) || is_any(&other_host))
}

fn owned((host, port): (&str, &str)) -> (String, String) {
    (host.to_string(), port.to_string())
}

/// A file that nobody but its owner may read.
fn secret_file(path: &Path) -> Found {
    let shown = path.display();
    match fs::metadata(path) {
        Err(error) => Found::Bad(format!("{shown}: {error}")),
        Ok(found) if found.mode() & 0o077 != 0 => {
            Found::Bad(format!("{shown} has mode {:o}: others may read it; chmod 600 {shown}", found.mode() & 0o777))
        }
        Ok(_) => match fs::File::open(path) {
            Ok(_) => Found::Good(format!("{shown} is for its owner only")),
            Err(error) => Found::Bad(format!("{shown} cannot be read by user {}: {error}", user::id())),
        },
    }
}

fn directory(path: &Path) -> Found {
    let shown = path.display();
    match fs::metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => match to_be_made(path) {
            Ok(()) => Found::Good(format!("{shown} is made at the first start")),
            Err(why) => Found::Bad(format!("{shown} is missing and cannot be made: {why}")),
        },
        Err(error) => Found::Bad(format!("{shown}: {error}")),
        Ok(found) if !found.is_dir() => Found::Bad(format!("{shown} is no directory")),
        Ok(found) if found.uid() != user::id() => Found::Bad(format!(
            "{shown} belongs to user {}, and this is user {}: the daemon and this command run as its owner",
            found.uid(),
            user::id()
        )),
        Ok(found) if found.mode() & 0o077 != 0 => {
            Found::Warning(format!("{shown} has mode {:o}: others may look into it; chmod 700 {shown}", found.mode() & 0o777))
        }
        Ok(_) => Found::Good(format!("{shown} is for its owner only")),
    }
}

/// Whether a missing directory can be made. Errors: what is in the way, in words.
fn to_be_made(path: &Path) -> std::result::Result<(), String> {
    let above = path.ancestors().skip(1).find(|above| above.symlink_metadata().is_ok());
    // A relative path without a directory begins here.
    let above = above.filter(|above| !above.as_os_str().is_empty()).unwrap_or(Path::new("."));
    match above.is_dir() {
        false => Err(format!("{} is no directory", above.display())),
        true if user::may_fill(above) => Ok(()),
        true => Err(format!(
            "user {} may not write to {}: make it as root, with this user as its owner (StateDirectory= of the systemd unit does)",
            user::id(),
            above.display()
        )),
    }
}

fn root_key(file: &Path) -> Result<RootKey> {
    load_root_key(&RootKeySource::File(file.to_path_buf()), false, &Real)
}

/// Reads the whole store, if there is one, and holds it against the root key.
fn database(file: &NodeFile, key_file: &Path) -> Result<String> {
    let root_key = root_key(key_file)?;
    if !file.directory.join("hsmpool.db").exists() {
        return Ok("none yet; the root key can be read".to_string());
    }
    let store = Store::open(&file.directory)?;
    store.authenticate(root_key.stamper()?)?;
    let report = store.check()?;
    Ok(format!(
        "{} is sound, and the root key is its own: {} tokens, {} objects, {} changes",
        store.path().display(),
        report.tokens,
        report.objects,
        report.applied
    ))
}

/// Whether an address can be listened on, or is listened on by this very node.
fn listening(file: &NodeFile, text: &str, identity: Option<&Identity>) -> Found {
    match text.parse::<Address>() {
        Err(error) => Found::Bad(error.to_string()),
        Ok(Address::Unix(path)) => socket(&path),
        Ok(Address::Tcp(place)) => match bind(&place) {
            Ok(()) => Found::Good(format!("{text} is free")),
            Err(error) if error.kind() == ErrorKind::AddrInUse => match whose(file, &Address::Tcp(place), identity) {
                Ok(Some(Name::Node(number))) if number == file.node => Found::Good(format!("{text} is this node's, which runs")),
                Ok(Some(other)) => Found::Bad(format!("{text} is used by {}", other.uri(&file.pool.0))),
                Ok(None) => Found::Bad(format!("{text} is used by something that shows no certificate")),
                Err(error) => Found::Bad(format!("{text} is used by another program: {error}")),
            },
            Err(error) => Found::Bad(format!("{text} cannot be listened on: {error}")),
        },
    }
}

/// Nodes know each other by certificates, which a Unix socket has none of.
fn of_peers(file: &NodeFile, identity: Option<&Identity>) -> Found {
    let text = &file.listen.peers;
    match text.parse() {
        Ok(Address::Unix(_)) => {
            Found::Bad(format!("{text} of listen.peers is a Unix socket: other nodes connect by tcp:address:port"))
        }
        _ => listening(file, text, identity),
    }
}

fn bind(place: &str) -> std::io::Result<()> {
    TcpListener::bind(place).map(drop)
}

/// Who listens on an address. Every listener of a node shows the node's certificate to another one of the pool.
fn whose(file: &NodeFile, address: &Address, identity: Option<&Identity>) -> Result<Option<Name>> {
    let identity = identity.ok_or_else(|| refuse(Code::Configuration, "without a certificate it cannot be asked"))?;
    let hello = Hello::new(file.pool.0, Purpose::Peer, file.node);
    let connection = Connection::open(address, Some(identity), &hello, GREETING)?;
    Ok(connection.peer().cloned())
}

fn socket(path: &Path) -> Found {
    let shown = path.display();
    if path.as_os_str().len() > SOCKET_PATH_MAX_BYTES {
        return Found::Bad(format!(
            "unix:{shown} is longer than the {SOCKET_PATH_MAX_BYTES} bytes that a socket's path may have"
        ));
    }
    match connect_unix(path, GREETING) {
        Ok(_) => return Found::Good(format!("unix:{shown} is listened on")),
        Err(error) if error.kind() == ErrorKind::PermissionDenied => return Found::Bad(format!("unix:{shown}: {error}")),
        // Nobody listens: it is missing, or was left behind by a node that ended.
        Err(_) => {}
    }
    match path.parent().map(fs::metadata) {
        Some(Ok(parent)) if parent.is_dir() => Found::Good(format!("unix:{shown} is free")),
        _ => Found::Bad(format!(
            "unix:{shown}: its directory is missing (RuntimeDirectory= of the systemd unit makes /run/hsmpool)"
        )),
    }
}

fn operations(place: &str) -> Found {
    match bind(place) {
        Ok(()) => Found::Good(format!("{place} is free")),
        Err(error) if error.kind() == ErrorKind::AddrInUse => match live(place) {
            Ok(()) => Found::Good(format!("{place} answers as a node does")),
            Err(error) => Found::Bad(format!("{place} is used by another program: {error}")),
        },
        Err(error) => Found::Bad(format!("{place} cannot be listened on: {error}")),
    }
}

/// Errors: `DeviceError`: whoever listens there is no node.
fn live(place: &str) -> Result<()> {
    let doing = || format!("asking {place} whether it lives");
    let address = place.to_socket_addrs().doing(Code::DeviceError, doing())?.next();
    let address = address.ok_or_else(|| refuse(Code::DeviceError, doing()))?;
    let mut http = TcpStream::connect_timeout(&address, GREETING).doing(Code::DeviceError, doing())?;
    http.set_read_timeout(Some(GREETING)).doing(Code::DeviceError, doing())?;
    http.write_all(b"GET /live HTTP/1.0\r\n\r\n").doing(Code::DeviceError, doing())?;
    let mut answer = Vec::new();
    http.take(1024).read_to_end(&mut answer).doing(Code::DeviceError, doing())?;
    match String::from_utf8_lossy(&answer).ends_with("live\n") {
        true => Ok(()),
        false => Err(refuse(Code::DeviceError, doing())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::tests::fixtures::Directory;

    #[test]
    fn addresses_that_take_each_other_s_place_are_found() {
        for (one, other, is_one) in [
            ("tcp:10.0.0.1:7100", "tcp:10.0.0.1:7100", true),
            ("tcp:10.0.0.1:7100", "tcp:10.0.0.1:7101", false),
            ("tcp:10.0.0.1:7100", "tcp:10.0.0.2:7100", false),
            ("tcp:0.0.0.0:7100", "tcp:10.0.0.2:7100", true),
            ("tcp:[::1]:7100", "tcp:[::]:7100", true),
            ("tcp:127.0.0.1:0", "tcp:127.0.0.1:0", false),
            ("unix:/run/a", "unix:/run/a", true),
            ("unix:/run/a", "tcp:127.0.0.1:1", false),
        ] {
            assert_eq!(are_one(one, other), is_one, "{one} {other}");
        }
        let listen = |clients: &[&str], operations: Option<&str>| Listen {
            clients: clients.iter().map(ToString::to_string).collect(),
            peers: "tcp:127.0.0.1:7101".to_string(),
            advertise: None,
            operations: operations.map(str::to_string),
        };
        assert_eq!(twice(&listen(&["unix:/run/a", "tcp:127.0.0.1:7100"], Some("127.0.0.1:7102"))), None);
        let told = twice(&listen(&["tcp:127.0.0.1:7100"], Some("127.0.0.1:7101"))).unwrap();
        assert!(told.contains("listen.peers") && told.contains("listen.operations"), "{told}");
        assert!(twice(&listen(&["tcp:127.0.0.1:7101"], None)).is_some());
    }

    #[test]
    fn a_missing_directory_is_made_only_where_its_parent_is_one() {
        let directory = Directory::new();
        assert_eq!(to_be_made(&directory.path().join("a/b/c")), Ok(()));
        std::fs::write(directory.path().join("file"), "").unwrap();
        assert!(to_be_made(&directory.path().join("file/b")).unwrap_err().contains("is no directory"));
        assert_eq!(day(1_801_267_200), "2027-01-30");
    }
}
