//! Quantities by their definitions, from logits and hidden states, with none of the code that records
//! them.

use bsbr_attention::{Attention, AttentionInput};
use bsbr_data::article::Article;
use bsbr_data::storybook::{QaSpec, Split, Storybook};
use bsbr_data::tokenizer::TextTokenizer;
use bsbr_gpt2::{Gpt2, PositionExtension, TokenBatch};
use bsbr_metrics::rouge::rouge;
use bsbr_report::arms;
use bsbr_report::compare::host;
use bsbr_report::lab::Lab;
use bsbr_report::record::Measurement;
use bsbr_train::questions::Question;

use crate::common::close;

/// Sums of a few thousand f32 products, relative to what they are.
pub const NEAR: f64 = 2e-4;

/// Final hidden states and logits, a row for each position.
pub struct Outputs {
    pub hidden: Vec<Vec<f64>>,
    pub logits: Vec<Vec<f64>>,
}

pub fn outputs(model: &Gpt2, ids: &[u32]) -> Outputs {
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

pub fn log_softmax(row: &[f64]) -> Vec<f64> {
    let highest = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let sum: f64 = row.iter().map(|x| (x - highest).exp()).sum();
    row.iter().map(|x| x - highest - sum.ln()).collect()
}

/// Σ p ln(p / q), p being the dense model's.
pub fn kl(dense: &[f64], arm: &[f64]) -> f64 {
    let (p, q) = (log_softmax(dense), log_softmax(arm));
    p.iter().zip(&q).map(|(p, q)| p.exp() * (p - q)).sum()
}

pub fn cosine(a: &[f64], b: &[f64]) -> f64 {
    let dot = |a: &[f64], b: &[f64]| -> f64 { a.iter().zip(b).map(|(a, b)| a * b).sum() };
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

/// The ids of the k greatest logits; of equal ones, the lower id comes first.
pub fn best(row: &[f64], k: usize) -> Vec<usize> {
    let mut ids: Vec<usize> = (0..row.len()).collect();
    ids.sort_by(|&a, &b| row[b].total_cmp(&row[a]).then(a.cmp(&b)));
    ids.truncate(k);
    ids
}

/// The share of the dense model's k most likely tokens that are among the arm's.
pub fn overlap(dense: &[f64], arm: &[f64], k: usize) -> f64 {
    let own = best(arm, k);
    let kept = best(dense, k)
        .into_iter()
        .filter(|id| own.contains(id))
        .count();
    kept as f64 / k as f64
}

pub fn mean(values: impl IntoIterator<Item = f64>) -> f64 {
    let values: Vec<f64> = values.into_iter().collect();
    values.iter().sum::<f64>() / values.len() as f64
}

/// 1 for true and 0 for false, as in records.
pub fn number(is: bool) -> f64 {
    f64::from(u8::from(is))
}

/// Means over all positions of a text.
pub fn closeness(dense: &Gpt2, arm: &Gpt2, ids: &[u32]) -> [(&'static str, f64); 3] {
    let (dense, arm) = (outputs(dense, ids), outputs(arm, ids));
    let over = |of: &dyn Fn(usize) -> f64| mean((0..ids.len()).map(of));
    let (p, q) = (&dense.logits, &arm.logits);
    [
        ("kl", over(&|at| kl(&p[at], &q[at]))),
        ("top1", over(&|at| overlap(&p[at], &q[at], 1))),
        (
            "cosine",
            over(&|at| cosine(&dense.hidden[at], &arm.hidden[at])),
        ),
    ]
}

/// What the tokens at these places cost after all before them, in nats.
pub fn nats(model: &Gpt2, ids: &[u32], scored: std::ops::Range<usize>) -> f64 {
    let logits = outputs(model, &ids[..ids.len() - 1]).logits;
    let one = |at: usize| -log_softmax(&logits[at - 1])[ids[at] as usize];
    scored.map(one).sum()
}

/// The mean negative log likelihood of all tokens but the first.
pub fn loss(model: &Gpt2, ids: &[u32]) -> f64 {
    nats(model, ids, 1..ids.len()) / (ids.len() - 1) as f64
}

/// The answer to a question: a candidate's tokens one after the other, each read without a cache.
pub fn answer(model: &Gpt2, question: &Question) -> [(&'static str, f64); 3] {
    let score = |candidate: &Vec<u32>| -> (f64, bool) {
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
    let scores: Vec<(f64, bool)> = question.candidates.iter().map(score).collect();
    let right = scores[question.right];
    let mut others = scores.iter().enumerate();
    let among = others.all(|(at, other)| at == question.right || other.0 < right.0);
    let total: f64 = scores.iter().map(|one| one.0.exp()).sum();
    [
        ("among", number(among)),
        ("exact", number(right.1)),
        ("share", right.0.exp() / total),
    ]
}

/// What a model writes after a prompt.
pub struct Written {
    pub line: String,
    pub tokens: usize,
    pub ended: bool,
}

/// The most likely tokens one by one, each after all before it are read without a cache, up to the end
/// of a line or `most`.
pub fn written(model: &Gpt2, tokenizer: &TextTokenizer, prompt: &[u32], most: usize) -> Written {
    let mut ids = prompt.to_vec();
    let mut ended = false;
    while ids.len() < prompt.len() + most && !ended {
        let row = outputs(model, &ids).logits.pop().unwrap();
        let next = best(&row, 1)[0] as u32;
        let is_line = tokenizer.decode(&[next]).unwrap().contains('\n');
        ended = is_line || Some(next) == tokenizer.end_of_text_id();
        ids.push(next);
    }
    let own = &ids[prompt.len()..];
    let read: Vec<u32> = own
        .iter()
        .copied()
        .filter(|&id| Some(id) != tokenizer.end_of_text_id())
        .collect();
    let text = tokenizer.decode(&read).unwrap();
    Written {
        line: text.split('\n').next().unwrap().trim().to_owned(),
        tokens: own.len(),
        ended,
    }
}

/// The scores of a summary beside the highlights, with stems, a sentence a line.
pub fn scores(summary: &str, article: &Article) -> [(&'static str, f64); 5] {
    let lines = summary.replace(". ", ".\n");
    let found = rouge(&article.highlights.join("\n"), &lines, true).unwrap();
    [
        ("rouge1", found.rouge1.f1),
        ("rouge2", found.rouge2.f1),
        ("rougeL", found.rouge_l.f1),
        ("rougeLsum", found.rouge_lsum.f1),
        ("words", summary.split_whitespace().count() as f64),
    ]
}

/// A storybook question of the test split, and the tokens between its fact and its end.
pub fn question(lab: &Lab, distance: usize, candidates: usize) -> (Question, f64) {
    let qa = QaSpec {
        min_distance_words: distance,
        num_candidates: candidates,
        ..QaSpec::default()
    };
    let item = Storybook::new(1).qa(Split::Test, 0, &qa);
    let tokenizer = lab.corpus().tokenizer();
    let between = format!("{}{}", &item.context[item.evidence.end..], item.prompt);
    let between = tokenizer.encode(&between).unwrap().len() as f64;
    (Question::new(tokenizer, &item).unwrap(), between)
}

/// Whether the records of a tuned model are what it gives on a text of 80 tokens, a question about a
/// fact 60 words back with 4 candidates, and an article that it continues by `most` tokens.
pub fn holds_of_tuned(all: &[Measurement], id: &str, model: &Gpt2, lab: &Lab, most: usize) {
    let extension = PositionExtension::RepeatLast { window: 64 };
    let model = model.clone().with_position_extension(extension).unwrap();
    let ids = lab.corpus().text(1, "tale", 0, 80).unwrap();
    let text = first(all, id, "tale");
    let [kl, top1, _] = closeness(lab.dense(), &model, &ids);
    holds(text, [kl, top1, ("nll", loss(&model, &ids))]);

    let (question, between) = question(lab, 60, 4);
    let [among, exact, _] = answer(&model, &question);
    let asked = first(all, id, "storybook questions");
    holds(asked, [among, exact, ("distance", between)]);

    let article = Storybook::new(1).article(Split::Test, 0);
    let tokenizer = lab.corpus().tokenizer();
    let prompt = tokenizer.encode_document(&article.prompt()).unwrap();
    let line = written(&model, tokenizer, &prompt, most).line;
    let summary = first(all, id, "storybook articles");
    assert_eq!(summary.texts["summary"], line, "{id}");
    holds(summary, scores(&line, &article));
}

/// What each token of each head attends to in a layer, as `of` finds it. `[H · N · N]`
pub fn weights(
    model: &Gpt2,
    ids: &[u32],
    layer: usize,
    of: impl Fn(&Attention, AttentionInput) -> Vec<f32>,
) -> Vec<f32> {
    let batch = TokenBatch::single(ids).unwrap();
    let mut x = model.embed(&batch, 0);
    for block in &model.h[..layer] {
        x = block.forward_with(x, batch.padding(), |attention, input| {
            attention.forward(input)
        });
    }
    let block = &model.h[layer];
    let input = block.attn.project(block.ln_1.forward(x), batch.padding());
    of(&block.attn.bsbr, input)
}

/// The same from what it gives for values that are one direction each.
pub fn taken(attention: &Attention, input: AttentionInput) -> Vec<f32> {
    arms::weights(attention, input).unwrap()
}

/// Whether these are the recorded values.
pub fn holds<N: AsRef<str>>(one: &Measurement, expected: impl IntoIterator<Item = (N, f64)>) {
    for (quantity, value) in expected {
        let quantity = quantity.as_ref();
        let what = format!("{quantity} of {} on {}", one.arm, one.source);
        let found = one.values.get(quantity);
        let found = found.unwrap_or_else(|| panic!("{what}: {:?}", one.missing));
        close(*found, value, 2e-7 + 2e-5 * value.abs(), &what);
    }
}

/// The measurement of an arm on the first sample of a source.
pub fn first<'a>(all: &'a [Measurement], arm: &str, source: &str) -> &'a Measurement {
    let mut own = all.iter();
    let found =
        own.find(|one| (one.arm.as_str(), one.source.as_str(), one.index) == (arm, source, 0));
    found.unwrap_or_else(|| panic!("{arm} on {source}"))
}
