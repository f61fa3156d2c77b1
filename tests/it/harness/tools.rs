//! Foreign programs: which Debian package has each. A missing one fails the test with the package's name.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::Run;

/// Every foreign program that a test starts, and its package. `tests/packages` installs the same packages.
const PROGRAMS: &[(&str, &str)] = &[
    ("apache2", "apache2-bin"),
    ("apt-get", "apt"),
    ("bash", "bash"),
    ("cargo", "cargo"),
    ("c++", "g++"),
    ("cc", "gcc"),
    ("certtool", "gnutls-bin"),
    ("certutil", "libnss3-tools"),
    ("curl", "curl"),
    ("dnssec-keygen", "bind9-utils"),
    ("dnssec-verify", "bind9-utils"),
    ("gnutls-cli", "gnutls-bin"),
    ("gnutls-serv", "gnutls-bin"),
    ("gnupg-pkcs11-scd", "gnupg-pkcs11-scd"),
    ("id", "coreutils"),
    ("ip", "iproute2"),
    ("java", "default-jdk-headless"),
    ("keymgr", "knot"),
    ("keytool", "default-jdk-headless"),
    ("kzonesign", "knot-dnssecutils"),
    ("ldns-signzone", "ldnsutils"),
    ("modutil", "libnss3-tools"),
    ("nginx", "nginx-light"),
    ("nm", "binutils"),
    ("ods-hsmspeed", "libhsm-bin"),
    ("ods-hsmutil", "libhsm-bin"),
    ("openssl", "openssl"),
    ("openvpn", "openvpn"),
    ("p11-kit", "p11-kit"),
    ("p11tool", "gnutls-bin"),
    ("pkcs11-tool", "opensc"),
    ("pkcs11_listcerts", "libpam-pkcs11"),
    ("python3", "python3"),
    ("readelf", "binutils"),
    ("softhsm2-util", "softhsm2"),
    ("ssh", "openssh-client"),
    ("ssh-add", "openssh-client"),
    ("ssh-agent", "openssh-client"),
    ("ssh-keygen", "openssh-client"),
    ("sshd", "openssh-server"),
    ("stunnel", "stunnel4"),
    ("sudo", "sudo"),
    ("unshare", "util-linux"),
    ("valgrind", "valgrind"),
];

/// The program's file, looked up along `PATH` and the system administrator's directories.
pub fn program(name: &str) -> PathBuf {
    let package = PROGRAMS.iter().find(|(known, _)| *known == name).map(|(_, package)| *package);
    let package = package.unwrap_or_else(|| panic!("{name} is not in the harness's table of programs"));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let administrators = ["/usr/sbin", "/sbin"].map(PathBuf::from);
    let candidates = std::env::split_paths(&path).chain(administrators).map(|directory| directory.join(name));
    let found = candidates.into_iter().find(|candidate| candidate.is_file());
    found.unwrap_or_else(|| panic!("{name} is missing: install the package {package} (tests/packages does)"))
}

/// A file that a package installs under a fixed name.
pub fn file_of_package(path: impl AsRef<Path>, package: &str) -> PathBuf {
    let path = path.as_ref();
    assert!(path.is_file(), "{path:?} is missing: install the package {package} (tests/packages does)");
    path.into()
}

/// What `tests/foreign/NAME.sh` fetches and builds, once; kept in the target directory.
pub fn foreign(name: &str) -> PathBuf {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    // A build that failed for another test fails for this one too, with its own message.
    let _guard = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/foreign/{name}.sh"));
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::create_dir_all(&directory).expect("the target directory is writable");
    Run::new(&program("bash"), &directory).arg(script).arg(&directory).deadline(Duration::from_secs(900)).ok();
    directory
}

/// Where Debian puts this architecture's libraries.
pub fn library_directory() -> PathBuf {
    format!("/usr/lib/{}-linux-gnu", std::env::consts::ARCH).into()
}

#[test]
fn every_program_s_package_is_installed_by_the_package_script() {
    let script = include_str!("../../packages");
    let installed: Vec<&str> = script.split(|c: char| c.is_whitespace() || "\"=".contains(c)).collect();
    // Some are there before the script runs.
    let missing = PROGRAMS
        .iter()
        .filter(|(name, package)| !["apt-get", "bash", "cargo", "id", "unshare"].contains(name) && !installed.contains(package));
    assert_eq!(missing.collect::<Vec<_>>(), Vec::<&(&str, &str)>::new());
}
