//! The root key on disk: a file beside the store, made once, readable by its owner only.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::seal::{Key32, RootKey};
use crate::error::{Code, Doing, Error, Result, refuse};
use crate::secret::Secret;
use crate::sys::heirloom;
use crate::world::World;

/// Where the root key comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RootKeySource {
    /// A file of 64 hexadecimal digits; made if it is missing and the store is new.
    File(PathBuf),
    /// None: PINs alone protect, as with SoftHSM.
    None,
}

/// Reads the root key, or makes it for a new store.
///
/// Errors: `StoreRefused` when the file is missing beside a store that has tokens, or is not a key; `Configuration` when it cannot be made.
pub fn load_root_key(source: &RootKeySource, store_is_new: bool, world: &dyn World) -> Result<RootKey> {
    let RootKeySource::File(path) = source else { return Ok(RootKey::new(None)) };
    match read(path) {
        Ok(key) => return Ok(RootKey::new(Some(key))),
        Err(ReadFailure::Missing) if store_is_new => {}
        Err(ReadFailure::Missing) => {
            let sentence = format!(
                "{} is missing: the store beside it cannot be read without this key; put the file back from a backup",
                path.display()
            );
            return Err(refuse(Code::StoreRefused, sentence));
        }
        Err(ReadFailure::Other(error)) => return Err(error),
    }
    make_root_key(path, world)?;
    match read(path) {
        Ok(key) => Ok(RootKey::new(Some(key))),
        Err(ReadFailure::Missing) => Err(refuse(Code::StoreRefused, format!("{} was removed while it was made", path.display()))),
        Err(ReadFailure::Other(error)) => Err(error),
    }
}

enum ReadFailure {
    Missing,
    Other(Error),
}

fn read(path: &Path) -> std::result::Result<Key32, ReadFailure> {
    let mut text = Secret::zeroed(66);
    let mut len = 0;
    let opened = File::open(path);
    if opened.as_ref().is_err_and(heirloom::is_refusal)
        && let Some(Ok(bytes)) = heirloom::read(path, text.expose_mut())
    {
        return parsed(path, &text.expose()[..bytes]);
    }
    let mut file = opened.map_err(|error| match error.kind() {
        ErrorKind::NotFound => ReadFailure::Missing,
        _ => ReadFailure::Other(refuse(Code::StoreRefused, format!("{} cannot be read", path.display())).because(error)),
    })?;
    loop {
        let got = file.read(&mut text.expose_mut()[len..]).map_err(|error| {
            ReadFailure::Other(refuse(Code::StoreRefused, format!("{} cannot be read", path.display())).because(error))
        })?;
        len += got;
        if got == 0 || len == text.len() {
            break;
        }
    }
    parsed(path, &text.expose()[..len])
}

fn parsed(path: &Path, text: &[u8]) -> std::result::Result<Key32, ReadFailure> {
    parse(text).ok_or_else(|| {
        ReadFailure::Other(refuse(
            Code::StoreRefused,
            format!("{} is not a root key (64 hexadecimal digits, not all of them 0)", path.display()),
        ))
    })
}

fn parse(text: &[u8]) -> Option<Key32> {
    let digits = text.strip_suffix(b"\n").unwrap_or(text);
    if digits.len() != 64 {
        return None;
    }
    let mut key = Secret::zeroed(32);
    for (byte, pair) in key.expose_mut().iter_mut().zip(digits.chunks_exact(2)) {
        *byte = (digit(pair[0])? << 4) | digit(pair[1])?;
    }
    // Nobody has drawn that: it is a file that somebody has blanked, or a placeholder.
    if key.expose().iter().all(|byte| *byte == 0) {
        return None;
    }
    Key32::from_bytes(key.expose())
}

fn digit(character: u8) -> Option<u8> {
    char::from(character).to_digit(16).map(|value| value as u8)
}

/// Writes a new key under a name of its own, makes it durable, and links it to its place, so that of two processes
/// that start at once one wins and nobody ever sees half a key.
pub fn make_root_key(path: &Path, world: &dyn World) -> Result<()> {
    let failed = |what: &str| format!("{what} the root key {}", path.display());
    let mut key = Secret::zeroed(32);
    world.fill_random(key.expose_mut())?;
    let mut text = Secret::zeroed(65);
    for (pair, byte) in text.expose_mut().chunks_exact_mut(2).zip(key.expose()) {
        pair.copy_from_slice(&[b"0123456789abcdef"[usize::from(byte >> 4)], b"0123456789abcdef"[usize::from(byte & 15)]]);
    }
    text.expose_mut()[64] = b'\n';

    let mut suffix = [0; 8];
    world.fill_random(&mut suffix)?;
    let draft = path.with_extension(format!("new-{:016x}", u64::from_be_bytes(suffix)));
    let written = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&draft)
        .and_then(|mut file| file.write_all(text.expose()).and_then(|()| file.sync_all()));
    written.doing(Code::Configuration, failed("writing"))?;
    let linked = fs::hard_link(&draft, path);
    fs::remove_file(&draft).doing(Code::Configuration, failed("tidying up after"))?;
    match linked {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => {
            Err(error).doing(Code::Configuration, failed("putting in place"))
        }
        _ => sync_directory(path),
    }
}

fn sync_directory(path: &Path) -> Result<()> {
    let directory = path.parent().unwrap_or(Path::new("."));
    File::open(directory)
        .and_then(|directory| directory.sync_all())
        .doing(Code::Configuration, format!("making {} durable", directory.display()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::world::Real;

    fn directory(name: &str) -> PathBuf {
        let directory = std::env::temp_dir().join(format!("hsmpool-root-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&directory);
        fs::create_dir_all(&directory).unwrap();
        directory
    }

    #[test]
    fn a_new_store_gets_a_key_that_only_its_owner_reads_and_that_stays() {
        let directory = directory("new");
        let source = RootKeySource::File(directory.join("hsmpool.key"));
        let wrapped = load_root_key(&source, true, &Real).unwrap().wrap(&Real, b"", b"key").unwrap();
        assert_eq!(fs::metadata(directory.join("hsmpool.key")).unwrap().permissions().mode() & 0o777, 0o600);
        let again = load_root_key(&source, false, &Real).unwrap();
        assert_eq!(again.unwrap(b"", &wrapped).unwrap().expose(), b"key");
        assert_eq!(fs::read_dir(&directory).unwrap().count(), 1, "no draft is left behind");
        fs::remove_dir_all(directory).unwrap();
    }

    #[test]
    fn a_missing_or_damaged_key_beside_a_used_store_is_refused_by_name() {
        let directory = directory("missing");
        let path = directory.join("hsmpool.key");
        let source = RootKeySource::File(path.clone());
        let check = |store_is_new| {
            let error = load_root_key(&source, store_is_new, &Real).err().unwrap();
            assert_eq!(error.code(), Code::StoreRefused);
            assert!(error.to_string().contains("hsmpool.key"), "{error}");
        };
        check(false);
        assert!(!path.exists(), "nothing is made beside a store that has tokens");
        for damaged in ["", "00", &"0".repeat(63), &"0".repeat(64), &"g".repeat(64), &"0".repeat(65)] {
            fs::write(&path, damaged).unwrap();
            check(false);
            check(true);
        }
        fs::remove_dir_all(directory).unwrap();
    }

    #[test]
    fn starts_at_the_same_time_agree_on_one_key() {
        let directory = directory("race");
        let source = RootKeySource::File(directory.join("hsmpool.key"));
        let wraps: Vec<Vec<u8>> = std::thread::scope(|scope| {
            let start = || scope.spawn(|| load_root_key(&source, true, &Real).unwrap().wrap(&Real, b"", b"key").unwrap());
            let threads: Vec<_> = (0..8).map(|_| start()).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        let root = load_root_key(&source, false, &Real).unwrap();
        for wrapped in wraps {
            assert_eq!(root.unwrap(b"", &wrapped).unwrap().expose(), b"key");
        }
        fs::remove_dir_all(directory).unwrap();
    }
}
