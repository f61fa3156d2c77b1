//! Reading everything there is, and checking that it fits together.

use rusqlite::Connection;

use super::batch::state;
use super::change::Change;
use super::facts::{Fact, Sum};
use super::query;
use super::trouble::{Result, Trouble};
use crate::limits::LOG_KEPT_CHANGES;
use crate::object::{ObjectId, TokenId};

/// What a check has read, all of it sound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CheckReport {
    /// Tokens.
    pub tokens: u64,
    /// Holders of PINs.
    pub users: u64,
    /// Objects.
    pub objects: u64,
    /// Changes since the store was made.
    pub applied: u64,
    /// The set hash, recomputed from every row.
    pub set_hash: [u8; 32],
}

/// Checks SQLite's structures, the index of tags, the log and the set hash.
pub fn check(sql: &Connection) -> Result<CheckReport> {
    check_structure(sql)?;
    check_rows(sql)?;
    let (applied, recorded) = state(sql)?;
    check_log(sql, applied)?;
    let mut sum = Sum::EMPTY;
    let (mut tokens, mut users) = (0, 0);
    for token in query::tokens(sql)? {
        sum.add(Fact::Token(token.id, token.generation));
        tokens += 1;
        for user in query::users(sql, token.id)? {
            sum.add(Fact::User(token.id, user.role, user.generation, user.attempts));
            users += 1;
        }
    }
    let objects = add_objects(sql, &mut sum)?;
    if sum != recorded {
        return Err(damaged("rows were added, removed or put back behind the log: the set hash differs"));
    }
    Ok(CheckReport { tokens, users, objects, applied, set_hash: sum.root() })
}

fn check_structure(sql: &Connection) -> Result<()> {
    let mut select = sql.prepare("PRAGMA integrity_check(3)")?;
    let found: Vec<String> = select.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
    if found == ["ok"] { Ok(()) } else { Err(damaged(&found.join("; "))) }
}

/// Queries that find rows which have lost their partner, and what to call them.
const STRAYS: &[(&str, &str)] = &[
    ("SELECT count(*) FROM object WHERE token NOT IN (SELECT number FROM token)", "objects without a token"),
    ("SELECT count(*) FROM user WHERE token NOT IN (SELECT number FROM token)", "users without a token"),
    (
        "SELECT count(*) FROM tag WHERE NOT EXISTS
         (SELECT 1 FROM object o WHERE o.number = tag.object AND o.token = tag.token)",
        "tags without an object",
    ),
];

fn check_rows(sql: &Connection) -> Result<()> {
    for (query, what) in STRAYS {
        let strays: i64 = sql.query_row(query, [], |row| row.get(0))?;
        if strays != 0 {
            return Err(damaged(&format!("{strays} {what}")));
        }
    }
    Ok(())
}

/// Adds each object's fact, and compares its tags with the index.
fn add_objects(sql: &Connection, sum: &mut Sum) -> Result<u64> {
    let mut select =
        sql.prepare("SELECT o.number, o.token, t.id, o.id, o.version, o.tags FROM object o JOIN token t ON t.number = o.token")?;
    let mut indexed = sql.prepare("SELECT 1 FROM tag WHERE token = ? AND attribute = ? AND hash = ? AND object = ?")?;
    let mut rows = select.query([])?;
    let (mut objects, mut tags) = (0, 0);
    while let Some(row) = rows.next()? {
        let (number, token): (i64, i64) = (row.get(0)?, row.get(1)?);
        let id = ObjectId(row.get(3)?);
        sum.add(Fact::Object(TokenId(row.get(2)?), id, query::unsigned(row.get(4)?)));
        let listed = (-1, Vec::new());
        let carried = query::decode_tags(row.get_ref(5)?.as_blob().map_err(rusqlite::Error::from)?)?;
        let carried = carried.iter().map(|tag| (query::attribute(tag), tag.hash.to_vec()));
        for (attribute, hash) in carried.chain([listed]) {
            if !indexed.exists(rusqlite::params![token, attribute, hash, number])? {
                return Err(damaged(&format!("object {id} is missing from the index")));
            }
            tags += 1;
        }
        objects += 1;
    }
    let rows: i64 = sql.query_row("SELECT count(*) FROM tag", [], |row| row.get(0))?;
    if rows != tags {
        return Err(damaged(&format!("the index has {rows} rows, the objects {tags}")));
    }
    Ok(objects)
}

/// The log must end where the store stands, without gaps, and every change in it must be readable.
fn check_log(sql: &Connection, applied: u64) -> Result<()> {
    let mut select = sql.prepare("SELECT position, change FROM log ORDER BY position DESC LIMIT ?")?;
    let mut rows = select.query([LOG_KEPT_CHANGES.cast_signed()])?;
    let mut expected = applied;
    while let Some(row) = rows.next()? {
        let position = query::unsigned(row.get(0)?);
        if position != expected {
            return Err(damaged(&format!("the log has change {position} where {expected} is expected")));
        }
        let change: Option<Vec<u8>> = row.get(1)?;
        if let Some(Err(cause)) = change.map(|bytes| minicbor::decode::<Change>(&bytes)) {
            return Err(damaged(&format!("change {position} in the log cannot be decoded: {cause}")));
        }
        expected = expected.saturating_sub(1);
    }
    if applied > 0 && expected == applied {
        return Err(damaged(&format!("the log lacks change {applied}")));
    }
    Ok(())
}

fn damaged(what: &str) -> Trouble {
    Trouble::Damaged(what.into())
}
