//! Pairs of usages that let a key's user read what the key wraps, and how a token that is not compatible keeps them apart.
//!
//! A key that has wrapped another must never decrypt, nor one that unwraps encrypt (Clulow 2003; Delaune, Kremer, Steel 2008).
//! A key cannot tell what it did before, so it is not enough that no moment finds it with both: none of the four is ever
//! turned on later, neither on the key nor on a copy. A key whose value may be read is spared at birth: it hides nothing,
//! `policy::may_wrap` keeps it from wrapping what may not be read, and it stays readable as long as it has both.
//!
//! This concerns secret keys; the two sides of a key pair are different objects, and anybody can wrap under a public key of
//! his own: `CKA_WRAP_WITH_TRUSTED` is the standard's answer to that.

use super::Context;
use crate::ck::{AttributeType, ObjectClass};
use crate::error::{Code, Result, refuse};
use crate::object::policy::Policy;
use crate::object::{Object, Template};

const CONFLICTS: [(AttributeType, AttributeType); 2] =
    [(AttributeType::WRAP, AttributeType::DECRYPT), (AttributeType::UNWRAP, AttributeType::ENCRYPT)];

/// Whether a default usage stands back: a secret key wraps only when asked to, and does not decrypt then.
pub fn yields(kind: AttributeType, attributes: &Template, class: ObjectClass, policy: Policy) -> bool {
    concerns(class, policy)
        && CONFLICTS.iter().any(|(wrap, cipher)| kind == *wrap || (kind == *cipher && attributes.bool(*wrap) == Some(true)))
}

/// Errors: `TemplateInconsistent` for a conflicting pair.
pub fn no_conflict(attributes: &Template, class: ObjectClass, context: &Context) -> Result<()> {
    // Clients ask for every usage of the keys that they derive and read.
    if !concerns(class, context.policy) || is_readable(attributes) {
        return Ok(());
    }
    match CONFLICTS.iter().find(|(a, b)| attributes.bool(*a) == Some(true) && attributes.bool(*b) == Some(true)) {
        None => Ok(()),
        Some((a, b)) => Err(refuse(
            Code::TemplateInconsistent,
            format!(
                "one key must not have both {a} and {b}: whoever uses it could read the keys that it wraps (a token with the \
                 compatible policy allows it)"
            ),
        )),
    }
}

/// Errors: `AttributeReadOnly` where a usage of a conflicting pair is turned on after birth.
pub fn may_turn_on(kind: AttributeType, original: &Object, to: bool, context: &Context) -> Result<()> {
    let turned_on = to && !original.flag(kind) && concerns(original.class(), context.policy);
    if turned_on && CONFLICTS.iter().any(|(a, b)| kind == *a || kind == *b) {
        return Err(refuse(
            Code::AttributeReadOnly,
            format!("{kind} cannot be turned on later: the key may have been used for the opposite before"),
        ));
    }
    Ok(())
}

/// Errors: `TemplateInconsistent` where a readable key with a conflicting pair would stop being readable.
pub fn may_hide(original: &Object, after: &Template, context: &Context) -> Result<()> {
    if is_readable(&original.attributes) { no_conflict(after, original.class(), context) } else { Ok(()) }
}

fn is_readable(attributes: &Template) -> bool {
    attributes.bool(AttributeType::SENSITIVE) == Some(false) && attributes.bool(AttributeType::EXTRACTABLE) == Some(true)
}

fn concerns(class: ObjectClass, policy: Policy) -> bool {
    policy != Policy::Compatible && class == ObjectClass::SECRET_KEY
}
