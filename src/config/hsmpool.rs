//! `hsmpool.toml`: strict. A key that does not exist is an error, since a misspelt one would be silently without effect.

use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::table::{self, Files, Kind};
use super::{Config, Place, set};
use crate::error::{Code, Doing, Result};

pub(super) fn read(file: &Path, text: &str, config: &mut Config) -> Result<()> {
    let document =
        DeTable::parse(text).doing(Code::Configuration, format!("reading the configuration file {}", file.display()))?;
    walk(file, text, "", document.get_ref(), config)
}

fn walk(file: &Path, text: &str, prefix: &str, table: &DeTable<'_>, config: &mut Config) -> Result<()> {
    for (name, value) in table {
        let key = if prefix.is_empty() { name.get_ref().to_string() } else { format!("{prefix}.{}", name.get_ref()) };
        if let DeValue::Table(inner) = value.get_ref() {
            walk(file, text, &key, inner, config)?;
            continue;
        }
        let line = text[..name.span().start].lines().count().max(1);
        let line = if text[..name.span().start].ends_with('\n') { line + 1 } else { line };
        let place = Place { file, line, key: &key };
        let Some(row) = table::find(&key, Files::Hsmpool) else {
            return Err(place.refuse("there is no such key"));
        };
        set(config, &place, &typed(&place, row.kind, value)?)?;
    }
    Ok(())
}

/// The value as text, if it has the type that the table names.
fn typed(place: &Place<'_>, kind: Kind, value: &Spanned<DeValue<'_>>) -> Result<String> {
    match (kind, value.get_ref()) {
        (Kind::Text | Kind::Path, DeValue::String(text)) => Ok(text.to_string()),
        (Kind::Flag, DeValue::Boolean(flag)) => Ok(flag.to_string()),
        (Kind::Number, DeValue::Integer(number)) => Ok(number.as_str().to_string()),
        _ => Err(place.refuse(format!("the value must be {}", kind.words()))),
    }
}
