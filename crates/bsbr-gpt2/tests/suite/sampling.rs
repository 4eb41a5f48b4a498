//! Logits are filtered as in `transformers`, and tokens are sampled with the resulting
//! probabilities.
#![allow(clippy::expect_used, clippy::panic)]

use bsbr_gpt2::{GenerationConfig, GenerationError, Sampler};
use serde::Deserialize;

/// What `sampling.py` wrote.
#[derive(Deserialize)]
struct Golden {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    temperature: f64,
    top_k: Option<usize>,
    top_p: f64,
    min_p: f64,
    repetition_penalty: f64,
    no_repeat_ngram_size: usize,
    logits: Vec<f32>,
    context: Vec<u32>,
    processed: Vec<Option<f32>>,
    probabilities: Vec<f64>,
}

impl Case {
    fn sampler(&self, seed: u64) -> Sampler {
        let config = GenerationConfig {
            temperature: self.temperature,
            top_k: self.top_k,
            top_p: self.top_p,
            min_p: self.min_p,
            repetition_penalty: self.repetition_penalty,
            no_repeat_ngram_size: self.no_repeat_ngram_size,
            seed,
            ..Default::default()
        };
        Sampler::new(&config, 0).expect("settings")
    }
}

fn cases() -> Vec<Case> {
    let text = crate::common::read_text("sampling.json");
    let golden: Golden = serde_json::from_str(&text).expect("sampling.json");
    golden.cases
}

fn sampler(config: GenerationConfig) -> Sampler {
    Sampler::new(&config, 0).expect("settings")
}

fn sampling() -> GenerationConfig {
    GenerationConfig {
        temperature: 1.0,
        ..Default::default()
    }
}

#[test]
fn logits_are_processed_as_in_transformers() {
    for (i, case) in cases().iter().enumerate() {
        let found = case.sampler(0).process(&case.logits, &case.context);
        for (id, (found, expected)) in found.iter().zip(&case.processed).enumerate() {
            let expected = expected.unwrap_or(f32::NEG_INFINITY);
            let same = *found == expected || (found - expected).abs() < 1e-5;
            assert!(same, "case {i}, token {id}: {found}, expected {expected}");
        }
        let found = case.sampler(0).probabilities(&case.logits, &case.context);
        for (id, (found, expected)) in found.iter().zip(&case.probabilities).enumerate() {
            assert!(
                (found - expected).abs() < 1e-6,
                "case {i}, token {id}: {found}"
            );
        }
    }
}

#[test]
fn tokens_are_drawn_as_often_as_their_probability_says() {
    let draws = 20_000;
    for (i, case) in cases().iter().enumerate() {
        let mut sampler = case.sampler(i as u64);
        let mut counts = vec![0u32; case.logits.len()];
        for _ in 0..draws {
            let id = sampler
                .next_token(&case.logits, &case.context)
                .expect("finite");
            counts[id as usize] += 1;
        }
        for (id, (count, p)) in counts.iter().zip(&case.probabilities).enumerate() {
            let expected = p * f64::from(draws);
            // Five standard deviations of the count.
            let allowed = 5.0 * (expected * (1.0 - p)).sqrt() + 1e-9;
            let off = (f64::from(*count) - expected).abs();
            assert!(
                off <= allowed,
                "case {i}, token {id}: {count}, expected {expected}"
            );
        }
    }
}

#[test]
fn top_k_by_hand() {
    let top = |k| {
        sampler(GenerationConfig {
            top_k: Some(k),
            ..sampling()
        })
    };
    let logits = [0.5, 3.0, -1.0, 2.0, 2.0];
    let kept = |k: usize| -> Vec<usize> {
        let processed = top(k).process(&logits, &[]);
        (0..5).filter(|&id| processed[id].is_finite()).collect()
    };
    assert_eq!(kept(1), [1]);
    assert_eq!(kept(2), [1, 3, 4], "what ties with the last stays");
    assert_eq!(kept(3), [1, 3, 4]);
    assert_eq!(kept(4), [0, 1, 3, 4]);
    assert_eq!(kept(500), [0, 1, 2, 3, 4]);
}

#[test]
fn top_p_by_hand() {
    // Probabilities 0.5, 0.25, 0.15, 0.1, in another order.
    let logits = [0.15f32, 0.5, 0.1, 0.25].map(f32::ln);
    let kept = |top_p: f64| -> Vec<usize> {
        let sampler = sampler(GenerationConfig {
            top_p,
            ..sampling()
        });
        let processed = sampler.process(&logits, &[]);
        (0..4).filter(|&id| processed[id].is_finite()).collect()
    };
    assert_eq!(kept(0.0), [1]);
    assert_eq!(kept(0.49), [1]);
    assert_eq!(kept(0.51), [1, 3]);
    assert_eq!(kept(0.74), [1, 3]);
    assert_eq!(kept(0.76), [0, 1, 3]);
    assert_eq!(kept(0.91), [0, 1, 2, 3]);
    assert_eq!(kept(1.0), [0, 1, 2, 3]);
}

#[test]
fn the_first_of_equals_is_the_greedy_one() {
    let mut greedy = sampler(GenerationConfig::default());
    assert_eq!(
        greedy
            .next_token(&[1.0, 4.0, 4.0, 2.0], &[])
            .expect("finite"),
        1
    );
    let probabilities = greedy.probabilities(&[1.0, 4.0, 4.0, 2.0], &[]);
    assert_eq!(probabilities, [0.0, 1.0, 0.0, 0.0]);
}

#[test]
fn ids_beyond_the_logits_are_not_penalised() {
    let config = GenerationConfig {
        repetition_penalty: 2.0,
        ..Default::default()
    };
    let found = sampler(config).process(&[4.0, -4.0, 1.0], &[0, 0, 1, 70]);
    assert_eq!(found, [2.0, -8.0, 1.0]);
}

#[test]
fn no_n_gram_repeats_in_a_row_that_grows() {
    for size in [1, 2, 3] {
        let config = GenerationConfig {
            no_repeat_ngram_size: size,
            ..Default::default()
        };
        let mut sampler = sampler(config);
        let mut ids = vec![2, 0, 2, 0];
        for step in 0..12u32 {
            let logits: Vec<f32> = (0..20).map(|id| (id * (step + 3) % 7 % 3) as f32).collect();
            ids.push(sampler.next_token(&logits, &ids).expect("some are left"));
        }
        // What the prompt repeats itself is not to be helped.
        let new = ids.windows(size).skip(5 - size);
        for (at, ngram) in new.enumerate() {
            let at = at + 5 - size;
            let before = ids.windows(size).take(at).any(|other| other == ngram);
            assert!(!before, "{ngram:?} in {ids:?} for {size}");
        }
    }
    let config = GenerationConfig {
        no_repeat_ngram_size: 1,
        ..Default::default()
    };
    let error = sampler(config)
        .next_token(&[1.0, 2.0], &[0, 1])
        .expect_err("nothing is left");
    assert!(error.to_string().contains("forbid every token"), "{error}");
}

#[test]
fn what_cannot_be_chosen_among_is_an_error() {
    let low = f32::NEG_INFINITY;
    for config in [sampling(), GenerationConfig::default()] {
        for logits in [
            vec![f32::NAN, 1.0],
            vec![f32::INFINITY, 1.0],
            vec![low, low],
            vec![],
        ] {
            let error = sampler(config.clone())
                .next_token(&logits, &[])
                .expect_err("no choice");
            assert!(
                matches!(error, GenerationError::NotFinite { .. }),
                "{error}"
            );
        }
        assert_eq!(
            sampler(config).next_token(&[low, -3.0], &[]).expect("one"),
            1
        );
    }
    let cold = GenerationConfig {
        temperature: 1e-6,
        ..sampling()
    };
    assert_eq!(
        sampler(cold)
            .next_token(&[1e30, 3e30, 2e30], &[])
            .expect("one"),
        1
    );
}
