//! Files, variables and what they come to.

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use super::*;
use table::{Files, KEYS, Kind};

/// Directories of a test, gone when it ends.
struct Places(PathBuf);

impl Places {
    fn new() -> Self {
        static COUNTER: AtomicU32 = AtomicU32::new(0);
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("hsmpool-config-{}-{number}", std::process::id()));
        fs::create_dir_all(path.join("home")).unwrap();
        fs::create_dir_all(path.join("etc")).unwrap();
        Self(path)
    }

    fn file(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        path
    }

    fn environment(&self) -> Environment {
        Environment { home: Some(self.0.join("home")), etc: self.0.join("etc"), ..Environment::default() }
    }

    /// What an hsmpool.toml comes to.
    fn toml(&self, text: &str) -> Result<Config> {
        load(&Environment { hsmpool_conf: Some(self.file("hsmpool.toml", text)), ..self.environment() })
    }

    /// What a softhsm2.conf comes to.
    fn conf(&self, text: impl AsRef<[u8]>) -> Result<Config> {
        load(&Environment { softhsm2_conf: Some(self.file("softhsm2.conf", text)), ..self.environment() })
    }
}

impl Drop for Places {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn the_first_file_that_is_found_counts() {
    let places = Places::new();
    let names = [
        "etc/softhsm/softhsm2.conf",
        "home/.config/softhsm2/softhsm2.conf",
        "named.conf",
        "etc/hsmpool/hsmpool.toml",
        "home/.config/hsmpool/hsmpool.toml",
        "named.toml",
    ];
    let mut environment = places.environment();
    assert_eq!(load(&environment).unwrap().source, None);
    // From the weakest to the strongest: each new one wins over all before it.
    for name in names {
        let path = places.file(name, "");
        match name {
            "named.conf" => environment.softhsm2_conf = Some(path.clone()),
            "named.toml" => environment.hsmpool_conf = Some(path.clone()),
            _ => {}
        }
        let config = load(&environment).unwrap();
        assert_eq!(config.source, Some(path), "{name}");
        let expected = if name.ends_with(".toml") { Style::Hsmpool } else { Style::SoftHsm };
        assert_eq!(config.style, expected, "{name}");
    }
}

#[test]
fn a_file_that_a_variable_names_must_be_there() {
    let places = Places::new();
    let nowhere = Some(places.0.join("nowhere"));
    let ours = Environment { hsmpool_conf: nowhere.clone(), ..places.environment() };
    let softhsms = Environment { softhsm2_conf: nowhere, ..places.environment() };
    for (environment, variable) in [(ours, "HSMPOOL_CONF"), (softhsms, "SOFTHSM2_CONF")] {
        let error = load(&environment).unwrap_err();
        assert_eq!(error.code(), Code::Configuration);
        assert!(error.to_string().contains(variable) && error.to_string().contains("nowhere"), "{error}");
    }
}

#[test]
fn without_a_file_the_store_is_the_users_or_the_machines() {
    let places = Places::new();
    let mut environment = places.environment();
    let config = load(&environment).unwrap();
    assert_eq!(config.store_dir, places.0.join("home/.local/share/hsmpool"));
    assert_eq!((config.style, config.policy, config.reset_on_fork), (Style::Hsmpool, PolicyName::Default, true));
    environment.root = true;
    assert_eq!(load(&environment).unwrap().store_dir, PathBuf::from("/var/lib/hsmpool"));
    let homeless = Environment { home: None, root: false, ..environment };
    assert_eq!(load(&homeless).unwrap().store_dir, PathBuf::from("/var/lib/hsmpool"));
}

#[test]
fn softhsms_configuration_brings_softhsms_defaults() {
    let config = Places::new().conf("").unwrap();
    assert_eq!((config.style, config.policy, config.reset_on_fork), (Style::SoftHsm, PolicyName::Compatible, false));
    assert_eq!(config.store_dir, PathBuf::from("/var/lib/softhsm/tokens"));
    assert_eq!(config.pin_attempts_max, 10, "the lock-out stays on until it is switched off");
}

#[test]
fn every_key_of_ours_is_read() {
    let places = Places::new();
    let config = places
        .toml(
            "identity = 'softhsm'\n[store]\ndirectory = '~/keys'\nroot_key = false\nroot_key_file = '/run/key'\n[token]\n\
             policy = 'strict'\npin_attempts_max = 3\n[slots]\nremovable = true\nmechanisms = '-CKM_MD5,CKM_SHA_1'\n[library]\n\
             reset_on_fork = false\n[log]\nlevel = 'debug'\nfile = '/var/log/hsmpool.log'\ntarget = 'stderr'\n",
        )
        .unwrap();
    let expected = Config {
        source: config.source.clone(),
        style: Style::Hsmpool,
        store_dir: places.0.join("home/keys"),
        softhsm_identity: true,
        policy: PolicyName::Strict,
        removable: true,
        mechanisms: Mechanisms::Except(vec![MechanismType::MD5, MechanismType::SHA_1]),
        reset_on_fork: false,
        pin_attempts_max: 3,
        pool_file: None,
        peer_file: None,
        root_key: false,
        root_key_file: Some("/run/key".into()),
        log_level: Level::Debug,
        log_target: Some(LogTarget::File("/var/log/hsmpool.log".into())),
        warnings: vec![],
    };
    assert_eq!(config, expected);
}

#[test]
fn what_is_wrong_in_ours_is_named_by_file_line_and_key() {
    let places = Places::new();
    let cases = [
        ("\n\nstor.directory = '/x'\n", "line 3: stor: there is no such table"),
        ("[slots]\nremovible = true\n", "line 2: slots.removible: there is no such key"),
        ("[stoer]\n", "line 1: stoer: there is no such table"),
        ("[[store]]\n", "line 1: store: there is no such key"),
        ("[store.directory]\n", "line 1: store.directory: there is no such table"),
        ("directories.tokendir = '/x'\n", "line 1: directories: there is no such table"),
        ("[slots]\n\nremovable = 'true'\n", "line 3: slots.removable: the value must be true or false"),
        ("store.directory = 7\n", "line 1: store.directory: the value must be a path"),
        ("store.directory = 'keys'\n", "\"keys\" is not an absolute path"),
        ("store.directory = ''\n", "is not an absolute path"),
        ("log.file = '~other/log'\n", "is not an absolute path"),
        ("token.pin_attempts_max = -1\n", "\"-1\" is no number of attempts"),
        ("token.pin_attempts_max = 4294967296\n", "is no number of attempts"),
        ("token.pin_attempts_max = 0x10\n", "the value must be a number"),
        ("token.policy = 'lax'\n", "\"lax\" is none of \"compatible\", \"default\", \"strict\""),
        ("identity = 'SoftHSM'\n", "is none of \"hsmpool\", \"softhsm\""),
        ("log.level = 'loud'\n", "is not ERROR, WARNING, INFO or DEBUG"),
        ("log.target = 'file'\n", "is none of \"syslog\", \"stderr\""),
        ("store = \n", "line 1"),
        ("store.root_key = true\nstore.root_key = true\n", "line 2"),
    ];
    for (text, expected) in cases {
        let error = places.toml(text).unwrap_err();
        assert_eq!(error.code(), Code::Configuration, "{text:?}");
        let said = error.to_string();
        assert!(said.contains("hsmpool.toml") && said.contains(expected), "{text:?} gives {said}");
    }
    let error = load(&Environment { hsmpool_conf: Some(places.file("binary", [0xff])), ..places.environment() }).unwrap_err();
    assert!(error.to_string().contains("binary"), "{error}");
}

#[test]
fn softhsms_file_is_read_as_softhsm_reads_it() {
    let places = Places::new();
    let config = places
        .conf(
            b"# a comment, in Latin-1: caf\xe9\r\n\
              directories.tokendir = /tokens/   # where\r\n\
              \tslots.removable=TRUE\n\
              library.reset_on_fork = true = false\n\
              slots.mechanisms = CKM_RSA_PKCS,CKM_NO_SUCH\n\
              log.level = INFO\n\
              objectstore.backend = db\n\
              objectstore.umask = 0077\n\
              token.pin_attempts_max = 0\n",
        )
        .unwrap();
    assert_eq!(config.store_dir, PathBuf::from("/tokens/"));
    assert_eq!((config.removable, config.reset_on_fork), (true, true));
    assert_eq!(config.mechanisms, Mechanisms::Only(vec![MechanismType::RSA_PKCS]));
    assert_eq!((config.log_level, config.pin_attempts_max), (Level::Info, 0));
    assert_eq!(config.warnings.len(), 1);
    assert!(config.warnings[0].ends_with("softhsm2.conf, line 5: slots.mechanisms: no mechanism is called CKM_NO_SUCH: ignored"));
}

#[test]
fn what_softhsm_ignores_is_a_warning() {
    let places = Places::new();
    let cases = [
        "directories.tokendir\n",
        "directories.tokendir =\n",
        "directories.tokendir = # nothing\n",
        "= /tokens\n",
        "no.such.key = 1\n",
        "store.directory = /tokens\n",
        "slots.removable = yes\n",
    ];
    let nothing_said = places.conf("").unwrap();
    for text in cases {
        let config = places.conf(text).unwrap();
        assert_eq!(config.warnings.len(), 1, "{text:?}: {:?}", config.warnings);
        assert!(config.warnings[0].contains("line 1") && config.warnings[0].ends_with("ignored"), "{:?}", config.warnings);
        assert_eq!(Config { warnings: vec![], ..config }, nothing_said, "{text:?}");
    }
    let long = format!("directories.tokendir = /{}\nslots.removable = true\n", "x".repeat(2000));
    let config = places.conf(long).unwrap();
    assert_eq!(config.store_dir.as_os_str().len(), 1023 - "directories.tokendir = ".len(), "SoftHSM cuts lines");
    assert!(config.removable);
}

#[test]
fn what_softhsm_refuses_is_named() {
    let places = Places::new();
    let cases: [(&[u8], &str); 2] = [
        (b"\nlog.level = LOUD\n", "softhsm2.conf, line 2: log.level: \"LOUD\" is not ERROR"),
        (b"directories.tokendir = /caf\xe9\n", "softhsm2.conf, line 1 is not UTF-8"),
    ];
    for (text, expected) in cases {
        let error = places.conf(text).unwrap_err();
        assert_eq!(error.code(), Code::Configuration);
        assert!(error.to_string().contains(expected), "{error}");
    }
}

#[test]
fn the_variable_for_the_log_overrides_the_level_and_a_target_only_if_there_is_none() {
    let places = Places::new();
    let cases = [
        ("", Some(LogTarget::Stderr)),
        ("log.level = 'error'\n", Some(LogTarget::Stderr)),
        ("log.target = 'syslog'\n", Some(LogTarget::Syslog)),
        ("log.file = '/log'\n", Some(LogTarget::File("/log".into()))),
    ];
    for (text, target) in cases {
        let conf = places.file("hsmpool.toml", text);
        let environment = Environment { hsmpool_conf: Some(conf), hsmpool_log: Some("debug".to_owned()), ..places.environment() };
        let config = load(&environment).unwrap();
        assert_eq!((config.log_level, config.log_target), (Level::Debug, target), "{text:?}");
    }
    let error = load(&Environment { hsmpool_log: Some("loud".to_owned()), ..places.environment() }).unwrap_err();
    assert!(error.to_string().contains("HSMPOOL_LOG"), "{error}");
}

#[test]
fn what_a_key_shows_sets_it_to_the_same() {
    let places = Places::new();
    let values = [
        ("identity", "softhsm"),
        ("token.policy", "strict"),
        ("token.pin_attempts_max", "7"),
        ("slots.removable", "true"),
        ("slots.mechanisms", "-CKM_MD5,CKM_SHA_1"),
        ("library.reset_on_fork", "false"),
        ("log.level", "DEBUG"),
        ("log.target", "stderr"),
        ("log.file", "/log"),
        ("store.directory", "/store"),
        ("store.root_key", "false"),
        ("store.root_key_file", "/key"),
        ("pool.file", "/pool.toml"),
        ("pool.peer", "/hsmpoold.toml"),
        ("directories.tokendir", "/tokens"),
    ];
    for key in KEYS.iter().filter(|key| !key.name.starts_with("objectstore")) {
        let (_, value) = values.iter().find(|(name, _)| *name == key.name).expect("each key has a value here");
        let mut config = load(&places.environment()).unwrap();
        assert_ne!((key.show)(&config).as_deref(), Some(*value), "{}: the test's value is not the default", key.name);
        assert_eq!((key.set)(&mut config, value), Ok(()), "{}", key.name);
        assert_eq!((key.show)(&config).as_deref(), Some(*value), "{}", key.name);
    }
}

#[test]
fn names_are_unique_and_documented() {
    for (at, key) in KEYS.iter().enumerate() {
        assert!(!key.doc.is_empty() && !key.default.is_empty() && key.doc.ends_with('.'), "{}", key.name);
        assert!(KEYS[..at].iter().all(|other| other.name != key.name), "{}", key.name);
        assert_eq!(table::find(key.name, Files::SoftHsm).is_some(), key.files != Files::Hsmpool, "{}", key.name);
    }
    assert_eq!(Kind::Flag.words(), "true or false");
}

/// Any bytes give a configuration or a refusal, never a panic: the parsers on seeded mutations of a whole file.
#[test]
fn mutated_files_are_read_or_refused() {
    let places = Places::new();
    let conf =
        b"directories.tokendir = /tokens/ # c\nslots.mechanisms = -CKM_MD5,CKM_SHA_1\nlog.level = INFO\nslots.removable = true\n";
    let toml = b"identity = 'softhsm'\n[slots]\nmechanisms = \"ALL\"\nremovable = true\n[token]\npin_attempts_max = 12\n";
    let mut dice = 0x2545_f491_4f6c_dd1d_u64;
    let mut roll = move |below: usize| {
        dice ^= dice << 13;
        dice ^= dice >> 7;
        dice ^= dice << 17;
        (dice % below as u64) as usize
    };
    for _ in 0..2000 {
        for (whole, style) in [(&conf[..], Style::SoftHsm), (&toml[..], Style::Hsmpool)] {
            let mut bytes = whole.to_vec();
            for _ in 0..=roll(4) {
                let at = roll(bytes.len());
                match roll(3) {
                    0 => bytes[at] = roll(256) as u8,
                    1 => bytes.truncate(at.max(1)),
                    _ => bytes.insert(at, b"=#.\n[]'\"\0\xff"[roll(10)]),
                }
            }
            let mut config = load(&places.environment()).unwrap();
            let path = Path::new("mutated");
            let read = match (style, std::str::from_utf8(&bytes)) {
                (Style::SoftHsm, _) => softhsm::read(path, &bytes, &mut config),
                (Style::Hsmpool, Ok(text)) => hsmpool::read(path, text, None, &mut config),
                (Style::Hsmpool, Err(_)) => continue,
            };
            if let Err(error) = read {
                assert_eq!(error.code(), Code::Configuration);
                assert!(error.to_string().contains("mutated"), "{error}");
            }
        }
    }
}
