//! `hsmpool config`: which file is read, and what holds, in the words of a file that would say the same.

use serde_json::json;

use crate::assemble;
use crate::config::table::{Files, KEYS, Kind};
use crate::config::{Config, Style};
use crate::error::Result;

#[derive(clap::Args)]
#[command(after_help = "Example:\n  hsmpool config\n\n\
                        The output is a configuration file that says what holds. HSMPOOL_LOG is taken into account.")]
pub(super) struct Arguments {
    /// As JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &Arguments) -> Result<()> {
    let config = assemble::configuration()?;
    if arguments.json {
        println!("{:#}", as_json(&config));
    } else {
        print!("{}", as_file(&config));
    }
    for warning in &config.warnings {
        eprintln!("warning: {warning}");
    }
    Ok(())
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
        let quoted = config.style == Style::Hsmpool && matches!(kind, Kind::Text | Kind::Path);
        text += &if quoted { format!("{name} = {value:?}\n") } else { format!("{name} = {value}\n") };
    }
    text
}

fn as_json(config: &Config) -> serde_json::Value {
    let values: serde_json::Map<_, _> = rows(config).map(|(name, _, value)| (name.to_owned(), value.into())).collect();
    json!({ "file": config.source, "values": values, "warnings": config.warnings })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{self, Environment};

    #[test]
    fn what_is_shown_is_a_file_that_says_the_same() {
        let path = std::env::temp_dir().join(format!("hsmpool-config-show-{}", std::process::id()));
        let defaults = config::load(&Environment::default()).unwrap();
        std::fs::write(&path, as_file(&defaults)).unwrap();
        let again = config::load(&Environment { hsmpool_conf: Some(path.clone()), ..Environment::default() }).unwrap();
        std::fs::remove_file(&path).unwrap();
        let log_target = again.log_target.clone().filter(|target| *target != config::LogTarget::Syslog);
        assert_eq!(Config { source: None, log_target, ..again }, defaults);
    }
}
