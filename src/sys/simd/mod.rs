//! Vector kernels, chosen at run time; each has a plain twin that it is tested against.

pub mod sha512;
