//! `hsmpool config`: which file is read, and what holds, in the words of a file that would say the same.

use serde_json::json;

use super::told::say;
use crate::assemble;
use crate::config::pool::PoolFile;
use crate::config::table::{Files, KEYS, Kind};
use crate::config::{Config, Style};
use crate::error::Result;

#[derive(clap::Args)]
#[command(after_help = "Example:\n  hsmpool config\n\n\
                        The output is a configuration file that says what holds. HSMPOOL_LOG is taken into account.")]
pub(super) struct Arguments {
    /// As JSON
    #[arg(long)]
    pub(super) json: bool,
}

pub(super) fn run(arguments: &Arguments) -> Result<()> {
    let config = assemble::configuration()?;
    if arguments.json {
        say(format_args!("{:#}", as_json(&config)));
    } else {
        say(as_file(&config).trim_end());
    }
    for warning in config.warnings.iter().chain(&of_pool(&config)) {
        eprintln!("warning: {warning}");
    }
    Ok(())
}

/// What is wrong or strange in the description of a pool that the configuration names.
fn of_pool(config: &Config) -> Option<String> {
    match PoolFile::read(config.pool_file.as_ref()?) {
        Ok(pool) => pool.warning(),
        Err(error) => Some(error.to_string()),
    }
}

/// Name, type and value of each key that has a value.
fn rows(config: &Config) -> impl Iterator<Item = (&'static str, Kind, String)> {
    let file = match config.style {
        Style::Hsmpool => Files::Hsmpool,
        Style::SoftHsm => Files::SoftHsm,
    };
    KEYS.iter().filter(move |key| key.is_in(file)).filter_map(|key| Some((key.name, key.kind, (key.show)(config)?)))
}

fn as_file(config: &Config) -> String {
    let mut text = match &config.source {
        Some(path) => format!("# read: {}\n", path.display()),
        None => "# no file was found: the defaults hold\n".to_owned(),
    };
    for (name, kind, value) in rows(config) {
        let value = if config.style == Style::Hsmpool { kind.in_toml(value) } else { value };
        text += &format!("{name} = {value}\n");
    }
    text
}

fn as_json(config: &Config) -> serde_json::Value {
    let values: serde_json::Map<_, _> = rows(config).map(|(name, _, value)| (name.to_owned(), value.into())).collect();
    json!({ "file": config.source, "values": values, "warnings": config.warnings.iter().chain(&of_pool(config)).collect::<Vec<_>>() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{self, Environment};
    use crate::store::tests::fixtures::Directory;

    fn read(text: &str) -> Config {
        let path = Directory::new().path().with_extension("toml");
        std::fs::write(&path, text).unwrap();
        let read = config::load(&Environment { hsmpool_conf: Some(path.clone()), ..Environment::default() });
        std::fs::remove_file(&path).unwrap();
        Config { source: None, ..read.unwrap() }
    }

    #[test]
    fn what_is_shown_is_a_file_that_says_the_same() {
        let defaults = config::load(&Environment::default()).unwrap();
        let again = read(&as_file(&defaults));
        let log_target = again.log_target.clone().filter(|target| *target != config::LogTarget::Syslog);
        assert_eq!(Config { log_target, ..again }, defaults);
        // Paths with what means something in TOML; the target is one that is shown.
        let odd = read(
            "pool.file = '/etc/a \"b\"\\c.toml'\npool.peer = '/etc/it.toml'\nlog.target = 'syslog'\nstore.directory = \"/srv/\\u007f#\"\n",
        );
        assert_eq!(odd.pool_file.as_deref(), Some(std::path::Path::new("/etc/a \"b\"\\c.toml")));
        assert_eq!(read(&as_file(&odd)), odd);
    }
}
