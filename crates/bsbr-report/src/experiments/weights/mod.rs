//! Cost and savings of rounding the weights of linear layers.

mod rows;

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Instant;

use bsbr_data::storybook::{QaSpec, Split, Storybook};
use bsbr_gpt2::{Gpt2, PositionExtension};
use bsbr_train::evaluate::negative_log_likelihood;
use bsbr_train::questions::Question;
use serde::Deserialize;

use crate::arms;
use crate::compare;
use crate::corpus::random;
use crate::error::ReportError;
use crate::experiment::{Experiment, Unit, batches, weighed};
use crate::experiments::beside::{Reference, set_closeness};
use crate::experiments::common::{dense_place, in_turns};
use crate::experiments::frame::Frame;
use crate::lab::Lab;
use crate::present::subject::Subject;
use crate::reading::{PIECE, likeliest, read, read_on};
use crate::record::{Measurement, Pool, Records};
use crate::rounds::{Contestant, Rounds, SECONDS, Timing, model_run};
use crate::section::{Cell, Style, Verdict};
use crate::spec::{Spec, dense};
use crate::verdict::Bounds;
use rows::{Variant, rows};

/// Version of the method.
pub const VERSION: u32 = 1;

/// Timed: a forward pass to the logits of the last token.
const MODEL: &str = "model";
/// Timed: a token after a context, through the cache.
const DECODING: &str = "decoding";
/// The source of questions, whatever the other texts.
const QUESTIONS: &str = "storybook questions";

/// Number of tokens generated per run.
const GENERATED: usize = 32;

/// The maximum growth of perplexity in 8 bits.
const LIMIT: f64 = 1.01;

/// Settings that `--quick` keeps.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Types of weights: `f32` for stored weights, `bf16` and `int8`.
    pub weights: Vec<String>,
    /// Tokens of the timed passes.
    pub lengths: Vec<usize>,
    /// Tokens of context for generation.
    pub context: usize,
    /// Tokens per text.
    pub length: usize,
    /// The minimum number of words between fact and question.
    pub distance: usize,
    /// Number of candidates, including the correct one.
    pub candidates: usize,
    /// The embeddings of positions beyond the model's.
    #[serde(default)]
    pub extension: PositionExtension,
}

/// Counts that `--quick` reduces.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Counts {
    /// Timed runs per row.
    pub runs: u64,
    /// Total number of texts, from the domains in turn.
    pub texts: u64,
    /// Questions.
    pub questions: u64,
    /// Texts or questions per unit.
    pub per_unit: u64,
}

/// A row's model, or why it is missing.
type Model = Result<Gpt2, String>;

/// The experiment, and the models of its rows once they are made.
pub type WeightTypes = Frame<Settings, Counts, RefCell<Option<Rc<[Model]>>>>;

pub(super) fn boxed(spec: Spec) -> Result<Box<dyn Experiment>, ReportError> {
    let one = Frame::<Settings, Counts>::new(spec)?.with(RefCell::new(None));
    one.require_lengths("lengths", &one.settings.lengths)?;
    let settings = &one.settings;
    let known = rows(one.arms(), &settings.weights);
    one.require(
        known.is_some_and(|rows| !rows.is_empty()),
        "settings",
        "`weights` needs f32, bf16 or int8",
    )?;
    let sound = settings.context > 0 && settings.length > 1 && settings.candidates >= 2;
    let message = "`context` must be above 0, `length` above 1, and `candidates` at least 2";
    one.require(sound, "settings", message)?;
    one.require(one.counts.runs > 0, "counts", "`runs` must be above 0")?;
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
            if lab.weights().is_some() {
                return Err(
                    "this experiment rounds weights itself: run it without `--weights`".to_owned(),
                );
            }
            let arm = &self.arms()[row.arm];
            let model = lab.model_for_any_length(arm, self.seed(), self.settings.extension)?;
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
            let bytes = model.as_ref().map_or(0, rows::bytes);
            let one = Contestant::timed(row.id, unit.length, model.clone().and_then(run));
            one.map(move |one, run| {
                run(one)?;
                one.set("milliseconds", one.values[SECONDS] * 1e3);
                one.set("bytes", bytes as f64);
                Ok(())
            })
        };
        let contestants: Vec<_> = self.rows().into_iter().zip(&*models).map(of).collect();
        let dense = dense(self.arms()).map(|arm| arm.id.as_str());
        Rounds::timed(self.counts.runs).speedups(&contestants, &unit.source, dense)
    }

    /// Every row on one text, compared with the dense model with stored weights.
    fn text(&self, unit: &Unit, index: u64, lab: &Lab) -> Result<Vec<Measurement>, ReportError> {
        let ids = lab
            .corpus()
            .text(self.seed(), &unit.source, index, unit.length)?;
        let models = self.models(lab);
        let mut all = self.empty_rows(unit, index);
        let reference = Reference::read(lab.dense(), &ids)?;
        reference.compare(
            &models,
            &mut all,
            |_, dense, row| compare::score(dense, row),
            set_closeness,
        )?;
        let nats = |model: &Gpt2| {
            let sum = negative_log_likelihood(model, &ids, 1..ids.len());
            sum.map(|sum| sum / (ids.len() - 1) as f64)
        };
        let Ok(original) = nats(lab.dense()) else {
            return Ok(all);
        };
        for (one, model) in all.iter_mut().zip(&*models) {
            if let Some(own) = model.as_ref().ok().and_then(|model| nats(model).ok()) {
                one.set("loss", own);
                one.set("perplexity.by_dense", (own - original).exp());
            }
        }
        Ok(all)
    }

    fn question(
        &self,
        unit: &Unit,
        index: u64,
        lab: &Lab,
    ) -> Result<Vec<Measurement>, ReportError> {
        let qa = QaSpec {
            min_distance_words: unit.length,
            num_candidates: self.settings.candidates,
            ..QaSpec::default()
        };
        let item = Storybook::new(self.seed()).qa(Split::Test, index, &qa);
        let question = Question::new(lab.corpus().tokenizer(), &item)?;
        let mut all = self.empty_rows(unit, index);
        for (one, model) in all.iter_mut().zip(&*self.models(lab)) {
            let answer = model
                .clone()
                .and_then(|model| question.answer(&model).map_err(|error| error.to_string()));
            match answer {
                Ok(answer) => one.set("among", f64::from(u8::from(answer.among))),
                Err(reason) => *one = std::mem::take(one).without_values(reason),
            }
        }
        Ok(all)
    }

    /// An empty measurement per row.
    fn empty_rows(&self, unit: &Unit, index: u64) -> Vec<Measurement> {
        let rows = self.rows().into_iter();
        rows.map(|row| Measurement::new(&row.id, &unit.source, unit.length, index))
            .collect()
    }
}

/// Mean seconds of a greedily generated token after a context.
fn decoding_run<'a>(model: Gpt2, ids: Vec<u32>) -> Timing<'a> {
    Box::new(move || {
        let (mut cache, logits) = read(&model, &ids, PIECE)?;
        let mut next = likeliest(logits)?;
        let start = Instant::now();
        for _ in 0..GENERATED {
            next = likeliest(read_on(&model, next, &mut cache)?)?;
        }
        Ok(start.elapsed().as_secs_f64() / GENERATED as f64)
    })
}

impl Experiment for WeightTypes {
    fn spec(&self) -> &Spec {
        &self.spec
    }

    fn units(&self, lab: &Lab) -> Result<Vec<Unit>, ReportError> {
        let (settings, counts) = (&self.settings, &self.counts);
        let rows = self.rows().len();
        let passes = (rows as u64 * (counts.runs + 1)) as f64;
        let timed = |source: &str, length: usize, tokens: usize| Unit {
            source: source.to_owned(),
            length,
            samples: 0..counts.runs,
            arm: None,
            work: 0.35 * tokens as f64 * passes,
        };
        let mut units: Vec<Unit> = settings
            .lengths
            .iter()
            .map(|&length| timed(MODEL, length, length))
            .collect();
        // A single token takes longer than one of many.
        let tokens = settings.context + 8 * GENERATED;
        units.push(timed(DECODING, settings.context, tokens));
        let texts = in_turns(lab, settings.length, counts.texts, counts.per_unit, rows)?;
        units.extend(weighed(texts, 1.4));
        let (distance, questions) = (settings.distance, counts.questions);
        let questions = batches(QUESTIONS, distance, questions, counts.per_unit, rows);
        units.extend(weighed(questions, 0.75));
        Ok(units)
    }

    fn subjects(&self) -> Vec<Subject> {
        let arms = Subject::arms(self.arms());
        let of = |row: Variant| Subject {
            label: row.label,
            default: arms[row.arm].default && row.products.is_none(),
            ..arms[row.arm].clone().called(row.id)
        };
        self.rows().into_iter().map(of).collect()
    }

    fn verdicts(&self, records: &Records) -> Vec<Verdict> {
        let int8 = |row: &Variant| {
            row.products
                .is_some_and(|products| products.name() == "int8")
        };
        let of = |row: Variant| {
            let style = Style::Fixed(4);
            let (length, quantity) = (self.settings.length, "perplexity.by_dense");
            let measured = Cell::of(
                records.estimate(&row.id, Pool::Texts, length, quantity),
                style,
            );
            let bounds = Bounds {
                at_most: Some(LIMIT),
                ..Bounds::default()
            };
            Verdict {
                claim: "Perplexity in 8 bits ÷ perplexity of dense in f32".to_owned(),
                arm: row.label,
                required: bounds.words(style),
                judgement: bounds.judge(&measured),
                measured,
            }
        };
        let of_dense = |row: &Variant| Some(row.arm) == dense_place(self.arms());
        let rows = self.rows().into_iter();
        rows.filter(|row| int8(row) && of_dense(row))
            .map(of)
            .collect()
    }

    fn run_unit(&self, unit: &Unit, lab: &Lab) -> Result<Vec<Measurement>, ReportError> {
        if [MODEL, DECODING].contains(&unit.source.as_str()) {
            return Ok(self.timed(unit, lab));
        }
        let mut all = Vec::new();
        for index in unit.samples.clone() {
            all.extend(match unit.source.as_str() {
                QUESTIONS => self.question(unit, index, lab)?,
                _ => self.text(unit, index, lab)?,
            });
        }
        Ok(all)
    }
}
