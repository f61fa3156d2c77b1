//! The SQLite backend: one row an object (number 1 is the token), one table for each kind of value.

use std::path::Path;

use rusqlite::{Connection, OpenFlags};

use super::{Raw, RawObject, file};
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
    rows("attribute_binary", &mut |_, value| {
        value.as_blob_or_null().ok().map(|bytes| Raw::Bytes(Secret::copy_of(bytes.unwrap_or_default())))
    })?;
    rows("attribute_array", &mut |kind, value| array(kind, value.as_blob_or_null().ok()?.unwrap_or_default()))?;
    Ok(object)
}

/// `CKA_ALLOWED_MECHANISMS` is a list of numbers; everything else here is a nested template.
fn array(kind: u64, bytes: &[u8]) -> Option<Raw> {
    if kind != crate::ck::AttributeType::ALLOWED_MECHANISMS.0 {
        return file::parse_map(bytes).map(Raw::Map);
    }
    // SoftHSM writes the machine's own `unsigned long`s here.
    let (numbers, rest) = bytes.as_chunks::<8>();
    rest.is_empty().then(|| Raw::Mechanisms(numbers.iter().map(|number| u64::from_ne_bytes(*number)).collect()))
}
