//! See `artifact::fuzz::build_record`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| artifact::fuzz::build_record(bytes));
