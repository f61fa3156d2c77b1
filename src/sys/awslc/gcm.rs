//! AES-GCM (NIST SP 800-38D) and AES-CCM (NIST SP 800-38C) of AWS-LC: whole messages under a shared key, and streams.

use std::mem::MaybeUninit;
use std::ptr::{NonNull, null, null_mut};

use aws_lc_sys as lc;
use zeroize::Zeroize;

/// Bytes of a full tag.
pub const TAG_BYTES: usize = 16;
/// Bytes that one call of the library takes: its lengths are C ints.
const CALL_BYTES_MAX: usize = 1 << 30;

/// An AES key prepared for GCM, shared by all threads that use it.
pub struct GcmKey {
    aead: Box<lc::EVP_AEAD_CTX>,
    /// Keyed, without a nonce: streams start as copies of it.
    template: Context,
}

// SAFETY: sealing and opening take the context as const, which the library documents as safe for concurrent use; copying the template only reads it.
unsafe impl Send for GcmKey {}
// SAFETY: as above.
unsafe impl Sync for GcmKey {}

impl GcmKey {
    /// `None` unless the key has 16, 24 or 32 bytes (or memory has run out).
    pub fn new(key: &[u8]) -> Option<Self> {
        // SAFETY: these functions return descriptions that are statics of the library.
        let (aead, cipher) = unsafe {
            match key.len() {
                16 => (lc::EVP_aead_aes_128_gcm(), lc::EVP_aes_128_gcm()),
                24 => (lc::EVP_aead_aes_192_gcm(), lc::EVP_aes_192_gcm()),
                32 => (lc::EVP_aead_aes_256_gcm(), lc::EVP_aes_256_gcm()),
                _ => return None,
            }
        };
        let template = Context::new()?;
        let mut context = Box::new(MaybeUninit::<lc::EVP_AEAD_CTX>::uninit());
        // SAFETY: `context` is memory of the right size and alignment; `key` has the length that the description wants.
        let done = unsafe { lc::EVP_AEAD_CTX_init(context.as_mut_ptr(), aead, key.as_ptr(), key.len(), TAG_BYTES, null_mut()) };
        if done != 1 {
            return None;
        }
        // SAFETY: init filled it.
        let aead = unsafe { context.assume_init() };
        let ready = Self { aead, template };
        // SAFETY: the template is live; the key has the cipher's length; no nonce yet.
        let done = unsafe { lc::EVP_CipherInit_ex(ready.template.0.as_ptr(), cipher, null_mut(), key.as_ptr(), null(), 1) };
        (done == 1).then_some(ready)
    }

    /// Encrypts a whole message into `out`, of the same length. False if the message is longer than GCM allows.
    pub fn seal(&self, nonce: &[u8], aad: &[u8], input: &[u8], out: &mut [u8], tag: &mut [u8; TAG_BYTES]) -> bool {
        assert!(!nonce.is_empty() && input.len() == out.len(), "the caller gives a nonce and room for the message");
        let mut tag_len = 0;
        // SAFETY: every pointer goes with the length of its own slice; `out` is as long as `input`; no extra input.
        let done = unsafe {
            lc::EVP_AEAD_CTX_seal_scatter(
                &*self.aead,
                out.as_mut_ptr(),
                tag.as_mut_ptr(),
                &mut tag_len,
                tag.len(),
                nonce.as_ptr(),
                nonce.len(),
                input.as_ptr(),
                input.len(),
                null(),
                0,
                aad.as_ptr(),
                aad.len(),
            )
        };
        done == 1
    }

    /// Decrypts a whole message into `out`, of the same length, if the tag of 1 to 16 bytes fits; else `out` is wiped and the answer false.
    pub fn open(&self, nonce: &[u8], aad: &[u8], input: &[u8], tag: &[u8], out: &mut [u8]) -> bool {
        assert!(!nonce.is_empty() && input.len() == out.len(), "the caller gives a nonce and room for the message");
        assert!((1..=TAG_BYTES).contains(&tag.len()), "the caller has checked the tag's length");
        let good = if tag.len() == TAG_BYTES {
            // SAFETY: every pointer goes with the length of its own slice; `out` is as long as `input`.
            let done = unsafe {
                lc::EVP_AEAD_CTX_open_gather(
                    &*self.aead,
                    out.as_mut_ptr(),
                    nonce.as_ptr(),
                    nonce.len(),
                    input.as_ptr(),
                    input.len(),
                    tag.as_ptr(),
                    tag.len(),
                    aad.as_ptr(),
                    aad.len(),
                )
            };
            done == 1
        } else {
            self.open_short(nonce, aad, input, tag, out)
        };
        if !good {
            out.zeroize();
        }
        good
    }

    /// The prepared AEAD context insists on a full tag.
    fn open_short(&self, nonce: &[u8], aad: &[u8], input: &[u8], tag: &[u8], out: &mut [u8]) -> bool {
        let Some(mut stream) = self.start(nonce, aad, false) else { return false };
        // SAFETY: the context is live; the function copies `tag.len()` bytes, at most 16, out of the tag and does not write to it.
        let set = unsafe {
            lc::EVP_CIPHER_CTX_ctrl(
                stream.0.0.as_ptr(),
                lc::EVP_CTRL_AEAD_SET_TAG,
                tag.len() as i32,
                tag.as_ptr().cast_mut().cast(),
            )
        };
        set == 1 && stream.update(input, out) && stream.0.finish()
    }

    /// An encryption in parts. `None` if memory has run out.
    pub fn stream(&self, nonce: &[u8], aad: &[u8]) -> Option<GcmStream> {
        self.start(nonce, aad, true)
    }

    fn start(&self, nonce: &[u8], aad: &[u8], encrypt: bool) -> Option<GcmStream> {
        let nonce_len = i32::try_from(nonce.len()).ok().filter(|len| *len > 0)?;
        let mut stream = GcmStream(Context::new()?);
        let context = stream.0.0.as_ptr();
        // SAFETY: both contexts are live, the source is only read; the nonce has the length that was announced before it is read.
        let done = unsafe {
            lc::EVP_CIPHER_CTX_copy(context, self.template.0.as_ptr()) == 1
                && lc::EVP_CIPHER_CTX_ctrl(context, lc::EVP_CTRL_AEAD_SET_IVLEN, nonce_len, null_mut()) == 1
                && lc::EVP_CipherInit_ex(context, null(), null_mut(), null(), nonce.as_ptr(), encrypt.into()) == 1
        };
        (done && stream.authenticate(aad)).then_some(stream)
    }
}

impl Drop for GcmKey {
    fn drop(&mut self) {
        // SAFETY: the context was initialised by `new` and is cleaned up once.
        unsafe { lc::EVP_AEAD_CTX_cleanup(&mut *self.aead) };
        // Cleaning up leaves the schedule in the structure itself.
        // SAFETY: `opaque` covers the union, and any bytes are valid for it.
        unsafe { self.aead.state.opaque.zeroize() };
    }
}

/// A GCM message in parts.
pub struct GcmStream(Context);

impl GcmStream {
    /// Takes associated data; none may follow the message. False past GCM's limit.
    pub fn authenticate(&mut self, aad: &[u8]) -> bool {
        aad.chunks(CALL_BYTES_MAX).all(|part| {
            let mut len = 0;
            // SAFETY: the context is live; no output pointer means associated data; `part` is valid for its own length.
            let done = unsafe { lc::EVP_CipherUpdate(self.0.0.as_ptr(), null_mut(), &mut len, part.as_ptr(), part.len() as i32) };
            done == 1
        })
    }

    /// Takes message, writes as many bytes to `out`, which is as long. False past GCM's limit.
    pub fn update(&mut self, input: &[u8], out: &mut [u8]) -> bool {
        assert_eq!(input.len(), out.len(), "the caller gives room for as many bytes as come in");
        self.0.update(input, out)
    }

    /// The tag of an encryption. False if the library refuses.
    pub fn finish(self, tag: &mut [u8; TAG_BYTES]) -> bool {
        // SAFETY: the context is live and finished, so the tag is there; the function writes as many bytes as asked for.
        self.0.finish()
            && unsafe {
                lc::EVP_CIPHER_CTX_ctrl(self.0.0.as_ptr(), lc::EVP_CTRL_AEAD_GET_TAG, TAG_BYTES as i32, tag.as_mut_ptr().cast())
                    == 1
            }
    }
}

/// One AES-CCM message: encrypts `input` into `out` of the same length and fills `tag` (4, 6, …, 16 bytes).
/// False if the key has no AES length, the nonce not 7 to 13 bytes, or the message is too long for its nonce.
pub fn ccm_seal(key: &[u8], nonce: &[u8], aad: &[u8], input: &[u8], out: &mut [u8], tag: &mut [u8]) -> bool {
    let Some(mut context) = ccm_start(key, nonce, aad, input.len(), tag.len(), None) else { return false };
    // SAFETY: the context is live and the message complete; the function writes as many bytes as asked for.
    context.whole(input, out)
        && unsafe {
            let (context, len) = (context.0.as_ptr(), tag.len() as i32);
            lc::EVP_CIPHER_CTX_ctrl(context, lc::EVP_CTRL_AEAD_GET_TAG, len, tag.as_mut_ptr().cast()) == 1
        }
}

/// Undoes [`ccm_seal`]; false, and `out` wiped, if the tag does not fit.
pub fn ccm_open(key: &[u8], nonce: &[u8], aad: &[u8], input: &[u8], tag: &[u8], out: &mut [u8]) -> bool {
    let good = ccm_start(key, nonce, aad, input.len(), tag.len(), Some(tag)).is_some_and(|mut context| context.whole(input, out));
    if !good {
        out.zeroize();
    }
    good
}

/// The library wants tag length, nonce length, key and nonce, message length, associated data, in this order.
fn ccm_start(key: &[u8], nonce: &[u8], aad: &[u8], len: usize, tag_len: usize, tag: Option<&[u8]>) -> Option<Context> {
    // SAFETY: these functions return descriptions that are statics of the library.
    let cipher = unsafe {
        match key.len() {
            16 => lc::EVP_aes_128_ccm(),
            24 => lc::EVP_aes_192_ccm(),
            32 => lc::EVP_aes_256_ccm(),
            _ => return None,
        }
    };
    let (len, aad_len) = (i32::try_from(len).ok()?, i32::try_from(aad.len()).ok()?);
    let (nonce_len, tag_len) = (i32::try_from(nonce.len()).ok()?, i32::try_from(tag_len).ok()?);
    let tag_bytes = tag.map_or(null_mut(), |tag| tag.as_ptr().cast_mut().cast());
    let encrypt = i32::from(tag.is_none());
    let context = Context::new()?;
    let raw = context.0.as_ptr();
    let mut written = 0;
    // SAFETY: the context is live; key, nonce and associated data have the lengths that are announced with them; the tag is only read.
    let done = unsafe {
        lc::EVP_CipherInit_ex(raw, cipher, null_mut(), null(), null(), encrypt) == 1
            && lc::EVP_CIPHER_CTX_ctrl(raw, lc::EVP_CTRL_AEAD_SET_TAG, tag_len, tag_bytes) == 1
            && lc::EVP_CIPHER_CTX_ctrl(raw, lc::EVP_CTRL_AEAD_SET_IVLEN, nonce_len, null_mut()) == 1
            && lc::EVP_CipherInit_ex(raw, null(), null_mut(), key.as_ptr(), nonce.as_ptr(), encrypt) == 1
            && lc::EVP_CipherUpdate(raw, null_mut(), &mut written, null(), len) == 1
            && (aad.is_empty() || lc::EVP_CipherUpdate(raw, null_mut(), &mut written, aad.as_ptr(), aad_len) == 1)
    };
    done.then_some(context)
}

/// An `EVP_CIPHER_CTX` that is freed, and with it wiped, once.
struct Context(NonNull<lc::EVP_CIPHER_CTX>);

// SAFETY: the handle owns its context, which has no tie to the thread that made it.
unsafe impl Send for Context {}

impl Context {
    fn new() -> Option<Self> {
        // SAFETY: no precondition.
        NonNull::new(unsafe { lc::EVP_CIPHER_CTX_new() }).map(Self)
    }

    /// Takes message of any length in calls that the library can express.
    fn update(&mut self, input: &[u8], out: &mut [u8]) -> bool {
        input.chunks(CALL_BYTES_MAX).zip(out.chunks_mut(CALL_BYTES_MAX)).all(|(input, out)| self.once(input, out))
    }

    /// Takes a whole message in one call, even an empty one.
    fn whole(&mut self, input: &[u8], out: &mut [u8]) -> bool {
        input.len() <= i32::MAX as usize && self.once(input, out)
    }

    fn once(&mut self, input: &[u8], out: &mut [u8]) -> bool {
        assert_eq!(input.len(), out.len(), "the caller gives room for as many bytes as come in");
        let (mut len, expected) = (0, input.len() as i32);
        // SAFETY: the context is live; both slices are as long as is said; the modes used here write as much as they read.
        let done = unsafe { lc::EVP_CipherUpdate(self.0.as_ptr(), out.as_mut_ptr(), &mut len, input.as_ptr(), expected) };
        done == 1 && len == expected
    }

    fn finish(&self) -> bool {
        let (mut nothing, mut len) = ([0; TAG_BYTES], 0);
        // SAFETY: the context is live; GCM writes nothing when it is finished, a block would fit.
        unsafe { lc::EVP_CipherFinal_ex(self.0.as_ptr(), nothing.as_mut_ptr(), &mut len) == 1 }
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        // SAFETY: the handle owns the context; it is freed here only.
        unsafe { lc::EVP_CIPHER_CTX_free(self.0.as_ptr()) };
    }
}
