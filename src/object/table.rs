//! Every attribute that we know: its kind of value, where it belongs, who may set it and which way it may move.
//!
//! PKCS#11 3.1, chapter 4. A class or key type has an attribute if a row says so; an attribute without a row is
//! `CKR_ATTRIBUTE_TYPE_INVALID` everywhere.

use crate::ck::{AttributeType as A, KeyType, ObjectClass};

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
        let bit = match class {
            ObjectClass::DATA => Self::DATA,
            ObjectClass::CERTIFICATE => Self::CERTIFICATE,
            ObjectClass::PUBLIC_KEY => Self::PUBLIC,
            ObjectClass::PRIVATE_KEY => Self::PRIVATE,
            ObjectClass::SECRET_KEY => Self::SECRET,
            ObjectClass::DOMAIN_PARAMETERS => Self::DOMAIN,
            _ => return false,
        };
        self.0 & bit.0 != 0
    }
}

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

    const BIRTH: Self = Self(1 | 2 | 4);
    const ANY: Self = Self(31);
    const BIRTH_AND_COPY: Self = Self(1 | 2 | 4 | 8);

    const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether this way is open.
    pub fn allows(self, way: Self) -> bool {
        self.0 & way.0 == way.0
    }
}

/// Which way a boolean may move once the object exists.
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
    /// True for private and secret keys, false for all others (`CKA_PRIVATE`).
    IfSecret,
    /// An empty string, date or list.
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
const FIELD: &[KeyType] = &[KeyType::DSA, KeyType::DH];
const DSA: &[KeyType] = &[KeyType::DSA];
const DH: &[KeyType] = &[KeyType::DH];
/// Key types whose private (and, but for EC, public) value is `CKA_VALUE`.
const WITH_VALUE: &[KeyType] = &[];

/// A string that may be given at birth, on a copy, and changed later.
const fn text(kind: A, classes: Classes) -> Rule {
    Rule { kind, classes, given: Given::ANY, default: Default::Empty, ..RULE }
}

/// A usage flag.
const fn usage(kind: A, classes: Classes, default: bool) -> Rule {
    Rule { kind, value: ValueKind::Bool, classes, given: Given::ANY, default: Default::Bool(default), ..RULE }
}

/// What only the token sets.
const fn told(kind: A, value: ValueKind, classes: Classes, default: Default) -> Rule {
    Rule { kind, value, classes, given: Given::NEVER, default, ..RULE }
}

/// A public number of some key types, given when the key is created.
const fn number(kind: A, classes: Classes, key_types: &'static [KeyType], given: Given) -> Rule {
    Rule { kind, value: ValueKind::BigInteger, classes, key_types, given, ..RULE }
}

/// A secret number of a private key.
const fn hidden(kind: A, key_types: &'static [KeyType]) -> Rule {
    Rule { kind, value: ValueKind::Secret, classes: Classes::PRIVATE, key_types, given: Given::CREATE, secret: true, ..RULE }
}

/// Ascending by attribute; an attribute that means different things to different classes has one row for each.
pub const RULES: &[Rule] = &[
    Rule { kind: A::CLASS, value: ValueKind::Ulong, default: Default::Required, indexed: true, ..RULE },
    Rule { kind: A::TOKEN, value: ValueKind::Bool, given: Given::BIRTH_AND_COPY, default: Default::Bool(false), ..RULE },
    Rule { kind: A::PRIVATE, value: ValueKind::Bool, given: Given::BIRTH_AND_COPY, default: Default::IfSecret, ..RULE },
    Rule { indexed: true, ..text(A::LABEL, Classes::ALL) },
    told(A::UNIQUE_ID, ValueKind::Bytes, Classes::ALL, Default::Absent),
    text(A::APPLICATION, Classes::DATA),
    Rule { indexed: true, ..text(A::VALUE, Classes::DATA) },
    Rule { kind: A::VALUE, classes: Classes::CERTIFICATE, given: Given::CREATE, default: Default::Empty, indexed: true, ..RULE },
    Rule {
        kind: A::VALUE,
        value: ValueKind::BigInteger,
        classes: Classes::PUBLIC,
        key_types: FIELD,
        given: Given::CREATE,
        ..RULE
    },
    Rule { key_types: WITH_VALUE, ..hidden(A::VALUE, &[]) },
    Rule { classes: Classes::SECRET, ..hidden(A::VALUE, &[]) },
    Rule { indexed: true, ..text(A::OBJECT_ID, Classes::DATA) },
    Rule {
        kind: A::CERTIFICATE_TYPE,
        value: ValueKind::Ulong,
        classes: Classes::CERTIFICATE,
        given: Given::CREATE,
        default: Default::Required,
        indexed: true,
        ..RULE
    },
    Rule { kind: A::ISSUER, classes: Classes::CERTIFICATE, given: Given::ANY, default: Default::Empty, indexed: true, ..RULE },
    Rule {
        kind: A::SERIAL_NUMBER,
        classes: Classes::CERTIFICATE,
        given: Given::ANY,
        default: Default::Empty,
        indexed: true,
        ..RULE
    },
    text(A::AC_ISSUER, Classes::CERTIFICATE),
    text(A::OWNER, Classes::CERTIFICATE),
    text(A::ATTR_TYPES, Classes::CERTIFICATE),
    Rule {
        kind: A::TRUSTED,
        value: ValueKind::Bool,
        classes: Classes::CERTIFICATE.and(Classes::PUBLIC).and(Classes::SECRET),
        given: Given::ANY,
        default: Default::Bool(false),
        ..RULE
    },
    Rule {
        kind: A::CERTIFICATE_CATEGORY,
        value: ValueKind::Ulong,
        classes: Classes::CERTIFICATE,
        given: Given::CREATE,
        default: Default::Ulong(0),
        ..RULE
    },
    Rule {
        kind: A::JAVA_MIDP_SECURITY_DOMAIN,
        value: ValueKind::Ulong,
        classes: Classes::CERTIFICATE,
        given: Given::CREATE,
        default: Default::Ulong(0),
        ..RULE
    },
    Rule { kind: A::URL, classes: Classes::CERTIFICATE, given: Given::CREATE, default: Default::Empty, ..RULE },
    Rule {
        kind: A::HASH_OF_SUBJECT_PUBLIC_KEY,
        classes: Classes::CERTIFICATE,
        given: Given::CREATE,
        default: Default::Empty,
        ..RULE
    },
    Rule {
        kind: A::HASH_OF_ISSUER_PUBLIC_KEY,
        classes: Classes::CERTIFICATE,
        given: Given::CREATE,
        default: Default::Empty,
        ..RULE
    },
    Rule {
        kind: A::NAME_HASH_ALGORITHM,
        value: ValueKind::Ulong,
        classes: Classes::CERTIFICATE,
        given: Given::CREATE,
        default: Default::Absent,
        ..RULE
    },
    Rule { kind: A::CHECK_VALUE, classes: Classes::CERTIFICATE.and(Classes::SECRET), given: Given::BIRTH_AND_COPY, ..RULE },
    Rule {
        kind: A::KEY_TYPE,
        value: ValueKind::Ulong,
        classes: Classes::KEYS.and(Classes::DOMAIN),
        default: Default::Required,
        indexed: true,
        ..RULE
    },
    Rule { indexed: true, ..text(A::SUBJECT, Classes::CERTIFICATE.and(Classes::PUBLIC).and(Classes::PRIVATE)) },
    Rule { indexed: true, ..text(A::ID, Classes::CERTIFICATE.and(Classes::KEYS)) },
    Rule {
        kind: A::SENSITIVE,
        value: ValueKind::Bool,
        classes: Classes::PRIVATE.and(Classes::SECRET),
        given: Given::ANY,
        direction: Direction::OnlyTrue,
        default: Default::Bool(false),
        ..RULE
    },
    usage(A::ENCRYPT, Classes::PUBLIC.and(Classes::SECRET), true),
    usage(A::DECRYPT, Classes::PRIVATE.and(Classes::SECRET), true),
    usage(A::WRAP, Classes::PUBLIC.and(Classes::SECRET), true),
    usage(A::UNWRAP, Classes::PRIVATE.and(Classes::SECRET), true),
    usage(A::SIGN, Classes::PRIVATE.and(Classes::SECRET), true),
    usage(A::SIGN_RECOVER, Classes::PRIVATE, true),
    usage(A::VERIFY, Classes::PUBLIC.and(Classes::SECRET), true),
    usage(A::VERIFY_RECOVER, Classes::PUBLIC, true),
    usage(A::DERIVE, Classes::KEYS, false),
    Rule {
        kind: A::START_DATE,
        value: ValueKind::Date,
        classes: Classes::CERTIFICATE.and(Classes::KEYS),
        given: Given::ANY,
        default: Default::Empty,
        ..RULE
    },
    Rule {
        kind: A::END_DATE,
        value: ValueKind::Date,
        classes: Classes::CERTIFICATE.and(Classes::KEYS),
        given: Given::ANY,
        default: Default::Empty,
        ..RULE
    },
    Rule { indexed: true, ..number(A::MODULUS, Classes::PUBLIC.and(Classes::PRIVATE), RSA, Given::CREATE) },
    Rule { value: ValueKind::Ulong, ..number(A::MODULUS_BITS, Classes::PUBLIC, RSA, Given::GENERATE) },
    number(A::PUBLIC_EXPONENT, Classes::PUBLIC, RSA, Given::CREATE.and(Given::GENERATE)),
    number(A::PUBLIC_EXPONENT, Classes::PRIVATE, RSA, Given::CREATE),
    hidden(A::PRIVATE_EXPONENT, RSA),
    hidden(A::PRIME_1, RSA),
    hidden(A::PRIME_2, RSA),
    hidden(A::EXPONENT_1, RSA),
    hidden(A::EXPONENT_2, RSA),
    hidden(A::COEFFICIENT, RSA),
    Rule {
        kind: A::PUBLIC_KEY_INFO,
        classes: Classes::CERTIFICATE.and(Classes::PUBLIC).and(Classes::PRIVATE),
        given: Given::CREATE,
        default: Default::Empty,
        indexed: true,
        ..RULE
    },
    number(A::PRIME, Classes::PUBLIC.and(Classes::DOMAIN), FIELD, Given::CREATE.and(Given::GENERATE)),
    number(A::PRIME, Classes::PRIVATE, FIELD, Given::CREATE),
    number(A::SUBPRIME, Classes::PUBLIC.and(Classes::DOMAIN), DSA, Given::CREATE.and(Given::GENERATE)),
    number(A::SUBPRIME, Classes::PRIVATE, DSA, Given::CREATE),
    number(A::BASE, Classes::PUBLIC.and(Classes::DOMAIN), FIELD, Given::CREATE.and(Given::GENERATE)),
    number(A::BASE, Classes::PRIVATE, FIELD, Given::CREATE),
    Rule { value: ValueKind::Ulong, ..number(A::PRIME_BITS, Classes::DOMAIN, FIELD, Given::GENERATE) },
    Rule { value: ValueKind::Ulong, ..number(A::SUBPRIME_BITS, Classes::DOMAIN, DSA, Given::GENERATE) },
    Rule { value: ValueKind::Ulong, ..number(A::VALUE_BITS, Classes::PRIVATE, DH, Given::GENERATE) },
    Rule { kind: A::VALUE_LEN, value: ValueKind::Ulong, classes: Classes::SECRET, given: Given::BIRTH, ..RULE },
    Rule {
        kind: A::EXTRACTABLE,
        value: ValueKind::Bool,
        classes: Classes::PRIVATE.and(Classes::SECRET),
        given: Given::ANY,
        direction: Direction::OnlyFalse,
        default: Default::Bool(false),
        ..RULE
    },
    told(A::LOCAL, ValueKind::Bool, Classes::KEYS.and(Classes::DOMAIN), Default::Bool(false)),
    told(A::NEVER_EXTRACTABLE, ValueKind::Bool, Classes::PRIVATE.and(Classes::SECRET), Default::Bool(false)),
    told(A::ALWAYS_SENSITIVE, ValueKind::Bool, Classes::PRIVATE.and(Classes::SECRET), Default::Bool(false)),
    told(A::KEY_GEN_MECHANISM, ValueKind::Ulong, Classes::KEYS, Default::Ulong(u64::MAX)),
    Rule { kind: A::MODIFIABLE, value: ValueKind::Bool, given: Given::BIRTH_AND_COPY, default: Default::Bool(true), ..RULE },
    Rule {
        kind: A::COPYABLE,
        value: ValueKind::Bool,
        given: Given::ANY,
        direction: Direction::OnlyFalse,
        default: Default::Bool(true),
        ..RULE
    },
    Rule { kind: A::DESTROYABLE, value: ValueKind::Bool, given: Given::ANY, default: Default::Bool(true), ..RULE },
    number(A::EC_PARAMS, Classes::PUBLIC, EC, Given::CREATE.and(Given::GENERATE)),
    number(A::EC_PARAMS, Classes::PRIVATE, EC, Given::CREATE),
    Rule { indexed: true, ..number(A::EC_POINT, Classes::PUBLIC, EC, Given::CREATE) },
    number(A::EC_POINT, Classes::PRIVATE, EC, Given::CREATE),
    Rule {
        kind: A::ALWAYS_AUTHENTICATE,
        value: ValueKind::Bool,
        classes: Classes::PRIVATE,
        default: Default::Bool(false),
        given: Given::BIRTH_AND_COPY,
        ..RULE
    },
    Rule {
        kind: A::WRAP_WITH_TRUSTED,
        value: ValueKind::Bool,
        classes: Classes::PRIVATE.and(Classes::SECRET),
        given: Given::ANY,
        direction: Direction::OnlyTrue,
        default: Default::Bool(false),
        ..RULE
    },
    Rule {
        kind: A::WRAP_TEMPLATE,
        value: ValueKind::Template,
        classes: Classes::PUBLIC.and(Classes::SECRET),
        given: Given::BIRTH_AND_COPY,
        ..RULE
    },
    Rule {
        kind: A::UNWRAP_TEMPLATE,
        value: ValueKind::Template,
        classes: Classes::PRIVATE.and(Classes::SECRET),
        given: Given::BIRTH_AND_COPY,
        ..RULE
    },
    Rule { kind: A::DERIVE_TEMPLATE, value: ValueKind::Template, classes: Classes::KEYS, given: Given::BIRTH_AND_COPY, ..RULE },
    Rule {
        kind: A::ALLOWED_MECHANISMS,
        value: ValueKind::Mechanisms,
        classes: Classes::KEYS,
        given: Given::BIRTH_AND_COPY,
        ..RULE
    },
];

const _: () = {
    let mut at = 1;
    while at < RULES.len() {
        assert!(RULES[at - 1].kind.0 <= RULES[at].kind.0, "rules stand in ascending order of attribute");
        at += 1;
    }
};

/// All rows of an attribute.
fn rows(kind: A) -> &'static [Rule] {
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
    let asymmetric = [KeyType::RSA, KeyType::DSA, KeyType::DH, KeyType::EC, KeyType::EC_EDWARDS, KeyType::EC_MONTGOMERY];
    match class {
        ObjectClass::PUBLIC_KEY | ObjectClass::PRIVATE_KEY => asymmetric.contains(&key_type),
        ObjectClass::DOMAIN_PARAMETERS => FIELD.contains(&key_type),
        ObjectClass::SECRET_KEY => !asymmetric.contains(&key_type) && key_type.name().is_some(),
        _ => false,
    }
}

/// The attributes as a table, for `docs/compatibility.md`.
pub fn markdown() -> String {
    let classes = [
        (ObjectClass::DATA, "data"),
        (ObjectClass::CERTIFICATE, "certificate"),
        (ObjectClass::PUBLIC_KEY, "public key"),
        (ObjectClass::PRIVATE_KEY, "private key"),
        (ObjectClass::SECRET_KEY, "secret key"),
        (ObjectClass::DOMAIN_PARAMETERS, "domain parameters"),
    ];
    let ways = [
        (Given::CREATE, "create"),
        (Given::GENERATE, "generate"),
        (Given::DERIVE, "unwrap, derive"),
        (Given::COPY, "copy"),
        (Given::LATER, "later"),
    ];
    let list = |words: Vec<&str>| words.join(", ");
    let mut text = String::from(
        "| attribute | of | key types | may be given at | moves | default | secret |\n| --- | --- | --- | --- | --- | --- | --- |\n",
    );
    for rule in RULES {
        let key_types: Vec<String> = rule.key_types.iter().map(|key_type| key_type.to_string()).collect();
        let given = list(ways.iter().filter(|(way, _)| rule.given.allows(*way)).map(|(_, word)| *word).collect());
        let default = match rule.default {
            Default::Absent => "absent".to_owned(),
            Default::Required => "required".to_owned(),
            Default::Bool(flag) => flag.to_string(),
            Default::IfSecret => "true for private and secret keys".to_owned(),
            Default::Empty => "empty".to_owned(),
            Default::Ulong(u64::MAX) => "`CK_UNAVAILABLE_INFORMATION`".to_owned(),
            Default::Ulong(number) => number.to_string(),
        };
        let moves = match rule.direction {
            Direction::Free if rule.value == ValueKind::Bool && rule.given.allows(Given::LATER) => "freely",
            Direction::Free => "",
            Direction::OnlyTrue => "to true only",
            Direction::OnlyFalse => "to false only",
        };
        text += &format!(
            "| `{}` | {} | {} | {} | {moves} | {default} | {} |\n",
            rule.kind,
            list(classes.iter().filter(|(class, _)| rule.classes.has(*class)).map(|(_, word)| *word).collect()),
            key_types.join(", "),
            if given.is_empty() { "never" } else { &given },
            if rule.secret { "yes" } else { "" },
        );
    }
    text
}
