//! Reading a text in pieces gives the output of one pass.
#![allow(clippy::expect_used, clippy::panic)]

use crate::common::{arm, assert_close, config, floats, ids, load, load_with, single};
use bsbr_gpt2::{Gpt2, InputError, TokenBatch};
use burn::tensor::{Device, Tensor};

/// Every arm through the cache, token by token or in pieces, gives what it gives at once.
#[test]
fn feeding_piece_by_piece_gives_what_feeding_at_once_gives() {
    let arms = [
        "dense",
        "local:chunk_size=5,sink_tokens=2",
        "published:chunk_size=5",
        "moments:chunk_size=5,sink_tokens=2,clusters=2",
        "moments:chunk_size=4,near_chunks=0,sink_tokens=0,clusters=2,exact_clusters=1",
    ];
    let ids = ids(40);
    // Forty passes of a token each take half a minute where shaders are compiled for the processor.
    let others = std::env::var("BURN_DEVICE").is_ok_and(|device| device != "flex");
    let pieces = &[7, 39, 1, 3][..if others { 2 } else { 4 }];
    for text in arms {
        let config = config("base").with_arm(arm(text));
        let model = load_arms(&config);
        let at_once = floats(model.hidden_states(&single(&ids)).expect("ids"));
        for &piece in pieces {
            let mut cache = model.new_cache();
            let pieces = ids
                .chunks(piece)
                .map(|piece| {
                    model
                        .forward_cached(&single(piece), &mut cache)
                        .expect("piece")
                })
                .collect();
            assert_eq!(cache.lengths(), [40]);
            match text {
                // Keys and values of three layers.
                "dense" => assert_eq!(cache.bytes(), 4 * 3 * 2 * 40 * 20),
                _ => assert!(cache.bytes() > 0),
            }
            let found = floats(Tensor::cat(pieces, 1));
            assert_close(&found, &at_once, &format!("{text} in pieces of {piece}"));
        }

        // Rows of unequal length go on together.
        let rows = [&ids[..13], &ids[5..9], &ids[2..24]];
        let mut cache = model.new_cache();
        let batch = TokenBatch::padded(&rows).expect("rows");
        model.forward_cached(&batch, &mut cache).expect("rows");
        assert_eq!(cache.lengths(), [13, 4, 22]);
        let next = [&ids[13..25], &ids[9..21], &ids[24..36]];
        let batch = TokenBatch::rows(&next).expect("rows");
        let together = floats(model.forward_cached(&batch, &mut cache).expect("rows"));
        for (row, (start, end)) in [(0, 25), (5, 21), (2, 36)].into_iter().enumerate() {
            let all = floats(model.hidden_states(&single(&ids[start..end])).expect("row"));
            let size = 12 * config.n_embd;
            let found = &together[row * size..(row + 1) * size];
            let what = format!("{text}, row {row}");
            assert_close(found, &all[all.len() - size..], &what);
        }
    }
}

/// The base weights, with what an arm adds as it was made.
fn load_arms(config: &bsbr_gpt2::Gpt2Config) -> Gpt2 {
    load_with(config, "base", &Device::default())
}

#[test]
fn a_cache_of_something_else_is_refused() {
    let (model, other) = (load("base"), load("wide"));
    let mut cache = model.new_cache();
    assert!(cache.is_empty());
    let batch = TokenBatch::padded(&[vec![1, 2, 3], vec![4]]).expect("rows");
    let error = other
        .forward_cached(&batch, &mut cache)
        .expect_err("layers");
    assert_eq!(
        error,
        InputError::CacheMismatch {
            what: "layers",
            found: 3,
            expected: 2
        }
    );
    model.forward_cached(&batch, &mut cache).expect("rows");
    let error = model
        .forward_cached(&single(&[1]), &mut cache)
        .expect_err("rows");
    assert_eq!(
        error,
        InputError::CacheMismatch {
            what: "rows",
            found: 2,
            expected: 1
        }
    );
    let error = model
        .forward_cached(&batch, &mut cache)
        .expect_err("padding");
    assert_eq!(
        error,
        InputError::PaddedContinuation {
            row: 1,
            padding: 2,
            past: 1
        }
    );
    let unknown = TokenBatch::rows(&[[1], [97]]).expect("rows");
    let error = model.forward_cached(&unknown, &mut cache).expect_err("id");
    assert!(matches!(
        error,
        InputError::TokenOutOfRange { row: 1, id: 97, .. }
    ));
    assert_eq!(cache.lengths(), [3, 1]);
}

#[test]
fn a_cache_of_other_heads_is_refused() {
    let model = load("base");
    let heads = |n_head| bsbr_gpt2::Gpt2Config {
        n_head,
        ..config("base")
    };
    let other = load_with(&heads(2), "base", &Device::default());
    let error = model
        .forward_cached(&single(&[1]), &mut other.new_cache())
        .expect_err("heads");
    assert_eq!(
        error.to_string(),
        "the cache holds 2 heads, expected 4; use one cache per batch, created by `new_cache` of \
         the model that reads it"
    );
}

#[test]
fn a_cache_of_other_arms_is_refused() {
    let local = |chunk_size| {
        let text = format!("local:chunk_size={chunk_size},near_chunks=0,sink_tokens=1");
        load_arms(&config("base").with_arm(arm(&text)))
    };
    let (dense, short, long) = (load("base"), local(2), local(4));
    let mut cache = short.new_cache();
    short
        .forward_cached(&single(&[1, 2, 3, 4, 5]), &mut cache)
        .expect("ids");
    for (model, expected) in [(&dense, r#""arm":"dense""#), (&long, r#""chunk_size":4"#)] {
        let error = model
            .forward_cached(&single(&[6]), &mut cache)
            .expect_err("arms");
        assert!(
            matches!(
                &error,
                InputError::CacheOfOtherArm { layer: 0, found, expected: own }
                    if found.contains(r#""chunk_size":2"#) && own.contains(expected)
            ),
            "{error}"
        );
    }
    assert_eq!(cache.lengths(), [5]);
    short
        .forward_cached(&single(&[6]), &mut cache)
        .expect("its own model");
}
