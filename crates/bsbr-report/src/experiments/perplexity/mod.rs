//! How well each arm predicts plain text.

mod figures;

use bsbr_data::windows::{Window, strided_windows};
use bsbr_train::evaluate::negative_log_likelihood;
use serde::Deserialize;

use crate::corpus::{Extent, Passage};
use crate::error::ReportError;
use crate::experiment::{Experiment, Unit, batches, weighed};
use crate::experiments::frame::Frame;
use crate::lab::Lab;
use crate::record::{Measurement, Records};
use crate::section::{Block, Headline};
use crate::spec::{ArmSpec, Spec};

/// Version of the method.
pub const VERSION: u32 = 1;

/// Work per token read.
const EFFORT: f64 = 0.5;

/// Settings that `--quick` keeps.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Tokens per window.
    pub window: usize,
    /// Tokens between the starts of consecutive windows; each divides `window`.
    pub strides: Vec<usize>,
    /// Published figures.
    #[serde(default)]
    pub published: Vec<Published>,
}

/// A published figure for a model.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Published {
    /// The model's name, without its owner.
    pub model: String,
    /// Its layers; a different size means a different model.
    pub layers: usize,
    /// Its dimensions.
    pub hidden_size: usize,
    /// The texts, as named in records.
    pub texts: String,
    /// The perplexity.
    pub value: f64,
    /// Its source.
    pub source: String,
}

/// Counts that `--quick` reduces.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Counts {
    /// The maximum number of tokens per domain of files or datasets.
    pub tokens: usize,
    /// Tokens per domain of storybook, which has no end.
    pub storybook_tokens: usize,
    /// The maximum number of scored pieces of `window` tokens, from the start of each domain.
    pub pieces: u64,
    /// Pieces per unit.
    pub per_unit: u64,
}

/// The experiment.
pub type Perplexity = Frame<Settings, Counts>;

/// The quantity of a stride: the negative log-likelihood of a piece, in nats.
fn nats(stride: usize) -> String {
    format!("nats.stride{stride}")
}

/// Windows of `window` input tokens and one more that is only predicted, which score the tokens of
/// piece `index`.
pub fn windows(len: usize, window: usize, stride: usize, index: u64) -> Vec<Window> {
    let mut all = strided_windows(len, window + 1, stride);
    all.retain(|one| (one.scored.start - 1) / window == index as usize);
    all
}

pub(super) fn boxed(spec: Spec) -> Result<Box<dyn Experiment>, ReportError> {
    let one = Perplexity::new(spec)?;
    let settings = &one.settings;
    let divides = |&stride: &usize| stride > 0 && settings.window.is_multiple_of(stride);
    let strides = !settings.strides.is_empty() && settings.strides.iter().all(divides);
    let message = "`strides` needs at least one value, and each must divide `window`";
    one.require(settings.window > 0 && strides, "settings", message)?;
    Ok(Box::new(one))
}

impl Perplexity {
    fn passage(&self, lab: &Lab, domain: &str) -> Result<Passage, ReportError> {
        let tokens = match lab.corpus().is_storybook() {
            true => self.counts.storybook_tokens,
            false => self.counts.tokens,
        };
        lab.corpus().passage(self.spec.method.seed, domain, tokens)
    }

    /// An arm on one piece of a passage.
    fn piece(
        &self,
        arm: &ArmSpec,
        lab: &Lab,
        passage: &Passage,
        scored: Extent,
        mut one: Measurement,
    ) -> Measurement {
        let model = match lab.model(arm, self.spec.method.seed) {
            Ok(model) => model,
            Err(reason) => return one.without_values(reason),
        };
        let window = self.settings.window;
        one.set("tokens", scored.tokens as f64);
        one.set("words", scored.words as f64);
        one.set("bytes", scored.bytes as f64);
        one.set("passage.tokens", passage.extent.tokens as f64);
        one.set("passage.words", passage.extent.words as f64);
        one.set("passage.bytes", passage.extent.bytes as f64);
        for &stride in &self.settings.strides {
            let mut sum = 0.0;
            for found in windows(passage.ids.len(), window, stride, one.index) {
                let start = found.range.start;
                let scored = found.scored.start - start..found.scored.end - start;
                match negative_log_likelihood(&model, &passage.ids[found.range], scored) {
                    Ok(nats) => sum += nats,
                    Err(reason) => return one.without_values(reason.to_string()),
                }
            }
            one.set(nats(stride), sum);
        }
        one
    }
}

impl Experiment for Perplexity {
    fn spec(&self) -> &Spec {
        &self.spec
    }

    fn units(&self, lab: &Lab) -> Result<Vec<Unit>, ReportError> {
        let window = self.settings.window;
        let passes: usize = self.settings.strides.iter().map(|s| window / s).sum();
        let models = self.spec.method.arms.len() * passes;
        let mut units = Vec::new();
        for domain in lab.corpus().domains() {
            let tokens = self.passage(lab, &domain)?.extent.tokens;
            let pieces = (tokens.div_ceil(window) as u64).min(self.counts.pieces);
            let own = batches(&domain, window, pieces, self.counts.per_unit, models);
            units.extend(weighed(own, EFFORT));
        }
        Ok(units)
    }

    fn word(&self, name: &str, records: &Records) -> Option<String> {
        figures::word(self, name, records)
    }

    fn special(&self, name: &str, records: &Records) -> Result<Vec<Block>, ReportError> {
        let _ = name;
        let tables = records
            .domains()
            .into_iter()
            .map(|domain| Block::Table(figures::table(self, records, domain)));
        Ok(tables.collect())
    }

    fn headlines(&self, records: &Records) -> Vec<Headline> {
        figures::headline(self, records).into_iter().collect()
    }

    fn run_unit(&self, unit: &Unit, lab: &Lab) -> Result<Vec<Measurement>, ReportError> {
        let passage = self.passage(lab, &unit.source)?;
        let pieces = passage.pieces(lab.corpus().tokenizer(), self.settings.window)?;
        let mut measurements = Vec::new();
        for index in unit.samples.clone() {
            let Some(&scored) = pieces.get(index as usize) else {
                break;
            };
            for arm in &self.spec.method.arms {
                let one = Measurement::new(&arm.id, &unit.source, unit.length, index);
                measurements.push(self.piece(arm, lab, &passage, scored, one));
            }
        }
        Ok(measurements)
    }
}
