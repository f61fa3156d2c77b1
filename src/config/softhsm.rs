//! `softhsm2.conf`: `key = value`, one a line, `#` starts a comment. As lenient as SoftHSM: what it ignores is a warning here.

use std::path::Path;

use super::table::{self, Files, Kind};
use super::{Config, Place};
use crate::error::{Code, Doing, Result};

/// SoftHSM reads no more of a line.
const LINE_MAX_BYTES: usize = 1023;

/// Fills `config` from the file's bytes. Comments may be in any encoding.
pub(super) fn read(file: &Path, bytes: &[u8], config: &mut Config) -> Result<()> {
    for (at, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
        let cut = &line[..line.len().min(LINE_MAX_BYTES)];
        let statement = cut.split(|byte| *byte == b'#').next().unwrap_or_default().trim_ascii();
        if statement.is_empty() {
            continue;
        }
        let place = format!("{}, line {}", file.display(), at + 1);
        let statement = std::str::from_utf8(statement).doing(Code::Configuration, format!("{place} is not UTF-8"))?;
        // SoftHSM's value ends at a second equals sign.
        let mut parts = statement.split('=').map(str::trim);
        let (Some(key), Some(value)) = (parts.next(), parts.next().filter(|value| !value.is_empty())) else {
            config.warnings.push(format!("{place}: {statement:?} is not of the form key = value: ignored"));
            continue;
        };
        let Some(row) = table::find(key, Files::SoftHsm) else {
            config.warnings.push(format!("{place}: {key}: there is no such key: ignored"));
            continue;
        };
        let lower = value.to_ascii_lowercase();
        let value = match row.kind {
            Kind::Flag if lower != "true" && lower != "false" => {
                config.warnings.push(format!("{place}: {key}: {value:?} is neither true nor false: ignored"));
                continue;
            }
            Kind::Flag => &lower,
            _ => value,
        };
        Place { file, line: at + 1, key }.set(config, row, value)?;
    }
    Ok(())
}
