//! Reading facts. Each function runs in the transaction that is open, or in one of its own.

use rusqlite::types::Value;
use rusqlite::{Connection, OptionalExtension, Row, params, params_from_iter};

use super::change::{ObjectRow, Sealed, Tag, TokenRow, UserRow};
use super::trouble::{Result, Trouble};
use crate::ck::AttributeType;
use crate::object::{ObjectId, TokenId};

/// An object that a search found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// Its name for ever.
    pub id: ObjectId,
    /// Its version.
    pub version: u64,
    /// Whether it is hidden from those who are not logged in.
    pub private: bool,
}

/// A tag in its stored form: attribute (8 bytes, big-endian), hash.
const TAG_BYTES: usize = 24;

/// All tokens, in the order in which they were made.
pub fn tokens(sql: &Connection) -> Result<Vec<TokenRow>> {
    let select = "SELECT id, serial, label, policy, generation, public_key, mac FROM token ORDER BY number";
    let mut select = sql.prepare_cached(select)?;
    let mut rows = select.query([])?;
    let mut tokens = Vec::new();
    while let Some(row) = rows.next()? {
        tokens.push(token_of(row)?);
    }
    Ok(tokens)
}

/// One token.
pub fn token(sql: &Connection, id: TokenId) -> Result<Option<TokenRow>> {
    let select = "SELECT id, serial, label, policy, generation, public_key, mac FROM token WHERE id = ?";
    let mut select = sql.prepare_cached(select)?;
    let mut rows = select.query([id.0])?;
    rows.next()?.map(token_of).transpose()
}

fn token_of(row: &Row<'_>) -> Result<TokenRow> {
    Ok(TokenRow {
        id: TokenId(row.get(0)?),
        serial: row.get(1)?,
        label: row.get(2)?,
        policy: row.get(3)?,
        generation: unsigned(row.get(4)?),
        public_key: row.get(5)?,
        mac: row.get(6)?,
    })
}

const USERS: &str = "SELECT u.role, u.generation, u.wrapped, u.attempts, u.attempts_max
    FROM token t JOIN user u ON u.token = t.number WHERE t.id = ?1";

/// One holder of a PIN.
pub fn user(sql: &Connection, token: TokenId, role: u8) -> Result<Option<UserRow>> {
    let mut select = sql.prepare_cached(&format!("{USERS} AND u.role = ?2"))?;
    let mut rows = select.query(params![token.0, role])?;
    rows.next()?.map(|row| user_of(token, row)).transpose()
}

/// All holders of a PIN of one token.
pub fn users(sql: &Connection, token: TokenId) -> Result<Vec<UserRow>> {
    let mut select = sql.prepare_cached(USERS)?;
    let mut rows = select.query([token.0])?;
    let mut users = Vec::new();
    while let Some(row) = rows.next()? {
        users.push(user_of(token, row)?);
    }
    Ok(users)
}

fn user_of(token: TokenId, row: &Row<'_>) -> Result<UserRow> {
    Ok(UserRow {
        token,
        role: row.get(0)?,
        generation: unsigned(row.get(1)?),
        wrapped: Sealed::from_ciphertext(row.get(2)?),
        attempts: row.get(3)?,
        attempts_max: row.get(4)?,
    })
}

/// One object.
pub fn object(sql: &Connection, token: TokenId, id: ObjectId) -> Result<Option<ObjectRow>> {
    let select = "SELECT o.version, o.private, o.tags, o.sealed
        FROM object o JOIN token t ON t.number = o.token WHERE o.id = ? AND t.id = ?";
    let mut select = sql.prepare_cached(select)?;
    let mut rows = select.query(params![id.0, token.0])?;
    let Some(row) = rows.next()? else { return Ok(None) };
    Ok(Some(ObjectRow {
        id,
        version: unsigned(row.get(0)?),
        private: row.get(1)?,
        tags: decode_tags(row.get_ref(2)?.as_blob().map_err(rusqlite::Error::from)?)?,
        sealed: Sealed::from_ciphertext(row.get(3)?),
    }))
}

/// The version of one object, without opening its row's payload.
pub fn object_version(sql: &Connection, token: TokenId, id: ObjectId) -> Result<Option<u64>> {
    let select = "SELECT o.version FROM object o JOIN token t ON t.number = o.token WHERE o.id = ? AND t.id = ?";
    let mut select = sql.prepare_cached(select)?;
    let mut rows = select.query(params![id.0, token.0])?;
    Ok(rows.next()?.map(|row| row.get(0)).transpose()?.map(unsigned))
}

/// How many objects a token holds.
pub fn count(sql: &Connection, token: TokenId) -> Result<u64> {
    let select = "SELECT count(*) FROM tag
        WHERE token = (SELECT number FROM token WHERE id = ?) AND attribute = -1 AND hash = x''";
    let count = sql.prepare_cached(select)?.query_row([token.0], |row| row.get(0))?;
    Ok(unsigned(count))
}

/// Objects that carry all the tags, in order of creation. The open transaction must last for the call: there is more than one statement.
pub fn find(sql: &Connection, token: TokenId, tags: &[Tag], include_private: bool) -> Result<Vec<Found>> {
    let mut number = sql.prepare_cached("SELECT number FROM token WHERE id = ?")?;
    let Some(number) = number.query_row([token.0], |row| row.get(0)).optional()? else { return Ok(Vec::new()) };
    let mut select = sql.prepare_cached(&find_statement(tags.len()))?;
    let mut values = vec![Value::Integer(number), Value::Integer(i64::from(include_private))];
    for tag in rarest_first(sql, number, tags)? {
        values.extend([Value::Integer(attribute(&tag)), Value::Blob(tag.hash.to_vec())]);
    }
    let mut rows = select.query(params_from_iter(values))?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let version = unsigned(row.get(1)?);
        found.push(Found { id: ObjectId(row.get(0)?), version, private: row.get(2)? });
    }
    Ok(found)
}

/// One query: walks the rows of the first tag, looks each of them up under the others, and reads those objects that are left.
/// `CROSS JOIN` keeps SQLite from turning the order round.
fn find_statement(tags: usize) -> String {
    let first = if tags == 0 { "f.attribute = -1 AND f.hash = x''" } else { "f.attribute = ?3 AND f.hash = ?4" };
    let mut statement = format!(
        "SELECT o.id, o.version, o.private FROM tag f CROSS JOIN object o ON o.number = f.object
         WHERE f.token = ?1 AND {first} AND (?2 OR NOT o.private)"
    );
    for other in 1..tags {
        let (attribute, hash) = (3 + 2 * other, 4 + 2 * other);
        statement.push_str(&format!(
            " AND EXISTS (SELECT 1 FROM tag g
              WHERE g.token = ?1 AND g.attribute = ?{attribute} AND g.hash = ?{hash} AND g.object = f.object)"
        ));
    }
    statement.push_str(" ORDER BY f.object");
    statement
}

/// The tags with one of the rarest in front. Counts each up to a bound that grows fourfold, so that the cost follows the rarest.
fn rarest_first(sql: &Connection, token: i64, tags: &[Tag]) -> Result<Vec<Tag>> {
    let mut tags = tags.to_vec();
    if tags.len() < 2 {
        return Ok(tags);
    }
    let count = "SELECT count(*) FROM
        (SELECT 1 FROM tag WHERE token = ?1 AND attribute = ?2 AND hash = ?3 LIMIT ?4)";
    let mut count = sql.prepare_cached(count)?;
    let mut bound: i64 = 4;
    loop {
        for first in 0..tags.len() {
            let tag = tags[first];
            let rows: i64 = count.query_row(params![token, attribute(&tag), tag.hash, bound], |row| row.get(0))?;
            if rows < bound {
                tags.swap(0, first);
                return Ok(tags);
            }
        }
        bound = bound.saturating_mul(4);
    }
}

/// An attribute's number as SQLite keeps it.
pub fn attribute(tag: &Tag) -> i64 {
    tag.attribute.0.cast_signed()
}

/// The stored form of an object's tags.
pub fn encode_tags(tags: &[Tag]) -> Vec<u8> {
    tags.iter().flat_map(|tag| tag.attribute.0.to_be_bytes().into_iter().chain(tag.hash)).collect()
}

/// The tags of an object from their stored form.
pub fn decode_tags(bytes: &[u8]) -> Result<Vec<Tag>> {
    let (tags, rest) = bytes.as_chunks::<TAG_BYTES>();
    if !rest.is_empty() {
        return Err(Trouble::Damaged(format!("an object's tags have {} bytes, no multiple of {TAG_BYTES}", bytes.len())));
    }
    let tag = |bytes: &[u8; TAG_BYTES]| {
        let (attribute, hash) = bytes.split_first_chunk().expect("24 bytes begin with 8");
        let hash = *hash.first_chunk().expect("24 bytes less 8 are 16");
        Tag { attribute: AttributeType(u64::from_be_bytes(*attribute)), hash }
    };
    Ok(tags.iter().map(tag).collect())
}

/// Numbers are stored as their 64 bits, so that every number can be: those from 2^63 on come back from SQLite as negative ones.
pub fn unsigned(number: i64) -> u64 {
    number.cast_unsigned()
}
