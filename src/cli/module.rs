//! Loading a PKCS#11 module: ours by default, or any other.

use std::path::{Path, PathBuf};

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};

use crate::error::{Code, Doing, Result, refuse};

/// Our module's file name.
const FILE: &str = "libhsmpool.so";

/// Where our module is: `HSMPOOL_MODULE`, beside this program, or in the `lib` directories beside its `bin`.
///
/// Errors: `LibraryLoadFailed` naming the places.
pub(super) fn own() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("HSMPOOL_MODULE").filter(|path| !path.is_empty()) {
        return Ok(PathBuf::from(path));
    }
    let program = std::env::current_exe().doing(Code::LibraryLoadFailed, "finding this program's own place")?;
    let beside = program.parent().unwrap_or(Path::new("."));
    let places = ["", "../lib", "../lib/pkcs11", "../lib/x86_64-linux-gnu", "../lib/aarch64-linux-gnu"]
        .map(|place| beside.join(place).join(FILE));
    places.into_iter().find(|place| place.is_file()).ok_or_else(|| {
        refuse(
            Code::LibraryLoadFailed,
            format!("{FILE} is neither beside {} nor in ../lib: name it by HSMPOOL_MODULE or --module", program.display()),
        )
    })
}

/// Loads and initialises a module.
pub(super) fn open(path: &Path) -> Result<Pkcs11> {
    let module = Pkcs11::new(path).doing(Code::LibraryLoadFailed, format!("loading {}", path.display()))?;
    module
        .initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK))
        .doing(Code::LibraryLoadFailed, format!("initialising {}", path.display()))?;
    Ok(module)
}
