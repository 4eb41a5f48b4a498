//! Disjoint random streams: every document has its own ChaCha8 key.

use rand::Rng;
use rand::SeedableRng;
pub(crate) use rand_chacha::ChaCha8Rng;

use super::Split;

/// The purpose of a random stream; a part of its key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Purpose {
    Plain = 1,
    Article = 2,
    Question = 3,
    Training = 4,
    Stream = 5,
    Ids = 6,
}

/// The stream of (seed, split, purpose, variant, index).
///
/// The five numbers are the key itself, not a hash, so two different tuples
/// never share a stream.
pub(crate) fn stream(
    seed: u64,
    split: Split,
    purpose: Purpose,
    variant: u64,
    index: u64,
) -> ChaCha8Rng {
    let mut key = [0u8; 32];
    key[..8].copy_from_slice(&seed.to_le_bytes());
    key[8..16].copy_from_slice(&index.to_le_bytes());
    key[16..24].copy_from_slice(&variant.to_le_bytes());
    key[24] = split as u8;
    key[25] = purpose as u8;
    ChaCha8Rng::from_seed(key)
}

/// An element of a nonempty pool; the default for an empty one.
pub(crate) fn pick<T: Copy + Default>(rng: &mut ChaCha8Rng, pool: &[T]) -> T {
    if pool.is_empty() {
        return T::default();
    }
    pool[rng.random_range(0..pool.len())]
}
