//! Time of a token after long contexts, time to read them, and size of the cache.

mod held;

use std::cell::RefCell;

use bsbr_gpt2::PositionExtension;
use serde::Deserialize;

use crate::decoding::Limits;
use crate::error::ReportError;
use crate::experiment::{Experiment, Unit};
use crate::experiments::frame::Frame;
use crate::experiments::streaming::held::{Held, Ours, Reader, Schedule, Timings, Torch};
use crate::lab::Lab;
use crate::present::subject::Subject;
use crate::record::Measurement;
use crate::spec::Spec;
use crate::torch::Kind;

/// Version of the method.
pub const VERSION: u32 = 1;

/// The measured part: the whole model with its cache.
const MODEL: &str = "model";

/// Work per token read, and per token generated.
const EFFORT: [f64; 2] = [0.4, 20.0];

/// Settings that `--quick` keeps.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Context lengths, in tokens.
    pub lengths: Vec<usize>,
    /// Length of the short context, with which a token's time is compared.
    pub short: usize,
    /// Tokens read at once.
    pub piece: usize,
    /// Baselines: `torch`.
    pub baselines: Vec<String>,
    /// The embeddings of positions beyond the model's.
    #[serde(default)]
    pub extension: PositionExtension,
}

/// Counts that `--quick` reduces.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Counts {
    /// Schedule after each context, in which tokens are also generated after the short one.
    pub rounds: u64,
    /// Number of tokens generated in each.
    pub tokens: usize,
    /// The time limit of reading a context, in seconds.
    pub reading_seconds: f64,
    /// The time limit of generation, in seconds.
    pub generating_seconds: f64,
}

/// The experiment, with what the current row has read.
pub type Streaming = Frame<Settings, Counts, RefCell<Held>>;

pub(super) fn boxed(spec: Spec) -> Result<Box<dyn Experiment>, ReportError> {
    let one = Frame::<Settings, Counts>::new(spec)?;
    one.require_lengths("lengths", &one.settings.lengths)?;
    one.require_torch(&one.settings.baselines)?;
    let Settings { piece, short, .. } = one.settings;
    let message = "`piece` and `short` must be above 0";
    one.require(piece > 0 && short > 0, "settings", message)?;
    let sound = one.counts.rounds > 0 && one.counts.tokens > 0;
    one.require(sound, "counts", "`rounds` and `tokens` must be above 0")?;
    Ok(Box::new(one.with(RefCell::default())))
}

impl Streaming {
    /// A contestant that has read nothing.
    fn reader(&self, id: &str, lab: &Lab) -> Result<Box<dyn Reader>, String> {
        let seed = self.spec.method.seed;
        let Some(arm) = self.spec.arm(id) else {
            return Ok(Box::new(Torch::start(lab)?));
        };
        let model = lab.model_for_any_length(arm, seed, self.settings.extension)?;
        Ok(Box::new(Ours::new(model, seed, self.settings.piece)))
    }

    /// The results of a unit, or why they are missing.
    fn measure(&self, unit: &Unit, id: &str, lab: &Lab) -> Result<Timings, String> {
        let mut held = self.own.borrow_mut();
        let reader = held.of(id, unit.length, || self.reader(id, lab))?;
        reader.measure(Schedule {
            lengths: [self.settings.short, unit.length],
            rounds: unit.samples.end,
            tokens: self.counts.tokens,
            limits: Limits {
                reading: self.counts.reading_seconds,
                generating: self.counts.generating_seconds,
            },
        })
    }
}

impl Experiment for Streaming {
    fn spec(&self) -> &Spec {
        &self.spec
    }

    fn units(&self, _lab: &Lab) -> Result<Vec<Unit>, ReportError> {
        let mut lengths = self.settings.lengths.clone();
        lengths.sort_unstable();
        lengths.dedup();
        let generated = (2 * self.counts.rounds * self.counts.tokens as u64) as f64;
        // Row by row, so that each continues from what it has read.
        let rows = self.subjects().into_iter();
        let pairs = rows.flat_map(|row| {
            let before = std::iter::once(0).chain(lengths.clone());
            let pairs = before.zip(lengths.clone());
            pairs
                .map(move |pair| (row.id.clone(), pair))
                .collect::<Vec<_>>()
        });
        let unit = |(row, (before, length))| Unit {
            source: MODEL.to_owned(),
            length,
            samples: 0..self.counts.rounds,
            arm: Some(row),
            work: EFFORT[0] * (length - before) as f64 + EFFORT[1] * generated,
        };
        Ok(pairs.map(unit).collect())
    }

    fn subjects(&self) -> Vec<Subject> {
        let torch = Kind::of(&self.settings.baselines, &[Kind::Sdpa]);
        Kind::subjects(self.arms(), torch)
    }

    fn run_unit(&self, unit: &Unit, lab: &Lab) -> Result<Vec<Measurement>, ReportError> {
        let id = unit.arm.as_deref().unwrap_or_default();
        let new = |round| Measurement::new(id, &unit.source, unit.length, round);
        let found = match self.measure(unit, id, lab) {
            Ok(found) => found,
            Err(reason) => return Ok(vec![new(0).without_values(reason)]),
        };
        let filled = |(round, [before, token]): (u64, [f64; 2])| {
            let mut one = new(round);
            one.set("token", token);
            one.set("token.growth", token / before);
            // A context is read once.
            if round == 0 {
                one.set("first", found.first);
                one.set("cache", found.cache);
            }
            one
        };
        Ok((0..)
            .zip(found.tokens.iter().copied())
            .map(filled)
            .collect())
    }
}
