//! The models of one arm on one sample.

use bsbr_data::article::Article;
use bsbr_gpt2::Gpt2;
use bsbr_train::questions::Question;

use crate::compare::{self, States};
use crate::error::ReportError;
use crate::experiments::recovery::Named;
use crate::experiments::summarisation::{Pen, scored};
use crate::record::Measurement;

/// Perplexity, and agreement with the original, on a text.
pub(in crate::experiments) fn text(
    models: &[Named],
    original: &Gpt2,
    ids: &[u32],
    new: impl Fn(&str) -> Measurement,
) -> Result<Vec<Measurement>, ReportError> {
    let reference = States::last_of(original, ids)?;
    let mut all = Vec::with_capacity(models.len());
    for (id, model) in models {
        let mut one = new(id);
        match model {
            Err(reason) => one = one.without_values(reason.clone()),
            Ok(model) => {
                let states = States::last_of(model, ids)?;
                one.set("nll", states.nll(model, ids));
                let run = [(model.clone(), states)];
                let scores = compare::logits(original, &reference, &run)?;
                match scores.into_iter().next() {
                    Some(Ok(scores)) => {
                        let top1 = compare::mean(&scores, |_| true, |one| one.agreement.top1);
                        let kl = compare::mean(&scores, |_| true, |one| one.kl);
                        for (quantity, value) in [("top1", top1), ("kl", kl)] {
                            if let Some(value) = value {
                                one.set(quantity, value);
                            }
                        }
                    }
                    Some(Err(error)) => one = one.without_values(error.to_string()),
                    None => {}
                }
            }
        }
        all.push(one);
    }
    Ok(all)
}

/// The summary of an article, and its scores.
pub(in crate::experiments) fn summary(
    models: &[Named],
    article: &Article,
    pen: &Pen<'_>,
    stemming: bool,
    new: impl Fn(&str) -> Measurement,
) -> Vec<Measurement> {
    let write = |(id, model): &Named| {
        let written = model
            .as_ref()
            .map_err(String::clone)
            .and_then(|m| pen.write(m));
        match written {
            Ok(written) => scored(new(id), &written.text, article, stemming),
            Err(reason) => new(id).without_values(reason),
        }
    };
    models.iter().map(write).collect()
}

/// The answer to a question.
pub(in crate::experiments) fn question(
    models: &[Named],
    question: &Question,
    new: impl Fn(&str) -> Measurement,
) -> Vec<Measurement> {
    let ask = |(id, model): &Named| {
        let mut one = new(id);
        one.set("distance", question.distance as f64);
        let answer = model.as_ref().map_err(String::clone);
        match answer.and_then(|model| question.answer(model).map_err(|error| error.to_string())) {
            Ok(answer) => {
                one.set("among", f64::from(u8::from(answer.among)));
                one.set("exact", f64::from(u8::from(answer.exact)));
                one
            }
            Err(reason) => one.without_values(reason),
        }
    };
    models.iter().map(ask).collect()
}
