//! One write transaction, as the log sees it: apply a change, look up and record answers, keep the latest changes.

use std::collections::HashMap;

use rusqlite::{Connection, OptionalExtension, params};

use super::apply::{NewTags, Tokens, apply};
use super::change::{Committed, Outcome, RequestId};
use super::facts::Sum;
use super::pool::run;
use super::query::unsigned;
use super::replica::{self, Place};
use super::trouble::{Result, Trouble};
use crate::faults::{self, Fault};
use crate::limits::LOG_CHANGE_MAX_BYTES;

/// An open write transaction. What it did becomes durable, all at once, if and only if a change has been applied and kept.
pub struct Batch<'a> {
    sql: &'a Connection,
    begun: Begun,
    stamp: Option<&'a Stamper>,
    /// Whether the changes themselves are kept beside their requests: a group has them in its log.
    keeps_changes: bool,
}

/// What a write transaction has come to: with it, one that is left open is gone on with.
pub(super) struct Begun {
    applied: u64,
    sum: Sum,
    changed: bool,
    /// What the batch leaves behind in the place of its store in the group's log.
    place: Option<Place>,
    /// What was looked up already. Nobody else writes until the batch ends, so it stays true.
    tokens: Tokens,
    highest: HashMap<[u8; 16], Option<u64>>,
    /// What belongs to new objects, and is added before the batch ends.
    tags: NewTags,
}

impl Begun {
    /// Whether there is anything to commit.
    pub(super) fn changed(&self) -> bool {
        self.changed
    }
}

/// Makes the owner's stamp over how many changes were applied and the sum over all facts (see [`message`]).
pub type Stamper = Box<dyn Fn(&[u8]) -> crate::error::Result<[u8; 32]> + Send + Sync>;

/// What a stamp is made over.
pub(super) fn message(applied: u64, sum: &Sum) -> [u8; 40] {
    let mut message = [0; 40];
    message[..8].copy_from_slice(&applied.to_be_bytes());
    message[8..].copy_from_slice(&sum.root());
    message
}

impl<'a> Batch<'a> {
    /// Reads where the store stands; the transaction is open.
    pub(super) fn begin(sql: &'a Connection) -> Result<Self> {
        let (applied, sum) = state(sql)?;
        let (tokens, highest, tags) = (Tokens::default(), HashMap::default(), NewTags::default());
        Ok(Self::go_on(sql, Begun { applied, sum, changed: false, place: None, tokens, highest, tags }))
    }

    /// Goes on where [`Batch::pause`] left a transaction that is open still.
    pub(super) fn go_on(sql: &'a Connection, begun: Begun) -> Self {
        Self { sql, begun, stamp: None, keeps_changes: true }
    }

    /// Leaves the transaction open.
    pub(super) fn pause(self) -> Begun {
        self.begun
    }

    /// The changes are kept elsewhere, so this batch leaves them out.
    pub(super) fn leave_changes_out(&mut self) {
        self.keeps_changes = false;
    }

    /// Stamps what this batch leaves behind.
    pub(super) fn stamped_by(&mut self, stamper: Option<&'a Stamper>) {
        self.stamp = stamper;
    }

    /// Makes it durable, or drops it when nothing was kept.
    pub(super) fn finish(self) -> Result<()> {
        let Begun { applied, sum, changed, place, mut tags, .. } = self.begun;
        if !changed {
            return run(self.sql, "ROLLBACK");
        }
        tags.add(self.sql)?;
        if let Some(place) = place {
            replica::write_place(self.sql, &place)?;
        }
        let stamp = self.stamp.map(|stamp| stamp(&message(applied, &sum))).transpose()?;
        // Who writes beside the facts without the owner's key leaves the stamp as it is.
        let update = "UPDATE state SET applied = ?1, sum = ?2,
            stamp = CASE WHEN ?3 IS NULL AND applied = ?1 AND sum = ?2 THEN stamp ELSE ?3 END";
        self.sql.prepare_cached(update)?.execute(params![applied.cast_signed(), sum.to_bytes(), stamp])?;
        run(self.sql, "COMMIT")
    }

    /// The open transaction's connection.
    pub(super) fn sql(&self) -> &'a Connection {
        self.sql
    }

    /// States that something was written beside the facts, so that the batch is kept.
    pub(super) fn keep(&mut self) {
        self.begun.changed = true;
    }

    /// Records where the store stands in its group's log once this batch is written.
    pub fn set_place(&mut self, place: Place) {
        self.begun.place = Some(place);
        self.begun.changed = true;
    }

    /// A hash over all facts, those of this batch included.
    pub fn set_hash(&self) -> [u8; 32] {
        self.begun.sum.root()
    }

    /// Has the batch write a page whatever it has changed, so that its commit syncs the log, and with it all earlier writes. Setting a column
    /// to the value that it has would not do: SQLite leaves out what is the same already, and syncs nothing. A number in the file's header it
    /// writes always.
    pub(super) fn touch(&mut self) -> Result<()> {
        let format: u32 = self.sql.query_row("PRAGMA user_version", [], |row| row.get(0))?;
        self.sql.execute_batch(&format!("PRAGMA user_version = {format}"))?;
        self.begun.changed = true;
        Ok(())
    }

    /// Reads where the store stands once more, after its rows were replaced.
    pub(super) fn refresh(&mut self) -> Result<()> {
        (self.begun.applied, self.begun.sum) = state(self.sql)?;
        self.begun.tokens.clear();
        self.begun.highest.clear();
        self.begun.changed = true;
        Ok(())
    }

    /// How many changes have been applied, those of this batch included.
    pub fn applied(&self) -> u64 {
        self.begun.applied
    }

    /// Applies a change and records the answer under its request; a conflict is answered but neither counted nor recorded.
    pub fn apply(&mut self, committed: &Committed) -> Result<Outcome> {
        let Begun { sum, tokens, tags, .. } = &mut self.begun;
        let outcome = apply(self.sql, sum, tokens, tags, &committed.proposal().change)?;
        if outcome != Outcome::Conflict {
            self.record(committed, outcome)?;
            self.begun.applied = committed.index();
            self.begun.changed = true;
        }
        Ok(outcome)
    }

    fn record(&mut self, committed: &Committed, outcome: Outcome) -> Result<()> {
        let RequestId { client, sequence } = committed.proposal().request;
        let position = committed.index().cast_signed();
        if !faults::on(Fault::RequestNotRecorded) {
            let answer = "INSERT INTO request (client, sequence, position, outcome) VALUES (?, ?, ?, ?)";
            let values = params![client, sequence.cast_signed(), position, encode(&outcome)];
            self.sql.prepare_cached(answer)?.execute(values)?;
            if let Some(highest) = self.begun.highest.get_mut(&client) {
                *highest = (*highest).max(Some(sequence));
            }
        }
        let change = self.keeps_changes.then(|| encode(&committed.proposal().change));
        let change = change.filter(|bytes| bytes.len() <= LOG_CHANGE_MAX_BYTES);
        let append = "INSERT INTO log (position, client, sequence, change) VALUES (?, ?, ?, ?)";
        self.sql.prepare_cached(append)?.execute(params![position, client, sequence.cast_signed(), change])?;
        Ok(())
    }

    /// The recorded answer to a request.
    pub fn answer(&self, request: RequestId) -> Result<Option<Outcome>> {
        answer(self.sql, request)
    }

    /// The highest sequence number of a client that has an answer.
    pub fn highest(&mut self, client: [u8; 16]) -> Result<Option<u64>> {
        if let Some(highest) = self.begun.highest.get(&client) {
            return Ok(*highest);
        }
        // Not by max(): SQLite would compile that anew each time.
        let select = "SELECT sequence FROM request WHERE client = ? ORDER BY sequence DESC LIMIT 1";
        let highest: Option<i64> = self.sql.prepare_cached(select)?.query_row([client], |row| row.get(0)).optional()?;
        Ok(*self.begun.highest.entry(client).insert_entry(highest.map(unsigned)).get())
    }

    /// Forgets the answers of one client below a sequence number.
    pub fn forget_answers_below(&mut self, client: [u8; 16], sequence: u64) -> Result<()> {
        self.begun.highest.clear();
        let delete = "DELETE FROM request WHERE client = ? AND sequence < ?";
        self.sql.prepare_cached(delete)?.execute(params![client, sequence.cast_signed()])?;
        Ok(())
    }

    /// Forgets the answers to everybody's changes before a position. Costs a walk through all answers.
    pub fn forget_answers_before(&mut self, position: u64) -> Result<()> {
        self.begun.highest.clear();
        self.sql.prepare_cached("DELETE FROM request WHERE position < ?")?.execute([position.cast_signed()])?;
        Ok(())
    }

    /// Drops the log's changes before a position.
    pub fn trim_log_before(&mut self, position: u64) -> Result<()> {
        self.sql.prepare_cached("DELETE FROM log WHERE position < ?")?.execute([position.cast_signed()])?;
        Ok(())
    }
}

/// The recorded answer to a request.
pub(super) fn answer(sql: &Connection, request: RequestId) -> Result<Option<Outcome>> {
    let mut select = sql.prepare_cached("SELECT outcome FROM request WHERE client = ? AND sequence = ?")?;
    let key = params![request.client, request.sequence.cast_signed()];
    let outcome: Option<Vec<u8>> = select.query_row(key, |row| row.get(0)).optional()?;
    let decoded = outcome.map(|bytes| minicbor::decode(&bytes));
    decoded.transpose().map_err(|cause| Trouble::Damaged(format!("an answer cannot be decoded: {cause}")))
}

/// The owner's stamp over the state, if there is one.
pub(super) fn stamp(sql: &Connection) -> Result<Option<Vec<u8>>> {
    Ok(sql.prepare_cached("SELECT stamp FROM state WHERE one = 1")?.query_row([], |row| row.get(0))?)
}

/// How many changes have been applied, and the sum of all facts.
pub fn state(sql: &Connection) -> Result<(u64, Sum)> {
    let mut select = sql.prepare_cached("SELECT applied, sum FROM state WHERE one = 1")?;
    let row: Option<(i64, Vec<u8>)> = select.query_row([], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
    let (applied, sum) = row.ok_or_else(|| Trouble::Damaged("its state row is missing".into()))?;
    let sum = Sum::from_bytes(&sum).ok_or_else(|| Trouble::Damaged("its sum has a wrong length".into()))?;
    Ok((unsigned(applied), sum))
}

fn encode<T: minicbor::Encode<()>>(value: &T) -> Vec<u8> {
    minicbor::to_vec(value).expect("writing to a vector cannot fail, and our encoders do not")
}
