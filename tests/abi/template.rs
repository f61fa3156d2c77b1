//! Attribute templates that own their values.

use cryptoki_sys::*;

/// Attributes in the order in which they were added.
#[derive(Clone, Default)]
pub struct Template {
    rows: Vec<(CK_ATTRIBUTE_TYPE, Vec<u8>)>,
}

impl Template {
    pub fn new() -> Self {
        Self::default()
    }

    /// A template that starts with the class and the key type.
    pub fn key(class: CK_OBJECT_CLASS, kind: CK_KEY_TYPE) -> Self {
        Self::new().number(CKA_CLASS, class).number(CKA_KEY_TYPE, kind)
    }

    pub fn bytes(mut self, attribute: CK_ATTRIBUTE_TYPE, value: impl Into<Vec<u8>>) -> Self {
        self.rows.push((attribute, value.into()));
        self
    }

    pub fn number(self, attribute: CK_ATTRIBUTE_TYPE, value: CK_ULONG) -> Self {
        self.bytes(attribute, value.to_ne_bytes())
    }

    pub fn truth(self, attribute: CK_ATTRIBUTE_TYPE, value: bool) -> Self {
        self.bytes(attribute, [u8::from(value)])
    }

    /// Each of these attributes true.
    pub fn yes(self, attributes: &[CK_ATTRIBUTE_TYPE]) -> Self {
        attributes.iter().fold(self, |template, attribute| template.truth(*attribute, true))
    }

    /// The C array; valid while `self` is neither changed nor dropped.
    pub(super) fn rows(&mut self) -> Vec<CK_ATTRIBUTE> {
        let row = |(kind, value): &mut (CK_ATTRIBUTE_TYPE, Vec<u8>)| CK_ATTRIBUTE {
            type_: *kind,
            pValue: value.as_mut_ptr().cast(),
            ulValueLen: value.len() as CK_ULONG,
        };
        self.rows.iter_mut().map(row).collect()
    }
}
