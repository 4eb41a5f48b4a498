//! Recorded values of a converted arm, computed once more by their definitions: from logits, hidden
//! states, weights and texts, with none of the code that recorded them.

use std::collections::BTreeSet;

use bsbr_attention::{Attention, AttentionInput};
use bsbr_data::storybook::{Domain, QaSpec, Split, Storybook};
use bsbr_gpt2::{Gpt2, PositionExtension, TokenBatch};
use bsbr_report::arms;
use bsbr_report::compare::host;
use bsbr_report::corpus::random;
use bsbr_report::experiments;
use bsbr_report::lab::Lab;
use bsbr_report::rarity::Rarity;
use bsbr_report::record::{Measurement, RANDOM};
use bsbr_report::spec::Spec;
use bsbr_train::finetune::Mix;
use bsbr_train::questions::{Question, long_texts};

use crate::common::close;
use crate::definitions::{
    NEAR, answer, best, closeness, cosine, first, holds, kl, mean, nats, number, outputs, overlap,
    question, scores, taken, weights, written,
};
use crate::tiny;

/// The arm whose records are computed once more: it loses something on every text.
const ARM: &str = "local";

/// Positions that the tiny model does not have.
const EXTENSION: PositionExtension = PositionExtension::RepeatLast { window: 512 };

fn spec(experiment: &str) -> Spec {
    tiny::spec(tiny::text(experiment))
}

/// The beginnings of documents of a split, from the domains in turn.
fn documents(lab: &Lab, split: Split, count: usize, length: usize) -> Vec<Vec<u32>> {
    let one = |at: usize| {
        let (domain, index) = (Domain::ALL[at % 5], (at / 5) as u64);
        let text = Storybook::new(1).plain(split, domain, index, length).text;
        let mut ids = lab.corpus().tokenizer().encode_document(&text).unwrap();
        ids.truncate(length);
        ids
    };
    (0..count).map(one).collect()
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
        let named = expected.map(|(quantity, value)| (format!("{prefix}{quantity}"), value));
        holds(&one, named);
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
    let training = documents(&lab, Split::Train, 4, 1024);
    let rarity = Rarity::count(&training, lab.dense().config().vocab_size, 2);
    for part in 0..2 {
        let keep = |at: usize| rarity.of(ids[at]) == part;
        expected.push((format!("rarity.{part}.kl"), of_logits(kl, &keep)));
        expected.push((format!("rarity.{part}.top1"), of_logits(top1, &keep)));
        expected.push((format!("rarity.{part}.cosine"), of_states(&keep)));
    }
    holds(&one, expected);
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
    let one = measured(&lab, &spec, RANDOM, 40);
    let ids = random(seed, 0, lab.dense().config().vocab_size, 40);
    let names = ["logits.kl", "logits.top1", "final.cosine"];
    let expected = closeness(lab.dense(), &model, &ids).map(|(_, value)| value);
    holds(&one, names.into_iter().zip(expected));
}

#[test]
fn answers_are_those_of_the_logits() {
    let (lab, spec) = (tiny::lab(), spec("qa"));
    let one = measured(&lab, &spec, "storybook questions", 20);
    let (question, between) = question(&lab, 20, 5);
    let model = |arm: &str| {
        let arm = spec.arm(arm).unwrap();
        lab.model_for_any_length(arm, spec.method.seed, EXTENSION)
            .unwrap()
    };
    let [dense, own] = ["dense", ARM].map(|arm| answer(&model(arm), &question));
    holds(&one, own);
    let beside = own.iter().zip(dense);
    let beside =
        beside.map(|((name, own), (_, dense))| (format!("{name}.minus_dense"), own - dense));
    holds(&one, beside);
    let tokens = question.ids.len() as f64;
    holds(&one, [("distance", between), ("tokens", tokens)]);
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
        holds(one, scores(text, &article));
        let same = number(*text == of("dense").texts["summary"]);
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
fn a_summary_is_greedy_decoding() {
    let lab = tiny::lab();
    let text = tiny::text("summarisation").replace("temperature = 1.0", "temperature = 0.0");
    let spec = tiny::spec(&text);
    let experiment = experiments::build(&spec).unwrap();
    let unit = experiment.units(&lab).unwrap().remove(0);
    let all = experiment.run_unit(&unit, &lab).unwrap();
    let [one, reference] = [ARM, "reference"].map(|id| first(&all, id, "storybook articles"));
    let article = Storybook::new(spec.method.seed).article(Split::Test, 0);
    let tokenizer = lab.corpus().tokenizer();
    let prompt = tokenizer.encode_document(&article.prompt()).unwrap();
    let model = lab
        .model_for_any_length(spec.arm(ARM).unwrap(), 1, EXTENSION)
        .unwrap();
    let found = written(&model, tokenizer, &prompt, 6);
    assert_eq!(one.texts["summary"], found.line);
    assert_eq!(one.values["new_tokens"], found.tokens as f64);
    assert_eq!(one.values["ended"], number(found.ended));
    assert_eq!(reference.values["tokens"], prompt.len() as f64);
    let words = article.highlights.join(" ").split_whitespace().count();
    assert_eq!(reference.values["words"], words as f64);
}

#[test]
fn perplexity_is_that_of_the_logits() {
    let (lab, spec) = (tiny::lab(), spec("perplexity"));
    let experiment = experiments::build(&spec).unwrap();
    let units = experiment.units(&lab).unwrap();
    let unit = units.iter().find(|unit| unit.source == "tale").unwrap();
    let all = experiment.run_unit(unit, &lab).unwrap();
    // A document of 700 words is more than is asked for, and so is the passage alone.
    let book = Storybook::new(spec.method.seed);
    let text = book.plain(Split::Test, Domain::Tale, 0, 700).text;
    let ids = lab.corpus().tokenizer().encode_document(&text).unwrap();
    let model = converted(&lab, &spec);
    // A piece is 64 tokens. With stride 32, half of a window before each other half of it is read
    // alone, but for what has nothing before it.
    let pieces = [
        [nats(&model, &ids[..65], 1..65); 2],
        [
            nats(&model, &ids[64..129], 1..65),
            nats(&model, &ids[32..97], 33..65) + nats(&model, &ids[64..129], 33..65),
        ],
    ];
    assert!((pieces[1][0] - pieces[1][1]).abs() > 1.0, "{pieces:?}");
    for (index, expected) in (0..).zip(pieces) {
        let mut own = all.iter();
        let one = own.find(|one| one.arm == ARM && one.index == index);
        let one = one.unwrap();
        for (stride, nats) in ["nats.stride64", "nats.stride32"].into_iter().zip(expected) {
            close(one.values[stride], nats, 1e-2, stride);
        }
        let tokenizer = lab.corpus().tokenizer();
        let read = |pieces: usize| tokenizer.decode(&ids[1..=64 * pieces]).unwrap();
        let [before, after] = [read(index as usize), read(index as usize + 1)];
        let words = |text: &str| text.split_whitespace().count();
        let sizes = [
            ("tokens", 64),
            ("words", words(&after) - words(&before)),
            ("bytes", after.len() - before.len()),
            ("passage.tokens", ids.len() - 1),
            ("passage.words", text.split_whitespace().count()),
            ("passage.bytes", text.len()),
        ];
        holds(one, sizes.map(|(name, size)| (name, size as f64)));
    }
}

/// The weights that an arm names itself.
fn named(attention: &Attention, input: AttentionInput) -> Vec<f32> {
    host(attention.weights(input).spread()).unwrap()
}

#[test]
fn maps_are_compared_row_by_row() {
    let (lab, spec) = (tiny::lab(), spec("attention-maps"));
    let one = measured(&lab, &spec, "tale", 80);
    let ids = lab.corpus().text(spec.method.seed, "tale", 0, 80).unwrap();
    let model = converted(&lab, &spec);
    let mut heads: Vec<[f64; 4]> = Vec::new();
    for layer in 0..2 {
        let [dense, arm] = [lab.dense(), &model].map(|model| weights(model, &ids, layer, named));
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
}

/// Of all heads of an arm the one whose rows are most like those of a head of the dense model.
#[test]
fn heads_are_matched_by_their_rows() {
    // Converted heads look where they looked; those of layers in another order do not.
    let (plain, spec) = (tiny::lab(), spec("attention-maps"));
    let mut reversed = plain.dense().clone();
    reversed.h.reverse();
    let lab = plain.with_given("published", reversed, "reversed").unwrap();
    let experiment = experiments::build(&spec).unwrap();
    let unit = experiment.units(&lab).unwrap().remove(0);
    let all = experiment.run_unit(&unit, &lab).unwrap();
    let ids = lab.corpus().text(1, "tale", 0, 80).unwrap();
    // 20 queries, evenly spread, with the last.
    let rows = |model: &Gpt2| -> Vec<Vec<Vec<f64>>> {
        let layers = (0..2).flat_map(|layer| weights(model, &ids, layer, taken));
        let all: Vec<f64> = layers.map(f64::from).collect();
        let picked = |map: &[f64]| {
            map.chunks(80)
                .skip(3)
                .step_by(4)
                .map(<[f64]>::to_vec)
                .collect()
        };
        all.chunks(80 * 80).map(picked).collect()
    };
    let dense = rows(lab.dense());
    let mut lost = 0;
    for arm in ["moments", "local", "published"] {
        let one = first(&all, arm, "tale");
        let heads = rows(&lab.model(spec.arm(arm).unwrap(), 1).unwrap());
        let mut own = Vec::new();
        for (place, head) in dense.iter().enumerate() {
            let alike = |of: &Vec<Vec<f64>>| mean(head.iter().zip(of).map(|(a, b)| cosine(a, b)));
            let found: Vec<f64> = heads.iter().map(alike).collect();
            let best = best(&found, 1)[0];
            own.push(number(best == place));
            let name = |quantity| format!("head.{:02}.{:02}.{quantity}", place / 2, place % 2);
            let expected = [(name("best"), best as f64), (name("own"), own[place])];
            holds(one, expected);
            lost += usize::from(best != place);
        }
        holds(one, [("maps.own", mean(own))]);
    }
    assert!(lost > 0, "each head matches itself in every arm");
}

/// No text that arms are chosen, calibrated or trained on shares a run of tokens with one that
/// anything is measured on, and no text that is trained on with one that is chosen on.
#[test]
fn splits_of_storybook_share_no_run_of_tokens() {
    // Storybook has few phrases; forty tokens in a row are of one document.
    let runs = |texts: &[Vec<u32>]| -> BTreeSet<Vec<u32>> {
        let runs = texts.iter().flat_map(|text| text.windows(40));
        runs.map(<[u32]>::to_vec).collect()
    };
    let lab = tiny::lab();
    let (corpus, book) = (lab.corpus(), Storybook::new(1));
    let tokenizer = corpus.tokenizer();
    let mut tests = Vec::new();
    for domain in corpus.domains() {
        tests.push(corpus.passage(1, &domain, 400).unwrap().ids);
        tests.extend((0..4).map(|index| corpus.text(1, &domain, index, 400).unwrap()));
    }
    for index in 0..8 {
        let article = corpus.article(1, index).unwrap();
        tests.push(tokenizer.encode_document(&article.training_text()).unwrap());
        let item = book.qa(Split::Test, index, &QaSpec::default());
        tests.push(Question::new(tokenizer, &item).unwrap().ids);
    }
    let mut training = corpus.training(1, 8_000, 400).unwrap();
    let mut choices = corpus.development(1, 20, 400).unwrap();
    for mix in [Mix::Plain, Mix::Questions] {
        let windows = corpus.windows(mix, 1, 400, 20, 8).unwrap();
        training.extend((0..20).map(|index| windows.window(index).unwrap().ids));
        choices.extend(windows.validation().map(|window| window.unwrap().ids));
    }
    let far = long_texts(tokenizer, 400, 3).unwrap();
    let far: Vec<Vec<u32>> = far.into_iter().map(|text| text.ids).collect();
    let [tests, training, choices, far] = [&tests, &training, &choices, &far].map(|all| runs(all));
    assert!(tests.len() > 8_000 && training.len() > 8_000 && choices.len() > 5_000);
    for (name, one, other) in [
        ("tests and training", &tests, &training),
        ("tests and choices", &tests, &choices),
        ("tests and far heads", &tests, &far),
        ("training and choices", &training, &choices),
    ] {
        assert!(one.is_disjoint(other), "{name}");
    }
}

#[test]
fn compressed_states_are_calibrated_on_training_text() {
    let lab = tiny::lab();
    let spec = tiny::spec(&crate::sweep::text("compression"));
    let arm = spec.arm("state-compression-4").unwrap();
    let bases = |model: Gpt2| -> Vec<Vec<f32>> {
        let mut layers = model.h.iter();
        let first = layers.next().unwrap().attn.bsbr.bases.as_ref().unwrap();
        vec![
            host(first.key.val()).unwrap(),
            host(first.value.val()).unwrap(),
        ]
    };
    // 32,768 tokens, in texts as long as the model.
    let of = |split| {
        let texts = documents(&lab, split, 342, tiny::POSITIONS);
        bases(arms::convert(lab.dense(), &arm.config, &texts).unwrap())
    };
    let found = bases(lab.model(arm, 1).unwrap());
    assert!(found == of(Split::Train));
    assert!(found != of(Split::Test) && found != of(Split::Validation));
}
