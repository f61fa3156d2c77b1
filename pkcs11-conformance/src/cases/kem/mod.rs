//! Key encapsulation: what one side encapsulates the other decapsulates, and the new keys are what the templates and the rules say.

mod keys;
mod rules;
mod secrets;

use cryptoki_sys::*;

use crate::case::{Case, Stop};
use crate::check;
use crate::context::Session;
use crate::crypt::must;
use crate::module::Rv;
use crate::sample_keys::{Pair, uses};
use crate::template::{Mechanism, Template};

/// The chapter's cases.
pub fn cases() -> impl Iterator<Item = &'static Case> {
    [keys::CASES, secrets::CASES, rules::CASES].into_iter().flatten()
}

/// One row of a part of the chapter.
macro_rules! case {
    ($name:literal, $level:ident, $section:literal, $says:literal, $run:ident) => {
        crate::case::Case {
            id: concat!("kem/", $name),
            level: crate::case::Level::$level,
            section: concat!("3.2, ", $section),
            says: $says,
            run: $run,
        }
    };
}
use case;

/// A parameter set of FIPS 203 and the lengths that its table 3 gives.
#[derive(Clone, Copy, Debug)]
pub(super) struct Set {
    pub name: &'static str,
    pub number: CK_ULONG,
    /// Bytes of an encapsulation key.
    pub public: usize,
    /// Bytes of a decapsulation key.
    pub private: usize,
    pub ciphertext: usize,
}

const SETS: [Set; 3] = [
    Set { name: "ML-KEM-512", number: CKP_ML_KEM_512, public: 800, private: 1632, ciphertext: 768 },
    Set { name: "ML-KEM-768", number: CKP_ML_KEM_768, public: 1184, private: 2400, ciphertext: 1088 },
    Set { name: "ML-KEM-1024", number: CKP_ML_KEM_1024, public: 1568, private: 3168, ciphertext: 1568 },
];
/// Bytes of a shared secret, whatever the parameter set.
const SECRET: usize = 32;
/// Bytes of `CKA_SEED`: d and z.
const SEED: usize = 64;

/// Codes for a parameter set that the token does not have.
const NOT_OFFERED: [CK_RV; 3] = [CKR_PARAMETER_SET_NOT_SUPPORTED, CKR_ATTRIBUTE_VALUE_INVALID, CKR_TEMPLATE_INCONSISTENT];

/// The one mechanism of the standard that encapsulates and needs no parameter.
fn ml_kem() -> Mechanism {
    Mechanism::new(CKM_ML_KEM)
}

/// Templates of a key pair of the set for encapsulation and decapsulation.
fn pair_templates(set: CK_ULONG) -> (Template, Template) {
    (uses(&[CKA_ENCAPSULATE]).ulong(CKA_PARAMETER_SET, set), uses(&[CKA_DECAPSULATE]))
}

fn generated(session: &Session<'_>, public: &Template, private: &Template) -> Result<Pair, Rv> {
    let made = session.generate_pair(&Mechanism::new(CKM_ML_KEM_KEY_PAIR_GEN), public, private);
    made.map(|(public, private)| Pair { public, private })
}

/// A pair of each parameter set that the token has; at least one, since it lists the mechanism.
fn pairs(session: &Session<'_>) -> Result<Vec<(Set, Pair)>, Stop> {
    session.need(CKM_ML_KEM_KEY_PAIR_GEN)?;
    session.need(CKM_ML_KEM)?;
    let mut all = Vec::new();
    for set in SETS {
        let (public, private) = pair_templates(set.number);
        match generated(session, &public, &private) {
            Ok(pair) => all.push((set, pair)),
            Err(rv) if NOT_OFFERED.contains(&rv.0) => {}
            Err(rv) => return Err(Stop::Fail(format!("C_GenerateKeyPair of {} answered {rv}", set.name))),
        }
    }
    check!(!all.is_empty(), "the token lists CKM_ML_KEM_KEY_PAIR_GEN and has no parameter set of the standard");
    Ok(all)
}

/// The first pair of those, for rules that do not depend on the parameter set.
fn one_pair(session: &Session<'_>) -> Result<(Set, Pair), Stop> {
    pairs(session)?.into_iter().next().ok_or_else(|| Stop::Skip("the token has no parameter set".into()))
}

/// A generic secret that can be read.
fn readable() -> Template {
    Template::secret_key(CKK_GENERIC_SECRET, &[CKA_DERIVE]).flag(CKA_SENSITIVE, false).flag(CKA_EXTRACTABLE, true)
}

fn value(session: &Session<'_>, key: CK_OBJECT_HANDLE) -> Result<Vec<u8>, Stop> {
    must(session.attribute(key, CKA_VALUE), "reading CKA_VALUE of a shared secret")
}

fn encapsulate(session: &Session<'_>, public: CK_OBJECT_HANDLE) -> Result<(Vec<u8>, Vec<u8>), Stop> {
    let (ciphertext, key) = must(session.encapsulate(&ml_kem(), public, &readable()), "C_EncapsulateKey")?;
    Ok((ciphertext, value(session, key)?))
}

fn decapsulate(session: &Session<'_>, private: CK_OBJECT_HANDLE, ciphertext: &[u8]) -> Result<Vec<u8>, Stop> {
    let key = must(session.decapsulate(&ml_kem(), private, &readable(), ciphertext), "C_DecapsulateKey")?;
    value(session, key)
}
