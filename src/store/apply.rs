//! What a committed change does to the facts: pure, total, and the only writer of them.
//!
//! Apply looks at the change and at the store, at nothing else, so that every replica does the same. It compares the versions that the
//! change was decided on and answers; it writes either all of the change or nothing.

use std::collections::{HashMap, HashSet};

use rusqlite::{Connection, OptionalExtension, params};

use super::change::{Change, ObjectRow, Outcome, Tag, TokenRow, UserRow};
use super::facts::{Fact, Sum};
use super::query;
use super::trouble::Result;
use crate::object::{ObjectId, TokenId};

/// Applies `change` within the open transaction of `sql` and keeps `sum` and what is known of `tokens` up to date.
///
/// For every outcome but `Done` and `Attempt` nothing has been written. Tags of new objects are left in `tags`: nothing that is applied looks for them, but what
/// takes objects away removes theirs, so it has them added first.
pub fn apply(sql: &Connection, sum: &mut Sum, tokens: &mut Tokens, tags: &mut NewTags, change: &Change) -> Result<Outcome> {
    if !matches!(change, Change::CreateObjects { .. }) {
        tags.add(sql)?;
    }
    let facts = &mut Facts { sql, sum, tokens, tags };
    match change {
        Change::InitToken { token, so, expected_generation: None } => facts.new_token(token, so),
        Change::InitToken { token, so, expected_generation: Some(expected) } => facts.empty_token(token, so, *expected),
        Change::DeleteToken { token } => facts.delete_token(*token),
        Change::CreateObjects { token, token_generation, objects } => facts.create_objects(*token, *token_generation, objects),
        Change::ReplaceObject { token, row } => facts.replace_object(*token, row),
        Change::DeleteObject { token, id, expected_version } => facts.delete_object(*token, *id, *expected_version),
        Change::SetUser { user, expected_generation } => facts.set_user(user, *expected_generation),
        Change::ReserveAttempt { token, role } => facts.reserve_attempt(*token, *role),
        Change::ClearAttempts { token, role, generation } => facts.clear_attempts(*token, *role, *generation),
        Change::ImportToken { token, so, user, objects } => facts.import_token(token, so, user.as_ref(), objects),
    }
}

/// Tokens that were looked up in the open transaction.
pub type Tokens = HashMap<TokenId, Known>;

/// A token's row number and generation.
#[derive(Clone, Copy)]
pub struct Known {
    number: i64,
    generation: u64,
}

/// An object's row number, version and tags.
struct Stored {
    number: i64,
    version: u64,
    tags: Vec<Tag>,
}

/// Whether two of them have one id.
fn has_twins(objects: &[ObjectRow]) -> bool {
    let mut seen = HashSet::new();
    objects.iter().any(|row| !seen.insert(row.id))
}

/// The attribute of the row that lists an object.
const LISTED: i64 = -1;
/// Rows of tags that one statement adds; each number of rows is a statement of its own.
const TAGS_AT_ONCE_MAX: usize = 16;
/// Rows of tags that are left for later at most.
const TAGS_LEFT_MAX: usize = 4096;

/// Rows for new objects that are not added yet: who made one need not wait for them, and added in their order many cost less.
#[derive(Default)]
pub struct NewTags(Vec<TagRow>);

/// Token, attribute, hash (none where an object is listed), object: as the table has them.
type TagRow = (i64, i64, Option<[u8; 16]>, i64);

impl NewTags {
    /// Leaves an object's tags, and the row that lists it.
    fn leave(&mut self, token: i64, object: i64, tags: &[Tag]) {
        self.0.push((token, LISTED, None, object));
        self.0.extend(tags.iter().map(|tag| (token, query::attribute(tag), Some(tag.hash), object)));
    }

    /// Adds all that was left.
    pub fn add(&mut self, sql: &Connection) -> Result<()> {
        self.0.sort_unstable();
        let added = add_tags(sql, &self.0);
        self.0.clear();
        added
    }
}

/// Adds rows, many to a statement.
fn add_tags(sql: &Connection, rows: &[TagRow]) -> Result<()> {
    for rows in rows.chunks(TAGS_AT_ONCE_MAX) {
        let places = vec!["(?, ?, ?, ?)"; rows.len()].join(", ");
        // What fails ends the whole transaction: nothing is kept to take back the rows before it.
        let insert = format!("INSERT OR FAIL INTO tag (token, attribute, hash, object) VALUES {places}");
        let mut insert = sql.prepare_cached(&insert)?;
        for (at, (token, attribute, hash, object)) in rows.iter().enumerate() {
            insert.raw_bind_parameter(4 * at + 1, token)?;
            insert.raw_bind_parameter(4 * at + 2, attribute)?;
            insert.raw_bind_parameter(4 * at + 3, hash.as_ref().map_or(&[][..], |hash| &hash[..]))?;
            insert.raw_bind_parameter(4 * at + 4, object)?;
        }
        insert.raw_execute()?;
    }
    Ok(())
}

/// The facts in the store, and their sum.
struct Facts<'a> {
    sql: &'a Connection,
    sum: &'a mut Sum,
    tokens: &'a mut Tokens,
    tags: &'a mut NewTags,
}

impl Facts<'_> {
    fn new_token(&mut self, token: &TokenRow, so: &UserRow) -> Result<Outcome> {
        let taken = "SELECT 1 FROM token WHERE id = ? OR serial = ?";
        if self.sql.prepare_cached(taken)?.exists(params![token.id.0, token.serial])? {
            return Ok(Outcome::Conflict);
        }
        let insert = "INSERT INTO token (id, serial, label, policy, generation, public_key, mac) VALUES (?, ?, ?, ?, ?, ?, ?)";
        let generation = token.generation.cast_signed();
        self.sql.prepare_cached(insert)?.execute(params![
            token.id.0,
            token.serial,
            token.label,
            token.policy,
            generation,
            token.public_key,
            token.mac
        ])?;
        self.sum.add(Fact::Token(token.id, token.generation));
        self.put_user(self.sql.last_insert_rowid(), token.id, so)?;
        Ok(Outcome::Done)
    }

    fn import_token(&mut self, token: &TokenRow, so: &UserRow, user: Option<&UserRow>, objects: &[ObjectRow]) -> Result<Outcome> {
        // A new token has no object: only twins among these could be refused, and nothing may be written by then.
        if has_twins(objects) || user.is_some_and(|user| user.role == so.role) {
            return Ok(Outcome::Conflict);
        }
        match self.new_token(token, so)? {
            Outcome::Done => {}
            refused => return Ok(refused),
        }
        if let Some(user) = user {
            self.set_user(&UserRow { token: token.id, ..user.clone() }, None)?;
        }
        self.create_objects(token.id, token.generation, objects)
    }

    fn empty_token(&mut self, token: &TokenRow, so: &UserRow, expected: u64) -> Result<Outcome> {
        let Some(known) = self.token(token.id)? else { return Ok(Outcome::Gone) };
        let taken = "SELECT 1 FROM token WHERE serial = ? AND number <> ?";
        if known.generation != expected || self.sql.prepare_cached(taken)?.exists(params![token.serial, known.number])? {
            return Ok(Outcome::Conflict);
        }
        self.clear_token(known.number, token.id)?;
        self.tokens.remove(&token.id);
        let update =
            "UPDATE token SET serial = ?, label = ?, policy = ?, generation = ?, public_key = ?, mac = ? WHERE number = ?";
        let generation = token.generation.cast_signed();
        self.sql.prepare_cached(update)?.execute(params![
            token.serial,
            token.label,
            token.policy,
            generation,
            token.public_key,
            token.mac,
            known.number
        ])?;
        self.sum.remove(Fact::Token(token.id, known.generation));
        self.sum.add(Fact::Token(token.id, token.generation));
        self.put_user(known.number, token.id, so)?;
        Ok(Outcome::Done)
    }

    fn delete_token(&mut self, token: TokenId) -> Result<Outcome> {
        let Some(known) = self.token(token)? else { return Ok(Outcome::Gone) };
        self.clear_token(known.number, token)?;
        self.tokens.remove(&token);
        self.sql.prepare_cached("DELETE FROM token WHERE number = ?")?.execute([known.number])?;
        self.sum.remove(Fact::Token(token, known.generation));
        Ok(Outcome::Done)
    }

    fn create_objects(&mut self, token: TokenId, generation: u64, objects: &[ObjectRow]) -> Result<Outcome> {
        let Some(known) = self.token(token)? else { return Ok(Outcome::Gone) };
        if known.generation != generation {
            return Ok(Outcome::Conflict);
        }
        if has_twins(objects) {
            return Ok(Outcome::Conflict);
        }
        let insert = "INSERT INTO object (token, id, version, private, tags, sealed) VALUES (?, ?, ?, ?, ?, ?)
            ON CONFLICT (id, token) DO NOTHING";
        let mut insert = self.sql.prepare_cached(insert)?;
        let (mut numbers, left) = (Vec::with_capacity(objects.len()), self.tags.0.len());
        for row in objects {
            let tags = distinct(&row.tags);
            let (version, encoded) = (row.version.cast_signed(), query::encode_tags(&tags));
            let values = params![known.number, row.id.0, version, row.private, encoded, row.sealed.as_bytes()];
            if insert.execute(values)? == 0 {
                self.tags.0.truncate(left);
                return self.take_back(&numbers);
            }
            let number = self.sql.last_insert_rowid();
            self.tags.leave(known.number, number, &tags);
            numbers.push(number);
        }
        objects.iter().for_each(|row| self.sum.add(Fact::Object(token, row.id, row.version)));
        if self.tags.0.len() > TAGS_LEFT_MAX {
            self.tags.add(self.sql)?;
        }
        Ok(Outcome::Done)
    }

    /// Of several new objects none stays if one is there already. Looking for each of them first, or a savepoint, would cost those that are new.
    fn take_back(&self, numbers: &[i64]) -> Result<Outcome> {
        for number in numbers {
            self.sql.prepare_cached("DELETE FROM object WHERE number = ?")?.execute([number])?;
        }
        Ok(Outcome::Conflict)
    }

    fn replace_object(&mut self, token: TokenId, row: &ObjectRow) -> Result<Outcome> {
        let Some(known) = self.token(token)? else { return Ok(Outcome::Gone) };
        let Some(old) = self.object(known.number, row.id)? else { return Ok(Outcome::Gone) };
        if old.version.checked_add(1) != Some(row.version) {
            return Ok(Outcome::Conflict);
        }
        let tags = distinct(&row.tags);
        let (version, encoded) = (row.version.cast_signed(), query::encode_tags(&tags));
        let update = "UPDATE object SET version = ?, private = ?, tags = ?, sealed = ? WHERE number = ?";
        let values = params![version, row.private, encoded, row.sealed.as_bytes(), old.number];
        self.sql.prepare_cached(update)?.execute(values)?;
        let gone: Vec<Tag> = old.tags.iter().filter(|tag| !tags.contains(tag)).copied().collect();
        let new = tags.iter().filter(|tag| !old.tags.contains(tag));
        let new: Vec<TagRow> = new.map(|tag| (known.number, query::attribute(tag), Some(tag.hash), old.number)).collect();
        self.remove_tags(known.number, old.number, &gone)?;
        add_tags(self.sql, &new)?;
        self.sum.remove(Fact::Object(token, row.id, old.version));
        self.sum.add(Fact::Object(token, row.id, row.version));
        Ok(Outcome::Done)
    }

    fn delete_object(&mut self, token: TokenId, id: ObjectId, expected: u64) -> Result<Outcome> {
        let Some(known) = self.token(token)? else { return Ok(Outcome::Gone) };
        let Some(old) = self.object(known.number, id)? else { return Ok(Outcome::Gone) };
        if old.version != expected {
            return Ok(Outcome::Conflict);
        }
        self.remove_tags(known.number, old.number, &old.tags)?;
        let unlist = "DELETE FROM tag WHERE token = ? AND attribute = -1 AND hash = x'' AND object = ?";
        self.sql.prepare_cached(unlist)?.execute([known.number, old.number])?;
        self.sql.prepare_cached("DELETE FROM object WHERE number = ?")?.execute([old.number])?;
        self.sum.remove(Fact::Object(token, id, old.version));
        Ok(Outcome::Done)
    }

    fn set_user(&mut self, user: &UserRow, expected: Option<u64>) -> Result<Outcome> {
        let Some(known) = self.token(user.token)? else { return Ok(Outcome::Gone) };
        let old = query::user(self.sql, user.token, user.role)?;
        if old.as_ref().map(|old| old.generation) != expected {
            return Ok(Outcome::Conflict);
        }
        if let Some(old) = old {
            self.sum.remove(fact_of(user.token, &old));
        }
        self.put_user(known.number, user.token, user)?;
        Ok(Outcome::Done)
    }

    fn reserve_attempt(&mut self, token: TokenId, role: u8) -> Result<Outcome> {
        let Some(user) = query::user(self.sql, token, role)? else { return Ok(Outcome::Gone) };
        if user.attempts_max != 0 && user.attempts >= user.attempts_max {
            return Ok(Outcome::Locked);
        }
        let attempts = user.attempts.saturating_add(1);
        self.set_attempts(&user, attempts)?;
        Ok(Outcome::Attempt { attempts })
    }

    fn clear_attempts(&mut self, token: TokenId, role: u8, generation: u64) -> Result<Outcome> {
        let Some(user) = query::user(self.sql, token, role)? else { return Ok(Outcome::Gone) };
        if user.generation != generation {
            return Ok(Outcome::Conflict);
        }
        self.set_attempts(&user, 0)?;
        Ok(Outcome::Done)
    }

    fn set_attempts(&mut self, user: &UserRow, attempts: u32) -> Result<()> {
        let update = "UPDATE user SET attempts = ? WHERE token = (SELECT number FROM token WHERE id = ?) AND role = ?";
        self.sql.prepare_cached(update)?.execute(params![attempts, user.token.0, user.role])?;
        self.sum.remove(fact_of(user.token, user));
        self.sum.add(Fact::User(user.token, user.role, user.generation, attempts));
        Ok(())
    }

    fn put_user(&mut self, number: i64, token: TokenId, user: &UserRow) -> Result<()> {
        let put =
            "INSERT OR REPLACE INTO user (token, role, generation, wrapped, attempts, attempts_max) VALUES (?, ?, ?, ?, ?, ?)";
        let generation = user.generation.cast_signed();
        let wrapped = user.wrapped.as_bytes();
        let values = params![number, user.role, generation, wrapped, user.attempts, user.attempts_max];
        self.sql.prepare_cached(put)?.execute(values)?;
        self.sum.add(fact_of(token, user));
        Ok(())
    }

    /// Removes all objects and users of a token.
    fn clear_token(&mut self, number: i64, token: TokenId) -> Result<()> {
        let mut objects = self.sql.prepare_cached("SELECT id, version FROM object WHERE token = ?")?;
        let mut rows = objects.query([number])?;
        while let Some(row) = rows.next()? {
            let version = query::unsigned(row.get(1)?);
            self.sum.remove(Fact::Object(token, ObjectId(row.get(0)?), version));
        }
        for user in query::users(self.sql, token)? {
            self.sum.remove(fact_of(token, &user));
        }
        for delete in
            ["DELETE FROM tag WHERE token = ?", "DELETE FROM object WHERE token = ?", "DELETE FROM user WHERE token = ?"]
        {
            self.sql.prepare_cached(delete)?.execute([number])?;
        }
        Ok(())
    }

    fn token(&mut self, id: TokenId) -> Result<Option<Known>> {
        if let Some(known) = self.tokens.get(&id) {
            return Ok(Some(*known));
        }
        let mut select = self.sql.prepare_cached("SELECT number, generation FROM token WHERE id = ?")?;
        let found = select.query_row([id.0], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
        let known = found.map(|(number, generation)| Known { number, generation: query::unsigned(generation) });
        self.tokens.extend(known.map(|known| (id, known)));
        Ok(known)
    }

    fn object(&self, token: i64, id: ObjectId) -> Result<Option<Stored>> {
        let mut select = self.sql.prepare_cached("SELECT number, version, tags FROM object WHERE id = ? AND token = ?")?;
        let mut rows = select.query(params![id.0, token])?;
        let Some(row) = rows.next()? else { return Ok(None) };
        let version = query::unsigned(row.get(1)?);
        let tags = query::decode_tags(row.get_ref(2)?.as_blob().map_err(rusqlite::Error::from)?)?;
        Ok(Some(Stored { number: row.get(0)?, version, tags }))
    }

    fn remove_tags(&self, token: i64, object: i64, tags: &[Tag]) -> Result<()> {
        let delete = "DELETE FROM tag WHERE token = ? AND attribute = ? AND hash = ? AND object = ?";
        let mut delete = self.sql.prepare_cached(delete)?;
        for tag in tags {
            delete.execute(params![token, query::attribute(tag), tag.hash, object])?;
        }
        Ok(())
    }
}

fn fact_of(token: TokenId, user: &UserRow) -> Fact {
    Fact::User(token, user.role, user.generation, user.attempts)
}

/// Each tag once, in order.
fn distinct(tags: &[Tag]) -> Vec<Tag> {
    let mut tags = tags.to_vec();
    tags.sort_unstable();
    tags.dedup();
    tags
}
