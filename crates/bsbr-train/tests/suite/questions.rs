//! Questions to a model whose answers are known: its logits are the same whatever it has read.

use bsbr_gpt2::parameters::replace_tensors;
use bsbr_gpt2::{Gpt2, Gpt2Config};
use bsbr_train::questions::Question;
use burn::tensor::{Device, TensorData};

/// Tokens of the vocabulary; the logit of token v is `LOGITS[v]`.
const LOGITS: [f32; 6] = [0.0, 1.5, -0.5, 2.0, 0.5, 3.0];

fn model() -> Gpt2 {
    let config = Gpt2Config {
        vocab_size: LOGITS.len(),
        n_positions: 16,
        n_embd: 4,
        n_layer: 1,
        n_head: 1,
        bos_token_id: None,
        eos_token_id: None,
        ..Gpt2Config::default()
    };
    // The last norm gives its bias alone, and the output layer picks the first dimension of it.
    replace_tensors(
        Gpt2::zeros(&config, &Device::default()).unwrap(),
        |name, shape| {
            let mut values = vec![0.0f32; shape.iter().product()];
            match name {
                "ln_f.bias" => values[0] = 1.0,
                "wte.weight" => {
                    for (row, logit) in values.chunks_mut(4).zip(LOGITS) {
                        row[0] = logit;
                    }
                }
                _ => {}
            }
            Some(TensorData::new(values, shape.to_vec()))
        },
    )
}

/// What a candidate's tokens are worth, in nats.
fn nats(tokens: &[u32]) -> f64 {
    let sum: f64 = LOGITS.iter().map(|&logit| f64::from(logit).exp()).sum();
    let logits = tokens
        .iter()
        .map(|&token| f64::from(LOGITS[token as usize]));
    logits.sum::<f64>() - tokens.len() as f64 * sum.ln()
}

#[test]
fn the_right_candidate_may_stand_anywhere() {
    let model = model();
    let sets: [&[&[u32]]; 4] = [
        &[&[1], &[3], &[0], &[2]],
        &[&[5], &[3], &[4]],
        &[&[5, 5], &[3], &[5, 1], &[5, 5, 5]],
        &[&[0, 1], &[2, 2]],
    ];
    for candidates in sets {
        let scores: Vec<f64> = candidates.iter().map(|tokens| nats(tokens)).collect();
        let total: f64 = scores.iter().map(|score| score.exp()).sum();
        for right in 0..candidates.len() {
            let question = Question {
                ids: vec![1, 2, 3],
                candidates: candidates.iter().map(|tokens| tokens.to_vec()).collect(),
                right,
                distance: 0,
            };
            let answer = question.answer(&model).unwrap();
            let best = (0..scores.len()).all(|at| at == right || scores[at] < scores[right]);
            assert_eq!(answer.among, best, "{candidates:?}, {right}");
            let greedy = candidates[right].iter().all(|&token| token == 5);
            assert_eq!(answer.exact, greedy, "{candidates:?}, {right}");
            let share = scores[right].exp() / total;
            assert!(
                (answer.share - share).abs() < 1e-6,
                "{} {share}",
                answer.share
            );
        }
    }
}

/// As likely is not likelier.
#[test]
fn a_tie_is_no_right_answer() {
    let question = Question {
        ids: vec![1],
        candidates: vec![vec![3], vec![3]],
        right: 1,
        distance: 0,
    };
    let answer = question.answer(&model()).unwrap();
    assert!(!answer.among);
    assert!((answer.share - 0.5).abs() < 1e-9);
}
