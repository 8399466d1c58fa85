#![no_main]
#![allow(missing_docs, reason = "a target has nothing to show")]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| longhaul_fuzz::fetch::check(bytes));
