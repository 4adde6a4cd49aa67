//! See `artifact::fuzz::oci_index`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| artifact::fuzz::oci_index(bytes));
