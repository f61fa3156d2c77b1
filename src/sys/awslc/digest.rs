//! Message digests of AWS-LC as values: MD5, SHA-1, SHA-224 and SHA-256 live in place, SHA-3 behind a handle.

use std::alloc::{Layout, handle_alloc_error};
use std::mem::MaybeUninit;
use std::ptr::NonNull;

use aws_lc_sys as lc;
use zeroize::Zeroize;

use super::wipe;

/// A digest of the MD4 line between two blocks: what is needed to carry on elsewhere.
pub struct Midway<'a, const WORDS: usize> {
    /// The chaining words.
    pub words: [u32; WORDS],
    /// Bytes taken so far, modulo 2^61.
    pub length: u64,
    /// Input that does not fill a block yet: `length % 64` bytes.
    pub pending: &'a [u8],
}

macro_rules! contexts {
    ($($(#[$doc:meta])* $Name:ident($CTX:ident, $WORDS:literal words, $OUT:literal bytes, $init:ident, $update:ident, $finish:ident);)*) => {
        $(
        $(#[$doc])*
        #[derive(Clone)]
        pub struct $Name(lc::$CTX);

        impl $Name {
            /// Length of the digest in bytes.
            pub const OUTPUT_BYTES: usize = $OUT;
            /// Chaining words.
            pub const WORDS: usize = $WORDS;

            /// Nothing taken yet.
            pub fn new() -> Self {
                let mut context = MaybeUninit::uninit();
                // SAFETY: the function writes the whole structure that it is given, and cannot fail.
                unsafe {
                    lc::$init(context.as_mut_ptr());
                    Self(context.assume_init())
                }
            }

            /// Takes more of the message.
            pub fn update(&mut self, data: &[u8]) {
                // SAFETY: the context was initialised by `new`; `data` is valid for reads of its own length.
                unsafe { lc::$update(&mut self.0, data.as_ptr().cast(), data.len()) };
            }

            /// The digest. The state is of no use afterwards.
            pub fn finish(&mut self, out: &mut [u8; $OUT]) {
                // SAFETY: the context was initialised by `new`; `out` is as long as the digest.
                unsafe { lc::$finish(out.as_mut_ptr(), &mut self.0) };
            }

            /// Where it stands.
            pub fn midway(&self) -> Midway<'_, $WORDS> {
                let bits = u64::from(self.0.Nh) << 32 | u64::from(self.0.Nl);
                Midway { words: self.0.h, length: bits / 8, pending: &self.0.data[..self.0.num as usize] }
            }

            /// Carries on from where another stood; `None` if the pending bytes are not as many as the length says.
            pub fn resume(midway: Midway<'_, $WORDS>) -> Option<Self> {
                let mut resumed = Self::new();
                let pending = midway.pending.len();
                if midway.length >> 61 != 0 || midway.length % resumed.0.data.len() as u64 != pending as u64 {
                    return None;
                }
                resumed.0.h = midway.words;
                resumed.0.data[..pending].copy_from_slice(midway.pending);
                resumed.0.num = pending as u32;
                resumed.0.Nl = (midway.length * 8) as u32;
                resumed.0.Nh = (midway.length >> 29) as u32;
                Some(resumed)
            }
        }

        impl Default for $Name {
            fn default() -> Self {
                Self::new()
            }
        }

        impl Drop for $Name {
            /// The state of a MAC is as good as its key.
            fn drop(&mut self) {
                self.0.h.zeroize();
                wipe(&mut self.0.data);
            }
        }
        )*
    };
}

contexts! {
    /// MD5 (RFC 1321).
    Md5(MD5_CTX, 4 words, 16 bytes, MD5_Init, MD5_Update, MD5_Final);
    /// SHA-1 (FIPS 180-4).
    Sha1(SHA_CTX, 5 words, 20 bytes, SHA1_Init, SHA1_Update, SHA1_Final);
    /// SHA-224 (FIPS 180-4).
    Sha224(SHA256_CTX, 8 words, 28 bytes, SHA224_Init, SHA224_Update, SHA224_Final);
    /// SHA-256 (FIPS 180-4).
    Sha256(SHA256_CTX, 8 words, 32 bytes, SHA256_Init, SHA256_Update, SHA256_Final);
}

/// Which SHA-3 (FIPS 202).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "each is what its name says")]
pub enum Sha3Size {
    Bits224,
    Bits256,
    Bits384,
    Bits512,
}

impl Sha3Size {
    /// Length of the digest in bytes.
    pub const fn output_len(self) -> usize {
        match self {
            Self::Bits224 => 28,
            Self::Bits256 => 32,
            Self::Bits384 => 48,
            Self::Bits512 => 64,
        }
    }
}

/// SHA-3 in progress.
pub struct Sha3 {
    context: NonNull<lc::EVP_MD_CTX>,
    size: Sha3Size,
}

// SAFETY: the handle owns its context, which has no tie to the thread that made it.
unsafe impl Send for Sha3 {}
// SAFETY: through a shared reference the context is only read (`EVP_MD_CTX_copy_ex` takes it as const).
unsafe impl Sync for Sha3 {}

impl Sha3 {
    /// Nothing taken yet.
    pub fn new(size: Sha3Size) -> Self {
        let fresh = Self::empty(size);
        // SAFETY: the context is live and empty; the digest descriptions are statics of the library.
        let done = unsafe {
            let description = match size {
                Sha3Size::Bits224 => lc::EVP_sha3_224(),
                Sha3Size::Bits256 => lc::EVP_sha3_256(),
                Sha3Size::Bits384 => lc::EVP_sha3_384(),
                Sha3Size::Bits512 => lc::EVP_sha3_512(),
            };
            lc::EVP_DigestInit_ex(fresh.context.as_ptr(), description, std::ptr::null_mut())
        };
        out_of_memory_unless(done);
        fresh
    }

    fn empty(size: Sha3Size) -> Self {
        // SAFETY: no precondition.
        match NonNull::new(unsafe { lc::EVP_MD_CTX_new() }) {
            Some(context) => Self { context, size },
            None => handle_alloc_error(Layout::new::<lc::EVP_MD_CTX>()),
        }
    }

    /// Takes more of the message.
    pub fn update(&mut self, data: &[u8]) {
        // SAFETY: the context was initialised by `new` and never finished; `data` is valid for its own length.
        let done = unsafe { lc::EVP_DigestUpdate(self.context.as_ptr(), data.as_ptr().cast(), data.len()) };
        assert_eq!(done, 1, "SHA-3 takes any input until it is finished");
    }

    /// Writes the digest to the front of `out`, which is at least that long. Nothing may be asked of the state afterwards: it takes input for ever and gives zeros.
    pub fn finish(&mut self, out: &mut [u8]) {
        assert!(out.len() >= self.size.output_len(), "the caller gives room for the digest");
        // SAFETY: the context was initialised by `new` and may be finished at any time; `out` has room; the length is not asked for.
        let done = unsafe { lc::EVP_DigestFinal_ex(self.context.as_ptr(), out.as_mut_ptr(), std::ptr::null_mut()) };
        assert_eq!(done, 1, "SHA-3 can always be finished once");
    }
}

impl Clone for Sha3 {
    fn clone(&self) -> Self {
        let copy = Self::empty(self.size);
        // SAFETY: both contexts are live; the source is only read.
        out_of_memory_unless(unsafe { lc::EVP_MD_CTX_copy_ex(copy.context.as_ptr(), self.context.as_ptr()) });
        copy
    }
}

impl Drop for Sha3 {
    fn drop(&mut self) {
        // SAFETY: the handle owns the context; it is freed (and wiped by the library) here only.
        unsafe { lc::EVP_MD_CTX_free(self.context.as_ptr()) };
    }
}

/// Setting up or copying a digest fails for one reason: no memory for some 400 bytes. As for any `Box`, that ends the process.
fn out_of_memory_unless(done: i32) {
    if done != 1 {
        handle_alloc_error(Layout::new::<[u8; 400]>());
    }
}
