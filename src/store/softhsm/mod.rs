//! Reading a SoftHSM token directory: both of its backends, every attribute, nothing changed.
//!
//! A token is a directory with `token.object` and `<uuid>.object` files, or with `sqlite3.db`. SoftHSM protects nothing against change
//! (there is no MAC), so what is read is checked for form, and the importer checks keys for sense.

mod database;
mod file;
mod protection;

use std::path::{Path, PathBuf};

use crate::ck::{AttributeType, MechanismType};
use crate::error::{Code, Doing, Result, refuse};
use crate::object::table::{self, ValueKind};
use crate::object::{Template, Value};
use crate::secret::Secret;

use protection::TokenKey;

/// A value as SoftHSM keeps it.
enum Raw {
    Bool(bool),
    Ulong(u64),
    Bytes(Secret),
    Map(Vec<(u64, Raw)>),
    Mechanisms(Vec<u64>),
}

/// Attributes of one object, in the order of the file.
type RawObject = Vec<(u64, Raw)>;

/// Largest file that is read.
const FILE_MAX_BYTES: u64 = 64 << 20;

// SoftHSM's own attributes of the token object: CKA_VENDOR_DEFINED + 'SH' << 8 + number.
const TOKEN_LABEL: u64 = 0x8000_5349;
const TOKEN_SERIAL: u64 = 0x8000_534a;
const TOKEN_SO_PIN: u64 = 0x8000_534c;
const TOKEN_USER_PIN: u64 = 0x8000_534d;

/// A token directory, read but not opened.
pub struct SoftHsmToken {
    /// Where it was found.
    pub directory: PathBuf,
    /// Padded with blanks.
    pub label: [u8; 32],
    /// 16 characters.
    pub serial: [u8; 16],
    so_blob: Vec<u8>,
    user_blob: Option<Vec<u8>>,
    objects: Vec<RawObject>,
}

/// What opening a token gave.
pub struct Opened {
    /// Complete attributes of each object, as SoftHSM had them.
    pub objects: Vec<Template>,
    /// Attributes that were left out, and why.
    pub left_out: Vec<String>,
}

/// Every token below `directory` (SoftHSM's `directories.tokendir`), in order of name.
///
/// Errors: `Configuration` when the directory cannot be read; `StoreRefused` naming the file that is not what it should be.
pub fn tokens(directory: &Path) -> Result<Vec<SoftHsmToken>> {
    let entries = std::fs::read_dir(directory)
        .doing(Code::Configuration, format!("reading SoftHSM's token directory {}", directory.display()))?;
    let mut places = Vec::new();
    for entry in entries {
        let place = entry.doing(Code::Configuration, format!("reading {}", directory.display()))?.path();
        if place.is_dir() {
            places.push(place);
        }
    }
    places.sort();
    let mut tokens = Vec::new();
    for place in places {
        let objects = if place.join("token.object").is_file() {
            file::read_token(&place)?
        } else if place.join("sqlite3.db").is_file() {
            database::read_token(&place.join("sqlite3.db"))?
        } else {
            continue;
        };
        tokens.push(SoftHsmToken::new(place, objects)?);
    }
    Ok(tokens)
}

impl SoftHsmToken {
    /// `objects`: the token object first.
    fn new(directory: PathBuf, mut objects: Vec<RawObject>) -> Result<Self> {
        let damaged = |what: &str| refuse(Code::StoreRefused, format!("{}: the token object has no {what}", directory.display()));
        if objects.is_empty() {
            return Err(damaged("attributes"));
        }
        let token = objects.remove(0);
        let bytes = |kind: u64| {
            token.iter().find(|(k, _)| *k == kind).and_then(|(_, value)| match value {
                Raw::Bytes(bytes) => Some(bytes.expose().to_vec()),
                _ => None,
            })
        };
        let label = bytes(TOKEN_LABEL).ok_or_else(|| damaged("label"))?;
        let serial = bytes(TOKEN_SERIAL).ok_or_else(|| damaged("serial number"))?;
        let so_blob = bytes(TOKEN_SO_PIN).ok_or_else(|| damaged("SO PIN"))?;
        let user_blob = bytes(TOKEN_USER_PIN).filter(|blob| !blob.is_empty());
        Ok(Self { label: padded(&label), serial: padded(&serial), so_blob, user_blob, objects, directory })
    }

    /// Whether a user PIN was set.
    pub fn has_user_pin(&self) -> bool {
        self.user_blob.is_some()
    }

    /// How many objects it holds.
    pub fn object_count(&self) -> usize {
        self.objects.len()
    }

    /// Whether this is the SO's PIN.
    pub fn is_so_pin(&self, pin: &Secret) -> bool {
        TokenKey::open(&self.so_blob, pin).is_some()
    }

    /// Decrypts private objects with the user's PIN, or the SO's where none was set.
    ///
    /// Errors: `PinIncorrect`; `StoreRefused` for a private value that does not decrypt.
    pub fn open(&self, so_pin: &Secret, user_pin: Option<&Secret>) -> Result<Opened> {
        let (blob, pin) = match (&self.user_blob, user_pin) {
            (Some(blob), Some(pin)) => (blob, pin),
            _ => (&self.so_blob, so_pin),
        };
        let key = TokenKey::open(blob, pin)
            .ok_or_else(|| refuse(Code::PinIncorrect, format!("wrong PIN for {}", self.directory.display())))?;
        let mut left_out = Vec::new();
        let objects = self.objects.iter().map(|object| self.template(object, &key, &mut left_out)).collect::<Result<_>>()?;
        Ok(Opened { objects, left_out })
    }

    fn template(&self, object: &RawObject, key: &TokenKey, left_out: &mut Vec<String>) -> Result<Template> {
        let private = object.iter().any(|(kind, value)| *kind == AttributeType::PRIVATE.0 && matches!(value, Raw::Bool(true)));
        let mut template = Template::new();
        for (kind, raw) in object {
            let kind = AttributeType(*kind);
            let Some(rule) = table::rule(kind) else {
                left_out.push(format!("{}: {kind} is not kept", self.directory.display()));
                continue;
            };
            if let Some(value) = self.value(kind, rule.value, raw, private.then_some(key))? {
                template.set(kind, value);
            }
        }
        Ok(template)
    }

    /// `None` for an empty value that means "not there".
    fn value(&self, kind: AttributeType, wanted: ValueKind, raw: &Raw, key: Option<&TokenKey>) -> Result<Option<Value>> {
        let damaged = || refuse(Code::StoreRefused, format!("{}: {kind} has a value of another kind", self.directory.display()));
        Ok(Some(match (wanted, raw) {
            (ValueKind::Bool, Raw::Bool(flag)) => Value::Bool(*flag),
            (ValueKind::Ulong, Raw::Ulong(number)) => Value::Ulong(*number),
            (ValueKind::Mechanisms, Raw::Mechanisms(kinds)) if kinds.is_empty() => return Ok(None),
            (ValueKind::Mechanisms, Raw::Mechanisms(kinds)) => {
                Value::Mechanisms(kinds.iter().map(|kind| MechanismType(*kind)).collect())
            }
            (ValueKind::Template, Raw::Map(inner)) if inner.is_empty() => return Ok(None),
            (ValueKind::Template, Raw::Map(inner)) => {
                let mut template = Template::new();
                for (inner_kind, value) in inner {
                    let inner_kind = AttributeType(*inner_kind);
                    let rule = table::rule(inner_kind).ok_or_else(damaged)?;
                    if let Some(value) = self.value(inner_kind, rule.value, value, None)? {
                        template.set(inner_kind, value);
                    }
                }
                Value::Template(template)
            }
            (ValueKind::Bytes | ValueKind::BigInteger | ValueKind::Date | ValueKind::Secret, Raw::Bytes(bytes)) => {
                let plain = match key {
                    Some(key) if !bytes.is_empty() => key.decrypt(bytes.expose()).ok_or_else(|| {
                        refuse(
                            Code::StoreRefused,
                            format!("{}: {kind} of a private object does not decrypt", self.directory.display()),
                        )
                    })?,
                    _ => bytes.duplicate(),
                };
                match wanted {
                    ValueKind::Secret => Value::Secret(plain),
                    _ => Value::Bytes(plain.expose().to_vec()),
                }
            }
            _ => return Err(damaged()),
        }))
    }
}

/// A target of fuzzers: the bytes as an object file, and as the nested values of a database.
#[cfg(any(test, fuzzing))]
pub fn hostile(bytes: &[u8]) {
    let _ = (file::parse(bytes), database::template(bytes), database::mechanisms(bytes));
}

fn padded<const N: usize>(bytes: &[u8]) -> [u8; N] {
    std::array::from_fn(|at| bytes.get(at).copied().unwrap_or(b' '))
}
