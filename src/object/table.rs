//! Every attribute that we know: its kind of value, where it belongs, who may set it and which way it may move.
//!
//! PKCS#11 3.1, chapter 4. A class or key type has an attribute if a row says so; an attribute without a row is
//! `CKR_ATTRIBUTE_TYPE_INVALID` everywhere, vendors' own attributes included. Where the standard leaves a choice, SoftHSM
//! 2.6.1 was asked for its own.

use std::fmt::Write;

use crate::ck::{AttributeType as A, CertificateType, KeyType, MechanismType, ObjectClass, UNAVAILABLE_INFORMATION};

/// Sets of object classes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Classes(u8);

impl Classes {
    const DATA: Self = Self(1);
    const CERTIFICATE: Self = Self(2);
    const PUBLIC: Self = Self(4);
    const PRIVATE: Self = Self(8);
    const SECRET: Self = Self(16);
    const DOMAIN: Self = Self(32);
    const KEYS: Self = Self(4 | 8 | 16);
    const ALL: Self = Self(63);

    const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether objects of this class are meant. Unknown classes belong nowhere.
    pub fn has(self, class: ObjectClass) -> bool {
        CLASSES.iter().any(|(bit, known, _)| *known == class && self.0 & bit.0 != 0)
    }

    fn words(self) -> String {
        if self == Self::ALL {
            return "all".to_owned();
        }
        let words: Vec<_> = CLASSES.iter().filter(|(bit, ..)| self.0 & bit.0 != 0).map(|(.., word)| *word).collect();
        words.join(", ")
    }
}

/// The classes of objects that are kept.
const CLASSES: &[(Classes, ObjectClass, &str)] = &[
    (Classes::DATA, ObjectClass::DATA, "data"),
    (Classes::CERTIFICATE, ObjectClass::CERTIFICATE, "certificate"),
    (Classes::PUBLIC, ObjectClass::PUBLIC_KEY, "public key"),
    (Classes::PRIVATE, ObjectClass::PRIVATE_KEY, "private key"),
    (Classes::SECRET, ObjectClass::SECRET_KEY, "secret key"),
    (Classes::DOMAIN, ObjectClass::DOMAIN_PARAMETERS, "domain parameters"),
];

/// The form of a value at the C interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ValueKind {
    /// `CK_BBOOL`.
    Bool,
    /// `CK_ULONG`.
    Ulong,
    /// A byte array or string.
    Bytes,
    /// An unsigned big-endian integer.
    BigInteger,
    /// A byte array that is secret for keys.
    Secret,
    /// `CK_DATE`: 8 digits, or empty.
    Date,
    /// An array of `CK_MECHANISM_TYPE`.
    Mechanisms,
    /// An array of attributes.
    Template,
}

/// Who may give an attribute, and when.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Given(u8);

impl Given {
    /// Only the token sets it.
    pub const NEVER: Self = Self(0);
    /// In the template of `C_CreateObject`.
    pub const CREATE: Self = Self(1);
    /// In a template of `C_GenerateKey`, `C_GenerateKeyPair`.
    pub const GENERATE: Self = Self(2);
    /// In the template of `C_UnwrapKey`, `C_DeriveKey`.
    pub const DERIVE: Self = Self(4);
    /// In the template of `C_CopyObject`.
    pub const COPY: Self = Self(8);
    /// By `C_SetAttributeValue`.
    pub const LATER: Self = Self(16);

    /// When the object comes into being, whatever way.
    const BIRTH: Self = Self(1 | 2 | 4);
    const BIRTH_AND_COPY: Self = Self(1 | 2 | 4 | 8);
    const ANY: Self = Self(31);

    const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether this way is open.
    pub fn allows(self, way: Self) -> bool {
        self.0 & way.0 == way.0
    }
}

/// Which way a boolean may move once the object exists, by `C_SetAttributeValue` or on a copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Both.
    Free,
    /// It may become true, never false again.
    OnlyTrue,
    /// It may become false, never true again.
    OnlyFalse,
}

/// What an attribute is when nobody says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Default {
    /// It is not there.
    Absent,
    /// The template of `C_CreateObject` must have it.
    Required,
    /// A boolean.
    Bool(bool),
    /// True for private and secret keys and for data, false for what is public by nature (`CKA_PRIVATE`).
    IfSecret,
    /// Empty for a certificate of attributes; others have none unless they are given one.
    IfOfAttributes,
    /// An empty string, date, list or template.
    Empty,
    /// A number.
    Ulong(u64),
}

/// One attribute of some classes.
pub struct Rule {
    /// Which.
    pub kind: A,
    /// Its form.
    pub value: ValueKind,
    /// Whose.
    pub classes: Classes,
    /// Only keys (and domain parameters) of these types; empty: all.
    pub key_types: &'static [KeyType],
    /// Who may give it.
    pub given: Given,
    /// Which way it may move.
    pub direction: Direction,
    /// What it is otherwise.
    pub default: Default,
    /// Hidden when the key is sensitive or not extractable.
    pub secret: bool,
    /// Whether the blind index finds objects by it.
    pub indexed: bool,
}

const RULE: Rule = Rule {
    kind: A::CLASS,
    value: ValueKind::Bytes,
    classes: Classes::ALL,
    key_types: &[],
    given: Given::BIRTH,
    direction: Direction::Free,
    default: Default::Absent,
    secret: false,
    indexed: false,
};

const RSA: &[KeyType] = &[KeyType::RSA];
const EC: &[KeyType] = &[KeyType::EC, KeyType::EC_EDWARDS, KeyType::EC_MONTGOMERY];
const DSA: &[KeyType] = &[KeyType::DSA];
const DH: &[KeyType] = &[KeyType::DH];
/// Key types over a prime field: their public value is `CKA_VALUE`.
const FIELD: &[KeyType] = &[KeyType::DSA, KeyType::DH];
/// Key types whose private value is `CKA_VALUE`.
const WITH_VALUE: &[KeyType] = &[KeyType::DSA, KeyType::DH, KeyType::EC, KeyType::EC_EDWARDS, KeyType::EC_MONTGOMERY];

/// A string that may be given at birth and on a copy, and changed later.
const fn text(kind: A, classes: Classes) -> Rule {
    Rule { kind, classes, given: Given::ANY, default: Default::Empty, ..RULE }
}

/// A string that is given when the object is created, once and for all.
const fn fixed(kind: A, classes: Classes) -> Rule {
    Rule { kind, classes, given: Given::CREATE, default: Default::Empty, ..RULE }
}

/// A number that is given when the object is created, once and for all.
const fn choice(kind: A, classes: Classes, default: Default) -> Rule {
    Rule { kind, value: ValueKind::Ulong, classes, given: Given::CREATE, default, ..RULE }
}

/// A boolean.
const fn flag(kind: A, classes: Classes, given: Given, default: bool) -> Rule {
    Rule { kind, value: ValueKind::Bool, classes, given, default: Default::Bool(default), ..RULE }
}

/// A usage flag.
const fn usage(kind: A, classes: Classes, default: bool) -> Rule {
    flag(kind, classes, Given::ANY, default)
}

/// What only the token sets.
const fn told(kind: A, value: ValueKind, classes: Classes, default: Default) -> Rule {
    Rule { kind, value, classes, given: Given::NEVER, default, ..RULE }
}

/// What binds a key for life: given at birth, the same on every copy.
const fn bound(kind: A, value: ValueKind, classes: Classes) -> Rule {
    Rule { kind, value, classes, given: Given::BIRTH, default: Default::Empty, ..RULE }
}

/// A public number of some key types.
const fn number(kind: A, classes: Classes, key_types: &'static [KeyType], given: Given) -> Rule {
    Rule { kind, value: ValueKind::BigInteger, classes, key_types, given, ..RULE }
}

/// A size that generation is told.
const fn size(kind: A, classes: Classes, key_types: &'static [KeyType]) -> Rule {
    Rule { value: ValueKind::Ulong, ..number(kind, classes, key_types, Given::GENERATE) }
}

/// A secret number of a private key.
const fn hidden(kind: A, key_types: &'static [KeyType]) -> Rule {
    Rule { kind, value: ValueKind::Secret, classes: Classes::PRIVATE, key_types, given: Given::CREATE, secret: true, ..RULE }
}

/// Found by the blind index.
const fn indexed(rule: Rule) -> Rule {
    Rule { indexed: true, ..rule }
}

/// With one way to go.
const fn one_way(direction: Direction, rule: Rule) -> Rule {
    Rule { direction, ..rule }
}

const CREATE_OR_GENERATE: Given = Given::CREATE.and(Given::GENERATE);
const CLOSED_KEYS: Classes = Classes::PRIVATE.and(Classes::SECRET);

/// Ascending by attribute; an attribute that means different things to different classes has one row for each.
pub const RULES: &[Rule] = &[
    Rule { kind: A::CLASS, value: ValueKind::Ulong, default: Default::Required, indexed: true, ..RULE },
    flag(A::TOKEN, Classes::ALL, Given::BIRTH_AND_COPY, false),
    Rule {
        default: Default::IfSecret,
        ..one_way(Direction::OnlyTrue, flag(A::PRIVATE, Classes::ALL, Given::BIRTH_AND_COPY, false))
    },
    indexed(text(A::LABEL, Classes::ALL)),
    indexed(told(A::UNIQUE_ID, ValueKind::Bytes, Classes::ALL, Default::Absent)),
    indexed(fixed(A::APPLICATION, Classes::DATA)),
    indexed(fixed(A::VALUE, Classes::DATA.and(Classes::CERTIFICATE))),
    number(A::VALUE, Classes::PUBLIC, FIELD, Given::CREATE),
    hidden(A::VALUE, WITH_VALUE),
    Rule { classes: Classes::SECRET, ..hidden(A::VALUE, &[]) },
    indexed(fixed(A::OBJECT_ID, Classes::DATA)),
    indexed(choice(A::CERTIFICATE_TYPE, Classes::CERTIFICATE, Default::Required)),
    indexed(text(A::ISSUER, Classes::CERTIFICATE)),
    indexed(text(A::SERIAL_NUMBER, Classes::CERTIFICATE)),
    Rule { default: Default::IfOfAttributes, ..text(A::AC_ISSUER, Classes::CERTIFICATE) },
    Rule { default: Default::IfOfAttributes, ..fixed(A::OWNER, Classes::CERTIFICATE) },
    Rule { default: Default::IfOfAttributes, ..text(A::ATTR_TYPES, Classes::CERTIFICATE) },
    // Whoever is not the SO may only give the trust away (`template::for_create` and its like).
    flag(A::TRUSTED, Classes::CERTIFICATE.and(Classes::PUBLIC).and(Classes::SECRET), Given::ANY, false),
    choice(A::CERTIFICATE_CATEGORY, Classes::CERTIFICATE, Default::Ulong(0)),
    choice(A::JAVA_MIDP_SECURITY_DOMAIN, Classes::CERTIFICATE, Default::Ulong(0)),
    fixed(A::URL, Classes::CERTIFICATE),
    fixed(A::HASH_OF_SUBJECT_PUBLIC_KEY, Classes::CERTIFICATE),
    fixed(A::HASH_OF_ISSUER_PUBLIC_KEY, Classes::CERTIFICATE),
    choice(A::NAME_HASH_ALGORITHM, Classes::CERTIFICATE, Default::Ulong(MechanismType::SHA_1.0)),
    // Checked against the value at birth; a key's can be emptied later (PKCS#11 3.1, 4.10.2).
    Rule { default: Default::Absent, ..fixed(A::CHECK_VALUE, Classes::CERTIFICATE) },
    Rule { default: Default::Absent, ..text(A::CHECK_VALUE, Classes::SECRET) },
    Rule {
        kind: A::KEY_TYPE,
        value: ValueKind::Ulong,
        classes: Classes::KEYS.and(Classes::DOMAIN),
        default: Default::Required,
        indexed: true,
        ..RULE
    },
    indexed(fixed(A::SUBJECT, Classes::CERTIFICATE)),
    indexed(text(A::SUBJECT, Classes::PUBLIC.and(Classes::PRIVATE))),
    indexed(text(A::ID, Classes::CERTIFICATE.and(Classes::KEYS))),
    one_way(Direction::OnlyTrue, flag(A::SENSITIVE, CLOSED_KEYS, Given::ANY, false)),
    usage(A::ENCRYPT, Classes::PUBLIC.and(Classes::SECRET), true),
    usage(A::DECRYPT, CLOSED_KEYS, true),
    usage(A::WRAP, Classes::PUBLIC.and(Classes::SECRET), true),
    usage(A::UNWRAP, CLOSED_KEYS, true),
    usage(A::SIGN, CLOSED_KEYS, true),
    usage(A::SIGN_RECOVER, Classes::PRIVATE, true),
    usage(A::VERIFY, Classes::PUBLIC.and(Classes::SECRET), true),
    usage(A::VERIFY_RECOVER, Classes::PUBLIC, true),
    usage(A::DERIVE, Classes::KEYS, false),
    Rule { value: ValueKind::Date, ..fixed(A::START_DATE, Classes::CERTIFICATE) },
    Rule { value: ValueKind::Date, ..text(A::START_DATE, Classes::KEYS) },
    Rule { value: ValueKind::Date, ..fixed(A::END_DATE, Classes::CERTIFICATE) },
    Rule { value: ValueKind::Date, ..text(A::END_DATE, Classes::KEYS) },
    indexed(number(A::MODULUS, Classes::PUBLIC.and(Classes::PRIVATE), RSA, Given::CREATE)),
    size(A::MODULUS_BITS, Classes::PUBLIC, RSA),
    number(A::PUBLIC_EXPONENT, Classes::PUBLIC, RSA, CREATE_OR_GENERATE),
    number(A::PUBLIC_EXPONENT, Classes::PRIVATE, RSA, Given::CREATE),
    hidden(A::PRIVATE_EXPONENT, RSA),
    hidden(A::PRIME_1, RSA),
    hidden(A::PRIME_2, RSA),
    hidden(A::EXPONENT_1, RSA),
    hidden(A::EXPONENT_2, RSA),
    hidden(A::COEFFICIENT, RSA),
    indexed(fixed(A::PUBLIC_KEY_INFO, Classes::CERTIFICATE.and(Classes::PUBLIC).and(Classes::PRIVATE))),
    number(A::PRIME, Classes::PUBLIC.and(Classes::DOMAIN), FIELD, CREATE_OR_GENERATE),
    number(A::PRIME, Classes::PRIVATE, FIELD, Given::CREATE),
    number(A::SUBPRIME, Classes::PUBLIC.and(Classes::DOMAIN), DSA, CREATE_OR_GENERATE),
    number(A::SUBPRIME, Classes::PRIVATE, DSA, Given::CREATE),
    number(A::BASE, Classes::PUBLIC.and(Classes::DOMAIN), FIELD, CREATE_OR_GENERATE),
    number(A::BASE, Classes::PRIVATE, FIELD, Given::CREATE),
    size(A::PRIME_BITS, Classes::DOMAIN, FIELD),
    size(A::SUBPRIME_BITS, Classes::DOMAIN, DSA),
    size(A::VALUE_BITS, Classes::PRIVATE, DH),
    Rule { kind: A::VALUE_LEN, value: ValueKind::Ulong, classes: Classes::SECRET, ..RULE },
    one_way(Direction::OnlyFalse, flag(A::EXTRACTABLE, CLOSED_KEYS, Given::ANY, false)),
    told(A::LOCAL, ValueKind::Bool, Classes::KEYS.and(Classes::DOMAIN), Default::Bool(false)),
    told(A::NEVER_EXTRACTABLE, ValueKind::Bool, CLOSED_KEYS, Default::Bool(false)),
    told(A::ALWAYS_SENSITIVE, ValueKind::Bool, CLOSED_KEYS, Default::Bool(false)),
    told(A::KEY_GEN_MECHANISM, ValueKind::Ulong, Classes::KEYS, Default::Ulong(UNAVAILABLE_INFORMATION)),
    one_way(Direction::OnlyFalse, flag(A::MODIFIABLE, Classes::ALL, Given::BIRTH_AND_COPY, true)),
    one_way(Direction::OnlyFalse, flag(A::COPYABLE, Classes::ALL, Given::ANY, true)),
    // It keeps from accidents, not from attacks: PKCS#11 3.1, 4.4 names no direction.
    flag(A::DESTROYABLE, Classes::ALL, Given::ANY, true),
    Rule { value: ValueKind::Bytes, ..number(A::EC_PARAMS, Classes::PUBLIC, EC, CREATE_OR_GENERATE) },
    Rule { value: ValueKind::Bytes, ..number(A::EC_PARAMS, Classes::PRIVATE, EC, Given::CREATE) },
    // Private keys have none in the standard; who gives it all the same means the public key.
    indexed(Rule { value: ValueKind::Bytes, ..number(A::EC_POINT, Classes::PUBLIC.and(Classes::PRIVATE), EC, Given::CREATE) }),
    flag(A::ALWAYS_AUTHENTICATE, Classes::PRIVATE, Given::BIRTH, false),
    one_way(Direction::OnlyTrue, flag(A::WRAP_WITH_TRUSTED, CLOSED_KEYS, Given::ANY, false)),
    bound(A::WRAP_TEMPLATE, ValueKind::Template, Classes::PUBLIC.and(Classes::SECRET)),
    bound(A::UNWRAP_TEMPLATE, ValueKind::Template, CLOSED_KEYS),
    bound(A::DERIVE_TEMPLATE, ValueKind::Template, Classes::KEYS),
    bound(A::ALLOWED_MECHANISMS, ValueKind::Mechanisms, Classes::KEYS),
];

const _: () = {
    let mut at = 1;
    while at < RULES.len() {
        assert!(RULES[at - 1].kind.0 <= RULES[at].kind.0, "rules stand in ascending order of attribute");
        let mut before = at;
        while before > 0 && RULES[before - 1].kind.0 == RULES[at].kind.0 {
            before -= 1;
            assert!(!overlap(&RULES[before], &RULES[at]), "an attribute has one rule for each class and key type");
        }
        at += 1;
    }
};

/// Whether two rules of an attribute could both mean one object.
const fn overlap(one: &Rule, other: &Rule) -> bool {
    if one.classes.0 & other.classes.0 == 0 {
        return false;
    }
    if one.key_types.is_empty() || other.key_types.is_empty() {
        return true;
    }
    let (mut at, mut found) = (0, false);
    while at < one.key_types.len() * other.key_types.len() {
        let (a, b) = (one.key_types[at / other.key_types.len()], other.key_types[at % other.key_types.len()]);
        found = found || a.0 == b.0;
        at += 1;
    }
    found
}

/// All rows of an attribute, for whatever class.
pub(super) fn rows(kind: A) -> &'static [Rule] {
    let first = RULES.partition_point(|rule| rule.kind < kind);
    let len = RULES[first..].partition_point(|rule| rule.kind == kind);
    &RULES[first..first + len]
}

/// How an attribute's value looks at the C interface, and whether it is indexed, whatever the class. Where classes
/// differ (`CKA_VALUE`), the row that keeps the value secret is given: a secret can become plain, not the other way.
pub fn rule(kind: A) -> Option<&'static Rule> {
    let rows = rows(kind);
    rows.iter().find(|rule| rule.secret).or(rows.first())
}

/// The rule for one class and key type.
pub fn rule_for(kind: A, class: ObjectClass, key_type: Option<KeyType>) -> Option<&'static Rule> {
    rows(kind).iter().find(|rule| belongs(rule, class, key_type))
}

/// All rules of one class and key type.
pub fn rules_of(class: ObjectClass, key_type: Option<KeyType>) -> impl Iterator<Item = &'static Rule> {
    RULES.iter().filter(move |rule| belongs(rule, class, key_type))
}

/// Classes of objects that are kept.
pub fn knows_class(class: ObjectClass) -> bool {
    Classes::ALL.has(class)
}

/// Kinds of certificates that are kept.
pub fn knows_certificate_type(kind: CertificateType) -> bool {
    [CertificateType::X_509, CertificateType::X_509_ATTR_CERT, CertificateType::WTLS].contains(&kind)
}

fn belongs(rule: &Rule, class: ObjectClass, key_type: Option<KeyType>) -> bool {
    rule.classes.has(class) && (rule.key_types.is_empty() || key_type.is_some_and(|key_type| rule.key_types.contains(&key_type)))
}

/// What a template of `C_CreateObject` must bring for the object to be usable.
pub fn required_components(class: ObjectClass, key_type: Option<KeyType>) -> &'static [A] {
    match (class, key_type) {
        (ObjectClass::SECRET_KEY, _) => &[A::VALUE],
        (ObjectClass::PUBLIC_KEY, Some(KeyType::RSA)) => &[A::MODULUS, A::PUBLIC_EXPONENT],
        (ObjectClass::PRIVATE_KEY, Some(KeyType::RSA)) => &[A::MODULUS, A::PRIVATE_EXPONENT],
        (ObjectClass::PUBLIC_KEY, Some(KeyType::EC | KeyType::EC_EDWARDS | KeyType::EC_MONTGOMERY)) => {
            &[A::EC_PARAMS, A::EC_POINT]
        }
        (ObjectClass::PRIVATE_KEY, Some(KeyType::EC | KeyType::EC_EDWARDS | KeyType::EC_MONTGOMERY)) => &[A::EC_PARAMS, A::VALUE],
        (ObjectClass::PUBLIC_KEY | ObjectClass::PRIVATE_KEY, Some(KeyType::DSA)) => &[A::PRIME, A::SUBPRIME, A::BASE, A::VALUE],
        (ObjectClass::PUBLIC_KEY | ObjectClass::PRIVATE_KEY, Some(KeyType::DH)) => &[A::PRIME, A::BASE, A::VALUE],
        (ObjectClass::DOMAIN_PARAMETERS, Some(KeyType::DSA)) => &[A::PRIME, A::SUBPRIME, A::BASE],
        (ObjectClass::DOMAIN_PARAMETERS, Some(KeyType::DH)) => &[A::PRIME, A::BASE],
        _ => &[],
    }
}

/// Key types that objects of a class may have.
pub fn knows_key_type(class: ObjectClass, key_type: KeyType) -> bool {
    match class {
        ObjectClass::PUBLIC_KEY | ObjectClass::PRIVATE_KEY => [RSA, DSA, DH, EC].iter().any(|family| family.contains(&key_type)),
        ObjectClass::DOMAIN_PARAMETERS => FIELD.contains(&key_type),
        ObjectClass::SECRET_KEY => SECRET_KEY_TYPES.contains(&key_type),
        _ => false,
    }
}

/// Key types of secret keys; those that no mechanism uses are kept all the same: a token is also a safe.
const SECRET_KEY_TYPES: &[KeyType] = &[
    KeyType::GENERIC_SECRET,
    KeyType::RC2,
    KeyType::RC4,
    KeyType::DES,
    KeyType::DES2,
    KeyType::DES3,
    KeyType::CAST,
    KeyType::CAST3,
    KeyType::CAST128,
    KeyType::RC5,
    KeyType::IDEA,
    KeyType::AES,
    KeyType::BLOWFISH,
    KeyType::TWOFISH,
    KeyType::CAMELLIA,
    KeyType::ARIA,
    KeyType::MD5_HMAC,
    KeyType::SHA_1_HMAC,
    KeyType::RIPEMD128_HMAC,
    KeyType::RIPEMD160_HMAC,
    KeyType::SHA256_HMAC,
    KeyType::SHA384_HMAC,
    KeyType::SHA512_HMAC,
    KeyType::SHA224_HMAC,
    KeyType::SEED,
    KeyType::CHACHA20,
    KeyType::POLY1305,
    KeyType::AES_XTS,
    KeyType::SHA3_224_HMAC,
    KeyType::SHA3_256_HMAC,
    KeyType::SHA3_384_HMAC,
    KeyType::SHA3_512_HMAC,
    KeyType::SALSA20,
    KeyType::HKDF,
    KeyType::SHA512_224_HMAC,
    KeyType::SHA512_256_HMAC,
];

/// The attributes and their rules, for `docs/compatibility.md`.
pub fn markdown() -> String {
    let mut text = String::from(
        "| attribute | value | objects | given by | later | default | hidden | found fast |\n\
         | --- | --- | --- | --- | --- | --- | --- | --- |\n",
    );
    for rule in RULES {
        let mut objects = rule.classes.words();
        if !rule.key_types.is_empty() {
            let types: Vec<_> = rule.key_types.iter().map(ToString::to_string).collect();
            let _ = write!(objects, " ({})", types.join(", "));
        }
        let later = match (rule.given.allows(Given::COPY), rule.given.allows(Given::LATER)) {
            (_, true) => rule.direction.words(),
            (true, false) => &format!("on a copy: {}", rule.direction.words()),
            (false, false) => "no",
        };
        let yes = |is| if is { "yes" } else { "" };
        let _ = writeln!(
            text,
            "| `{}` | {} | {objects} | {} | {later} | {} | {} | {} |",
            rule.kind,
            rule.value.words(),
            rule.given.words(),
            rule.default.words(),
            yes(rule.secret),
            yes(rule.indexed),
        );
    }
    text
}

impl ValueKind {
    fn words(self) -> &'static str {
        match self {
            Self::Bool => "boolean",
            Self::Ulong => "number",
            Self::Bytes | Self::Secret => "bytes",
            Self::BigInteger => "big integer",
            Self::Date => "date",
            Self::Mechanisms => "mechanisms",
            Self::Template => "template",
        }
    }
}

impl Given {
    fn words(self) -> String {
        let ways = [(Self::CREATE, "create"), (Self::GENERATE, "generate"), (Self::DERIVE, "unwrap, derive")];
        let words: Vec<_> = ways.iter().filter(|(way, _)| self.allows(*way)).map(|(_, word)| *word).collect();
        if words.is_empty() { "the token".to_owned() } else { words.join(", ") }
    }
}

impl Direction {
    fn words(self) -> &'static str {
        match self {
            Self::Free => "yes",
            Self::OnlyTrue => "to true",
            Self::OnlyFalse => "to false",
        }
    }
}

impl Default {
    fn words(self) -> String {
        match self {
            Self::Absent => String::new(),
            Self::Required => "required".to_owned(),
            Self::Bool(flag) => flag.to_string(),
            Self::IfSecret => "true for data, private and secret keys".to_owned(),
            Self::IfOfAttributes => "empty for attribute certificates".to_owned(),
            Self::Empty => "empty".to_owned(),
            Self::Ulong(UNAVAILABLE_INFORMATION) => "unavailable".to_owned(),
            Self::Ulong(number) => number.to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_value_that_is_secret_for_some_class_is_decoded_as_secret() {
        assert_eq!(rule(A::VALUE).map(|rule| rule.value), Some(ValueKind::Secret));
        let plain = rule_for(A::VALUE, ObjectClass::PUBLIC_KEY, Some(KeyType::DSA));
        assert_eq!(plain.map(|rule| (rule.value, rule.secret)), Some((ValueKind::BigInteger, false)));
    }

    #[test]
    fn no_secret_is_indexed() {
        assert!(RULES.iter().all(|rule| !(rule.secret && rule.indexed)));
    }

    #[test]
    fn key_types_belong_to_their_classes() {
        let check = |class, known: &[KeyType], unknown: &[KeyType]| {
            assert!(known.iter().all(|key_type| knows_key_type(class, *key_type)), "{class}");
            assert!(unknown.iter().all(|key_type| !knows_key_type(class, *key_type)), "{class}");
        };
        let unknown = [KeyType::KEA, KeyType::X9_42_DH, KeyType::GOSTR3410, KeyType(0x99), KeyType::VENDOR_DEFINED];
        check(
            ObjectClass::SECRET_KEY,
            &[KeyType::AES, KeyType::GENERIC_SECRET, KeyType::SHA256_HMAC],
            &[KeyType::RSA, KeyType::EC],
        );
        check(ObjectClass::SECRET_KEY, &[], &unknown);
        check(ObjectClass::PRIVATE_KEY, &[KeyType::RSA, KeyType::EC_MONTGOMERY], &[KeyType::AES]);
        check(ObjectClass::PUBLIC_KEY, &[KeyType::DSA, KeyType::DH], &unknown);
        check(ObjectClass::DOMAIN_PARAMETERS, &[KeyType::DSA, KeyType::DH], &[KeyType::RSA, KeyType::EC]);
        check(ObjectClass::DATA, &[], &[KeyType::AES]);
    }

    #[test]
    fn the_page_has_a_line_for_each_rule() {
        let page = markdown();
        assert_eq!(page.lines().count(), 2 + RULES.len());
        let value = "| `CKA_VALUE` | bytes | secret key | create | no |  | yes |  |";
        assert!(page.lines().any(|line| line == value), "{page}");
    }
}
