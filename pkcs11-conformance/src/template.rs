//! Templates and mechanisms that own what they point to.

use cryptoki_sys::*;

/// An attribute list; each value is a vector of its own, so that pointers stay good while it lives.
#[derive(Default)]
pub struct Template {
    values: Vec<(CK_ATTRIBUTE_TYPE, Vec<u8>)>,
}

impl Template {
    /// An empty one.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds raw bytes.
    pub fn bytes(mut self, kind: CK_ATTRIBUTE_TYPE, value: impl Into<Vec<u8>>) -> Self {
        self.values.push((kind, value.into()));
        self
    }

    /// Adds a `CK_ULONG`.
    pub fn ulong(self, kind: CK_ATTRIBUTE_TYPE, value: CK_ULONG) -> Self {
        self.bytes(kind, value.to_ne_bytes())
    }

    /// Adds a `CK_BBOOL`.
    pub fn flag(self, kind: CK_ATTRIBUTE_TYPE, value: bool) -> Self {
        self.bytes(kind, [u8::from(value)])
    }

    /// The C form; good while `self` lives and is not changed.
    pub fn list(&mut self) -> Vec<CK_ATTRIBUTE> {
        self.values
            .iter_mut()
            .map(|(kind, value)| CK_ATTRIBUTE {
                type_: *kind,
                pValue: value.as_mut_ptr().cast(),
                ulValueLen: value.len() as CK_ULONG,
            })
            .collect()
    }

    /// A secret key of a type, a session object, for the given uses.
    pub fn secret_key(key_type: CK_KEY_TYPE, uses: &[CK_ATTRIBUTE_TYPE]) -> Self {
        let template = Self::new().ulong(CKA_CLASS, CKO_SECRET_KEY).ulong(CKA_KEY_TYPE, key_type).flag(CKA_TOKEN, false);
        uses.iter().fold(template, |template, kind| template.flag(*kind, true))
    }
}

/// A mechanism with a parameter of plain bytes.
pub struct Mechanism {
    kind: CK_MECHANISM_TYPE,
    parameter: Vec<u8>,
}

impl Mechanism {
    /// Without a parameter.
    pub fn new(kind: CK_MECHANISM_TYPE) -> Self {
        Self { kind, parameter: Vec::new() }
    }

    /// With a parameter of plain bytes (an IV).
    pub fn with(kind: CK_MECHANISM_TYPE, parameter: &[u8]) -> Self {
        Self { kind, parameter: parameter.to_vec() }
    }

    /// The C form; good while `self` lives.
    pub fn raw(&mut self) -> CK_MECHANISM {
        let parameter = if self.parameter.is_empty() { std::ptr::null_mut() } else { self.parameter.as_mut_ptr().cast() };
        CK_MECHANISM { mechanism: self.kind, pParameter: parameter, ulParameterLen: self.parameter.len() as CK_ULONG }
    }
}
