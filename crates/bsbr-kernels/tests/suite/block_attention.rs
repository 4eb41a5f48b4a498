//! Outputs of block attention against those of its plain form.
#![allow(clippy::unwrap_used)] // a test fails by panicking

use crate::common::{
    assert_close, assert_fused, assert_same, cases, devices, is_gpu, tensor, tests_another, values,
    vec,
};
#[cfg(feature = "flex")]
use bsbr_kernels::BlockCache;
use bsbr_kernels::{
    BlockAttention, BlockStates, Grid, HeadLevel, HeadLevels, KvBits, Spans, block_attention,
    block_attention_plain, causal_attention, fuses_block_attention,
};
use burn::tensor::{DType, Device, Tensor};

/// Chunks of 8 in 4 clusters, one near chunk, 3 sinks.
const SETTINGS: BlockAttention = BlockAttention {
    grid: Grid {
        sinks: 3,
        chunk_size: 8,
        near_chunks: 1,
    },
    clusters: 4,
    exact_clusters: 0,
    kv_bits: KvBits::ThirtyTwo,
    levels: HeadLevels::LOOKUPS,
    spans: Spans::NONE,
};

/// q, k, v.
fn inputs(shape: [usize; 4], device: &Device) -> [Tensor<4>; 3] {
    let [q, k, v] = [1, 2, 3].map(|seed| tensor(shape, seed, 1.5, device));
    [q, k + 0.3, v]
}

/// Devices without autodiff.
fn plain_devices() -> Vec<Device> {
    devices().into_iter().map(Device::inner).collect()
}

fn bases(heads: usize, d: usize, rank: usize, device: &Device) -> BlockStates {
    BlockStates::Compressed {
        key: tensor([heads, d, rank], 8, 0.5, device),
        value: tensor([heads, d, rank], 9, 0.5, device),
    }
}

fn check_with(shape: [usize; 4], settings: BlockAttention, states: &BlockStates) {
    for device in plain_devices() {
        let [q, k, v] = inputs(shape, &device);
        assert_fused(&q, &settings);
        let scale = 1.0 / (shape[3] as f64).sqrt();
        let states = match states {
            BlockStates::Compressed { key, .. } => {
                bases(shape[1], shape[3], key.dims()[2], &device)
            }
            other => other.clone(),
        };
        let [fused, plain] = [block_attention, block_attention_plain].map(|op| {
            op(
                q.clone(),
                k.clone(),
                v.clone(),
                states.clone(),
                settings,
                scale,
            )
        });
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
    let base = SETTINGS;
    for settings in [
        BlockAttention {
            grid: Grid {
                sinks: 0,
                ..base.grid
            },
            ..base
        },
        BlockAttention {
            grid: Grid {
                near_chunks: 0,
                ..base.grid
            },
            ..base
        },
        BlockAttention {
            grid: Grid {
                near_chunks: 3,
                ..base.grid
            },
            ..base
        },
        BlockAttention {
            clusters: 1,
            ..base
        },
        BlockAttention {
            clusters: 8,
            ..base
        },
        BlockAttention {
            clusters: 0,
            ..base
        },
        BlockAttention {
            grid: Grid {
                sinks: 0,
                near_chunks: 0,
                ..base.grid
            },
            clusters: 0,
            ..base
        },
        BlockAttention {
            grid: Grid {
                chunk_size: 1,
                ..base.grid
            },
            clusters: 1,
            ..base
        },
        BlockAttention {
            grid: Grid {
                chunk_size: 1,
                sinks: 0,
                near_chunks: 0,
            },
            clusters: 1,
            ..base
        },
        BlockAttention {
            grid: Grid {
                chunk_size: 3,
                ..base.grid
            },
            clusters: 4,
            ..base
        },
        BlockAttention {
            grid: Grid {
                chunk_size: 100,
                ..base.grid
            },
            clusters: 16,
            ..base
        },
    ] {
        for n in cases(1, [41, 37, 1]) {
            check([3, 2, n, 5], settings);
        }
    }
}

#[test]
fn equals_plain_where_a_chunk_takes_several_blocks_and_steps() {
    let settings = BlockAttention {
        grid: Grid {
            sinks: 5,
            chunk_size: 150,
            near_chunks: 2,
        },
        clusters: 32,
        exact_clusters: 0,
        kv_bits: KvBits::ThirtyTwo,
        levels: HeadLevels::LOOKUPS,
        spans: Spans::NONE,
    };
    let best = BlockAttention {
        exact_clusters: 5,
        ..settings
    };
    // More clusters than a step has keys.
    let many = BlockAttention {
        grid: Grid {
            sinks: 2,
            chunk_size: 8,
            near_chunks: 1,
        },
        clusters: 8,
        exact_clusters: 0,
        kv_bits: KvBits::ThirtyTwo,
        levels: HeadLevels::LOOKUPS,
        spans: Spans::NONE,
    };
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
        check(
            [1, 2, 53, d],
            BlockAttention {
                exact_clusters: 2,
                ..SETTINGS
            },
        );
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
            let settings = BlockAttention {
                grid: Grid {
                    sinks,
                    ..SETTINGS.grid
                },
                exact_clusters,
                ..SETTINGS
            };
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
            let settings = BlockAttention {
                exact_clusters,
                spans: Spans { chunks, opened },
                ..SETTINGS
            };
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
    let spans = Spans {
        chunks: 2,
        opened: 3,
    };
    for kv_bits in cases(2, KvBits::ALL) {
        for (d, sinks) in cases(2, [(5, 0), (16, 3), (80, 3), (1, 2), (48, 0)]) {
            let settings = BlockAttention {
                grid: Grid {
                    sinks,
                    ..SETTINGS.grid
                },
                exact_clusters: 3,
                kv_bits,
                spans,
                levels: HeadLevels::new(&[Lookups, Clusters, Near]),
                ..SETTINGS
            };
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
    let settings = BlockAttention {
        grid: Grid {
            sinks: 5,
            chunk_size: 150,
            near_chunks: 1,
        },
        clusters: 8,
        exact_clusters: 5,
        kv_bits: KvBits::Eight,
        levels: HeadLevels::LOOKUPS,
        spans: Spans {
            chunks: 2,
            opened: 4,
        },
    };
    let many = BlockAttention {
        grid: Grid {
            chunk_size: 8,
            ..settings.grid
        },
        clusters: 4,
        spans: Spans {
            chunks: 4,
            opened: 6,
        },
        ..settings
    };
    for (shape, settings) in cases(1, [([1, 1, 1307, 16], settings), ([1, 1, 1003, 8], many)]) {
        check(shape, settings);
    }
}

/// A query that opens every merged cluster sees what it sees without spans.
#[test]
fn spans_whose_clusters_are_all_opened_change_nothing() {
    for device in plain_devices() {
        for exact_clusters in [0, 3] {
            for chunks in [1, 2, 5] {
                let flat = BlockAttention {
                    exact_clusters,
                    kv_bits: KvBits::Eight,
                    ..SETTINGS
                };
                let spans = BlockAttention {
                    spans: Spans {
                        chunks,
                        opened: 1000,
                    },
                    ..flat
                };
                let [q, k, v] = inputs([2, 2, 120, 6], &device);
                let [one, other] = [flat, spans].map(|settings| {
                    let (q, k, v) = (q.clone(), k.clone(), v.clone());
                    block_attention(q, k, v, BlockStates::Whole, settings, 0.4)
                });
                assert_close(other, one, 2e-5, &format!("{spans:?}"));
            }
        }
    }
}

#[test]
fn equals_plain_in_few_bits() {
    for kv_bits in [KvBits::Eight, KvBits::Four, KvBits::Sixteen] {
        for exact_clusters in cases(2, [2, 100, 0]) {
            let settings = BlockAttention {
                exact_clusters,
                kv_bits,
                ..SETTINGS
            };
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
    for levels in cases(
        1,
        [
            [Near, Lookups, Lookups, Clusters],
            [Clusters, Near, Near, Near],
            [Near; 4],
        ],
    ) {
        let settings = BlockAttention {
            exact_clusters: 2,
            levels: HeadLevels::new(&levels),
            ..SETTINGS
        };
        for kv_bits in [KvBits::Eight, KvBits::ThirtyTwo] {
            let settings = BlockAttention {
                kv_bits,
                ..settings
            };
            check([2, 4, 53, 6], settings);
            check_with([2, 4, 53, 6], settings, &bases(4, 6, 3, &Device::flex()));
        }
    }
}

#[cfg(feature = "flex")]
#[test]
fn a_cache_gives_in_pieces_what_the_whole_gives() {
    use HeadLevel::{Clusters, Lookups, Near};
    for device in plain_devices() {
        for kv_bits in cases(1, KvBits::ALL) {
            for (exact_clusters, d) in [(0, 5), (2, 16), (100, 7)] {
                let settings = BlockAttention {
                    exact_clusters,
                    kv_bits,
                    levels: HeadLevels::new(&[Lookups, Clusters, Near]),
                    ..SETTINGS
                };
                let [q, k, v] = inputs([2, 3, 70, d], &device);
                let scale = 0.4;
                let states = BlockStates::Off;
                let whole =
                    block_attention(q.clone(), k.clone(), v.clone(), states, settings, scale);
                for piece in [1, 7, 33, 70] {
                    let mut cache = BlockCache::new(settings);
                    let outputs = (0..70).step_by(piece).map(|start| {
                        let n = piece.min(70 - start);
                        let [q, k, v] = [&q, &k, &v].map(|x| x.clone().narrow(2, start, n));
                        cache.attend(q, k, v, scale)
                    });
                    let outputs = Tensor::cat(outputs.collect(), 2);
                    let what = format!("{settings:?} in pieces of {piece}");
                    assert_close(outputs, whole.clone(), 2e-5, &what);
                    assert_eq!(cache.tokens(), 70);
                }
            }
        }
    }
}

#[cfg(feature = "flex")]
#[test]
fn a_cache_with_spans_gives_in_pieces_what_the_whole_gives() {
    use HeadLevel::{Clusters, Lookups, Near};
    for device in plain_devices() {
        for kv_bits in cases(1, KvBits::ALL) {
            for (chunks, opened, exact_clusters, sinks, d) in [
                (2, 3, 2, 3, 16),
                (3, 2, 0, 0, 5),
                (1, 100, 100, 3, 7),
                (2, 0, 3, 3, 6),
            ] {
                let settings = BlockAttention {
                    grid: Grid {
                        sinks,
                        ..SETTINGS.grid
                    },
                    exact_clusters,
                    kv_bits,
                    spans: Spans { chunks, opened },
                    levels: HeadLevels::new(&[Lookups, Clusters, Near]),
                    ..SETTINGS
                };
                let n = 118;
                let [q, k, v] = inputs([3, 3, n, d], &device);
                let scale = 0.4;
                let states = BlockStates::Off;
                let whole =
                    block_attention(q.clone(), k.clone(), v.clone(), states, settings, scale);
                for piece in [1, 7, 33, 100] {
                    let mut cache = BlockCache::new(settings);
                    let outputs = (0..n).step_by(piece).map(|start| {
                        let n = piece.min(n - start);
                        let [q, k, v] = [&q, &k, &v].map(|x| x.clone().narrow(2, start, n));
                        cache.attend(q, k, v, scale)
                    });
                    let outputs = Tensor::cat(outputs.collect(), 2);
                    let what = format!("{settings:?} in pieces of {piece}");
                    assert_close(outputs, whole.clone(), 2e-5, &what);
                }
            }
        }
    }
}

/// Of 128 dimensions of a pair of heads, 20 far chunks.
#[cfg(feature = "flex")]
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

/// Whatever two queries of a block choose, the score of one does not depend on the other.
#[test]
fn all_clusters_looked_up_are_dense_at_any_size_of_scores() {
    for device in plain_devices() {
        let [q, _, v] = inputs([1, 2, 70, 16], &device);
        let same = q.ones_like() * 1e4;
        let dense = causal_attention(same.clone(), same.clone(), v.clone(), 0.25);
        let settings = BlockAttention {
            exact_clusters: 1000,
            ..SETTINGS
        };
        let out = block_attention(same.clone(), same, v, BlockStates::Off, settings, 0.25);
        assert_close(out, dense, 2e-5, "scores of 4e8");
    }
}

#[test]
fn equals_plain_with_awkward_lookups() {
    let looks = |exact_clusters| BlockAttention {
        exact_clusters,
        ..SETTINGS
    };
    let all = [
        // A head of no whole fours of numbers.
        (5, looks(3)),
        // More clusters than tokens, so that some are empty.
        (
            12,
            BlockAttention {
                grid: Grid {
                    sinks: 0,
                    chunk_size: 3,
                    ..looks(2).grid
                },
                ..looks(2)
            },
        ),
        // Chunks of more than a block of queries, and no near one.
        (
            20,
            BlockAttention {
                grid: Grid {
                    chunk_size: 70,
                    near_chunks: 0,
                    ..looks(5).grid
                },
                clusters: 8,
                ..looks(5)
            },
        ),
        // As many as kernels keep, and one cluster a chunk.
        (
            4,
            BlockAttention {
                grid: Grid {
                    chunk_size: 2,
                    ..looks(32).grid
                },
                clusters: 1,
                ..looks(32)
            },
        ),
    ];
    for (d, settings) in all {
        let size = settings.grid.chunk_size;
        for n in [
            1,
            size - 1,
            size + 1,
            settings.grid.sinks + 4 * size + 1,
            40 * size,
        ] {
            if n > 400 {
                continue;
            }
            let shape = [3, 2, n, d];
            check(shape, settings);
            check_with(shape, settings, &bases(2, d, 2, &Device::default()));
        }
    }
}

#[test]
fn of_equal_clusters_the_first_is_chosen() {
    let settings = BlockAttention {
        clusters: 1,
        exact_clusters: 2,
        ..SETTINGS
    };
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
            let [fused, plain] = [block_attention, block_attention_plain].map(|op| {
                op(
                    whole(q.clone()),
                    k.clone(),
                    v.clone(),
                    BlockStates::Whole,
                    settings,
                    0.5,
                )
            });
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
fn what_is_near_or_looked_up_is_attended_to_as_densely() {
    for device in plain_devices() {
        let [q, k, v] = inputs([2, 2, 70, 12], &device);
        let dense = causal_attention(q.clone(), k.clone(), v.clone(), 0.3);
        for settings in [
            BlockAttention {
                grid: Grid {
                    near_chunks: 20,
                    ..SETTINGS.grid
                },
                ..SETTINGS
            },
            BlockAttention {
                exact_clusters: 1000,
                ..SETTINGS
            },
            BlockAttention {
                grid: Grid {
                    chunk_size: 1,
                    ..SETTINGS.grid
                },
                clusters: 1,
                ..SETTINGS
            },
        ] {
            let states = BlockStates::Whole;
            let out = block_attention(q.clone(), k.clone(), v.clone(), states, settings, 0.3);
            assert_close(out, dense.clone(), 2e-5, &format!("{settings:?}"));
        }
    }
}

#[test]
fn takes_views() {
    for device in plain_devices() {
        // Heads of a projection [B, N, 3, H, D].
        let qkv = tensor([2, 61, 3, 4, 16], 5, 1.0, &device);
        let heads = [0, 1, 2].map(|part| {
            let part = qkv.clone().narrow(2, part, 1).squeeze_dim::<4>(2);
            part.swap_dims(1, 2)
        });
        let flipped = [1, 2, 3].map(|seed| {
            tensor([2, 3, 16, 61], seed, 1.0, &device)
                .swap_dims(2, 3)
                .flip([0, 2])
        });
        let settings = BlockAttention {
            exact_clusters: 1,
            ..SETTINGS
        };
        for [q, k, v] in [heads, flipped] {
            let [fused, plain] = [block_attention, block_attention_plain].map(|op| {
                op(
                    q.clone(),
                    k.clone(),
                    v.clone(),
                    BlockStates::Whole,
                    settings,
                    0.25,
                )
            });
            assert_close(fused, plain, 2e-5, "views");
        }
    }
}

#[test]
fn takes_no_tokens() {
    for device in plain_devices() {
        let [q, k, v] = inputs([1, 2, 0, 8], &device);
        let out = block_attention(q, k, v, BlockStates::Whole, SETTINGS, 1.0);
        assert_eq!(out.dims(), [1, 2, 0, 8]);
    }
}

#[test]
fn no_output_depends_on_a_later_token() {
    for device in plain_devices() {
        let shape = [1, 2, 60, 8];
        for exact_clusters in [0, 2] {
            let settings = BlockAttention {
                exact_clusters,
                ..SETTINGS
            };
            let out = |inputs: &[Tensor<4>; 3]| {
                let [q, k, v] = inputs.clone();
                assert_fused(&q, &settings);
                block_attention(q, k, v, BlockStates::Whole, settings, 0.3)
            };
            let original = inputs(shape, &device);
            let before = out(&original);
            // The last one first, and then here and there.
            let n = shape[2];
            for t in cases(5, (0..n).map(|i| n - 1 - i * 17 % n)) {
                let mut seed = 6;
                let after = out(&original.clone().map(|x| {
                    seed += 1;
                    let row = tensor([1, 2, 1, 8], seed, 30.0, &device);
                    x.slice_assign([0..1, 0..2, t..t + 1, 0..8], row)
                }));
                if t > 0 {
                    let head = |x: &Tensor<4>| [x.clone().narrow(2, 0, t)];
                    assert_same(head(&before), head(&after));
                }
                let at = |x: &Tensor<4>| vec(x.clone().narrow(2, t, 1));
                assert_ne!(at(&before), at(&after));
            }
        }
    }
}

#[cfg(feature = "flex")]
#[test]
fn is_the_same_on_any_number_of_threads() {
    if tests_another() {
        return;
    }
    let on = |threads: usize, exact_clusters: usize| {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .unwrap();
        pool.install(|| {
            let settings = BlockAttention {
                grid: Grid {
                    chunk_size: 64,
                    ..SETTINGS.grid
                },
                clusters: 8,
                exact_clusters,
                ..SETTINGS
            };
            let [q, k, v] = inputs([1, 3, 700, 64], &Device::flex());
            [block_attention(
                q,
                k,
                v,
                BlockStates::Whole,
                settings,
                0.125,
            )]
        })
    };
    for exact_clusters in [0, 4] {
        let one = on(1, exact_clusters);
        assert_same(one.clone(), on(2, exact_clusters));
        assert_same(one, on(7, exact_clusters));
    }
}

#[test]
fn large_scores_stay_finite() {
    for device in plain_devices() {
        let [q, k, v] = inputs([1, 2, 60, 16], &device);
        for factor in [1e2, 1e4] {
            for exact_clusters in [0, 2] {
                let settings = BlockAttention {
                    exact_clusters,
                    ..SETTINGS
                };
                let (q, k) = (q.clone() * factor, k.clone() * factor);
                let out = block_attention(q, k, v.clone(), BlockStates::Off, settings, 1.0);
                assert!(vec(out).iter().all(|x| x.is_finite()));
            }
        }
    }
}

#[test]
fn half_precision_is_close_where_a_device_computes_in_it() {
    for device in plain_devices() {
        if !device.supports_dtype(DType::F16) {
            continue;
        }
        let inputs = inputs([2, 2, 45, 16], &device).map(|x| x.cast(DType::F16));
        let few_bits = BlockAttention {
            exact_clusters: 2,
            kv_bits: KvBits::Eight,
            ..SETTINGS
        };
        for settings in [SETTINGS, few_bits] {
            let out = |x: [Tensor<4>; 3]| {
                let [q, k, v] = x;
                block_attention(q, k, v, BlockStates::Whole, settings, 0.25).cast(DType::F32)
            };
            // Of the same numbers in single precision.
            let single = inputs.clone().map(|x| x.cast(DType::F32));
            assert_close(out(inputs.clone()), out(single), 5e-3, "half precision");
        }
    }
}

#[test]
fn the_forward_pass_needs_no_autodiff() {
    for device in devices() {
        let out =
            |[q, k, v]: [Tensor<4>; 3]| block_attention(q, k, v, BlockStates::Whole, SETTINGS, 0.4);
        let inputs = inputs([2, 2, 45, 16], &device);
        let tracked = out(inputs.clone().map(|x| x.require_grad())).inner();
        assert_same([tracked], [out(inputs.map(Tensor::inner))]);
    }
}

#[test]
fn knows_where_it_is_fused() {
    for device in devices() {
        let x: Tensor<4> = tensor([1, 1, 2, 2], 1, 1.0, &device);
        let tracked = fuses_block_attention(&x, &SETTINGS);
        let forward = fuses_block_attention(&x.clone().inner(), &SETTINGS);
        assert_eq!(forward, tracked);
        #[cfg(feature = "flex")]
        if device.clone().inner() == Device::flex() {
            assert!(tracked && forward);
            let double = x.clone().cast(DType::F64);
            assert!(!fuses_block_attention(&double, &SETTINGS));
        }
        // There it is, but for more lookups than a kernel keeps.
        if is_gpu() {
            let long: Tensor<4> = tensor([1, 1, 99, 2], 1, 1.0, &device);
            let looks_up_in = |kv_bits, levels, exact_clusters| {
                let settings = BlockAttention {
                    exact_clusters,
                    kv_bits,
                    levels,
                    ..SETTINGS
                };
                fuses_block_attention(&long, &settings)
            };
            let looks_up = |best| looks_up_in(KvBits::ThirtyTwo, HeadLevels::LOOKUPS, best);
            // Nothing is summarised, so that no chunk is too long.
            let exact = BlockAttention {
                grid: Grid {
                    chunk_size: 1 << 20,
                    ..SETTINGS.grid
                },
                clusters: 0,
                ..SETTINGS
            };
            assert!(tracked && fuses_block_attention(&x, &exact));
            assert!(looks_up(1) && looks_up(32) && !looks_up(33));
            // Of 10 far chunks of 4 clusters these are all.
            assert!(!looks_up(39) && looks_up(40) && looks_up(100));
            // But of rounded ones, all are no dense attention.
            let in_few_bits = |best| looks_up_in(KvBits::Eight, HeadLevels::LOOKUPS, best);
            assert!(in_few_bits(32) && !in_few_bits(33) && !in_few_bits(100));
            // The one head looks nothing up.
            let levels = HeadLevels::new(&[HeadLevel::Clusters]);
            assert!(looks_up_in(KvBits::Eight, levels, 33));
        }
    }
}

#[test]
#[should_panic(expected = "do not match")]
fn rejects_other_shapes() {
    let device = &plain_devices()[0];
    let [q, k, _] = inputs([1, 1, 3, 4], device);
    let v = tensor([1, 1, 2, 4], 3, 1.0, device);
    block_attention(q, k, v, BlockStates::Off, SETTINGS, 1.0);
}
