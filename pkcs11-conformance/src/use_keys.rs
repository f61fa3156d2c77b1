//! What behaving applications do with keys and data, as calls of a session that cases build on.

use cryptoki_sys::*;

use crate::case::Stop;
use crate::ck;
use crate::context::Session;
use crate::module::Rv;
use crate::template::{Mechanism, Template};

/// One `C_…(session, in, in_len, out, out_len)` function of the 2.40 table.
pub type Transform = unsafe extern "C" fn(CK_SESSION_HANDLE, CK_BYTE_PTR, CK_ULONG, CK_BYTE_PTR, CK_ULONG_PTR) -> CK_RV;

impl Session<'_> {
    /// `C_CreateObject`.
    pub fn create(&self, mut template: Template) -> Result<CK_OBJECT_HANDLE, Rv> {
        let mut list = template.list();
        let mut object = 0;
        match ck!(self.context.module, C_CreateObject, self.handle, list.as_mut_ptr(), list.len() as CK_ULONG, &mut object) {
            Rv::OK => Ok(object),
            rv => Err(rv),
        }
    }

    /// `C_GenerateKey`.
    pub fn generate(&self, mut mechanism: Mechanism, mut template: Template) -> Result<CK_OBJECT_HANDLE, Rv> {
        let mut raw = mechanism.raw();
        let mut list = template.list();
        let mut key = 0;
        match ck!(self.context.module, C_GenerateKey, self.handle, &mut raw, list.as_mut_ptr(), list.len() as CK_ULONG, &mut key)
        {
            Rv::OK => Ok(key),
            rv => Err(rv),
        }
    }

    /// An AES-256 session key for the given uses; a skip where the module does not generate any.
    pub fn aes_key(&self, uses: &[CK_ATTRIBUTE_TYPE]) -> Result<CK_OBJECT_HANDLE, Stop> {
        self.need(CKM_AES_KEY_GEN)?;
        let template = Template::secret_key(CKK_AES, uses).ulong(CKA_VALUE_LEN, 32);
        self.generate(Mechanism::new(CKM_AES_KEY_GEN), template)
            .map_err(|rv| Stop::Fail(format!("C_GenerateKey of an AES-256 key answered {rv}")))
    }

    /// Skips the case unless the token lists the mechanism.
    pub fn need(&self, kind: CK_MECHANISM_TYPE) -> Result<(), Stop> {
        self.mechanism_info(kind).map(|_| ())
    }

    /// What the token says of a mechanism; a skip where it has none of the kind.
    pub fn mechanism_info(&self, kind: CK_MECHANISM_TYPE) -> Result<CK_MECHANISM_INFO, Stop> {
        let mut info = CK_MECHANISM_INFO::default();
        match ck!(self.context.module, C_GetMechanismInfo, self.context.slot()?, kind, &mut info) {
            Rv::OK => Ok(info),
            Rv(CKR_MECHANISM_INVALID) => {
                Err(Stop::Skip(format!("the token has no {}", crate::names::mechanism(kind).unwrap_or("such mechanism"))))
            }
            rv => Err(Stop::Fail(format!("C_GetMechanismInfo answered {rv}"))),
        }
    }

    /// Reads one attribute's bytes.
    pub fn attribute(&self, object: CK_OBJECT_HANDLE, kind: CK_ATTRIBUTE_TYPE) -> Result<Vec<u8>, Rv> {
        let mut attribute = CK_ATTRIBUTE { type_: kind, pValue: std::ptr::null_mut(), ulValueLen: 0 };
        let rv = ck!(self.context.module, C_GetAttributeValue, self.handle, object, &mut attribute, 1);
        if rv != Rv::OK {
            return Err(rv);
        }
        let mut value = vec![0; attribute.ulValueLen as usize];
        attribute.pValue = value.as_mut_ptr().cast();
        match ck!(self.context.module, C_GetAttributeValue, self.handle, object, &mut attribute, 1) {
            Rv::OK => Ok(value),
            rv => Err(rv),
        }
    }

    /// Every object that matches, by one search.
    pub fn found(&self, template: &Template) -> Result<Vec<CK_OBJECT_HANDLE>, Stop> {
        let (context, mut template) = (self.context, template.clone());
        let mut list = template.list();
        let rv = ck!(context.module, C_FindObjectsInit, self.handle, list.as_mut_ptr(), list.len() as CK_ULONG);
        context.ok(rv, "C_FindObjectsInit")?;
        let mut all = Vec::new();
        loop {
            let (mut piece, mut count) = ([0; 64], 0);
            context.ok(ck!(context.module, C_FindObjects, self.handle, piece.as_mut_ptr(), 64, &mut count), "C_FindObjects")?;
            if count == 0 {
                break;
            }
            all.extend(piece.iter().take(count as usize));
        }
        context.ok(ck!(context.module, C_FindObjectsFinal, self.handle), "C_FindObjectsFinal")?;
        Ok(all)
    }

    /// Calls one of the functions of the form data in, data out, with a buffer of `room` bytes; `None` asks for the length.
    /// Returns the code, the length that was told, and the buffer.
    pub fn transform(&self, function: Option<Transform>, data: &[u8], room: Option<usize>) -> (Rv, usize, Vec<u8>) {
        let Some(function) = function else { return (Rv(CKR_FUNCTION_NOT_SUPPORTED), 0, Vec::new()) };
        let mut data = data.to_vec();
        let mut out = vec![0xa5; room.unwrap_or(0)];
        let mut len = out.len() as CK_ULONG;
        let place = if room.is_some() { out.as_mut_ptr() } else { std::ptr::null_mut() };
        // SAFETY: the function is from the module's own table; both buffers are ours, with their lengths.
        let rv = Rv(unsafe { function(self.handle, data.as_mut_ptr(), data.len() as CK_ULONG, place, &mut len) });
        crate::provoked::record(self.context.module.transform_name(function), rv);
        (rv, len as usize, out)
    }
}
