//! Cryptographic operations as calls of a session that cases build on: single-part, in pieces, and on keys.

use cryptoki_sys::*;

use crate::case::Stop;
use crate::ck;
use crate::context::Session;
use crate::module::Rv;
use crate::template::{Mechanism, Template};
use crate::use_keys::Transform;

/// `C_EncryptInit` and its like.
pub type KeyInit = unsafe extern "C" fn(CK_SESSION_HANDLE, CK_MECHANISM_PTR, CK_OBJECT_HANDLE) -> CK_RV;
/// `C_EncryptFinal` and its like.
pub type Finish = unsafe extern "C" fn(CK_SESSION_HANDLE, CK_BYTE_PTR, CK_ULONG_PTR) -> CK_RV;

/// What is done with a key and data; `Digest` needs no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deed {
    /// `C_Encrypt*`
    Encrypt,
    /// `C_Decrypt*`
    Decrypt,
    /// `C_Sign*`
    Sign,
    /// `C_Digest*`
    Digest,
}

/// Room for any result but a signature beyond the length of its input.
const MARGIN: usize = 1024;
/// Room for any signature: the longest are those of SLH-DSA.
const SIGNATURE_MAX: usize = 1 << 16;

impl Session<'_> {
    /// The deed's Init function.
    pub fn init(&self, deed: Deed, mechanism: &Mechanism, key: CK_OBJECT_HANDLE) -> Rv {
        let mut mechanism = mechanism.clone();
        let mut raw = mechanism.raw();
        let module = &self.context.module;
        match deed {
            Deed::Encrypt => ck!(module, C_EncryptInit, self.handle, &mut raw, key),
            Deed::Decrypt => ck!(module, C_DecryptInit, self.handle, &mut raw, key),
            Deed::Sign => ck!(module, C_SignInit, self.handle, &mut raw, key),
            Deed::Digest => ck!(module, C_DigestInit, self.handle, &mut raw),
        }
    }

    /// What the token counts the length of ChaCha20-Poly1305's nonce in: 8 for bits, as the standard says, or 1 for bytes, where it refuses
    /// bits (`mechanism/chacha-nonce-bits` tells).
    pub fn chacha_unit(&self, key: CK_OBJECT_HANDLE) -> CK_ULONG {
        let bits = self.whole(Deed::Encrypt, &Mechanism::chacha_poly(&[1; 12], b"", 8), key, b"probe");
        if bits.is_err() { 1 } else { 8 }
    }

    /// The deed's single-part function alone, on a running operation.
    pub fn finish(&self, deed: Deed, data: &[u8]) -> Result<Vec<u8>, Rv> {
        let functions = self.context.module.functions();
        let function: Option<Transform> = match deed {
            Deed::Encrypt => functions.C_Encrypt,
            Deed::Decrypt => functions.C_Decrypt,
            Deed::Sign => functions.C_Sign,
            Deed::Digest => functions.C_Digest,
        };
        let room = if deed == Deed::Sign { SIGNATURE_MAX } else { MARGIN };
        let (rv, len, mut out) = self.transform(function, data, Some(data.len() + room));
        if rv != Rv::OK {
            return Err(rv);
        }
        out.truncate(len);
        Ok(out)
    }

    /// Init and the single-part call.
    pub fn whole(&self, deed: Deed, mechanism: &Mechanism, key: CK_OBJECT_HANDLE, data: &[u8]) -> Result<Vec<u8>, Rv> {
        match self.init(deed, mechanism, key) {
            Rv::OK => self.finish(deed, data),
            rv => Err(rv),
        }
    }

    /// Init, one Update for each piece, Final.
    pub fn pieces(&self, deed: Deed, mechanism: &Mechanism, key: CK_OBJECT_HANDLE, pieces: &[&[u8]]) -> Result<Vec<u8>, Rv> {
        let rv = self.init(deed, mechanism, key);
        if rv != Rv::OK {
            return Err(rv);
        }
        let mut all = Vec::new();
        for piece in pieces {
            all.extend(self.update(deed, piece)?);
        }
        all.extend(self.end(deed)?);
        Ok(all)
    }

    /// The deed's Update function.
    pub fn update(&self, deed: Deed, piece: &[u8]) -> Result<Vec<u8>, Rv> {
        let module = &self.context.module;
        let mut data = piece.to_vec();
        let len = data.len() as CK_ULONG;
        let function: Option<Transform> = match deed {
            Deed::Encrypt => module.functions().C_EncryptUpdate,
            Deed::Decrypt => module.functions().C_DecryptUpdate,
            Deed::Sign => return nothing(ck!(module, C_SignUpdate, self.handle, data.as_mut_ptr(), len)),
            Deed::Digest => return nothing(ck!(module, C_DigestUpdate, self.handle, data.as_mut_ptr(), len)),
        };
        let (rv, len, mut out) = self.transform(function, piece, Some(piece.len() + MARGIN));
        if rv != Rv::OK {
            return Err(rv);
        }
        out.truncate(len);
        Ok(out)
    }

    /// The deed's Final function, with ample room.
    pub fn end(&self, deed: Deed) -> Result<Vec<u8>, Rv> {
        let module = &self.context.module;
        let mut out = vec![0; 1 << 16];
        let mut len = out.len() as CK_ULONG;
        let place = out.as_mut_ptr();
        let rv = match deed {
            Deed::Encrypt => ck!(module, C_EncryptFinal, self.handle, place, &mut len),
            Deed::Decrypt => ck!(module, C_DecryptFinal, self.handle, place, &mut len),
            Deed::Sign => ck!(module, C_SignFinal, self.handle, place, &mut len),
            Deed::Digest => ck!(module, C_DigestFinal, self.handle, place, &mut len),
        };
        if rv != Rv::OK {
            return Err(rv);
        }
        out.truncate(len as usize);
        Ok(out)
    }

    /// `C_VerifyInit` and `C_Verify`.
    pub fn verify(&self, mechanism: &Mechanism, key: CK_OBJECT_HANDLE, data: &[u8], signature: &[u8]) -> Rv {
        let rv = self.verify_init(mechanism, key);
        if rv != Rv::OK {
            return rv;
        }
        let (mut data, mut signature) = (data.to_vec(), signature.to_vec());
        let (data_len, signature_len) = (data.len() as CK_ULONG, signature.len() as CK_ULONG);
        ck!(self.context.module, C_Verify, self.handle, data.as_mut_ptr(), data_len, signature.as_mut_ptr(), signature_len)
    }

    /// `C_VerifyInit`.
    pub fn verify_init(&self, mechanism: &Mechanism, key: CK_OBJECT_HANDLE) -> Rv {
        let mut mechanism = mechanism.clone();
        ck!(self.context.module, C_VerifyInit, self.handle, &mut mechanism.raw(), key)
    }

    /// `C_VerifyInit`, one `C_VerifyUpdate` for each piece, `C_VerifyFinal`.
    pub fn verify_pieces(&self, mechanism: &Mechanism, key: CK_OBJECT_HANDLE, pieces: &[&[u8]], signature: &[u8]) -> Rv {
        let module = &self.context.module;
        let rv = self.verify_init(mechanism, key);
        if rv != Rv::OK {
            return rv;
        }
        for piece in pieces {
            let mut piece = piece.to_vec();
            let len = piece.len() as CK_ULONG;
            let rv = ck!(module, C_VerifyUpdate, self.handle, piece.as_mut_ptr(), len);
            if rv != Rv::OK {
                return rv;
            }
        }
        let mut signature = signature.to_vec();
        let len = signature.len() as CK_ULONG;
        ck!(module, C_VerifyFinal, self.handle, signature.as_mut_ptr(), len)
    }

    /// `C_SignRecoverInit` and `C_SignRecover`.
    pub fn sign_recover(&self, mechanism: &Mechanism, key: CK_OBJECT_HANDLE, data: &[u8]) -> Result<Vec<u8>, Rv> {
        let mut mechanism = mechanism.clone();
        let rv = ck!(self.context.module, C_SignRecoverInit, self.handle, &mut mechanism.raw(), key);
        self.recovered(rv, self.context.module.functions().C_SignRecover, data)
    }

    /// `C_VerifyRecoverInit` and `C_VerifyRecover`.
    pub fn verify_recover(&self, mechanism: &Mechanism, key: CK_OBJECT_HANDLE, signature: &[u8]) -> Result<Vec<u8>, Rv> {
        let mut mechanism = mechanism.clone();
        let rv = ck!(self.context.module, C_VerifyRecoverInit, self.handle, &mut mechanism.raw(), key);
        self.recovered(rv, self.context.module.functions().C_VerifyRecover, signature)
    }

    fn recovered(&self, init: Rv, function: Option<Transform>, data: &[u8]) -> Result<Vec<u8>, Rv> {
        if init != Rv::OK {
            return Err(init);
        }
        let (rv, len, mut out) = self.transform(function, data, Some(data.len() + MARGIN));
        if rv != Rv::OK {
            return Err(rv);
        }
        out.truncate(len);
        Ok(out)
    }

    /// `C_WrapKey`.
    pub fn wrap(&self, mechanism: &Mechanism, with: CK_OBJECT_HANDLE, key: CK_OBJECT_HANDLE) -> Result<Vec<u8>, Rv> {
        let mut mechanism = mechanism.clone();
        let mut out = vec![0; 1 << 14];
        let mut len = out.len() as CK_ULONG;
        let rv = ck!(self.context.module, C_WrapKey, self.handle, &mut mechanism.raw(), with, key, out.as_mut_ptr(), &mut len);
        if rv != Rv::OK {
            return Err(rv);
        }
        out.truncate(len as usize);
        Ok(out)
    }

    /// `C_UnwrapKey`.
    pub fn unwrap(
        &self,
        mechanism: &Mechanism,
        with: CK_OBJECT_HANDLE,
        wrapped: &[u8],
        template: &Template,
    ) -> Result<CK_OBJECT_HANDLE, Rv> {
        let (mut mechanism, mut wrapped, mut template) = (mechanism.clone(), wrapped.to_vec(), template.clone());
        let mut list = template.list();
        let (len, count) = (wrapped.len() as CK_ULONG, list.len() as CK_ULONG);
        let mut key = 0;
        let rv = ck!(
            self.context.module,
            C_UnwrapKey,
            self.handle,
            &mut mechanism.raw(),
            with,
            wrapped.as_mut_ptr(),
            len,
            list.as_mut_ptr(),
            count,
            &mut key
        );
        if rv == Rv::OK { Ok(key) } else { Err(rv) }
    }

    /// `C_DeriveKey`.
    pub fn derive(&self, mechanism: &Mechanism, base: CK_OBJECT_HANDLE, template: &Template) -> Result<CK_OBJECT_HANDLE, Rv> {
        let (mut mechanism, mut template) = (mechanism.clone(), template.clone());
        let mut list = template.list();
        let mut key = 0;
        let count = list.len() as CK_ULONG;
        let rv =
            ck!(self.context.module, C_DeriveKey, self.handle, &mut mechanism.raw(), base, list.as_mut_ptr(), count, &mut key);
        if rv == Rv::OK { Ok(key) } else { Err(rv) }
    }

    /// `C_GenerateKeyPair`: public, private.
    pub fn generate_pair(
        &self,
        mechanism: &Mechanism,
        public: &Template,
        private: &Template,
    ) -> Result<(CK_OBJECT_HANDLE, CK_OBJECT_HANDLE), Rv> {
        let (mut mechanism, mut public, mut private) = (mechanism.clone(), public.clone(), private.clone());
        let (mut public, mut private) = (public.list(), private.list());
        let (public_count, private_count) = (public.len() as CK_ULONG, private.len() as CK_ULONG);
        let (mut first, mut second) = (0, 0);
        let rv = ck!(
            self.context.module,
            C_GenerateKeyPair,
            self.handle,
            &mut mechanism.raw(),
            public.as_mut_ptr(),
            public_count,
            private.as_mut_ptr(),
            private_count,
            &mut first,
            &mut second
        );
        if rv == Rv::OK { Ok((first, second)) } else { Err(rv) }
    }

    /// `C_DestroyObject`.
    pub fn destroy(&self, object: CK_OBJECT_HANDLE) -> Rv {
        ck!(self.context.module, C_DestroyObject, self.handle, object)
    }

    /// `C_SetAttributeValue`.
    pub fn set(&self, object: CK_OBJECT_HANDLE, template: &Template) -> Rv {
        let mut template = template.clone();
        let mut list = template.list();
        let count = list.len() as CK_ULONG;
        ck!(self.context.module, C_SetAttributeValue, self.handle, object, list.as_mut_ptr(), count)
    }

    /// `C_CopyObject`.
    pub fn copy(&self, object: CK_OBJECT_HANDLE, template: &Template) -> Result<CK_OBJECT_HANDLE, Rv> {
        let mut template = template.clone();
        let mut list = template.list();
        let count = list.len() as CK_ULONG;
        let mut made = 0;
        let rv = ck!(self.context.module, C_CopyObject, self.handle, object, list.as_mut_ptr(), count, &mut made);
        if rv == Rv::OK { Ok(made) } else { Err(rv) }
    }

    /// A boolean attribute.
    pub fn flag(&self, object: CK_OBJECT_HANDLE, kind: CK_ATTRIBUTE_TYPE) -> Result<bool, Stop> {
        match self.attribute(object, kind).as_deref() {
            Ok([value]) => Ok(*value != 0),
            Ok(other) => Err(Stop::Fail(format!("{} has {} bytes", attribute_name(kind), other.len()))),
            Err(rv) => Err(Stop::Fail(format!("reading {} answered {rv}", attribute_name(kind)))),
        }
    }

    /// A number attribute.
    pub fn number(&self, object: CK_OBJECT_HANDLE, kind: CK_ATTRIBUTE_TYPE) -> Result<CK_ULONG, Stop> {
        let value = self.attribute(object, kind);
        let value = value.map_err(|rv| Stop::Fail(format!("reading {} answered {rv}", attribute_name(kind))))?;
        <[u8; size_of::<CK_ULONG>()]>::try_from(value.as_slice())
            .map(CK_ULONG::from_ne_bytes)
            .map_err(|_| Stop::Fail(format!("{} has {} bytes", attribute_name(kind), value.len())))
    }
}

/// The attribute's name, or its number.
pub fn attribute_name(kind: CK_ATTRIBUTE_TYPE) -> String {
    crate::names::attribute(kind).map_or_else(|| format!("{kind:#x}"), str::to_owned)
}

/// The mechanism's name, or its number.
pub fn mechanism_name(kind: CK_MECHANISM_TYPE) -> String {
    crate::names::mechanism(kind).map_or_else(|| format!("{kind:#x}"), str::to_owned)
}

/// Turns a refusal into a failed case.
pub fn must<T>(done: Result<T, Rv>, what: &str) -> Result<T, Stop> {
    done.map_err(|rv| Stop::Fail(format!("{what} answered {rv}")))
}

/// The code of a call that should have failed; `CKR_OK` where it did not.
pub fn code<T>(done: Result<T, Rv>) -> Rv {
    done.err().unwrap_or(Rv::OK)
}

fn nothing(rv: Rv) -> Result<Vec<u8>, Rv> {
    if rv == Rv::OK { Ok(Vec::new()) } else { Err(rv) }
}
