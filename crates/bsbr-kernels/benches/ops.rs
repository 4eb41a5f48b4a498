//! Times every operation, fused and plain.
//!
//! `cargo bench --workspace --profile dev --bench ops [-- FILTER]` has the profile and features of
//! the tests, so Burn is not compiled again.

#[path = "ops/mod.rs"]
mod ops;

use divan::Bencher;

const SIZE: ops::Size = ops::Size {
    tokens: 1024,
    classes: 3072,
};

fn main() {
    divan::main();
}

#[divan::bench(args = ops::NAMES)]
fn fused(bencher: Bencher<'_, '_>, name: &str) {
    let run = ops::make(name, false, SIZE);
    bencher.bench_local(run);
}

#[divan::bench(args = ops::NAMES)]
fn plain(bencher: Bencher<'_, '_>, name: &str) {
    let run = ops::make(name, true, SIZE);
    bencher.bench_local(run);
}
