//! Token sequences without meaning, for timing.

use rand::Rng;

use crate::storybook::{Purpose, Split, stream};

/// `len` ids below `vocab` (zeros if it is 0), a pure function of the arguments.
pub fn random_ids(seed: u64, vocab: u32, len: usize) -> Vec<u32> {
    let mut rng = stream(seed, Split::Train, Purpose::Ids, 0, 0);
    (0..len)
        .map(|_| rng.random_range(0..vocab.max(1)))
        .collect()
}
