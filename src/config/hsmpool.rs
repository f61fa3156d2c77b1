//! `hsmpool.toml`: strict. A key that does not exist is an error, since a misspelt one would be silently without effect.

use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::table::{self, Files, Kind};
use super::{Config, Place};
use crate::error::{Code, Doing, Result};

/// Fills `config` from the file's text. `home` is what `~/` in paths means.
pub(super) fn read(file: &Path, text: &str, home: Option<&Path>, config: &mut Config) -> Result<()> {
    let document =
        DeTable::parse(text).doing(Code::Configuration, format!("reading the configuration file {}", file.display()))?;
    Reading { file, text, home }.walk("", document.get_ref(), config)
}

struct Reading<'a> {
    file: &'a Path,
    text: &'a str,
    home: Option<&'a Path>,
}

impl Reading<'_> {
    /// `prefix`: names of the tables around this one, dots between and after them.
    fn walk(&self, prefix: &str, table: &DeTable<'_>, config: &mut Config) -> Result<()> {
        for (name, value) in table {
            let key = format!("{prefix}{}", name.get_ref());
            let place = Place { file: self.file, line: self.line_of(name.span().start), key: &key };
            if let DeValue::Table(inner) = value.get_ref() {
                let prefix = format!("{key}.");
                if !table::KEYS.iter().any(|row| row.is_in(Files::Hsmpool) && row.name.starts_with(&prefix)) {
                    return Err(place.refuse("there is no such table: `hsmpool docs configuration` lists what there is"));
                }
                self.walk(&prefix, inner, config)?;
                continue;
            }
            let row = table::find(&key, Files::Hsmpool)
                .ok_or_else(|| place.refuse("there is no such key: `hsmpool docs configuration` lists what there is"))?;
            place.set(config, row, &self.typed(&place, row.kind, value)?)?;
        }
        Ok(())
    }

    fn line_of(&self, at: usize) -> usize {
        1 + self.text.as_bytes()[..at].iter().filter(|byte| **byte == b'\n').count()
    }

    /// The value as text, if it has the type that the table names.
    fn typed(&self, place: &Place<'_>, kind: Kind, value: &Spanned<DeValue<'_>>) -> Result<String> {
        match (kind, value.get_ref()) {
            (Kind::Text, DeValue::String(text)) => Ok(text.to_string()),
            (Kind::Path, DeValue::String(text)) => self.absolute(place, text),
            (Kind::Beside, DeValue::String(text)) => self.beside(place, text),
            (Kind::Flag, DeValue::Boolean(flag)) => Ok(flag.to_string()),
            (Kind::Number, DeValue::Integer(number)) if number.radix() == 10 => Ok(number.as_str().to_owned()),
            _ => Err(place.refuse(format!("the value must be {}", kind.words()))),
        }
    }

    /// A file of the same deployment may be named from the configuration's own directory.
    fn beside(&self, place: &Place<'_>, text: &str) -> Result<String> {
        match text.starts_with("~/") {
            true => self.absolute(place, text),
            false => {
                let directory = std::path::absolute(self.file).ok().and_then(|file| file.parent().map(Path::to_owned));
                let path = directory.unwrap_or_default().join(text);
                path.to_str().map(str::to_owned).ok_or_else(|| place.refuse("the path of the file's directory is not UTF-8"))
            }
        }
    }

    /// A path must mean the same in every process that loads the module, wherever that runs.
    fn absolute(&self, place: &Place<'_>, text: &str) -> Result<String> {
        let path = match (text.strip_prefix("~/"), self.home) {
            (Some(rest), Some(home)) => home.join(rest),
            _ => text.into(),
        };
        match path.to_str() {
            Some(path) if path.starts_with('/') => Ok(path.to_owned()),
            _ => Err(place.refuse(format!("{text:?} is not an absolute path: it must begin with / or ~/"))),
        }
    }
}
