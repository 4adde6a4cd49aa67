//! See `artifact::fuzz::docker_manifest`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| artifact::fuzz::docker_manifest(bytes));
