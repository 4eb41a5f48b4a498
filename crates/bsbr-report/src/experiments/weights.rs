//! Cost and savings of rounding the weights of linear layers.

use std::cell::RefCell;
use std::rc::Rc;

use bsbr_gpt2::ProductType;
use bsbr_train::evaluate::negative_log_likelihood;

use crate::decoding::{Context, Limits, PIECE};
use crate::experiments::beside::{Reference, set_closeness};
use crate::experiments::prelude::*;
use crate::experiments::sweep;
use crate::rounds::{SECONDS, Timing};

/// Timed: a forward pass to the logits of the last token.
const MODEL: &str = "model";
/// Timed: a token after a context, through the cache.
const DECODING: &str = "decoding";

/// Number of tokens generated per run.
const GENERATED: usize = 32;

/// Settings and counts.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Types of weights: `f32` for stored weights, `bf16`, `int8` and `int4`.
    pub weights: Vec<String>,
    /// Tokens of the timed passes.
    pub lengths: Vec<usize>,
    /// Tokens of context for generation.
    pub context: usize,
    /// Timed runs per row.
    pub runs: u64,
    /// The texts and questions.
    #[serde(flatten)]
    pub trial: sweep::Settings,
}

/// An arm, and the type of its linear layers' weights.
#[derive(Debug, Clone, PartialEq)]
struct Variant {
    /// Its row, with the arm's id for stored weights.
    subject: Subject,
    /// The arm's index.
    arm: usize,
    /// `None` for stored weights in f32.
    products: Option<ProductType>,
}

/// The rows of a table, all types of an arm before the next arm; `None` if a type is unknown.
fn rows(arms: &[ArmSpec], weights: &[String]) -> Option<Vec<Variant>> {
    let mut all = Vec::new();
    for (place, arm) in Subject::arms(arms).into_iter().enumerate() {
        for name in weights {
            let known = ProductType::ALL.into_iter();
            let products = known.into_iter().find(|one| one.name() == name)?;
            let rounded = products != ProductType::F32;
            let mut subject = arm.clone();
            subject.label = format!("{}, {name}", arm.label);
            if rounded {
                subject.id = format!("{}-{name}", arm.id);
                subject.default = false;
            }
            all.push(Variant {
                subject,
                arm: place,
                products: rounded.then_some(products),
            });
        }
    }
    Some(all)
}

/// Size in bytes of the weights of linear layers and of the output layer.
fn linear_bytes(model: &Gpt2) -> usize {
    match model.packed_bytes() {
        0 => {
            let config = model.config();
            let (size, inner) = (config.n_embd, config.inner_size());
            let linear = 4 * size * size + 2 * size * inner + 5 * size + inner;
            (config.n_layer * linear + config.vocab_size * size) * size_of::<f32>()
        }
        packed => packed,
    }
}

/// A row's model, or why it is missing.
type Model = Result<Gpt2, String>;

/// The experiment, and the models of its rows once they are made.
pub type WeightTypes = Frame<Settings, RefCell<Option<Rc<[Model]>>>>;

pub(super) fn boxed(spec: Spec) -> Boxed {
    let ones = ["weights", "lengths", "context", "runs"];
    let one = WeightTypes::read(spec, &ones, &["length", "candidates"])?;
    let known = rows(one.arms(), &one.settings.weights).is_some();
    one.require(known, "settings", "`weights` needs f32, bf16, int8 or int4")?;
    Ok(Box::new(one))
}

impl WeightTypes {
    fn rows(&self) -> Vec<Variant> {
        rows(self.arms(), &self.settings.weights).unwrap_or_default()
    }

    /// Each row's model, made on first request. Arms share packed weights.
    fn models(&self, lab: &Lab) -> Rc<[Model]> {
        if let Some(known) = &*self.own.borrow() {
            return known.clone();
        }
        let mut packed: Vec<Gpt2> = Vec::new();
        let mut made = |row: &Variant| -> Model {
            if lab.weights.is_some() {
                let reason = "this experiment rounds weights itself: run it without `--weights`";
                return Err(reason.to_owned());
            }
            let arm = &self.arms()[row.arm];
            let extension = self.settings.trial.extension;
            let model = lab.model_for_any_length(arm, self.seed(), extension)?;
            let Some(products) = row.products else {
                return Ok(model);
            };
            arms::packed(model, products, &mut packed).map_err(|error| error.to_string())
        };
        let models: Rc<[Model]> = self.rows().iter().map(&mut made).collect();
        *self.own.borrow_mut() = Some(models.clone());
        models
    }

    /// The timings of a unit, by round.
    fn timed(&self, unit: &Unit, lab: &Lab) -> Vec<Measurement> {
        let ids = random(self.seed(), 0, lab.dense().config().vocab_size, unit.length);
        let run = |model: Gpt2| match unit.source.as_str() {
            MODEL => model_run(model, &ids),
            _ => Ok(decoding_run(model, ids.clone())),
        };
        let models = self.models(lab);
        let of = |(row, model): (Variant, &Model)| {
            let bytes = model.as_ref().map_or(0, linear_bytes);
            let one = Case::timed(row.subject.id, unit.length, model.clone().and_then(run));
            one.map(move |one, run| {
                run(one)?;
                one.set("milliseconds", one.values[SECONDS] * 1e3);
                one.set("bytes", bytes as f64);
                Ok(())
            })
        };
        let cases: Vec<_> = self.rows().into_iter().zip(&*models).map(of).collect();
        Rounds::timed(self.settings.runs).speedups(&cases, &unit.source, self.dense())
    }

    /// Every row on one text, compared with the dense model with stored weights.
    fn text(&self, ids: &[u32], all: &mut [Measurement], lab: &Lab) -> Result<(), ReportError> {
        let models = self.models(lab);
        let dense = Reference::read(lab.dense(), ids)?;
        dense.compare(&models, all, compare::score, set_closeness)?;
        let nats = |model: &Gpt2| {
            let sum = negative_log_likelihood(model, ids, 1..ids.len());
            sum.map(|sum| sum / (ids.len() - 1) as f64)
        };
        let Ok(original) = nats(lab.dense()) else {
            return Ok(());
        };
        for (one, model) in all.iter_mut().zip(&*models) {
            if let Some(own) = model.as_ref().ok().and_then(|model| nats(model).ok()) {
                one.set("loss", own);
                one.set("perplexity.by_dense", (own - original).exp());
            }
        }
        Ok(())
    }

    /// Every row's answer to one question.
    fn question(&self, all: &mut [Measurement], lab: &Lab) -> Result<(), ReportError> {
        let Some(Measurement { length, index, .. }) = all.first() else {
            return Ok(());
        };
        let asked = [*length, self.settings.trial.candidates];
        let question = question(lab, self.seed(), asked, *index)?;
        for (one, model) in all.iter_mut().zip(&*self.models(lab)) {
            answer(one, model, &question);
            one.values.remove("exact");
        }
        Ok(())
    }
}

/// Mean seconds of a greedily generated token after a context.
fn decoding_run<'a>(model: Gpt2, ids: Vec<u32>) -> Timing<'a> {
    Box::new(move || {
        let mut context = Context::new(&model);
        context.read(&model, &ids, PIECE, Limits::NONE)?;
        context.generate(&model, GENERATED, Limits::NONE)
    })
}

impl Experiment for WeightTypes {
    fn units(&self, lab: &Lab) -> Units {
        let settings = &self.settings;
        let rows = self.rows().len();
        let passes = (rows as u64 * (settings.runs + 1)) as f64;
        let timed = |source: &str, length: usize, tokens: usize| {
            Unit::new(source, length, settings.runs, 0.35 * tokens as f64 * passes)
        };
        let lengths = settings.lengths.iter();
        let mut units: Vec<Unit> = lengths.map(|&n| timed(MODEL, n, n)).collect();
        // A single token takes longer than one of many.
        let tokens = settings.context + 8 * GENERATED;
        units.push(timed(DECODING, settings.context, tokens));
        let trial = sweep::units(&settings.trial, rows, lab)?;
        units.extend(weighed(trial, 2.0));
        Ok(units)
    }

    fn subjects(&self) -> Vec<Subject> {
        let rows = self.rows().into_iter();
        rows.map(|row| row.subject).collect()
    }

    fn run_unit(&self, unit: &Unit, lab: &Lab) -> Measured {
        if [MODEL, DECODING].contains(&unit.source.as_str()) {
            return Ok(self.timed(unit, lab));
        }
        let rows = self.subjects();
        unit.each(|index| {
            let mut all = unit.empty(rows.iter().map(|row| row.id.as_str()), index);
            if unit.source == QUESTIONS {
                self.question(&mut all, lab)?;
            } else {
                let corpus = lab.corpus();
                let ids = corpus.text(self.seed(), &unit.source, index, unit.length)?;
                self.text(&ids, &mut all, lab)?;
            }
            Ok(all)
        })
    }
}
