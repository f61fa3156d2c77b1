//! Owning, safe faces of AWS-LC: each handle is freed once, each length is checked before the call.

pub mod aes;
pub mod bignum;
pub mod curve25519;
pub mod des;
pub mod dh;
pub mod digest;
pub mod dsa;
pub mod ec;
mod fault;
pub mod gcm;
pub mod random;
pub mod rsa;
pub mod sealing;
