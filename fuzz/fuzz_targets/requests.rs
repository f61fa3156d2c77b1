//! A reader of bytes that others wrote, against `hsmpool::hostile`.

#![no_main]

use hsmpool::hostile;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    hostile::run("requests", bytes);
});
