#![no_main]

#[allow(dead_code)]
#[path = "../inputs.rs"]
mod inputs;
#[path = "../panics.rs"]
mod panics;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| panics::uncaught(|| inputs::cache(bytes)));
