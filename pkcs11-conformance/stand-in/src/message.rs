//! Messages, made of the single-part functions of the module beneath; data in parts are gathered.

use std::ptr::null_mut;

use cryptoki_sys::*;

use crate::beneath::{ask, bytes, give, random, session, transform};
use crate::fault::on;
use crate::state::{Process, state};
use crate::{Done, code};

/// The parameter of a message, of either cipher.
struct Parameter {
    iv: *mut u8,
    iv_len: usize,
    fixed_bits: usize,
    generator: CK_GENERATOR_FUNCTION,
    tag: *mut u8,
    tag_len: usize,
    data_len: Option<CK_ULONG>,
}

fn parameter(kind: CK_MECHANISM_TYPE, place: CK_VOID_PTR, len: CK_ULONG) -> Done<Parameter> {
    let fits = |size: usize| if place.is_null() || len as usize != size { Err(CKR_MECHANISM_PARAM_INVALID) } else { Ok(()) };
    let read = if kind == CKM_AES_CCM {
        fits(size_of::<CK_CCM_MESSAGE_PARAMS>())?;
        // SAFETY: the caller promises the structure of its length.
        let known = unsafe { *place.cast::<CK_CCM_MESSAGE_PARAMS>() };
        Parameter {
            iv: known.pNonce,
            iv_len: known.ulNonceLen as usize,
            fixed_bits: known.ulNonceFixedBits as usize,
            generator: known.nonceGenerator,
            tag: known.pMAC,
            tag_len: known.ulMACLen as usize,
            data_len: Some(known.ulDataLen),
        }
    } else {
        fits(size_of::<CK_GCM_MESSAGE_PARAMS>())?;
        // SAFETY: the caller promises the structure of its length.
        let known = unsafe { *place.cast::<CK_GCM_MESSAGE_PARAMS>() };
        Parameter {
            iv: known.pIv,
            iv_len: known.ulIvLen as usize,
            fixed_bits: known.ulIvFixedBits as usize,
            generator: known.ivGenerator,
            tag: known.pTag,
            tag_len: known.ulTagBits as usize / 8,
            data_len: None,
        }
    };
    let sound = !read.iv.is_null() && !read.tag.is_null() && (on("message-any-tag") || (1..=16).contains(&read.tag_len));
    if sound { Ok(read) } else { Err(CKR_MECHANISM_PARAM_INVALID) }
}

impl Parameter {
    fn iv(&self) -> Done<Vec<u8>> {
        bytes(self.iv, self.iv_len as CK_ULONG)
    }

    fn tag(&self) -> Done<Vec<u8>> {
        bytes(self.tag, self.tag_len as CK_ULONG)
    }

    /// Makes the vector where the caller does not give it.
    fn generate(&self, at: CK_SESSION_HANDLE, process: &mut Process) -> Done<()> {
        let sound = self.generator <= CKG_GENERATE_COUNTER_XOR && self.fixed_bits <= self.iv_len * 8;
        if !sound && !on("message-any-generator") {
            return Err(CKR_MECHANISM_PARAM_INVALID);
        }
        if self.generator == CKG_NO_GENERATE {
            return Ok(());
        }
        let (given, kept) = (self.iv()?, if on("message-moves-fixed") { 0 } else { (self.fixed_bits / 8).min(self.iv_len) });
        let counts = [CKG_GENERATE_COUNTER, CKG_GENERATE_COUNTER_XOR].contains(&self.generator);
        let number = process.made + u64::from(on("message-counts-from-one"));
        process.made += u64::from(!on("message-vector-stays"));
        let mut made = if counts { vec![0; self.iv_len] } else { random(at, self.iv_len)? };
        if on("message-vector-stays") {
            made.fill(1);
        } else if counts {
            made[self.iv_len - 8..].copy_from_slice(&number.to_be_bytes());
        }
        if self.generator == CKG_GENERATE_COUNTER_XOR {
            made.iter_mut().zip(&given).for_each(|(byte, given)| *byte ^= given);
        }
        made[..kept].copy_from_slice(&given[..kept]);
        // SAFETY: the caller promises a vector of this length, to be written to.
        unsafe { self.iv.copy_from_nonoverlapping(made.as_ptr(), made.len()) };
        Ok(())
    }
}

/// Encrypts or decrypts by the cipher's single-part function, the tag after the ciphertext.
fn cipher(at: CK_SESSION_HANDLE, process: &Process, known: &Parameter, aad: &[u8], data: &[u8], deed: char) -> Done<Vec<u8>> {
    let (iv, mut aad) = (known.iv()?, aad.to_vec());
    let (mut iv, beside) = (iv, if aad.is_empty() { null_mut() } else { aad.as_mut_ptr() });
    let plain_len = data.len() - if deed == 'd' { known.tag_len } else { 0 };
    let mut gcm = CK_GCM_PARAMS {
        pIv: iv.as_mut_ptr(),
        ulIvLen: iv.len() as CK_ULONG,
        ulIvBits: iv.len() as CK_ULONG * 8,
        pAAD: beside,
        ulAADLen: aad.len() as CK_ULONG,
        ulTagBits: known.tag_len.clamp(1, 16) as CK_ULONG * 8,
    };
    let mut ccm = CK_CCM_PARAMS {
        ulDataLen: plain_len as CK_ULONG,
        pNonce: iv.as_mut_ptr(),
        ulNonceLen: iv.len() as CK_ULONG,
        pAAD: beside,
        ulAADLen: aad.len() as CK_ULONG,
        ulMACLen: known.tag_len as CK_ULONG,
    };
    let (place, len): (CK_VOID_PTR, usize) = if process.mechanism == CKM_AES_CCM {
        (std::ptr::from_mut(&mut ccm).cast(), size_of_val(&ccm))
    } else {
        (std::ptr::from_mut(&mut gcm).cast(), size_of_val(&gcm))
    };
    let mut mechanism = CK_MECHANISM { mechanism: process.mechanism, pParameter: place, ulParameterLen: len as CK_ULONG };
    transform(at, &mut mechanism, process.key, data, deed)
}

/// A whole message; whether it was written (and not only asked for its length).
fn message(
    at: CK_SESSION_HANDLE,
    process: &mut Process,
    known: &Parameter,
    aad: &[u8],
    data: &[u8],
    (out, len): (CK_BYTE_PTR, CK_ULONG_PTR),
    deed: char,
) -> Done<bool> {
    // The lengths of both are the same, so that room can be judged before anything is done.
    if out.is_null() {
        return give(data, out, len);
    }
    // SAFETY: the caller promises a place or NULL.
    let room = *unsafe { len.as_mut() }.ok_or(CKR_ARGUMENTS_BAD)? as usize;
    if room < data.len() {
        if on("message-small-buffer-ends") {
            state().at(at).messages.remove(&deed);
        }
        give(data, out, len)?;
    }
    if known.data_len.is_some_and(|told| told as usize != data.len()) {
        return Err(CKR_MECHANISM_PARAM_INVALID);
    }
    if deed == 'e' {
        known.generate(at, process)?;
        let sealed = cipher(at, process, known, aad, data, 'e')?;
        let (body, tag) = sealed.split_at(data.len());
        let mut body = body.to_vec();
        if let Some(byte) = body.first_mut().filter(|_| on("message-loses-bytes")) {
            *byte = 0;
        }
        let tag = &tag[..known.tag_len.min(tag.len())];
        // SAFETY: the caller promises a tag of this length, to be written to.
        unsafe { known.tag.copy_from_nonoverlapping(tag.as_ptr(), tag.len()) };
        return give(&body, out, len);
    }
    let opened = if on("message-tag-unchecked") {
        // GCM and CCM are counter modes: encrypting once more takes the encryption off.
        cipher(at, process, known, aad, data, 'e').map(|plain| plain[..data.len()].to_vec())
    } else {
        cipher(at, process, known, aad, &[data, &known.tag()?].concat(), 'd')
    };
    match opened {
        Ok(plain) => give(&plain, out, len),
        Err(CKR_ENCRYPTED_DATA_INVALID | CKR_ENCRYPTED_DATA_LEN_RANGE | CKR_AEAD_DECRYPT_FAILED) => {
            if on("message-plaintext-stays") {
                let plain = cipher(at, process, known, aad, data, 'e')?;
                let _ = give(&plain[..data.len()], out, len);
            }
            if on("message-error-ends") {
                state().at(at).messages.remove(&'d');
            }
            Err(CKR_AEAD_DECRYPT_FAILED)
        }
        Err(rv) => Err(rv),
    }
}

/// Begins messages, once the module beneath has taken the key for the same use.
fn init(at: CK_SESSION_HANDLE, mechanism: CK_MECHANISM_PTR, key: CK_OBJECT_HANDLE, deed: char) -> Done<()> {
    session(at)?;
    // SAFETY: the caller promises a mechanism or NULL.
    let Some(asked) = (unsafe { mechanism.as_ref() }) else {
        if on("message-cancel-does-nothing") {
            return Ok(());
        }
        return state().at(at).messages.remove(&deed).map(|_| ()).ok_or(CKR_OPERATION_NOT_INITIALIZED);
    };
    let kind = asked.mechanism;
    let known: &[CK_MECHANISM_TYPE] =
        if "ed".contains(deed) { &[CKM_AES_GCM, CKM_AES_CCM] } else { &[CKM_SHA256_RSA_PKCS, CKM_SHA256_HMAC] };
    if !known.contains(&kind) {
        return Err(CKR_MECHANISM_INVALID);
    }
    if state().at(at).messages.contains_key(&deed) && !on("message-second-init") {
        return Err(CKR_OPERATION_ACTIVE);
    }
    let (mut iv, mut trial) = ([1; 12], CK_MECHANISM { mechanism: kind, pParameter: null_mut(), ulParameterLen: 0 });
    let mut gcm =
        CK_GCM_PARAMS { pIv: iv.as_mut_ptr(), ulIvLen: 12, ulIvBits: 96, pAAD: null_mut(), ulAADLen: 0, ulTagBits: 128 };
    if "ed".contains(deed) {
        (trial.mechanism, trial.pParameter) = (CKM_AES_GCM, std::ptr::from_mut(&mut gcm).cast());
        trial.ulParameterLen = size_of_val(&gcm) as CK_ULONG;
    }
    match deed {
        'e' => ask!(C_EncryptInit, at, &mut trial, key).and_then(|()| ask!(C_EncryptInit, at, null_mut(), 0)),
        'd' => ask!(C_DecryptInit, at, &mut trial, key).and_then(|()| ask!(C_DecryptInit, at, null_mut(), 0)),
        's' => ask!(C_SignInit, at, &mut trial, key).and_then(|()| ask!(C_SignInit, at, null_mut(), 0)),
        _ => ask!(C_VerifyInit, at, &mut trial, key).and_then(|()| ask!(C_VerifyInit, at, null_mut(), 0)),
    }
    .or_else(|rv| if rv == CKR_KEY_FUNCTION_NOT_PERMITTED && on("message-any-use") { Ok(()) } else { Err(rv) })?;
    let process = Process { mechanism: kind, key, made: 0, open: None, first: Vec::new() };
    state().at(at).messages.insert(deed, process);
    Ok(())
}

/// The running process, taken for a call that needs it; a message in parts forbids all but its own calls.
fn running(at: CK_SESSION_HANDLE, deed: char, in_parts: bool) -> Done<Process> {
    session(at)?;
    let mut state = state();
    let process = state.at(at).messages.get(&deed).cloned().ok_or(CKR_OPERATION_NOT_INITIALIZED)?;
    match (process.open.is_some(), in_parts) {
        (true, false) if !on("message-whole-amid-parts") => Err(CKR_OPERATION_ACTIVE),
        (false, true) if !on("message-next-without-begin") => Err(CKR_OPERATION_NOT_INITIALIZED),
        _ => Ok(process),
    }
}

/// Puts it back, if the call did not end it.
fn put_back(at: CK_SESSION_HANDLE, deed: char, process: Process) {
    if let Some(place) = state().at(at).messages.get_mut(&deed) {
        *place = process;
    }
}

fn whole(
    at: CK_SESSION_HANDLE,
    p: (CK_VOID_PTR, CK_ULONG),
    aad: (CK_BYTE_PTR, CK_ULONG),
    data: (CK_BYTE_PTR, CK_ULONG),
    out: (CK_BYTE_PTR, CK_ULONG_PTR),
    deed: char,
) -> Done<()> {
    let mut process = running(at, deed, false)?;
    let known = parameter(process.mechanism, p.0, p.1)?;
    let (aad, data) = (bytes(aad.0, aad.1)?, bytes(data.0, data.1)?);
    let done = message(at, &mut process, &known, &aad, &data, out, deed).map(|_| ());
    put_back(at, deed, process);
    done
}

fn begin(at: CK_SESSION_HANDLE, p: (CK_VOID_PTR, CK_ULONG), aad: (CK_BYTE_PTR, CK_ULONG), deed: char) -> Done<()> {
    let mut process = running(at, deed, false)?;
    parameter(process.mechanism, p.0, p.1)?;
    process.open = Some((bytes(aad.0, aad.1)?, Vec::new()));
    put_back(at, deed, process);
    Ok(())
}

fn next(
    at: CK_SESSION_HANDLE,
    p: (CK_VOID_PTR, CK_ULONG),
    piece: (CK_BYTE_PTR, CK_ULONG),
    out: (CK_BYTE_PTR, CK_ULONG_PTR),
    flags: CK_FLAGS,
    deed: char,
) -> Done<()> {
    let mut process = running(at, deed, true)?;
    let known = parameter(process.mechanism, p.0, p.1)?;
    let (aad, mut data) = process.open.take().unwrap_or_default();
    data.extend(bytes(piece.0, piece.1)?);
    let aad = if on("message-parts-forget-aad") { Vec::new() } else { aad };
    if flags & CKF_END_OF_MESSAGE == 0 {
        process.open = Some((aad, data));
        put_back(at, deed, process);
        return give(&[], out.0, out.1).map(|_| ());
    }
    let done = message(at, &mut process, &known, &aad, &data, out, deed).map(|_| ());
    put_back(at, deed, process);
    done
}

fn end(at: CK_SESSION_HANDLE, deed: char) -> Done<()> {
    running(at, deed, false)?;
    state().at(at).messages.remove(&deed);
    Ok(())
}

/// A signature of a whole message.
fn sign(at: CK_SESSION_HANDLE, process: &mut Process, data: &[u8], out: (CK_BYTE_PTR, CK_ULONG_PTR)) -> Done<()> {
    let mut mechanism = CK_MECHANISM { mechanism: process.mechanism, pParameter: null_mut(), ulParameterLen: 0 };
    let mut signature = transform(at, &mut mechanism, process.key, data, 's')?;
    if on("message-signature-stays") && !process.first.is_empty() {
        signature.clone_from(&process.first);
    }
    process.first.clone_from(&signature);
    give(&signature, out.0, out.1).map(|_| ())
}

fn verify(at: CK_SESSION_HANDLE, process: &Process, data: &[u8], signature: &[u8]) -> Done<()> {
    let mut mechanism = CK_MECHANISM { mechanism: process.mechanism, pParameter: null_mut(), ulParameterLen: 0 };
    let (mut data, mut signature) = (data.to_vec(), signature.to_vec());
    ask!(C_VerifyInit, at, &mut mechanism, process.key)?;
    let (from, len, to, n) = (data.as_mut_ptr(), data.len() as CK_ULONG, signature.as_mut_ptr(), signature.len() as CK_ULONG);
    ask!(C_Verify, at, from, len, to, n).or_else(|rv| if on("message-any-signature") { Ok(()) } else { Err(rv) })
}

/// Defines exported functions whose bodies answer with a result.
macro_rules! functions {
    ($($name:ident($at:ident $(, $argument:ident: $Type:ty)* $(,)?) $body:block)*) => {
        $(pub unsafe extern "C" fn $name($at: CK_SESSION_HANDLE $(, $argument: $Type)*) -> CK_RV {
            code((|| $body)())
        })*
    };
}
pub(crate) use functions;

functions! {
    C_MessageEncryptInit(at, m: CK_MECHANISM_PTR, key: CK_OBJECT_HANDLE) { init(at, m, key, 'e') }
    C_MessageDecryptInit(at, m: CK_MECHANISM_PTR, key: CK_OBJECT_HANDLE) { init(at, m, key, 'd') }
    C_MessageSignInit(at, m: CK_MECHANISM_PTR, key: CK_OBJECT_HANDLE) { init(at, m, key, 's') }
    C_MessageVerifyInit(at, m: CK_MECHANISM_PTR, key: CK_OBJECT_HANDLE) { init(at, m, key, 'v') }
    C_MessageEncryptFinal(at) { end(at, 'e') }
    C_MessageDecryptFinal(at) { end(at, 'd') }
    C_MessageSignFinal(at) { end(at, 's') }
    C_MessageVerifyFinal(at) { end(at, 'v') }
    C_EncryptMessage(at, p: CK_VOID_PTR, n: CK_ULONG, aad: CK_BYTE_PTR, a: CK_ULONG, data: CK_BYTE_PTR, d: CK_ULONG, out: CK_BYTE_PTR, o: CK_ULONG_PTR) {
        whole(at, (p, n), (aad, a), (data, d), (out, o), 'e')
    }
    C_DecryptMessage(at, p: CK_VOID_PTR, n: CK_ULONG, aad: CK_BYTE_PTR, a: CK_ULONG, data: CK_BYTE_PTR, d: CK_ULONG, out: CK_BYTE_PTR, o: CK_ULONG_PTR) {
        whole(at, (p, n), (aad, a), (data, d), (out, o), 'd')
    }
    C_EncryptMessageBegin(at, p: CK_VOID_PTR, n: CK_ULONG, aad: CK_BYTE_PTR, a: CK_ULONG) { begin(at, (p, n), (aad, a), 'e') }
    C_DecryptMessageBegin(at, p: CK_VOID_PTR, n: CK_ULONG, aad: CK_BYTE_PTR, a: CK_ULONG) { begin(at, (p, n), (aad, a), 'd') }
    C_EncryptMessageNext(at, p: CK_VOID_PTR, n: CK_ULONG, data: CK_BYTE_PTR, d: CK_ULONG, out: CK_BYTE_PTR, o: CK_ULONG_PTR, flags: CK_FLAGS) {
        next(at, (p, n), (data, d), (out, o), flags, 'e')
    }
    C_DecryptMessageNext(at, p: CK_VOID_PTR, n: CK_ULONG, data: CK_BYTE_PTR, d: CK_ULONG, out: CK_BYTE_PTR, o: CK_ULONG_PTR, flags: CK_FLAGS) {
        next(at, (p, n), (data, d), (out, o), flags, 'd')
    }
    C_SignMessage(at, _p: CK_VOID_PTR, _n: CK_ULONG, data: CK_BYTE_PTR, d: CK_ULONG, out: CK_BYTE_PTR, o: CK_ULONG_PTR) {
        let mut process = running(at, 's', false)?;
        let done = sign(at, &mut process, &bytes(data, d)?, (out, o));
        put_back(at, 's', process);
        done
    }
    C_SignMessageBegin(at, _p: CK_VOID_PTR, _n: CK_ULONG) {
        let mut process = running(at, 's', false)?;
        process.open = Some(Default::default());
        put_back(at, 's', process);
        Ok(())
    }
    C_SignMessageNext(at, _p: CK_VOID_PTR, _n: CK_ULONG, data: CK_BYTE_PTR, d: CK_ULONG, out: CK_BYTE_PTR, o: CK_ULONG_PTR) {
        let mut process = running(at, 's', true)?;
        let (_, mut all) = process.open.take().unwrap_or_default();
        if on("message-sign-forgets-parts") {
            all.clear();
        }
        all.extend(bytes(data, d)?);
        let done = if o.is_null() {
            process.open = Some((Vec::new(), all));
            Ok(())
        } else {
            sign(at, &mut process, &all, (out, o))
        };
        put_back(at, 's', process);
        done
    }
    C_VerifyMessage(at, _p: CK_VOID_PTR, _n: CK_ULONG, data: CK_BYTE_PTR, d: CK_ULONG, signature: CK_BYTE_PTR, s: CK_ULONG) {
        verify(at, &running(at, 'v', false)?, &bytes(data, d)?, &bytes(signature, s)?)
    }
    C_VerifyMessageBegin(at, _p: CK_VOID_PTR, _n: CK_ULONG) {
        let mut process = running(at, 'v', false)?;
        process.open = Some(Default::default());
        put_back(at, 'v', process);
        Ok(())
    }
    C_VerifyMessageNext(at, _p: CK_VOID_PTR, _n: CK_ULONG, data: CK_BYTE_PTR, d: CK_ULONG, signature: CK_BYTE_PTR, s: CK_ULONG) {
        let mut process = running(at, 'v', true)?;
        let (_, mut all) = process.open.take().unwrap_or_default();
        all.extend(bytes(data, d)?);
        let done = if signature.is_null() {
            process.open = Some((Vec::new(), all));
            Ok(())
        } else {
            verify(at, &process, &all, &bytes(signature, s)?)
        };
        put_back(at, 'v', process);
        done
    }
}
