//! See `artifact::fuzz::archive`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| artifact::fuzz::archive(bytes));
