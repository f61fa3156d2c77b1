//! The file backend: a generation, then records of attribute, kind and value; every number 8 bytes, big-endian.

use std::path::Path;

use super::{FILE_MAX_BYTES, Raw, RawObject};
use crate::error::{Code, Doing, Result, refuse};
use crate::secret::Secret;

const BOOL: u64 = 1;
const ULONG: u64 = 2;
const BYTES: u64 = 3;
const MAP: u64 = 4;
const MECHANISMS: u64 = 5;

/// The token object, then all others in order of file name.
pub(super) fn read_token(directory: &Path) -> Result<Vec<RawObject>> {
    let mut objects = vec![read_object(&directory.join("token.object"))?];
    let entries = std::fs::read_dir(directory).doing(Code::StoreRefused, format!("reading {}", directory.display()))?;
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.doing(Code::StoreRefused, format!("reading {}", directory.display()))?.path();
        let is_object = path.extension().is_some_and(|extension| extension == "object");
        if is_object && path.file_name().is_some_and(|name| name != "token.object") {
            files.push(path);
        }
    }
    files.sort();
    for file in files {
        objects.push(read_object(&file)?);
    }
    Ok(objects)
}

fn read_object(path: &Path) -> Result<RawObject> {
    let name = path.display();
    let size = std::fs::metadata(path).doing(Code::StoreRefused, format!("reading {name}"))?.len();
    if size > FILE_MAX_BYTES {
        return Err(refuse(Code::StoreRefused, format!("{name} has {size} bytes, too many for an object of SoftHSM")));
    }
    let bytes = Secret::new(std::fs::read(path).doing(Code::StoreRefused, format!("reading {name}"))?);
    parse(bytes.expose()).ok_or_else(|| refuse(Code::StoreRefused, format!("{name} is damaged, or no object file of SoftHSM")))
}

/// Total: any bytes give an object or `None`.
pub(super) fn parse(bytes: &[u8]) -> Option<RawObject> {
    let mut from = Reader(bytes);
    from.number()?;
    let mut object = RawObject::new();
    while !from.0.is_empty() {
        let (kind, value_kind) = (from.number()?, from.number()?);
        object.push((kind, from.value(value_kind, true)?));
    }
    Some(object)
}

/// The nested list of a template.
fn parse_map(bytes: &[u8]) -> Option<Vec<(u64, Raw)>> {
    let mut from = Reader(bytes);
    let mut map = Vec::new();
    while !from.0.is_empty() {
        let (kind, value_kind) = (from.number()?, from.number()?);
        map.push((kind, from.value(value_kind, false)?));
    }
    Some(map)
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, len: u64) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(usize::try_from(len).ok()?)?;
        self.0 = rest;
        Some(taken)
    }

    fn number(&mut self) -> Option<u64> {
        self.take(8)?.try_into().ok().map(u64::from_be_bytes)
    }

    fn value(&mut self, kind: u64, may_nest: bool) -> Option<Raw> {
        Some(match kind {
            BOOL => match self.take(1)? {
                [0] => Raw::Bool(false),
                _ => Raw::Bool(true),
            },
            ULONG => Raw::Ulong(self.number()?),
            BYTES => {
                let len = self.number()?;
                Raw::Bytes(Secret::copy_of(self.take(len)?))
            }
            MAP if may_nest => {
                let len = self.number()?;
                Raw::Map(parse_map(self.take(len)?)?)
            }
            MECHANISMS => {
                let count = self.number()?;
                let bytes = self.take(count.checked_mul(8)?)?;
                Raw::Mechanisms(bytes.as_chunks::<8>().0.iter().map(|number| u64::from_be_bytes(*number)).collect())
            }
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut number = |n: u64| bytes.extend_from_slice(&n.to_be_bytes());
        [7, 1, 1].iter().for_each(|n| number(*n));
        bytes.push(1);
        for n in [0x100_u64, 2, 31, 3, 3, 2] {
            bytes.extend_from_slice(&n.to_be_bytes());
        }
        bytes.extend_from_slice(b"id");
        for n in [0x4000_0600_u64, 5, 1, 9] {
            bytes.extend_from_slice(&n.to_be_bytes());
        }
        bytes
    }

    #[test]
    fn every_kind_of_value_is_read() {
        let object = parse(&sample()).unwrap();
        assert_eq!(object.iter().map(|(kind, _)| *kind).collect::<Vec<_>>(), [1, 0x100, 3, 0x4000_0600]);
        assert!(matches!(object[0].1, Raw::Bool(true)));
        assert!(matches!(object[1].1, Raw::Ulong(31)));
        assert!(matches!(&object[2].1, Raw::Bytes(bytes) if bytes.expose() == b"id"));
        assert!(matches!(&object[3].1, Raw::Mechanisms(kinds) if kinds == &[9]));
    }

    #[test]
    fn a_file_cut_anywhere_gives_fewer_whole_records_or_nothing() {
        let bytes = sample();
        let whole = parse(&bytes).unwrap().len();
        for len in 0..bytes.len() {
            assert!(parse(&bytes[..len]).is_none_or(|object| object.len() < whole), "{len} bytes");
        }
    }

    #[test]
    fn lengths_beyond_the_file_are_refused() {
        for len in [3_u64, u64::MAX, u64::MAX / 8 + 1] {
            for kind in [BYTES, MAP, MECHANISMS] {
                let bytes: Vec<u8> = [0, 3, kind, len].iter().flat_map(|n: &u64| n.to_be_bytes()).collect();
                assert!(parse(&bytes).is_none());
            }
        }
    }
}
