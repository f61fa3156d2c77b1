//! The only place that knows every room: configuration → library, configuration → node.
//!
//! Knows: config, error, limits, log, node, object, partition, pool, secret, session, store, sys, token, wire, world.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::config::follow::Followed;
use crate::config::pool::{Certificates, Consistency, NodeEntry, NodeFile, PoolFile, PoolId};
use crate::config::{self, Config, Mechanisms, PolicyName, Style, logger};
use crate::error::{Code, Doing, Level, Result, Sink, refuse};
use crate::limits::CLAIM_WAIT_MILLISECONDS;
use crate::log::Solo;
use crate::log::raft::Member;
use crate::node::{Caller, Node, NodeSettings};
use crate::object::policy::Policy;
use crate::partition::{self, LocalAdmin, Partition, RootKeySource};
use crate::pool::{Beside, Entry, Link, Newest, Pool, PooledAdmin, View, Wires};
use crate::secret::Secret;
use crate::session::{self, Library, MechanismFilter, Settings};
use crate::store::Store;
use crate::sys::claim::Claim;
use crate::sys::process::PerProcess;
use crate::sys::signals::Blocked;
use crate::sys::user;
use crate::token::Admin;
use crate::wire::{Address, Files, Identity, Name, Renewal};
use crate::world::{Real, World};

/// How often a directory is looked at that another process has.
const CLAIM_LOOK_AGAIN: Duration = Duration::from_millis(10);
/// Name of the root key's file, beside the database.
const ROOT_KEY_FILE: &str = "hsmpool.key";

/// A library, and how the module that shows it behaves towards its host.
pub struct Opened {
    /// What the C functions call.
    pub library: Library,
    /// Where failed calls are explained.
    pub log: Sink,
    /// Whether a forked child carries on with what its parent has, or is as if not initialised.
    pub carries_on_after_fork: bool,
    /// Whether mechanism parameters are refused with SoftHSM's codes.
    pub softhsm_codes: bool,
    /// The node in this process. Last: it is stopped when the library is gone.
    pub peer: Option<Arc<Peer>>,
}

/// A node in an application's process, stopped when this is dropped. A forked child has none: its threads are the parent's.
pub struct Peer {
    node: PerProcess<Option<Arc<Node>>>,
    /// The application, as the node knows it.
    caller: Caller,
    file: NodeFile,
}

impl Peer {
    fn new(node: Arc<Node>, caller: Caller, file: NodeFile) -> Self {
        // Whoever asks a second time is a child.
        let first = Mutex::new(Some(node));
        let take = move || first.lock().unwrap_or_else(PoisonError::into_inner).take();
        Self { node: PerProcess::new(take), caller, file }
    }

    fn at_once(&self, request: &[u8]) -> Option<Secret> {
        self.node.get().as_ref()?.at_once(&self.caller, request)
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        if let Some(node) = self.node.get() {
            node.stop();
        }
    }
}

/// This process's configuration. Errors: `Configuration`.
pub fn configuration() -> Result<Config> {
    config::of_process()
}

/// Opens what the configuration says.
///
/// Errors: `Configuration`, `StoreRefused`.
pub fn open() -> Result<Opened> {
    let config = configuration()?;
    let log = logger::sink(&config)?;
    for warning in &config.warnings {
        log(Level::Warning, warning);
    }
    log(Level::Debug, &whence(&config));
    let peer = peer(&config, &log)?.map(Arc::new);
    // A node in the process knows its zone by itself.
    if let (Some(file), None) = (&config.pool_file, &peer)
        && let Some(warning) = PoolFile::read(file)?.warning()
    {
        log(Level::Warning, &format!("{}: {warning}", file.display()));
    }
    let admin: Arc<dyn Admin> = match &config.pool_file {
        Some(file) => Arc::new(pool(file, peer.clone(), [logger::sink(&config)?, logger::sink(&config)?])?),
        None => admin(&config)?,
    };
    if config.style == Style::SoftHsm && has_softhsm_tokens(&config.store_dir) {
        let line = format!(
            "{} holds tokens of SoftHSM, which are not used and stay untouched: `hsmpool import-softhsm {0}` brings them over",
            config.store_dir.display()
        );
        log(Level::Warning, &line);
    }
    Ok(Opened {
        library: library(admin, &config)?,
        log,
        carries_on_after_fork: !config.reset_on_fork,
        softhsm_codes: config.style == Style::SoftHsm,
        peer,
    })
}

/// Which file was read, and where the tokens are.
fn whence(config: &Config) -> String {
    let read = config
        .source
        .as_ref()
        .map_or("no configuration file was found".to_string(), |file| format!("configuration {}", file.display()));
    let kept = config
        .pool_file
        .as_ref()
        .map_or(format!("store in {}", config.store_dir.display()), |file| format!("pool {}", file.display()));
    format!("C_Initialize: {read}; {kept}")
}

/// The tokens that the configuration names: a pool's, as a client of it, or those of an embedded store.
///
/// Errors: `Configuration`, `StoreRefused`.
pub fn admin(config: &Config) -> Result<Arc<dyn Admin>> {
    match &config.pool_file {
        // Whoever asks here is gone before a certificate can end.
        Some(file) => Ok(Arc::new(pool(file, None, [Box::new(|_, _| {}), Box::new(|_, _| {})])?)),
        None => Ok(Arc::new(LocalAdmin(partition(config)?))),
    }
}

/// The embedded token store that the configuration names.
///
/// Errors: `Configuration` (also where it names a pool), `StoreRefused`.
pub fn partition(config: &Config) -> Result<Arc<Partition>> {
    if let Some(file) = &config.pool_file {
        let told = format!("the configuration names a pool ({}), and this works on an embedded store only", file.display());
        return Err(refuse(Code::Configuration, told + ": name another configuration with HSMPOOL_CONF"));
    }
    let world: Arc<dyn World> = Arc::new(Real);
    let store = Arc::new(Store::open(&config.store_dir)?);
    let key_file = || config.root_key_file.clone().unwrap_or_else(|| config.store_dir.join(ROOT_KEY_FILE));
    let root_key_file = config.root_key.then(key_file);
    let root_key = root_key_file.clone().map_or(RootKeySource::None, RootKeySource::File);
    let is_new = store.tokens()?.is_empty();
    let root_key = partition::load_root_key(&root_key, is_new, &*world)?;
    store.authenticate(root_key.stamper()?)?;
    store.serve_on(root_key_file.as_deref())?;
    let settings = partition::Settings {
        pin_attempts_max: config.pin_attempts_max,
        policy: policy(config.policy),
        root_key,
        tickets: false,
    };
    let log = Arc::new(Solo::new(store.clone()));
    Partition::new(store, log, world, settings)
}

/// The pool that a module's description names; nothing is connected yet. `peer`: the node in this process, which is asked first. `logs`: told of the
/// application's certificate, and of nodes that come and go.
///
/// Errors: `Configuration`.
fn pool(file: &Path, peer: Option<Arc<Peer>>, logs: [Sink; 2]) -> Result<PooledAdmin> {
    let [of_certificate, of_nodes] = logs;
    let followed = Followed::begin(file, of_nodes)?;
    let pool = followed.first().clone();
    let files = pool.certificates.as_ref().map(|certificates| files(pool.pool, certificates));
    let identity = files.map(|files| Renewal::begin(files, of_certificate)).transpose()?;
    let own = peer.as_ref().map(|peer| own_entry(&pool.node, &peer.file)).transpose()?;
    let nodes = entries(&pool.node, own.as_ref())?;
    let zone = peer.as_ref().map_or(pool.zone, |peer| peer.file.zone.clone());
    let mut view = View::new(zone, nodes.iter().map(Entry::place).collect());
    view.mark_is_enough = pool.consistency == Consistency::Session;
    view.nearest = own.as_ref().and_then(|own| nodes.iter().position(|entry| entry == own));
    let nearest = view.nearest;
    let newest: Newest = Box::new(move |take| followed.look(|read| take(entries(&read.node, own.as_ref())?)));
    let wires = Wires::new(pool.pool.0, nodes, identity, Some(newest));
    let link: Box<dyn Link> = match (nearest, peer) {
        (Some(nearest), Some(peer)) => Box::new(Beside::new(nearest, Box::new(move |request| peer.at_once(request)), wires)),
        _ => Box::new(wires),
    };
    PooledAdmin::new(Pool::new(view, link, Arc::new(Real)))
}

/// The nodes of a file. `own`: that in this process, which is there whether the file names it or not, and by whatever words. Errors: `Configuration`.
fn entries(nodes: &[NodeEntry], own: Option<&Entry>) -> Result<Vec<Entry>> {
    let is_own = |entry: &Entry| own.is_some_and(|own| entry.addresses.iter().any(|address| own.addresses.contains(address)));
    let mut entries = nodes.iter().map(entry).collect::<Result<Vec<_>>>()?;
    entries.retain(|entry| !is_own(entry));
    entries.extend(own.cloned());
    Ok(entries)
}

fn entry(node: &NodeEntry) -> Result<Entry> {
    let addresses = node.addresses.iter().map(|address| address.parse()).collect::<Result<_>>()?;
    Ok(Entry { node: node.node, zone: node.zone.clone(), addresses })
}

/// The node in this process, as the application's file names it, or else as its own does. Errors: `Configuration`.
fn own_entry(nodes: &[NodeEntry], file: &NodeFile) -> Result<Entry> {
    let listens = &file.listen.clients;
    let named = nodes.iter().find(|node| node.addresses.iter().any(|address| listens.contains(address)));
    let own = || NodeEntry { node: Some(file.node), zone: file.zone.clone(), addresses: listens.clone() };
    entry(named.unwrap_or(&own()))
}

/// The node that the configuration puts into this process. `None` also where another process runs it, and where it cannot run: then the application
/// goes on as a client of the pool, and the log says why.
///
/// Errors: `Configuration`: files that cannot be read or do not fit together.
fn peer(config: &Config, log: &Sink) -> Result<Option<Peer>> {
    let Some(path) = &config.peer_file else { return Ok(None) };
    let Some(pool_file) = &config.pool_file else {
        return Err(refuse(Code::Configuration, "pool.peer needs pool.file: the other nodes of the pool are named there"));
    };
    let (file, pool) = (NodeFile::read(path)?, PoolFile::read(pool_file)?);
    if file.pool != pool.pool {
        let told =
            format!("{} and {} are of different pools: {} and {}", path.display(), pool_file.display(), file.pool, pool.pool);
        return Err(refuse(Code::Configuration, told));
    }
    let caller = own_caller(&pool, &file)?;
    let what = format!("node {} of zone {}", file.node, file.zone);
    // The node's threads leave the host's signals to the host.
    let _blocked = Blocked::here();
    let started = claim(&file).and_then(|claim| claim.map(|claim| start(&file, claim, true)).transpose());
    match started {
        Ok(Some(node)) => {
            let node = Arc::new(node);
            let peer = Peer::new(node.clone(), caller, file);
            watch(&node, what, config)?;
            Ok(Some(peer))
        }
        Ok(None) => {
            log(Level::Info, &format!("{what} runs in another process: this one is a client of the pool"));
            Ok(None)
        }
        Err(error) => {
            log(Level::Error, &format!("{what} does not run, and this process is a client of the pool only: {error}"));
            Ok(None)
        }
    }
}

/// The node's events go to the log; so does the end of its own log, which is not the end of the application.
fn watch(node: &Arc<Node>, what: String, config: &Config) -> Result<()> {
    let (weak, log, has_failed) = (Arc::downgrade(node), logger::sink(config)?, AtomicBool::new(false));
    node.watch(logger::sink(config)?, move || {
        let Some(node) = weak.upgrade() else { return };
        node.take_renewed();
        if let Some(why) = node.poisoned().filter(|_| !has_failed.swap(true, Ordering::Relaxed)) {
            log(
                Level::Error,
                &format!("{what} has failed, and other nodes serve: start the application anew to bring it back: {why}"),
            );
        }
    })
}

/// As whom the application asks the node in its process: as over the wire, where its logins must be good as well.
fn own_caller(pool: &PoolFile, node: &NodeFile) -> Result<Caller> {
    let own = user::id();
    let caller = |name: String, tokens| Caller { name: Arc::from(name), tokens, operates: false };
    let by_user =
        unix_users(node).remove(&own).filter(|_| node.listen.clients.iter().any(|address| address.starts_with("unix:")));
    let by_certificate = pool.certificates.as_ref().map(|files| identity(pool.pool, files)?.own_name()).transpose()?;
    let told = match (by_user, by_certificate) {
        (Some(user), Some(Name::Client { name, .. })) if user != name => {
            format!(
                "the application's certificate is of client {name}, and unix_users calls user {own} {user}: logins go by the name"
            )
        }
        (_, Some(other @ (Name::Node(_) | Name::Operator(_)))) => {
            format!("the application's certificate is {}, no client's", other.uri(&pool.pool.0))
        }
        (Some(user), _) => return Ok(caller(user, None)),
        (None, Some(Name::Client { name, tokens })) => return Ok(caller(name, tokens)),
        (None, None) => format!("the application has no certificate, and user {own} is not among unix_users"),
    };
    Err(refuse(Code::Configuration, told))
}

/// A certificate with the authority of its pool, and what that has revoked. Errors: `Configuration`.
pub fn identity(pool: PoolId, certificates: &Certificates) -> Result<Identity> {
    Identity::of(&files(pool, certificates))
}

fn files(pool: PoolId, certificates: &Certificates) -> Files {
    let Certificates { ca, certificate, key, crl } = certificates.clone();
    Files { pool: pool.0, ca, certificate, key, crl }
}

/// Starts the node that a file describes.
///
/// Errors: `Configuration`, also where another process runs it; `StoreRefused`, `DeviceError`.
pub fn node(file: &NodeFile) -> Result<Node> {
    // A process that was killed keeps its files until its last thread has ended, and whoever starts it again may be quicker.
    let begun = Instant::now();
    loop {
        if let Some(claim) = claim(file)? {
            return start(file, claim, false);
        }
        if begun.elapsed() >= Duration::from_millis(CLAIM_WAIT_MILLISECONDS) {
            return Err(refuse(
                Code::Configuration,
                format!("another process runs the node of {}: stop it, or name another directory", file.directory.display()),
            ));
        }
        std::thread::sleep(CLAIM_LOOK_AGAIN);
    }
}

fn claim(file: &NodeFile) -> Result<Option<Claim>> {
    Claim::take(&file.directory).doing(Code::StoreRefused, format!("claiming {}", file.directory.display()))
}

fn start(file: &NodeFile, claim: Claim, is_peer: bool) -> Result<Node> {
    let world: Arc<dyn World> = Arc::new(Real);
    let store = Arc::new(Store::open(&file.directory)?);
    let key_file = file.root_key_file.clone().unwrap_or_else(|| file.directory.join(ROOT_KEY_FILE));
    // A node never makes the key: each would make another one.
    let root_key = partition::load_root_key(&RootKeySource::File(key_file), false, &*world)?;
    store.authenticate(root_key.stamper()?)?;
    let listen = &file.listen;
    let clients = listen.clients.iter().map(|address| address.parse()).collect::<Result<Vec<Address>>>()?;
    let peers: Address = listen.peers.parse()?;
    if matches!(peers, Address::Unix(_)) {
        let told =
            format!("listen.peers: {peers} is a Unix socket, over which no node can show its certificate: tcp:address:port");
        return Err(refuse(Code::Configuration, told));
    }
    let (pool, certificates) = (file.pool, file.certificates.clone());
    let settings = NodeSettings {
        pool: pool.0,
        node: file.node,
        member: Member {
            zone: file.zone.clone(),
            region: file.region.clone(),
            address: listen.advertise.clone().unwrap_or_else(|| listen.peers.clone()),
        },
        directory: file.directory.clone(),
        clients,
        peers,
        operations: listen.operations.clone(),
        webhooks: file.webhooks.clone(),
        webhook_ca: file.webhook_ca.clone(),
        isolated_use: Duration::from_secs(file.isolated_use),
        unix_users: unix_users(file),
        own_user: user::id(),
        identity: Box::new(move || identity(pool, &certificates)),
        is_peer,
        partition: partition::Settings {
            pin_attempts_max: file.pin_attempts_max,
            policy: policy(file.policy),
            root_key,
            tickets: true,
        },
    };
    Node::start(settings, claim, store, world)
}

/// Users of this machine and the clients that they are.
fn unix_users(file: &NodeFile) -> BTreeMap<u32, String> {
    match file.unix_users.is_empty() {
        true => [(user::id(), "local".to_string())].into(),
        false => file.unix_users.iter().filter_map(|(id, name)| Some((id.parse().ok()?, name.clone()))).collect(),
    }
}

fn policy(name: PolicyName) -> Policy {
    match name {
        PolicyName::Compatible => Policy::Compatible,
        PolicyName::Default => Policy::Default,
        PolicyName::Strict => Policy::Strict,
    }
}

/// What an application sees of its tokens.
pub fn library(admin: Arc<dyn Admin>, config: &Config) -> Result<Library> {
    let settings = Settings {
        identity: if config.softhsm_identity { session::Identity::SoftHsm } else { session::Identity::Hsmpool },
        removable: config.removable,
        mechanisms: match &config.mechanisms {
            Mechanisms::All => MechanismFilter::All,
            Mechanisms::Only(kinds) => MechanismFilter::Only(kinds.clone()),
            Mechanisms::Except(kinds) => MechanismFilter::Except(kinds.clone()),
        },
        softhsm_codes: config.style == Style::SoftHsm,
    };
    Library::new(admin, Arc::new(Real), settings)
}

/// Where a failure is explained while there is no library: as the configuration says if that can be read, otherwise standard error,
/// since a configuration that cannot be read is what somebody must be told of.
pub fn fallback_log() -> Sink {
    let configured = configuration().and_then(|config| logger::sink(&config));
    configured.unwrap_or_else(|_| {
        Box::new(|level, line| {
            if level <= Level::Warning {
                eprintln!("hsmpool: {line}")
            }
        })
    })
}

fn has_softhsm_tokens(directory: &Path) -> bool {
    let Ok(entries) = std::fs::read_dir(directory) else { return false };
    entries.flatten().any(|entry| ["token.object", "sqlite3.db"].iter().any(|name| entry.path().join(name).is_file()))
}
