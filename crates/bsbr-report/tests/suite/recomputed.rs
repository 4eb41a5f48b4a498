//! Recorded values of a converted arm, computed once more by their definitions: from logits, hidden
//! states, weights and texts, with none of the code that recorded them.

use bsbr_attention::AttentionInput;
use bsbr_data::storybook::{QaSpec, Split, Storybook};
use bsbr_gpt2::{Gpt2, PositionExtension, TokenBatch};
use bsbr_metrics::rouge::rouge;
use bsbr_report::compare::host;
use bsbr_report::experiments;
use bsbr_report::lab::Lab;
use bsbr_report::rarity::Rarity;
use bsbr_report::record::Measurement;
use bsbr_report::spec::Spec;
use bsbr_train::questions::Question;

use crate::common::close;
use crate::tiny;

/// The arm whose records are computed once more: it loses something on every text.
const ARM: &str = "local";

/// The specification of an experiment among the tiny ones.
fn spec(experiment: &str) -> Spec {
    let named = format!("experiment = \"{experiment}\"");
    let text = tiny::SPECS.iter().find(|text| text.contains(&named));
    tiny::spec(text.unwrap())
}

/// What an experiment measures of the arm on the first sample of a source, at a length.
fn measured(lab: &Lab, spec: &Spec, source: &str, length: usize) -> Measurement {
    let experiment = experiments::build(spec).unwrap();
    let units = experiment.units(lab).unwrap();
    let unit = units
        .iter()
        .find(|unit| unit.source == source && unit.length == length)
        .unwrap_or_else(|| panic!("{units:?}"));
    let all = experiment.run_unit(unit, lab).unwrap();
    let mut own = all.into_iter().filter(|one| one.arm == ARM);
    own.find(|one| one.index == unit.samples.start).unwrap()
}

/// The arm's model.
fn converted(lab: &Lab, spec: &Spec) -> Gpt2 {
    lab.model(spec.arm(ARM).unwrap(), spec.method.seed).unwrap()
}

/// Final hidden states and logits, a row for each position.
struct Outputs {
    hidden: Vec<Vec<f64>>,
    logits: Vec<Vec<f64>>,
}

fn outputs(model: &Gpt2, ids: &[u32]) -> Outputs {
    let states = model
        .hidden_states(&TokenBatch::single(ids).unwrap())
        .unwrap();
    let rows = |values: Vec<f32>| -> Vec<Vec<f64>> {
        let width = values.len() / ids.len();
        let rows = values.chunks(width);
        rows.map(|row| row.iter().map(|&x| f64::from(x)).collect())
            .collect()
    };
    Outputs {
        hidden: rows(host(states.clone()).unwrap()),
        logits: rows(host(model.logits(states)).unwrap()),
    }
}

fn log_softmax(row: &[f64]) -> Vec<f64> {
    let highest = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let sum: f64 = row.iter().map(|x| (x - highest).exp()).sum();
    row.iter().map(|x| x - highest - sum.ln()).collect()
}

/// Σ p ln(p / q), p being the dense model's.
fn kl(dense: &[f64], arm: &[f64]) -> f64 {
    let (p, q) = (log_softmax(dense), log_softmax(arm));
    p.iter().zip(&q).map(|(p, q)| p.exp() * (p - q)).sum()
}

fn cosine(a: &[f64], b: &[f64]) -> f64 {
    let dot = |a: &[f64], b: &[f64]| -> f64 { a.iter().zip(b).map(|(a, b)| a * b).sum() };
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

/// The ids of the k greatest logits; of equal ones, the lower id comes first.
fn best(row: &[f64], k: usize) -> Vec<usize> {
    let mut ids: Vec<usize> = (0..row.len()).collect();
    ids.sort_by(|&a, &b| row[b].total_cmp(&row[a]).then(a.cmp(&b)));
    ids.truncate(k);
    ids
}

/// The share of the dense model's k likeliest tokens that are among the arm's.
fn overlap(dense: &[f64], arm: &[f64], k: usize) -> f64 {
    let own = best(arm, k);
    let kept = best(dense, k)
        .into_iter()
        .filter(|id| own.contains(id))
        .count();
    kept as f64 / k as f64
}

fn mean(values: impl IntoIterator<Item = f64>) -> f64 {
    let values: Vec<f64> = values.into_iter().collect();
    values.iter().sum::<f64>() / values.len() as f64
}

/// Sums of a few thousand f32 products.
const NEAR: f64 = 2e-4;

#[test]
fn agreement_is_that_of_the_logits() {
    let (lab, spec) = (tiny::lab(), spec("agreement"));
    let one = measured(&lab, &spec, "tale", 80);
    let ids = lab.corpus().text(spec.method.seed, "tale", 0, 80).unwrap();
    let (dense, arm) = (
        outputs(lab.dense(), &ids),
        outputs(&converted(&lab, &spec), &ids),
    );
    for (prefix, first) in [("", 0), ("tail.", 60)] {
        let over = |of: &dyn Fn(usize) -> f64| mean((first..80).map(of));
        let logits =
            |of: fn(&[f64], &[f64]) -> f64| over(&|at| of(&dense.logits[at], &arm.logits[at]));
        let expected = [
            ("top1", logits(|d, a| overlap(d, a, 1))),
            ("top5", logits(|d, a| overlap(d, a, 5))),
            ("top10", logits(|d, a| overlap(d, a, 10))),
            ("kl", logits(kl)),
            (
                "cosine",
                over(&|at| cosine(&dense.hidden[at], &arm.hidden[at])),
            ),
        ];
        for (quantity, value) in expected {
            close(
                one.values[&format!("{prefix}{quantity}")],
                value,
                NEAR,
                quantity,
            );
        }
        // None of them is what it would be of the dense model.
        assert!(
            one.values[&format!("{prefix}kl")] > 0.01,
            "{:?}",
            one.values
        );
        let (top5, top10) = (&one.values["top5"], &one.values["top10"]);
        assert!(one.values["top1"] < 1.0 && top5 != top10);
    }
    assert_eq!(one.values.len(), 10);
}

#[test]
fn similarity_is_that_of_hidden_states_and_logits() {
    let (lab, spec) = (tiny::lab(), spec("similarity"));
    let one = measured(&lab, &spec, "tale", 80);
    let seed = spec.method.seed;
    let ids = lab.corpus().text(seed, "tale", 0, 80).unwrap();
    let model = converted(&lab, &spec);
    let (dense, arm) = (outputs(lab.dense(), &ids), outputs(&model, &ids));
    let of_logits = |of: fn(&[f64], &[f64]) -> f64, keep: &dyn Fn(usize) -> bool| {
        let kept = (0..80).filter(|&at| keep(at));
        mean(kept.map(|at| of(&dense.logits[at], &arm.logits[at])))
    };
    let of_states = |keep: &dyn Fn(usize) -> bool| {
        let kept = (0..80).filter(|&at| keep(at));
        mean(kept.map(|at| cosine(&dense.hidden[at], &arm.hidden[at])))
    };
    let squares = |row: &[f64]| row.iter().map(|x| x * x).sum::<f64>();
    let error = |at: usize| -> f64 {
        let (a, b) = (&dense.hidden[at], &arm.hidden[at]);
        a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum()
    };
    let width = dense.hidden[0].len() as f64;
    let all = |_: usize| true;
    let top1 = |d: &[f64], a: &[f64]| overlap(d, a, 1);
    let mut expected = vec![
        ("final.cosine".to_owned(), of_states(&all)),
        (
            "final.mse".to_owned(),
            mean((0..80).map(|at| error(at) / width)),
        ),
        (
            "final.relative_mse".to_owned(),
            mean((0..80).map(|at| error(at) / squares(&dense.hidden[at]))),
        ),
        ("logits.kl".to_owned(), of_logits(kl, &all)),
        ("logits.cosine".to_owned(), of_logits(cosine, &all)),
        ("logits.top1".to_owned(), of_logits(top1, &all)),
    ];
    for start in (0..80).step_by(16) {
        let keep = |at: usize| (start..start + 16).contains(&at);
        let name = |quantity: &str| format!("position.{start:05}.{quantity}");
        expected.push((name("kl"), of_logits(kl, &keep)));
        expected.push((name("top1"), of_logits(top1, &keep)));
        expected.push((name("cosine"), of_states(&keep)));
    }
    let training = lab.corpus().training(seed, 4_000, 1024).unwrap();
    let rarity = Rarity::count(&training, lab.dense().config().vocab_size, 2);
    let known = lab.rarity(seed, 4_000, 2).unwrap();
    for part in 0..2 {
        let keep = |at: usize| known.of(ids[at]) == part;
        expected.push((format!("rarity.{part}.kl"), of_logits(kl, &keep)));
        expected.push((format!("rarity.{part}.top1"), of_logits(top1, &keep)));
        expected.push((format!("rarity.{part}.cosine"), of_states(&keep)));
    }
    // Frequent tokens of one count are frequent in another.
    assert!(
        ids.iter()
            .filter(|&&id| rarity.of(id) == known.of(id))
            .count()
            > 60
    );
    for (quantity, value) in expected {
        close(one.values[&quantity], value, NEAR, &quantity);
    }
    // The residual stream of each block, the last after the final norm.
    let layers = |model: &Gpt2| -> Vec<Vec<f32>> {
        let all = model
            .all_hidden_states(&TokenBatch::single(&ids).unwrap())
            .unwrap();
        all.into_iter()
            .map(|states| host(states).unwrap())
            .collect()
    };
    let (dense, arm) = (layers(lab.dense()), layers(&model));
    assert_eq!(dense.len(), 3);
    for (layer, (dense, arm)) in dense.iter().zip(&arm).enumerate() {
        let rows = dense.chunks(32).zip(arm.chunks(32)).map(|(dense, arm)| {
            let wide = |row: &[f32]| row.iter().map(|&x| f64::from(x)).collect::<Vec<_>>();
            let (dense, arm) = (wide(dense), wide(arm));
            let error: f64 = dense.iter().zip(&arm).map(|(a, b)| (a - b).powi(2)).sum();
            [cosine(&dense, &arm), error / 32.0, error / squares(&dense)]
        });
        let rows: Vec<[f64; 3]> = rows.collect();
        for (place, quantity) in ["cosine", "mse", "relative_mse"].into_iter().enumerate() {
            let name = format!("hidden.{layer:02}.{quantity}");
            close(
                one.values[&name],
                mean(rows.iter().map(|row| row[place])),
                NEAR,
                &name,
            );
        }
    }
}

#[test]
fn answers_are_those_of_the_logits() {
    let (lab, spec) = (tiny::lab(), spec("qa"));
    let one = measured(&lab, &spec, "storybook questions", 20);
    let qa = QaSpec {
        min_distance_words: 20,
        num_candidates: 5,
        ..QaSpec::default()
    };
    let item = Storybook::new(spec.method.seed).qa(Split::Test, 0, &qa);
    let question = Question::new(lab.corpus().tokenizer(), &item).unwrap();
    let extension = PositionExtension::RepeatLast { window: 512 };
    let model = |arm: &str| {
        let arm = spec.arm(arm).unwrap();
        lab.model_for_any_length(arm, spec.method.seed, extension)
            .unwrap()
    };
    // A candidate's tokens one after the other, each read without a cache.
    let score = |model: &Gpt2, candidate: &[u32]| -> (f64, bool) {
        let mut ids = question.ids.clone();
        let (mut nats, mut greedy) = (0.0, true);
        for &token in candidate {
            let row = outputs(model, &ids).logits.pop().unwrap();
            nats += log_softmax(&row)[token as usize];
            greedy &= best(&row, 1) == [token as usize];
            ids.push(token);
        }
        (nats, greedy)
    };
    let answer = |arm: &str| -> [f64; 3] {
        let model = model(arm);
        let scores: Vec<(f64, bool)> = question
            .candidates
            .iter()
            .map(|one| score(&model, one))
            .collect();
        let right = scores[question.right];
        let others = scores
            .iter()
            .enumerate()
            .filter(|(at, _)| *at != question.right);
        let among = others.map(|(_, one)| one.0).all(|other| other < right.0);
        let total: f64 = scores.iter().map(|one| one.0.exp()).sum();
        let number = |is: bool| f64::from(u8::from(is));
        [number(among), number(right.1), right.0.exp() / total]
    };
    let (dense, own) = (answer("dense"), answer(ARM));
    for (place, quantity) in ["among", "exact", "share"].into_iter().enumerate() {
        close(one.values[quantity], own[place], 1e-3, quantity);
        let beside = format!("{quantity}.minus_dense");
        close(
            one.values[&beside],
            own[place] - dense[place],
            2e-3,
            &beside,
        );
    }
    assert_eq!(one.values["tokens"], question.ids.len() as f64);
    assert_eq!(one.values["distance"], question.distance as f64);
}

#[test]
fn scores_of_summaries_are_those_of_their_texts() {
    let (lab, spec) = (tiny::lab(), spec("summarisation"));
    let experiment = experiments::build(&spec).unwrap();
    let unit = experiment.units(&lab).unwrap().remove(0);
    let all = experiment.run_unit(&unit, &lab).unwrap();
    let of = |id: &str| {
        all.iter()
            .find(|one| one.arm == id && one.index == 0)
            .unwrap()
    };
    let article = Storybook::new(spec.method.seed).article(Split::Test, 0);
    // What a tiny model writes has no sentence of three words; the first sentences of the article do.
    for id in [ARM, "lead-3"] {
        let one = of(id);
        let text = &one.texts["summary"];
        let lines = text.replace(". ", ".\n");
        let scores = rouge(&article.highlights.join("\n"), &lines, true).unwrap();
        close(one.values["rouge1"], scores.rouge1.f1, 1e-8, "rouge1");
        close(one.values["rouge2"], scores.rouge2.f1, 1e-8, "rouge2");
        close(one.values["rougeL"], scores.rouge_l.f1, 1e-8, "rougeL");
        assert_eq!(one.values["words"], text.split_whitespace().count() as f64);
        let same = f64::from(u8::from(*text == of("dense").texts["summary"]));
        assert_eq!(one.values["as_dense"], same);
        for quantity in ["rouge1", "rouge2", "rougeL", "rougeLsum"] {
            let beside = one.values[quantity] - of("dense").values[quantity];
            let name = format!("{quantity}.minus_dense");
            close(one.values[&name], beside, 1e-8, &name);
        }
    }
    assert!(of("lead-3").values["rouge1"] > of("lead-3").values["rouge2"]);
    assert_eq!(of("reference").texts["article"], article.text);
}

#[test]
fn perplexity_is_that_of_the_logits() {
    let (lab, spec) = (tiny::lab(), spec("perplexity"));
    let one = measured(&lab, &spec, "tale", 64);
    let passage = lab.corpus().passage(spec.method.seed, "tale", 150).unwrap();
    let model = converted(&lab, &spec);
    let nats = |read: &[u32], scored: std::ops::Range<usize>| -> f64 {
        let logits = outputs(&model, &read[..read.len() - 1]).logits;
        scored
            .map(|at| -log_softmax(&logits[at - 1])[read[at] as usize])
            .sum()
    };
    // The first piece is 64 tokens after the first: one window, or one of its second half more.
    close(
        one.values["nats.stride64"],
        nats(&passage.ids[..65], 1..65),
        1e-2,
        "stride 64",
    );
    close(
        one.values["nats.stride32"],
        nats(&passage.ids[..65], 1..65),
        1e-2,
        "stride 32",
    );
    assert_eq!(one.values["tokens"], 64.0);
    assert_eq!(one.values["passage.tokens"], (passage.ids.len() - 1) as f64);
    assert_eq!(one.values["passage.words"], passage.extent.words as f64);
    assert_eq!(one.values["passage.bytes"], passage.extent.bytes as f64);
}

/// What each token of each head attends to in a layer. `[H · N · N]`
fn weights(model: &Gpt2, ids: &[u32], layer: usize) -> Vec<f32> {
    let batch = TokenBatch::single(ids).unwrap();
    let mut x = model.embed(&batch, 0);
    let mut found = Vec::new();
    for block in &model.h[..=layer] {
        let mut seen: Option<AttentionInput> = None;
        x = block.forward_with(x, batch.padding(), |attention, input| {
            seen = Some(input.clone());
            attention.forward(input)
        });
        found = host(block.attn.bsbr.weights(seen.unwrap()).spread()).unwrap();
    }
    found
}

#[test]
fn maps_are_compared_row_by_row() {
    let (lab, spec) = (tiny::lab(), spec("attention-maps"));
    let one = measured(&lab, &spec, "tale", 80);
    let ids = lab.corpus().text(spec.method.seed, "tale", 0, 80).unwrap();
    let model = converted(&lab, &spec);
    let mut heads: Vec<[f64; 4]> = Vec::new();
    for layer in 0..2 {
        let [dense, arm] = [lab.dense(), &model].map(|model| weights(model, &ids, layer));
        for head in 0..2 {
            let row = |of: &[f32], query: usize, keys: &std::ops::Range<usize>| -> Vec<f64> {
                let start = (head * 80 + query) * 80;
                of[start..start + 80][keys.clone()]
                    .iter()
                    .map(|&x| f64::from(x))
                    .collect()
            };
            let alike = |keys: &dyn Fn(usize) -> std::ops::Range<usize>| {
                let rows = (0..80)
                    .map(|query| (query, keys(query)))
                    .filter(|(_, keys)| keys.len() > 1);
                mean(rows.map(|(query, keys)| {
                    let found = cosine(&row(&dense, query, &keys), &row(&arm, query, &keys));
                    // A row of weights that are all zero is as unlike as can be.
                    if found.is_nan() { 0.0 } else { found }
                }))
            };
            // Two sinks, chunks of 16, of which the one before is near.
            let chunk = |query: usize| match query {
                0 | 1 => 0,
                query => 2 + (query - 2) / 16 * 16,
            };
            let far = |query: usize| 2..chunk(query).saturating_sub(16).max(2);
            let reaching = (0..80).filter(|&query| far(query).len() > 1);
            let mass = mean(reaching.map(|query| row(&dense, query, &far(query)).iter().sum()));
            let values = [
                alike(&|query| chunk(query)..query + 1),
                alike(&|query| 0..chunk(query)),
                alike(&far),
                mass,
            ];
            let names = ["within", "between", "far", "dense_far_mass"];
            for (quantity, value) in names.into_iter().zip(values) {
                let name = format!("head.{layer:02}.{head:02}.{quantity}");
                close(one.values[&name], value, 1e-3, &name);
            }
            heads.push(values);
        }
    }
    for (place, quantity) in ["within", "between", "far"].into_iter().enumerate() {
        let expected = mean(heads.iter().map(|head| head[place]));
        close(
            one.values[&format!("maps.{quantity}")],
            expected,
            1e-3,
            quantity,
        );
    }
    let total: f64 = heads.iter().map(|head| head[3]).sum();
    let weighted = heads.iter().map(|head| head[2] * head[3]).sum::<f64>() / total;
    close(
        one.values["maps.far_weighted"],
        weighted,
        1e-3,
        "far_weighted",
    );
    let own =
        mean((0..4).map(|head| one.values[&format!("head.{:02}.{:02}.own", head / 2, head % 2)]));
    close(one.values["maps.own"], own, 1e-9, "own");
}

#[test]
fn texts_for_measuring_are_none_that_anything_is_chosen_or_trained_on() {
    let lab = tiny::lab();
    let corpus = lab.corpus();
    let tests: Vec<Vec<u32>> = corpus
        .domains()
        .iter()
        .flat_map(|domain| (0..4).map(|index| corpus.text(1, domain, index, 80).unwrap()))
        .collect();
    let others = [
        corpus.training(1, 4_000, 80).unwrap(),
        corpus.development(1, 20, 80).unwrap(),
    ];
    // Storybook has few phrases; forty tokens in a row are of one document.
    let runs = |text: &[u32]| text.windows(40).map(<[u32]>::to_vec).collect::<Vec<_>>();
    let known: std::collections::BTreeSet<Vec<u32>> =
        tests.iter().flat_map(|one| runs(one)).collect();
    for text in others.iter().flatten() {
        assert!(
            runs(text).iter().all(|run| !known.contains(run)),
            "{text:?}"
        );
    }
    let [training, development] = &others;
    assert!(training.iter().all(|one| !development.contains(one)));
}
