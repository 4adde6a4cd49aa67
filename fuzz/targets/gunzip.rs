//! See `artifact::fuzz::gunzip`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| artifact::fuzz::gunzip(bytes));
