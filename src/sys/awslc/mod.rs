//! Owning, safe faces of AWS-LC: each handle is freed once, each length is checked before the call.

pub mod aes;
pub mod des;
pub mod digest;
pub mod gcm;
pub mod random;
pub mod sealing;
