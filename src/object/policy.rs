//! What may be done with a key: `permit` is the only maker of the witness that mechanisms ask for.

use std::marker::PhantomData;
use std::ops::Deref;

use super::{Object, Template, Value, table};
use crate::ck::{AttributeType, MechanismType, ObjectClass};
use crate::error::{Code, Result, refuse};
use crate::faults::{self, Fault};

/// How strict a token is, set when it is made and replicated with it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, minicbor::Encode, minicbor::Decode)]
#[cbor(index_only)]
pub enum Policy {
    /// SoftHSM's behaviour: conflicting usages allowed, templates of unwrapped keys honoured.
    #[n(0)]
    Compatible,
    /// Conflicting pairs (wrap and decrypt, unwrap and encrypt) refused at creation; unwrapped keys are sensitive.
    #[default]
    #[n(1)]
    Default,
    /// As `Default`; start and end dates enforced, a repeated GCM nonce refused.
    #[n(2)]
    Strict,
}

/// One way to use a key: a marker type, the attribute that allows it.
pub trait Use: Send + Sync + 'static {
    /// The boolean attribute that must be true.
    const ATTRIBUTE: AttributeType;
}

macro_rules! uses {
    ($($(#[$doc:meta])* $Use:ident = $ATTRIBUTE:ident),* $(,)?) => {
        $($(#[$doc])* pub struct $Use;
        impl Use for $Use { const ATTRIBUTE: AttributeType = AttributeType::$ATTRIBUTE; })*
    };
}

uses! {
    /// `C_Encrypt*`.
    Encrypt = ENCRYPT,
    /// `C_Decrypt*`.
    Decrypt = DECRYPT,
    /// `C_Sign*`.
    Sign = SIGN,
    /// `C_Verify*`.
    Verify = VERIFY,
    /// `C_SignRecover*`.
    SignRecover = SIGN_RECOVER,
    /// `C_VerifyRecover*`.
    VerifyRecover = VERIFY_RECOVER,
    /// `C_WrapKey`.
    Wrap = WRAP,
    /// `C_UnwrapKey`.
    Unwrap = UNWRAP,
    /// `C_DeriveKey`.
    Derive = DERIVE,
}

/// A key that passed the policy for one use with one mechanism. Mechanisms accept nothing else.
pub struct Permitted<U: Use, K> {
    key: K,
    use_: PhantomData<U>,
}

impl<U: Use, K> Permitted<U, K> {
    /// The key, at the moment of its use.
    pub fn into_key(self) -> K {
        self.key
    }
}

/// Checks usage attribute, allowed mechanisms and, under [`Policy::Strict`], the dates (`today`: `YYYYMMDD`).
///
/// Errors: `KeyFunctionNotPermitted`, `MechanismInvalid` (not among `CKA_ALLOWED_MECHANISMS`).
pub fn permit<U: Use, K: Deref<Target: AsRef<Object>>>(
    key: K,
    mechanism: MechanismType,
    policy: Policy,
    today: &[u8; 8],
) -> Result<Permitted<U, K>> {
    let object = key.deref().as_ref();
    if !object.flag(U::ATTRIBUTE) && !faults::on(Fault::UsesIgnoreFlags) {
        return Err(refuse(Code::KeyFunctionNotPermitted, format!("the key's {} is false", U::ATTRIBUTE)));
    }
    allowed(object, mechanism, policy, today)?;
    Ok(Permitted { key, use_: PhantomData })
}

fn allowed(object: &Object, mechanism: MechanismType, policy: Policy, today: &[u8; 8]) -> Result<()> {
    if let Some(Value::Mechanisms(allowed)) = object.attributes.get(AttributeType::ALLOWED_MECHANISMS)
        && !allowed.is_empty()
        && !allowed.contains(&mechanism)
        && !faults::on(Fault::AnyMechanismAllowed)
    {
        return Err(refuse(Code::MechanismInvalid, format!("{mechanism} is not among the key's CKA_ALLOWED_MECHANISMS")));
    }
    if policy != Policy::Strict {
        return Ok(());
    }
    let date = |kind| object.bytes(kind).filter(|date| !date.is_empty());
    if date(AttributeType::START_DATE).is_some_and(|start| today.as_slice() < start) {
        return Err(refuse(Code::KeyFunctionNotPermitted, "the key is not valid yet (CKA_START_DATE)"));
    }
    if date(AttributeType::END_DATE).is_some_and(|end| today.as_slice() > end) {
        return Err(refuse(Code::KeyFunctionNotPermitted, "the key is not valid any more (CKA_END_DATE)"));
    }
    Ok(())
}

/// What reading one attribute may show.
pub enum Revealed<'a> {
    /// Its value.
    Value(&'a Value),
    /// There is one, and it is not shown.
    Sensitive,
    /// There is none.
    Absent,
}

/// Whether an attribute may be shown: a key's secrets only if it is neither sensitive nor unextractable (PKCS#11 3.1, 4.9, 4.10).
pub fn reveal(object: &Object, kind: AttributeType) -> Revealed<'_> {
    let Some(value) = object.attributes.get(kind) else { return Revealed::Absent };
    let secret = table::rule_for(kind, object.class(), object.key_type()).is_none_or(|rule| rule.secret);
    let hidden = secret && (object.flag(AttributeType::SENSITIVE) || !object.flag(AttributeType::EXTRACTABLE));
    if hidden && !faults::on(Fault::SensitiveIsShown) {
        return Revealed::Sensitive;
    }
    Revealed::Value(value)
}

/// Whether an object matches a search. What may not be shown matches nothing, so a search is no oracle.
pub fn matches(object: &Object, template: &Template) -> bool {
    template.iter().all(|(kind, wanted)| match reveal(object, kind) {
        Revealed::Value(value) => {
            value.same_as(wanted) || (kind == AttributeType::LABEL && faults::on(Fault::SearchIgnoresLabel))
        }
        Revealed::Sensitive => faults::on(Fault::SearchFindsSecrets) && object.attributes.has_value(kind, wanted),
        Revealed::Absent => false,
    })
}

/// Whether a key may leave the token under another one (PKCS#11 3.1, 5.18.3).
///
/// Errors: `KeyUnextractable`, `KeyNotWrappable`.
pub fn may_wrap(key: &Object, wrapping: &Object, policy: Policy) -> Result<()> {
    if ![ObjectClass::SECRET_KEY, ObjectClass::PRIVATE_KEY].contains(&key.class()) {
        return Err(refuse(Code::KeyNotWrappable, "only secret and private keys can be wrapped"));
    }
    if !key.flag(AttributeType::EXTRACTABLE) && !faults::on(Fault::WrapsUnextractable) {
        return Err(refuse(Code::KeyUnextractable, "the key's CKA_EXTRACTABLE is false"));
    }
    let is_trusted = wrapping.flag(AttributeType::TRUSTED) || faults::on(Fault::WrapsUnderUntrusted);
    if key.flag(AttributeType::WRAP_WITH_TRUSTED) && !is_trusted {
        return Err(refuse(Code::KeyNotWrappable, "the key can be wrapped with a trusted key only (CKA_WRAP_WITH_TRUSTED)"));
    }
    let is_readable = wrapping.class() == ObjectClass::SECRET_KEY
        && !wrapping.flag(AttributeType::SENSITIVE)
        && wrapping.flag(AttributeType::EXTRACTABLE);
    if policy != Policy::Compatible && is_readable && key.flag(AttributeType::SENSITIVE) {
        return Err(refuse(Code::KeyNotWrappable, "a sensitive key is not wrapped under a key whose value may be read"));
    }
    match wrapping.attributes.get(AttributeType::WRAP_TEMPLATE) {
        Some(Value::Template(demanded)) if !has_all(key, demanded) && !faults::on(Fault::WrapTemplateIgnored) => {
            Err(refuse(Code::KeyHandleInvalid, "the key does not fit the wrapping key's CKA_WRAP_TEMPLATE"))
        }
        _ => Ok(()),
    }
}

fn has_all(key: &Object, demanded: &Template) -> bool {
    demanded.iter().all(|(kind, wanted)| key.attributes.has_value(kind, wanted))
}

/// Errors: `ActionProhibited`.
pub fn may_destroy(object: &Object) -> Result<()> {
    prohibited_unless(object, AttributeType::DESTROYABLE, "destroyed")
}

/// Errors: `ActionProhibited`.
pub fn may_copy(object: &Object) -> Result<()> {
    prohibited_unless(object, AttributeType::COPYABLE, "copied")
}

/// Errors: `ActionProhibited`.
pub fn may_modify(object: &Object) -> Result<()> {
    prohibited_unless(object, AttributeType::MODIFIABLE, "changed")
}

fn prohibited_unless(object: &Object, kind: AttributeType, what: &str) -> Result<()> {
    match object.attributes.bool(kind) {
        Some(false) if !faults::on(Fault::FixedObjectsMove) => {
            Err(refuse(Code::ActionProhibited, format!("the object cannot be {what}: its {kind} is false")))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::ObjectId;
    use crate::secret::Secret;

    type Attributes = Vec<(AttributeType, Value)>;
    type A = AttributeType;

    fn flag(kind: A, flag: bool) -> (A, Value) {
        (kind, Value::Bool(flag))
    }

    fn text(kind: A, text: &str) -> (A, Value) {
        (kind, Value::Bytes(text.as_bytes().to_vec()))
    }

    fn key(more: Attributes) -> Object {
        let own = [(A::CLASS, Value::Ulong(ObjectClass::SECRET_KEY.0)), (A::KEY_TYPE, Value::Ulong(31))];
        let value = (A::VALUE, Value::Secret(Secret::copy_of(b"the key's value!")));
        let attributes = own.into_iter().chain([value, text(A::LABEL, "label")]).chain(more).collect();
        Object { id: ObjectId([1; 16]), version: 1, attributes }
    }

    impl AsRef<Object> for Object {
        fn as_ref(&self) -> &Object {
            self
        }
    }

    #[test]
    fn a_use_needs_its_flag_its_mechanism_and_its_day() {
        let signs = || flag(A::SIGN, true);
        let only = |kinds: &[MechanismType]| vec![signs(), (A::ALLOWED_MECHANISMS, Value::Mechanisms(kinds.to_vec()))];
        let between = |start: &str, end: &str| vec![signs(), text(A::START_DATE, start), text(A::END_DATE, end)];
        let cases: Vec<(&str, Attributes, Policy, Option<Code>)> = vec![
            ("not allowed", vec![flag(A::SIGN, false)], Policy::Compatible, Some(Code::KeyFunctionNotPermitted)),
            ("not said", vec![flag(A::VERIFY, true)], Policy::Compatible, Some(Code::KeyFunctionNotPermitted)),
            ("allowed", vec![signs()], Policy::Strict, None),
            ("any mechanism", only(&[]), Policy::Strict, None),
            ("this mechanism", only(&[MechanismType::AES_CMAC, MechanismType::SHA256_HMAC]), Policy::Default, None),
            ("another mechanism", only(&[MechanismType::AES_CMAC]), Policy::Compatible, Some(Code::MechanismInvalid)),
            ("today", between("20300601", "20300601"), Policy::Strict, None),
            ("no dates", between("", ""), Policy::Strict, None),
            ("not yet", between("20300602", ""), Policy::Strict, Some(Code::KeyFunctionNotPermitted)),
            ("no more", between("", "20300531"), Policy::Strict, Some(Code::KeyFunctionNotPermitted)),
            ("dates are words", between("20300602", "20300531"), Policy::Default, None),
        ];
        for (what, attributes, policy, expected) in cases {
            let key = key(attributes);
            let permitted: Result<Permitted<Sign, _>> = permit(&key, MechanismType::SHA256_HMAC, policy, b"20300601");
            assert_eq!(permitted.err().map(|error| error.code()), expected, "{what}");
        }
    }

    #[test]
    fn a_secret_is_shown_and_found_only_where_it_is_neither_sensitive_nor_unextractable() {
        for (sensitive, extractable) in [(false, false), (false, true), (true, false), (true, true)] {
            let key = key(vec![flag(A::SENSITIVE, sensitive), flag(A::EXTRACTABLE, extractable)]);
            let open = !sensitive && extractable;
            assert_eq!(matches!(reveal(&key, A::VALUE), Revealed::Value(_)), open);
            assert_eq!(matches!(reveal(&key, A::VALUE), Revealed::Sensitive), !open);
            assert!(matches!(reveal(&key, A::LABEL), Revealed::Value(_)));
            assert!(matches!(reveal(&key, A::MODULUS), Revealed::Absent));
            for (guess, right) in [("the key's value!", true), ("another value!!!", false)] {
                assert_eq!(matches(&key, &Template::from_iter([text(A::VALUE, guess)])), open && right, "{guess}");
            }
        }
    }

    #[test]
    fn an_object_is_found_by_all_that_is_asked_for() {
        let key = key(vec![]);
        let class = || (A::CLASS, Value::Ulong(ObjectClass::SECRET_KEY.0));
        let cases: Vec<(Attributes, bool)> = vec![
            (vec![], true),
            (vec![class()], true),
            (vec![class(), text(A::LABEL, "label")], true),
            (vec![class(), text(A::LABEL, "labe")], false),
            (vec![(A::CLASS, Value::Ulong(3)), text(A::LABEL, "label")], false),
            (vec![class(), text(A::ID, "")], false),
            (vec![text(A::CLASS, "\u{4}")], false),
            (vec![text(AttributeType(0xce53_4351), "x")], false),
        ];
        for (wanted, expected) in cases {
            let wanted = wanted.into_iter().collect();
            assert_eq!(matches(&key, &wanted), expected, "{wanted:?}");
        }
    }

    #[test]
    fn a_key_is_wrapped_as_it_and_the_wrapping_key_allow() {
        let open = || flag(A::EXTRACTABLE, true);
        let picky = |inner: Attributes| vec![(A::WRAP_TEMPLATE, Value::Template(inner.into_iter().collect()))];
        let trusted = || vec![flag(A::TRUSTED, true)];
        let wary = || vec![open(), flag(A::WRAP_WITH_TRUSTED, true)];
        let cases: Vec<(&str, Attributes, Attributes, Option<Code>)> = vec![
            ("unextractable", vec![flag(A::EXTRACTABLE, false)], trusted(), Some(Code::KeyUnextractable)),
            ("extractable", vec![open()], vec![], None),
            ("wary", wary(), vec![], Some(Code::KeyNotWrappable)),
            ("wary, of a trusted one", wary(), trusted(), None),
            ("nothing demanded", vec![open()], picky(vec![]), None),
            ("as demanded", vec![open()], picky(vec![text(A::LABEL, "label")]), None),
            ("otherwise", vec![open()], picky(vec![text(A::LABEL, "other")]), Some(Code::KeyHandleInvalid)),
            ("without it", vec![open()], picky(vec![text(A::ID, "1")]), Some(Code::KeyHandleInvalid)),
            ("a certificate", vec![open(), (A::CLASS, Value::Ulong(1))], vec![], Some(Code::KeyNotWrappable)),
        ];
        for (what, attributes, wrapping, expected) in cases {
            let answer = may_wrap(&key(attributes), &key(wrapping), Policy::Compatible);
            assert_eq!(answer.err().map(|error| error.code()), expected, "{what}");
        }
    }

    #[test]
    fn a_sensitive_key_is_not_wrapped_under_a_readable_one_unless_the_token_is_compatible() {
        let sensitive = || key(vec![flag(A::EXTRACTABLE, true), flag(A::SENSITIVE, true)]);
        let open = || key(vec![flag(A::EXTRACTABLE, true), flag(A::SENSITIVE, false)]);
        let closed = || key(vec![flag(A::EXTRACTABLE, false), flag(A::SENSITIVE, true)]);
        for policy in [Policy::Default, Policy::Strict] {
            assert_eq!(may_wrap(&sensitive(), &open(), policy).unwrap_err().code(), Code::KeyNotWrappable);
            assert!(may_wrap(&sensitive(), &closed(), policy).is_ok());
            assert!(may_wrap(&open(), &open(), policy).is_ok());
        }
        assert!(may_wrap(&sensitive(), &open(), Policy::Compatible).is_ok());
    }

    #[test]
    fn what_an_object_forbids_is_prohibited() {
        type Act = fn(&Object) -> Result<()>;
        let acts = [(A::DESTROYABLE, may_destroy as Act), (A::COPYABLE, may_copy), (A::MODIFIABLE, may_modify)];
        for (kind, act) in acts {
            assert!(act(&key(vec![])).is_ok() && act(&key(vec![flag(kind, true)])).is_ok());
            assert_eq!(act(&key(vec![flag(kind, false)])).unwrap_err().code(), Code::ActionProhibited, "{kind}");
        }
    }
}
