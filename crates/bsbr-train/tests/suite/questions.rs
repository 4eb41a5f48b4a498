//! Questions to a model with known answers: its logits are the same for every text.

use bsbr_data::storybook::{Domain, FactKind, QaItem, QaSpec, Split, Storybook};
use bsbr_data::tokenizer::TextTokenizer;
use bsbr_gpt2::parameters::replace_tensors;
use bsbr_gpt2::{Gpt2, Gpt2Config};
use bsbr_train::evaluate::{EvaluationSpec, evaluate};
use bsbr_train::questions::Question;
use burn::tensor::{Device, TensorData};

/// Tokens of the vocabulary; the logit of token v is `LOGITS[v]`.
const LOGITS: [f32; 6] = [0.0, 1.5, -0.5, 2.0, 0.5, 3.0];

fn model() -> Gpt2 {
    model_of(&LOGITS, 16)
}

/// A model with these logits, for texts of so many tokens.
fn model_of(logits: &[f32], n_positions: usize) -> Gpt2 {
    let config = Gpt2Config {
        vocab_size: logits.len(),
        n_positions,
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
                    for (row, logit) in values.chunks_mut(4).zip(logits) {
                        row[0] = *logit;
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

/// A tokenizer whose tokens are bytes, and the end of a text.
fn bytes() -> TextTokenizer {
    let tokenizer = TextTokenizer::train_bpe([""], 257).unwrap();
    assert_eq!(tokenizer.vocab_size(), 257);
    tokenizer
}

#[test]
fn a_question_has_its_answer_and_its_distance() {
    let tokenizer = bytes();
    let context = "Edda keeps a lamp. Then it rains.";
    let at = context.find("lamp").unwrap();
    let prompt = "\nQuestion: What? Answer: Edda keeps a";
    for right in 0..3 {
        let mut candidates = vec!["boat".to_owned(), "banner".to_owned()];
        candidates.insert(right, "lamp".to_owned());
        let item = QaItem {
            context: context.to_owned(),
            prompt: prompt.to_owned(),
            answer: "lamp".to_owned(),
            candidates: candidates.clone(),
            kind: FactKind::ALL[0],
            domain: Domain::ALL[0],
            evidence: at..at + 4,
            distance_words: 3,
        };
        let question = Question::new(&tokenizer, &item).unwrap();
        assert_eq!(question.right, right);
        let text = tokenizer.decode(&question.ids[1..]).unwrap();
        assert_eq!(text, format!("{context}{prompt}"));
        assert_eq!(question.distance, ". Then it rains.".len() + prompt.len());
        let spelled: Vec<String> = question
            .candidates
            .iter()
            .map(|ids| tokenizer.decode(ids).unwrap())
            .collect();
        let expected: Vec<String> = candidates.iter().map(|one| format!(" {one}")).collect();
        assert_eq!(spelled, expected);
    }
}

/// All that an evaluation says, from the logits and the texts alone.
#[test]
fn an_evaluation_is_what_the_logits_say() {
    let tokenizer = bytes();
    let logits: Vec<f32> = (0..257)
        .map(|token| (token * 37 % 101) as f32 / 40.0)
        .collect();
    let log_sum = logits.iter().map(|&x| f64::from(x).exp()).sum::<f64>().ln();
    let nats = |text: &str| -> f64 {
        let ids = tokenizer.encode(text).unwrap();
        let of = |&id: &u32| f64::from(logits[id as usize]) - log_sum;
        ids.iter().map(of).sum()
    };
    let spec = EvaluationSpec {
        seed: 5,
        split: Split::Validation,
        texts_per_domain: 2,
        words_per_text: 20,
        distances: vec![0, 40],
        questions: 12,
        num_candidates: 3,
    };
    let book = Storybook::new(spec.seed);
    let items = |min_distance_words| -> Vec<QaItem> {
        let qa = QaSpec {
            min_distance_words,
            num_candidates: 3,
            ..QaSpec::default()
        };
        (0..spec.questions)
            .map(|index| book.qa(spec.split, index, &qa))
            .collect()
    };
    // The end of a text before it, and the longest candidate with its space behind it.
    let needed = |item: &QaItem| {
        let longest = item
            .candidates
            .iter()
            .map(|one| 1 + one.len())
            .max()
            .unwrap();
        1 + item.context.len() + item.prompt.len() + longest
    };
    let mut lengths: Vec<usize> = items(0).iter().map(needed).collect();
    lengths.sort_unstable();
    let n_positions = lengths[10];
    let found = evaluate(&model_of(&logits, n_positions), &tokenizer, &spec).unwrap();

    let texts: Vec<String> = Domain::ALL
        .iter()
        .flat_map(|&domain| (0..2).map(move |index| (domain, index)))
        .map(|(domain, index)| book.plain(spec.split, domain, index, 20).text)
        .collect();
    let count: usize = texts.iter().map(String::len).sum();
    let loss = -texts.iter().map(|text| nats(text)).sum::<f64>() / count as f64;
    assert_eq!(found.tokens, count as u64);
    assert!(
        (found.perplexity.ln() - loss).abs() < 1e-5,
        "{}",
        found.perplexity
    );

    assert_eq!(found.qa.len(), 2);
    let mut right = 0;
    for (score, &distance) in found.qa.iter().zip(&spec.distances) {
        assert_eq!(score.min_distance_words, distance);
        let items = items(distance);
        let asked: Vec<&QaItem> = items
            .iter()
            .filter(|item| needed(item) <= n_positions)
            .collect();
        assert_eq!(score.questions, asked.len() as u64);
        let far = |item: &&QaItem| item.context.len() - item.evidence.end + item.prompt.len();
        let mean = asked.iter().map(far).sum::<usize>() as f64 / asked.len().max(1) as f64;
        assert!((score.mean_distance_tokens - mean).abs() < 1e-9, "{mean}");
        let is_best = |item: &&&QaItem| {
            let own = nats(&format!(" {}", item.answer));
            let others = item.candidates.iter().filter(|one| **one != item.answer);
            others.clone().count() == 2
                && others.map(|one| nats(&format!(" {one}"))).all(|x| x < own)
        };
        let best = asked.iter().filter(is_best).count() as u64;
        assert_eq!((score.among_candidates, score.exact), (best, 0));
        right += best;
    }
    assert_eq!(found.qa[0].questions, 11);
    // Some are right and some are not.
    assert!(
        (1..found.qa[0].questions + found.qa[1].questions).contains(&right),
        "{right}"
    );
}
