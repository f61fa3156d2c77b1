//! The only place that knows every room: configuration → library.
//!
//! Knows: config, error, log, object, partition, session, store, sys, world.

use std::path::Path;
use std::sync::Arc;

use crate::config::{self, Config, Environment, Mechanisms, PolicyName, Style, logger};
use crate::error::{Level, Result, Sink};
use crate::log::Solo;
use crate::object::policy::Policy;
use crate::partition::{self, LocalAdmin, Partition, RootKeySource};
use crate::session::{Identity, Library, MechanismFilter, Settings};
use crate::store::Store;
use crate::sys::user;
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
    config::load(&Environment::of_process(user::home_of_password_file(), user::is_root()))
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
    let partition = partition(&config)?;
    if config.style == Style::SoftHsm && has_softhsm_tokens(&config.store_dir) {
        let line = format!(
            "{} holds tokens of SoftHSM, which are not used and stay untouched: `hsmpool import-softhsm {0}` brings them over",
            config.store_dir.display()
        );
        log(Level::Warning, &line);
    }
    Ok(Opened {
        library: library(partition, &config)?,
        log,
        carries_on_after_fork: !config.reset_on_fork,
        softhsm_codes: config.style == Style::SoftHsm,
    })
}

/// The embedded token store that the configuration names.
///
/// Errors: `Configuration`, `StoreRefused`.
pub fn partition(config: &Config) -> Result<Arc<Partition>> {
    let world: Arc<dyn World> = Arc::new(Real);
    let store = Arc::new(Store::open(&config.store_dir)?);
    let root_key = match config.root_key {
        true => RootKeySource::File(config.store_dir.join(ROOT_KEY_FILE)),
        false => RootKeySource::None,
    };
    let is_new = store.tokens()?.is_empty();
    let root_key = partition::load_root_key(&root_key, is_new, &*world)?;
    store.authenticate(root_key.stamper()?)?;
    let settings = partition::Settings {
        pin_attempts_max: config.pin_attempts_max,
        policy: match config.policy {
            PolicyName::Compatible => Policy::Compatible,
            PolicyName::Default => Policy::Default,
            PolicyName::Strict => Policy::Strict,
        },
        root_key,
        tickets: false,
    };
    let log = Arc::new(Solo::new(store.clone()));
    Partition::new(store, log, world, settings)
}

/// What an application sees of a partition.
pub fn library(partition: Arc<Partition>, config: &Config) -> Result<Library> {
    let settings = Settings {
        identity: if config.softhsm_identity { Identity::SoftHsm } else { Identity::Hsmpool },
        removable: config.removable,
        mechanisms: match &config.mechanisms {
            Mechanisms::All => MechanismFilter::All,
            Mechanisms::Only(kinds) => MechanismFilter::Only(kinds.clone()),
            Mechanisms::Except(kinds) => MechanismFilter::Except(kinds.clone()),
        },
        softhsm_codes: config.style == Style::SoftHsm,
    };
    Library::new(Arc::new(LocalAdmin(partition)), Arc::new(Real), settings)
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
