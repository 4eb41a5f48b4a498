//! Outputs of block attention against those of its plain form.
#![allow(clippy::unwrap_used)] // a test fails by panicking

use super::{SETTINGS, both, flipped, heads, inputs, large, looking_up, plain_devices, with};
use crate::common::{assert_close, assert_fused, cases, tensor, values};
use bsbr_kernels::{BlockAttention, BlockStates, Grid, HeadLevel, HeadLevels, KvBits, Spans};
use burn::tensor::{Device, Tensor};

fn bases(heads: usize, d: usize, rank: usize, device: &Device) -> BlockStates {
    BlockStates::Compressed {
        key: tensor([heads, d, rank], 8, 0.5, device),
        value: tensor([heads, d, rank], 9, 0.5, device),
    }
}

fn check_with(shape: [usize; 4], settings: BlockAttention, states: &BlockStates) {
    for device in plain_devices() {
        let inputs = inputs(shape, &device);
        assert_fused(&inputs[0], &settings);
        let scale = 1.0 / (shape[3] as f64).sqrt();
        let states = match states {
            BlockStates::Compressed { key, .. } => {
                bases(shape[1], shape[3], key.dims()[2], &device)
            }
            other => other.clone(),
        };
        let [fused, plain] = both(&inputs, &states, settings, scale);
        let what = format!("{shape:?}, {settings:?}, {states:?} on {device:?}");
        assert_close(fused, plain, 2e-5, &what);
    }
}

fn check(shape: [usize; 4], settings: BlockAttention) {
    check_with(shape, settings, &BlockStates::Off);
    check_with(shape, settings, &BlockStates::Whole);
}

#[test]
fn equals_plain_at_awkward_lengths() {
    // Sinks alone, and one more or less than 1, 2, 3 and 5 chunks.
    let lengths = [1, 4, 11, 28, 44, 2, 3, 10, 12, 18, 19, 20, 26, 27, 42, 43];
    for n in cases(5, lengths) {
        check([1, 2, n, 5], SETTINGS);
    }
}

#[test]
fn equals_plain_with_awkward_settings() {
    let changes: [fn(&mut BlockAttention); 11] = [
        |s| s.grid.sinks = 0,
        |s| s.grid.near_chunks = 0,
        |s| s.grid.near_chunks = 3,
        |s| s.clusters = 1,
        |s| s.clusters = 8,
        |s| s.clusters = 0,
        |s| (s.grid.sinks, s.grid.near_chunks, s.clusters) = (0, 0, 0),
        |s| (s.grid.chunk_size, s.clusters) = (1, 1),
        |s| {
            (s.grid.chunk_size, s.clusters) = (1, 1);
            (s.grid.sinks, s.grid.near_chunks) = (0, 0);
        },
        |s| (s.grid.chunk_size, s.clusters) = (3, 4),
        |s| (s.grid.chunk_size, s.clusters) = (100, 16),
    ];
    for change in changes {
        for n in cases(1, [41, 37, 1]) {
            check([3, 2, n, 5], with(SETTINGS, change));
        }
    }
}

#[test]
fn equals_plain_where_a_chunk_takes_several_blocks_and_steps() {
    let [settings, best, many] = large();
    let long = [
        ([1, 1, 1003, 16], settings),
        ([1, 1, 530, 8], many),
        ([1, 1, 1003, 16], best),
    ];
    for (shape, settings) in cases(2, long) {
        check(shape, settings);
    }
}

#[test]
fn equals_plain_at_awkward_head_sizes() {
    for d in cases(2, [5, 80, 1, 48, 64]) {
        check([3, 2, 53, d], SETTINGS);
        check([1, 2, 53, d], looking_up(2));
    }
}

/// Settings and shapes drawn at random, half of them with lookups.
#[test]
fn equals_plain_with_random_settings() {
    use HeadLevel::{Clusters, Lookups, Near};
    for seed in cases(2, 1..=60) {
        let mut drawn = values(20, 1000 + seed, 1.0).into_iter();
        let mut below = |end: usize| {
            let x = (drawn.next().unwrap() + 1.0) / 2.0;
            ((x * end as f32) as usize).min(end - 1)
        };
        let chunk_size = [1, 3, 8, 17, 32, 64][below(6)];
        let heads = 1 + below(3);
        let levels: Vec<HeadLevel> = (0..heads)
            .map(|_| [Near, Clusters, Lookups][below(3)])
            .collect();
        let clusters = [0, 1, 2, 4, 8][below(5)];
        // Without clusters nothing can be looked up.
        let most = if clusters == 0 { 1 } else { 13 };
        let settings = BlockAttention {
            grid: Grid {
                sinks: below(5),
                chunk_size,
                near_chunks: below(4),
            },
            clusters,
            exact_clusters: [0, below(most)][below(2)],
            kv_bits: KvBits::ALL[below(4)],
            levels: [HeadLevels::LOOKUPS, HeadLevels::new(&levels)][below(2)],
            spans: Spans {
                chunks: [0, below(if clusters == 0 { 1 } else { 6 })][below(2)],
                opened: below(9),
            },
        };
        check(
            [1 + below(2), heads, 1 + below(200), 1 + below(70)],
            settings,
        );
    }
}

#[test]
fn equals_plain_with_exact_clusters() {
    // 100 are more than there are.
    for exact_clusters in cases(1, [2, 1, 3, 7, 100]) {
        for sinks in [0, 3] {
            let settings = with(looking_up(exact_clusters), |s| s.grid.sinks = sinks);
            for n in cases(1, [28, 1, 19, 61]) {
                check([2, 2, n, 6], settings);
            }
        }
    }
}

#[test]
fn equals_plain_with_spans() {
    for (chunks, opened) in cases(2, [(2, 3), (3, 1), (1, 2), (2, 0), (4, 100)]) {
        for exact_clusters in cases(2, [2, 0, 100, 7]) {
            let spans = Spans { chunks, opened };
            let settings = with(looking_up(exact_clusters), |s| s.spans = spans);
            // One token more or less than 3 and 7 chunks.
            for n in cases(2, [95, 61, 1, 26, 27, 28, 58, 59, 60]) {
                check([3, 2, n, 6], settings);
            }
        }
    }
}

#[test]
fn equals_plain_with_spans_in_few_bits_and_at_awkward_head_sizes() {
    use HeadLevel::{Clusters, Lookups, Near};
    for kv_bits in cases(2, KvBits::ALL) {
        for (d, sinks) in cases(2, [(5, 0), (16, 3), (80, 3), (1, 2), (48, 0)]) {
            let settings = with(looking_up(3), |s| {
                s.grid.sinks = sinks;
                s.kv_bits = kv_bits;
                (s.spans.chunks, s.spans.opened) = (2, 3);
                s.levels = HeadLevels::new(&[Lookups, Clusters, Near]);
            });
            check([1, 3, 83, d], settings);
            if d == 16 {
                check_with([1, 3, 83, d], settings, &bases(3, d, 5, &Device::flex()));
            }
        }
    }
}

/// Several blocks of queries and many spans.
#[test]
fn equals_plain_with_spans_where_a_chunk_takes_several_blocks() {
    let settings = with(looking_up(5), |s| {
        (s.grid.sinks, s.grid.chunk_size) = (5, 150);
        s.clusters = 8;
        s.kv_bits = KvBits::Eight;
        (s.spans.chunks, s.spans.opened) = (2, 4);
    });
    let many = with(settings, |s| {
        (s.grid.chunk_size, s.clusters) = (8, 4);
        (s.spans.chunks, s.spans.opened) = (4, 6);
    });
    for (shape, settings) in cases(1, [([1, 1, 1307, 16], settings), ([1, 1, 1003, 8], many)]) {
        check(shape, settings);
    }
}

#[test]
fn equals_plain_in_few_bits() {
    for kv_bits in [KvBits::Eight, KvBits::Four, KvBits::Sixteen] {
        for exact_clusters in cases(2, [2, 100, 0]) {
            let settings = with(looking_up(exact_clusters), |s| s.kv_bits = kv_bits);
            for n in cases(1, [61, 19, 1]) {
                for d in cases(1, [6, 16, 5]) {
                    check([2, 2, n, d], settings);
                }
            }
        }
    }
}

#[test]
fn equals_plain_with_a_level_for_each_head() {
    use HeadLevel::{Clusters, Lookups, Near};
    let all = [
        [Near, Lookups, Lookups, Clusters],
        [Clusters, Near, Near, Near],
        [Near; 4],
    ];
    for levels in cases(1, all) {
        for kv_bits in [KvBits::Eight, KvBits::ThirtyTwo] {
            let settings = with(looking_up(2), |s| {
                s.levels = HeadLevels::new(&levels);
                s.kv_bits = kv_bits;
            });
            check([2, 4, 53, 6], settings);
            check_with([2, 4, 53, 6], settings, &bases(4, 6, 3, &Device::flex()));
        }
    }
}

#[test]
fn equals_plain_with_awkward_lookups() {
    let all = [
        // A head of no whole fours of numbers.
        (5, looking_up(3)),
        // More clusters than tokens, so that some are empty.
        (
            12,
            with(looking_up(2), |s| {
                (s.grid.sinks, s.grid.chunk_size) = (0, 3);
            }),
        ),
        // Chunks of more than a block of queries, and no near one.
        (
            20,
            with(looking_up(5), |s| {
                (s.grid.chunk_size, s.grid.near_chunks) = (70, 0);
                s.clusters = 8;
            }),
        ),
        // As many as kernels keep, and one cluster a chunk.
        (
            4,
            with(looking_up(32), |s| (s.grid.chunk_size, s.clusters) = (2, 1)),
        ),
    ];
    for (d, settings) in all {
        let size = settings.grid.chunk_size;
        let longer = settings.grid.sinks + 4 * size + 1;
        let lengths = [1, size - 1, size + 1, longer, 40 * size];
        for n in lengths.into_iter().filter(|n| *n <= 400) {
            let shape = [3, 2, n, d];
            check(shape, settings);
            check_with(shape, settings, &bases(2, d, 2, &Device::default()));
        }
    }
}

#[test]
fn of_equal_clusters_the_first_is_chosen() {
    let settings = with(looking_up(2), |s| s.clusters = 1);
    for device in plain_devices() {
        let [q, _, v] = inputs([1, 2, 50, 4], &device);
        // Whole numbers, so that no device rounds them in a way of its own.
        let whole = |x: Tensor<4>| (x * 2.0).round();
        let [one, other] = [4, 5].map(|seed| whole(tensor([1, 2, 8, 4], seed, 1.5, &device)));
        // Chunks have the same keys, but not the same values: which one is looked into shows.
        let sinks = one.clone().narrow(2, 0, 3);
        let chunks = [&one, &one, &other, &one, &one, &other].map(Clone::clone);
        let alike = Tensor::cat([vec![sinks], chunks.to_vec()].concat(), 2).narrow(2, 0, 50);
        for k in [alike, v.zeros_like()] {
            let inputs = [whole(q.clone()), k, v.clone()];
            let [fused, plain] = both(&inputs, &BlockStates::Whole, settings, 0.5);
            assert_close(fused, plain, 2e-5, "equal keys");
        }
    }
}

#[test]
fn equals_plain_with_compressed_states() {
    let device = Device::flex();
    for (d, rank) in [(5, 1), (8, 3), (16, 16)] {
        check_with([2, 3, 53, d], SETTINGS, &bases(3, d, rank, &device));
    }
}

#[test]
fn takes_views() {
    for device in plain_devices() {
        let qkv = tensor([2, 61, 3, 4, 16], 5, 1.0, &device);
        for inputs in [heads(&qkv), flipped(&device)] {
            let [fused, plain] = both(&inputs, &BlockStates::Whole, looking_up(1), 0.25);
            assert_close(fused, plain, 2e-5, "views");
        }
    }
}
