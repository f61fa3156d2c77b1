//! `hsmpool config`: which file, and what holds.

use crate::assemble;
use crate::error::Result;

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// As JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &Arguments) -> Result<()> {
    let config = assemble::configuration()?;
    let source = config.source.as_ref().map_or("no file: the defaults hold".to_owned(), |path| path.display().to_string());
    let rows = [
        ("file", source),
        ("store directory", config.store_dir.display().to_string()),
        ("root key beside the store", config.root_key.to_string()),
        ("identity", if config.softhsm_identity { "softhsm" } else { "hsmpool" }.to_owned()),
        ("policy of new tokens", format!("{:?}", config.policy).to_lowercase()),
        ("wrong PINs that lock", config.pin_attempts_max.to_string()),
        ("removable slots", config.removable.to_string()),
        ("mechanisms", format!("{:?}", config.mechanisms)),
        ("child of a fork starts anew", config.reset_on_fork.to_string()),
        ("log level", format!("{:?}", config.log_level).to_lowercase()),
        ("log target", format!("{:?}", config.log_target)),
    ];
    if arguments.json {
        let object: serde_json::Map<_, _> =
            rows.iter().map(|(name, value)| (name.replace(' ', "_"), value.as_str().into())).collect();
        println!("{:#}", serde_json::Value::Object(object));
        return Ok(());
    }
    for (name, value) in rows {
        println!("{name:<28} {value}");
    }
    for warning in &config.warnings {
        eprintln!("warning: {warning}");
    }
    Ok(())
}
