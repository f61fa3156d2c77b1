//! Every bound of the project, unit last; relations between bounds are asserted at compile time.
//!
//! Knows: nothing.

/// Longest PIN, SoftHSM's bound.
pub const PIN_LEN_MAX_BYTES: usize = 255;
/// Shortest PIN, SoftHSM's bound.
pub const PIN_LEN_MIN_BYTES: usize = 4;
/// A token label is padded with blanks to exactly this length (PKCS#11 5.5.7, `C_InitToken`).
pub const TOKEN_LABEL_BYTES: usize = 32;
/// Wrong PINs in a row before a user is locked, by default.
pub const PIN_ATTEMPTS_MAX_DEFAULT: u32 = 10;

/// Most attributes in one template.
pub const TEMPLATE_ATTRIBUTES_MAX: usize = 256;
/// Longest attribute value (certificates, data objects).
pub const ATTRIBUTE_VALUE_MAX_BYTES: usize = 16 << 20;
/// Longest object, all attributes together.
pub const OBJECT_MAX_BYTES: usize = 32 << 20;
/// Deepest nesting of templates within templates; PKCS#11 allows one level.
pub const TEMPLATE_DEPTH_MAX: usize = 2;

/// Longest variable part of a mechanism parameter (AAD, label, other info).
pub const MECHANISM_PARAMETER_MAX_BYTES: usize = 16 << 20;
/// Longest single input buffer of an operation. A longer one is a caller's wrong length.
pub const INPUT_MAX_BYTES: usize = 1 << 40;
/// Most input that a `whole` operation (pure EdDSA, raw RSA, AEAD decryption) collects.
pub const COLLECTED_INPUT_MAX_BYTES: usize = 1 << 30;
/// Longest secret key value, SoftHSM's bound (0x8000000).
pub const SECRET_VALUE_MAX_BYTES: usize = 0x800_0000;
/// Most random bytes in one call.
pub const RANDOM_MAX_BYTES: usize = 1 << 30;
/// Largest RSA modulus.
pub const RSA_MODULUS_MAX_BITS: u64 = 16384;
/// Smallest RSA modulus.
pub const RSA_MODULUS_MIN_BITS: u64 = 512;

/// Most sessions of one application.
pub const SESSIONS_MAX: usize = 1 << 20;
/// Most tokens in one store.
pub const TOKENS_MAX: usize = 4096;

const _: () = assert!(PIN_LEN_MIN_BYTES < PIN_LEN_MAX_BYTES);
const _: () = assert!(ATTRIBUTE_VALUE_MAX_BYTES < OBJECT_MAX_BYTES);
