//! One decoder of bytes from outside, fed by libFuzzer: `forged_rest`; its body is shared with the twin in `cargo test`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    postrider_fuzz::run("forged_rest", data);
});
