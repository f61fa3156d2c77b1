//! One row for each key: its type, default and meaning. The documentation is made from the same rows.

use std::fmt::Write;

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
    Flag,
    Number,
}

impl Kind {
    /// For messages.
    pub fn words(self) -> &'static str {
        match self {
            Kind::Text => "a string",
            Kind::Path => "a path, as a string",
            Kind::Flag => "true or false",
            Kind::Number => "a number",
        }
    }
}

/// One key.
pub struct Key {
    /// As it stands in the file; dots are TOML tables.
    pub name: &'static str,
    /// Where it may stand.
    pub files: Files,
    /// Its type.
    pub kind: Kind,
    /// What holds without it.
    pub default: &'static str,
    /// What it does.
    pub doc: &'static str,
}

/// Every key.
pub const KEYS: &[Key] = &[
    Key {
        name: "store.directory",
        files: Files::Hsmpool,
        kind: Kind::Path,
        default: "`~/.local/share/hsmpool`; `/var/lib/hsmpool` for root",
        doc: "Directory of the store. Made (mode 0700) when it is missing.",
    },
    Key {
        name: "store.root_key",
        files: Files::Hsmpool,
        kind: Kind::Flag,
        default: "`true`",
        doc: "Keep a root key in `hsmpool.key` beside the store: a stolen database alone can then not be attacked by guessing PINs. Back it up \
              with the store: without it the store cannot be read.",
    },
    Key {
        name: "pool.file",
        files: Files::Hsmpool,
        kind: Kind::Path,
        default: "none",
        doc: "The description of a pool (`pool.toml`): its tokens are offered in place of those of a store. A relative path starts at this \
              file's directory.",
    },
    Key {
        name: "directories.tokendir",
        files: Files::SoftHsm,
        kind: Kind::Path,
        default: "`/var/lib/softhsm/tokens`",
        doc: "Directory of the store. SoftHSM's own files in it stay untouched.",
    },
    Key {
        name: "identity",
        files: Files::Both,
        kind: Kind::Text,
        default: "`hsmpool`",
        doc: "`softhsm`: manufacturer, model and description are SoftHSM's, for applications and URIs that look for them.",
    },
    Key {
        name: "token.policy",
        files: Files::Both,
        kind: Kind::Text,
        default: "`default`; `compatible` under `softhsm2.conf`",
        doc: "Policy of new tokens: `compatible` (SoftHSM's behaviour), `default` (conflicting usages refused, keys sensitive unless asked \
              otherwise), `strict` (also enforces key dates).",
    },
    Key {
        name: "token.pin_attempts_max",
        files: Files::Both,
        kind: Kind::Number,
        default: "10",
        doc: "Wrong PINs in a row that lock the user of a new token until the SO sets a new PIN. 0 never locks, as SoftHSM.",
    },
    Key {
        name: "slots.removable",
        files: Files::Both,
        kind: Kind::Flag,
        default: "`false`",
        doc: "Sets `CKF_REMOVABLE_DEVICE` on every slot.",
    },
    Key {
        name: "slots.mechanisms",
        files: Files::Both,
        kind: Kind::Text,
        default: "`ALL`",
        doc: "Mechanisms that are offered: `ALL`, a list `CKM_RSA_PKCS,CKM_ECDSA`, or all but a list: `-CKM_MD5`.",
    },
    Key {
        name: "library.reset_on_fork",
        files: Files::Both,
        kind: Kind::Flag,
        default: "`true`; `false` under `softhsm2.conf`",
        doc: "A forked child is as if `C_Initialize` had not been called (the standard's way). `false`: it carries on with sessions, login and keys.",
    },
    Key {
        name: "log.level",
        files: Files::Both,
        kind: Kind::Text,
        default: "`WARNING`",
        doc: "`ERROR`, `WARNING`, `INFO` or `DEBUG` (every failed call with its reason). The variable `HSMPOOL_LOG` overrides it.",
    },
    Key { name: "log.target", files: Files::Both, kind: Kind::Text, default: "`syslog`", doc: "`syslog` or `stderr`." },
    Key {
        name: "log.file",
        files: Files::Both,
        kind: Kind::Path,
        default: "none",
        doc: "A file that log lines are appended to, in place of the target.",
    },
    Key {
        name: "objectstore.backend",
        files: Files::SoftHsm,
        kind: Kind::Text,
        default: "–",
        doc: "Read and ignored: the store is always SQLite.",
    },
    Key {
        name: "objectstore.umask",
        files: Files::SoftHsm,
        kind: Kind::Text,
        default: "–",
        doc: "Read and ignored: the store's files are always their owner's alone (mode 0600).",
    },
];

/// The row of a key in one of the files.
pub fn find(name: &str, file: Files) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.name == name && (key.files == Files::Both || key.files == file))
}

/// Whether a file may have the key.
pub fn knows(name: &str, file: Files) -> bool {
    find(name, file).is_some()
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
