//! Templates of every form: mostly well-formed, with wrong sizes, NULLs, lengths and repetitions mixed in.

use cryptoki_sys::CK_ATTRIBUTE;

use super::dice::{Arena, Dice};
use crate::ck::{AttributeType, KeyType, ObjectClass};
use crate::ffi::memory;
use crate::object::table::{self, ValueKind};

/// Bytes of one entry.
const ENTRY_BYTES: usize = size_of::<CK_ATTRIBUTE>();

/// Entries whose values lie in the arena.
pub fn entries(dice: &mut Dice<'_>, arena: &mut Arena, depth: usize) -> Vec<CK_ATTRIBUTE> {
    (0..dice.below(7)).map(|_| entry(dice, arena, depth)).collect()
}

/// The entries in the arena, at an odd address; with their count.
pub fn array(entries: &[CK_ATTRIBUTE], arena: &mut Arena) -> (*mut CK_ATTRIBUTE, u64) {
    let start = arena.put(vec![0; 1 + entries.len() * ENTRY_BYTES]).wrapping_add(1).cast();
    // SAFETY: just made, long enough for all entries.
    unsafe { memory::put_array(entries, start) };
    (start, entries.len() as u64)
}

fn entry(dice: &mut Dice<'_>, arena: &mut Arena, depth: usize) -> CK_ATTRIBUTE {
    let kind = match dice.byte() {
        0 => AttributeType(dice.number()),
        1..=7 => dice.pick(AttributeType::NAMES).0,
        _ => known(dice),
    };
    let form = table::rule(kind).map_or(ValueKind::Bytes, |rule| rule.value);
    let value = match form {
        ValueKind::Bool => dice.bytes(1),
        ValueKind::Ulong => number(kind, dice).to_ne_bytes().to_vec(),
        ValueKind::Mechanisms => dice.below(4).to_ne_bytes().repeat(2),
        ValueKind::Template if depth > 0 => return nested(kind, dice, arena, depth),
        // Empty entries, which may be read as a template and written as one.
        ValueKind::Template => vec![0; dice.below(80)],
        _ => {
            let len = dice.below(40);
            dice.bytes(len)
        }
    };
    let (start, len) = match dice.byte() {
        // Not where entries may be read: chance bytes would be pointers there.
        0..=15 if form != ValueKind::Template => arena.pointer(dice, 40),
        _ => {
            let len = value.len() as u64;
            (arena.put(value), len)
        }
    };
    CK_ATTRIBUTE { type_: kind.0, pValue: start.cast(), ulValueLen: len }
}

/// An attribute that objects have here.
fn known(dice: &mut Dice<'_>) -> AttributeType {
    let start = dice.below(AttributeType::NAMES.len());
    let all = AttributeType::NAMES.iter().cycle().skip(start).map(|(kind, _)| *kind);
    all.take(AttributeType::NAMES.len()).find(|kind| table::rule(*kind).is_some()).unwrap_or(AttributeType::LABEL)
}

fn number(kind: AttributeType, dice: &mut Dice<'_>) -> u64 {
    match kind {
        AttributeType::CLASS => dice.pick(ObjectClass::NAMES).0.0,
        AttributeType::KEY_TYPE => dice.pick(KeyType::NAMES).0.0,
        _ => dice.length(),
    }
}

fn nested(kind: AttributeType, dice: &mut Dice<'_>, arena: &mut Arena, depth: usize) -> CK_ATTRIBUTE {
    let inner = entries(dice, arena, depth - 1);
    let (start, count) = array(&inner, arena);
    let cut = if dice.byte() == 0 { 1 } else { 0 };
    let len = (count * ENTRY_BYTES as u64).saturating_sub(cut);
    CK_ATTRIBUTE { type_: kind.0, pValue: start.cast(), ulValueLen: len }
}
