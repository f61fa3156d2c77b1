//! Mechanism parameters of every kind, against `hsmpool::ffi::harness`.

#![no_main]

use hsmpool::ffi::harness;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    harness::parameters(bytes);
});
