//! Owning, safe faces of AWS-LC: each handle is freed once, each length is checked before the call.

pub mod digest;
pub mod random;
pub mod sealing;
