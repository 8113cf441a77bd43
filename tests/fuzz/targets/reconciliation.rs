//! Steps of a reconciliation from outside, fed by libFuzzer: `reconciliation`; its body is shared with the twin in `cargo test`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    postrider_fuzz::run("reconciliation", data);
});
