//! The functions that came with 3.0 and 3.2, as calls of a session that cases build on: encapsulation and messages.

use std::ptr::null_mut;

use cryptoki_sys::*;

use crate::context::Session;
use crate::module::Rv;
use crate::template::{Mechanism, Template};
use crate::{ck_3_0, ck_3_2};

/// The module shows no table with the function, which comes to the same as that it does not support it.
const ABSENT: Rv = Rv(CKR_FUNCTION_NOT_SUPPORTED);
/// Room for any ciphertext of a key encapsulation that the standard has.
const ENCAPSULATED_MAX: usize = 4096;

/// What is done with messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// `C_MessageEncrypt*`
    Encrypt,
    /// `C_MessageDecrypt*`
    Decrypt,
    /// `C_MessageSign*`
    Sign,
    /// `C_MessageVerify*`
    Verify,
}

/// The parameter of one message of an authenticated cipher, with the places that the module writes to.
pub struct MessageParameter {
    /// `CKM_AES_GCM`, `CKM_AES_CCM` or `CKM_CHACHA20_POLY1305`.
    pub kind: CK_MECHANISM_TYPE,
    /// The initialisation vector or nonce: given, or what the module made.
    pub iv: Vec<u8>,
    /// How many of its first bits the module keeps.
    pub fixed_bits: CK_ULONG,
    /// How it comes about.
    pub generator: CK_GENERATOR_FUNCTION,
    /// The tag.
    pub tag: Vec<u8>,
    /// The message's length, which CCM wants to know before.
    pub data_len: usize,
    /// What the length of ChaCha20-Poly1305's nonce counts: 8 for bits, as the standard has it, 1 for bytes.
    pub unit: CK_ULONG,
}

impl MessageParameter {
    /// With a given vector and a tag of 16 bytes.
    pub fn given(kind: CK_MECHANISM_TYPE, iv: &[u8], data_len: usize) -> Self {
        Self { kind, iv: iv.to_vec(), fixed_bits: 0, generator: CKG_NO_GENERATE, tag: vec![0; 16], data_len, unit: 8 }
    }

    /// Calls `work` with the C form of the parameter.
    fn with<T>(&mut self, work: impl FnOnce(CK_VOID_PTR, CK_ULONG) -> T) -> T {
        let (iv, iv_len) = (self.iv.as_mut_ptr(), self.iv.len() as CK_ULONG);
        let (tag, tag_len) = (self.tag.as_mut_ptr(), self.tag.len() as CK_ULONG);
        match self.kind {
            CKM_AES_CCM => {
                let mut parameter = CK_CCM_MESSAGE_PARAMS {
                    ulDataLen: self.data_len as CK_ULONG,
                    pNonce: iv,
                    ulNonceLen: iv_len,
                    ulNonceFixedBits: self.fixed_bits,
                    nonceGenerator: self.generator,
                    pMAC: tag,
                    ulMACLen: tag_len,
                };
                work(std::ptr::from_mut(&mut parameter).cast(), size_of_val(&parameter) as CK_ULONG)
            }
            CKM_CHACHA20_POLY1305 => {
                let mut parameter =
                    CK_SALSA20_CHACHA20_POLY1305_MSG_PARAMS { pNonce: iv, ulNonceLen: iv_len * self.unit, pTag: tag };
                work(std::ptr::from_mut(&mut parameter).cast(), size_of_val(&parameter) as CK_ULONG)
            }
            _ => {
                let mut parameter = CK_GCM_MESSAGE_PARAMS {
                    pIv: iv,
                    ulIvLen: iv_len,
                    ulIvFixedBits: self.fixed_bits,
                    ivGenerator: self.generator,
                    pTag: tag,
                    ulTagBits: tag_len * 8,
                };
                work(std::ptr::from_mut(&mut parameter).cast(), size_of_val(&parameter) as CK_ULONG)
            }
        }
    }
}

/// Data that a call gave, or its code.
fn cut(rv: Rv, mut out: Vec<u8>, len: CK_ULONG) -> Result<Vec<u8>, Rv> {
    if rv != Rv::OK {
        return Err(rv);
    }
    out.truncate(len as usize);
    Ok(out)
}

impl Session<'_> {
    /// `C_EncapsulateKey` with room for any ciphertext: the ciphertext and the new key.
    pub fn encapsulate(
        &self,
        mechanism: &Mechanism,
        public: CK_OBJECT_HANDLE,
        template: &Template,
    ) -> Result<(Vec<u8>, CK_OBJECT_HANDLE), Rv> {
        let (rv, len, out, key) = self.encapsulate_into(mechanism, public, template, Some(ENCAPSULATED_MAX));
        cut(rv, out, len).map(|ciphertext| (ciphertext, key))
    }

    /// `C_EncapsulateKey` with a buffer of `room` bytes, or with none: code, told length, buffer, handle.
    pub fn encapsulate_into(
        &self,
        mechanism: &Mechanism,
        public: CK_OBJECT_HANDLE,
        template: &Template,
        room: Option<usize>,
    ) -> (Rv, CK_ULONG, Vec<u8>, CK_OBJECT_HANDLE) {
        let (mut mechanism, mut template) = (mechanism.clone(), template.clone());
        let mut list = template.list();
        let mut out = vec![0xa5; room.unwrap_or(0)];
        let (mut len, count, mut key) = (out.len() as CK_ULONG, list.len() as CK_ULONG, 0);
        let place = if room.is_some() { out.as_mut_ptr() } else { null_mut() };
        let (module, raw) = (&self.context.module, &mut mechanism.raw());
        let list = list.as_mut_ptr();
        let rv = ck_3_2!(module, C_EncapsulateKey, self.handle, raw, public, list, count, place, &mut len, &mut key);
        (rv.unwrap_or(ABSENT), len, out, key)
    }

    /// `C_DecapsulateKey`.
    pub fn decapsulate(
        &self,
        mechanism: &Mechanism,
        private: CK_OBJECT_HANDLE,
        template: &Template,
        ciphertext: &[u8],
    ) -> Result<CK_OBJECT_HANDLE, Rv> {
        let (mut mechanism, mut template, mut ciphertext) = (mechanism.clone(), template.clone(), ciphertext.to_vec());
        let mut list = template.list();
        let (len, count, mut key) = (ciphertext.len() as CK_ULONG, list.len() as CK_ULONG, 0);
        let (module, raw) = (&self.context.module, &mut mechanism.raw());
        let (list, place) = (list.as_mut_ptr(), ciphertext.as_mut_ptr());
        let rv = ck_3_2!(module, C_DecapsulateKey, self.handle, raw, private, list, count, place, len, &mut key);
        match rv.unwrap_or(ABSENT) {
            Rv::OK => Ok(key),
            rv => Err(rv),
        }
    }

    /// `C_MessageEncryptInit` and its like.
    pub fn message_init(&self, way: Way, mechanism: &Mechanism, key: CK_OBJECT_HANDLE) -> Rv {
        let mut mechanism = mechanism.clone();
        let (module, raw) = (&self.context.module, &mut mechanism.raw());
        match way {
            Way::Encrypt => ck_3_0!(module, C_MessageEncryptInit, self.handle, raw, key),
            Way::Decrypt => ck_3_0!(module, C_MessageDecryptInit, self.handle, raw, key),
            Way::Sign => ck_3_0!(module, C_MessageSignInit, self.handle, raw, key),
            Way::Verify => ck_3_0!(module, C_MessageVerifyInit, self.handle, raw, key),
        }
        .unwrap_or(ABSENT)
    }

    /// The same with a NULL mechanism, which ends the process.
    pub fn message_cancel(&self, way: Way) -> Rv {
        let (module, none) = (&self.context.module, null_mut());
        match way {
            Way::Encrypt => ck_3_0!(module, C_MessageEncryptInit, self.handle, none, 0),
            Way::Decrypt => ck_3_0!(module, C_MessageDecryptInit, self.handle, none, 0),
            Way::Sign => ck_3_0!(module, C_MessageSignInit, self.handle, none, 0),
            Way::Verify => ck_3_0!(module, C_MessageVerifyInit, self.handle, none, 0),
        }
        .unwrap_or(ABSENT)
    }

    /// `C_MessageEncryptFinal` and its like.
    pub fn message_final(&self, way: Way) -> Rv {
        let module = &self.context.module;
        match way {
            Way::Encrypt => ck_3_0!(module, C_MessageEncryptFinal, self.handle),
            Way::Decrypt => ck_3_0!(module, C_MessageDecryptFinal, self.handle),
            Way::Sign => ck_3_0!(module, C_MessageSignFinal, self.handle),
            Way::Verify => ck_3_0!(module, C_MessageVerifyFinal, self.handle),
        }
        .unwrap_or(ABSENT)
    }

    /// `C_EncryptMessage` or `C_DecryptMessage` with a buffer of `room` bytes, or with none: code, told length, buffer.
    pub fn message_into(
        &self,
        way: Way,
        parameter: &mut MessageParameter,
        aad: &[u8],
        data: &[u8],
        room: Option<usize>,
    ) -> (Rv, CK_ULONG, Vec<u8>) {
        let (mut aad, mut data, mut out) = (aad.to_vec(), data.to_vec(), vec![0xa5; room.unwrap_or(0)]);
        let (aad_len, data_len, mut len) = (aad.len() as CK_ULONG, data.len() as CK_ULONG, out.len() as CK_ULONG);
        let place = if room.is_some() { out.as_mut_ptr() } else { null_mut() };
        let (module, at, from) = (&self.context.module, self.handle, data.as_mut_ptr());
        let beside = if aad.is_empty() { null_mut() } else { aad.as_mut_ptr() };
        let rv = parameter.with(|p, n| match way {
            Way::Decrypt => {
                ck_3_0!(module, C_DecryptMessage, at, p, n, beside, aad_len, from, data_len, place, &mut len)
            }
            _ => ck_3_0!(module, C_EncryptMessage, at, p, n, beside, aad_len, from, data_len, place, &mut len),
        });
        (rv.unwrap_or(ABSENT), len, out)
    }

    /// The same with ample room.
    pub fn message(&self, way: Way, parameter: &mut MessageParameter, aad: &[u8], data: &[u8]) -> Result<Vec<u8>, Rv> {
        let (rv, len, out) = self.message_into(way, parameter, aad, data, Some(data.len() + 64));
        cut(rv, out, len)
    }

    /// `C_EncryptMessageBegin` or `C_DecryptMessageBegin`.
    pub fn message_begin(&self, way: Way, parameter: &mut MessageParameter, aad: &[u8]) -> Rv {
        let (mut aad, module, at) = (aad.to_vec(), &self.context.module, self.handle);
        let len = aad.len() as CK_ULONG;
        let beside = if aad.is_empty() { null_mut() } else { aad.as_mut_ptr() };
        let rv = parameter.with(|p, n| match way {
            Way::Decrypt => ck_3_0!(module, C_DecryptMessageBegin, at, p, n, beside, len),
            _ => ck_3_0!(module, C_EncryptMessageBegin, at, p, n, beside, len),
        });
        rv.unwrap_or(ABSENT)
    }

    /// `C_EncryptMessageNext` or `C_DecryptMessageNext` with ample room.
    pub fn message_next(&self, way: Way, parameter: &mut MessageParameter, piece: &[u8], last: bool) -> Result<Vec<u8>, Rv> {
        let (mut piece, mut out) = (piece.to_vec(), vec![0xa5; piece.len() + 1024]);
        let (piece_len, mut len, flags) = (piece.len() as CK_ULONG, out.len() as CK_ULONG, ending(last));
        let (module, at, from, place) = (&self.context.module, self.handle, piece.as_mut_ptr(), out.as_mut_ptr());
        let rv = parameter.with(|p, n| match way {
            Way::Decrypt => ck_3_0!(module, C_DecryptMessageNext, at, p, n, from, piece_len, place, &mut len, flags),
            _ => ck_3_0!(module, C_EncryptMessageNext, at, p, n, from, piece_len, place, &mut len, flags),
        });
        cut(rv.unwrap_or(ABSENT), out, len)
    }

    /// `C_SignMessage`; none of the mechanisms that the suite signs messages with has a parameter for each.
    pub fn sign_message(&self, data: &[u8]) -> Result<Vec<u8>, Rv> {
        let (mut data, mut out) = (data.to_vec(), vec![0xa5; 1 << 16]);
        let (data_len, mut len) = (data.len() as CK_ULONG, out.len() as CK_ULONG);
        let (module, at, from, to) = (&self.context.module, self.handle, data.as_mut_ptr(), out.as_mut_ptr());
        let rv = ck_3_0!(module, C_SignMessage, at, null_mut(), 0, from, data_len, to, &mut len);
        cut(rv.unwrap_or(ABSENT), out, len)
    }

    /// `C_SignMessageBegin`, one `C_SignMessageNext` a piece, and one that asks for the signature.
    pub fn sign_message_pieces(&self, pieces: &[&[u8]]) -> Result<Vec<u8>, Rv> {
        let (module, at) = (&self.context.module, self.handle);
        let begun = ck_3_0!(module, C_SignMessageBegin, at, null_mut(), 0).unwrap_or(ABSENT);
        let (mut out, mut len) = (vec![0xa5; 1 << 16], 1 << 16);
        let mut rv = begun;
        for (number, piece) in pieces.iter().enumerate().take_while(|_| begun == Rv::OK) {
            let (mut piece, last) = (piece.to_vec(), number + 1 == pieces.len());
            let (from, piece_len) = (piece.as_mut_ptr(), piece.len() as CK_ULONG);
            // The last piece is the one whose signature is asked for.
            let (to, told) = if last { (out.as_mut_ptr(), std::ptr::from_mut(&mut len)) } else { (null_mut(), null_mut()) };
            rv = ck_3_0!(module, C_SignMessageNext, at, null_mut(), 0, from, piece_len, to, told).unwrap_or(ABSENT);
            if rv != Rv::OK {
                break;
            }
        }
        cut(rv, out, len)
    }

    /// `C_VerifyMessage`.
    pub fn verify_message(&self, data: &[u8], signature: &[u8]) -> Rv {
        let (mut data, mut signature) = (data.to_vec(), signature.to_vec());
        let (data_len, len) = (data.len() as CK_ULONG, signature.len() as CK_ULONG);
        let (module, at, from, to) = (&self.context.module, self.handle, data.as_mut_ptr(), signature.as_mut_ptr());
        ck_3_0!(module, C_VerifyMessage, at, null_mut(), 0, from, data_len, to, len).unwrap_or(ABSENT)
    }

    /// `C_VerifyMessageBegin` and one `C_VerifyMessageNext` a piece, the last with the signature.
    pub fn verify_message_pieces(&self, pieces: &[&[u8]], signature: &[u8]) -> Rv {
        let (module, at, mut signature) = (&self.context.module, self.handle, signature.to_vec());
        let mut rv = ck_3_0!(module, C_VerifyMessageBegin, at, null_mut(), 0).unwrap_or(ABSENT);
        for (number, piece) in pieces.iter().enumerate() {
            if rv != Rv::OK {
                break;
            }
            let (mut piece, last) = (piece.to_vec(), number + 1 == pieces.len());
            let (from, piece_len) = (piece.as_mut_ptr(), piece.len() as CK_ULONG);
            let (to, len) = if last { (signature.as_mut_ptr(), signature.len() as CK_ULONG) } else { (null_mut(), 0) };
            rv = ck_3_0!(module, C_VerifyMessageNext, at, null_mut(), 0, from, piece_len, to, len).unwrap_or(ABSENT);
        }
        rv
    }
}

fn ending(last: bool) -> CK_FLAGS {
    if last { CKF_END_OF_MESSAGE } else { 0 }
}
