//! See `manifest::fuzz::manifest`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| manifest::fuzz::manifest(bytes));
