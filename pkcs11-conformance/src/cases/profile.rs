//! The OASIS profiles: what a token promises by its profile objects.
//!
//! A profile is a promise. A token that claims one is held to all that it asks for. One that claims none has promised nothing, so that
//! nothing can be broken: the case is skipped, and the reason tells what the token lacks for the claim, as measured.

use std::ptr::null_mut;

use cryptoki_sys::*;

use super::interface::{default, interfaces, login_by_name};
use crate::case::{Case, Level, Outcome, Stop};
use crate::context::{Context, Session};
use crate::crypt::{Deed, must};
use crate::known::KNOWN;
use crate::module::Rv;
use crate::numbers::{self, hex};
use crate::sample_keys::{P256, octet_string};
use crate::template::{Mechanism, Template};
use crate::{answers, check, ck};

/// The chapter's cases.
pub const CASES: &[Case] = &[
    Case {
        id: "profile/objects",
        level: Level::Must,
        section: "3.1, 4.13 CKO_PROFILE; PKCS #11 Profiles 3.2, 5",
        says: "Profile objects are public, unchangeable token objects, and each claims a profile that exists, once.",
        run: objects,
    },
    Case {
        id: "profile/baseline",
        level: Level::Must,
        section: "PKCS #11 Profiles 3.2, 5.1 Baseline Provider",
        says: "Who claims the baseline profile has interfaces, information, sessions, searches and CKA_UNIQUE_ID.",
        run: |context| judged(context, CKP_BASELINE_PROVIDER, "baseline", BASELINE),
    },
    Case {
        id: "profile/extended",
        level: Level::Must,
        section: "PKCS #11 Profiles 3.2, 5.3 Extended Provider",
        says: "Who claims the extended profile has the baseline's functions, mechanism information, C_Login, C_LoginUser and C_Logout.",
        run: |context| judged(context, CKP_EXTENDED_PROVIDER, "extended", EXTENDED),
    },
    Case {
        id: "profile/authentication",
        level: Level::Must,
        section: "PKCS #11 Profiles 3.2, 5.4 Authentication Token",
        says: "Who claims the authentication profile has the baseline's functions, C_LoginUser, and signs with a private key after a login.",
        run: |context| judged(context, CKP_AUTHENTICATION_TOKEN, "authentication", AUTHENTICATION),
    },
    Case {
        id: "profile/certificates",
        level: Level::Must,
        section: "PKCS #11 Profiles 3.2, 5.5 Public Certificates Token",
        says: "Who claims the public certificates profile shows every certificate without a login, and by its CKA_ID the public or the \
               private key that belongs to it.",
        run: |context| judged(context, CKP_PUBLIC_CERTIFICATES_TOKEN, "public certificates", CERTIFICATES),
    },
    Case {
        id: "profile/complete",
        level: Level::Must,
        section: "PKCS #11 Profiles 3.2, 5.2 Complete Provider",
        says: "Who claims the complete profile has every function and every mechanism of the standard.",
        run: |context| judged(context, CKP_COMPLETE_PROVIDER, "complete", COMPLETE),
    },
    Case {
        id: "profile/hkdf-tls",
        level: Level::Must,
        section: "PKCS #11 Profiles 3.2, 5.6 HKDF TLS Token",
        says: "Who claims the HKDF TLS profile derives data objects by CKM_HKDF_DATA for the IVs of TLS 1.3 and of QUIC.",
        run: |context| judged(context, CKP_HKDF_TLS_TOKEN, "HKDF TLS", HKDF_TLS),
    },
];

/// One thing that a profile asks for: `Ok` where the token has it. It is asked in a session without a login, and leaves it so.
type Demand = fn(&Session<'_>) -> Outcome;

const BASELINE: &[Demand] = &[|session| interfaces(session.context).map(|_| ()), |session| default(session.context), unique_ids];
const EXTENDED: &[Demand] =
    &[|session| interfaces(session.context).map(|_| ()), unique_ids, mechanism_information, login, login_of_a_named_user];
const AUTHENTICATION: &[Demand] =
    &[|session| interfaces(session.context).map(|_| ()), unique_ids, login, login_of_a_named_user, signs_after_login];
const CERTIFICATES: &[Demand] = &[|session| interfaces(session.context).map(|_| ()), unique_ids, certificates_are_public];
const COMPLETE: &[Demand] =
    &[|session| interfaces(session.context).map(|_| ()), unique_ids, every_operation, login_of_a_named_user, every_mechanism];
const HKDF_TLS: &[Demand] = &[|session| interfaces(session.context).map(|_| ()), unique_ids, derives_data];

/// The profile objects: handle, and profile claimed.
fn profiles(session: &Session<'_>) -> Result<Vec<(CK_OBJECT_HANDLE, CK_PROFILE_ID)>, Stop> {
    let found = session.found(&Template::new().ulong(CKA_CLASS, CKO_PROFILE))?;
    found.into_iter().map(|handle| Ok((handle, session.number(handle, CKA_PROFILE_ID)?))).collect()
}

fn judged(context: &Context, profile: CK_PROFILE_ID, name: &str, demands: &[Demand]) -> Outcome {
    let session = context.session(true)?;
    let claimed = profiles(&session)?.iter().any(|(_, known)| *known == profile);
    let lacking: Vec<String> = demands
        .iter()
        .filter_map(|demand| match demand(&session) {
            Ok(()) => None,
            Err(Stop::Fail(reason) | Stop::Skip(reason) | Stop::Deviation(reason)) => Some(reason),
        })
        .collect();
    verdict(claimed, name, &lacking)
}

/// What a claim, or none, is worth beside what the token lacks.
fn verdict(claimed: bool, name: &str, lacking: &[String]) -> Outcome {
    match (claimed, lacking.is_empty()) {
        (true, true) => Ok(()),
        (true, false) => Err(Stop::Fail(format!("the token claims the {name} profile: {}", lacking.join("; ")))),
        (false, true) => Err(Stop::Skip(format!("the token claims no {name} profile, and has all that it asks for"))),
        (false, false) => {
            Err(Stop::Skip(format!("the token claims no {name} profile, and lacks for it: {}", lacking.join("; "))))
        }
    }
}

fn objects(context: &Context) -> Outcome {
    let session = context.session(true)?;
    let mut seen = Vec::new();
    for (handle, profile) in profiles(&session)? {
        let known = (CKP_BASELINE_PROVIDER..=CKP_HKDF_TLS_TOKEN).contains(&profile) || profile >= CKP_VENDOR_DEFINED;
        check!(known, "a profile object claims profile {profile:#x}, which does not exist");
        check!(!seen.contains(&profile), "profile {profile:#x} is claimed twice");
        check!(session.flag(handle, CKA_TOKEN)?, "a profile object is no token object");
        check!(!session.flag(handle, CKA_PRIVATE)?, "a profile object is private");
        let rv = session.set(handle, &Template::new().ulong(CKA_PROFILE_ID, CKP_COMPLETE_PROVIDER));
        check!(rv != Rv::OK, "a profile object was changed by an application");
        check!(session.destroy(handle) != Rv::OK, "a profile object was destroyed by an application");
        seen.push(profile);
    }
    if seen.is_empty() { Err(Stop::Skip("the token claims no profile".into())) } else { Ok(()) }
}

fn unique_ids(session: &Session<'_>) -> Outcome {
    let object = Template::new().ulong(CKA_CLASS, CKO_DATA).flag(CKA_TOKEN, false).flag(CKA_PRIVATE, false);
    let unique = |object: Template| {
        let object = must(session.create(object), "C_CreateObject of a data object")?;
        must(session.attribute(object, CKA_UNIQUE_ID), "reading CKA_UNIQUE_ID")
    };
    let (first, second) = (unique(object.clone())?, unique(object)?);
    check!(!first.is_empty() && first != second, "two objects have the CKA_UNIQUE_ID {first:02x?}");
    Ok(())
}

fn mechanism_information(session: &Session<'_>) -> Outcome {
    let (context, mut count) = (session.context, 0);
    let rv = ck!(context.module, C_GetMechanismList, context.slot()?, null_mut(), &mut count);
    context.ok(rv, "C_GetMechanismList")?;
    check!(count > 0, "the token has no mechanism");
    Ok(())
}

/// Does something as the user, and logs out whatever came of it.
fn as_user<T>(session: &Session<'_>, work: impl FnOnce() -> Result<T, Stop>) -> Result<T, Stop> {
    session.context.ok(session.login(CKU_USER as CK_USER_TYPE, &session.context.settings.pin), "C_Login")?;
    let done = work();
    session.context.ok(session.logout(), "C_Logout")?;
    done
}

fn login(session: &Session<'_>) -> Outcome {
    as_user(session, || Ok(()))
}

/// Whether there is such a login at all: the names of the token's users are not known to the suite.
fn login_of_a_named_user(session: &Session<'_>) -> Outcome {
    if login_by_name(session, &session.context.settings.pin)? == Rv::OK {
        session.context.ok(session.logout(), "C_Logout after C_LoginUser")?;
    }
    Ok(())
}

fn signs_after_login(session: &Session<'_>) -> Outcome {
    as_user(session, || signs(session))
}

fn signs(session: &Session<'_>) -> Outcome {
    session.need(CKM_ECDSA)?;
    let pair = session.ec_pair(P256, &[CKA_VERIFY], &[CKA_SIGN])?;
    let mechanism = Mechanism::new(CKM_ECDSA);
    let signature = must(session.whole(Deed::Sign, &mechanism, pair.private, &[5; 32]), "C_Sign")?;
    answers!(session.verify(&mechanism, pair.public, &[5; 32], &signature), [CKR_OK], "C_Verify");
    Ok(())
}

/// What is searched for among the certificates and their keys.
fn of_class(class: CK_OBJECT_CLASS, id: &[u8]) -> Template {
    Template::new().ulong(CKA_CLASS, class).bytes(CKA_ID, id)
}

fn certificates_are_public(session: &Session<'_>) -> Outcome {
    let id = format!("conformance-{}", std::process::id()).into_bytes();
    let all = as_user(session, || certificate_and_keys(session, &id).map(|()| all_certificates(session)))?;
    let shown = all.and_then(|all| shown_without_login(session, &all));
    as_user(session, || {
        // Handles of private objects do not outlive a login.
        for object in session.found(&Template::new().bytes(CKA_ID, id.clone()))? {
            answers!(session.destroy(object), [CKR_OK], "C_DestroyObject of the suite's certificate and keys");
        }
        Ok(())
    })?;
    shown
}

/// Each certificate's `CKA_ID`, and whether a private key has it too; the user is logged in.
fn all_certificates(session: &Session<'_>) -> Result<Vec<(Vec<u8>, bool)>, Stop> {
    let all = session.found(&Template::new().ulong(CKA_CLASS, CKO_CERTIFICATE))?;
    all.into_iter().map(|one| identified(session, one)).collect()
}

fn identified(session: &Session<'_>, certificate: CK_OBJECT_HANDLE) -> Result<(Vec<u8>, bool), Stop> {
    let id = must(session.attribute(certificate, CKA_ID), "reading CKA_ID of a certificate")?;
    let has_key = !id.is_empty() && !session.found(&of_class(CKO_PRIVATE_KEY, &id))?.is_empty();
    Ok((id, has_key))
}

fn shown_without_login(session: &Session<'_>, certificates: &[(Vec<u8>, bool)]) -> Outcome {
    let shown = session.found(&Template::new().ulong(CKA_CLASS, CKO_CERTIFICATE))?.len();
    check!(shown == certificates.len(), "{shown} of {} certificates are found without a login", certificates.len());
    for (id, _) in certificates.iter().filter(|(_, has_key)| *has_key) {
        let key = !session.found(&of_class(CKO_PRIVATE_KEY, id))?.is_empty()
            || !session.found(&of_class(CKO_PUBLIC_KEY, id))?.is_empty();
        check!(key, "neither key of a certificate is found by its CKA_ID without a login");
    }
    Ok(())
}

/// Makes token objects with one `CKA_ID`: a certificate, its public and its private key; all of them or none.
fn certificate_and_keys(session: &Session<'_>, id: &[u8]) -> Outcome {
    let lasting = |class, private| {
        Template::new().ulong(CKA_CLASS, class).flag(CKA_TOKEN, true).flag(CKA_PRIVATE, private).bytes(CKA_ID, id)
    };
    let key = |class, private| lasting(class, private).ulong(CKA_KEY_TYPE, CKK_EC).bytes(CKA_EC_PARAMS, P256.oid);
    let certificate = lasting(CKO_CERTIFICATE, false)
        .ulong(CKA_CERTIFICATE_TYPE, CKC_X_509)
        .bytes(CKA_SUBJECT, hex(numbers::CERTIFICATE_NAME)?)
        .bytes(CKA_VALUE, hex(numbers::CERTIFICATE)?);
    let public = key(CKO_PUBLIC_KEY, false).bytes(CKA_EC_POINT, octet_string(&hex(numbers::CERTIFICATE_POINT)?));
    let private = key(CKO_PRIVATE_KEY, true).flag(CKA_SIGN, true).bytes(CKA_VALUE, hex(numbers::CERTIFICATE_KEY)?);
    let mut made = Vec::new();
    for template in [certificate, public, private] {
        match session.create(template) {
            Ok(object) => made.push(object),
            Err(rv) => {
                // What went before is taken away again; the refusal is what is told.
                made.into_iter().for_each(|object| {
                    let _ = session.destroy(object);
                });
                return Err(Stop::Fail(format!("C_CreateObject of a certificate and its keys answered {rv}")));
            }
        }
    }
    Ok(())
}

fn every_operation(session: &Session<'_>) -> Outcome {
    let module = &session.context.module;
    let answers = [super::codes::operations(module, session.handle), super::newer::operations(module, session.handle)].concat();
    let missing: Vec<&str> =
        answers.iter().filter(|(_, rv)| *rv == Rv(CKR_FUNCTION_NOT_SUPPORTED)).map(|(name, _)| *name).collect();
    check!(missing.is_empty(), "{} of {} functions are not supported: {}", missing.len(), answers.len(), missing.join(", "));
    Ok(())
}

fn every_mechanism(session: &Session<'_>) -> Outcome {
    let missing = KNOWN.iter().filter(|row| matches!(session.need(row.kind), Err(Stop::Skip(_)))).count();
    check!(missing == 0, "it has {missing} of {} mechanisms that the suite knows not", KNOWN.len());
    Ok(())
}

fn derives_data(session: &Session<'_>) -> Outcome {
    session.need(CKM_HKDF_DATA)?;
    let base = Template::secret_key(CKK_HKDF, &[CKA_DERIVE]).flag(CKA_PRIVATE, false).bytes(CKA_VALUE, [7; 32]);
    let base = must(session.create(base), "C_CreateObject of an HKDF key")?;
    for label in ["tls iv", "tls quic iv"] {
        // Length of the result in two bytes, the label, and no context.
        let info = [&[0, 12], label.as_bytes(), &[0]].concat();
        let template = Template::new().ulong(CKA_CLASS, CKO_DATA).flag(CKA_TOKEN, false).ulong(CKA_VALUE_LEN, 12);
        let made = session.derive(&Mechanism::hkdf(CKM_HKDF_DATA, &info), base, &template);
        let made = must(made, &format!("C_DeriveKey by CKM_HKDF_DATA for {label:?}"))?;
        let value = must(session.attribute(made, CKA_VALUE), "reading CKA_VALUE of the derived data")?;
        check!(value.len() == 12, "{} bytes were derived for {label:?}, not 12", value.len());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_is_held_to_what_the_profile_asks_for_and_none_is_not() {
        let lacking = ["C_LoginUser is not supported".to_owned()];
        assert_eq!(verdict(true, "extended", &[]), Ok(()));
        assert!(matches!(verdict(true, "extended", &lacking), Err(Stop::Fail(reason)) if reason.contains(&lacking[0])));
        assert!(matches!(verdict(false, "extended", &lacking), Err(Stop::Skip(reason)) if reason.contains(&lacking[0])));
        assert!(
            matches!(verdict(false, "extended", &[]), Err(Stop::Skip(reason)) if reason.ends_with("has all that it asks for"))
        );
    }
}
