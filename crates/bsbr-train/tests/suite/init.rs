//! What the heads of an untrained model attend to.

use bsbr_gpt2::{Gpt2, Gpt2Config, TokenBatch};
use burn::tensor::{Device, Tensor};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

const TOKENS: usize = 400;
const FOUND: usize = TOKENS - 60;

fn model() -> Gpt2 {
    let config = Gpt2Config {
        vocab_size: 500,
        n_positions: 1024,
        n_embd: 192,
        n_layer: 3,
        n_head: 3,
        bos_token_id: None,
        eos_token_id: None,
        ..Gpt2Config::default()
    };
    bsbr_train::init(&config, 5, &Device::default()).unwrap()
}

/// Weights of each layer's heads from an untrained model, which reads `ids` from `offset` on. `[H, N, N]`
fn maps(model: &Gpt2, ids: &[u32], offset: usize) -> Vec<Tensor<3>> {
    let batch = TokenBatch::single(ids).unwrap();
    let mut hidden = model.embed(&batch, offset);
    let mut maps = Vec::new();
    for block in &model.h {
        let input = block
            .attn
            .project(block.ln_1.forward(hidden.clone()), batch.padding());
        maps.push(block.attn.bsbr.weights(input).spread().squeeze_dim(0));
        hidden = block.forward(hidden, batch.padding());
    }
    maps
}

/// Weight on each earlier token in the row of `query`.
fn row(map: &Tensor<3>, head: usize, query: usize) -> Vec<f32> {
    map.clone()
        .slice([head..head + 1, query..query + 1])
        .into_data()
        .try_to_vec()
        .unwrap()
}

fn ids() -> Vec<u32> {
    let mut rng = ChaCha8Rng::seed_from_u64(9);
    let mut ids: Vec<u32> = (0..TOKENS).map(|_| rng.random_range(0..500)).collect();
    // The last three tokens stood before FOUND as well.
    let found: Vec<u32> = ids[FOUND - 3..FOUND].to_vec();
    ids[TOKENS - 3..].copy_from_slice(&found);
    ids
}

fn largest(row: &[f32]) -> usize {
    (0..row.len())
        .max_by(|&a, &b| row[a].total_cmp(&row[b]))
        .unwrap()
}

#[test]
fn sizes_that_no_model_can_have_are_refused_before_anything_is_made_of_them() {
    let config = Gpt2Config {
        n_head: 1_000_000_000_000,
        ..Gpt2Config::default()
    };
    let error = bsbr_train::init(&config, 5, &Device::default()).unwrap_err();
    assert!(error.to_string().contains("n_head"), "{error}");
}

#[test]
fn heads_of_the_first_layer_look_back_by_their_number() {
    for offset in [0, 500] {
        let maps = maps(&model(), &ids(), offset);
        for head in 0..3 {
            for query in [50, 200, TOKENS - 1] {
                let row = row(&maps[0], head, query);
                assert_eq!(
                    largest(&row),
                    query - head - 1,
                    "head {head}, token {query}"
                );
            }
        }
    }
}

#[test]
fn a_matching_head_finds_what_followed_the_same_tokens() {
    let maps = maps(&model(), &ids(), 300);
    let row = row(&maps[1], 0, TOKENS - 1);
    // Among tokens about as far back.
    let around = &row[FOUND - 20..FOUND + 20];
    assert_eq!(largest(around), 20, "{around:?}");
}

#[test]
fn neighbourhood_heads_reach_farther_one_after_the_other() {
    let maps = maps(&model(), &ids(), 0);
    let near = |head: usize, reach: usize| -> f32 {
        row(&maps[2], head, TOKENS - 1)[TOKENS - reach..]
            .iter()
            .sum()
    };
    assert!(near(0, 64) > 0.8, "{}", near(0, 64));
    assert!(near(0, 64) > near(1, 64) && near(1, 64) > near(2, 64));
}
