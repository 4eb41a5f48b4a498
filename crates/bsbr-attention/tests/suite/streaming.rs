//! Reading a sequence in pieces through the cache gives the output of one pass.

use crate::common::{
    Sizes, alone, arm, arms, assert_close, input, local, moments, piece, published, streamed,
    test_device, tries_few, with,
};
use bsbr_attention::config::MAX_CHUNK_SIZE;
use bsbr_attention::{ArmConfig, Cache, MomentsConfig, Padding};

/// Compares pieces of these sizes with the whole, for rows with these paddings.
fn check(config: &ArmConfig, tokens: usize, padding: &[usize], all: &[Vec<usize>]) {
    let device = test_device();
    let sizes = Sizes {
        batch: padding.len(),
        heads: 2,
        tokens,
        head_dim: 5,
    };
    let attention = arm(config, sizes, &device);
    let mut input = input(sizes, 3, &device);
    input.padding = Padding::left(padding.to_vec());
    let whole = attention.forward(input.clone());
    for pieces in all {
        let output = streamed(&attention, &input, pieces);
        let what = format!("{config:?} in pieces {pieces:?}");
        assert_close(&output, &whole, 1e-5, &what);
    }
}

#[test]
fn streaming_equals_parallel() {
    for config in arms() {
        let size = config.chunk_size().unwrap_or(4);
        let tokens = 5 * size + 9;
        let all = [
            vec![13, 1, 1, 4, 2],
            vec![size + 1],
            vec![1],
            vec![7],
            vec![(size - 1).max(1)],
            vec![tokens],
        ];
        let few = if tries_few() { 2 } else { all.len() };
        check(&config, tokens, &[0, 0], &all[..few]);
    }
}

#[test]
fn rows_of_unequal_length_stream_as_they_do_alone() {
    for config in arms() {
        let tokens = 4 * config.chunk_size().unwrap_or(4) + 13;
        let all = [vec![11, 1], vec![9, 1, 5]];
        check(&config, tokens, &[3, 0, 9, 3], &all);
    }
}

#[test]
fn padded_rows_give_what_they_give_alone() {
    let device = test_device();
    for config in arms() {
        let tokens = 23;
        let sizes = Sizes {
            batch: 3,
            heads: 2,
            tokens,
            head_dim: 5,
        };
        let attention = arm(&config, sizes, &device);
        let mut input = input(sizes, 5, &device);
        let padding = [4, 0, 22];
        input.padding = Padding::left(padding.to_vec());
        let together = attention.forward(input.clone());
        for (row, before) in padding.into_iter().enumerate() {
            let alone = alone(&input, row, before);
            let row = together.clone().narrow(0, row, 1);
            let real = row.clone().narrow(2, before, tokens - before);
            assert_close(
                &real,
                &attention.forward(alone),
                1e-5,
                &format!("{config:?}"),
            );
            if before > 0 {
                assert_eq!(
                    row.narrow(2, 0, before).abs().max().into_scalar::<f32>(),
                    0.0
                );
            }
        }
    }
}

/// So long that the parallel form works through several groups of chunks.
#[test]
fn long_sequences_stream_as_they_run_in_parallel() {
    let device = test_device();
    let pieces = [501, if tries_few() { 100 } else { 8 }];
    let base = moments(8, 1, 4);
    let all = [
        with(&base, "clusters=4"),
        local(8, 1, 4),
        with(&base, "clusters=4,exact_clusters=2"),
    ];
    let few = if tries_few() { 1 } else { all.len() };
    for config in all.into_iter().take(few) {
        let sizes = Sizes {
            batch: 4,
            heads: 8,
            tokens: 1203,
            head_dim: 4,
        };
        let attention = arm(&config, sizes, &device);
        let input = input(sizes, 6, &device);
        let whole = attention.forward(input.clone());
        let output = streamed(&attention, &input, &pieces);
        assert_close(&output, &whole, 1e-4, &format!("{config:?}"));
    }
}

#[test]
fn room_that_the_settings_name_is_not_made_before_it_is_needed() {
    let device = test_device();
    let sizes = Sizes {
        batch: 1,
        heads: 1,
        tokens: 3,
        head_dim: 4,
    };
    // 2^40 tokens.
    let most = local(MAX_CHUNK_SIZE, MAX_CHUNK_SIZE, MAX_CHUNK_SIZE);
    let input = input(sizes, 7, &device);
    let output = streamed(&arm(&most, sizes, &device), &input, &[1]);
    let expected = arm(&ArmConfig::DENSE, sizes, &device).forward(input);
    assert_close(&output, &expected, 1e-5, "local");
}

/// Numbers of 32 bits kept after `tokens` tokens of one head of one sequence.
fn numbers(config: &ArmConfig, tokens: usize, head_dim: usize) -> usize {
    let device = test_device();
    let sizes = Sizes {
        batch: 1,
        heads: 1,
        tokens,
        head_dim,
    };
    let mut cache = Cache::new();
    let input = input(sizes, 8, &device);
    let attention = arm(config, sizes, &device);
    for start in (0..tokens).step_by(5) {
        let n = 5.min(tokens - start);
        let _ = attention.forward_cached(piece(&input, start, n), &mut cache);
    }
    assert_eq!(cache.tokens(0), tokens);
    assert_eq!(cache.bytes() % 4, 0);
    cache.bytes() / 4
}

#[test]
fn caches_keep_what_the_design_says_and_no_more() {
    let (d, s, g, sinks) = (8, 8, 2, 3);
    let tokens = sinks + 10 * s + 5;
    // Chunk 10 has begun with 5 tokens; chunk 9 is near, 0 to 8 are far.
    let near = 2 * d * (sinks + s + 5);
    let far = 9;
    let summary = g * (2 * d + 1);
    let base = MomentsConfig {
        clusters: g,
        state: false,
        ..moments(s, 1, sinks)
    };
    assert_eq!(numbers(&ArmConfig::DENSE, tokens, d), 2 * d * tokens);
    assert_eq!(numbers(&local(s, 1, sinks), tokens, d), near);
    let no_state = ArmConfig::Moments(base.clone());
    assert_eq!(numbers(&no_state, tokens, d), near + far * summary);
    // One state per far chunk, and the mixed one.
    let state = with(&base, "state=true");
    assert_eq!(
        numbers(&state, tokens, d),
        near + far * summary + (far + 1) * d * d
    );
    let compressed = with(&base, "state=true,compression=4");
    assert_eq!(
        numbers(&compressed, tokens, d),
        near + far * summary + (far + 1) * d * d / 4
    );
    let exact = with(&base, "exact_clusters=1");
    // Where there is no kernel, which token is in which cluster is a matrix.
    let members = if tries_few() { g * s } else { 0 };
    assert_eq!(
        numbers(&exact, tokens, d),
        near + far * (summary + 2 * d * s + members)
    );
    if !tries_few() {
        // Of each key and value a scale, of each mean too, and where clusters end.
        let means = 2 * g * (d / 2 + 1) + g;
        for (bits, token) in [(8, d / 4 + 1), (16, d / 2 + 1), (4, d / 8 + 2)] {
            let few = with(&base, &format!("exact_clusters=1,kv_bits={bits}"));
            let kept = far * (means + 2 * token * s);
            assert_eq!(numbers(&few, tokens, d), near + kept, "{bits}");
        }
        // A head keeps what its level needs.
        for (level, kept) in [
            ("near", 0),
            ("clusters", summary),
            ("lookups", summary + 2 * d * s),
        ] {
            let head = with(&base, &format!("exact_clusters=1,levels={level}"));
            assert_eq!(numbers(&head, tokens, d), near + far * kept, "{level}");
        }
    }
    // Without sinks 83 tokens are 10 chunks and 3 tokens.
    let published = published(s, 1);
    assert_eq!(
        numbers(&published, 83, d),
        2 * d * 3 + 10 * (d * d + d) + d * d
    );
}
