//! See `artifact::fuzz::tar`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| artifact::fuzz::tar(bytes));
