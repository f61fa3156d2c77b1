//! The little of DER (X.690) that keys need: a strict reader over borrowed bytes, and a writer that wipes what it made.

use std::fmt;

use zeroize::Zeroizing;

/// Tags, as one byte each.
pub mod tag {
    #![allow(missing_docs, reason = "each is what its name says")]
    pub const INTEGER: u8 = 0x02;
    pub const BIT_STRING: u8 = 0x03;
    pub const OCTET_STRING: u8 = 0x04;
    pub const NULL: u8 = 0x05;
    pub const OBJECT_IDENTIFIER: u8 = 0x06;
    pub const PRINTABLE_STRING: u8 = 0x13;
    pub const SEQUENCE: u8 = 0x30;
    /// `[0]`, constructed.
    pub const CONTEXT_0: u8 = 0xa0;
    /// `[1]`, constructed.
    pub const CONTEXT_1: u8 = 0xa1;
    /// `[1]`, primitive.
    pub const CONTEXT_1_PRIMITIVE: u8 = 0x81;
}

/// What was wrong: never the contents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed(&'static str);

impl Malformed {
    /// Something that DER allows and the caller does not.
    pub fn new(what: &'static str) -> Self {
        Self(what)
    }
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for Malformed {}

/// What has not been read yet.
#[derive(Clone, Copy)]
pub struct Reader<'a>(&'a [u8]);

type Read<T> = std::result::Result<T, Malformed>;

impl<'a> Reader<'a> {
    /// Starts at the front.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// Whether nothing is left.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The next element's tag.
    pub fn peek(&self) -> Option<u8> {
        self.0.first().copied()
    }

    /// The contents of the next element, which must have this tag.
    pub fn element(&mut self, tag: u8) -> Read<&'a [u8]> {
        match self.any()? {
            (found, contents) if found == tag => Ok(contents),
            _ => Err(Malformed("an element has an unexpected tag")),
        }
    }

    /// The contents of the next element if it has this tag.
    pub fn optional(&mut self, tag: u8) -> Read<Option<&'a [u8]>> {
        if self.peek() == Some(tag) { self.element(tag).map(Some) } else { Ok(None) }
    }

    /// The next element's tag and contents. Lengths are in their shortest form, below 2^32.
    pub fn any(&mut self) -> Read<(u8, &'a [u8])> {
        const CUT: Malformed = Malformed("an element is cut off");
        let (&tag, rest) = self.0.split_first().ok_or(CUT)?;
        if tag & 0x1f == 0x1f {
            return Err(Malformed("a tag has more than one byte"));
        }
        let (&first, mut rest) = rest.split_first().ok_or(CUT)?;
        let mut length = usize::from(first);
        if first >= 0x80 {
            let count = usize::from(first & 0x7f);
            let (digits, behind) = rest.split_at_checked(count).ok_or(CUT)?;
            if count > 4 || digits.first().is_none_or(|digit| *digit == 0) {
                return Err(Malformed("a length is not in its shortest form"));
            }
            length = digits.iter().fold(0, |length, digit| length << 8 | usize::from(*digit));
            if length < 0x80 {
                return Err(Malformed("a length is not in its shortest form"));
            }
            rest = behind;
        }
        let (contents, rest) = rest.split_at_checked(length).ok_or(CUT)?;
        self.0 = rest;
        Ok((tag, contents))
    }

    /// The next element with its tag and length, which must have this tag.
    pub fn whole_element(&mut self, tag: u8) -> Read<&'a [u8]> {
        let before = self.0;
        self.element(tag)?;
        Ok(&before[..before.len() - self.0.len()])
    }

    /// The next element, a SEQUENCE.
    pub fn sequence(&mut self) -> Read<Reader<'a>> {
        self.element(tag::SEQUENCE).map(Reader)
    }

    /// The next element, an INTEGER that is not negative: big-endian without leading zeros (zero is empty).
    pub fn unsigned(&mut self) -> Read<&'a [u8]> {
        match self.element(tag::INTEGER)? {
            [] => Err(Malformed("an integer has no byte")),
            [0] => Ok(&[]),
            [0, second, ..] if *second < 0x80 => Err(Malformed("an integer is not in its shortest form")),
            [0, rest @ ..] => Ok(rest),
            [first, ..] if *first >= 0x80 => Err(Malformed("an integer is negative")),
            all => Ok(all),
        }
    }

    /// The next element, a BIT STRING of whole bytes.
    pub fn bits(&mut self) -> Read<&'a [u8]> {
        match self.element(tag::BIT_STRING)? {
            [0, rest @ ..] => Ok(rest),
            _ => Err(Malformed("a bit string does not consist of whole bytes")),
        }
    }

    /// Everything that is left, which must be one element, with its tag and length.
    pub fn rest(&mut self) -> Read<&'a [u8]> {
        let all = self.0;
        self.any()?;
        self.finish()?;
        Ok(all)
    }

    /// Nothing may be left.
    pub fn finish(self) -> Read<()> {
        if self.0.is_empty() { Ok(()) } else { Err(Malformed("something follows behind the end")) }
    }
}

/// An element from the parts of its contents. The bytes are wiped when dropped, and never moved while they grow.
pub fn element(tag: u8, parts: &[&[u8]]) -> Zeroizing<Vec<u8>> {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    let digits = length.to_be_bytes();
    let skipped = digits.iter().take_while(|digit| **digit == 0).count();
    let digits = &digits[skipped..];
    let mut out = Zeroizing::new(Vec::with_capacity(2 + digits.len() + length));
    out.push(tag);
    if length < 0x80 {
        out.push(length as u8);
    } else {
        out.push(0x80 | digits.len() as u8);
        out.extend_from_slice(digits);
    }
    parts.iter().for_each(|part| out.extend_from_slice(part));
    out
}

/// A SEQUENCE of elements.
pub fn sequence(elements: &[&[u8]]) -> Zeroizing<Vec<u8>> {
    element(tag::SEQUENCE, elements)
}

/// An INTEGER from a big-endian unsigned number, with or without leading zeros.
pub fn unsigned(number: &[u8]) -> Zeroizing<Vec<u8>> {
    let number = trimmed(number);
    // A set top bit would read as a sign; and zero is one byte.
    let pad: &[u8] = if number.first().is_none_or(|first| *first >= 0x80) { &[0] } else { &[] };
    element(tag::INTEGER, &[pad, number])
}

/// An OBJECT IDENTIFIER from its contents.
pub fn oid(contents: &[u8]) -> Zeroizing<Vec<u8>> {
    element(tag::OBJECT_IDENTIFIER, &[contents])
}

/// An OCTET STRING.
pub fn octets(contents: &[u8]) -> Zeroizing<Vec<u8>> {
    element(tag::OCTET_STRING, &[contents])
}

/// A BIT STRING of whole bytes.
pub fn bits(contents: &[u8]) -> Zeroizing<Vec<u8>> {
    element(tag::BIT_STRING, &[&[0], contents])
}

/// A big-endian number without its leading zeros.
pub fn trimmed(number: &[u8]) -> &[u8] {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    &number[zeros..]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_at_each_border_read_back() {
        for length in [0, 1, 0x7f, 0x80, 0xff, 0x100, 0xffff, 0x10000] {
            let written = octets(&vec![7; length]);
            let mut reader = Reader::new(&written);
            assert_eq!(reader.element(tag::OCTET_STRING).unwrap().len(), length);
            reader.finish().unwrap();
        }
    }

    #[test]
    fn what_is_not_der_is_refused() {
        for (bytes, why) in [
            (&[0x04][..], "no length"),
            (&[0x04, 2, 1], "cut off"),
            (&[0x04, 0x80, 0, 0], "indefinite length"),
            (&[0x04, 0x81, 1, 1], "long form of a short length"),
            (&[0x04, 0x82, 0, 0x80], "leading zero in a length"),
            (&[0x04, 0x85, 1, 0, 0, 0, 0], "length of five bytes"),
            (&[0x1f, 0x01, 0], "tag of two bytes"),
        ] {
            assert!(Reader::new(bytes).any().is_err(), "{why}");
        }
    }

    #[test]
    fn integers_are_unsigned_and_shortest() {
        for number in [&[][..], &[1], &[0x7f], &[0x80], &[0xff, 0], &[1, 0, 0]] {
            let written = unsigned(number);
            assert_eq!(Reader::new(&written).unsigned().unwrap(), number);
        }
        assert_eq!(*unsigned(&[0, 0, 5]), [2, 1, 5]);
        assert_eq!(*unsigned(&[]), [2, 1, 0]);
        assert_eq!(*unsigned(&[0x80]), [2, 2, 0, 0x80]);
        for bytes in [&[2, 0][..], &[2, 1, 0x80], &[2, 2, 0, 1], &[3, 1, 0]] {
            assert!(Reader::new(bytes).unsigned().is_err());
        }
    }

    #[test]
    fn an_optional_element_is_taken_only_when_it_is_there() {
        let written = [*b"\x02\x01\x05", *b"\x04\x01\x06"].concat();
        let mut reader = Reader::new(&written);
        assert_eq!(reader.optional(tag::OCTET_STRING).unwrap(), None);
        assert_eq!(reader.optional(tag::INTEGER).unwrap(), Some(&[5][..]));
        assert!(reader.finish().is_err());
        assert!(Reader::new(&[3, 2, 1, 0]).bits().is_err(), "unused bits");
    }
}
