//! The module's file, and the proof that it was built from the sources that this test binary was built from.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// The source tree's hash, computed by `build.rs`; the linker writes the same one into the module's build-id note.
const EXPECTED: &str = env!("HSMPOOL_SOURCE_ID");

/// The release build of the module (or the file that `HSMPOOL_MODULE` names).
pub fn module_file() -> PathBuf {
    static FILE: OnceLock<PathBuf> = OnceLock::new();
    FILE.get_or_init(|| {
        let path = std::env::var_os("HSMPOOL_MODULE").map_or_else(release_build, PathBuf::from);
        let bytes = std::fs::read(&path).unwrap_or_else(|error| panic!("{path:?}: {error}; {BUILD_IT}"));
        assert_current(&path, &bytes, EXPECTED);
        path
    })
    .clone()
}

const BUILD_IT: &str = "build it with: cargo build --release --lib --bins";

/// `target/release`, found from this test binary's own place in `target/<profile>/deps`.
fn release_build() -> PathBuf {
    let here = std::env::current_exe().expect("a running program has a file");
    let target = here.ancestors().nth(3).expect("a test binary stands three levels inside the target directory");
    target.join("release/libhsmpool.so")
}

fn assert_current(path: &Path, bytes: &[u8], expected: &str) {
    let found = build_id(bytes);
    assert!(
        found.as_deref() == Some(expected),
        "{path:?} is stale: its build id is {found:?}, the sources' is {expected}; {BUILD_IT}"
    );
}

/// The build id in hexadecimal: the descriptor of the note named "GNU" of type 3 (ELF, section .note.gnu.build-id).
fn build_id(elf: &[u8]) -> Option<String> {
    const ID_LEN: u32 = 16;
    let mut header = Vec::new();
    header.extend(4_u32.to_ne_bytes());
    header.extend(ID_LEN.to_ne_bytes());
    header.extend(3_u32.to_ne_bytes());
    header.extend(b"GNU\0");
    let start = elf.windows(header.len()).position(|window| window == header)? + header.len();
    let id = elf.get(start..start + ID_LEN as usize)?;
    Some(id.iter().map(|byte| format!("{byte:02x}")).collect())
}

#[test]
fn the_module_is_of_these_sources() {
    assert!(module_file().is_file());
}

#[test]
#[should_panic(expected = "is stale")]
fn a_module_of_other_sources_is_refused() {
    let bytes = std::fs::read(module_file()).expect("the module is there");
    assert_current(Path::new("other.so"), &bytes, "00000000000000000000000000000000");
}
