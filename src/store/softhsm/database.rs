//! The SQLite backend: one row an object (number 1 is the token), one table for each kind of value.
//!
//! Lists of mechanisms stand among the byte strings, nested templates in a table of their own; both are made of the numbers of the
//! machine that wrote them (`unsigned long`, and `int` for kinds), unlike those of the file backend.

use std::path::Path;

use rusqlite::{Connection, OpenFlags};

use super::{Raw, RawObject};
use crate::ck::AttributeType;
use crate::error::{Code, Doing, Result, refuse};
use crate::secret::Secret;

/// The token object, then all others in order of number.
pub(super) fn read_token(path: &Path) -> Result<Vec<RawObject>> {
    let doing = format!("reading SoftHSM's database {}", path.display());
    let sql = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY).doing(Code::StoreRefused, doing.as_str())?;
    let ids = ids(&sql).doing(Code::StoreRefused, doing.as_str())?;
    ids.iter().map(|id| read_object(&sql, *id, path, &doing)).collect()
}

fn ids(sql: &Connection) -> rusqlite::Result<Vec<i64>> {
    sql.prepare("SELECT id FROM object ORDER BY id")?.query_map([], |row| row.get(0))?.collect()
}

fn read_object(sql: &Connection, id: i64, path: &Path, doing: &str) -> Result<RawObject> {
    let mut object = RawObject::new();
    let mut rows = |table: &str, take: &mut dyn FnMut(u64, rusqlite::types::ValueRef<'_>) -> Option<Raw>| -> Result<()> {
        let select = format!("SELECT type, value FROM {table} WHERE object_id = ?");
        let mut select = sql.prepare(&select).doing(Code::StoreRefused, doing)?;
        let mut rows = select.query([id]).doing(Code::StoreRefused, doing)?;
        while let Some(row) = rows.next().doing(Code::StoreRefused, doing)? {
            let kind: i64 = row.get(0).doing(Code::StoreRefused, doing)?;
            let value = row.get_ref(1).doing(Code::StoreRefused, doing)?;
            let raw = take(kind as u64, value).ok_or_else(|| {
                refuse(Code::StoreRefused, format!("{}: object {id} has a damaged attribute {kind:#x}", path.display()))
            })?;
            object.push((kind as u64, raw));
        }
        Ok(())
    };
    rows("attribute_boolean", &mut |_, value| value.as_i64().ok().map(|flag| Raw::Bool(flag != 0)))?;
    rows("attribute_integer", &mut |_, value| value.as_i64().ok().map(|number| Raw::Ulong(number as u64)))?;
    rows("attribute_binary", &mut |kind, value| {
        let bytes = value.as_blob_or_null().ok()?.unwrap_or_default();
        match AttributeType(kind) {
            AttributeType::ALLOWED_MECHANISMS => mechanisms(bytes),
            _ => Some(Raw::Bytes(Secret::copy_of(bytes))),
        }
    })?;
    rows("attribute_array", &mut |_, value| template(value.as_blob_or_null().ok()?.unwrap_or_default()).map(Raw::Map))?;
    Ok(object)
}

pub(super) fn mechanisms(bytes: &[u8]) -> Option<Raw> {
    let (numbers, rest) = bytes.as_chunks::<8>();
    rest.is_empty().then(|| Raw::Mechanisms(numbers.iter().map(|number| u64::from_ne_bytes(*number)).collect()))
}

/// A nested template: total, as the file backend's parser is.
pub(super) fn template(mut from: &[u8]) -> Option<Vec<(u64, Raw)>> {
    let mut attributes = Vec::new();
    while !from.is_empty() {
        let kind = u64::from_ne_bytes(take(&mut from)?);
        let value = match u32::from_ne_bytes(take(&mut from)?) {
            1 => Raw::Bool(take::<1>(&mut from)? != [0]),
            2 => Raw::Ulong(u64::from_ne_bytes(take(&mut from)?)),
            3 => Raw::Bytes(Secret::copy_of(counted(&mut from)?)),
            5 => mechanisms(counted(&mut from)?)?,
            _ => return None,
        };
        attributes.push((kind, value));
    }
    Some(attributes)
}

fn take<const N: usize>(from: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, rest) = from.split_first_chunk::<N>()?;
    *from = rest;
    Some(*taken)
}

/// A length in bytes, and so many bytes.
fn counted<'a>(from: &mut &'a [u8]) -> Option<&'a [u8]> {
    let len = usize::try_from(u64::from_ne_bytes(take(from)?)).ok()?;
    let (taken, rest) = from.split_at_checked(len)?;
    *from = rest;
    Some(taken)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What SoftHSM 2.6.1 on x86-64 wrote for `CKA_WRAP_TEMPLATE` = label "lab", key type AES, sensitive.
    const WRAP_TEMPLATE: &str = "03000000000000000300000003000000000000006C616200010000000000000200\
                                 00001F0000000000000003010000000000000100000001";
    /// And for `CKA_ALLOWED_MECHANISMS` = AES-CBC, AES-CBC-PAD.
    const ALLOWED_MECHANISMS: &str = "82100000000000008510000000000000";

    fn bytes(hex: &str) -> Vec<u8> {
        let digit = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
        (0..hex.len()).step_by(2).map(digit).collect()
    }

    #[test]
    fn a_nested_template_that_softhsm_wrote_is_read() {
        let read = template(&bytes(WRAP_TEMPLATE)).unwrap();
        assert_eq!(read.iter().map(|(kind, _)| *kind).collect::<Vec<_>>(), [3, 0x100, 0x103]);
        assert!(matches!(&read[0].1, Raw::Bytes(label) if label.expose() == b"lab"));
        assert!(matches!(read[1].1, Raw::Ulong(0x1f)));
        assert!(matches!(read[2].1, Raw::Bool(true)));
        assert!(template(&[]).unwrap().is_empty(), "what SoftHSM writes for none");
    }

    #[test]
    fn a_list_of_mechanisms_that_softhsm_wrote_is_read() {
        assert!(matches!(mechanisms(&bytes(ALLOWED_MECHANISMS)), Some(Raw::Mechanisms(kinds)) if kinds == [0x1082, 0x1085]));
        assert!(matches!(mechanisms(&[]), Some(Raw::Mechanisms(kinds)) if kinds.is_empty()));
        assert!(mechanisms(&[0; 9]).is_none());
    }

    #[test]
    fn a_template_cut_anywhere_or_with_lengths_beyond_it_is_no_more_than_it_is() {
        let whole = bytes(WRAP_TEMPLATE);
        for len in 0..whole.len() {
            assert!(template(&whole[..len]).is_none_or(|read| read.len() < 3), "{len} bytes");
        }
        for kind in [3_u32, 5, 4, 0, u32::MAX] {
            let mut beyond = 3_u64.to_ne_bytes().to_vec();
            beyond.extend(kind.to_ne_bytes());
            beyond.extend(u64::MAX.to_ne_bytes());
            assert!(template(&beyond).is_none(), "kind {kind}");
        }
    }
}
