//! python-pkcs11, from its registry in a virtual environment: keys made and used; the `cryptography` package checks.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use crate::harness::{LABEL, PIN, Run, Token, program, promises};

promises!(python_uses_keys_that_cryptography_verifies);

fn python_uses_keys_that_cryptography_verifies(token: &Token) {
    let script = token.write("client.py", include_str!("clients/client.py"));
    let said = token.run_file(python()).arg(script).arg(token.module.path()).args([LABEL, PIN]).ok();
    said.says("rsa verified").says("ec verified").says("aes verified").says("ecdh verified");
}

/// The interpreter of a virtual environment with both packages, made once and kept in the target directory.
fn python() -> &'static Path {
    static PYTHON: OnceLock<PathBuf> = OnceLock::new();
    PYTHON.get_or_init(|| {
        let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("python-pkcs11");
        let python = directory.join("bin/python");
        if !directory.join("ready").is_file() {
            let parent = directory.parent().expect("joined above");
            Run::new(&program("python3"), parent).words("-m venv --clear").arg(&directory).ok();
            let install = "-m pip install --quiet --disable-pip-version-check python-pkcs11==0.7.0 cryptography";
            Run::new(&python, &directory).words(install).deadline(std::time::Duration::from_secs(600)).ok();
            std::fs::write(directory.join("ready"), "").expect("the target directory is writable");
        }
        python
    })
}
