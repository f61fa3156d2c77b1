//! Configuration: `hsmpool.toml` and `softhsm2.conf`, read through one table of keys.
//!
//! The first file that is found counts: `HSMPOOL_CONF`, `~/.config/hsmpool/hsmpool.toml`, `/etc/hsmpool/hsmpool.toml`, then SoftHSM's:
//! `SOFTHSM2_CONF`, `~/.config/softhsm2/softhsm2.conf`, `/etc/softhsm/softhsm2.conf`. Without any, the defaults hold.
//!
//! Knows: ck, error, limits, sys.
//! Crates: serde, toml.

mod hsmpool;
pub mod logger;
pub mod pool;
mod softhsm;
pub mod table;

use std::path::{Path, PathBuf};

use crate::ck::MechanismType;
use crate::error::{Code, Doing, Error, Level, Result, refuse};

/// Where log lines go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum LogTarget {
    /// The system's log, facility `daemon`.
    #[default]
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
    /// Whether a root key file stands beside the store.
    pub root_key: bool,
    /// How much is logged.
    pub log_level: Level,
    /// Where to.
    pub log_target: LogTarget,
    /// What was strange and did not matter: to be logged as warnings.
    pub warnings: Vec<String>,
}

/// What the configuration depends on, as a value.
#[derive(Clone, Debug, Default)]
pub struct Environment {
    /// `HSMPOOL_CONF`.
    pub hsmpool_conf: Option<PathBuf>,
    /// `SOFTHSM2_CONF`.
    pub softhsm2_conf: Option<PathBuf>,
    /// `HSMPOOL_LOG`: a level, over what the file says; to standard error unless the file names a target.
    pub hsmpool_log: Option<String>,
    /// `HOME`, or the home directory of the password file.
    pub home: Option<PathBuf>,
    /// Whether the process runs as root.
    pub root: bool,
    /// `/etc`, elsewhere in tests.
    pub etc: PathBuf,
}

impl Environment {
    /// This process's own.
    pub fn of_process(home_of_password_file: Option<PathBuf>, root: bool) -> Self {
        let path = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        Self {
            hsmpool_conf: path("HSMPOOL_CONF"),
            softhsm2_conf: path("SOFTHSM2_CONF"),
            hsmpool_log: std::env::var("HSMPOOL_LOG").ok().filter(|level| !level.is_empty()),
            home: path("HOME").or(home_of_password_file),
            root,
            etc: PathBuf::from("/etc"),
        }
    }

    /// Where the store is when nothing says: `/var/lib/hsmpool` for root, `~/.local/share/hsmpool` for others.
    fn default_store(&self) -> PathBuf {
        match &self.home {
            Some(home) if !self.root => home.join(".local/share/hsmpool"),
            _ => PathBuf::from("/var/lib/hsmpool"),
        }
    }
}

/// Finds and reads the configuration.
///
/// Errors: `Configuration`, naming file, line and key, and what would be right.
pub fn load(environment: &Environment) -> Result<Config> {
    let mut config = match find(environment) {
        None => defaults(environment, Style::Hsmpool, None),
        Some((path, style)) => {
            let text = std::fs::read_to_string(&path)
                .doing(Code::Configuration, format!("reading the configuration file {}", path.display()))?;
            let mut config = defaults(environment, style, Some(path.clone()));
            match style {
                Style::Hsmpool => hsmpool::read(&path, &text, &mut config)?,
                Style::SoftHsm => softhsm::read(&path, &text, &mut config)?,
            }
            config
        }
    };
    if let Some(level) = &environment.hsmpool_log {
        config.log_level = level_named(level).ok_or_else(|| {
            refuse(Code::Configuration, format!("HSMPOOL_LOG is {level:?}; it is error, warning, info or debug"))
        })?;
        if config.log_target == LogTarget::Syslog {
            config.log_target = LogTarget::Stderr;
        }
    }
    Ok(config)
}

fn find(environment: &Environment) -> Option<(PathBuf, Style)> {
    let in_home = |path: &str| environment.home.as_ref().map(|home| home.join(path));
    let there = |path: &PathBuf| path.is_file();
    // A file that a variable names counts even if it is not there: the error then says so.
    let ours = environment
        .hsmpool_conf
        .clone()
        .or_else(|| in_home(".config/hsmpool/hsmpool.toml").filter(there))
        .or_else(|| Some(environment.etc.join("hsmpool/hsmpool.toml")).filter(there));
    if let Some(path) = ours {
        return Some((path, Style::Hsmpool));
    }
    let softhsm = environment
        .softhsm2_conf
        .clone()
        .or_else(|| in_home(".config/softhsm2/softhsm2.conf").filter(there))
        .or_else(|| Some(environment.etc.join("softhsm/softhsm2.conf")).filter(there));
    softhsm.map(|path| (path, Style::SoftHsm))
}

fn defaults(environment: &Environment, style: Style, source: Option<PathBuf>) -> Config {
    Config {
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
        pin_attempts_max: 10,
        pool_file: None,
        root_key: true,
        log_level: Level::Warning,
        log_target: LogTarget::default(),
        warnings: Vec::new(),
    }
}

/// A place in a file, for messages.
pub(crate) struct Place<'a> {
    file: &'a Path,
    line: usize,
    key: &'a str,
}

impl Place<'_> {
    fn refuse(&self, what: impl std::fmt::Display) -> Error {
        refuse(Code::Configuration, format!("{}, line {}: {}: {what}", self.file.display(), self.line, self.key))
    }
}

/// Gives one key its value. The text has the key's type already if the file's format has types.
fn set(config: &mut Config, place: &Place<'_>, text: &str) -> Result<()> {
    let flag = || match text {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(place.refuse(format!("{text:?} is neither true nor false"))),
    };
    match place.key {
        "store.directory" | "directories.tokendir" => config.store_dir = PathBuf::from(text),
        "identity" => {
            config.softhsm_identity = match text {
                "hsmpool" => false,
                "softhsm" => true,
                _ => return Err(place.refuse(format!("{text:?} is neither \"hsmpool\" nor \"softhsm\""))),
            }
        }
        "token.policy" => {
            config.policy = match text {
                "compatible" => PolicyName::Compatible,
                "default" => PolicyName::Default,
                "strict" => PolicyName::Strict,
                _ => return Err(place.refuse(format!("{text:?} is not \"compatible\", \"default\" or \"strict\""))),
            }
        }
        "token.pin_attempts_max" => {
            config.pin_attempts_max =
                text.parse().map_err(|error| place.refuse(format!("{text:?} is no number of attempts")).because(error))?
        }
        "pool.file" => {
            config.pool_file = Some(place.file.parent().map_or_else(|| PathBuf::from(text), |directory| directory.join(text)))
        }
        "slots.removable" => config.removable = flag()?,
        "slots.mechanisms" => config.mechanisms = mechanisms(config, place, text),
        "library.reset_on_fork" => config.reset_on_fork = flag()?,
        "store.root_key" => config.root_key = flag()?,
        "log.level" => {
            config.log_level =
                level_named(text).ok_or_else(|| place.refuse(format!("{text:?} is not ERROR, WARNING, INFO or DEBUG")))?
        }
        "log.file" => config.log_target = if text.is_empty() { LogTarget::Syslog } else { LogTarget::File(PathBuf::from(text)) },
        "log.target" => {
            config.log_target = match text {
                "syslog" => LogTarget::Syslog,
                "stderr" => LogTarget::Stderr,
                _ => return Err(place.refuse(format!("{text:?} is neither \"syslog\" nor \"stderr\""))),
            }
        }
        // Keys of SoftHSM that mean nothing here: the store is SQLite, and its files are its owner's alone.
        "objectstore.backend" | "objectstore.umask" => {}
        _ => return Err(place.refuse("there is no such key")),
    }
    Ok(())
}

fn level_named(text: &str) -> Option<Level> {
    match text.to_ascii_uppercase().as_str() {
        "ERROR" => Some(Level::Error),
        "WARNING" => Some(Level::Warning),
        "INFO" => Some(Level::Info),
        "DEBUG" => Some(Level::Debug),
        _ => None,
    }
}

/// `ALL`, `CKM_A,CKM_B`, or `-CKM_A,CKM_B`. An unknown name is a warning: the list may be written for a newer version.
fn mechanisms(config: &mut Config, place: &Place<'_>, text: &str) -> Mechanisms {
    if text == "ALL" {
        return Mechanisms::All;
    }
    let (list, except) = text.strip_prefix('-').map_or((text, false), |list| (list, true));
    let mut kinds = Vec::new();
    for name in list.split(',').map(str::trim).filter(|name| !name.is_empty()) {
        match MechanismType::named(name) {
            Some(kind) => kinds.push(kind),
            None => config.warnings.push(format!(
                "{}, line {}: {}: no mechanism is called {name}",
                place.file.display(),
                place.line,
                place.key
            )),
        }
    }
    if except { Mechanisms::Except(kinds) } else { Mechanisms::Only(kinds) }
}
