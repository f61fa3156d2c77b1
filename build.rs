//! Link flags of the module, and the build id by which tests know a stale `.so`.

use std::path::Path;

/// What the module is made from.
const SOURCES: &[&str] = &["src", "build.rs", "Cargo.toml", "Cargo.lock", ".cargo/config.toml"];

fn main() {
    let mut hash = Fnv128::new();
    for source in SOURCES {
        println!("cargo:rerun-if-changed={source}");
        add(Path::new(source), &mut hash);
    }
    let id = hash.hexadecimal();
    // The tests compare this with the note that the linker writes into the module.
    println!("cargo:rustc-env=HSMPOOL_SOURCE_ID={id}");
    println!("cargo:rustc-cdylib-link-arg=-Wl,--build-id=0x{id}");
    // A thread that used the crypto library's random generator runs a destructor when it ends;
    // unloading the module before that would leave the destructor without code.
    println!("cargo:rustc-cdylib-link-arg=-Wl,-z,nodelete");
}

/// Adds a file, or every file below a directory in the order of their names.
fn add(path: &Path, hash: &mut Fnv128) {
    if path.is_dir() {
        let entries = std::fs::read_dir(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let mut below: Vec<_> = entries.map(|entry| entry.expect("a directory that opened can be read").path()).collect();
        below.sort();
        below.iter().for_each(|path| add(path, hash));
    } else {
        let contents = std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        hash.add(path.to_string_lossy().as_bytes());
        hash.add(&(contents.len() as u64).to_le_bytes());
        hash.add(&contents);
    }
}

/// FNV-1a, 128 bits: tells sources apart, the same in every toolchain; it need not resist an attacker.
struct Fnv128(u128);

impl Fnv128 {
    fn new() -> Self {
        Self(0x6c62_272e_07bb_0142_62b8_2175_6295_c58d)
    }

    fn add(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u128::from(*byte)).wrapping_mul(0x0000_0000_0100_0000_0000_0000_0000_013b);
        }
    }

    fn hexadecimal(&self) -> String {
        format!("{:032x}", self.0)
    }
}
