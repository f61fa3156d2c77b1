//! Configuration: `hsmpool.toml` and `softhsm2.conf`, read through one table of keys.
//!
//! The first file that is found counts: `HSMPOOL_CONF`, `~/.config/hsmpool/hsmpool.toml`, `/etc/hsmpool/hsmpool.toml`, then SoftHSM's:
//! `SOFTHSM2_CONF`, `~/.config/softhsm2/softhsm2.conf`, `/etc/softhsm/softhsm2.conf`. Without any, the defaults hold.
//!
//! Knows: ck, error, limits, sync, sys.
//! Crates: parking_lot, serde, toml.

mod environment;
pub mod follow;
#[cfg(any(test, fuzzing))]
pub mod hostile;
mod hsmpool;
pub mod logger;
pub mod pool;
mod softhsm;
pub mod table;
#[cfg(test)]
mod tests;

use std::fs::OpenOptions;
use std::path::{Path, PathBuf};

use parking_lot::Mutex;

use crate::ck::MechanismType;
use crate::error::{Code, Doing, Error, Level, Result, refuse};
use crate::limits::PIN_ATTEMPTS_MAX_DEFAULT;
use crate::sys::user;

pub use environment::Environment;
use environment::Found;

/// Where log lines go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogTarget {
    /// The system's log, facility `daemon`.
    Syslog,
    /// Standard error.
    Stderr,
    /// A file, appended to.
    File(PathBuf),
}

/// Which of the two families of files was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// `hsmpool.toml`, or no file at all.
    Hsmpool,
    /// `softhsm2.conf`: SoftHSM's behaviour where the two differ.
    SoftHsm,
}

/// The name of a token policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "each is what its name says")]
pub enum PolicyName {
    Compatible,
    Default,
    Strict,
}

impl PolicyName {
    /// Each with its name in configurations and commands.
    pub const NAMES: &[(&str, Self)] = &[("compatible", Self::Compatible), ("default", Self::Default), ("strict", Self::Strict)];
}

impl std::fmt::Display for PolicyName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        Self::NAMES.iter().filter(|(_, policy)| policy == self).try_for_each(|(name, _)| f.write_str(name))
    }
}

impl std::str::FromStr for PolicyName {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let found = Self::NAMES.iter().find(|(name, _)| *name == text);
        found.map(|(_, policy)| *policy).ok_or_else(|| format!("{text:?} is no policy: compatible, default or strict"))
    }
}

/// Mechanisms that are offered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Mechanisms {
    /// Every one that we have.
    #[default]
    All,
    /// These only.
    Only(Vec<MechanismType>),
    /// All but these.
    Except(Vec<MechanismType>),
}

/// Everything that can be configured, each with its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The file that was read.
    pub source: Option<PathBuf>,
    /// Its family.
    pub style: Style,
    /// The directory of `hsmpool.db`.
    pub store_dir: PathBuf,
    /// Whether the module calls itself SoftHSM.
    pub softhsm_identity: bool,
    /// Policy of new tokens.
    pub policy: PolicyName,
    /// `CKF_REMOVABLE_DEVICE` on slots.
    pub removable: bool,
    /// Mechanisms that are offered.
    pub mechanisms: Mechanisms,
    /// Whether a forked child is as if not initialised.
    pub reset_on_fork: bool,
    /// Wrong PINs in a row that lock the user of a new token; 0 never locks.
    pub pin_attempts_max: u32,
    /// The description of a pool that stands behind the module, in place of a store.
    pub pool_file: Option<PathBuf>,
    /// The configuration of a node that runs in this process.
    pub peer_file: Option<PathBuf>,
    /// Whether the store hangs on a root key.
    pub root_key: bool,
    /// The root key's file, if it is not the one beside the store.
    pub root_key_file: Option<PathBuf>,
    /// How much is logged.
    pub log_level: Level,
    /// Where to; the system's log if nothing says.
    pub log_target: Option<LogTarget>,
    /// What was strange and did not matter: to be logged as warnings.
    pub warnings: Vec<String>,
}

/// What was read last in this process, or in the one that forked it.
static READ: Mutex<Option<Config>> = Mutex::new(None);

/// This process's configuration. A child that was root's and is somebody else's means what its parent has read: it may not be able to read that.
///
/// Errors: as [`load`].
pub fn of_process() -> Result<Config> {
    let environment = Environment::of_process();
    let was_root = environment.root && !user::is_root();
    if let Some(of_parent) = READ.try_lock().and_then(|read| read.clone().filter(|_| was_root)) {
        // The log file may be root's alone; the system's log takes what everybody has to say.
        let is_open_to_us = |file: &PathBuf| OpenOptions::new().append(true).open(file).is_ok();
        let log_target = of_parent.log_target.filter(|target| !matches!(target, LogTarget::File(file) if !is_open_to_us(file)));
        return Ok(Config { log_target, ..of_parent });
    }
    let config = load(&environment)?;
    if let Some(mut read) = READ.try_lock() {
        *read = Some(config.clone());
    }
    Ok(config)
}

/// Finds and reads the configuration.
///
/// Errors: `Configuration`, naming file, line and key, and what would be right.
pub fn load(environment: &Environment) -> Result<Config> {
    let mut config = match environment.find() {
        None => Config::defaults(environment, Style::Hsmpool, None),
        Some(found) => read(environment, &found)?,
    };
    if let Some(level) = &environment.hsmpool_log {
        config.log_level = table::level_named(level).ok_or_else(|| {
            refuse(Code::Configuration, format!("HSMPOOL_LOG is {level:?}; it is error, warning, info or debug"))
        })?;
        config.log_target.get_or_insert(LogTarget::Stderr);
    }
    Ok(config)
}

fn read(environment: &Environment, found: &Found) -> Result<Config> {
    let path = &found.path;
    let named = found.variable.map(|variable| format!(", which {variable} names")).unwrap_or_default();
    let doing = || format!("reading the configuration file {}{named}", path.display());
    let bytes = std::fs::read(path).doing(Code::Configuration, doing())?;
    let mut config = Config::defaults(environment, found.style, Some(path.clone()));
    match found.style {
        Style::Hsmpool => {
            let text = std::str::from_utf8(&bytes).doing(Code::Configuration, doing())?;
            hsmpool::read(path, text, environment.home.as_deref(), &mut config)?;
        }
        Style::SoftHsm => softhsm::read(path, &bytes, &mut config)?,
    }
    Ok(config)
}

impl Config {
    /// What holds where nothing says otherwise.
    fn defaults(environment: &Environment, style: Style, source: Option<PathBuf>) -> Self {
        Self {
            source,
            style,
            store_dir: match style {
                Style::Hsmpool => environment.default_store(),
                Style::SoftHsm => PathBuf::from("/var/lib/softhsm/tokens"),
            },
            softhsm_identity: false,
            policy: match style {
                Style::Hsmpool => PolicyName::Default,
                Style::SoftHsm => PolicyName::Compatible,
            },
            removable: false,
            mechanisms: Mechanisms::All,
            reset_on_fork: style == Style::Hsmpool,
            pin_attempts_max: PIN_ATTEMPTS_MAX_DEFAULT,
            pool_file: None,
            peer_file: None,
            root_key: true,
            root_key_file: None,
            log_level: Level::Warning,
            log_target: None,
            warnings: Vec::new(),
        }
    }
}

/// A place in a file, for messages.
struct Place<'a> {
    file: &'a Path,
    line: usize,
    key: &'a str,
}

impl Place<'_> {
    fn sentence(&self, what: impl std::fmt::Display) -> String {
        format!("{}, line {}: {}: {what}", self.file.display(), self.line, self.key)
    }

    fn refuse(&self, what: impl std::fmt::Display) -> Error {
        refuse(Code::Configuration, self.sentence(what))
    }

    /// Gives the key of this place its value; new warnings get the place's name.
    fn set(&self, config: &mut Config, key: &table::Key, text: &str) -> Result<()> {
        let warnings = config.warnings.len();
        (key.set)(config, text).map_err(|what| self.refuse(what))?;
        config.warnings[warnings..].iter_mut().for_each(|what| *what = self.sentence(&*what));
        Ok(())
    }
}
