//! A store of its own for each module, configured as SoftHSM's is, and filled with the keys that the rows use.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use cryptoki_sys::*;

use crate::abi::{Loaded, Rv, Session, Template};

pub const LABEL: &str = "bench";
pub const PIN: &str = "123456";
const SO_PIN: &str = "12345678";

/// The object that look-ups are after.
pub const WANTED: &str = "wanted";

/// A directory with a configuration; removed when dropped.
pub struct Store {
    directory: PathBuf,
}

impl Store {
    pub fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let directory = std::env::temp_dir().join(format!("hsmpool-bench-{}-{number}", std::process::id()));
        let tokens = directory.join("tokens");
        std::fs::create_dir_all(&tokens).expect("the temporary directory is writable");
        let text = format!("directories.tokendir = {}\nlog.level = ERROR\n", tokens.display());
        std::fs::write(directory.join("softhsm2.conf"), text).expect("the temporary directory is writable");
        Self { directory }
    }

    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Where the module keeps its tokens.
    pub fn tokens(&self) -> PathBuf {
        self.directory.join("tokens")
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        // What cannot be removed is left to the system's own cleaning of temporary files.
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

/// The object identifier of P-256, of P-384, and the name of Ed25519's curve, in DER.
const P256: &[u8] = &[0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
const P384: &[u8] = &[0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x22];
const ED25519: &[u8] = b"\x13\x0cedwards25519";

/// Makes the token, the keys and so many further objects. `tokens`: where the module keeps its tokens.
pub fn fill(module: &Loaded, tokens: &Path, objects: usize) {
    module.make_token(LABEL, SO_PIN, PIN).unwrap_or_else(|rv| panic!("making a token: {rv:?}"));
    let session = module.user_session(LABEL, PIN).expect("the token's own PIN");
    for bits in [2048, 3072, 4096] {
        let size = Template::new().number(CKA_MODULUS_BITS, bits).bytes(CKA_PUBLIC_EXPONENT, [1, 0, 1]);
        pair(&session, &format!("rsa{bits}"), CKM_RSA_PKCS_KEY_PAIR_GEN, size);
    }
    for (label, mechanism, curve) in [
        ("p256", CKM_EC_KEY_PAIR_GEN, P256),
        ("p384", CKM_EC_KEY_PAIR_GEN, P384),
        ("ed25519", CKM_EC_EDWARDS_KEY_PAIR_GEN, ED25519),
    ] {
        pair(&session, label, mechanism, Template::new().bytes(CKA_EC_PARAMS, curve));
    }
    secret(&session, "aes", CKK_AES);
    secret_of(&session, "aes128", CKK_AES, 16);
    secret(&session, "hmac", CKK_GENERIC_SECRET);
    secret(&session, WANTED, CKK_AES);
    for number in 0..objects {
        secret(&session, &format!("object {number}"), CKK_AES);
        if number == 0
            && let Some(file) = newest_object_file(tokens)
        {
            (1..objects).for_each(|number| copy_object(&file, number));
            return;
        }
    }
}

/// SoftHSM's file of the object that was made last; `None` for stores of another kind. SoftHSM makes objects ever more slowly, a hundred
/// thousand would take a day: so the others are copies of one under new names, which is what they would be but for their labels.
fn newest_object_file(tokens: &Path) -> Option<PathBuf> {
    let files = |directory: &Path| std::fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path());
    let objects = files(tokens).flat_map(|token| files(&token).collect::<Vec<_>>());
    let objects = objects.filter(|path| path.extension().is_some_and(|kind| kind == "object") && !path.ends_with("token.object"));
    objects.max_by_key(|path| path.metadata().and_then(|it| it.modified()).expect("a file just made has a time"))
}

/// Files are named by a UUID.
fn copy_object(file: &Path, number: usize) {
    let copy = file.with_file_name(format!("{number:08x}-0000-4000-8000-000000000000.object"));
    std::fs::copy(file, copy).expect("the store's directory is writable");
}

fn named(label: &str) -> Template {
    Template::new().truth(CKA_TOKEN, true).bytes(CKA_LABEL, label).bytes(CKA_ID, label)
}

fn pair(session: &Session, label: &str, mechanism: CK_MECHANISM_TYPE, parameters: Template) {
    let public = parameters.truth(CKA_TOKEN, true).bytes(CKA_LABEL, label).bytes(CKA_ID, label).truth(CKA_VERIFY, true);
    let private = named(label).truth(CKA_SIGN, true).truth(CKA_DERIVE, label == "p256");
    match session.generate_pair(mechanism, public, private) {
        // p11-kit's client knows no Edwards curves: their rows must then be left out with --rows.
        Err(Rv(CKR_MECHANISM_INVALID)) => eprintln!("{label}: the module has no such mechanism"),
        made => drop(made.unwrap_or_else(|rv| panic!("{label}: {rv:?}"))),
    }
}

/// Has the module make an AES-256 key in the token, by `C_GenerateKey`, as the rows measure it. Each has a label and an id that no other object has:
/// an index in which all are one entry would be another store than anybody's.
pub fn made(session: &Session) -> CK_OBJECT_HANDLE {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    // Figures are taken by processes of their own, of which several make keys in one store.
    let label = format!("made {} {}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
    let key = named(&label).number(CKA_VALUE_LEN, 32).yes(&[CKA_ENCRYPT, CKA_DECRYPT]);
    session.generate_key(CKM_AES_KEY_GEN, key).unwrap_or_else(|rv| panic!("{label}: {rv:?}"))
}

/// Imports a token key of a fixed value.
pub fn secret(session: &Session, label: &str, kind: CK_KEY_TYPE) -> CK_OBJECT_HANDLE {
    secret_of(session, label, kind, 32)
}

fn secret_of(session: &Session, label: &str, kind: CK_KEY_TYPE, len: usize) -> CK_OBJECT_HANDLE {
    let key = named(label).number(CKA_CLASS, CKO_SECRET_KEY).number(CKA_KEY_TYPE, kind).bytes(CKA_VALUE, vec![7; len]);
    let uses = if kind == CKK_AES { [CKA_ENCRYPT, CKA_DECRYPT] } else { [CKA_SIGN, CKA_VERIFY] };
    session.create(key.yes(&uses)).unwrap_or_else(|rv| panic!("{label}: {rv:?}"))
}

/// The one object of this class and label.
pub fn find(session: &Session, class: CK_OBJECT_CLASS, label: &str) -> CK_OBJECT_HANDLE {
    let found = session.find(Template::new().number(CKA_CLASS, class).bytes(CKA_LABEL, label)).expect("a search works");
    assert_eq!(found.len(), 1, "objects labelled {label}");
    found[0]
}
