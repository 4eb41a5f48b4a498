//! How well each arm predicts plain text.

mod figures;

use bsbr_data::windows::{Window, strided_windows};
use bsbr_train::evaluate::negative_log_likelihood;

use crate::corpus::{Extent, Passage};
use crate::experiments::prelude::*;

/// Work per token read.
const EFFORT: f64 = 0.5;

/// Settings and counts.
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
    /// The maximum number of tokens per domain of files or datasets.
    pub tokens: usize,
    /// Tokens per domain of storybook, which has no end.
    pub storybook_tokens: usize,
    /// The maximum number of scored pieces of `window` tokens, from the start of each domain.
    pub pieces: u64,
    /// Pieces per unit.
    pub per_unit: u64,
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

/// The experiment.
pub type Perplexity = Frame<Settings>;

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

pub(super) fn boxed(spec: Spec) -> Boxed {
    let one = Perplexity::read(spec, &["window", "strides"], &[])?;
    let divides = |&stride: &usize| one.settings.window.is_multiple_of(stride);
    let sound = one.settings.strides.iter().all(divides);
    one.require(sound, "settings", "each of `strides` must divide `window`")?;
    Ok(Box::new(one))
}

impl Perplexity {
    fn passage(&self, lab: &Lab, domain: &str) -> Result<Passage, ReportError> {
        let tokens = match lab.corpus().is_storybook() {
            true => self.settings.storybook_tokens,
            false => self.settings.tokens,
        };
        lab.corpus().passage(self.seed(), domain, tokens)
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
        let model = match lab.model(arm, self.seed()) {
            Ok(model) => model,
            Err(reason) => return one.without_values(reason),
        };
        let window = self.settings.window;
        for (prefix, extent) in [("", scored), ("passage.", passage.extent)] {
            one.set(format!("{prefix}tokens"), extent.tokens as f64);
            one.set(format!("{prefix}words"), extent.words as f64);
            one.set(format!("{prefix}bytes"), extent.bytes as f64);
        }
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
    fn units(&self, lab: &Lab) -> Units {
        let window = self.settings.window;
        let passes: usize = self.settings.strides.iter().map(|s| window / s).sum();
        let models = self.arms().len() * passes;
        let mut units = Vec::new();
        for domain in lab.corpus().domains() {
            let tokens = self.passage(lab, &domain)?.extent.tokens;
            let pieces = (tokens.div_ceil(window) as u64).min(self.settings.pieces);
            let own = batches(&domain, window, pieces, self.settings.per_unit, models);
            units.extend(weighed(own, EFFORT));
        }
        Ok(units)
    }

    fn word(&self, name: &str, records: &Records) -> Option<String> {
        figures::word(self, name, records)
    }

    fn special(&self, _: &str, records: &Records) -> Result<Vec<Block>, ReportError> {
        let domains = records.domains().into_iter();
        let table = |domain| Block::Table(figures::table(self, records, domain));
        Ok(domains.map(table).collect())
    }

    fn headlines(&self, records: &Records) -> Vec<Headline> {
        figures::headline(self, records).into_iter().collect()
    }

    fn run_unit(&self, unit: &Unit, lab: &Lab) -> Measured {
        let passage = self.passage(lab, &unit.source)?;
        let pieces = passage.pieces(lab.corpus().tokenizer(), self.settings.window)?;
        unit.each(|index| {
            let Some(&scored) = pieces.get(index as usize) else {
                return Ok(Vec::new());
            };
            let arms = self.arms().iter().zip(self.empty(unit, index));
            let piece = |(arm, one)| self.piece(arm, lab, &passage, scored, one);
            Ok(arms.map(piece).collect())
        })
    }
}
