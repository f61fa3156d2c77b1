//! Targets of fuzzers: files that another member sent, or another program wrote.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use super::replica::{CheckedCopy, Place, place_of_copy};
use super::{Store, softhsm as other};
use crate::secret::Secret;

/// A directory that goes when it is dropped.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Option<Self> {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("hsmpool-hostile-store-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&path).ok()?;
        Some(Self(path))
    }

    fn file(&self, name: &str, bytes: &[u8]) -> Option<PathBuf> {
        let file = self.0.join(name);
        std::fs::create_dir_all(file.parent()?).ok()?;
        std::fs::write(&file, bytes).ok()?;
        Some(file)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What cannot be removed is the temporary directory's.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A copy of a member's store: what passes the check can be installed and read.
pub fn snapshots(bytes: &[u8]) {
    let Some(scratch) = Scratch::new() else { return };
    let Some(file) = scratch.file("copy", bytes) else { return };
    // Where the file itself says that it stands, so that the check gets past that.
    let place = place_of_copy(&file).unwrap_or_else(|_| Place::default());
    let Ok(copy) = CheckedCopy::of(&file, &place) else { return };
    let Ok(store) = Store::open(&scratch.0.join("store")) else { return };
    if store.replicate().and_then(|()| store.install(&copy)).is_ok() {
        for token in store.tokens().unwrap_or_default() {
            let _ = store.token_and_users(token.id);
        }
    }
}

/// Files of SoftHSM, of both backends; the first byte says which. The bytes are an object, and a token object that has a good one beside it.
pub fn softhsm(bytes: &[u8]) {
    other::hostile(bytes);
    let Some((which, bytes)) = bytes.split_first() else { return };
    let Some(scratch) = Scratch::new() else { return };
    let name = if which % 2 == 0 { "one/token.object" } else { "one/sqlite3.db" };
    if scratch.file(name, bytes).is_none() {
        return;
    }
    read_all(&scratch.0);
}

fn read_all(directory: &Path) {
    let pin = Secret::copy_of(b"1234");
    for token in other::tokens(directory).unwrap_or_default() {
        let _ = (token.object_count(), token.is_so_pin(&pin), token.open(&pin, Some(&pin)));
    }
}

#[cfg(test)]
pub use samples::{snapshot_samples, softhsm_samples};

/// Input of the right form.
#[cfg(test)]
mod samples {
    use crate::store::tests::fixtures::{Directory, filled};

    /// A member's store, copied.
    pub fn snapshot_samples() -> Vec<Vec<u8>> {
        let directory = Directory::new();
        let store = filled(&directory, 3);
        store.replicate().unwrap();
        let file = directory.path().join("copy");
        store.copy_to(&file).unwrap();
        vec![std::fs::read(file).unwrap()]
    }

    /// A token object of the file backend.
    pub fn softhsm_samples() -> Vec<Vec<u8>> {
        let numbers = |numbers: &[u64]| numbers.iter().flat_map(|number| number.to_be_bytes()).collect::<Vec<u8>>();
        let text = |kind: u64, text: &[u8]| [numbers(&[kind, 3, text.len() as u64]), text.to_vec()].concat();
        let token = [
            vec![0],
            numbers(&[1]),
            text(0x8000_5349, b"label"),
            text(0x8000_534a, b"serial"),
            text(0x8000_534c, &[7; 72]),
            [numbers(&[2, 1]), vec![1]].concat(),
            numbers(&[0x100, 2, 31]),
            numbers(&[0x4000_0600, 5, 1, 9]),
            numbers(&[0x4000_0211, 4, 24, 0x100, 2, 31]),
        ];
        vec![token.concat()]
    }
}
