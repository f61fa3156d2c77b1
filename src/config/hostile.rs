//! Targets of fuzzers: configuration files.

use std::path::Path;

use super::pool::{NodeFile, PoolFile};
use super::{Config, Environment, Style, hsmpool, softhsm};

/// A file of each kind; whatever its bytes are, it is read, or refused with a sentence that names the file.
pub fn configurations(bytes: &[u8]) {
    let environment = Environment { home: Some("/nowhere".into()), etc: "/nowhere".into(), ..Environment::default() };
    let file = Path::new("the-file");
    let mut config = Config::defaults(&environment, Style::SoftHsm, None);
    let mut read = vec![softhsm::read(file, bytes, &mut config)];
    if let Ok(text) = std::str::from_utf8(bytes) {
        let mut config = Config::defaults(&environment, Style::Hsmpool, None);
        read.push(hsmpool::read(file, text, Some(Path::new("/nowhere")), &mut config));
        let _ = (toml::from_str::<PoolFile>(text), toml::from_str::<NodeFile>(text));
    }
    for error in read.into_iter().filter_map(Result::err) {
        assert!(error.to_string().contains("the-file"), "{error}");
    }
}

/// Input of the right form.
#[cfg(test)]
pub fn configuration_samples() -> Vec<Vec<u8>> {
    let ours = "store.directory = \"~/tokens\"\nmodule.mechanisms = [\"CKM_ECDSA\"]\n[log]\nlevel = \"info\"\n";
    let softhsm = "# comment\ndirectories.tokendir = /var/lib/tokens\nobjectstore.backend = file\nlog.level = INFO\n\
                   slots.removable = true\nslots.mechanisms = -CKM_RSA_X_509,CKM_DES_ECB\nlibrary.reset_on_fork = true\n";
    let pool = "pool = \"00112233445566778899aabbccddeeff\"\nzone = \"a\"\n[certificates]\nca = \"ca.pem\"\ncertificate = \"c.pem\"\n\
                key = \"c.key\"\n[[node]]\nzone = \"a\"\naddresses = [\"unix:/run/a.sock\", \"tcp:10.0.0.1:7100\"]\n";
    let node = "pool = \"00112233445566778899aabbccddeeff\"\nnode = 1\nzone = \"a\"\ndirectory = \"data\"\n[listen]\n\
                clients = [\"tcp:0.0.0.0:7100\"]\npeers = \"tcp:0.0.0.0:7101\"\n[certificates]\nca = \"ca.pem\"\n\
                certificate = \"n.pem\"\nkey = \"n.key\"\n[unix_users]\n1000 = \"web\"\n";
    [ours, softhsm, pool, node].map(|text| text.as_bytes().to_vec()).to_vec()
}
