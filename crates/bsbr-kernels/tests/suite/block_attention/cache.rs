//! Outputs of the cache, piece by piece, against those of the whole.

use super::{SETTINGS, inputs, plain_devices, with};
use crate::common::{assert_close, cases};
use bsbr_kernels::{
    BlockAttention, BlockCache, BlockStates, HeadLevel, HeadLevels, KvBits, Spans, block_attention,
};
use burn::tensor::{Device, Tensor};

/// Compares pieces of any size with the whole of `n` tokens, in all types of bits, and with a level
/// for each of three heads.
fn check(batch: usize, n: usize, d: usize, pieces: [usize; 4], settings: BlockAttention) {
    use HeadLevel::{Clusters, Lookups, Near};
    for (device, kv_bits) in plain_devices()
        .iter()
        .flat_map(|device| cases(1, KvBits::ALL).map(move |bits| (device, bits)))
    {
        let settings = with(settings, |s| {
            s.kv_bits = kv_bits;
            s.levels = HeadLevels::new(&[Lookups, Clusters, Near]);
        });
        let inputs = inputs([batch, 3, n, d], device);
        let [q, k, v] = inputs.clone();
        let whole = block_attention(q, k, v, BlockStates::Off, settings, 0.4);
        for piece in pieces {
            let mut cache = BlockCache::new(settings);
            let outputs = (0..n).step_by(piece).map(|start| {
                let n = piece.min(n - start);
                let [q, k, v] = inputs.each_ref().map(|x| x.clone().narrow(2, start, n));
                cache.attend(q, k, v, 0.4)
            });
            let outputs = Tensor::cat(outputs.collect(), 2);
            let what = format!("{settings:?} in pieces of {piece}");
            assert_close(outputs, whole.clone(), 2e-5, &what);
            assert_eq!(cache.tokens(), n);
        }
    }
}

#[test]
fn a_cache_gives_in_pieces_what_the_whole_gives() {
    for (exact_clusters, d) in [(0, 5), (2, 16), (100, 7)] {
        let settings = with(SETTINGS, |s| s.exact_clusters = exact_clusters);
        check(2, 70, d, [1, 7, 33, 70], settings);
    }
}

#[test]
fn a_cache_with_spans_gives_in_pieces_what_the_whole_gives() {
    for (chunks, opened, exact_clusters, sinks, d) in [
        (2, 3, 2, 3, 16),
        (3, 2, 0, 0, 5),
        (1, 100, 100, 3, 7),
        (2, 0, 3, 3, 6),
    ] {
        let settings = with(SETTINGS, |s| {
            s.grid.sinks = sinks;
            s.exact_clusters = exact_clusters;
            s.spans = Spans { chunks, opened };
        });
        check(3, 118, d, [1, 7, 33, 100], settings);
    }
}

/// Of 128 dimensions of a pair of heads, 20 far chunks.
#[test]
fn a_cache_in_few_bits_is_small() {
    let device = Device::flex();
    let tokens = 4 + 22 * 128;
    let share = |kv_bits| {
        let mut cache = BlockCache::new(BlockAttention {
            clusters: 8,
            exact_clusters: 8,
            kv_bits,
            ..BlockAttention::default()
        });
        let [q, k, v] = inputs([1, 2, tokens, 64], &device);
        cache.attend(q, k, v, 0.125);
        // Less what is near: sinks, and the chunk before the next.
        let near = 2 * (4 + 128) * 2 * 64 * 4;
        (cache.bytes() - near) as f64 / (2 * 21 * 128 * 2 * 64 * 4) as f64
    };
    let shares = KvBits::ALL.map(share);
    assert!(
        shares[0] < 0.19 && shares[1] < 0.3 && shares[2] < 0.55,
        "{shares:?}"
    );
    assert!(shares[3] < 1.07, "{shares:?}");
}
