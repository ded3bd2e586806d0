#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| devbox_fuzz::archives::zip(data));
