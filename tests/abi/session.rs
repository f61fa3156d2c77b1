//! One session: the calls that take its handle.

use cryptoki_sys::*;

use super::{Loaded, Mechanism, Result, Template, call};

/// A session; closed when dropped.
pub struct Session<'m> {
    module: &'m Loaded,
    handle: CK_SESSION_HANDLE,
}

/// `C_…Init` and the single-part call of one operation on a key, with a buffer for the longest answer that a test needs.
macro_rules! keyed {
    ($name:ident, $name_into:ident, $init:ident, $single:ident) => {
        pub fn $name(&self, mechanism: &Mechanism, key: CK_OBJECT_HANDLE, input: &[u8]) -> Result<Vec<u8>> {
            let mut output = vec![0; input.len() + OUTPUT_SPARE_BYTES];
            let len = self.$name_into(mechanism, key, input, &mut output)?;
            output.truncate(len);
            Ok(output)
        }

        /// The same into the caller's buffer, without an allocation of ours.
        pub fn $name_into(&self, mechanism: &Mechanism, key: CK_OBJECT_HANDLE, input: &[u8], output: &mut [u8]) -> Result<usize> {
            let mut len = output.len() as CK_ULONG;
            call!(self.module, $init(self.handle, &mut mechanism.raw(), key))?;
            let input_address = input.as_ptr().cast_mut();
            call!(self.module, $single(self.handle, input_address, input.len() as CK_ULONG, output.as_mut_ptr(), &mut len))?;
            Ok(len as usize)
        }
    };
}

/// One more part of a cipher in parts, and its last: each gives what came out.
macro_rules! in_parts {
    ($part:ident, $end:ident, $update:ident, $final:ident) => {
        pub fn $part(&self, part: &[u8]) -> Result<Vec<u8>> {
            let mut output = vec![0; part.len() + OUTPUT_SPARE_BYTES];
            let (address, mut len) = (part.as_ptr().cast_mut(), output.len() as CK_ULONG);
            call!(self.module, $update(self.handle, address, part.len() as CK_ULONG, output.as_mut_ptr(), &mut len))?;
            output.truncate(len as usize);
            Ok(output)
        }

        pub fn $end(&self) -> Result<Vec<u8>> {
            let mut output = vec![0; LAST_PART_BYTES];
            let mut len = output.len() as CK_ULONG;
            call!(self.module, $final(self.handle, output.as_mut_ptr(), &mut len))?;
            output.truncate(len as usize);
            Ok(output)
        }
    };
}

/// Room for what a cipher that authenticates keeps back until its end.
const LAST_PART_BYTES: usize = 4 << 20;
/// Room for what an operation adds to its input: an RSA-8192 block, a tag, padding.
const OUTPUT_SPARE_BYTES: usize = 2048;

impl<'m> Session<'m> {
    pub(super) fn new(module: &'m Loaded, handle: CK_SESSION_HANDLE) -> Self {
        Self { module, handle }
    }

    pub fn handle(&self) -> CK_SESSION_HANDLE {
        self.handle
    }

    keyed!(sign, sign_into, C_SignInit, C_Sign);
    keyed!(encrypt, encrypt_into, C_EncryptInit, C_Encrypt);
    keyed!(decrypt, decrypt_into, C_DecryptInit, C_Decrypt);

    /// Begins a signature in parts.
    pub fn begin_signing(&self, mechanism: &Mechanism, key: CK_OBJECT_HANDLE) -> Result<()> {
        call!(self.module, C_SignInit(self.handle, &mut mechanism.raw(), key))
    }

    /// One more part of what is signed.
    pub fn sign_part(&self, part: &[u8]) -> Result<()> {
        call!(self.module, C_SignUpdate(self.handle, part.as_ptr().cast_mut(), part.len() as CK_ULONG))
    }

    /// The signature over all parts.
    pub fn end_signing(&self) -> Result<Vec<u8>> {
        let (mut output, mut len) = (vec![0; OUTPUT_SPARE_BYTES], OUTPUT_SPARE_BYTES as CK_ULONG);
        call!(self.module, C_SignFinal(self.handle, output.as_mut_ptr(), &mut len))?;
        output.truncate(len as usize);
        Ok(output)
    }

    in_parts!(encrypt_part, end_encrypting, C_EncryptUpdate, C_EncryptFinal);
    in_parts!(decrypt_part, end_decrypting, C_DecryptUpdate, C_DecryptFinal);

    pub fn begin_encrypting(&self, mechanism: &Mechanism, key: CK_OBJECT_HANDLE) -> Result<()> {
        call!(self.module, C_EncryptInit(self.handle, &mut mechanism.raw(), key))
    }

    pub fn begin_decrypting(&self, mechanism: &Mechanism, key: CK_OBJECT_HANDLE) -> Result<()> {
        call!(self.module, C_DecryptInit(self.handle, &mut mechanism.raw(), key))
    }

    pub fn begin_digest(&self, kind: CK_MECHANISM_TYPE) -> Result<()> {
        call!(self.module, C_DigestInit(self.handle, &mut Mechanism::plain(kind).raw()))
    }

    pub fn digest_part(&self, part: &[u8]) -> Result<()> {
        call!(self.module, C_DigestUpdate(self.handle, part.as_ptr().cast_mut(), part.len() as CK_ULONG))
    }

    pub fn end_digest(&self) -> Result<Vec<u8>> {
        let (mut output, mut len) = (vec![0; OUTPUT_SPARE_BYTES], OUTPUT_SPARE_BYTES as CK_ULONG);
        call!(self.module, C_DigestFinal(self.handle, output.as_mut_ptr(), &mut len))?;
        output.truncate(len as usize);
        Ok(output)
    }

    pub fn begin_search(&self, mut template: Template) -> Result<()> {
        let mut rows = template.rows();
        call!(self.module, C_FindObjectsInit(self.handle, rows.as_mut_ptr(), rows.len() as CK_ULONG))
    }

    /// The next ones of a search, at most so many.
    pub fn next_found(&self, most: usize) -> Result<Vec<CK_OBJECT_HANDLE>> {
        let (mut batch, mut count) = (vec![0; most], 0);
        call!(self.module, C_FindObjects(self.handle, batch.as_mut_ptr(), most as CK_ULONG, &mut count))?;
        batch.truncate(count as usize);
        Ok(batch)
    }

    pub fn end_search(&self) -> Result<()> {
        call!(self.module, C_FindObjectsFinal(self.handle))
    }

    pub fn login(&self, user: CK_USER_TYPE, pin: &str) -> Result<()> {
        let mut pin = pin.as_bytes().to_vec();
        call!(self.module, C_Login(self.handle, user, pin.as_mut_ptr(), pin.len() as CK_ULONG))
    }

    pub fn logout(&self) -> Result<()> {
        call!(self.module, C_Logout(self.handle))
    }

    pub fn info(&self) -> Result<CK_SESSION_INFO> {
        let mut info = CK_SESSION_INFO::default();
        call!(self.module, C_GetSessionInfo(self.handle, &mut info))?;
        Ok(info)
    }

    pub fn generate_key(&self, kind: CK_MECHANISM_TYPE, mut template: Template) -> Result<CK_OBJECT_HANDLE> {
        let (mut rows, mut key) = (template.rows(), 0);
        let mut mechanism = Mechanism::plain(kind).raw();
        call!(self.module, C_GenerateKey(self.handle, &mut mechanism, rows.as_mut_ptr(), rows.len() as CK_ULONG, &mut key))?;
        Ok(key)
    }

    /// The public and the private key's handles.
    pub fn generate_pair(
        &self,
        kind: CK_MECHANISM_TYPE,
        mut public: Template,
        mut private: Template,
    ) -> Result<(CK_OBJECT_HANDLE, CK_OBJECT_HANDLE)> {
        let (mut public_rows, mut private_rows) = (public.rows(), private.rows());
        let (mut public_key, mut private_key) = (0, 0);
        call!(
            self.module,
            C_GenerateKeyPair(
                self.handle,
                &mut Mechanism::plain(kind).raw(),
                public_rows.as_mut_ptr(),
                public_rows.len() as CK_ULONG,
                private_rows.as_mut_ptr(),
                private_rows.len() as CK_ULONG,
                &mut public_key,
                &mut private_key
            )
        )?;
        Ok((public_key, private_key))
    }

    pub fn create(&self, mut template: Template) -> Result<CK_OBJECT_HANDLE> {
        let (mut rows, mut object) = (template.rows(), 0);
        call!(self.module, C_CreateObject(self.handle, rows.as_mut_ptr(), rows.len() as CK_ULONG, &mut object))?;
        Ok(object)
    }

    pub fn destroy(&self, object: CK_OBJECT_HANDLE) -> Result<()> {
        call!(self.module, C_DestroyObject(self.handle, object))
    }

    /// Every object that matches the template.
    pub fn find(&self, mut template: Template) -> Result<Vec<CK_OBJECT_HANDLE>> {
        let mut rows = template.rows();
        call!(self.module, C_FindObjectsInit(self.handle, rows.as_mut_ptr(), rows.len() as CK_ULONG))?;
        let mut found = Vec::new();
        loop {
            let (mut batch, mut count) = ([0; 256], 0);
            call!(self.module, C_FindObjects(self.handle, batch.as_mut_ptr(), batch.len() as CK_ULONG, &mut count))?;
            found.extend_from_slice(&batch[..count as usize]);
            if count == 0 {
                break;
            }
        }
        call!(self.module, C_FindObjectsFinal(self.handle))?;
        Ok(found)
    }

    /// The value of one attribute, by the two calls of the length protocol.
    pub fn attribute(&self, object: CK_OBJECT_HANDLE, attribute: CK_ATTRIBUTE_TYPE) -> Result<Vec<u8>> {
        let mut row = CK_ATTRIBUTE { type_: attribute, pValue: std::ptr::null_mut(), ulValueLen: 0 };
        call!(self.module, C_GetAttributeValue(self.handle, object, &mut row, 1))?;
        let mut value = vec![0_u8; row.ulValueLen as usize];
        row.pValue = value.as_mut_ptr().cast();
        call!(self.module, C_GetAttributeValue(self.handle, object, &mut row, 1))?;
        value.truncate(row.ulValueLen as usize);
        Ok(value)
    }

    pub fn verify(&self, mechanism: &Mechanism, key: CK_OBJECT_HANDLE, data: &[u8], signature: &[u8]) -> Result<()> {
        call!(self.module, C_VerifyInit(self.handle, &mut mechanism.raw(), key))?;
        let (data_address, signature_address) = (data.as_ptr().cast_mut(), signature.as_ptr().cast_mut());
        let (data_len, signature_len) = (data.len() as CK_ULONG, signature.len() as CK_ULONG);
        call!(self.module, C_Verify(self.handle, data_address, data_len, signature_address, signature_len))
    }

    pub fn digest_into(&self, kind: CK_MECHANISM_TYPE, data: &[u8], output: &mut [u8]) -> Result<usize> {
        let mut len = output.len() as CK_ULONG;
        call!(self.module, C_DigestInit(self.handle, &mut Mechanism::plain(kind).raw()))?;
        let data_address = data.as_ptr().cast_mut();
        call!(self.module, C_Digest(self.handle, data_address, data.len() as CK_ULONG, output.as_mut_ptr(), &mut len))?;
        Ok(len as usize)
    }

    pub fn wrap(&self, mechanism: &Mechanism, wrapping: CK_OBJECT_HANDLE, key: CK_OBJECT_HANDLE) -> Result<Vec<u8>> {
        let (mut wrapped, mut len) = (vec![0; 2 * OUTPUT_SPARE_BYTES], 2 * OUTPUT_SPARE_BYTES as CK_ULONG);
        call!(self.module, C_WrapKey(self.handle, &mut mechanism.raw(), wrapping, key, wrapped.as_mut_ptr(), &mut len))?;
        wrapped.truncate(len as usize);
        Ok(wrapped)
    }

    pub fn unwrap_key(
        &self,
        mechanism: &Mechanism,
        unwrapping: CK_OBJECT_HANDLE,
        wrapped: &[u8],
        mut template: Template,
    ) -> Result<CK_OBJECT_HANDLE> {
        let (mut rows, mut key) = (template.rows(), 0);
        call!(
            self.module,
            C_UnwrapKey(
                self.handle,
                &mut mechanism.raw(),
                unwrapping,
                wrapped.as_ptr().cast_mut(),
                wrapped.len() as CK_ULONG,
                rows.as_mut_ptr(),
                rows.len() as CK_ULONG,
                &mut key
            )
        )?;
        Ok(key)
    }

    pub fn derive(&self, mechanism: &Mechanism, base: CK_OBJECT_HANDLE, mut template: Template) -> Result<CK_OBJECT_HANDLE> {
        let (mut rows, mut key) = (template.rows(), 0);
        let count = rows.len() as CK_ULONG;
        call!(self.module, C_DeriveKey(self.handle, &mut mechanism.raw(), base, rows.as_mut_ptr(), count, &mut key))?;
        Ok(key)
    }

    pub fn random(&self, output: &mut [u8]) -> Result<()> {
        call!(self.module, C_GenerateRandom(self.handle, output.as_mut_ptr(), output.len() as CK_ULONG))
    }
}

impl Drop for Session<'_> {
    fn drop(&mut self) {
        // A test may have finalised the module or closed the session already; nobody is left to tell.
        let _ = call!(self.module, C_CloseSession(self.handle));
    }
}
