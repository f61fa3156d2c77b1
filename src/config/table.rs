//! One row for each key: its type, default and meaning, how it is set and shown. The documentation is made from the same rows.

use std::fmt::Write;
use std::path::PathBuf;

use super::{Config, LogTarget, Mechanisms, PolicyName};
use crate::ck::MechanismType;
use crate::error::Level;

/// Which files have a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Files {
    /// `hsmpool.toml`.
    Hsmpool,
    /// `softhsm2.conf`.
    SoftHsm,
    /// Both.
    Both,
}

/// The type of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "each is what its name says")]
pub enum Kind {
    Text,
    Path,
    /// Of a file of the same deployment: relative to the configuration file.
    Beside,
    Flag,
    Number,
}

impl Kind {
    /// For messages.
    pub fn words(self) -> &'static str {
        match self {
            Kind::Text => "a string",
            Kind::Path | Kind::Beside => "a path, as a string",
            Kind::Flag => "true or false",
            Kind::Number => "a number",
        }
    }

    /// A value as it stands in a TOML file.
    pub fn in_toml(self, value: String) -> String {
        match self {
            Kind::Text | Kind::Path | Kind::Beside => toml::Value::String(value).to_string(),
            Kind::Flag | Kind::Number => value,
        }
    }
}

/// Nothing, or why the value cannot be.
type Set = Result<(), String>;

/// One key.
pub struct Key {
    /// As it stands in the file; dots are TOML tables.
    pub name: &'static str,
    /// Where it may stand.
    pub files: Files,
    /// Its type. A flag's text is `true` or `false`.
    pub kind: Kind,
    /// What holds without it, for the documentation.
    pub default: &'static str,
    /// What it does.
    pub doc: &'static str,
    /// Gives it a value. What is strange and does not matter becomes a warning.
    pub(super) set: fn(&mut Config, &str) -> Set,
    /// The value that holds, as it would stand in a file; `None` where nothing holds that could stand there.
    pub show: fn(&Config) -> Option<String>,
}

impl Key {
    /// Whether the key may stand in this file.
    pub fn is_in(&self, file: Files) -> bool {
        self.files == Files::Both || self.files == file
    }
}

/// Every key.
pub const KEYS: &[Key] = &[
    Key {
        name: "store.directory",
        files: Files::Hsmpool,
        kind: Kind::Path,
        default: "`~/.local/share/hsmpool`; `/var/lib/hsmpool` for root",
        doc: "Directory of the store, absolute or below `~/`. Made (mode 0700) when it is missing.",
        set: |config, text| {
            config.store_dir = PathBuf::from(text);
            Ok(())
        },
        show: |config| Some(config.store_dir.display().to_string()),
    },
    Key {
        name: "store.root_key",
        files: Files::Hsmpool,
        kind: Kind::Flag,
        default: "`true`",
        doc: "Keep a root key in a file: a stolen database alone can then not be attacked by guessing PINs. Back it up with the store: without \
              it the store cannot be read.",
        set: |config, text| {
            config.root_key = text == "true";
            Ok(())
        },
        show: |config| Some(config.root_key.to_string()),
    },
    Key {
        name: "store.root_key_file",
        files: Files::Hsmpool,
        kind: Kind::Path,
        default: "`hsmpool.key` in the store's directory",
        doc: "The root key's file, where it shall not lie beside the store. Made (mode 0600) for a new store when it is missing.",
        set: |config, text| {
            config.root_key_file = Some(PathBuf::from(text));
            Ok(())
        },
        show: |config| config.root_key_file.as_ref().map(|path| path.display().to_string()),
    },
    Key {
        name: "pool.file",
        files: Files::Hsmpool,
        kind: Kind::Beside,
        default: "none",
        doc: "The description of a pool (`pool.toml`): its tokens are offered in place of those of a store. A relative path starts at this \
              file's directory.",
        set: |config, text| {
            config.pool_file = Some(PathBuf::from(text));
            Ok(())
        },
        show: |config| config.pool_file.as_ref().map(|file| file.display().to_string()),
    },
    Key {
        name: "pool.peer",
        files: Files::Hsmpool,
        kind: Kind::Beside,
        default: "none",
        doc: "The configuration of a node (`hsmpoold.toml`) that runs in the application's own process: for one that lives long. It needs \
              `pool.file`, through which the others are reached. Of the processes with the same node one runs it; the others are its clients.",
        set: |config, text| {
            config.peer_file = Some(PathBuf::from(text));
            Ok(())
        },
        show: |config| config.peer_file.as_ref().map(|file| file.display().to_string()),
    },
    Key {
        name: "directories.tokendir",
        files: Files::SoftHsm,
        kind: Kind::Path,
        default: "`/var/lib/softhsm/tokens`",
        doc: "Directory of the store. Made (mode 0700) when it is missing. SoftHSM's own files in it stay untouched.",
        set: |config, text| {
            config.store_dir = PathBuf::from(text);
            Ok(())
        },
        show: |config| Some(config.store_dir.display().to_string()),
    },
    Key {
        name: "identity",
        files: Files::Both,
        kind: Kind::Text,
        default: "`hsmpool`",
        doc: "`softhsm`: manufacturer, model and description are SoftHSM's, for applications and URIs that look for them.",
        set: |config, text| {
            let names = [("hsmpool", false), ("softhsm", true)];
            config.softhsm_identity = one_of(&names, text)?;
            Ok(())
        },
        show: |config| Some(if config.softhsm_identity { "softhsm" } else { "hsmpool" }.to_owned()),
    },
    Key {
        name: "token.policy",
        files: Files::Both,
        kind: Kind::Text,
        default: "`default`; `compatible` under `softhsm2.conf`",
        doc: "Policy of new tokens: `compatible` (SoftHSM's behaviour), `default` (conflicting usages refused, keys sensitive unless asked \
              otherwise), `strict` (also enforces key dates).",
        set: |config, text| {
            config.policy = one_of(PolicyName::NAMES, text)?;
            Ok(())
        },
        show: |config| Some(config.policy.to_string()),
    },
    Key {
        name: "token.pin_attempts_max",
        files: Files::Both,
        kind: Kind::Number,
        default: "10",
        doc: "Wrong PINs in a row that lock the user of a new token until the SO sets a new PIN. 0 never locks, as SoftHSM.",
        set: |config, text| {
            config.pin_attempts_max = text.parse().map_err(|error| format!("{text:?} is no number of attempts ({error})"))?;
            Ok(())
        },
        show: |config| Some(config.pin_attempts_max.to_string()),
    },
    Key {
        name: "slots.removable",
        files: Files::Both,
        kind: Kind::Flag,
        default: "`false`",
        doc: "Sets `CKF_REMOVABLE_DEVICE` on every slot.",
        set: |config, text| {
            config.removable = text == "true";
            Ok(())
        },
        show: |config| Some(config.removable.to_string()),
    },
    Key {
        name: "slots.mechanisms",
        files: Files::Both,
        kind: Kind::Text,
        default: "`ALL`",
        doc: "Mechanisms that are offered: `ALL`, a list `CKM_RSA_PKCS,CKM_ECDSA`, or all but a list: `-CKM_MD5`. Unknown names are ignored.",
        set: set_mechanisms,
        show: show_mechanisms,
    },
    Key {
        name: "library.reset_on_fork",
        files: Files::Both,
        kind: Kind::Flag,
        default: "`true`; `false` under `softhsm2.conf`",
        doc: "A forked child is as if `C_Initialize` had not been called (the standard's way). `false`: it carries on with sessions, login and keys.",
        set: |config, text| {
            config.reset_on_fork = text == "true";
            Ok(())
        },
        show: |config| Some(config.reset_on_fork.to_string()),
    },
    Key {
        name: "log.level",
        files: Files::Both,
        kind: Kind::Text,
        default: "`WARNING`",
        doc: "`ERROR`, `WARNING`, `INFO` or `DEBUG` (every failed call with its reason). The variable `HSMPOOL_LOG` overrides it.",
        set: |config, text| {
            config.log_level = level_named(text).ok_or(format!("{text:?} is not ERROR, WARNING, INFO or DEBUG"))?;
            Ok(())
        },
        show: |config| LEVELS.iter().find(|(_, level)| *level == config.log_level).map(|(name, _)| (*name).to_owned()),
    },
    Key {
        name: "log.target",
        files: Files::Both,
        kind: Kind::Text,
        default: "`syslog`",
        doc: "`syslog` (facility `daemon`) or `stderr`.",
        set: |config, text| {
            let target = one_of(&[("syslog", false), ("stderr", true)], text)?;
            let target = if target { LogTarget::Stderr } else { LogTarget::Syslog };
            // A file goes before a target, in whatever order they stand.
            if !matches!(config.log_target, Some(LogTarget::File(_))) {
                config.log_target = Some(target);
            }
            Ok(())
        },
        show: |config| match config.log_target {
            None | Some(LogTarget::Syslog) => Some("syslog".to_owned()),
            Some(LogTarget::Stderr) => Some("stderr".to_owned()),
            Some(LogTarget::File(_)) => None,
        },
    },
    Key {
        name: "log.file",
        files: Files::Both,
        kind: Kind::Path,
        default: "none",
        doc: "A file that log lines are appended to, in place of the target. Made (mode 0600) when it is missing.",
        set: |config, text| {
            config.log_target = Some(LogTarget::File(PathBuf::from(text)));
            Ok(())
        },
        show: |config| match &config.log_target {
            Some(LogTarget::File(path)) => Some(path.display().to_string()),
            _ => None,
        },
    },
    Key {
        name: "objectstore.backend",
        files: Files::SoftHsm,
        kind: Kind::Text,
        default: "–",
        doc: "Read and ignored: the store is always SQLite.",
        set: |_, _| Ok(()),
        show: |_| None,
    },
    Key {
        name: "objectstore.umask",
        files: Files::SoftHsm,
        kind: Kind::Text,
        default: "–",
        doc: "Read and ignored: the store's files are always their owner's alone (mode 0600).",
        set: |_, _| Ok(()),
        show: |_| None,
    },
];

const LEVELS: &[(&str, Level)] =
    &[("ERROR", Level::Error), ("WARNING", Level::Warning), ("INFO", Level::Info), ("DEBUG", Level::Debug)];

/// The row of a key in one of the files.
pub fn find(name: &str, file: Files) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.name == name && key.is_in(file))
}

/// A log level by its name, in either case.
pub(super) fn level_named(text: &str) -> Option<Level> {
    LEVELS.iter().find(|(name, _)| name.eq_ignore_ascii_case(text)).map(|(_, level)| *level)
}

fn one_of<T: Copy>(names: &[(&str, T)], text: &str) -> Result<T, String> {
    names.iter().find(|(name, _)| *name == text).map(|(_, value)| *value).ok_or_else(|| {
        let names: Vec<_> = names.iter().map(|(name, _)| format!("{name:?}")).collect();
        format!("{text:?} is none of {}", names.join(", "))
    })
}

/// `ALL`, `CKM_A,CKM_B`, or `-CKM_A,CKM_B`. An unknown name is only strange: the list may be written for a newer version.
fn set_mechanisms(config: &mut Config, text: &str) -> Set {
    if text == "ALL" {
        config.mechanisms = Mechanisms::All;
        return Ok(());
    }
    let (list, except) = text.strip_prefix('-').map_or((text, false), |list| (list, true));
    let mut kinds = Vec::new();
    for name in list.split(',').map(str::trim).filter(|name| !name.is_empty()) {
        match MechanismType::named(name) {
            Some(kind) => kinds.push(kind),
            None => config.warnings.push(format!("no mechanism is called {name}: ignored")),
        }
    }
    config.mechanisms = if except { Mechanisms::Except(kinds) } else { Mechanisms::Only(kinds) };
    Ok(())
}

fn show_mechanisms(config: &Config) -> Option<String> {
    let list = |kinds: &[MechanismType]| kinds.iter().map(MechanismType::to_string).collect::<Vec<_>>().join(",");
    Some(match &config.mechanisms {
        Mechanisms::All => "ALL".to_owned(),
        Mechanisms::Only(kinds) => list(kinds),
        Mechanisms::Except(kinds) => format!("-{}", list(kinds)),
    })
}

/// The table of keys for `docs/configuration.md`.
pub fn markdown() -> String {
    let mut text = String::from("| key | in | type | default | meaning |\n| --- | --- | --- | --- | --- |\n");
    for key in KEYS {
        let files = match key.files {
            Files::Hsmpool => "`hsmpool.toml`",
            Files::SoftHsm => "`softhsm2.conf`",
            Files::Both => "both",
        };
        let _ = writeln!(text, "| `{}` | {files} | {} | {} | {} |", key.name, key.kind.words(), key.default, key.doc);
    }
    text
}
