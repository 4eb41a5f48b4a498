//! Continuations equal those of `transformers`.
#![allow(clippy::expect_used, clippy::panic)]

use crate::common::{GOLDENS, golden, load, single};
use bsbr_gpt2::{GenerationConfig, GenerationError, InputError, PositionExtension, TokenBatch};
use burn::tensor::Device;

fn greedy(max_new_tokens: usize) -> GenerationConfig {
    GenerationConfig {
        max_new_tokens,
        ..Default::default()
    }
}

#[test]
fn greedy_is_that_of_transformers_token_for_token() {
    for (folder, _) in GOLDENS {
        let (model, golden) = (load(folder), golden(folder));
        let new = model.generate(&golden.batch(), &greedy(24)).expect(folder);
        assert_eq!(new, golden.ids("greedy"), "{folder}");
    }
}

#[test]
fn padded_rows_continue_as_in_transformers_and_as_alone() {
    for folder in ["base", "wide"] {
        let (model, golden) = (load(folder), golden(folder));
        let rows = golden.unpadded();
        let batch = TokenBatch::padded(&rows).expect("rows");
        let together = model.generate(&batch, &greedy(24)).expect(folder);
        assert_eq!(together, golden.ids("padded.greedy"), "{folder}");
        for (row, ids) in rows.iter().enumerate() {
            let alone = model.generate(&single(ids), &greedy(24)).expect(folder);
            assert_eq!(together[row..=row], alone, "{folder}, row {row}");
        }

        let sampled = GenerationConfig {
            temperature: 1.0,
            top_k: Some(20),
            seed: 11,
            ..greedy(16)
        };
        let together = model.generate(&batch, &sampled).expect(folder);
        for (row, ids) in rows.iter().enumerate() {
            let own = GenerationConfig {
                seed: 11 + row as u64,
                ..sampled.clone()
            };
            let alone = model.generate(&single(ids), &own).expect(folder);
            assert_eq!(together[row..=row], alone, "{folder}, row {row}");
        }
    }
}

#[test]
fn the_repetition_penalty_is_that_of_transformers() {
    let (model, golden) = (load("base"), golden("base"));
    let penalty = GenerationConfig {
        repetition_penalty: 1.3,
        ..greedy(24)
    };
    let new = model.generate(&golden.batch(), &penalty).expect("base");
    assert_eq!(new, golden.ids("penalty.greedy"));
    assert_ne!(new, golden.ids("greedy"));
}

#[test]
fn stop_tokens_end_a_row_and_belong_to_it() {
    let (model, golden) = (load("base"), golden("base"));
    let stop = golden.ids("stop.token")[0][0];
    let stopping = GenerationConfig {
        stop_tokens: vec![stop],
        ..greedy(24)
    };
    let new = model.generate(&golden.batch(), &stopping).expect("base");
    // `transformers` fills a row that has ended up with its padding token, here the stop token.
    let expected: Vec<Vec<u32>> = golden
        .ids("stop.greedy")
        .iter()
        .map(|row| {
            let end = row
                .iter()
                .position(|&id| id == stop)
                .map_or(row.len(), |at| at + 1);
            row[..end].to_vec()
        })
        .collect();
    assert_eq!(new, expected);
    assert!(new[0].len() < 24 && new[0].last() == Some(&stop));
}

#[test]
fn seeds_decide_and_nothing_else_does() {
    let (model, batch) = (load("base"), golden("base").batch());
    let sampled = |seed| GenerationConfig {
        temperature: 1.5,
        seed,
        ..greedy(20)
    };
    let run = |config: &GenerationConfig| model.generate(&batch, config).expect("base");
    assert_eq!(run(&sampled(1)), run(&sampled(1)));
    assert_ne!(run(&sampled(1)), run(&sampled(2)));
    let still = GenerationConfig {
        top_k: Some(1),
        ..sampled(3)
    };
    assert_eq!(run(&still), run(&greedy(20)));
    let cold = GenerationConfig {
        temperature: 0.0,
        top_k: Some(2),
        top_p: 0.1,
        ..sampled(4)
    };
    assert_eq!(run(&cold), run(&greedy(20)));
}

#[test]
fn tokens_are_told_as_they_are_chosen() {
    let (model, batch) = (load("base"), golden("base").batch());
    let new = model.generate(&batch, &greedy(5)).expect("base");
    let mut told = vec![Vec::new(); 2];
    let mut generation = model.generation(&batch, &greedy(5)).expect("base");
    while let Some(tokens) = generation.next_tokens().expect("base") {
        for (row, id) in tokens {
            told[row].push(id);
            assert_eq!(generation.new_tokens(row), told[row]);
        }
    }
    assert_eq!(told, new);
    assert_eq!(generation.into_tokens(), new);

    let mut generation = model.generation(&batch, &greedy(5)).expect("base");
    generation.next_tokens().expect("base");
    generation.stop(0);
    while generation.next_tokens().expect("base").is_some() {}
    assert_eq!(
        generation.into_tokens(),
        [new[0][..1].to_vec(), new[1].clone()]
    );
}

#[test]
fn prompts_that_are_read_in_pieces_go_on_as_those_read_at_once() {
    let (model, golden) = (load("base"), golden("base"));
    let rows = golden.unpadded();
    let batch = TokenBatch::padded(&rows).expect("rows");
    for prefill_chunk_size in [1, 5, 64] {
        let config = GenerationConfig {
            prefill_chunk_size,
            ..greedy(24)
        };
        let new = model.generate(&batch, &config).expect("base");
        assert_eq!(new, golden.ids("padded.greedy"), "{prefill_chunk_size}");
    }

    let config = GenerationConfig {
        prefill_chunk_size: 5,
        ..greedy(3)
    };
    let mut generation = model
        .generation(&single(&rows[0]), &config)
        .expect("a prompt of 12 tokens");
    let mut read = vec![generation.tokens_read()];
    while generation.read_next().expect("ids") {
        read.push(generation.tokens_read());
    }
    assert_eq!((read, generation.prompt_tokens()), (vec![0, 5, 10, 12], 12));
}

#[test]
fn a_cache_with_the_first_tokens_of_a_prompt_is_gone_on_from() {
    let (model, ids) = (load("base"), (0..20).collect::<Vec<u32>>());
    let expected = model.generate(&single(&ids), &greedy(8)).expect("base");
    let mut cache = model.new_cache();
    model
        .prefill(&single(&ids[..15]), &mut cache, 4)
        .expect("ids");
    for _ in 0..2 {
        let mut generation = model
            .generation_after(&ids, &greedy(8), cache.clone())
            .expect("five are left");
        while generation.next_tokens().expect("base").is_some() {}
        assert_eq!(generation.into_tokens(), expected);
    }
    for prompt in [&ids[..15], &ids[..3]] {
        let error = model
            .generation_after(prompt, &greedy(8), cache.clone())
            .expect_err("nothing is left");
        assert!(
            error.to_string().contains("the cache holds 15 tokens"),
            "{error}"
        );
    }
}

#[test]
fn a_model_in_training_generates_the_same() {
    let model = crate::common::load_on("base", &Device::default().autodiff());
    let golden = golden("base");
    let new = model.generate(&golden.batch(), &greedy(24)).expect("base");
    assert_eq!(new, golden.ids("greedy"));
}

#[test]
fn all_positions_can_be_used_and_no_more() {
    let model = load("base");
    let prompt: Vec<u32> = (0..40).collect();
    // The 25th new token needs no position of its own: 40 + 24 = 64.
    assert_eq!(
        model.generate(&single(&prompt), &greedy(25)).expect("fits")[0].len(),
        25
    );
    let error = model
        .generate(&single(&prompt), &greedy(26))
        .expect_err("too long");
    let expected = GenerationError::TooLong {
        row: 0,
        prompt: 40,
        max_new_tokens: 26,
        needed: 65,
        n_positions: 64,
    };
    assert_eq!(error, expected);
    assert!(
        error.to_string().contains("lower `max_new_tokens`"),
        "{error}"
    );
    let too_many = GenerationConfig {
        max_new_tokens: usize::MAX,
        ..greedy(1)
    };
    assert!(model.generate(&single(&prompt), &too_many).is_err());

    let mut cache = model.new_cache();
    model
        .forward_cached(&single(&prompt), &mut cache)
        .expect("fits");
    let error = model
        .forward_cached(&single(&[1; 25]), &mut cache)
        .expect_err("too long");
    assert_eq!(
        error,
        InputError::TooLong {
            seq_len: 65,
            n_positions: 64
        }
    );
    assert_eq!(
        cache.lengths(),
        [40],
        "a call that fails leaves the cache as it was"
    );
    model
        .forward_cached(&single(&[1; 24]), &mut cache)
        .expect("fits");
}

/// A long row that has ended does not keep a short one from going on.
#[test]
fn rows_that_ended_do_not_run_out_of_positions() {
    let model = load("base")
        .with_position_extension(PositionExtension::None)
        .expect("none");
    let long: Vec<u32> = (0..40).collect();
    let short = [3, 1, 4, 1, 5];
    let first = model.generate(&single(&long), &greedy(1)).expect("one")[0][0];
    let stopping = GenerationConfig {
        stop_tokens: vec![first],
        ..greedy(25)
    };
    let alone = model.generate(&single(&short), &stopping).expect("short");
    let batch = TokenBatch::padded(&[&long[..], &short[..]]).expect("rows");
    let together = model.generate(&batch, &stopping).expect("rows");
    assert_eq!(together, [vec![first], alone[0].clone()]);
}

#[test]
fn settings_out_of_bounds_are_refused_by_name() {
    let (model, batch) = (load("base"), single(&[1, 2]));
    let ok = greedy(2);
    type Change = fn(&mut GenerationConfig);
    let wrong: [(Change, &str); 13] = [
        (|c| c.max_new_tokens = 0, "max_new_tokens"),
        (|c| c.temperature = -1.0, "temperature"),
        (|c| c.temperature = f64::NAN, "temperature"),
        (|c| c.temperature = f64::INFINITY, "temperature"),
        (|c| c.top_k = Some(0), "top_k"),
        (|c| c.top_p = -0.1, "top_p"),
        (|c| c.top_p = 1.1, "top_p"),
        (|c| c.top_p = f64::NAN, "top_p"),
        (|c| c.min_p = 1.5, "min_p"),
        (|c| c.prefill_chunk_size = 0, "prefill_chunk_size"),
        (|c| c.repetition_penalty = 0.0, "repetition_penalty"),
        (|c| c.repetition_penalty = f64::NAN, "repetition_penalty"),
        (|c| c.stop_tokens = vec![97], "stop_tokens"),
    ];
    for (change, setting) in wrong {
        let mut config = ok.clone();
        change(&mut config);
        let error = model.generate(&batch, &config).expect_err(setting);
        let GenerationError::Setting { setting: found, .. } = &error else {
            panic!("{setting}: {error}");
        };
        assert_eq!(*found, setting);
    }
    let unknown = model.generate(&single(&[1, 97]), &ok).expect_err("id");
    assert!(matches!(
        unknown,
        GenerationError::Input(InputError::TokenOutOfRange { .. })
    ));
}

#[test]
fn damaged_weights_are_an_error() {
    let model = bsbr_gpt2::parameters::replace_tensors(load("base"), |name, shape| {
        let damaged = vec![f32::NAN; shape.iter().product()];
        (name == "ln_f.bias").then(|| burn::tensor::TensorData::new(damaged, shape.to_vec()))
    });
    let error = model
        .generate(&single(&[1, 2]), &greedy(2))
        .expect_err("NaN");
    assert!(
        matches!(
            error,
            GenerationError::NotFinite {
                row: 0,
                step: 0,
                ..
            }
        ),
        "{error}"
    );
}
