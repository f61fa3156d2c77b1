//! A worker that changes the token: registers that all workers share, whose history is judged, and objects that are counted at the end.

use std::collections::HashMap;

use cryptoki::object::{Attribute, AttributeType, ObjectClass, ObjectHandle};
use cryptoki::session::Session;

use super::super::record::{Op, Outcome, now};
use super::prepare::{aes, pair};
use super::{READY, Worker};
use crate::error::Result;

/// Each register lives about so long; then there is a new one under another name.
const PERIOD_NANOSECONDS: u64 = 1_500_000_000;
/// Digits of a value: as many in all of them, so that a reader's buffer fits whatever it reads.
const DIGITS: usize = 12;

/// The name of a register: any worker can tell it from the time.
fn name(of: u64, period: u64) -> String {
    format!("r{of}.{period}")
}

/// What the worker knows of registers.
#[derive(Default)]
struct Known {
    handles: HashMap<String, ObjectHandle>,
    /// The period for which the own register was made.
    made: Option<u64>,
    /// Registers whose time is over, at the one worker that destroys.
    over: Vec<String>,
    values: u64,
    kept: u64,
}

/// Changes objects until it is enough.
pub fn work(worker: &mut Worker, session: &Session) -> Result<()> {
    let mut known = Known::default();
    println!("{READY}");
    while worker.goes_on() {
        let period = now().saturating_sub(worker.arguments.start) / PERIOD_NANOSECONDS;
        let (own, changers) = (u64::from(worker.arguments.own), u64::from(worker.arguments.changers));
        // One destroys, since that waits for every zone: the others' changes are not to wait with it.
        let destroys = own == worker.arguments.seed % changers;
        if known.made != Some(period) {
            known.made = Some(period);
            known.handles.retain(|name, _| name.ends_with(&format!(".{}", period.saturating_sub(1))));
            if let (true, Some(last)) = (destroys, period.checked_sub(1)) {
                known.over.extend((0..changers).map(|of| name(of, last)));
            }
            create(worker, session, &mut known, &name(own, period))?;
        } else if let Some(old) = known.over.pop() {
            destroy(worker, session, &mut known, &old)?;
        } else {
            let was = worker.dice.below(10) == 0;
            let register = name(worker.dice.below(changers), period.saturating_sub(u64::from(was)));
            match worker.dice.below(12) {
                0..=2 => drop(find(worker, session, &mut known, &register)?),
                3..=5 => get(worker, session, &mut known, &register)?,
                6..=8 => set(worker, session, &mut known, &register)?,
                _ => keep(worker, session, &mut known, destroys)?,
            }
        }
        worker.pause();
    }
    Ok(())
}

fn label(value: u64) -> Attribute {
    Attribute::Label(format!("{value:0DIGITS$}").into_bytes())
}

/// A value that no other write has.
fn fresh(worker: &Worker, known: &mut Known) -> u64 {
    known.values += 1;
    u64::from(worker.arguments.client) * 1_000_000 + known.values
}

fn create(worker: &mut Worker, session: &Session, known: &mut Known, register: &str) -> Result<()> {
    let value = fresh(worker, known);
    let template = [
        Attribute::Class(ObjectClass::DATA),
        Attribute::Token(true),
        Attribute::Private(false),
        Attribute::Application(register.into()),
        label(value),
    ];
    let made = worker.recorder.call((Op::Create, register, value), || session.create_object(&template))?;
    known.handles.extend(made.map(|handle| (register.to_string(), handle)));
    Ok(())
}

/// Looks for a register.
pub fn find_register(worker: &mut Worker, session: &Session, register: &str) -> Result<Option<ObjectHandle>> {
    let template = [Attribute::Class(ObjectClass::DATA), Attribute::Application(register.into())];
    let judge = |found: &Vec<ObjectHandle>| match found.len() {
        0 => (0, Outcome::Gone),
        1 => (1, Outcome::Done),
        count => (count as u64, Outcome::Wrong(format!("doubled: {count} registers are called {register}"))),
    };
    let found = worker.recorder.judge((Op::Find, register, 0), || session.find_objects(&template), judge)?;
    Ok(found.and_then(|found| found.first().copied()))
}

/// Reads a register's value.
pub fn get_register(worker: &mut Worker, session: &Session, register: &str, handle: ObjectHandle) -> Result<Outcome> {
    let mut outcome = Outcome::Gone;
    let judge = |read: &Vec<Attribute>| {
        let value = match read.first() {
            Some(Attribute::Label(label)) => std::str::from_utf8(label).ok().and_then(|text| text.parse().ok()),
            _ => None,
        };
        outcome = match value {
            Some(_) => Outcome::Done,
            None => Outcome::Wrong("a register was read that holds no value".to_string()),
        };
        (value.unwrap_or(0), outcome.clone())
    };
    worker.recorder.judge((Op::Get, register, 0), || session.get_attributes(handle, &[AttributeType::Label]), judge)?;
    Ok(outcome)
}

/// The register's handle: one that is remembered, or one that is found now.
fn find(worker: &mut Worker, session: &Session, known: &mut Known, register: &str) -> Result<Option<ObjectHandle>> {
    let found = find_register(worker, session, register)?;
    match found {
        Some(handle) => known.handles.insert(register.to_string(), handle),
        None => known.handles.remove(register),
    };
    Ok(found)
}

fn handle(worker: &mut Worker, session: &Session, known: &mut Known, register: &str) -> Result<Option<ObjectHandle>> {
    match known.handles.get(register) {
        Some(handle) => Ok(Some(*handle)),
        None => find(worker, session, known, register),
    }
}

fn get(worker: &mut Worker, session: &Session, known: &mut Known, register: &str) -> Result<()> {
    if let Some(handle) = handle(worker, session, known, register)?
        && get_register(worker, session, register, handle)? == Outcome::Gone
    {
        known.handles.remove(register);
    }
    Ok(())
}

fn set(worker: &mut Worker, session: &Session, known: &mut Known, register: &str) -> Result<()> {
    let Some(handle) = handle(worker, session, known, register)? else { return Ok(()) };
    let value = fresh(worker, known);
    let set = || session.update_attributes(handle, &[label(value)]);
    if worker.recorder.call((Op::Set, register, value), set)?.is_none() {
        known.handles.remove(register);
    }
    Ok(())
}

fn destroy(worker: &mut Worker, session: &Session, known: &mut Known, register: &str) -> Result<()> {
    if let Some(handle) = handle(worker, session, known, register)? {
        worker.recorder.call((Op::Destroy, register, 0), || session.destroy_object(handle))?;
    }
    Ok(())
}

/// An object that must be there at the end; or that must not, at the worker that destroys.
fn keep(worker: &mut Worker, session: &Session, known: &mut Known, destroys: bool) -> Result<()> {
    known.kept += 1;
    let name = format!("k{}.{}", worker.arguments.client, known.kept);
    if worker.dice.below(4) == 0 {
        worker.recorder.call((Op::Keep, &name, 2), || pair(session, &name))?;
        return Ok(());
    }
    let data = [Attribute::Class(ObjectClass::DATA), Attribute::Token(true), Attribute::Label(name.as_str().into())];
    let is_key = worker.dice.below(2) == 0;
    let make = || if is_key { aes(session, &name, true) } else { session.create_object(&data) };
    let made = worker.recorder.call((Op::Keep, &name, 1), make)?;
    if let (Some(handle), true) = (made, destroys && worker.dice.below(2) == 0) {
        worker.recorder.call((Op::Discard, &name, 0), || session.destroy_object(handle))?;
    }
    Ok(())
}
