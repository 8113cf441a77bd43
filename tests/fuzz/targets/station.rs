//! One decoder of bytes from outside, fed by libFuzzer: `station`; its body is shared with the twin in `cargo test`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    postrider_fuzz::run("station", data);
});
