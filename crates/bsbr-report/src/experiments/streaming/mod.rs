//! Time of a token after long contexts, time to read them, and size of the cache.

mod reader;

use std::cell::RefCell;

use crate::decoding::Limits;
use crate::experiments::prelude::*;
use crate::experiments::streaming::reader::{
    Made, ModelReader, ReaderCache, Schedule, Timings, Torch,
};

/// The measured part: the whole model with its cache.
const MODEL: &str = "model";

/// Work per token read, and per token generated.
const EFFORT: [f64; 2] = [0.4, 20.0];

/// Settings and counts.
#[derive(Debug, Clone, PartialEq, Deserialize)]
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
pub type Streaming = Frame<Settings, RefCell<ReaderCache>>;

pub(super) fn boxed(spec: Spec) -> Boxed {
    let ones = ["lengths", "piece", "short", "rounds", "tokens"];
    let one = Streaming::read(spec, &ones, &[])?;
    one.require_torch(&one.settings.baselines)?;
    Ok(Box::new(one))
}

impl Streaming {
    /// A case that has read nothing.
    fn reader(&self, id: &str, lab: &Lab) -> Made {
        let seed = self.seed();
        let Some(arm) = self.spec.arm(id) else {
            return Ok(Box::new(Torch::start(lab)?));
        };
        let model = lab.model_for_any_length(arm, seed, self.settings.extension)?;
        Ok(Box::new(ModelReader::new(model, seed, self.settings.piece)))
    }

    /// The results of a unit, or why they are missing.
    fn measure(&self, unit: &Unit, id: &str, lab: &Lab) -> Result<Timings, String> {
        let mut held = self.own.borrow_mut();
        let reader = held.of(id, unit.length, || self.reader(id, lab))?;
        reader.measure(Schedule {
            lengths: [self.settings.short, unit.length],
            rounds: unit.samples.end,
            tokens: self.settings.tokens,
            limits: Limits {
                reading: self.settings.reading_seconds,
                generating: self.settings.generating_seconds,
            },
        })
    }
}

impl Experiment for Streaming {
    fn units(&self, _lab: &Lab) -> Units {
        let mut lengths = self.settings.lengths.clone();
        lengths.sort_unstable();
        lengths.dedup();
        let generated = (2 * self.settings.rounds * self.settings.tokens as u64) as f64;
        let mut units = Vec::new();
        // Row by row, so that each continues from what it has read.
        for row in self.subjects() {
            let mut before = 0;
            for &length in &lengths {
                let work = EFFORT[0] * (length - before) as f64 + EFFORT[1] * generated;
                units.push(Unit {
                    arm: Some(row.id.clone()),
                    ..Unit::new(MODEL, length, self.settings.rounds, work)
                });
                before = length;
            }
        }
        Ok(units)
    }

    fn subjects(&self) -> Vec<Subject> {
        let torch = Kind::of(&self.settings.baselines, &[Kind::Sdpa]);
        Kind::subjects(self.arms(), torch)
    }

    fn run_unit(&self, unit: &Unit, lab: &Lab) -> Measured {
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
