//! All mechanisms: one [`Row`] each, gathered from the families' own lists.

use std::sync::LazyLock;

use super::Verbs;
use super::params::ParamKind;
use crate::ck::{KeyType, MechanismType, flags};
use crate::faults::{self, Fault};

/// How input reaches the key, which decides what travels in a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input {
    /// Hashed at the caller's side; only the digest needs the key.
    Hash,
    /// Collected and used at once.
    Whole,
    /// State at the key's side (ciphers, MACs).
    Stream,
}

/// One mechanism.
pub struct Row {
    /// `CKM_*`.
    pub kind: MechanismType,
    /// `ulMinKeySize` and `ulMaxKeySize` as `C_GetMechanismInfo` tells them (bits or bytes: the standard says per mechanism); 0, 0 where there is no key.
    pub sizes: (u64, u64),
    /// The parameter's form.
    pub params: ParamKind,
    /// Key types that it works on, or that it generates. Empty for digests.
    pub keys: &'static [KeyType],
    /// How input is taken.
    pub input: Input,
    /// What it can do.
    pub verbs: Verbs,
    /// Further `CKF_*` flags to advertise (`EC_F_P`, …).
    pub extra_flags: u64,
}

impl Row {
    /// A row without key, parameter or verb: to be completed with `..Row::BASE`.
    pub const BASE: Row = Row {
        kind: MechanismType(u64::MAX),
        sizes: (0, 0),
        params: ParamKind::None,
        keys: &[],
        input: Input::Stream,
        verbs: Verbs::NONE,
        extra_flags: 0,
    };

    /// `CKF_*` of `C_GetMechanismInfo`: exactly what the row can do.
    pub fn flags(&self) -> u64 {
        let verbs = &self.verbs;
        let more = self.kind == MechanismType::AES_CTR && faults::on(Fault::FlagsClaimTooMuch);
        let less = self.kind == MechanismType::AES_CBC && faults::on(Fault::FlagsClaimTooLittle);
        let can = [
            (verbs.digest.is_some(), flags::DIGEST),
            (verbs.sign.is_some(), flags::SIGN),
            (verbs.verify.is_some(), flags::VERIFY),
            (verbs.sign_recover.is_some(), flags::SIGN_RECOVER),
            (verbs.verify_recover.is_some(), flags::VERIFY_RECOVER),
            (verbs.encrypt.is_some(), flags::ENCRYPT),
            (verbs.decrypt.is_some() && !less, flags::DECRYPT),
            (verbs.generate.is_some(), flags::GENERATE),
            (verbs.generate_pair.is_some(), flags::GENERATE_KEY_PAIR),
            (verbs.wrap.is_some() || more, flags::WRAP),
            (verbs.unwrap.is_some(), flags::UNWRAP),
            (verbs.derive.is_some(), flags::DERIVE),
        ];
        can.iter().filter(|(yes, _)| *yes).fold(self.extra_flags, |all, (_, flag)| all | flag)
    }
}

/// The families' lists.
#[rustfmt::skip] // One a line: families are added side by side.
const FAMILIES: &[&[Row]] = &[
    super::digest::ROWS,
    super::hmac::ROWS,
    super::generic::ROWS,
    super::aes::ROWS,
    super::des::ROWS,
    super::rsa::ROWS,
    super::ec::ROWS,
    super::edwards::ROWS,
    super::dsa::ROWS,
    super::dh::ROWS,
];

/// The rows by ascending number, and a hash table of them without deletion: each operation looks for its row several times.
struct Rows {
    sorted: Vec<&'static Row>,
    places: [Option<&'static Row>; PLACES],
}

/// More than twice the number of rows.
const PLACES: usize = 1 << PLACES_BITS;
const PLACES_BITS: u32 = 9;

static ROWS: LazyLock<Rows> = LazyLock::new(|| {
    let mut sorted: Vec<&'static Row> = FAMILIES.iter().flat_map(|family| family.iter()).collect();
    sorted.sort_by_key(|row| row.kind);
    let mut places = [None; PLACES];
    for row in &sorted {
        let free = places_of(row.kind).find(|at| places[*at].is_none());
        places[free.expect("there are more places than rows")] = Some(*row);
    }
    Rows { sorted, places }
});

/// Where a mechanism's row may be, in this order.
fn places_of(kind: MechanismType) -> impl Iterator<Item = usize> {
    /// 2^64 divided by the golden ratio, odd.
    const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;
    let first = (kind.0.wrapping_mul(SPREAD) >> (u64::BITS - PLACES_BITS)) as usize;
    (first..first + PLACES).map(|at| at % PLACES)
}

/// Every mechanism, by ascending number.
pub fn all() -> &'static [&'static Row] {
    &ROWS.sorted
}

/// The row of a mechanism, if we have it.
pub fn find(kind: MechanismType) -> Option<&'static Row> {
    let rows = &*ROWS;
    places_of(kind).map_while(|at| rows.places[at]).find(|row| row.kind == kind)
}

#[cfg(test)]
mod tests {
    use super::{all, find};

    #[test]
    fn every_row_is_found_by_its_own_number_and_can_do_something() {
        for row in all() {
            assert!(std::ptr::eq(find(row.kind).expect("it is in the table"), *row), "{} is there twice", row.kind);
            assert!(row.kind.name().is_some(), "{} has a name", row.kind);
            assert_ne!(row.flags() & !row.extra_flags, 0, "{} can do something", row.kind);
            assert_eq!(row.keys.is_empty(), row.verbs.digest.is_some(), "{} has key types unless it is a digest", row.kind);
            assert!(row.sizes.0 <= row.sizes.1, "{} has a range of sizes", row.kind);
        }
        assert!(2 * all().len() < super::PLACES, "a search that fails ends soon");
        assert!(find(crate::ck::MechanismType(u64::MAX)).is_none());
    }
}
