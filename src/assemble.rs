//! The only place that knows every room: configuration → library, configuration → node.
//!
//! Knows: config, error, log, node, object, partition, pool, session, store, sys, token, wire, world.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::config::pool::{Certificates, Consistency, NodeFile, PoolFile, PoolId};
use crate::config::{self, Config, Environment, Mechanisms, PolicyName, Style, logger};
use crate::error::{Code, Level, Result, Sink, refuse};
use crate::log::Solo;
use crate::log::raft::Member;
use crate::node::{Node, NodeSettings};
use crate::object::policy::Policy;
use crate::partition::{self, LocalAdmin, Partition, RootKeySource};
use crate::pool::{Place, Pool, PooledAdmin, View, Wires};
use crate::session::{self, Library, MechanismFilter, Settings};
use crate::store::Store;
use crate::sys::user;
use crate::token::Admin;
use crate::wire::{Address, Identity};
use crate::world::{Real, World};

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
}

/// This process's configuration. Errors: `Configuration`.
pub fn configuration() -> Result<Config> {
    config::load(&Environment::of_process())
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
    let admin = admin(&config)?;
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

/// The tokens that the configuration names: a pool's, or those of an embedded store.
///
/// Errors: `Configuration`, `StoreRefused`.
pub fn admin(config: &Config) -> Result<Arc<dyn Admin>> {
    match &config.pool_file {
        Some(_) if !config.reset_on_fork => Err(refuse(
            Code::Configuration,
            "library.reset_on_fork = false does not go with a pool: parent and child would give their changes the same names",
        )),
        Some(file) => Ok(Arc::new(pool(file)?)),
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
    let root_key = match config.root_key {
        true => RootKeySource::File(config.root_key_file.clone().unwrap_or_else(|| config.store_dir.join(ROOT_KEY_FILE))),
        false => RootKeySource::None,
    };
    let is_new = store.tokens()?.is_empty();
    let root_key = partition::load_root_key(&root_key, is_new, &*world)?;
    store.authenticate(root_key.stamper()?)?;
    let settings = partition::Settings {
        pin_attempts_max: config.pin_attempts_max,
        policy: policy(config.policy),
        root_key,
        tickets: false,
    };
    let log = Arc::new(Solo::new(store.clone()));
    Partition::new(store, log, world, settings)
}

/// The pool that a module's description names. Nothing is connected yet.
///
/// Errors: `Configuration`.
pub fn pool(file: &Path) -> Result<PooledAdmin> {
    let pool = PoolFile::read(file)?;
    let identity = pool.certificates.as_ref().map(|files| identity(pool.pool, files)).transpose()?;
    let (places, ways): (Vec<_>, Vec<_>) = pool
        .node
        .iter()
        .map(|node| {
            let place = Place { zone: node.zone.clone(), name: node.addresses.join(", ") };
            let addresses: Result<Vec<Address>> = node.addresses.iter().map(|address| address.parse()).collect();
            addresses.map(|addresses| (place, addresses))
        })
        .collect::<Result<Vec<_>>>()?
        .into_iter()
        .unzip();
    let wires = Wires::new(pool.pool.0, ways, identity);
    let mut view = View::new(pool.zone, places);
    view.mark_is_enough = pool.consistency == Consistency::Session;
    PooledAdmin::new(Pool::new(view, Box::new(wires), Arc::new(Real)))
}

/// A certificate with the authority of its pool. Errors: `Configuration`.
pub fn identity(pool: PoolId, files: &Certificates) -> Result<Identity> {
    Identity::read(pool.0, &files.ca, &files.certificate, &files.key)
}

/// Starts the node that a file describes.
///
/// Errors: `Configuration`, `StoreRefused`, `DeviceError`.
pub fn node(file: &NodeFile) -> Result<Node> {
    let world: Arc<dyn World> = Arc::new(Real);
    let store = Arc::new(Store::open(&file.directory)?);
    let key_file = file.root_key_file.clone().unwrap_or_else(|| file.directory.join(ROOT_KEY_FILE));
    // A node never makes the key: each would make another one.
    let root_key = partition::load_root_key(&RootKeySource::File(key_file), false, &*world)?;
    store.authenticate(root_key.stamper()?)?;
    let listen = &file.listen;
    let clients = listen.clients.iter().map(|address| address.parse()).collect::<Result<Vec<Address>>>()?;
    let unix_users = match file.unix_users.is_empty() {
        true => [(user::id(), "local".to_string())].into(),
        false => file.unix_users.iter().filter_map(|(id, name)| Some((id.parse().ok()?, name.clone()))).collect(),
    };
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
        peers: listen.peers.parse()?,
        operations: listen.operations.clone(),
        webhooks: file.webhooks.clone(),
        webhook_ca: file.webhook_ca.clone(),
        isolated_use: Duration::from_secs(file.isolated_use),
        unix_users,
        own_user: user::id(),
        identity: Box::new(move || identity(pool, &certificates)),
        partition: partition::Settings {
            pin_attempts_max: file.pin_attempts_max,
            policy: policy(file.policy),
            root_key,
            tickets: true,
        },
    };
    Node::start(settings, store, world)
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
