//! `softhsm2.conf`: `key = value`, one a line, `#` starts a comment. As lenient as SoftHSM: what it ignores is a warning here.

use std::path::Path;

use super::table::{self, Files};
use super::{Config, Place, set};
use crate::error::Result;

/// SoftHSM reads no more of a line.
const LINE_MAX_BYTES: usize = 1023;

pub(super) fn read(file: &Path, text: &str, config: &mut Config) -> Result<()> {
    for (at, line) in text.lines().enumerate() {
        let mut end = line.len().min(LINE_MAX_BYTES);
        while !line.is_char_boundary(end) {
            end -= 1;
        }
        let line = line[..end].split('#').next().unwrap_or_default().trim();
        if line.is_empty() {
            continue;
        }
        let mut warn = |what: &str| config.warnings.push(format!("{}, line {}: {what}", file.display(), at + 1));
        let Some((key, value)) = line.split_once('=') else {
            warn(&format!("{line:?} is not of the form key = value: ignored"));
            continue;
        };
        // SoftHSM's value ends at a second equals sign.
        let (key, value) = (key.trim(), value.split('=').next().unwrap_or_default().trim());
        if !table::knows(key, Files::SoftHsm) {
            warn(&format!("{key}: there is no such key: ignored"));
            continue;
        }
        set(config, &Place { file, line: at + 1, key }, value)?;
    }
    Ok(())
}
