//! `CK_ATTRIBUTE[]` to templates, and back: what `C_GetAttributeValue` answers for each entry.

use std::collections::BTreeSet;

use cryptoki_sys::{CK_ATTRIBUTE, CK_ULONG};

use super::memory::{self, Given};
use super::module::Dialect;
use crate::ck::{AttributeType, MechanismType, UNAVAILABLE_INFORMATION};
use crate::error::{Code, Error, Result, refuse};
use crate::faults::{self, Fault};
use crate::limits::{ATTRIBUTE_VALUE_MAX_BYTES, INPUT_MAX_BYTES, OBJECT_MAX_BYTES, TEMPLATE_ATTRIBUTES_MAX, TEMPLATE_DEPTH_MAX};
use crate::object::table::{self, ValueKind};
use crate::object::{Template, Value};
use crate::secret::Secret;
use crate::token::Reading;

/// The template of an object that is made or changed. NULL with count 0 is empty.
///
/// Errors: `ArgumentsBad` for pointers and counts; `AttributeTypeInvalid` for an attribute that we do not know;
/// `AttributeValueInvalid` for one whose value has not its form; `TemplateInconsistent` for one that comes twice, where
/// SoftHSM takes the last.
///
/// # Safety
/// The caller's promise, for the entries and for what they point to.
pub unsafe fn read(attributes: *const CK_ATTRIBUTE, count: CK_ULONG, dialect: Dialect) -> Result<Template> {
    let mut reader = Reader { unknown: Unknown::Refused, dialect, left: OBJECT_MAX_BYTES };
    // SAFETY: the caller's promise.
    unsafe { reader.template(attributes, count, TEMPLATE_DEPTH_MAX) }
}

/// The template of a search. An attribute that we do not know is a string of bytes that no object has: applications look for
/// other vendors' objects, and find none.
///
/// # Safety
/// The caller's promise, for the entries and for what they point to.
pub unsafe fn read_search(attributes: *const CK_ATTRIBUTE, count: CK_ULONG) -> Result<Template> {
    let mut reader = Reader { unknown: Unknown::Bytes, dialect: Dialect::Standard, left: OBJECT_MAX_BYTES };
    // SAFETY: the caller's promise.
    unsafe { reader.template(attributes, count, TEMPLATE_DEPTH_MAX) }
}

/// What becomes of an attribute that no rule knows.
enum Unknown {
    Refused,
    Bytes,
}

struct Reader {
    unknown: Unknown,
    dialect: Dialect,
    /// Bytes that the values may still take, all together.
    left: usize,
}

impl Reader {
    /// # Safety
    /// The caller's promise, for the entries and for what they point to.
    unsafe fn template(&mut self, attributes: *const CK_ATTRIBUTE, count: CK_ULONG, depth: usize) -> Result<Template> {
        // SAFETY: the caller's promise.
        let entries = unsafe { entries(attributes, count) }?;
        let mut seen = BTreeSet::new();
        let mut template = Vec::with_capacity(entries.len());
        for entry in entries {
            let kind = AttributeType(entry.type_);
            if !seen.insert(kind) && self.dialect == Dialect::Standard && !faults::on(Fault::TemplateTakesTwice) {
                return Err(refuse(Code::TemplateInconsistent, format!("the template names {kind} twice")));
            }
            // SAFETY: the caller's promise.
            template.push((kind, unsafe { self.value(kind, &entry, depth) }?));
        }
        Ok(template.into_iter().collect())
    }

    /// # Safety
    /// The caller's promise, for what the entry points to.
    unsafe fn value(&mut self, kind: AttributeType, entry: &CK_ATTRIBUTE, depth: usize) -> Result<Value> {
        let form = match (table::rule(kind), &self.unknown) {
            (Some(rule), _) => rule.value,
            (None, Unknown::Bytes) => ValueKind::Bytes,
            (None, Unknown::Refused) => return Err(refuse(Code::AttributeTypeInvalid, format!("there is no attribute {kind}"))),
        };
        if form == ValueKind::Template {
            // SAFETY: the caller's promise.
            return unsafe { self.nested(kind, entry, depth) };
        }
        // SAFETY: the caller's promise; the slice is not used after this call.
        let bytes = unsafe { memory::bytes(Given(entry.pValue.cast(), entry.ulValueLen), "pValue") }?;
        if bytes.len() > ATTRIBUTE_VALUE_MAX_BYTES || bytes.len() > self.left {
            return Err(malformed(kind, format!("{} bytes are too many", bytes.len())));
        }
        self.left -= bytes.len();
        plain(kind, form, bytes)
    }

    /// # Safety
    /// The caller's promise, for what the entry points to.
    unsafe fn nested(&mut self, kind: AttributeType, entry: &CK_ATTRIBUTE, depth: usize) -> Result<Value> {
        if depth <= 1 {
            return Err(malformed(kind, "a template within a template has none of its own"));
        }
        if !entry.ulValueLen.is_multiple_of(ENTRY_BYTES) {
            return Err(malformed(kind, format!("{} bytes are no whole number of attributes", entry.ulValueLen)));
        }
        // SAFETY: the caller's promise.
        let inner = unsafe { self.template(entry.pValue.cast(), entry.ulValueLen / ENTRY_BYTES, depth - 1) };
        inner.map(Value::Template)
    }
}

const ENTRY_BYTES: CK_ULONG = size_of::<CK_ATTRIBUTE>() as CK_ULONG;

/// A value from its bytes.
fn plain(kind: AttributeType, form: ValueKind, bytes: &[u8]) -> Result<Value> {
    match form {
        // As in C, everything but 0 is true; SoftHSM takes it so too.
        ValueKind::Bool => match bytes {
            [flag] => Ok(Value::Bool(*flag != 0)),
            _ => Err(malformed(kind, format!("a boolean takes 1 byte, not {}", bytes.len()))),
        },
        ValueKind::Ulong => match bytes.try_into() {
            Ok(number) => Ok(Value::Ulong(CK_ULONG::from_ne_bytes(number))),
            Err(cause) => Err(malformed(kind, format!("a number takes 8 bytes, not {}", bytes.len())).because(cause)),
        },
        ValueKind::Bytes | ValueKind::BigInteger | ValueKind::Date => Ok(Value::Bytes(bytes.to_vec())),
        ValueKind::Secret => Ok(Value::Secret(Secret::copy_of(bytes))),
        ValueKind::Mechanisms => {
            let (numbers, rest) = bytes.as_chunks();
            if !rest.is_empty() {
                return Err(malformed(kind, format!("{} bytes are no whole number of mechanisms", bytes.len())));
            }
            Ok(Value::Mechanisms(numbers.iter().map(|number| MechanismType(CK_ULONG::from_ne_bytes(*number))).collect()))
        }
        ValueKind::Template => Err(malformed(kind, "a template is no string of bytes")),
    }
}

fn malformed(kind: AttributeType, what: impl std::fmt::Display) -> Error {
    refuse(Code::AttributeValueInvalid, format!("{kind}: {what}"))
}

/// The entries of a caller's array, copied out. NULL with count 0 is empty.
///
/// # Safety
/// The caller's promise.
pub unsafe fn entries(attributes: *const CK_ATTRIBUTE, count: CK_ULONG) -> Result<Vec<CK_ATTRIBUTE>> {
    // SAFETY: the caller's promise; an entry is numbers and a data pointer.
    unsafe { memory::read_array(attributes, count, TEMPLATE_ATTRIBUTES_MAX, "pTemplate") }
}

/// Which attributes the entries ask for.
pub fn types(entries: &[CK_ATTRIBUTE]) -> Vec<AttributeType> {
    entries.iter().map(|entry| AttributeType(entry.type_)).collect()
}

/// Answers every entry: its length, and its value where there is room (PKCS#11 3.1, 5.7.5).
///
/// Errors, when all entries have been answered: `AttributeSensitive` before `AttributeTypeInvalid` before `BufferTooSmall`.
///
/// # Safety
/// The caller's promise, for the array that `entries` is a copy of and for what they point to.
pub unsafe fn answer(readings: &[Reading], entries: &[CK_ATTRIBUTE], attributes: *mut CK_ATTRIBUTE) -> Result<()> {
    assert_eq!(readings.len(), entries.len(), "the token answered for other attributes than it was asked for");
    let mut verdict = Verdict::Answered;
    for (at, (reading, entry)) in readings.iter().zip(entries).enumerate() {
        let (len, this) = match reading {
            // SAFETY: the caller's promise.
            Reading::Value(value) => unsafe { put_value(value, entry) },
            Reading::Sensitive => (UNAVAILABLE_INFORMATION, Verdict::Sensitive(AttributeType(entry.type_))),
            Reading::Absent => (UNAVAILABLE_INFORMATION, Verdict::Absent(AttributeType(entry.type_))),
        };
        // SAFETY: within the array by the caller's promise; alignment is not needed.
        unsafe { (&raw mut (*attributes.add(at)).ulValueLen).write_unaligned(len) };
        verdict = verdict.max(this);
    }
    verdict.into()
}

/// Writes a value where an entry wants it. Gives the length to be told and the verdict.
///
/// # Safety
/// The caller's promise, for what the entry points to.
unsafe fn put_value(value: &Value, entry: &CK_ATTRIBUTE) -> (CK_ULONG, Verdict) {
    let plain = match value {
        // SAFETY: the caller's promise.
        Value::Template(template) => return unsafe { put_template(template, entry) },
        Value::Bool(flag) => &[u8::from(*flag)][..],
        Value::Ulong(number) => &number.to_ne_bytes(),
        Value::Bytes(bytes) => bytes,
        Value::Secret(secret) => secret.expose(),
        Value::Mechanisms(kinds) => &kinds.iter().flat_map(|kind| kind.0.to_ne_bytes()).collect::<Vec<u8>>(),
    };
    let len = plain.len() as CK_ULONG;
    if entry.pValue.is_null() {
        return (len, Verdict::Answered);
    }
    if room(entry) < len {
        let told = if faults::on(Fault::ShortAttributeTellsLength) { len } else { UNAVAILABLE_INFORMATION };
        return (told, Verdict::TooSmall(AttributeType(entry.type_)));
    }
    // SAFETY: there is room for `len` bytes by the caller's promise.
    unsafe { memory::put_array(plain, entry.pValue.cast()) };
    (len, Verdict::Answered)
}

/// How many bytes an entry has room for. None where the length is that of no memory: above all `CK_UNAVAILABLE_INFORMATION`, which an
/// earlier call left there in an entry that the caller uses again.
fn room(entry: &CK_ATTRIBUTE) -> CK_ULONG {
    if entry.ulValueLen <= INPUT_MAX_BYTES as CK_ULONG { entry.ulValueLen } else { 0 }
}

/// A template as the value of an attribute is an array of entries, each answered like an outer one; the types are told too.
///
/// # Safety
/// The caller's promise, for what the entry and the entries within point to.
unsafe fn put_template(template: &Template, entry: &CK_ATTRIBUTE) -> (CK_ULONG, Verdict) {
    let len = template.len() as CK_ULONG * ENTRY_BYTES;
    if entry.pValue.is_null() {
        return (len, Verdict::Answered);
    }
    if room(entry) < len {
        return (UNAVAILABLE_INFORMATION, Verdict::TooSmall(AttributeType(entry.type_)));
    }
    let mut verdict = Verdict::Answered;
    for (at, (kind, value)) in template.iter().enumerate() {
        let place = entry.pValue.cast::<CK_ATTRIBUTE>().wrapping_add(at);
        // SAFETY: within `len` bytes, which are there by the caller's promise; numbers and a data pointer at any address.
        let mut inner = unsafe { place.read_unaligned() };
        // SAFETY: the caller's promise.
        let (inner_len, this) = unsafe { put_value(value, &inner) };
        (inner.type_, inner.ulValueLen) = (kind.0, inner_len);
        // SAFETY: as for reading.
        unsafe { place.write_unaligned(inner) };
        verdict = verdict.max(this);
    }
    (len, verdict)
}

/// What is to be said about all entries together: the worst of what there is to say about one, in ascending order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Verdict {
    Answered,
    TooSmall(AttributeType),
    Absent(AttributeType),
    Sensitive(AttributeType),
}

impl From<Verdict> for Result<()> {
    fn from(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Answered => Ok(()),
            Verdict::TooSmall(kind) => Err(refuse(Code::BufferTooSmall, format!("{kind} is longer than its buffer"))),
            Verdict::Absent(kind) => Err(refuse(Code::AttributeTypeInvalid, format!("the object has no {kind}"))),
            Verdict::Sensitive(kind) => Err(refuse(Code::AttributeSensitive, format!("{kind} may not be read"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As the standard judges.
    ///
    /// # Safety
    /// As for [`super::read`].
    unsafe fn read(attributes: *const CK_ATTRIBUTE, count: CK_ULONG) -> Result<Template> {
        // SAFETY: the caller's promise.
        unsafe { super::read(attributes, count, Dialect::Standard) }
    }

    fn entry(kind: AttributeType, value: &mut [u8]) -> CK_ATTRIBUTE {
        CK_ATTRIBUTE { type_: kind.0, pValue: value.as_mut_ptr().cast(), ulValueLen: value.len() as u64 }
    }

    /// The code of a template with one entry, or `None` when it is taken.
    fn judged(kind: AttributeType, value: &[u8]) -> Option<Code> {
        let mut value = value.to_vec();
        let entries = [entry(kind, &mut value)];
        // SAFETY: our own variables, with their lengths.
        unsafe { read(entries.as_ptr(), 1) }.err().map(|error| error.code())
    }

    #[test]
    fn values_have_the_form_of_their_attribute() {
        let malformed = Some(Code::AttributeValueInvalid);
        let cases: &[(AttributeType, &[u8], Option<Code>)] = &[
            (AttributeType::TOKEN, &[1], None),
            (AttributeType::TOKEN, &[], malformed),
            (AttributeType::TOKEN, &[1, 0], malformed),
            (AttributeType::CLASS, &[0; 8], None),
            (AttributeType::CLASS, &[0; 7], malformed),
            (AttributeType::CLASS, &[0; 9], malformed),
            (AttributeType::LABEL, &[], None),
            (AttributeType::LABEL, b"any", None),
            (AttributeType::VALUE, b"any", None),
            (AttributeType::ALLOWED_MECHANISMS, &[], None),
            (AttributeType::ALLOWED_MECHANISMS, &[0; 16], None),
            (AttributeType::ALLOWED_MECHANISMS, &[0; 15], malformed),
            (AttributeType::WRAP_TEMPLATE, &[], None),
            (AttributeType::WRAP_TEMPLATE, &[0; 23], malformed),
            (AttributeType(0x8000_4711), b"any", Some(Code::AttributeTypeInvalid)),
        ];
        for (kind, value, expected) in cases {
            assert_eq!(judged(*kind, value), *expected, "{kind} of {} bytes", value.len());
        }
    }

    #[test]
    fn booleans_are_true_as_in_c() {
        for (byte, expected) in [(0, false), (1, true), (0xff, true)] {
            let mut value = [byte];
            let entries = [entry(AttributeType::TOKEN, &mut value)];
            // SAFETY: our own variables, with their lengths.
            let template = unsafe { read(entries.as_ptr(), 1) }.unwrap();
            assert_eq!(template.bool(AttributeType::TOKEN), Some(expected));
        }
    }

    #[test]
    fn an_attribute_comes_once() {
        let mut value = *b"a";
        let entries = [entry(AttributeType::LABEL, &mut value), entry(AttributeType::LABEL, &mut value)];
        // SAFETY: our own variables, with their lengths.
        let twice = unsafe { read(entries.as_ptr(), 2) };
        assert_eq!(twice.err().unwrap().code(), Code::TemplateInconsistent);
        // SoftHSM takes the last.
        // SAFETY: our own variables, with their lengths.
        assert!(unsafe { super::read(entries.as_ptr(), 2, Dialect::SoftHsm) }.is_ok());
    }

    #[test]
    fn a_search_takes_attributes_that_nobody_knows() {
        let mut value = *b"a";
        let entries = [entry(AttributeType(0xce53_4351), &mut value)];
        // SAFETY: our own variables, with their lengths.
        let template = unsafe { read_search(entries.as_ptr(), 1) }.unwrap();
        assert_eq!(template.exposed(AttributeType(0xce53_4351)), Some(&b"a"[..]));
    }

    #[test]
    fn counts_and_depths_are_bounded() {
        let mut value = *b"a";
        let entries = vec![entry(AttributeType::LABEL, &mut value); TEMPLATE_ATTRIBUTES_MAX + 1];
        // SAFETY: our own variables, with their lengths, or refused.
        unsafe {
            for (count, expected) in [
                (TEMPLATE_ATTRIBUTES_MAX as u64, Code::TemplateInconsistent),
                (TEMPLATE_ATTRIBUTES_MAX as u64 + 1, Code::ArgumentsBad),
                (1 << 32, Code::ArgumentsBad),
            ] {
                assert_eq!(read(entries.as_ptr(), count).err().unwrap().code(), expected, "{count}");
            }
            let mut innermost = [entry(AttributeType::LABEL, &mut value)];
            let nest = |inner: &mut [CK_ATTRIBUTE; 1]| {
                [CK_ATTRIBUTE { type_: AttributeType::UNWRAP_TEMPLATE.0, pValue: inner.as_mut_ptr().cast(), ulValueLen: 24 }]
            };
            let mut middle = nest(&mut innermost);
            assert!(read(middle.as_ptr(), 1).is_ok());
            let outer = nest(&mut middle);
            assert_eq!(read(outer.as_ptr(), 1).err().unwrap().code(), Code::AttributeValueInvalid);
        }
    }

    /// What the entries hold after they have been answered, and the code.
    fn answered(readings: &[Reading], entries: &mut [CK_ATTRIBUTE]) -> (Vec<u64>, Option<Code>) {
        let asked = entries.to_vec();
        // SAFETY: the tests' own variables, with their lengths.
        let result = unsafe { answer(readings, &asked, entries.as_mut_ptr()) };
        (entries.iter().map(|entry| entry.ulValueLen).collect(), result.err().map(|error| error.code()))
    }

    const ASK: CK_ATTRIBUTE = CK_ATTRIBUTE { type_: 3, pValue: std::ptr::null_mut(), ulValueLen: 77 };

    #[test]
    fn every_entry_is_answered_and_the_worst_is_told() {
        let (mut fits, mut short) = ([0; 8], [9; 3]);
        let value = || Reading::Value(Value::Bytes(b"four".to_vec()));
        let mut entries = [ASK, entry(AttributeType::LABEL, &mut fits), entry(AttributeType::LABEL, &mut short), ASK, ASK];
        let (lens, code) = answered(&[value(), value(), value(), Reading::Absent, Reading::Sensitive], &mut entries);
        assert_eq!(lens, [4, 4, UNAVAILABLE_INFORMATION, UNAVAILABLE_INFORMATION, UNAVAILABLE_INFORMATION]);
        assert_eq!((code, &fits, short), (Some(Code::AttributeSensitive), b"four\0\0\0\0", [9; 3]));
        assert_eq!(answered(&[value(), Reading::Absent], &mut [ASK, ASK]).1, Some(Code::AttributeTypeInvalid));
        let mut too_short = [entry(AttributeType::LABEL, &mut short), ASK];
        assert_eq!(answered(&[value(), Reading::Absent], &mut too_short).1, Some(Code::AttributeTypeInvalid));
        let mut too_short = [entry(AttributeType::LABEL, &mut short), ASK];
        assert_eq!(answered(&[value(), value()], &mut too_short).1, Some(Code::BufferTooSmall));
        assert_eq!(answered(&[], &mut []), (vec![], None));
    }

    #[test]
    fn an_entry_used_again_after_a_refusal_has_no_room() {
        let mut room = *b"0123";
        let mut entries = [CK_ATTRIBUTE { ulValueLen: UNAVAILABLE_INFORMATION, ..entry(AttributeType::LABEL, &mut room) }];
        let outcome = answered(&[Reading::Value(Value::Bytes(b"four".to_vec()))], &mut entries);
        assert_eq!((outcome, &room), ((vec![UNAVAILABLE_INFORMATION], Some(Code::BufferTooSmall)), b"0123"));
    }

    #[test]
    fn values_are_written_as_c_has_them() {
        let mut room = [0; 16];
        let cases = [
            (Value::Bool(true), vec![1]),
            (Value::Ulong(0x1122), 0x1122_u64.to_ne_bytes().to_vec()),
            (Value::Secret(Secret::copy_of(b"s")), b"s".to_vec()),
            (Value::Mechanisms(vec![MechanismType(5)]), 5_u64.to_ne_bytes().to_vec()),
        ];
        for (value, expected) in cases {
            let mut entries = [entry(AttributeType::LABEL, &mut room)];
            assert_eq!(answered(&[Reading::Value(value)], &mut entries), (vec![expected.len() as u64], None));
            assert_eq!(room[..expected.len()], expected);
        }
    }

    fn nested() -> Reading {
        let inner = [(AttributeType::TOKEN, Value::Bool(true)), (AttributeType::LABEL, Value::Bytes(b"inner".to_vec()))];
        Reading::Value(Value::Template(inner.into_iter().collect()))
    }

    /// One entry that has the inner entries as its place.
    fn around(inner: &mut [CK_ATTRIBUTE]) -> [CK_ATTRIBUTE; 1] {
        let len = size_of_val(inner) as u64;
        [CK_ATTRIBUTE { type_: AttributeType::WRAP_TEMPLATE.0, pValue: inner.as_mut_ptr().cast(), ulValueLen: len }]
    }

    #[test]
    fn a_template_is_read_in_three_steps() {
        assert_eq!(answered(&[nested()], &mut [ASK]), (vec![48], None));

        let mut inner = [CK_ATTRIBUTE { type_: 0, ..ASK }; 2];
        assert_eq!(answered(&[nested()], &mut around(&mut inner)), (vec![48], None));
        let told: Vec<_> = inner.iter().map(|entry| (entry.type_, entry.ulValueLen)).collect();
        assert_eq!(told, [(AttributeType::TOKEN.0, 1), (AttributeType::LABEL.0, 5)]);

        let (mut flag, mut label) = ([0; 1], [0; 5]);
        let mut inner = [entry(AttributeType::TOKEN, &mut flag), entry(AttributeType::LABEL, &mut label)];
        assert_eq!(answered(&[nested()], &mut around(&mut inner)), (vec![48], None));
        assert_eq!((flag, &label), ([1], b"inner"));
    }

    #[test]
    fn a_place_too_short_for_a_template_or_a_value_within_is_told() {
        let mut one = [CK_ATTRIBUTE { type_: 0, ..ASK }];
        let too_few = answered(&[nested()], &mut around(&mut one));
        assert_eq!(too_few, (vec![UNAVAILABLE_INFORMATION], Some(Code::BufferTooSmall)));

        let (mut flag, mut label) = ([0; 1], [0; 4]);
        let mut inner = [entry(AttributeType::TOKEN, &mut flag), entry(AttributeType::LABEL, &mut label)];
        assert_eq!(answered(&[nested()], &mut around(&mut inner)), (vec![48], Some(Code::BufferTooSmall)));
        assert_eq!((inner[0].ulValueLen, inner[1].ulValueLen, flag), (1, UNAVAILABLE_INFORMATION, [1]));
    }
}
