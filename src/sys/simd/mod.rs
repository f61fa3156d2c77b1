//! Vector kernels, chosen at run time; each has a plain twin that it is tested against.

pub mod aes;
pub mod sha512;
