//! Mechanisms with parameters of every kind: mostly well-formed, with wrong sizes, NULLs and lengths mixed in.

use cryptoki_sys::CK_MECHANISM;

use super::dice::{Arena, Dice};
use crate::ck::{Kdf, MechanismType, Mgf};
use crate::mechanism::params::ParamKind;
use crate::mechanism::table::{self, Row};

/// A structure in the making: numbers, pointers and byte arrays one after the other, as C lays them out.
struct Structure(Vec<u8>);

impl Structure {
    fn number(mut self, number: u64) -> Self {
        self.0.extend(number.to_ne_bytes());
        self
    }

    fn array(mut self, bytes: Vec<u8>) -> Self {
        self.0.extend(bytes);
        self
    }

    /// Pointer, then length.
    fn pointer(self, (start, len): (*mut u8, u64)) -> Self {
        self.number(start.addr() as u64).number(len)
    }

    /// Length, then pointer.
    fn counted(self, (start, len): (*mut u8, u64)) -> Self {
        self.number(len).number(start.addr() as u64)
    }
}

/// A mechanism that fits, if there is one; with a parameter.
pub fn mechanism(dice: &mut Dice<'_>, arena: &mut Arena, fits: impl Fn(&Row) -> bool) -> CK_MECHANISM {
    let rows: Vec<&Row> = table::all().iter().copied().filter(|row| fits(row)).collect();
    let row = if rows.is_empty() { dice.pick(table::all()) } else { dice.pick(&rows) };
    let mut parameter = structure(row.params, dice, arena);
    let kind = if dice.byte() == 0 { dice.number() } else { row.kind.0 };
    match dice.byte() {
        0 => parameter.truncate(dice.below(parameter.len() + 1)),
        1 => parameter.push(dice.byte()),
        2 => return CK_MECHANISM { mechanism: kind, pParameter: std::ptr::null_mut(), ulParameterLen: dice.length() },
        3 => {
            let start = arena.put(parameter);
            return CK_MECHANISM { mechanism: kind, pParameter: start.cast(), ulParameterLen: u64::MAX - 7 };
        }
        _ => {}
    }
    let len = parameter.len() as u64;
    // One byte further on, so that alignment must not matter.
    parameter.insert(0, 0);
    CK_MECHANISM { mechanism: kind, pParameter: arena.put(parameter).wrapping_add(1).cast(), ulParameterLen: len }
}

fn structure(kind: ParamKind, dice: &mut Dice<'_>, arena: &mut Arena) -> Vec<u8> {
    let new = Structure(Vec::new());
    let made = match kind {
        ParamKind::None => new,
        ParamKind::Iv(len) | ParamKind::OptionalIv(len) => new.array(dice.bytes(len)),
        ParamKind::Gcm => {
            let (iv, iv_len) = arena.pointer(dice, 20);
            let iv_bits = if dice.byte() < 128 { iv_len.wrapping_mul(8) } else { u64::from(dice.byte()) };
            new.pointer((iv, iv_len)).number(iv_bits).pointer(arena.pointer(dice, 40)).number(dice.below(20) as u64 * 8)
        }
        ParamKind::Ccm => {
            new.number(dice.length()).pointer(arena.pointer(dice, 14)).pointer(arena.pointer(dice, 40)).number(dice.length())
        }
        ParamKind::Ctr => new.number(dice.below(130) as u64).array(dice.bytes(16)),
        ParamKind::Oaep => new.array(oaep(dice, arena)),
        ParamKind::Pss => new.number(digest(dice)).number(dice.pick(Mgf::NAMES).0.0).number(dice.length()),
        ParamKind::Ecdh1 => {
            new.number(dice.pick(Kdf::NAMES).0.0).counted(arena.pointer(dice, 20)).counted(arena.pointer(dice, 140))
        }
        ParamKind::MacLength => new.number(dice.length()),
        ParamKind::StringData => new.pointer(arena.pointer(dice, 64)),
        ParamKind::RawData => new.array({
            let len = dice.below(140);
            dice.bytes(len)
        }),
        ParamKind::CbcEncryptData(len) => new.array(dice.bytes(len)).pointer(arena.pointer(dice, 64)),
        ParamKind::OtherKey => new.number(dice.below(12) as u64),
        ParamKind::RsaAesKeyWrap => {
            let inner = oaep(dice, arena);
            let inner = if dice.byte() < 16 { std::ptr::null_mut() } else { arena.put(inner) };
            new.number(dice.pick(&[128, 192, 256, 1, u64::MAX])).number(inner.addr() as u64)
        }
        ParamKind::OptionalEddsa => new.number(u64::from(dice.byte())).counted(arena.pointer(dice, 20)),
    };
    made.0
}

fn oaep(dice: &mut Dice<'_>, arena: &mut Arena) -> Vec<u8> {
    let source = if dice.byte() < 240 { 1 } else { dice.number() };
    let new = Structure(Vec::new()).number(digest(dice)).number(dice.pick(Mgf::NAMES).0.0).number(source);
    new.pointer(arena.pointer(dice, 40)).0
}

fn digest(dice: &mut Dice<'_>) -> u64 {
    dice.pick(&[MechanismType::SHA_1, MechanismType::SHA256, MechanismType::SHA512, MechanismType::MD5, MechanismType::AES_CBC]).0
}
