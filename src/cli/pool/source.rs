//! The embedded store that a pool begins with.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use super::layout::write_new;
use crate::assemble;
use crate::error::{Code, Doing, Result, refuse};
use crate::partition::{RootKeySource, load_root_key};
use crate::secret::Secret;
use crate::store::Store;
use crate::world::Real;

/// A store that nobody has open, with its root key.
pub struct Source {
    directory: PathBuf,
    root_key_file: PathBuf,
}

/// What came over.
pub struct Copied {
    directory: PathBuf,
    root_key_file: PathBuf,
    tokens: u64,
    objects: u64,
}

impl Source {
    /// Looks at everything that could be wrong, and changes nothing.
    ///
    /// Errors: `Configuration`: there is no store, no root key, somebody uses the store, or it is a pool's already. `StoreRefused`: the key is another store's, or the
    /// store is damaged.
    pub fn open(store: &Path, root_key_file: Option<&Path>) -> Result<Self> {
        if !Store::is_in(store) {
            let told = format!("{} holds no store (hsmpool.db): `hsmpool config` says where the one in use is", store.display());
            return Err(refuse(Code::Configuration, told));
        }
        let directory = store.canonicalize().doing(Code::Configuration, format!("finding {}", store.display()))?;
        is_unused(&directory)?;
        if Store::open(&directory)?.is_of_member() {
            let told = "is of a pool's node, whose log has what is not in the store yet: let that pool begin anew with what the node has \
                        (`hsmpool pool force-new --help`; docs/operations.md, \"Back up\")";
            return Err(refuse(Code::Configuration, format!("{} {told}", directory.join("hsmpool.db").display())));
        }
        let root_key_file = match root_key_file {
            Some(file) => file.to_path_buf(),
            None => configured_root_key(&directory)?.unwrap_or_else(|| directory.join("hsmpool.key")),
        };
        if !root_key_file.is_file() {
            let told = format!(
                "{} is missing, and the store in {} cannot be read without its root key: --root-key-file says where it is",
                root_key_file.display(),
                directory.display()
            );
            return Err(refuse(Code::Configuration, told));
        }
        let source = Self { directory, root_key_file };
        source.authenticated()?;
        Ok(source)
    }

    fn authenticated(&self) -> Result<Store> {
        let root_key = load_root_key(&RootKeySource::File(self.root_key_file.clone()), false, &Real)?;
        let store = Store::open(&self.directory)?;
        store.authenticate(root_key.stamper()?)?;
        Ok(store)
    }

    /// Writes the root key to a new file.
    pub fn copy_root_key(&self, to: &Path) -> Result<()> {
        let key = fs::read(&self.root_key_file).map(Secret::new);
        let key = key.doing(Code::Configuration, format!("reading {}", self.root_key_file.display()))?;
        let text = std::str::from_utf8(key.expose()).doing(Code::Configuration, "reading the root key")?;
        write_new(to, text, 0o600)
    }

    /// Copies the store into a directory, which is made. Errors: also where somebody has opened it meanwhile.
    pub fn copy_into(self, data: &Path) -> Result<Copied> {
        let store = self.authenticated()?;
        store.copy_into(data)?;
        let copy = Store::open(data)?.check()?;
        let changes = store.set_hash()?.0;
        drop(store);
        is_unused(&self.directory)?;
        if changes != copy.applied {
            let told = format!("{} was changed while it was copied: end the applications that use it", self.directory.display());
            return Err(refuse(Code::Configuration, told));
        }
        let (tokens, objects) = (copy.tokens, copy.objects);
        Ok(Copied { directory: self.directory, root_key_file: self.root_key_file, tokens, objects })
    }
}

/// Whoever has it open would go on with it, and what is made there afterwards would not be in the pool.
fn is_unused(directory: &Path) -> Result<()> {
    match Store::is_in_use(directory)? {
        false => Ok(()),
        true => {
            let told = "is in use: end the applications that have loaded the module with it (`fuser` names their processes)";
            Err(refuse(Code::Configuration, format!("{} {told}", directory.join("hsmpool.db").display())))
        }
    }
}

/// The root key that this user's configuration names, where the store is the one that it names.
fn configured_root_key(directory: &Path) -> Result<Option<PathBuf>> {
    // One that cannot be read, or is a pool's, says nothing of this store.
    let Ok(config) = assemble::configuration() else { return Ok(None) };
    if !config.store_dir.canonicalize().is_ok_and(|configured| configured == directory) {
        return Ok(None);
    }
    match config.root_key {
        true => Ok(config.root_key_file),
        false => {
            let told = "the configuration says that the store has no root key (store.root_key = false), and a pool cannot be without one";
            Err(refuse(Code::Configuration, format!("{}: {told}", directory.display())))
        }
    }
}

impl Copied {
    /// For programs.
    pub fn to_json(&self) -> serde_json::Value {
        serde_json::json!({ "store": self.directory, "root_key_file": self.root_key_file, "tokens": self.tokens, "objects": self.objects })
    }
}

impl fmt::Display for Copied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} tokens with {} objects came from {} (root key {}). That store stays as it is, as a backup: take it out of use, for what is made in it \
             from now on is not in the pool.",
            self.tokens,
            self.objects,
            self.directory.display(),
            self.root_key_file.display()
        )
    }
}
